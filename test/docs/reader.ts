/** The shell of a reader: takes one chunk after the other, as pasted, and says what came out of each. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import type { Chunk } from './chunks.ts';

/** What a document shows ends within this; what never ends is known by its looks. */
const CHUNK_MS = 60_000;
const LOOK_MS = 20;

export interface Outcome {
  readonly output: string;
  /** What is wrong with it; undefined where nothing is. */
  readonly wrong: string | undefined;
}

export interface Reader {
  run(chunk: Chunk): Promise<Outcome>;
  end(): Promise<void>;
}

/** Ends a chunk in both streams; no program prints it. */
const MARK = '\u001e';

export function startReader(command: readonly string[], cwd: string, env: NodeJS.ProcessEnv): Reader {
  const [program = '', ...args] = command;
  const child = spawn(program, args, { cwd, env, stdio: ['pipe', 'pipe', 'pipe'], detached: true });
  // Not `close`: what it leaves in the background may hold its output for ever.
  const ended = once(child, 'exit');
  const output = collect(child);
  return {
    async run(chunk) {
      output.clear();
      // In braces, so that what it sets stays; without our input, which holds the next chunk.
      child.stdin?.write(`{\n${chunk.text}\n} < /dev/null\nprintf '${MARK}%s${MARK}' "$?"; printf '${MARK}' >&2\n`);
      const isOver = (): boolean => output.marks() >= 3 || child.exitCode !== null || child.signalCode !== null;
      for (const giveUpAt = Date.now() + CHUNK_MS; !isOver(); await pause(LOOK_MS))
        if (Date.now() > giveUpAt) return { output: output.text(), wrong: `did not end within ${CHUNK_MS / 1000} s` };
      if (output.marks() < 3)
        return { output: output.text(), wrong: `ended the shell with ${child.exitCode ?? child.signalCode}` };
      return judge(chunk, Number(output.code()), output.text());
    },
    async end() {
      child.stdin?.end();
      const late = pause(CHUNK_MS, 'late', { ref: false });
      if ((await Promise.race([ended, late])) === 'late') child.kill('SIGKILL');
      child.stdout?.destroy();
      child.stderr?.destroy();
    },
  };
}

/** What goes on for ever is run on its own until it has said enough, and then interrupted. */
export async function runEndless(
  chunk: Chunk,
  cwd: string,
  env: NodeJS.ProcessEnv,
  enough: (output: string) => boolean,
): Promise<Outcome> {
  const child = spawn('bash', ['-c', chunk.text], { cwd, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  const ended = once(child, 'close');
  const output = collect(child);
  const isOver = (): boolean => child.exitCode !== null || child.signalCode !== null;
  const giveUpAt = Date.now() + CHUNK_MS;
  while (!enough(output.text()) && !isOver() && Date.now() < giveUpAt) await pause(LOOK_MS);
  const said = enough(output.text());
  const early = isOver();
  if (!early && child.pid !== undefined) process.kill(-child.pid, 'SIGTERM');
  await ended;
  return {
    output: output.text(),
    wrong: early
      ? `ended by itself with ${child.exitCode ?? child.signalCode}`
      : said
        ? undefined
        : 'never said what it should',
  };
}

function judge(chunk: Chunk, code: number, output: string): Outcome {
  // By .curlrc, which has curl tell of every answer.
  const statuses = [...output.matchAll(/^\[HTTP (\d+)\]$/gm)].map(([, status]) => Number(status));
  const refused = statuses.find((status) => status >= 400 && status !== chunk.status);
  const wrong =
    code !== 0 && code !== chunk.code
      ? `ended with ${code}`
      : refused !== undefined
        ? `HTTP answered ${refused}`
        : undefined;
  return { output: output.replace(/^\[HTTP \d+\]\n/gm, ''), wrong };
}

function collect(child: ChildProcess) {
  let out = '';
  let err = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    err += text;
  });
  return {
    clear() {
      out = '';
      err = '';
    },
    marks: () => (out + err).split(MARK).length - 1,
    code: () => out.split(MARK)[1] ?? '',
    text: () => `${out.split(MARK)[0]}${err.split(MARK)[0]}`,
  };
}
