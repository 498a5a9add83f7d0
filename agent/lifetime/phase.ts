/** The machine's phase: a function of its deadline, `[stop]` and the time, and of nothing else (SEMANTICS S3.1, S3.7). */
import type { NoticeInForce } from './notice.ts';
import type { Phase, Policy } from './types.ts';

export interface MachinePlan {
  /** On this machine's clock. */
  readonly deadlineMs: number | null;
  readonly drainAtMs: number | null;
  readonly stopAtMs: number | null;
  /** False: the deadline comes from another boot and its source has not spoken yet; it may drain, not stop (S4.1). */
  readonly confirmed: boolean;
}

/** When draining and stopping begin. A drain notice alone gives a drain time and no more. */
export function machinePlan(
  decisive: NoticeInForce | undefined,
  drains: readonly NoticeInForce[],
  policy: Policy,
): MachinePlan {
  const deadlineMs = decisive?.planMs ?? null;
  const stopAtMs = deadlineMs === null ? null : deadlineMs - policy.graceMs;
  const drainTimes = drains.map((notice) => notice.planMs ?? notice.firstSeenMs);
  if (deadlineMs !== null && stopAtMs !== null) drainTimes.push(Math.min(deadlineMs - policy.drainMs, stopAtMs));
  return {
    deadlineMs,
    stopAtMs,
    drainAtMs: drainTimes.length === 0 ? null : Math.min(...drainTimes),
    confirmed: decisive?.confirmed ?? true,
  };
}

/** `alive`: payloads that still live. Boundaries belong to the later phase. */
export function phaseAt(plan: MachinePlan, nowMs: number, alive: number): Phase {
  const { deadlineMs, drainAtMs, stopAtMs } = plan;
  if (deadlineMs !== null && nowMs >= deadlineMs) return 'stopped';
  if (stopAtMs !== null && nowMs >= stopAtMs && plan.confirmed) return alive === 0 ? 'stopped' : 'stopping';
  return drainAtMs !== null && nowMs >= drainAtMs ? 'draining' : 'running';
}

/** The next moment at which the phase changes by itself, or null. */
export function nextPhaseChangeMs(plan: MachinePlan, nowMs: number): number | null {
  const ahead = [plan.drainAtMs, plan.stopAtMs, plan.deadlineMs].filter(
    (at): at is number => at !== null && at > nowMs,
  );
  return ahead.length === 0 ? null : Math.min(...ahead);
}
