/**
 * What a hook program writes, on its way into the log, and its standard input.
 *
 * A hook must outlive the agent (an upgrade comes in the middle of a drain), and a script whose reader is gone dies at its
 * next `echo` (SIGPIPE). So its stdout and stderr are FIFOs that it holds open for reading as well: a write never fails, it
 * waits at worst. The restarted agent opens the same pipes again through /proc and goes on emptying them. A file in place of
 * the pipe would grow without bound. Standard input is a file that has no name any more: complete from the start, nobody has
 * to feed it.
 */
import fs from 'node:fs';
import { Socket } from 'node:net';
import path from 'node:path';
import { makeDir } from '../make-dir.ts';
import { spawnClean } from '../spawn-clean.ts';
import type { HookProgram } from './hand.ts';
import { LINE_LIMITS, lineReader } from './lines.ts';
import { SAFE_PATH } from './safe-path.ts';

/** mkfifo(1) takes a millisecond; a machine that needs longer than this has other troubles. */
const MKFIFO_TIMEOUT_MS = 5_000;
/** Of a directory that nobody needs any more: far above the time that mkfifo(1) may take. */
const LEFT_BEHIND_MS = 60_000;
/** A hook that writes without end is read at 64 KiB in so many ms (6 MB/s): enough for every log, little for a processor. */
const READ_PAUSE_MS = 10;
const READ_BYTES = 64 * 1024;

export type OnLine = (stream: 'stdout' | 'stderr', line: string) => void;
const STREAMS = ['stdout', 'stderr'] as const;

/** The descriptors of a program that is about to be started. */
export interface Stdio {
  /** Its own three. */
  readonly fds: readonly [number, number, number];
  /** Names of the two pipes, by which a later agent knows them again. */
  readonly pipes: readonly string[];
  /** Our ends of the two pipes, for `readPipes`. */
  readonly ends: readonly number[];
  /** Closes our copies of its three; to be called once the program has its own. */
  release(): void;
  /** All of them; for where nothing was started. */
  discard(): void;
}

/**
 * Makes them in a private directory below `scratchDir`, which is gone afterwards. Throws the errno error of what cannot be
 * made, or an Error where mkfifo(1) fails.
 */
export async function openStdio(scratchDir: string, stdin: string): Promise<Stdio> {
  makeDir(scratchDir, 0o700);
  const dir = fs.mkdtempSync(path.join(scratchDir, 'hook-'));
  const its: number[] = [];
  const ours: number[] = [];
  const open = (list: number[], name: string, flags: number): number => {
    const fd = fs.openSync(path.join(dir, name), flags);
    list.push(fd);
    return fd;
  };
  const close = (list: number[]): void => {
    for (const fd of list.splice(0)) fs.closeSync(fd);
  };
  const discard = (): void => {
    close(its);
    close(ours);
  };
  try {
    // Readable and writable for all: another user's script may open /dev/stdin or /dev/stderr. The directory is closed.
    fs.writeFileSync(path.join(dir, 'stdin'), stdin);
    fs.chmodSync(path.join(dir, 'stdin'), 0o444);
    await makeFifos(STREAMS.map((name) => path.join(dir, name)));
    const { O_RDONLY, O_RDWR, O_NONBLOCK } = fs.constants;
    const input = open(its, 'stdin', O_RDONLY);
    const output = open(its, 'stdout', O_RDWR);
    const errors = open(its, 'stderr', O_RDWR);
    for (const name of STREAMS) open(ours, name, O_RDONLY | O_NONBLOCK);
    const pipes = [output, errors].map(pipeName);
    return { fds: [input, output, errors], pipes, ends: [...ours], release: () => close(its), discard };
  } catch (error) {
    discard();
    throw error;
  } finally {
    fs.rmSync(dir, { recursive: true, force: true });
  }
}

/**
 * Takes away what a killed process left of `openStdio`. Only what is old: others may just be making theirs, at most for
 * MKFIFO_TIMEOUT_MS. Never throws.
 */
export function sweepStdio(scratchDir: string): void {
  try {
    for (const name of fs.readdirSync(scratchDir)) {
      if (!/^hook-[A-Za-z0-9]{6}$/.test(name)) continue;
      const dir = path.join(scratchDir, name);
      const ageMs = Date.now() - fs.lstatSync(dir).mtimeMs;
      if (ageMs > LEFT_BEHIND_MS) fs.rmSync(dir, { recursive: true, force: true });
    }
  } catch {
    // It is not there yet, or another one was quicker: no hook has to wait for that.
  }
}

function makeFifos(files: readonly string[]): Promise<void> {
  const spawned = spawnClean('mkfifo', ['-m', '666', '--', ...files], { env: { PATH: SAFE_PATH }, stdio: 'ignore' });
  if ('error' in spawned) return Promise.reject(new Error(`mkfifo cannot be started (${spawned.error})`));
  const { child } = spawned;
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error('mkfifo does not end'));
    }, MKFIFO_TIMEOUT_MS);
    const end = (error: Error | null): void => {
      clearTimeout(timer);
      if (error === null) resolve();
      else reject(error);
    };
    child.on('error', end);
    child.once('exit', (code, signal) => end(code === 0 ? null : new Error(`mkfifo ended with ${signal ?? code}`)));
  });
}

export interface Reading {
  /** All writers have closed; also after `close`. */
  readonly ended: Promise<void>;
  close(): void;
}

/**
 * Empties the pipes of a program and closes them in the end; null for one that could not be opened. Keeps no process alive.
 * Never throws.
 */
export function readPipes(ends: readonly (number | null)[], onLine: OnLine): Reading {
  const sockets: Socket[] = [];
  const budget = { lines: LINE_LIMITS.lines };
  for (const [index, stream] of STREAMS.entries()) {
    const fd = ends[index] ?? null;
    if (fd === null) continue;
    const reader = lineReader(budget, (line) => onLine(stream, line));
    const socket = new Socket({ fd, readable: true, writable: false });
    socket.unref();
    socket.on('error', () => socket.destroy());
    let taken = 0;
    socket.on('data', (chunk: Buffer) => {
      reader.take(chunk);
      taken += chunk.length;
      if (taken < READ_BYTES) return;
      taken = 0;
      socket.pause();
      setTimeout(() => socket.resume(), READ_PAUSE_MS).unref();
    });
    socket.once('close', reader.end);
    sockets.push(socket);
  }
  const closed = sockets.map((socket) => new Promise<void>((resolve) => socket.once('close', () => resolve())));
  return {
    ended: Promise.all(closed).then(() => undefined),
    close() {
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** The pipes of a program that an earlier run of the agent started; null for one that it has closed or redirected. */
export function reopenPipes({ pid, pipes }: HookProgram, procRoot: string): readonly (number | null)[] {
  return STREAMS.map((_, index) => openPipe(`${procRoot}/${pid}/fd/${index + 1}`, pipes[index]));
}

/** Only the very pipe that we gave it: whatever else stands there now is somebody else's to read. */
function openPipe(file: string, name: string | undefined): number | null {
  let fd: number;
  try {
    if (name === undefined || !fs.statSync(file).isFIFO()) return null;
    fd = fs.openSync(file, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  } catch {
    return null;
  }
  if (pipeName(fd) === name) return fd;
  fs.closeSync(fd);
  return null;
}

function pipeName(fd: number): string {
  const { dev, ino } = fs.fstatSync(fd, { bigint: true });
  return `${dev}:${ino}`;
}
