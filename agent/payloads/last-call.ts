/**
 * A registered pid has its SIGTERM alone (SEMANTICS S3.4), since it stops its children in its own order; its SIGKILL goes to
 * all. Nobody is to be killed unprepared: whoever the pid leaves behind when it ends gets the SIGTERM then, and whoever it
 * still has shortly before the SIGKILL gets it at that time. Once in an episode; looked at each second.
 */
import type { PayloadSpec, SnapshotPayload } from '../lifetime/types.ts';
import type { SignalEffect } from './attempt.ts';

/** The leader's window is its own up to here; afterwards its children need time too. The default SIGKILL comes as early. */
const BEFORE_KILL_MS = 5_000;
/** Of a short window the leader has the first half. With less than two seconds in all no look may fall into the second. */
const SHARE_OF_WINDOW = 0.5;

/** The signals that are due now. `leaderLives`: asked for those that are being stopped alone. Wall clock, ms. */
export function lastCalls(
  rows: readonly SnapshotPayload[],
  nowWallMs: number,
  leaderLives: (spec: PayloadSpec) => boolean,
): readonly SignalEffect[] {
  return rows.flatMap((row): readonly SignalEffect[] => {
    const { spec, plan, steps } = row;
    if (row.state !== 'stopping' || spec.target.kind !== 'process' || spec.target.group) return [];
    const term = plan.find(({ step }) => step.signal === 'SIGTERM');
    const kill = plan.find(({ step }) => step.signal === 'SIGKILL');
    if (term?.state !== 'done' || term.rest || term.to !== 'leader') return [];
    // Who writes `to = "leader"` means the leader; and nobody else is killed where SIGKILL is not for all.
    if (steps[term.step.index]?.to !== undefined) return [];
    if (kill?.state !== 'planned' || kill.to !== 'all') return [];
    const callMs = Math.min(BEFORE_KILL_MS, (kill.dueMs - term.dueMs) * SHARE_OF_WINDOW);
    if (nowWallMs < kill.dueMs - callMs && leaderLives(spec)) return [];
    return [{ type: 'signal', payload: spec, step: term.step, to: 'all' }];
  });
}
