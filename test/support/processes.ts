/** Small payloads that misbehave, for tests: started, awaited by what they print, and surely ended. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import readline from 'node:readline';
import type { PayloadSpec, ProcessRef } from '../../agent/lifetime/types.ts';

/** Generous: a loaded machine starts a Node process in some 100 ms. */
const OUTPUT_TIMEOUT_MS = 60_000;

/** What of node:test's TestContext is needed here. */
export interface Ending {
  after(fn: () => void | Promise<void>): void;
}

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface TestPayload {
  readonly pid: number;
  readonly ref: ProcessRef;
  readonly child: ChildProcess;
  /** First line that matches, also of those already printed. Rejects when it ends without. */
  line(match: RegExp): Promise<RegExpExecArray>;
  readonly ended: Promise<Ended>;
}

export interface StartOptions {
  readonly uid?: number;
  /** Group and session of its own; default true. */
  readonly detached?: boolean;
  /** What runs instead of `node -e SCRIPT`. It must print `ready` too. */
  readonly command?: readonly [string, ...string[]];
}

/** In front of each script: `say` reaches the pipe even if the process is killed in the next moment. */
const PRELUDE = `
const { spawn } = require('node:child_process');
const say = (text) => require('node:fs').writeSync(1, text + '\\n');
setInterval(() => {}, 1 << 30);
`;

/** The bodies of misbehaviour. Each says `ready` when it is in its bad habit, `pid N` for each process that it starts. */
export const SCRIPTS = {
  /** Ends on SIGTERM, as everybody should. */
  plain: `say('ready');`,
  /** Says `got SIGTERM` and stays. */
  ignoresTerm: `process.on('SIGTERM', () => say('got SIGTERM')); say('ready');`,
  /** Three children in its group. */
  forks: `for (let n = 0; n < 3; n += 1) say('pid ' + spawn('sleep', ['1000'], { stdio: 'ignore' }).pid); say('ready');`,
  /** Leaves a child in its group and ends. */
  leavesGroup: `say('pid ' + spawn('sleep', ['1000'], { stdio: 'ignore' }).pid); say('ready');
    require('node:fs').readSync(0, Buffer.alloc(1), 0, 1, null); process.exit(0);`,
  /** One child in a session of its own. */
  setsid: `const child = spawn('setsid', ['sleep', '1000'], { stdio: 'ignore' });
    say('pid ' + child.pid);
    const comm = () => require('node:fs').readFileSync('/proc/' + child.pid + '/comm', 'utf8').trim();
    const wait = setInterval(() => { if (comm() === 'sleep') { clearInterval(wait); say('ready'); } }, 2);`,
  /** A name that a careless reader of /proc/PID/stat stumbles over. */
  oddName: `process.title = 'a) R 1 (b c'; say('ready');`,
  /** A new child for each that ends, for as long as it lives. */
  respawns: `const again = () => spawn('sleep', ['1000'], { stdio: 'ignore' }).on('exit', again); again(); again(); say('ready');`,
  /** Gone at once. */
  exits: `say('ready'); process.exit(3);`,
} as const;

/**
 * Starts `script` in Node and waits for its `ready`. At the end of the test everything that carries its environment is
 * killed, whatever it did to its group, session, parent or name.
 */
export async function startPayload(t: Ending, script: string, options: StartOptions = {}): Promise<TestPayload> {
  const marker = `MJF_TEST_PAYLOAD=${randomUUID()}`;
  const [command, ...args] = options.command ?? [process.execPath, '-e', PRELUDE + script];
  const child = spawn(command, args, {
    env: { PATH: process.env['PATH'], MJF_TEST_PAYLOAD: marker.slice(marker.indexOf('=') + 1) },
    cwd: '/',
    stdio: ['pipe', 'pipe', 'inherit'],
    detached: options.detached ?? true,
    ...(options.uid === undefined ? {} : { uid: options.uid, gid: options.uid }),
  });
  const ended = new Promise<Ended>((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })));
  const line = collectLines(child);
  t.after(async () => {
    endMarked(marker);
    child.stdin.destroy();
    child.stdout.destroy();
    if (child.pid !== undefined) await ended;
  });
  await new Promise((resolve, reject) => child.once('spawn', resolve).once('error', reject));
  const pid = child.pid ?? 0;
  // Read before `ready` is awaited: one that ends at once is not reaped before this synchronous look.
  const ref = { pid, startTicks: startTicksOf(pid) };
  await line(/^ready$/);
  return { pid, ref, child, line, ended };
}

/** Start time by the plainest possible reading, independent of the code under test. */
export function startTicksOf(pid: number): number {
  const text = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
  return Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[19]);
}

/** Whether a process of this number is there and has not ended. */
export function isAlive(pid: number): boolean {
  try {
    const text = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    // A zombie with threads left is still dying, or lives on in them.
    return !/^[ZX]/.test(fields[0] ?? '') || (fields[0] === 'Z' && Number(fields[17]) > 1);
  } catch {
    return false;
  }
}

/** Waits until a process that is no child of ours has ended; bounded. */
export async function untilDead(pid: number): Promise<void> {
  const giveUpAt = Date.now() + OUTPUT_TIMEOUT_MS;
  while (isAlive(pid)) {
    if (Date.now() > giveUpAt) throw new Error(`process ${pid} still lives`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A registration of the payload, as the registry would make it. */
export function specOf(payload: Pick<TestPayload, 'ref'>, changes: Partial<PayloadSpec> = {}): PayloadSpec {
  return {
    id: `p${payload.ref.pid}`,
    name: 'test',
    uid: process.getuid?.() ?? 0,
    target: { kind: 'process', leader: payload.ref, group: true },
    registeredMs: 0,
    ...changes,
  };
}

function collectLines(child: ChildProcess): (match: RegExp) => Promise<RegExpExecArray> {
  const seen: string[] = [];
  const waiting = new Set<() => void>();
  let over = false;
  const wake = () => {
    for (const one of waiting) one();
  };
  if (child.stdout === null) throw new Error('the payload has no standard output');
  readline
    .createInterface({ input: child.stdout })
    .on('line', (text) => {
      seen.push(text);
      wake();
    })
    .on('close', () => {
      over = true;
      wake();
    });
  return (match) =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => settle(new Error(`no line like ${match} in time`)), OUTPUT_TIMEOUT_MS);
      const settle = (result: RegExpExecArray | Error) => {
        clearTimeout(timer);
        waiting.delete(look);
        if (result instanceof Error) reject(result);
        else resolve(result);
      };
      const look = () => {
        for (const text of seen) {
          const found = match.exec(text);
          if (found !== null) return settle(found);
        }
        if (over) settle(new Error(`ended without a line like ${match}`));
      };
      waiting.add(look);
      look();
    });
}

/** Rounds, since something may fork while we look. */
function endMarked(marker: string): void {
  for (let round = 0; round < 20; round += 1) {
    const pids = fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name) && carries(name, marker));
    if (pids.length === 0) return;
    for (const pid of pids) {
      try {
        process.kill(Number(pid), 'SIGKILL');
      } catch {
        // It went by itself.
      }
    }
  }
}

function carries(pid: string, marker: string): boolean {
  try {
    // Empty for a zombie, so the rounds come to an end.
    return fs.readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(marker);
  } catch {
    return false;
  }
}
