/** One signal effect on its way: who was looked at, and what is to be told of it. */
import type { Logger } from 'pino';
import type { Effect, Instant, StepOutcome } from '../lifetime/types.ts';
import type { Aim } from './aim.ts';
import { groupPath } from './cgroup-target.ts';
import { ProcessUnreadableError } from './process.ts';

export type SignalEffect = Extract<Effect, { readonly type: 'signal' }>;

export interface Attempt {
  readonly effect: SignalEffect;
  readonly aim: Aim;
  /** Start time by pid of whoever was looked at: nobody gets a signal of one step twice. */
  readonly seen: Map<number, number>;
  delivered: number;
  refused: number;
  refusal: string | null;
  firstAt: Instant | null;
}

export function started(effect: SignalEffect, aim: Aim): Attempt {
  return { effect, aim, seen: new Map(), delivered: 0, refused: 0, refusal: null, firstAt: null };
}

/** Of one that had the signal already: it counts as looked at. */
export function spare({ effect, seen }: Attempt): void {
  const { target } = effect.payload;
  if (target.kind === 'process') seen.set(target.leader.pid, target.leader.startTicks);
}

export function refuse(attempt: Attempt, why: string): void {
  attempt.refused += 1;
  attempt.refusal = why;
}

export function outcomeOf(attempt: Attempt): StepOutcome {
  if (attempt.delivered > 0) return 'delivered';
  return attempt.refusal === null ? 'no_process' : 'refused';
}

/** null: the process ended on its own, which is fine. */
export function refusalOf(error: unknown): string | null {
  if (error instanceof ProcessUnreadableError) return 'unreadable';
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'internal';
  return code === 'ESRCH' ? null : code.toLowerCase();
}

export function logRefusal({ effect, refusal }: Attempt, log: Logger): void {
  log.warn(
    { event: 'signal_refused', ...labels(effect), reason: refusal },
    'a signal is held back: the process cannot be shown to be the payload',
  );
}

/** Of a step that was delivered to others. */
export function logLeftOut({ effect, refused, refusal }: Attempt, log: Logger): void {
  log.warn(
    { event: 'signal_left_out', ...labels(effect), processes: refused, reason: refusal },
    'a signal is held back from some of the processes',
  );
}

function labels({ payload, step, to }: SignalEffect): Readonly<Record<string, unknown>> {
  const { target } = payload;
  const who = target.kind === 'process' ? { pid: target.leader.pid } : { cgroup: groupPath(target) };
  return { payload: payload.id, ...who, to, signal: step.signal };
}
