/**
 * The ordered steps of stopping one payload (SEMANTICS S3.3–S3.6): when each is due, which have been taken, and what to do
 * now. Before the first SIGTERM time is wall time, since deadlines are; afterwards it is counted monotonically, so that no
 * clock step can bring the SIGKILL too near.
 */
import { SAME_NOTICE_MS } from './held.ts';
import type { MachinePlan } from './phase.ts';
import type { Episode, PayloadRecord, StepMark } from './state.ts';
import type {
  EscalationStep,
  Instant,
  PayloadSpec,
  PayloadState,
  Policy,
  SnapshotPayload,
  StepReceiver,
  StepRef,
  StepResultReport,
} from './types.ts';

/** S3.5: the share of a short window that belongs to the payload before it is killed. */
const SHORT_WINDOW_SHARE = 0.8;
/** S3.5: what a payload gets between SIGTERM and SIGKILL when the deadline has already passed. */
const AFTER_DEADLINE_MS = 30_000;
/** S3.6: a stop time that moves less than this into the future is the same episode (clocks and hosts wobble). */
const SAME_EPISODE_MS = 30_000;

interface PlannedStep {
  readonly index: number;
  readonly signal: string;
  readonly to: StepReceiver;
  /** On the wall clock; once the anchor is set an estimate of the monotonic instant. */
  readonly dueMs: number;
  readonly dueMono: number | null;
  readonly kill: boolean;
}

/** The order of the steps is that of their times, so that an index names the same step before and after a restart. */
function orderedSteps(spec: PayloadSpec, policy: Policy): { readonly step: EscalationStep; readonly leadMs: number }[] {
  const graceMs = spec.graceMs ?? policy.graceMs;
  return (spec.steps ?? policy.steps)
    .map((step) => ({ step, leadMs: step.at === 'grace' ? graceMs : step.at }))
    .sort((a, b) => b.leadMs - a.leadMs || Number(a.step.signal === 'SIGKILL') - Number(b.step.signal === 'SIGKILL'));
}

/** The deadline that counts for this payload on this machine's clock (S3.3); null = none, or not to be acted on yet (S4.1). */
export function payloadDeadlineMs(spec: PayloadSpec, plan: MachinePlan, now: Instant): number | null {
  const machine = plan.deadlineMs !== null && (plan.confirmed || now.wall >= plan.deadlineMs) ? plan.deadlineMs : null;
  const own = spec.deadlineMs ?? null;
  return machine === null ? own : own === null ? machine : Math.min(machine, own);
}

/** Which step is the stop signal proper: SIGTERM, else the last before a SIGKILL. From it the window is measured. */
function anchorIndex(steps: readonly { readonly step: EscalationStep }[]): number {
  const term = steps.findIndex(({ step }) => step.signal === 'SIGTERM');
  if (term >= 0) return term;
  return steps.findLastIndex(({ step }) => step.signal !== 'SIGKILL');
}

function planSteps(
  spec: PayloadSpec,
  policy: Policy,
  deadlineMs: number,
  anchor: Instant | null,
  nowWallMs: number,
): readonly PlannedStep[] {
  const steps = orderedSteps(spec, policy);
  const anchored = anchorIndex(steps);
  const anchorLead = steps[anchored]?.leadMs;
  // Not sent yet: it goes out at its time, or now if that has passed.
  const anchorWall = anchor?.wall ?? (anchorLead === undefined ? null : Math.max(deadlineMs - anchorLead, nowWallMs));
  return steps.map(({ step, leadMs }, index) => {
    const kill = step.signal === 'SIGKILL';
    const configured = deadlineMs - leadMs;
    const dueMs = kill && anchorWall !== null ? killAfter(anchorWall, configured, deadlineMs) : configured;
    return {
      index,
      signal: step.signal,
      to: step.to ?? (kill ? 'all' : spec.target.group ? 'group' : 'leader'),
      dueMs,
      dueMono: anchor === null ? null : anchor.mono + (dueMs - anchor.wall),
      kill,
    };
  });
}

/** S3.5: SIGKILL at max(configured, SIGTERM + 0.8 W); without a window 30 s after the SIGTERM. */
function killAfter(termMs: number, configuredMs: number, deadlineMs: number): number {
  const windowMs = deadlineMs - termMs;
  return windowMs <= 0 ? termMs + AFTER_DEADLINE_MS : Math.max(configuredMs, termMs + SHORT_WINDOW_SHARE * windowMs);
}

export interface Advance {
  readonly record: PayloadRecord;
  readonly signals: readonly { readonly step: StepRef; readonly to: StepReceiver; readonly repeated: boolean }[];
  readonly skipped: readonly StepRef[];
  readonly ended: Episode['ended'];
  /** When something is next due by itself. */
  readonly wake: { readonly wall: number | null; readonly mono: number | null };
}

const NOTHING_DUE = { wall: null, mono: null } as const;

/**
 * What is to be done for one payload now. Steps that are due become `issued` in the returned record, which is to be
 * written down before they are carried out; a step is never issued twice in an episode, but for one `repeat` after a crash.
 */
export function advance(
  record: PayloadRecord,
  policy: Policy,
  plan: MachinePlan,
  noticeId: string,
  now: Instant,
): Advance {
  const { spec } = record;
  const deadlineMs = payloadDeadlineMs(spec, plan, now);
  const quiet: Advance = { record, signals: [], skipped: [], ended: null, wake: NOTHING_DUE };
  if (deadlineMs === null) return endEpisode(quiet, 'clear', now);
  const first = Math.min(...planSteps(spec, policy, deadlineMs, null, now.wall).map((step) => step.dueMs));
  if (first > now.wall + SAME_EPISODE_MS) {
    // The first step's time on the plan without an anchor: the stop time proper, not that of a step already counted down.
    return {
      ...endEpisode(quiet, 'postponed', now),
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
  if (record.episode === null || record.episode.ended !== null) return quiet;
  const ended = { atMs: now.wall, by };
  return { ...quiet, record: { ...record, episode: { ...record.episode, ended } }, ended };
}

/** The episode that goes on: one that was only interrupted by a clear is resumed when its very notice returns (S1.6). */
function currentEpisode(episode: Episode | null, noticeId: string, now: Instant): Episode | null {
  if (episode?.ended == null) return episode;
  const returned =
    episode.ended.by === 'clear' && episode.noticeId === noticeId && now.wall - episode.ended.atMs <= SAME_NOTICE_MS;
  return returned ? { ...episode, ended: null } : episode;
}

function issue(record: PayloadRecord, policy: Policy, deadlineMs: number, noticeId: string, now: Instant): Advance {
  const running = record.episode !== null && record.episode.ended === null ? record.episode : null;
  const marks = new Map<number, StepMark>(running?.marks.map((mark) => [mark.step.index, mark]));
  const number = running?.number ?? (record.episode?.number ?? 0) + 1;
  const planned = planSteps(record.spec, policy, deadlineMs, running?.anchor ?? null, now.wall);
  const anchored = anchorIndex(orderedSteps(record.spec, policy));
  const isDue = (step: PlannedStep): boolean =>
    step.dueMono === null ? step.dueMs <= now.wall : step.dueMono <= now.mono;
  const open = planned.filter((step) => !marks.has(step.index));
  const signals: { step: StepRef; to: StepReceiver; repeated: boolean }[] = [];
  const skipped: StepRef[] = [];
  let anchor = running?.anchor ?? null;
  const take = (step: PlannedStep): void => {
    const ref = { episode: number, index: step.index, signal: step.signal };
    marks.set(step.index, { step: ref, state: 'issued', at: now });
    signals.push({ step: ref, to: step.to, repeated: false });
    if (step.index === anchored) anchor = now;
  };

  for (const [index, mark] of marks) {
    if (mark.state !== 'repeat') continue;
    marks.set(index, { ...mark, state: 'issued', uncertain: true });
    signals.push({ step: mark.step, to: planned[index]?.to ?? 'leader', repeated: true });
  }
  const due = open.filter((step) => !step.kill && isDue(step));
  // Several late ones collapse into one: the stop signal proper if it is among them, else the latest (S3.5).
  const chosen = due.find((step) => step.index === anchored) ?? due.at(-1);
  for (const step of due) {
    if (step === chosen) {
      take(step);
    } else {
      const ref = { episode: number, index: step.index, signal: step.signal };
      marks.set(step.index, { step: ref, state: 'skipped', at: now });
      skipped.push(ref);
    }
  }
  // A SIGKILL never shares a tick with a signal that the payload could still answer, and never comes before it.
  if (signals.length === 0 && (anchor !== null || anchored < 0)) {
    const kill = open.find((step) => step.kill && isDue(step));
    if (kill) take(kill);
  }
  const changed = signals.length > 0 || skipped.length > 0;
  const episode: Episode | null = changed
    ? { number, noticeId: running?.noticeId ?? noticeId, marks: [...marks.values()], anchor, ended: null }
    : record.episode;
  const next = changed ? { ...record, episode } : record;
  return { record: next, signals, skipped, ended: null, wake: nextDue(next, policy, deadlineMs, now) };
}

function nextDue(record: PayloadRecord, policy: Policy, deadlineMs: number, now: Instant): Advance['wake'] {
  const running = record.episode?.ended === null ? record.episode : null;
  const marked = new Set(running?.marks.map((mark) => mark.step.index));
  let wall: number | null = null;
  let mono: number | null = null;
  for (const step of planSteps(record.spec, policy, deadlineMs, running?.anchor ?? null, now.wall)) {
    if (marked.has(step.index)) continue;
    if (step.dueMono !== null) mono = Math.min(mono ?? step.dueMono, step.dueMono);
    else wall = Math.min(wall ?? step.dueMs, step.dueMs);
  }
  return { wall, mono };
}

/**
 * What `exec` says it has done itself (S3.8) entered into the payload's episode, so that a daemon that takes over does not
 * do it again. Its own numbering of episodes is its own; the daemon's counts here.
 */
export function acknowledge(
  record: PayloadRecord,
  policy: Policy,
  noticeId: string,
  report: StepResultReport,
): PayloadRecord {
  const running = record.episode?.ended === null ? record.episode : null;
  const episode: Episode = running ?? {
    number: (record.episode?.number ?? 0) + 1,
    noticeId,
    marks: [],
    anchor: null,
    ended: null,
  };
  const step = { ...report.step, episode: episode.number };
  const marks = [
    ...episode.marks.filter((mark) => mark.step.index !== step.index),
    { step, state: 'done' as const, at: report.at },
  ];
  const anchored = step.index === anchorIndex(orderedSteps(record.spec, policy));
  return { ...record, episode: { ...episode, marks, anchor: anchored ? report.at : episode.anchor } };
}

/** `stopping` once a signal went out, and for good: a cancelled notice does not undo a SIGTERM (S3.6). */
export function payloadState(record: PayloadRecord): PayloadState {
  return record.episode?.marks.some((mark) => mark.state !== 'skipped') ? 'stopping' : 'running';
}

/** The row of one payload: its plan with what has been done. */
export function payloadRow(record: PayloadRecord, policy: Policy, plan: MachinePlan, now: Instant): SnapshotPayload {
  const deadlineMs = payloadDeadlineMs(record.spec, plan, now);
  const running = record.episode?.ended === null ? record.episode : null;
  // Planned as if nothing were late, so that a row does not change with each tick while a late step is on its way.
  const steps =
    deadlineMs === null
      ? []
      : planSteps(record.spec, policy, deadlineMs, running?.anchor ?? null, Number.NEGATIVE_INFINITY);
  const number = running?.number ?? (record.episode?.number ?? 0) + 1;
  return {
    spec: record.spec,
    state: payloadState(record),
    deadlineMs,
    stopAtMs: steps.length === 0 ? null : Math.min(...steps.map((step) => step.dueMs)),
    episode: record.episode?.number ?? 0,
    plan: steps.map((step) => {
      const mark = running?.marks.find((each) => each.step.index === step.index);
      const state =
        mark === undefined
          ? 'planned'
          : mark.state === 'done'
            ? 'done'
            : mark.state === 'skipped'
              ? 'skipped'
              : 'pending';
      return {
        step: mark?.step ?? { episode: number, index: step.index, signal: step.signal },
        to: step.to,
        dueMs: mark?.at.wall ?? step.dueMs,
        state,
      };
    }),
  };
}
