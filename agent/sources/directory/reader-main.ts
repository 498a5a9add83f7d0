/**
 * The reader child: `mjf-agent __read-directory MOUNT_POINT PARENT`. It alone touches foreign file systems; when one
 * hangs, it hangs, and the agent leaves it behind. One JSON line in, one out; everything is read synchronously in the main
 * thread, so that a stuck child is found in /proc under its own name.
 */
import fs from 'node:fs';
import { errorText } from './errno.ts';
import { mountTableReader } from './mounts.ts';
import { type DirectoryReading, readDirectory } from './scan.ts';
import { READER_COMM } from './strays.ts';

export interface ReaderRequest {
  readonly id: number;
  readonly path: string;
  readonly runtimeDir: string;
}
export type ReaderReply =
  /** Said once, before anything is touched: the start of the program is not the share's fault. */
  { readonly ready: true } | { readonly id: number; readonly reading: DirectoryReading };

/** Longest request, bytes: two paths. */
const MAX_REQUEST_BYTES = 64 * 1024;
/** Between two attempts to write to a parent that does not read just now. */
const FULL_PIPE_PAUSE_MS = 5;

/** Serves until stdin ends, which it also does when the parent dies. Returns the exit code; 2 for a request that is not ours. */
export async function readerMain(_argv: readonly string[]): Promise<number> {
  nameProcess();
  const mounts = mountTableReader('/proc/self/mountinfo');
  let pending = '';
  try {
    write({ ready: true });
    for await (const chunk of process.stdin.setEncoding('utf8')) {
      pending += String(chunk);
      const lines = pending.split('\n');
      pending = lines.pop() ?? '';
      if (pending.length > MAX_REQUEST_BYTES) return 2;
      for (const line of lines) {
        const request = parseRequest(line);
        if (request === undefined) return 2;
        const reading = readDirectory(request.path, {
          table: mounts(),
          runtimeDir: request.runtimeDir,
          anywhere: true,
        });
        write({ id: request.id, reading });
      }
    }
  } catch (error) {
    // The parent went away in the middle of an answer: nobody is left to tell.
    if (error instanceof Error && 'code' in error && error.code === 'EPIPE') return 0;
    process.stderr.write(`reader: ${errorText(error)}\n`);
    return 1;
  }
  return 0;
}

/** Not `process.title`: that overwrites the command line in which the mount point stands. */
function nameProcess(): void {
  try {
    fs.writeFileSync('/proc/self/comm', READER_COMM);
  } catch {
    // Only a restarted agent's count of stuck children depends on it.
  }
}

/** Synchronous and whole: a reply must have left before the next touch of the share. */
function write(reply: ReaderReply): void {
  const bytes = Buffer.from(`${JSON.stringify(reply)}\n`);
  for (let offset = 0; offset < bytes.length; ) {
    try {
      offset += fs.writeSync(1, bytes, offset);
    } catch (error) {
      // A full non-blocking pipe: the parent is slow. Waiting is right here, this process has nothing else to do.
      if (!(error instanceof Error && 'code' in error && error.code === 'EAGAIN')) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, FULL_PIPE_PAUSE_MS);
    }
  }
}

function parseRequest(line: string): ReaderRequest | undefined {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value !== 'object' || value === null) return undefined;
    if (!('id' in value && 'path' in value && 'runtimeDir' in value)) return undefined;
    const { id, path, runtimeDir } = value;
    if (typeof id !== 'number' || typeof path !== 'string' || typeof runtimeDir !== 'string') return undefined;
    return { id, path, runtimeDir };
  } catch {
    return undefined;
  }
}
