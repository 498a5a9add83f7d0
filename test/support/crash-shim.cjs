'use strict';
/**
 * Ends the process by SIGKILL before or after its n-th write, rename, unlink or kill (`node --require`, before anything else).
 *
 *   MJF_CRASH_DIRS  directories (colon-separated) whose changes count, with everything below them
 *   MJF_CRASH_AT    n, from 1; absent: nothing is ended, and every counted call is noted
 *   MJF_CRASH_WHEN  `before` or `after` the call
 *   MJF_CRASH_LOG   file that gets a line `N <tab> CALL <tab> TARGET <tab> TURN` a call, so that a harness learns how many
 *                   there are. Calls of one TURN follow each other without a pause: to die after one of them is to die
 *                   before the next
 *
 * Calls that Node makes itself within another (openSync and writeSync within writeFileSync, on some versions) count too:
 * they are real moments to die at. `process.kill` counts with any signal but 0. Asynchronous calls die before they are
 * handed over, or when their result comes back.
 */
const fs = require('node:fs');
const path = require('node:path');
const { fileURLToPath } = require('node:url');
const { syncBuiltinESMExports } = require('node:module');

const killNow = process.kill.bind(process);
const { openSync, writeSync, closeSync, realpathSync } = fs;

const crashAt = Number(process.env.MJF_CRASH_AT || 0);
const dieAfter = process.env.MJF_CRASH_WHEN === 'after';
const logFile = process.env.MJF_CRASH_LOG;
const dirs = (process.env.MJF_CRASH_DIRS || '').split(':').filter(Boolean).flatMap(bothNames);
/** Descriptors open for writing below the directories, with the path they were opened by. */
const fds = new Map();
let count = 0;
let turn = 0;
let turnGoesOn = false;

function bothNames(dir) {
  const plain = path.resolve(dir);
  try {
    return [plain, realpathSync(plain)];
  } catch {
    return [plain];
  }
}

function pathOf(target) {
  if (typeof target === 'string') return path.resolve(target);
  if (target instanceof URL) return fileURLToPath(target);
  return Buffer.isBuffer(target) ? path.resolve(target.toString()) : undefined;
}

/** The path that counts, or undefined: of a descriptor the one it was opened by. */
function watched(target) {
  if (typeof target === 'number') return fds.get(target);
  const name = pathOf(target);
  return name !== undefined && dirs.some((dir) => name === dir || name.startsWith(`${dir}/`)) ? name : undefined;
}

function writes(flags) {
  if (typeof flags === 'number')
    return (flags & (fs.constants.O_WRONLY | fs.constants.O_RDWR | fs.constants.O_CREAT)) !== 0;
  return typeof flags === 'string' && /[wa+]/.test(flags);
}

/** Counts a call; the function it gives is to be called when the call is over. */
function begin(name, target) {
  count += 1;
  const mine = count === crashAt;
  if (!turnGoesOn) {
    turn += 1;
    turnGoesOn = true;
    // Runs when all of the synchronous stretch is over.
    queueMicrotask(() => {
      turnGoesOn = false;
    });
  }
  if (crashAt === 0 && logFile) {
    const fd = openSync(logFile, 'a');
    writeSync(fd, `${count}\t${name}\t${target}\t${turn}\n`);
    closeSync(fd);
  }
  if (mine && !dieAfter) killNow(process.pid, 'SIGKILL');
  return () => {
    if (mine) killNow(process.pid, 'SIGKILL');
  };
}

function patchSync(name, targetsOf) {
  const original = fs[name];
  fs[name] = function patched(...args) {
    const target = targetsOf(args).map(watched).find(Boolean);
    if (target === undefined) return original.apply(this, args);
    const end = begin(name, target);
    try {
      return original.apply(this, args);
    } finally {
      end();
    }
  };
}

function patchCallback(name, targetsOf) {
  const original = fs[name];
  fs[name] = function patched(...args) {
    const target = targetsOf(args).map(watched).find(Boolean);
    const callback = args.at(-1);
    if (target === undefined || typeof callback !== 'function') return original.apply(this, args);
    const end = begin(name, target);
    const wrapped = function wrapped(...results) {
      end();
      return callback.apply(this, results);
    };
    return original.apply(this, [...args.slice(0, -1), wrapped]);
  };
}

function patchPromise(owner, name, label, targetsOf) {
  const original = owner[name];
  if (typeof original !== 'function') return;
  owner[name] = async function patched(...args) {
    const target = targetsOf(args).map(watched).find(Boolean);
    if (target === undefined) return original.apply(this, args);
    const end = begin(label, target);
    try {
      return await original.apply(this, args);
    } finally {
      end();
    }
  };
}

const first = (args) => [args[0]];
const second = (args) => [args[1]];
const both = (args) => [args[1], args[0]];
/** Call by its asynchronous name, with what it changes. */
const CHANGES = [
  ['write', first],
  ['writev', first],
  ['writeFile', first],
  ['appendFile', first],
  ['rename', both],
  ['link', second],
  ['symlink', second],
  ['unlink', first],
  ['rm', first],
  ['mkdir', first],
  ['rmdir', first],
  ['truncate', first],
  ['ftruncate', first],
  ['fsync', first],
  ['fdatasync', first],
];

const HANDLE_CHANGES = ['write', 'writev', 'writeFile', 'appendFile', 'truncate', 'sync', 'datasync'];

for (const [name, targetsOf] of CHANGES) {
  patchSync(`${name}Sync`, targetsOf);
  patchCallback(name, targetsOf);
  // FileHandle has its own way below; the functions of fs.promises take paths.
  patchPromise(fs.promises, name, `promises.${name}`, targetsOf);
}

const plainOpenSync = fs.openSync;
fs.openSync = function patched(file, flags, mode) {
  const target = writes(flags) ? watched(file) : undefined;
  if (target === undefined) return plainOpenSync(file, flags, mode);
  const end = begin('openSync', target);
  try {
    const fd = plainOpenSync(file, flags, mode);
    fds.set(fd, target);
    return fd;
  } finally {
    end();
  }
};

const plainOpen = fs.open;
fs.open = function patched(file, flags, ...rest) {
  const target = writes(flags) ? watched(file) : undefined;
  const callback = rest.at(-1);
  if (target === undefined || typeof callback !== 'function') return plainOpen(file, flags, ...rest);
  const end = begin('open', target);
  return plainOpen(file, flags, ...rest.slice(0, -1), (error, fd) => {
    if (!error) fds.set(fd, target);
    end();
    callback(error, fd);
  });
};

const plainCloseSync = fs.closeSync;
fs.closeSync = function patched(fd) {
  fds.delete(fd);
  return plainCloseSync(fd);
};

const plainClose = fs.close;
fs.close = function patched(fd, ...rest) {
  fds.delete(fd);
  return plainClose(fd, ...rest);
};

const plainPromisesOpen = fs.promises.open;
fs.promises.open = async function patched(file, flags, mode) {
  const target = watched(file);
  if (target === undefined) return plainPromisesOpen(file, flags, mode);
  if (!writes(flags)) return countHandle(await plainPromisesOpen(file, flags, mode), target);
  const end = begin('promises.open', target);
  try {
    return countHandle(await plainPromisesOpen(file, flags, mode), target);
  } finally {
    end();
  }
};

/** A directory is opened for reading and yet synced: handles count by what is done with them. */
function countHandle(handle, target) {
  for (const name of HANDLE_CHANGES) patchPromise(handle, name, `FileHandle.${name}`, () => [target]);
  return handle;
}

process.kill = function patched(pid, signal) {
  if (signal === 0) return killNow(pid, signal);
  const end = begin('process.kill', `${pid} ${signal ?? 'SIGTERM'}`);
  try {
    return killNow(pid, signal);
  } finally {
    end();
  }
};

syncBuiltinESMExports();
