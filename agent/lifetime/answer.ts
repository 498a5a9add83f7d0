/**
 * "This virtual machine can be terminated": the machine's one answer to the site, from what each living payload says of its
 * own end (SEMANTICS S5.1, S5.2). Three things can be said: now; from a time on (all have promised one); or that work is lost
 * before a time (somebody reckons with that, or does not know).
 */
import type { CanTerminate, Instant, MachineAnswer, PayloadSpec } from './types.ts';
import { earliest, type Wake } from './wake.ts';

/**
 * `living`: those that live; `ended`: how many have, since boot. null: nobody ever registered, so nothing is offered (S5.2).
 * One walk, since it is taken with every step of the heart.
 */
export function machineAnswer(
  living: readonly Pick<PayloadSpec, 'canTerminate'>[],
  ended: number,
  nowMs: number,
): MachineAnswer | null {
  if (living.length === 0) return ended === 0 ? null : NOW;
  let isNow = true;
  let atMs: number | null = nowMs;
  let mustNotUntilMs: number | null = null;
  for (const { canTerminate } of living) {
    const word = wordOf(canTerminate, nowMs);
    if (word.is === 'now') continue;
    isNow = false;
    if (!('ms' in word)) {
      atMs = null;
      continue;
    }
    if (atMs !== null) atMs = Math.max(atMs, word.ms);
    if (word.is === 'estimate') mustNotUntilMs = Math.max(mustNotUntilMs ?? word.ms, word.ms);
  }
  return { now: isNow, atMs: isNow ? null : atMs, mustNotUntilMs, progress: meanProgress(living) };
}

const NOW: MachineAnswer = { now: true, atMs: null, mustNotUntilMs: null, progress: null };

/** When the answer changes although nobody says anything: a promise comes true, an estimate turns out to be wrong. */
export function answerWake(living: readonly Pick<PayloadSpec, 'canTerminate'>[], now: Instant): Wake {
  const wake: Wake = { wall: null, mono: null };
  for (const { canTerminate } of living) {
    const word = wordOf(canTerminate, now.wall);
    if (word.is === 'promise' || word.is === 'estimate') wake.wall = earliest(wake.wall, word.ms);
  }
  return wake;
}

type Word = { readonly is: 'now' | 'unknown' } | { readonly is: 'promise' | 'estimate'; readonly ms: number };

const CAN_NOW: Word = { is: 'now' };
const UNKNOWN: Word = { is: 'unknown' };

/** Who lives beyond his own estimate has reckoned wrongly: that he still lives is no reason to end him now. */
function wordOf(said: CanTerminate | undefined, nowMs: number): Word {
  if (said === undefined) return UNKNOWN;
  if (said.now || (said.atMs !== null && said.atMs <= nowMs)) return CAN_NOW;
  if (said.atMs !== null) return { is: 'promise', ms: said.atMs };
  if (said.untilMs !== undefined && said.untilMs > nowMs) return { is: 'estimate', ms: said.untilMs };
  return UNKNOWN;
}

/** What is lost by counting in binary: 0.29 is 28.999… hundredths. */
const BINARY_ERROR = 1e-9;

/** Rounded down in hundredths, so that a payload that counts in small steps does not rewrite the files at each. */
function meanProgress(living: readonly Pick<PayloadSpec, 'canTerminate'>[]): number | null {
  let sum = 0;
  let known = 0;
  for (const { canTerminate } of living) {
    if (canTerminate?.progress === undefined) continue;
    sum += canTerminate.progress;
    known += 1;
  }
  return known === 0 ? null : Math.floor((100 * sum) / known + BINARY_ERROR) / 100;
}
