/**
 * Switching the machine off (SEMANTICS S3.7, S5.2): by the host's own `shutdown_command` where it names one, else through
 * systemd. Level-triggered: as long as the heart says so, failures are tried again; a payload that comes takes it back.
 */
import type { Logger } from 'pino';
import type { Clock } from '../clock.ts';
import type { Hand } from '../hand/hand.ts';
import { SAFE_PATH } from '../hand/safe-path.ts';
import { trusted } from '../hand/trust.ts';
import { spawnClean } from '../spawn-clean.ts';

export type PowerLevel = 'done' | 'deadline' | null;

export interface PowerOptions {
  readonly hand: Pick<Hand, 'powerOff'>;
  readonly log: Logger;
  /** `mjf_poweroff_total{outcome}`; outcome: asked, failed. */
  count(metric: string, labels: Readonly<Record<string, string>>): void;
  readonly clock: Pick<Clock, 'now'>;
  /** The host's feature of that name, from a source that may be trusted with it; null: none. */
  shutdownCommand(): string | null;
  /** Who the agent is (effective): its files and root's may be run. */
  readonly uid: number;
  /** Something is still on its way that the site waits for: the last word. */
  holdFor(): boolean;
  readonly retryMs?: { readonly first: number; readonly last: number };
}

export interface Power {
  /** The heart's word, as often as it comes. */
  update(level: PowerLevel): void;
  /** Nothing more is done. What was asked for goes on. */
  stop(): void;
}

/** The site's server may be slow; beyond this a machine that costs money matters more than a word. */
const HOLD_MS = 30_000;
const HOLD_LOOK_MS = 250;
/** The first failure may be a bus that restarts; later on somebody has to mend something. */
const DEFAULT_RETRY_MS = { first: 5_000, last: 300_000 };
/** `shutdown` returns at once. One that does not may be waiting for the machine's end, or hang. */
const COMMAND_MS = 60_000;
/** Longer than any path and its options. */
const MAX_COMMAND = 4_096;

/** Keeps no process alive. Never throws. */
export function openPower(options: PowerOptions): Power {
  const { log, clock, hand } = options;
  const retryMs = options.retryMs ?? DEFAULT_RETRY_MS;
  let level: PowerLevel = null;
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;
  /** Of what is going on for this level; another number: it is over. */
  let round = 0;

  function update(next: PowerLevel): void {
    if (stopped || next === level) return;
    const before = level;
    level = next;
    // Off for another reason is off all the same.
    if (before !== null && next !== null) return;
    round += 1;
    clearTimeout(timer);
    if (next === null) {
      log.warn({ event: 'poweroff_taken_back' }, 'the machine is not to be switched off any more');
      return;
    }
    const why = next === 'done' ? 'every payload has ended' : 'the deadline has passed';
    log.warn({ event: 'poweroff_due', reason: next }, `the machine is going to be switched off: ${why}`);
    hold(clock.now().mono + HOLD_MS);
  }

  function hold(untilMono: number): void {
    if (options.holdFor() && clock.now().mono < untilMono) arm(HOLD_LOOK_MS, () => hold(untilMono));
    else void attempt(0);
  }

  async function attempt(failures: number): Promise<void> {
    const mine = round;
    log.warn({ event: 'poweroff', reason: level }, 'the machine is switched off now');
    const why = await ask(() => mine === round && !stopped);
    options.count('mjf_poweroff_total', { outcome: why === null ? 'asked' : 'failed' });
    if (mine !== round || stopped || why === null) return;
    const delayMs = Math.min(retryMs.last, retryMs.first * 2 ** Math.min(16, failures)) * (0.5 + Math.random() / 2);
    const secs = Math.round(delayMs / 1000);
    log.error({ event: 'poweroff_failed', retry_secs: secs }, `the machine cannot be switched off: ${why}`);
    arm(delayMs, () => void attempt(failures + 1));
  }

  /** null: it is on its way. */
  async function ask(wanted: () => boolean): Promise<string | null> {
    const command = options.shutdownCommand();
    const words = command === null ? null : wordsOf(command, new Set([0, options.uid]));
    if (words !== null && 'refused' in words) {
      const why = words.refused;
      log.error({ event: 'shutdown_command_refused', why }, `the host's shutdown_command is not run: ${why}`);
    } else if (words !== null) {
      const why = await runCommand(words);
      if (why === null || !wanted()) return why;
      log.error({ event: 'shutdown_command_failed', why }, `the host's shutdown_command does not work: ${why}`);
    }
    const result = await hand.powerOff();
    return result.ok ? null : `${result.detail} (${result.code})`;
  }

  function arm(afterMs: number, action: () => void): void {
    clearTimeout(timer);
    timer = setTimeout(action, afterMs);
    timer.unref();
  }

  return {
    update,
    stop() {
      stopped = true;
      clearTimeout(timer);
    },
  };
}

interface Words {
  readonly file: string;
  readonly args: readonly string[];
}

/**
 * A full path, perhaps with words behind it (mjf.md: "a full path to run instead of shutdown"). The host names it, but who may
 * write the file in this machine decides what is run with our rights: only `owners`, as for hooks.
 */
function wordsOf(command: string, owners: ReadonlySet<number>): Words | { readonly refused: string } {
  const [file = '', ...args] = command.trim().split(/\s+/);
  if (!file.startsWith('/') || command.length > MAX_COMMAND || command.includes('\0'))
    return { refused: 'it is no full path' };
  const found = trusted(file, owners);
  if (!found.ok) return { refused: found.detail };
  return found.stat.isFile() ? { file, args } : { refused: `${file} is not a regular file` };
}

/** Without a shell. What is wrong, or null. It is not ended when its time is over: it may be waiting for the machine to go. */
function runCommand({ file, args }: Words): Promise<string | null> {
  const spawned = spawnClean(file, args, {
    cwd: '/',
    env: { PATH: SAFE_PATH, LC_ALL: 'C' },
    // No pipe: it may well outlive us, and must not die of a reader that is gone.
    stdio: 'ignore',
    detached: true,
  });
  if ('error' in spawned) return Promise.resolve(`${file}: ${spawned.error}`);
  const { child } = spawned;
  return new Promise((resolve) => {
    const end = (why: string | null): void => {
      clearTimeout(timer);
      resolve(why);
    };
    const timer = setTimeout(() => end(`it has not ended after ${COMMAND_MS / 1000} s`), COMMAND_MS);
    timer.unref();
    child.on('error', (error) => end(error.message));
    child.once('exit', (code, signal) => end(code === 0 ? null : `it ended with ${signal ?? `exit code ${code}`}`));
    child.unref();
  });
}
