/** One hook program as a process: started, or followed after a restart of the agent; ended when its time is over. */
import { setTimeout as sleep } from 'node:timers/promises';
import { processLives, readProcessStat } from '../payloads/process.ts';
import { type SpawnUser, spawnClean } from '../spawn-clean.ts';
import { type Group, openGroup } from './group.ts';
import type { HookOutcome, HookProgram } from './hand.ts';
import { type OnLine, openStdio, type Reading, readPipes, reopenPipes } from './output.ts';

/** Between SIGTERM and SIGKILL: what a script needs to clean up. A shorter time is halved. */
const TERM_LEAD_MS = 2_000;
/** How often a program that is not our child is looked at. */
const LOOK_MS = 200;
/** One that SIGKILL does not end hangs in the kernel (a dead share): nobody waits for it any longer. */
const GIVE_UP_MS = 5_000;
/** Output that is still on its way when the program has ended; what it left running has no reader afterwards. */
const OUTPUT_GRACE_MS = 200;

export interface ProgramOptions {
  /** All that it may take, the time from SIGTERM to SIGKILL included. */
  readonly timeoutMs: number;
  readonly onLine: OnLine;
  readonly signal?: AbortSignal;
  readonly procRoot: string;
}

export interface StartOptions extends ProgramOptions {
  /** As whom; absent = as we are. */
  readonly user?: SpawnUser;
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: string;
  /** Writable for us alone, best on tmpfs. */
  readonly scratchDir: string;
  onStarted?(program: HookProgram): void;
}

type Ended = { readonly code: number | null; readonly signal: string | null };

/** Runs `file` to its end. Keeps no process alive: the program outlives us where we end first. Never rejects. */
export async function runProgram(file: string, options: StartOptions): Promise<HookOutcome> {
  const begun = performance.now();
  let stdio: Awaited<ReturnType<typeof openStdio>>;
  try {
    stdio = await openStdio(options.scratchDir, options.stdin);
  } catch (error) {
    return { is: 'not_run', code: 'failed', detail: `no pipes for it: ${(error as Error).message}` };
  }
  const spawned = spawnClean(file, [], {
    cwd: '/',
    env: { ...options.env },
    stdio: [...stdio.fds],
    // A session of its own: nobody else can come into its group, so that a signal to the group hits its processes only.
    detached: true,
    ...(options.user === undefined ? {} : { user: options.user }),
  });
  if ('error' in spawned) {
    stdio.discard();
    return { is: 'not_run', code: 'failed', detail: `it cannot be started (${spawned.error})` };
  }
  const { child } = spawned;
  const over = new Promise<Ended | Error>((resolve) => {
    child.once('error', resolve);
    child.once('exit', (code, signal) => resolve({ code, signal }));
  });
  child.unref();
  stdio.release();
  const reading = readPipes(stdio.ends, options.onLine);
  const { pid } = child;
  if (pid === undefined) {
    reading.close();
    const why = await over;
    return { is: 'not_run', code: 'failed', detail: why instanceof Error ? why.message : 'it cannot be started' };
  }
  const { procRoot } = options;
  const program = { pid, startTicks: startTicksOf(pid, procRoot), pipes: stdio.pipes };
  options.onStarted?.(program);
  const uid = options.user?.uid ?? process.geteuid?.() ?? 0;
  return supervise(openGroup(program, { procRoot, uid, child }), over, reading, begun, options);
}

export interface FollowOptions extends ProgramOptions {
  /** As whom it was started. */
  readonly uid: number;
}

/** Follows a program that was started earlier; `ended` without a code when it is gone. Never rejects. */
export function followProgram(program: HookProgram, options: FollowOptions): Promise<HookOutcome> {
  const begun = performance.now();
  const { procRoot, uid } = options;
  const lives = (): boolean => processLives(program, procRoot);
  const group = openGroup(program, { procRoot, uid, child: null });
  const reading = readPipes(lives() ? reopenPipes(program, procRoot) : [], options.onLine);
  const over = (async (): Promise<Ended> => {
    while (lives()) {
      group.look();
      await sleep(LOOK_MS, undefined, { ref: false });
    }
    return { code: null, signal: null };
  })();
  return supervise(group, over, reading, begun, options);
}

async function supervise(
  group: Group,
  over: Promise<Ended | Error>,
  reading: Reading,
  begunMs: number,
  { timeoutMs, signal }: ProgramOptions,
): Promise<HookOutcome> {
  let late = false;
  const leadMs = Math.min(TERM_LEAD_MS, timeoutMs / 2);
  const timers: NodeJS.Timeout[] = [];
  const arm = (ms: number, action: () => void): void => {
    timers.push(setTimeout(action, Math.max(0, ms)).unref());
  };
  let giveUp = (): void => {};
  const stuck = new Promise<Ended>((resolve) => {
    giveUp = () => resolve({ code: null, signal: null });
  });
  const stop = (leftMs: number): void => {
    if (late) return;
    late = true;
    group.strike('SIGTERM');
    arm(leftMs, () => group.strike('SIGKILL'));
    arm(leftMs + GIVE_UP_MS, giveUp);
  };
  const abort = (): void => stop(TERM_LEAD_MS);
  arm(timeoutMs - leadMs - (performance.now() - begunMs), () => stop(leadMs));
  signal?.addEventListener('abort', abort, { once: true });
  if (signal?.aborted === true) abort();

  const ended = await Promise.race([over, stuck]);
  signal?.removeEventListener('abort', abort);
  for (const timer of timers) clearTimeout(timer);
  // Who obeyed may have left somebody behind who does not.
  if (late) group.strike('SIGKILL');
  await Promise.race([reading.ended, sleep(OUTPUT_GRACE_MS, undefined, { ref: false })]);
  reading.close();
  const ms = Math.round(performance.now() - begunMs);
  if (ended instanceof Error) return { is: 'not_run', code: 'failed', detail: ended.message };
  return late ? { is: 'timeout', ms } : { is: 'ended', ...ended, ms };
}

/** 0 where it cannot be read: then nothing of that number is ever taken for it. */
function startTicksOf(pid: number, procRoot: string): number {
  try {
    return readProcessStat(pid, procRoot)?.startTicks ?? 0;
  } catch {
    return 0;
  }
}
