/** A command on a real pseudo-terminal (on-pty.py), as a test sees it. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import readline from 'node:readline';

const DRIVER = path.join(import.meta.dirname ?? __dirname, 'on-pty.py');
/** What must come comes far sooner. */
const WAIT_MS = 60_000;

/** Reason to skip, or false. */
export const lacksPty = (): string | false =>
  spawnSync('python3', ['-c', 'import termios, fcntl']).status === 0 ? false : 'needs python3 with its termios module';

export interface PtyEnd {
  /** Exit code, or minus the number of the signal. */
  readonly exit: number;
  /** Of the terminal, afterwards; null when that is gone. */
  readonly modes: { readonly echo: boolean; readonly lines: boolean } | null;
}

export interface Pty {
  /** Everything that was written so far. */
  readonly text: () => string;
  /** Resolves with everything, once what came after the first `from` characters matches; rejects when it ends before. */
  until(pattern: RegExp, from?: number): Promise<string>;
  send(text: string): void;
  signal(name: NodeJS.Signals): void;
  resize(rows: number, columns: number): void;
  /** The window is closed. */
  hangup(): void;
  readonly ended: Promise<PtyEnd>;
  /** For the end of a test: no process is left. */
  kill(): Promise<unknown>;
}

export function onPty(
  argv: readonly string[],
  size: readonly [rows: number, columns: number],
  env: Readonly<Record<string, string>>,
): Pty {
  const child = spawn('python3', [DRIVER, ...size.map(String), ...argv], {
    env: { PATH: process.env['PATH'] ?? '', ...env },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let text = '';
  let heard = (): void => {};
  const closed = once(child, 'close');
  const ended = new Promise<PtyEnd>((resolve, reject) => {
    readline.createInterface({ input: child.stdout }).on('line', (line) => {
      const event = JSON.parse(line);
      if (typeof event.out === 'string') text += event.out;
      if (typeof event.exit === 'number') resolve(event);
      heard();
    });
    void closed.then(() => reject(new Error(`the driver has ended: ${text}`)));
  });
  ended.catch(() => undefined);
  // A driver that has ended before is told by `ended`.
  child.stdin.on('error', () => undefined);
  const tell = (command: object): void => void child.stdin.write(`${JSON.stringify(command)}\n`);
  return {
    text: () => text,
    async until(pattern, from = 0) {
      const giveUp = AbortSignal.timeout(WAIT_MS);
      const over = ended.then(({ exit }) => exit);
      for (;;) {
        const next = new Promise<null>((resolve) => {
          heard = () => resolve(null);
        });
        if (pattern.test(text.slice(from))) return text;
        if (giveUp.aborted) throw new Error(`no ${pattern} in ${JSON.stringify(text.slice(from))}`);
        const late = once(giveUp, 'abort').then(() => null);
        const exit = await Promise.race([next, over, late]);
        if (exit !== null && !pattern.test(text.slice(from)))
          throw new Error(`ended with ${exit}: ${JSON.stringify(text)}`);
      }
    },
    send: (keys) => tell({ send: keys }),
    signal: (name) => tell({ signal: name }),
    resize: (rows, columns) => tell({ resize: [rows, columns] }),
    hangup: () => tell({ hangup: true }),
    ended,
    kill() {
      child.stdin.end();
      return closed;
    },
  };
}
