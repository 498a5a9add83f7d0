/**
 * The ordered steps of stopping one payload (SEMANTICS S3.3–S3.6): when each is due, which have been taken, and what to do
 * now. Before the first SIGTERM time is wall time, since deadlines are; afterwards it is counted monotonically, so that no
 * clock step can bring the SIGKILL too near.
 */
import { SAME_NOTICE_MS } from './held.ts';
import { firstOfOurs, issue } from './issue.ts';
import type { MachinePlan } from './phase.ts';
import { isAlive } from './restart.ts';
import { type Episode, isSignalled, type PayloadRecord, runningEpisode, type StepMark } from './state.ts';
import { OWN_DEADLINE, orderedSteps, ownDeadline, payloadDeadline, planSteps } from './steps.ts';
import { isReservation } from './target.ts';
import type { Instant, PayloadState, Policy, SnapshotPayload, StepReceiver, StepRef } from './types.ts';

/** S3.6: a stop time that moves less than this into the future is the same episode (clocks and hosts wobble). */
export const SAME_EPISODE_MS = 30_000;
/** A host that announces under another id with each poll must not fill the memory; in honest histories there are two or three. */
const MAX_NOTICE_IDS = 16;

export interface Advance {
  readonly record: PayloadRecord;
  /** In the order of their steps. `hook`: the program that is run; null: a signal. */
  readonly taken: readonly {
    readonly step: StepRef;
    readonly to: StepReceiver;
    readonly hook: string | null;
    readonly repeated: boolean;
  }[];
  readonly skipped: readonly StepRef[];
  readonly ended: Episode['ended'];
  /** When something is next due by itself. */
  readonly wake: { readonly wall: number | null; readonly mono: number | null };
}

const NOTHING_DUE = { wall: null, mono: null } as const;

/**
 * What is to be done for one payload now. Steps that are due become `issued` in the returned record, which is to be
 * written down before they are carried out; a step is never issued twice in an episode, but for one `repeat` after a crash.
 * `inForce`: whether a notice still sets a deadline, be it not the earliest.
 */
export function advance(
  record: PayloadRecord,
  policy: Policy,
  plan: MachinePlan,
  inForce: (noticeId: string) => boolean,
  now: Instant,
): Advance {
  const { spec } = record;
  const target = payloadDeadline(spec, plan);
  const quiet: Advance = { record, taken: [], skipped: [], ended: null, wake: NOTHING_DUE };
  if (target === null) return endEpisode(quiet, 'clear', now);
  const { deadlineMs, noticeId } = target;
  const planned = planSteps(spec, policy, orderedSteps(spec, policy), deadlineMs, null, now.wall);
  const first = Math.min(...planned.map((step) => step.dueMs));
  if (first > now.wall + SAME_EPISODE_MS) {
    const stands = (id: string): boolean => (id === OWN_DEADLINE ? ownDeadline(spec) !== undefined : inForce(id));
    // Another deadline far ahead is no postponement of one that was cleared, and may come back (S1.6).
    const by = record.episode?.noticeIds.some(stands) ? 'postponed' : 'clear';
    // The first step's time on the plan without an anchor: the stop time proper, not that of a step already counted down.
    const ours = firstOfOurs(record, planned);
    return {
      ...endEpisode(quiet, by, now),
      wake: isIdle(record) || ours === Number.POSITIVE_INFINITY ? NOTHING_DUE : { wall: ours, mono: null },
    };
  }
  const episode = currentEpisode(record.episode, noticeId, now);
  const resumed = episode === record.episode ? record : { ...record, episode };
  return isIdle(record) ? { ...quiet, record: resumed } : issue(resumed, policy, deadlineMs, noticeId, now);
}

/** Nobody is there to be stopped: not any more, or not yet. */
const isIdle = (record: PayloadRecord): boolean =>
  !isAlive(record) || (record.delivery === 'exec' && isReservation(record.spec));

function endEpisode(quiet: Advance, by: 'clear' | 'postponed', now: Instant): Advance {
  const { record } = quiet;
  const { episode } = record;
  if (episode === null || episode.ended?.by === 'postponed' || episode.ended?.by === by) return quiet;
  // A notice that comes back with a later time is a postponed one: its episode is not resumed when that time comes.
  const ended = { atMs: episode.ended?.atMs ?? now.wall, by };
  return {
    ...quiet,
    record: { ...record, episode: { ...episode, ended } },
    ended: episode.ended === null ? ended : null,
  };
}

/** The episode that goes on: one that was only interrupted by a clear is resumed when its very notice returns (S1.6). */
function currentEpisode(episode: Episode | null, noticeId: string, now: Instant): Episode | null {
  if (episode === null) return null;
  const known = episode.noticeIds.includes(noticeId);
  if (episode.ended === null)
    return known ? episode : { ...episode, noticeIds: [...episode.noticeIds, noticeId].slice(-MAX_NOTICE_IDS) };
  const returned = episode.ended.by === 'clear' && known && now.wall - episode.ended.atMs <= SAME_NOTICE_MS;
  return returned ? { ...episode, ended: null } : episode;
}

/**
 * `stopping` once a signal went out, and for good: a cancelled notice does not undo a SIGTERM (S3.6). A hook step is part of
 * stopping only as long as that goes on, since it does nothing to the payload that we know of.
 */
export function payloadState(record: PayloadRecord): PayloadState {
  if (!isAlive(record)) return 'stopped';
  const isStopping = runningEpisode(record)?.marks.some((mark) => mark.state !== 'skipped') === true;
  return isStopping || isSignalled(record.episode) || record.wasSignalled ? 'stopping' : 'running';
}

/** The row of one payload: its plan with what has been done. */
export function payloadRow(record: PayloadRecord, policy: Policy, plan: MachinePlan): SnapshotPayload {
  const { spec } = record;
  const deadlineMs = payloadDeadline(spec, plan)?.deadlineMs ?? null;
  const running = runningEpisode(record);
  const list = running?.steps ?? orderedSteps(spec, policy);
  // Planned as if nothing were late, so that a row does not change with each tick while a late step is on its way.
  const steps =
    deadlineMs === null
      ? []
      : planSteps(spec, policy, list, deadlineMs, running?.anchor ?? null, Number.NEGATIVE_INFINITY);
  const number = running?.number ?? (record.episode?.number ?? 0) + 1;
  return {
    spec,
    state: payloadState(record),
    deadlineMs,
    stopAtMs: steps.length === 0 ? null : Math.min(...steps.map((step) => step.dueMs)),
    episode: record.episode?.number ?? 0,
    steps: list,
    plan: steps.map((step) => {
      const mark = running?.marks.find((each) => each.step.index === step.index);
      return {
        step: mark?.step ?? { episode: number, index: step.index, signal: step.signal },
        to: step.to,
        at: step.at,
        dueMs: mark?.at.wall ?? step.dueMs,
        state: stateOf(mark),
        ...(mark?.rest && { rest: true as const }),
      };
    }),
  };
}

function stateOf(mark: StepMark | undefined): SnapshotPayload['plan'][number]['state'] {
  if (mark === undefined) return 'planned';
  return mark.state === 'issued' || mark.state === 'repeat' ? 'pending' : mark.state;
}
