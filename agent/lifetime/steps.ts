/** When each step of stopping a payload is due, by its deadline and window (SEMANTICS S3.3–S3.5). What has been done is escalation.ts. */
import type { MachinePlan } from './phase.ts';
import {
  type EscalationStep,
  hookOf,
  type Instant,
  type PayloadSpec,
  type Policy,
  type StepReceiver,
} from './types.ts';

/** S3.5: the share of a short window that belongs to the payload before it is killed. */
const SHORT_WINDOW_SHARE = 0.8;
/** S3.5: what a payload gets between SIGTERM and SIGKILL when the deadline has already passed. */
const AFTER_DEADLINE_MS = 30_000;
/** Stands for a notice where a payload's own deadline is the one that counts. */
export const OWN_DEADLINE = 'own';

export interface PlannedStep {
  readonly index: number;
  readonly signal: string;
  readonly to: StepReceiver;
  /** On the wall clock; once the anchor is set an estimate of the monotonic instant. */
  readonly dueMs: number;
  readonly dueMono: number | null;
  readonly at: EscalationStep['at'];
  readonly kill: boolean;
  /** The program that it runs instead of a signal. */
  readonly hook: string | null;
}

const leadOf = (step: EscalationStep, spec: PayloadSpec, policy: Policy): number =>
  step.at === 'grace' ? stopLeadMs(spec, policy) : step.at;

/** How long before its deadline a payload is asked to stop where its steps say `grace`: the time that it has to do so. */
export const stopLeadMs = (spec: PayloadSpec, policy: Policy): number => spec.graceMs ?? defaultLead(spec, policy);

/** A unit gets the time that it was written to need, where that is more. */
const defaultLead = ({ target }: PayloadSpec, { graceMs }: Policy): number =>
  target.kind === 'unit' ? Math.max(graceMs, target.stopTimeoutMs ?? 0) : graceMs;

/** In the order of their times, so that the first is the one with which stopping begins. */
export function orderedSteps(spec: PayloadSpec, policy: Policy): readonly EscalationStep[] {
  return [...(spec.steps ?? policy.steps)].sort(
    (a, b) =>
      leadOf(b, spec, policy) - leadOf(a, spec, policy) ||
      Number(a.signal === 'SIGKILL') - Number(b.signal === 'SIGKILL'),
  );
}

/**
 * The payload's own deadline: the earlier of what it was given and of its wall limit, which counts from its registration.
 * undefined: it has none. A limit that is no number is none.
 */
export function ownDeadline({ deadlineMs, limits, registeredMs }: PayloadSpec): number | undefined {
  const limitMs = Number(limits?.['wall_limit_secs']) * 1000;
  if (!(limitMs > 0) || !Number.isFinite(limitMs)) return deadlineMs;
  return Math.min(deadlineMs ?? Number.POSITIVE_INFINITY, registeredMs + limitMs);
}

/** The deadline that counts for this payload on this machine's clock (S3.3); null = none, or not to be acted on yet (S4.1). */
export function payloadDeadline(
  spec: PayloadSpec,
  { acting }: MachinePlan,
): { readonly deadlineMs: number; readonly noticeId: string } | null {
  const own = ownDeadline(spec);
  if (own !== undefined && (acting === undefined || own < acting.deadlineMs))
    return { deadlineMs: own, noticeId: OWN_DEADLINE };
  return acting ?? null;
}

/** Which step is the stop signal proper: SIGTERM, else the last signal before a SIGKILL. From it the window is measured. */
export function anchorIndex(steps: readonly EscalationStep[]): number {
  const term = steps.findIndex((step) => step.signal === 'SIGTERM');
  return term >= 0 ? term : steps.findLastIndex(({ signal }) => signal !== 'SIGKILL' && hookOf(signal) === null);
}

export function planSteps(
  spec: PayloadSpec,
  policy: Policy,
  steps: readonly EscalationStep[],
  deadlineMs: number,
  anchor: Instant | null,
  nowWallMs: number,
): readonly PlannedStep[] {
  const anchored = steps[anchorIndex(steps)];
  // Not sent yet: it goes out at its time, or now if that has passed.
  const anchorWall =
    anchor?.wall ?? (anchored === undefined ? null : Math.max(deadlineMs - leadOf(anchored, spec, policy), nowWallMs));
  return steps.map((step, index) => {
    const kill = step.signal === 'SIGKILL';
    const configured = deadlineMs - leadOf(step, spec, policy);
    const dueMs = kill && anchorWall !== null ? killAfter(anchorWall, configured, deadlineMs) : configured;
    return {
      index,
      signal: step.signal,
      to: step.to ?? defaultReceiver(spec, step.signal, step === anchored),
      dueMs,
      dueMono: anchor === null ? null : anchor.mono + (dueMs - anchor.wall),
      at: step.at,
      kill,
      hook: hookOf(step.signal),
    };
  });
}

/**
 * S3.4. What systemd or the kernel holds together is signalled together: a control group has no leader. SIGKILL goes to all,
 * and none of them is to be killed who has not had the stop signal proper (`anchor`) before:
 *
 * - Of a group it goes to the group and to those who left it, which is all. Warnings before it go to the group alone.
 * - A registered pid has it alone: it stops its children in its own order. Whoever it leaves behind when it ends gets the
 *   SIGTERM then, and whoever it still has when its time is nearly over shortly before the SIGKILL (payloads/last-call.ts).
 */
export function defaultReceiver({ target }: PayloadSpec, signal: string, anchor: boolean): StepReceiver {
  if (target.kind !== 'process' || signal === 'SIGKILL') return 'all';
  if (!target.group) return 'leader';
  return anchor ? 'all' : 'group';
}

/** S3.5: SIGKILL at max(configured, SIGTERM + 0.8 W); without a window 30 s after the SIGTERM. */
function killAfter(termMs: number, configuredMs: number, deadlineMs: number): number {
  const windowMs = deadlineMs - termMs;
  return windowMs <= 0 ? termMs + AFTER_DEADLINE_MS : Math.max(configuredMs, termMs + SHORT_WINDOW_SHARE * windowMs);
}
