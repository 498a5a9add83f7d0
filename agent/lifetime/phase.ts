/** The machine's phase: a function of its deadline, `[stop]` and the time, and of nothing else (SEMANTICS S3.1, S3.7). */
import { deadlineNotices, drainNotices, type NoticeInForce } from './notice.ts';
import type { Instant, Phase, Policy } from './types.ts';

export interface MachinePlan {
  /** On this machine's clock. */
  readonly deadlineMs: number | null;
  readonly drainAtMs: number | null;
  readonly stopAtMs: number | null;
  /**
   * The deadline by which payloads may be stopped already, and the notice that set it. Absent or later than `deadlineMs`
   * while an earlier one comes from another boot and its source has not spoken yet (S4.1).
   */
  readonly acting?: { readonly deadlineMs: number; readonly noticeId: string };
}

/**
 * When draining and stopping begin. A drain notice alone gives a drain time and no more. An unconfirmed deadline drains at
 * its time but stops only when it has come (S4.1); it does not keep a later, confirmed one from being acted on.
 */
export function machinePlan(notices: readonly NoticeInForce[], policy: Policy, now: Instant): MachinePlan {
  const timed = deadlineNotices(notices);
  const deadlineMs = timed[0]?.planMs ?? null;
  const stopTimes = timed.map(({ confirmed, planMs }) => (confirmed ? planMs - policy.graceMs : planMs));
  const drainTimes = drainNotices(notices).map((notice) => notice.planMs ?? notice.firstSeenMs);
  if (deadlineMs !== null) drainTimes.push(deadlineMs - Math.max(policy.drainMs, policy.graceMs));
  const acting = timed.find(({ confirmed, planMs }) => confirmed || planMs <= now.wall);
  return {
    deadlineMs,
    drainAtMs: earliest(drainTimes),
    stopAtMs: earliest(stopTimes),
    ...(acting && { acting: { deadlineMs: acting.planMs, noticeId: acting.id } }),
  };
}

const earliest = (times: readonly number[]): number | null => (times.length === 0 ? null : Math.min(...times));

/** `alive`: payloads that still live. Boundaries belong to the later phase. */
export function phaseAt(plan: MachinePlan, nowMs: number, alive: number): Phase {
  const { deadlineMs, drainAtMs, stopAtMs } = plan;
  if (deadlineMs !== null && nowMs >= deadlineMs) return 'stopped';
  if (stopAtMs !== null && nowMs >= stopAtMs) return alive === 0 ? 'stopped' : 'stopping';
  return drainAtMs !== null && nowMs >= drainAtMs ? 'draining' : 'running';
}

/** The next moment at which the phase changes by itself, or null. */
export function nextPhaseChangeMs(plan: MachinePlan, nowMs: number): number | null {
  const ahead = [plan.drainAtMs, plan.stopAtMs, plan.deadlineMs].filter(
    (at): at is number => at !== null && at > nowMs,
  );
  return earliest(ahead);
}
