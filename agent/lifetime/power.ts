/**
 * When the machine is to be switched off (SEMANTICS S3.7, S5.2), as a level: it holds as long as it is true, and a payload
 * that comes takes it back.
 */
import type { MachinePlan } from './phase.ts';
import { isAlive } from './restart.ts';
import { type PayloadRecord, runningEpisode, type State } from './state.ts';
import { orderedSteps, payloadDeadline, planSteps } from './steps.ts';
import type { Instant, Policy, StepResult } from './types.ts';
import { earliest, type Wake } from './wake.ts';

/**
 * Whoever takes a payload's last step says so at once. One who says nothing (an `exec` that is stopped, a hook that cannot be
 * begun) holds up the machine no longer than the 30 s that S3.5 gives to anybody.
 */
const REPORT_WITHIN_MS = 30_000;
/**
 * So long after the deadline nobody who came after it is waited for any more: twice the 30 s that S3.5 gives to one who comes
 * at the deadline itself. Whoever begins a payload every 20 s would else keep the machine up for ever (S3.7).
 */
const NEWCOMERS_WITHIN_MS = 60_000;

export function powerOff(
  state: State,
  plan: MachinePlan,
  now: Instant,
): { readonly why: StepResult<State>['powerOff']; readonly wake: Wake } {
  const wake: Wake = { wall: null, mono: null };
  const alive = Object.values(state.payloads).filter(isAlive);
  if (isOver(alive, state, plan, now, wake)) return { why: 'deadline', wake };
  return { why: isDone(alive, state, now, wake) ? 'done' : null, wake };
}

/** The deadline that is acted on (S4.1) has passed, and for those who live nothing is left to be done. */
function isOver(
  alive: readonly PayloadRecord[],
  { policy, pastSinceMono }: State,
  plan: MachinePlan,
  now: Instant,
  wake: Wake,
): boolean {
  const { acting } = plan;
  if (policy.atDeadline !== 'poweroff' || acting === undefined) return false;
  if (now.wall < acting.deadlineMs) {
    wake.wall = acting.deadlineMs;
    return false;
  }
  const pastMono = pastSinceMono ?? now.mono;
  const newcomersUntilMono = pastMono + NEWCOMERS_WITHIN_MS;
  let waits = false;
  for (const record of alive) {
    const isNewcomer = record.registeredMono !== undefined && record.registeredMono > pastMono;
    if (isNewcomer && now.mono >= newcomersUntilMono) continue;
    const until = stepsEnd(record, policy, plan);
    // Only what is ahead: a moment that has passed would wake us again and again.
    const wall = until.wall !== null && until.wall > now.wall ? until.wall : null;
    const mono = until.mono !== null && until.mono > now.mono ? until.mono : null;
    if (wall === null && mono === null) continue;
    waits = true;
    if (isNewcomer) wake.mono = earliest(wake.mono, newcomersUntilMono);
    wake.wall = earliest(wake.wall, wall);
    wake.mono = earliest(wake.mono, mono);
  }
  return !waits;
}

/** Until when the payload's steps are waited for; both null: all are taken. */
function stepsEnd(record: PayloadRecord, policy: Policy, plan: MachinePlan): Wake {
  const { spec } = record;
  const deadlineMs = payloadDeadline(spec, plan)?.deadlineMs;
  if (deadlineMs === undefined) return { wall: null, mono: null };
  const running = runningEpisode(record);
  const marks = new Map(running?.marks.map((mark) => [mark.step.index, mark]));
  // Whose stop signal has not gone out gets it at the deadline, or as soon as it is there (S3.7).
  const latestMs = Math.max(deadlineMs, spec.registeredMs);
  const steps = running?.steps ?? orderedSteps(spec, policy);
  const end: Wake = { wall: null, mono: null };
  for (const step of planSteps(spec, policy, steps, deadlineMs, running?.anchor ?? null, latestMs)) {
    const mark = marks.get(step.index);
    if (mark !== undefined && mark.state !== 'issued' && mark.state !== 'repeat') continue;
    const dueMono = mark?.at.mono ?? step.dueMono;
    if (dueMono !== null) end.mono = Math.max(end.mono ?? dueMono, dueMono + REPORT_WITHIN_MS);
    else end.wall = Math.max(end.wall ?? step.dueMs, step.dueMs + REPORT_WITHIN_MS);
  }
  return end;
}

/** Who came while nobody looked says so at once (`exec`), or is found within some looks ([[payload]]). */
const FOUND_WITHIN_MS = 10_000;

/** Payloads have lived, none does now, and the machine has been idle for long enough. */
function isDone(
  alive: readonly PayloadRecord[],
  { policy, tally, unfoundSinceMono }: State,
  now: Instant,
  wake: Wake,
): boolean {
  if (policy.whenDone !== 'poweroff' || alive.length > 0 || tally.lastEndMono === null) return false;
  const idleMono = Math.max(
    tally.lastEndMono + policy.idleMs,
    unfoundSinceMono === null ? Number.NEGATIVE_INFINITY : unfoundSinceMono + FOUND_WITHIN_MS,
  );
  if (now.mono >= idleMono) return true;
  wake.mono = earliest(wake.mono, idleMono);
  return false;
}
