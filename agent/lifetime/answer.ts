/**
 * "This virtual machine can be terminated": the machine's one answer to the site, from what each living payload says of its
 * own end (SEMANTICS S5.1, S5.2). Three things can be said: now; from a time on (all have promised one); or that work is lost
 * before a time (somebody reckons with that, or does not know).
 */
import type { CanTerminate, Instant, MachineAnswer, PayloadSpec } from './types.ts';
import { earliest, type Wake } from './wake.ts';

/** `living`: those that live; `ended`: how many have, since boot. null: nobody ever registered, so nothing is offered (S5.2). */
export function machineAnswer(
  living: readonly Pick<PayloadSpec, 'canTerminate'>[],
  ended: number,
  nowMs: number,
): MachineAnswer | null {
  if (living.length === 0) return ended === 0 ? null : NOW;
  const progress = meanProgress(living);
  const words = living.map(({ canTerminate }) => wordOf(canTerminate, nowMs));
  if (words.every(({ is }) => is === 'now')) return { ...NOW, progress };
  const times = words.map((word) => ('ms' in word ? word.ms : word.is === 'now' ? 0 : null));
  const estimates = words.flatMap((word) => (word.is === 'estimate' ? [word.ms] : []));
  return {
    now: false,
    atMs: times.includes(null) ? null : Math.max(...times.map(Number)),
    mustNotUntilMs: estimates.length === 0 ? null : Math.max(...estimates),
    progress,
  };
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

/** Who lives beyond his own estimate has reckoned wrongly: that he still lives is no reason to end him now. */
function wordOf(said: CanTerminate | undefined, nowMs: number): Word {
  if (said === undefined) return { is: 'unknown' };
  if (said.now || (said.atMs !== null && said.atMs <= nowMs)) return { is: 'now' };
  if (said.atMs !== null) return { is: 'promise', ms: said.atMs };
  if (said.untilMs !== undefined && said.untilMs > nowMs) return { is: 'estimate', ms: said.untilMs };
  return { is: 'unknown' };
}

/** Rounded down in hundredths, so that a payload that counts in small steps does not rewrite the files at each. */
function meanProgress(living: readonly Pick<PayloadSpec, 'canTerminate'>[]): number | null {
  const known = living.flatMap(({ canTerminate }) => canTerminate?.progress ?? []);
  if (known.length === 0) return null;
  return Math.floor((100 * known.reduce((sum, each) => sum + each, 0)) / known.length) / 100;
}
