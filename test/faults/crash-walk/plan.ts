/** The story that each run of the crash walk tells: what the host says, who is stopped, and when each step is due. */
import type { EscalationStep } from '../../../agent/lifetime/types.ts';

/** Before the deadline becomes known; `shutdowntime` comes later. */
export const HOST = {
  machinefeatures: { total_cpu: '8', grace_secs: '120' },
  jobfeatures: { allocated_cpu: '4', job_id: 'walk-1' },
} as const;

/**
 * The deadline is announced at least so far ahead (it is a whole second, so up to a second more): the first step's lead and
 * the time that the agent takes to hear of it and, should it die of that, to come back.
 */
export const ANNOUNCED_AHEAD_MS = 1_800;

/**
 * Steps that lie further apart than an agent takes to start again: late ones would rightly collapse into one (SEMANTICS
 * S3.5), and then their signals could not be counted. Two share an instant, so that there are batches to die within.
 */
const STOP = [
  { at: 700, signal: 'SIGTERM' },
  { at: 100, signal: 'SIGKILL' },
] as const satisfies readonly EscalationStep[];

export interface PayloadPlan {
  readonly name: string;
  /** With a child in its group: several kills for one step. */
  readonly group: boolean;
  /** In the order of their times. */
  readonly steps: readonly (EscalationStep & { readonly at: number })[];
}

export const PAYLOADS: readonly PayloadPlan[] = [
  { name: 'alone', group: false, steps: [{ at: 1_400, signal: 'SIGUSR1' }, ...STOP] },
  { name: 'group', group: true, steps: [{ at: 1_400, signal: 'SIGUSR2' }, ...STOP] },
];

/** A call of the agent to die at: the n-th, before it or after it. */
export interface Moment {
  readonly n: number;
  readonly when: 'before' | 'after';
}

export const nameOf = ({ n, when }: Moment): string => `${when} call ${n}`;
