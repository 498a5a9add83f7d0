/**
 * A host share that can hang: a FUSE file system in memory, spoken on raw /dev/fuse (include/uapi/linux/fuse.h, 7.31).
 * Run as its own process: `node --import tsx test/hosts/fuse.ts MOUNT_POINT [PID]`, as root; mounted where PID
 * sees it, which may be in a container. Lines on stdin, each answered by one:
 * `set NAME VALUE` · `unset NAME` · `hang` (take requests and swallow them) · `answer` (those taken first, then on) ·
 * `held` (how many are swallowed now). It says `mounted` when the file system is there. Killing it ends the connection:
 * every waiting request then fails, so that nothing stays stuck behind a test.
 */
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import { createInterface } from 'node:readline';

/** From enum fuse_opcode. */
const OP = {
  lookup: 1,
  forget: 2,
  getattr: 3,
  open: 14,
  read: 15,
  statfs: 17,
  release: 18,
  flush: 25,
  init: 26,
  opendir: 27,
  readdir: 28,
  releasedir: 29,
  interrupt: 36,
  batchForget: 42,
} as const;
const ENOENT = 2;
const ENOSYS = 38;
const IN_HEADER_BYTES = 40;
const OUT_HEADER_BYTES = 16;
/** The kernel refuses to hand out requests into less than max_write plus headers. */
const REQUEST_BYTES = 132 * 1024;
const MAX_WRITE = 128 * 1024;
const MINOR = 31;
const ROOT = 1n;
/** FOPEN_DIRECT_IO: every read comes here, nothing is answered from the page cache. */
const DIRECT_IO = 1;

interface Request {
  readonly opcode: number;
  readonly unique: bigint;
  readonly node: bigint;
  readonly body: Buffer;
}

const files = new Map<string, Buffer>();
const nodes = new Map<bigint, string>();
const held: Request[] = [];
let hanging = false;

function main(mountPoint: string, pid?: string): void {
  const fd = fs.openSync('/dev/fuse', 'r+');
  serve(fd);
  const options = 'fd=3,rootmode=40000,user_id=0,group_id=0,allow_other';
  const there = pid === undefined ? [] : ['nsenter', '-t', pid, '-m', '-r'];
  const [program = '', ...args] = [...there, 'mount', '-i', '-t', 'fuse', '-o', options, 'mjf-test', mountPoint];
  const mount = spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit', fd] });
  mount.once('exit', (code) => {
    if (code !== 0) process.exit(1);
    console.log('mounted');
  });
  const commands = createInterface({ input: process.stdin });
  commands.on('line', (line) => console.log(command(fd, line)));
  // The test is gone, however it ended: end the connection, which sets everything free that waits on it.
  commands.once('close', () => process.kill(process.pid, 'SIGKILL'));
}

function command(fd: number, line: string): string {
  const [verb, name = '', value = ''] = line.split(' ');
  switch (verb) {
    case 'set':
      files.set(name, Buffer.from(value));
      break;
    case 'unset':
      files.delete(name);
      break;
    case 'hang':
      hanging = true;
      break;
    case 'answer':
      hanging = false;
      for (const request of held.splice(0)) answer(fd, request);
      break;
    case 'held':
      return `held ${held.length}`;
    default:
      return `unknown ${line}`;
  }
  return `done ${line}`;
}

function serve(fd: number): void {
  const buffer = Buffer.alloc(REQUEST_BYTES);
  fs.read(fd, buffer, 0, buffer.length, null, (error, length) => {
    if (error !== null) {
      // An interrupted request vanished before it was read (ENOENT); ENODEV means unmounted.
      if (error.code === 'ENODEV') process.exit(0);
      serve(fd);
      return;
    }
    const request = {
      opcode: buffer.readUInt32LE(4),
      unique: buffer.readBigUInt64LE(8),
      node: buffer.readBigUInt64LE(16),
      body: Buffer.from(buffer.subarray(IN_HEADER_BYTES, length)),
    };
    if (hanging) held.push(request);
    else answer(fd, request);
    serve(fd);
  });
}

function answer(fd: number, request: Request): void {
  const { opcode, unique } = request;
  // These have no answer by protocol.
  if (opcode === OP.forget || opcode === OP.batchForget || opcode === OP.interrupt) return;
  const reply = replyTo(request);
  const body = typeof reply === 'number' ? Buffer.alloc(0) : reply;
  const header = Buffer.alloc(OUT_HEADER_BYTES);
  header.writeUInt32LE(OUT_HEADER_BYTES + body.length, 0);
  header.writeInt32LE(typeof reply === 'number' ? -reply : 0, 4);
  header.writeBigUInt64LE(unique, 8);
  try {
    fs.writeSync(fd, Buffer.concat([header, body]));
  } catch {
    // The asker was killed meanwhile (ENOENT): the answer is nobody's.
  }
}

/** The body of the answer, or an errno. */
function replyTo({ opcode, node, body }: Request): Buffer | number {
  const name = nodes.get(node);
  const content = name === undefined ? undefined : files.get(name);
  switch (opcode) {
    case OP.init:
      return initOut();
    case OP.lookup: {
      const wanted = body.subarray(0, body.indexOf(0)).toString();
      return files.has(wanted) ? entryOut(nodeOf(wanted)) : ENOENT;
    }
    case OP.getattr:
      return node === ROOT || content !== undefined ? attrOut(node) : ENOENT;
    case OP.open:
    case OP.opendir: {
      const out = Buffer.alloc(16);
      out.writeUInt32LE(opcode === OP.open ? DIRECT_IO : 0, 8);
      return out;
    }
    case OP.read: {
      const offset = Number(body.readBigUInt64LE(8));
      return content === undefined ? ENOENT : content.subarray(offset, offset + body.readUInt32LE(16));
    }
    case OP.readdir:
      return readdirOut(Number(body.readBigUInt64LE(8)), body.readUInt32LE(16));
    case OP.statfs:
      return statfsOut();
    case OP.release:
    case OP.releasedir:
    case OP.flush:
      return 0;
    default:
      return ENOSYS;
  }
}

function nodeOf(name: string): bigint {
  for (const [node, known] of nodes) if (known === name) return node;
  const node = ROOT + 1n + BigInt(nodes.size);
  nodes.set(node, name);
  return node;
}

/** struct fuse_init_out */
function initOut(): Buffer {
  const out = Buffer.alloc(64);
  out.writeUInt32LE(7, 0);
  out.writeUInt32LE(MINOR, 4);
  out.writeUInt32LE(MAX_WRITE, 20);
  return out;
}

/** struct fuse_attr: 88 bytes. */
function attr(node: bigint): Buffer {
  const name = nodes.get(node);
  const out = Buffer.alloc(88);
  out.writeBigUInt64LE(node, 0);
  out.writeBigUInt64LE(BigInt(name === undefined ? 0 : (files.get(name)?.length ?? 0)), 8);
  out.writeUInt32LE(node === ROOT ? 0o40755 : 0o100644, 60);
  out.writeUInt32LE(1, 64);
  out.writeUInt32LE(4096, 80);
  return out;
}

/** struct fuse_attr_out, never cached. */
function attrOut(node: bigint): Buffer {
  return Buffer.concat([Buffer.alloc(16), attr(node)]);
}

/** struct fuse_entry_out, never cached. */
function entryOut(node: bigint): Buffer {
  const head = Buffer.alloc(40);
  head.writeBigUInt64LE(node, 0);
  return Buffer.concat([head, attr(node)]);
}

/** struct fuse_kstatfs: empty, but with a size of its blocks, by which others divide (QEMU's 9p server dies of a zero). */
function statfsOut(): Buffer {
  const out = Buffer.alloc(80);
  out.writeUInt32LE(4096, 40);
  out.writeUInt32LE(255, 44);
  out.writeUInt32LE(4096, 48);
  return out;
}

/** struct fuse_dirent, padded to 8 bytes each. */
function readdirOut(offset: number, size: number): Buffer {
  const names = ['.', '..', ...files.keys()];
  const entries: Buffer[] = [];
  let length = 0;
  for (let index = offset; index < names.length; index += 1) {
    const name = Buffer.from(names[index] ?? '');
    const entry = Buffer.alloc(24 + Math.ceil(name.length / 8) * 8);
    entry.writeBigUInt64LE(BigInt(index + 1), 0);
    entry.writeBigUInt64LE(BigInt(index + 1), 8);
    entry.writeUInt32LE(name.length, 16);
    entry.writeUInt32LE(index < 2 ? 4 : 8, 20);
    name.copy(entry, 24);
    length += entry.length;
    if (length > size) break;
    entries.push(entry);
  }
  return Buffer.concat(entries);
}

const [, , mountPoint, seenBy] = process.argv;
if (mountPoint === undefined) {
  console.error('usage: fuse.ts MOUNT_POINT');
  process.exitCode = 2;
} else {
  main(mountPoint, seenBy);
}
