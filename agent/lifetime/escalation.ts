/**
 * The ordered steps of stopping one payload (SEMANTICS S3.3–S3.6): when each is due, which have been taken, and what to do
 * now. Before the first SIGTERM time is wall time, since deadlines are; afterwards it is counted monotonically, so that no
 * clock step can bring the SIGKILL too near.
 */
import { SAME_NOTICE_MS } from './held.ts';
import type { MachinePlan } from './phase.ts';
import type { Episode, PayloadRecord, StepMark } from './state.ts';
import { anchorIndex, OWN_DEADLINE, orderedSteps, type PlannedStep, payloadDeadline, planSteps } from './steps.ts';
import type {
  Instant,
  PayloadState,
  Policy,
  SnapshotPayload,
  StepReceiver,
  StepRef,
  StepResultReport,
} from './types.ts';

/** S3.6: a stop time that moves less than this into the future is the same episode (clocks and hosts wobble). */
const SAME_EPISODE_MS = 30_000;

export interface Advance {
  readonly record: PayloadRecord;
  readonly signals: readonly { readonly step: StepRef; readonly to: StepReceiver; readonly repeated: boolean }[];
  readonly skipped: readonly StepRef[];
  readonly ended: Episode['ended'];
  /** When something is next due by itself. */
  readonly wake: { readonly wall: number | null; readonly mono: number | null };
}

const NOTHING_DUE = { wall: null, mono: null } as const;

/** The episode that goes on, if one does. */
const runningEpisode = ({ episode }: PayloadRecord): Episode | null => (episode?.ended === null ? episode : null);

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
  const quiet: Advance = { record, signals: [], skipped: [], ended: null, wake: NOTHING_DUE };
  if (target === null) return endEpisode(quiet, 'clear', now);
  const { deadlineMs, noticeId } = target;
  const planned = planSteps(spec, policy, orderedSteps(spec, policy), deadlineMs, null, now.wall);
  const first = Math.min(...planned.map((step) => step.dueMs));
  if (first > now.wall + SAME_EPISODE_MS) {
    const stands = (id: string): boolean => (id === OWN_DEADLINE ? spec.deadlineMs !== undefined : inForce(id));
    // Another deadline far ahead is no postponement of one that was cleared, and may come back (S1.6).
    const by = record.episode?.noticeIds.some(stands) ? 'postponed' : 'clear';
    // The first step's time on the plan without an anchor: the stop time proper, not that of a step already counted down.
    return {
      ...endEpisode(quiet, by, now),
      wake: record.delivery === 'exec' ? NOTHING_DUE : { wall: first, mono: null },
    };
  }
  const episode = currentEpisode(record.episode, noticeId, now);
  const resumed = episode === record.episode ? record : { ...record, episode };
  if (record.delivery === 'exec') return { ...quiet, record: resumed };
  return issue(resumed, policy, deadlineMs, noticeId, now);
}

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
  if (episode.ended === null) return known ? episode : { ...episode, noticeIds: [...episode.noticeIds, noticeId] };
  const returned = episode.ended.by === 'clear' && known && now.wall - episode.ended.atMs <= SAME_NOTICE_MS;
  return returned ? { ...episode, ended: null } : episode;
}

function issue(record: PayloadRecord, policy: Policy, deadlineMs: number, noticeId: string, now: Instant): Advance {
  const { spec } = record;
  const running = runningEpisode(record);
  const steps = running?.steps ?? orderedSteps(spec, policy);
  const marks = new Map<number, StepMark>(running?.marks.map((mark) => [mark.step.index, mark]));
  const number = running?.number ?? (record.episode?.number ?? 0) + 1;
  const planned = planSteps(spec, policy, steps, deadlineMs, running?.anchor ?? null, now.wall);
  const anchored = anchorIndex(steps);
  const isDue = (step: PlannedStep): boolean =>
    step.dueMono === null ? step.dueMs <= now.wall : step.dueMono <= now.mono;
  const open = planned.filter((step) => !marks.has(step.index));
  const signals: { step: StepRef; to: StepReceiver; repeated: boolean }[] = [];
  const skipped: StepRef[] = [];
  let anchor = running?.anchor ?? null;
  const send = (step: PlannedStep, mark: StepMark, repeated: boolean): void => {
    marks.set(step.index, mark);
    signals.push({ step: mark.step, to: step.to, repeated });
    // Also of a repeated one: if the first did not go out, the payload's window begins only now (S3.5).
    if (step.index === anchored) anchor = now;
  };
  const refOf = ({ index, signal }: PlannedStep): StepRef => ({ episode: number, index, signal });

  // A SIGKILL that was uncertain too waits for its time and its own tick, as any other does.
  const uncertain = planned.filter((step) => marks.get(step.index)?.state === 'repeat' && (!step.kill || isDue(step)));
  for (const step of uncertain.some((each) => !each.kill) ? uncertain.filter((each) => !each.kill) : uncertain) {
    const mark = marks.get(step.index);
    if (mark) send(step, { ...mark, state: 'issued', uncertain: true }, true);
  }
  const due = open.filter((step) => !step.kill && isDue(step));
  // Several late ones collapse into one: the stop signal proper if it is among them, else the latest (S3.5).
  const chosen = due.find((step) => step.index === anchored) ?? due.at(-1);
  for (const step of due) {
    if (step === chosen) {
      send(step, { step: refOf(step), state: 'issued', at: now }, false);
    } else {
      marks.set(step.index, { step: refOf(step), state: 'skipped', at: now });
      skipped.push(refOf(step));
    }
  }
  // A SIGKILL never shares a tick with a signal that the payload could still answer, and never comes before it.
  if (signals.length === 0 && (anchor !== null || anchored < 0)) {
    const kill = open.find((step) => step.kill && isDue(step));
    if (kill) send(kill, { step: refOf(kill), state: 'issued', at: now }, false);
  }
  const changed = signals.length > 0 || skipped.length > 0;
  const begun = { number, noticeIds: running?.noticeIds ?? [noticeId], steps, marks: [...marks.values()] };
  const next = changed ? { ...record, episode: { ...begun, anchor, ended: null } } : record;
  return { record: next, signals, skipped, ended: null, wake: nextDue(next, policy, deadlineMs, now) };
}

function nextDue(record: PayloadRecord, policy: Policy, deadlineMs: number, now: Instant): Advance['wake'] {
  const { spec } = record;
  const running = runningEpisode(record);
  const marks = new Map(running?.marks.map((mark) => [mark.step.index, mark]));
  let wall: number | null = null;
  let mono: number | null = null;
  const steps = running?.steps ?? orderedSteps(spec, policy);
  for (const step of planSteps(spec, policy, steps, deadlineMs, running?.anchor ?? null, now.wall)) {
    const mark = marks.get(step.index);
    if (mark !== undefined && mark.state !== 'repeat') continue;
    if (step.dueMono !== null) mono = Math.min(mono ?? step.dueMono, step.dueMono);
    else wall = Math.min(wall ?? step.dueMs, step.dueMs);
  }
  return { wall, mono };
}

/**
 * What `exec` says it has done itself (S3.8) entered into the payload's episode, so that a daemon that takes over does not
 * do it again. A late word finds the episode that it names although that has ended; apart from that its numbering is its
 * own, and the daemon's counts here.
 */
export function acknowledge(
  record: PayloadRecord,
  policy: Policy,
  plan: MachinePlan,
  report: StepResultReport,
): PayloadRecord {
  const { spec } = record;
  const named = record.episode?.number === report.step.episode ? record.episode : null;
  const episode: Episode = named ??
    runningEpisode(record) ?? {
      number: (record.episode?.number ?? 0) + 1,
      noticeIds: [payloadDeadline(spec, plan)?.noticeId ?? OWN_DEADLINE],
      steps: orderedSteps(spec, policy),
      marks: [],
      anchor: null,
      ended: null,
    };
  const index = stepIndex(episode, report.step);
  const step = { ...report.step, index, episode: episode.number };
  const marks = [
    ...episode.marks.filter((mark) => mark.step.index !== index),
    { step, state: 'done' as const, at: report.at },
  ];
  const anchored = index === anchorIndex(episode.steps);
  return { ...record, episode: { ...episode, marks, anchor: anchored ? report.at : episode.anchor } };
}

/** The step of this episode that is meant: `exec` may have begun with another list, and then the signal tells. */
function stepIndex({ steps, marks }: Episode, { index, signal }: StepRef): number {
  if (steps[index]?.signal === signal) return index;
  const open = steps.findIndex((step, at) => step.signal === signal && !marks.some((mark) => mark.step.index === at));
  // Not in this list at all: kept beyond its end, so that it hides none of the steps that are.
  return open >= 0 ? open : steps.length + index;
}

/** `stopping` once a signal went out, and for good: a cancelled notice does not undo a SIGTERM (S3.6). */
export function payloadState(record: PayloadRecord): PayloadState {
  return record.episode?.marks.some((mark) => mark.state !== 'skipped') ? 'stopping' : 'running';
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
      };
    }),
  };
}

function stateOf(mark: StepMark | undefined): SnapshotPayload['plan'][number]['state'] {
  if (mark === undefined) return 'planned';
  return mark.state === 'issued' || mark.state === 'repeat' ? 'pending' : mark.state;
}
