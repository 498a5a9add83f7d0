/**
 * Change notification on local directories. Only an accelerator: the poll finds everything too, and each poll tells here
 * which directory it reads, so that a watch follows a directory that was re-created, renamed or mounted over.
 */
import fs from 'node:fs';
import path from 'node:path';
import type { Logger } from 'pino';
import { errorText } from './errno.ts';
import { isKeyName } from './scan.ts';

/** Reads at once for so many changes in one window; beyond it one more at the window's end: a host that writes on and on must not keep the agent reading. */
const BURST = 20;
const WINDOW_MS = 1000;

export interface Watches {
  /** From now on `changed` is called on events, until `signal` is aborted. */
  start(changed: () => void, signal: AbortSignal): void;
  /** A directory as the poll found it. `isLocal` is asked on a fresh mount table just before the watch is set up. */
  follow(realPath: string, identity: string, isLocal: () => boolean): void;
  /** Ends the watches on all other directories. */
  retain(realPaths: ReadonlySet<string>): void;
  close(): void;
}

interface Watched {
  readonly watcher: fs.FSWatcher;
  readonly identity: string;
  /** The directory itself was moved, deleted or unmounted; inode numbers are reused, so identity alone does not tell. */
  doubtful: boolean;
}

export function createWatches(log: Logger): Watches {
  const watched = new Map<string, Watched>();
  let notify: (() => void) | undefined;
  let complained = false;

  const retain = (realPaths: ReadonlySet<string>): void => {
    for (const [realPath, { watcher }] of watched) {
      if (realPaths.has(realPath)) continue;
      watcher.close();
      watched.delete(realPath);
    }
  };
  const close = (): void => {
    retain(new Set());
    notify = undefined;
  };
  const open = (realPath: string, identity: string): void => {
    try {
      const watcher = fs.watch(realPath, { persistent: false });
      const entry: Watched = { watcher, identity, doubtful: false };
      watcher.on('error', () => {
        entry.doubtful = true;
      });
      watcher.on('change', (_event, filename) => {
        const name = typeof filename === 'string' ? filename : undefined;
        if (name === path.basename(realPath)) entry.doubtful = true;
        // Temporary files of a writer (`.shutdowntime.tmp`) are no news; `..data` is what kubernetes flips under all keys.
        if (name === undefined || isKeyName(name) || name.startsWith('..') || entry.doubtful) notify?.();
      });
      watched.set(realPath, entry);
      complained = false;
    } catch (error) {
      // Out of watches (ENOSPC), most likely: the poll does the work alone, and each poll tries again.
      if (!complained) log.info({ event: 'directory_not_watched', path: realPath }, `no watch: ${errorText(error)}`);
      complained = true;
    }
  };

  return {
    start(changed, signal) {
      if (signal.aborted) return;
      const limited = limitBursts(changed);
      notify = limited.call;
      signal.addEventListener(
        'abort',
        () => {
          limited.cancel();
          close();
        },
        { once: true },
      );
    },
    follow(realPath, identity, isLocal) {
      const known = watched.get(realPath);
      if (known?.identity === identity && !known.doubtful) return;
      known?.watcher.close();
      watched.delete(realPath);
      if (notify !== undefined && isLocal()) open(realPath, identity);
    },
    retain,
    close,
  };
}

/** Calls through once per turn of the loop and at most BURST times a window; never loses the last call. */
function limitBursts(action: () => void): { call: () => void; cancel: () => void } {
  let immediate: NodeJS.Immediate | undefined;
  let timer: NodeJS.Timeout | undefined;
  let windowStartMs = Number.NEGATIVE_INFINITY;
  let calls = 0;
  const run = (): void => {
    immediate = undefined;
    timer = undefined;
    calls += 1;
    action();
  };
  return {
    call() {
      if (immediate !== undefined || timer !== undefined) return;
      const now = performance.now();
      if (now - windowStartMs >= WINDOW_MS) {
        windowStartMs = now;
        calls = 0;
      }
      // One rename is several events in one turn; they all lead to one reading, at once.
      if (calls < BURST) immediate = setImmediate(run);
      else timer = setTimeout(run, WINDOW_MS - (now - windowStartMs)).unref();
    },
    cancel() {
      clearImmediate(immediate);
      clearTimeout(timer);
    },
  };
}
