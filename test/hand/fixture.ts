/** Private places with hook files in them, and a log that can be read, for the tests of hooks and of the hand. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import pino, { type Logger } from 'pino';
import type { HookRequest } from '../../agent/hand/hand.ts';
import type { Ending } from '../support/processes.ts';

export const isRoot = process.getuid?.() === 0;
export const OWN_UID = process.getuid?.() ?? 0;
/** The files of the tests are one's own, whoever runs them; the directories above are root's. */
export const OWNERS: ReadonlySet<number> = new Set([0, OWN_UID]);

/** Closed to others, gone after the test. What waits for unreferenced children keeps the process until then. */
export function place(t: Ending): string {
  const dir = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), 'mjf-hand-'));
  fs.chmodSync(dir, 0o755);
  const alive = setInterval(() => {}, 1000);
  t.after(() => {
    clearInterval(alive);
    fs.rmSync(dir, { recursive: true, force: true });
  });
  return dir;
}

/** An executable shell script; the directories above it are made. */
export function script(file: string, body: string, mode = 0o755): string {
  for (const dir of [path.dirname(path.dirname(file)), path.dirname(file)]) {
    fs.mkdirSync(dir, { recursive: true });
    fs.chmodSync(dir, 0o755);
  }
  fs.writeFileSync(file, `#!/bin/sh\n${body}\n`);
  fs.chmodSync(file, mode);
  return file;
}

export interface ReadableLog {
  readonly log: Logger;
  readonly lines: Readonly<Record<string, unknown>>[];
  /** The first line with that event, also a later one. */
  until(event: string): Promise<Readonly<Record<string, unknown>>>;
}

export function readableLog(): ReadableLog {
  const lines: Readonly<Record<string, unknown>>[] = [];
  const waiting = new Set<() => void>();
  const log = pino(
    { level: 'debug', base: {} },
    {
      write(text: string) {
        lines.push(JSON.parse(text));
        for (const look of waiting) look();
      },
    },
  );
  return {
    log,
    lines,
    until: (event) =>
      bounded(
        `a log line ${event}`,
        new Promise((resolve) => {
          const look = (): void => {
            const found = lines.find((line) => line['event'] === event);
            if (found === undefined) return;
            waiting.delete(look);
            resolve(found);
          };
          waiting.add(look);
          look();
        }),
      ),
  };
}

/** For what a loaded machine does in a second. */
export function bounded<T>(what: string, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${what} did not come`)), 60_000);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/** Until `look` says so; for what only the file system shows. */
export async function until(what: string, look: () => boolean): Promise<void> {
  const giveUpAt = Date.now() + 60_000;
  while (!look()) {
    if (Date.now() > giveUpAt) throw new Error(`${what} did not come`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export interface Heard {
  readonly request: HookRequest;
  readonly lines: string[];
}

export function hookRequest(changes: Partial<HookRequest> = {}): Heard {
  const lines: string[] = [];
  const request: HookRequest = {
    directory: 'stopping',
    file: '10-tell',
    env: {},
    stdin: '{}\n',
    timeoutMs: 60_000,
    onLine: (stream, line) => lines.push(`${stream} ${line}`),
    ...changes,
  };
  return { request, lines };
}
