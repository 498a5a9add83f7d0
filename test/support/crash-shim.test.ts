import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const SHIM = fileURLToPath(new URL('./crash-shim.cjs', import.meta.url));

/** A write, a rename and an unlink below `in`; all of it again below `out`, where nothing counts. */
const SYNC_PROGRAM = `
  const fs = require('node:fs');
  const { openSync, writeSync, closeSync, renameSync, unlinkSync } = fs;
  for (const dir of ['out', 'in']) {
    const fd = openSync(dir + '/a.tmp', 'w');
    writeSync(fd, 'whole');
    closeSync(fd);
    renameSync(dir + '/a.tmp', dir + '/a');
    closeSync(openSync(dir + '/a', 'r'));
  }
  process.kill(process.pid, 0);
  process.on('SIGUSR2', () => {});
  process.kill(process.pid, 'SIGUSR2');
  unlinkSync('in/a');
`;

const ASYNC_PROGRAM = `
  const { open, rename, unlink } = require('node:fs/promises');
  const fs = require('node:fs');
  (async () => {
    const handle = await open('in/b.tmp', 'w');
    await handle.writeFile('whole');
    await handle.sync();
    await handle.close();
    await rename('in/b.tmp', 'in/b');
    const directory = await open('in', 'r');
    await directory.sync();
    await directory.close();
    await new Promise((done, failed) => fs.unlink('in/b', (error) => error ? failed(error) : done()));
  })();
`;

function place(t: TestContext): string {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-shim-'));
  t.after(() => fs.rmSync(dir, { recursive: true, force: true }));
  return dir;
}

function run(dir: string, program: readonly string[], env: Readonly<Record<string, string>>) {
  for (const name of ['in', 'out']) {
    fs.rmSync(path.join(dir, name), { recursive: true, force: true });
    fs.mkdirSync(path.join(dir, name));
  }
  const result = spawnSync(process.execPath, ['--require', SHIM, ...program], {
    cwd: dir,
    env: { PATH: process.env['PATH'], MJF_CRASH_DIRS: path.join(dir, 'in'), ...env },
    encoding: 'utf8',
  });
  return { result, files: fs.readdirSync(path.join(dir, 'in')).sort() };
}

function learn(dir: string, program: readonly string[]): readonly string[] {
  const log = path.join(dir, 'calls.log');
  const { result } = run(dir, program, { MJF_CRASH_LOG: log });
  assert.equal(result.status, 0, result.stderr);
  const calls = fs.readFileSync(log, 'utf8').trimEnd().split('\n');
  return calls.map((call, index) => {
    const [number, name] = call.split('\t');
    assert.equal(number, String(index + 1));
    return name ?? '';
  });
}

test('synchronous calls: each counted call is a place to die, before and after it', (t) => {
  const dir = place(t);
  const program = ['-e', SYNC_PROGRAM];
  assert.deepEqual(learn(dir, program), ['openSync', 'writeSync', 'renameSync', 'process.kill', 'unlinkSync']);
  const left: string[] = [];
  for (let at = 1; at <= 5; at += 1) {
    for (const when of ['before', 'after']) {
      const { result, files } = run(dir, program, { MJF_CRASH_AT: String(at), MJF_CRASH_WHEN: when });
      assert.equal(result.signal, 'SIGKILL', `${at} ${when}`);
      left.push(files.map((file) => `${file}=${fs.readFileSync(path.join(dir, 'in', file), 'utf8')}`).join());
    }
  }
  assert.deepEqual(left, [
    '',
    'a.tmp=',
    'a.tmp=',
    'a.tmp=whole',
    'a.tmp=whole',
    'a=whole',
    'a=whole',
    'a=whole',
    'a=whole',
    '',
  ]);
});

test('promises, file handles and callbacks count alike', (t) => {
  const dir = place(t);
  const program = ['-e', ASYNC_PROGRAM];
  const calls = learn(dir, program);
  assert.deepEqual(calls, [
    'promises.open',
    'FileHandle.writeFile',
    'FileHandle.sync',
    'promises.rename',
    'FileHandle.sync',
    'unlink',
  ]);
  for (const [at, when, expected] of [
    [1, 'before', []],
    [1, 'after', ['b.tmp']],
    [4, 'before', ['b.tmp']],
    [4, 'after', ['b']],
    [6, 'before', ['b']],
    [6, 'after', []],
  ] as const) {
    const { result, files } = run(dir, program, { MJF_CRASH_AT: String(at), MJF_CRASH_WHEN: when });
    assert.equal(result.signal, 'SIGKILL', `${at} ${when}`);
    assert.deepEqual(files, expected, `${at} ${when}`);
  }
});

test('a number beyond the last call ends nothing, and names imported by an ES module count', (t) => {
  const dir = place(t);
  const module = path.join(dir, 'program.mjs');
  fs.writeFileSync(module, `import { writeFileSync } from 'node:fs'; writeFileSync('in/c', 'whole');`);
  assert.equal(learn(dir, [module])[0], 'writeFileSync');
  const { result, files } = run(dir, [module], { MJF_CRASH_AT: '99', MJF_CRASH_WHEN: 'before' });
  assert.equal(result.status, 0, result.stderr);
  assert.deepEqual(files, ['c']);
});
