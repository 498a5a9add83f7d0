/** One reader child as a process: start, one question after the other, each with a bound, and letting go of it. */
import type { ChildProcess } from 'node:child_process';
import { Socket } from 'node:net';
import path from 'node:path';
import { spawnClean } from '../../spawn-clean.ts';
import { type SourceEnvironment, SourceError } from '../source.ts';
import { errorText } from './errno.ts';
import type { ReaderRequest } from './reader-main.ts';
import { parseReply } from './reply.ts';
import type { DirectoryReading } from './scan.ts';
import { READER_COMMAND } from './strays.ts';

/** A share that takes longer for some twenty small files does not answer. */
export const HUNG_AFTER_MS = 3000;
/** Starting this program on a slow, busy guest; a share has no part in it. */
export const START_TIMEOUT_MS = 10_000;
/** MAX_TOTAL_BYTES of values at six bytes each in JSON's worst case, plus MAX_ENTRIES names. */
const MAX_REPLY_BYTES = 2 * 1024 * 1024;
/** The child needs next to no heap; only plain node takes these, a standalone executable would take them as ours. */
const NODE_HEAP_FLAGS = ['--max-semi-space-size=1', '--max-old-space-size=32'] as const;
/** The rest of our environment may hold secrets and options (NODE_OPTIONS, coverage) that are not meant for the child. */
const PASSED_VARIABLES = ['PATH', 'HOME', 'TMPDIR', 'LANG'] as const;

export type ReaderEnvironment = Pick<SourceEnvironment, 'self' | 'env' | 'log' | 'runtimeDir'>;

/** One child. */
export interface ReaderChild {
  readonly pid: number | undefined;
  /** Rejects with SourceError `hung`, `reader_failed` or `aborted`; after the first two the child is of no more use. */
  ask(path: string, runtimeDir: string, signal: AbortSignal): Promise<DirectoryReading>;
  /** SIGKILL and let go of it; `ended` is called if and when it really ends. */
  kill(ended?: () => void): void;
}

interface Waiting {
  readonly resolve: (reading: DirectoryReading) => void;
  readonly reject: (error: SourceError) => void;
}

/** Starts the reader of a mount; `onEnd` is called when it ended or broke. `self`: this process, for `strayReaders`. */
export function startReader(
  mountPoint: string,
  self: string,
  environment: ReaderEnvironment,
  onEnd: () => void,
): ReaderChild {
  const { command, args } = environment.self;
  const flags = /^node(js)?\d*$/.test(path.basename(command)) ? NODE_HEAP_FLAGS : [];
  const spawned = spawnClean(command, [...flags, ...args, READER_COMMAND, mountPoint, self], {
    stdio: ['pipe', 'pipe', 'ignore'],
    env: childEnvironment(environment.env),
  });
  // This very program is there and runs; only a missing setpriv, without which capabilities would leak, is thinkable.
  if ('error' in spawned) throw new SourceError('reader_failed', `no reader for ${mountPoint}: ${spawned.error}`);
  const { child } = spawned;
  const { stdin, stdout } = child;
  // Out of descriptors Node gives a child without pipes (undefined, whatever its types say) and an `error` a moment later.
  if (!stdin || !stdout) {
    child.once('error', () => {});
    throw new SourceError('reader_failed', `no pipes to the reader of ${mountPoint}`);
  }
  const waiting = new Map<number, Waiting>();
  let lastId = 0;
  let ready = false;
  let whenReady: (() => void)[] = [];

  const fail = (code: string, message: string): void => {
    const error = new SourceError(code, message);
    for (const { reject } of [...waiting.values()]) reject(error);
  };
  const broken = (why: string): void => {
    fail('reader_failed', `the reader of ${mountPoint} ${why}`);
    onEnd();
  };
  const onLine = (line: string): void => {
    const reply = parseReply(line);
    if (reply === undefined) {
      broken('gave an answer that makes no sense');
    } else if ('ready' in reply) {
      ready = true;
      for (const resume of whenReady) resume();
      whenReady = [];
    } else waiting.get(reply.id)?.resolve(reply.reading);
  };
  const onData = lineSplitter(onLine, () => broken(`gave more than ${MAX_REPLY_BYTES} bytes`));

  child.once('error', (error) => broken(`could not be started: ${errorText(error)}`));
  child.once('exit', (code, signal) => broken(`ended with ${signal ?? `exit code ${code}`}`));
  // A child that dies breaks the pipe; `exit` tells it, an unheard stream error would end the agent.
  stdin.on('error', () => {});
  stdout.on('error', () => {});
  stdout.on('data', onData);
  letGo(child);

  return {
    pid: child.pid,
    ask(file, runtimeDir, signal) {
      lastId += 1;
      const id = lastId;
      return new Promise<DirectoryReading>((resolve, reject) => {
        let timer: NodeJS.Timeout | undefined;
        const aborted = (): void => waiting.get(id)?.reject(new SourceError('aborted', 'no longer wanted'));
        const settle = (): void => {
          clearTimeout(timer);
          signal.removeEventListener('abort', aborted);
          waiting.delete(id);
        };
        waiting.set(id, {
          resolve: (reading) => {
            settle();
            resolve(reading);
          },
          reject: (error) => {
            settle();
            reject(error);
          },
        });
        const bound = (limitMs: number, late: () => void): void => {
          clearTimeout(timer);
          // After a pause of this process the answer may lie in the pipe already: look there before judging.
          timer = setTimeout(() => setImmediate(() => waiting.has(id) && late()), limitMs);
        };
        const send = (): void => {
          if (!waiting.has(id)) return;
          bound(HUNG_AFTER_MS, () => fail('hung', `${mountPoint} did not answer within ${HUNG_AFTER_MS} ms`));
          stdin.write(`${JSON.stringify({ id, path: file, runtimeDir } satisfies ReaderRequest)}\n`);
        };
        if (signal.aborted) return aborted();
        signal.addEventListener('abort', aborted, { once: true });
        if (ready) return send();
        whenReady.push(send);
        bound(START_TIMEOUT_MS, () => broken(`did not start within ${START_TIMEOUT_MS} ms`));
      });
    },
    kill(ended) {
      if (ended !== undefined) child.once('exit', ended);
      fail('aborted', 'the reader was ended');
      child.kill('SIGKILL');
      stdin.end();
      stdin.destroy();
      stdout.destroy();
      child.unref();
    },
  };
}

/** Neither an idle nor a stuck child keeps this process alive; while an answer is awaited, its timer does. */
function letGo(child: ChildProcess): void {
  child.unref();
  for (const stream of [child.stdin, child.stdout]) if (stream instanceof Socket) stream.unref();
}

function childEnvironment(env: SourceEnvironment['env']): NodeJS.ProcessEnv {
  const passed: NodeJS.ProcessEnv = {};
  for (const name of PASSED_VARIABLES) if (env[name] !== undefined) passed[name] = env[name];
  return passed;
}

function lineSplitter(onLine: (line: string) => void, onOverflow: () => void): (chunk: Buffer) => void {
  let chunks: Buffer[] = [];
  let heldBytes = 0;
  return (chunk) => {
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      onLine(Buffer.concat([...chunks, chunk.subarray(start, end)]).toString('utf8'));
      chunks = [];
      heldBytes = 0;
      start = end + 1;
    }
    if (start === chunk.length) return;
    chunks.push(chunk.subarray(start));
    heldBytes += chunk.length - start;
    if (heldBytes <= MAX_REPLY_BYTES) return;
    chunks = [];
    heldBytes = 0;
    onOverflow();
  };
}
