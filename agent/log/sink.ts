/**
 * Lines out of the process without ever waiting for whoever reads them.
 *
 * Why not pino.destination: its asynchronous writes run in the thread pool. On a pipe or socket whose reader is stuck
 * such a write never returns, it takes one of the four threads that file access needs, and `process.exit()` waits for it
 * for ever (SYSTEMS.md, "Hung shares", the same trap); its synchronous flush at exit loops without end. So: pipes,
 * sockets and terminals are written with O_NONBLOCK, where a write returns at once or says EAGAIN; only regular files,
 * which have no EAGAIN, go through the thread pool, one write at a time.
 */
import fs from 'node:fs';
import net from 'node:net';

/** About 10,000 lines: minutes of the worst talk, and nothing that an operator would notice in memory. */
const LARGEST_BACKLOG_BYTES = 1024 * 1024;
/** One write takes at most this much: a pipe's usual capacity, so that a stuck reader is noticed by the next one. */
const LARGEST_WRITE_BYTES = 64 * 1024;
/** A stuck reader is asked again this often. */
const RETRY_MS = 50;
/** A last word is worth a tenth of a second at exit, no more: the payloads' time is running. */
const FLUSH_ROUNDS = 10;
const FLUSH_PAUSE_MS = 10;

export interface LineSink {
  write(line: string): void;
  flush(): void;
}

export interface SinkOptions {
  readonly fd: number;
  readonly onDrop: (lines: number) => void;
  readonly largestBacklogBytes?: number;
}

/** A sink on an open descriptor. Never throws, never blocks the main loop, never keeps the process alive. */
export function createSink(options: SinkOptions): LineSink {
  const { fd, inThreadPool } = openWithoutBlocking(options.fd);
  const largestBacklogBytes = options.largestBacklogBytes ?? LARGEST_BACKLOG_BYTES;
  let queue: Buffer[] = [];
  let queuedBytes = 0;
  let scheduled = false;
  /** What the thread pool is writing now, 0 = nothing. */
  let inFlightBytes = 0;
  let broken = false;

  function write(line: string): void {
    const bytes = Buffer.from(line);
    if (broken || queuedBytes + bytes.length > largestBacklogBytes) {
      options.onDrop(1);
      return;
    }
    queue.push(bytes);
    queuedBytes += bytes.length;
    if (!scheduled && inFlightBytes === 0) schedule(0);
  }

  function schedule(afterMs: number): void {
    scheduled = true;
    const drain = () => {
      scheduled = false;
      if (inThreadPool) drainInThreadPool();
      else if (drainNow() === 'stuck') schedule(RETRY_MS);
    };
    // Lines of one turn go out in one write; an immediate rather than a timer, so that the log follows at once.
    if (afterMs === 0) setImmediate(drain);
    else setTimeout(drain, afterMs).unref();
  }

  function drainNow(): 'empty' | 'stuck' {
    while (queuedBytes > 0) {
      try {
        consume(fs.writeSync(fd, head()));
      } catch (error) {
        if (isBusy(error)) return 'stuck';
        giveUp();
      }
    }
    return 'empty';
  }

  function drainInThreadPool(): void {
    if (queuedBytes === 0 || inFlightBytes > 0) return;
    const piece = head();
    inFlightBytes = piece.length;
    fs.write(fd, piece, (error, written) => {
      // 0: `flush` came in between and counted this piece as written.
      const expected = inFlightBytes > 0;
      inFlightBytes = 0;
      if (expected && error) giveUp();
      else if (expected) consume(written);
      drainInThreadPool();
    });
  }

  /** The longest piece that one write takes. */
  function head(): Buffer {
    const first = queue[0] ?? Buffer.alloc(0);
    if (queue.length > 1 && first.length < LARGEST_WRITE_BYTES) queue = [Buffer.concat(queue, queuedBytes)];
    return (queue[0] ?? first).subarray(0, LARGEST_WRITE_BYTES);
  }

  function consume(writtenBytes: number): void {
    queuedBytes -= writtenBytes;
    let left = writtenBytes;
    while (left > 0) {
      const first = queue[0];
      if (first === undefined) return;
      if (first.length > left) queue[0] = first.subarray(left);
      else queue.shift();
      left -= Math.min(left, first.length);
    }
  }

  /** The reader is gone (EPIPE) or the disk is full: no reason to end, the daemon's work is not its log. */
  function giveUp(): void {
    const lines = queue.reduce((sum, bytes) => sum + countLines(bytes), 0);
    queue = [];
    queuedBytes = 0;
    broken = !inThreadPool;
    if (lines > 0) options.onDrop(lines);
  }

  function flush(): void {
    // A write that the thread pool has begun on a regular file ends by itself: exit waits for it.
    consume(inFlightBytes);
    inFlightBytes = 0;
    for (let round = 0; round < FLUSH_ROUNDS && drainNow() === 'stuck'; round += 1) pause(FLUSH_PAUSE_MS);
  }

  return { write, flush };
}

function openWithoutBlocking(fd: number): { readonly fd: number; readonly inThreadPool: boolean } {
  try {
    const stat = fs.fstatSync(fd);
    if (stat.isFile()) return { fd, inThreadPool: true };
    if (stat.isFIFO() || stat.isCharacterDevice()) return { fd: reopenWithoutBlocking(fd), inThreadPool: false };
    if (stat.isSocket()) makeNonBlocking(fd);
  } catch {
    // A closed descriptor: the first write says EBADF and the sink gives up.
  }
  return { fd, inThreadPool: false };
}

/** An own description of the same pipe or terminal: the shell and others that share ours are not made non-blocking. */
function reopenWithoutBlocking(fd: number): number {
  const flags = fs.constants.O_WRONLY | fs.constants.O_NONBLOCK | fs.constants.O_NOCTTY;
  try {
    return fs.openSync(`/proc/self/fd/${fd}`, flags);
  } catch {
    // Another user's pipe or no /proc: the shared description it is, as Node does for process.stdout itself.
    if (fs.fstatSync(fd).isFIFO()) makeNonBlocking(fd);
    return fd;
  }
}

/** Node has no fcntl, but taking a descriptor as a socket sets O_NONBLOCK on it. Sockets (journald's) cannot be reopened. */
function makeNonBlocking(fd: number): void {
  const socket = new net.Socket({ fd, readable: false, writable: true });
  socket.on('error', () => undefined);
  socket.unref();
  held.push(socket);
}

/** Kept reachable: a collected socket would close the descriptor under the log. */
const held: net.Socket[] = [];

function isBusy(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'EAGAIN' || error.code === 'EBUSY');
}

function countLines(bytes: Buffer): number {
  let lines = 0;
  for (const byte of bytes) if (byte === 0x0a) lines += 1;
  return lines;
}

function pause(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
