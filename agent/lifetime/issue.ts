/**
 * The steps of one payload that are due now, and when the next one is (SEMANTICS S3.4, S3.5). Each becomes `issued` in the
 * record, which is written down before the step is carried out. Where `exec` delivers the signals, only hook steps are ours.
 */
import type { Advance } from './escalation.ts';
import { isSignalled, type PayloadRecord, runningEpisode, type StepMark } from './state.ts';
import { anchorIndex, orderedSteps, type PlannedStep, planSteps } from './steps.ts';
import type { Instant, Policy, StepRef } from './types.ts';

const isOurs = ({ delivery }: PayloadRecord, { hook }: PlannedStep): boolean => delivery === 'daemon' || hook !== null;

/** A signal that the payload could still answer. */
const isWarning = ({ kill, hook }: PlannedStep): boolean => !kill && hook === null;

export function issue(
  record: PayloadRecord,
  policy: Policy,
  deadlineMs: number,
  noticeId: string,
  now: Instant,
): Advance {
  const { spec } = record;
  const running = runningEpisode(record);
  const steps = running?.steps ?? orderedSteps(spec, policy);
  const marks = new Map<number, StepMark>(running?.marks.map((mark) => [mark.step.index, mark]));
  const number = running?.number ?? (record.episode?.number ?? 0) + 1;
  const planned = planSteps(spec, policy, steps, deadlineMs, running?.anchor ?? null, now.wall);
  const ours = planned.filter((step) => isOurs(record, step));
  const anchored = anchorIndex(steps);
  const isDue = (step: PlannedStep): boolean =>
    step.dueMono === null ? step.dueMs <= now.wall : step.dueMono <= now.mono;
  const open = ours.filter((step) => !marks.has(step.index));
  const taken: Advance['taken'][number][] = [];
  const skipped: StepRef[] = [];
  let anchor = running?.anchor ?? null;
  const take = (step: PlannedStep, mark: StepMark, repeated: boolean): void => {
    marks.set(step.index, mark);
    taken.push({ step: mark.step, to: step.to, hook: step.hook, repeated });
    // Also of a repeated one: if the first did not go out, the payload's window begins only now (S3.5).
    if (step.index === anchored) anchor = now;
  };
  const refOf = ({ index, signal }: PlannedStep): StepRef => ({ episode: number, index, signal });

  // A SIGKILL that was uncertain too waits for its time and its own tick, as any other does.
  const uncertain = ours.filter((step) => marks.get(step.index)?.state === 'repeat' && (!step.kill || isDue(step)));
  const isHeld = uncertain.some(isWarning);
  for (const step of uncertain) {
    const mark = marks.get(step.index);
    if (mark && !(step.kill && isHeld)) take(step, { ...mark, state: 'issued', uncertain: true }, true);
  }
  const due = open.filter((step) => !step.kill && isDue(step));
  const warnings = due.filter(isWarning);
  // Several late ones collapse into one: the stop signal proper if it is among them, else the latest (S3.5); and hooks for
  // themselves, since they stand for no signal.
  const chosen = [
    warnings.find((step) => step.index === anchored) ?? warnings.at(-1),
    due.filter(({ hook }) => hook !== null).at(-1),
  ];
  for (const step of due) {
    if (chosen.includes(step)) {
      take(step, { step: refOf(step), state: 'issued', at: now }, false);
    } else {
      marks.set(step.index, { step: refOf(step), state: 'skipped', at: now });
      skipped.push(refOf(step));
    }
  }
  // A SIGKILL never shares a tick with a signal that the payload could still answer, and never comes before it.
  if (taken.every(({ hook }) => hook !== null) && (anchor !== null || anchored < 0)) {
    const kill = open.find((step) => step.kill && isDue(step));
    if (kill) take(kill, { step: refOf(kill), state: 'issued', at: now }, false);
  }
  if (taken.length === 0 && skipped.length === 0)
    return { record, taken, skipped, ended: null, wake: nextDue(record, policy, deadlineMs, now) };
  const begun = { number, noticeIds: running?.noticeIds ?? [noticeId], steps, marks: [...marks.values()] };
  const next: PayloadRecord = {
    ...(running === null ? beginning(record) : record),
    episode: { ...begun, anchor, ended: null },
  };
  return { record: next, taken, skipped, ended: null, wake: nextDue(next, policy, deadlineMs, now) };
}

/** The record when another episode takes the place of the one that it has. */
export const beginning = (record: PayloadRecord): PayloadRecord =>
  isSignalled(record.episode) ? { ...record, wasSignalled: true } : record;

function nextDue(record: PayloadRecord, policy: Policy, deadlineMs: number, now: Instant): Advance['wake'] {
  const { spec } = record;
  const running = runningEpisode(record);
  const marks = new Map(running?.marks.map((mark) => [mark.step.index, mark]));
  let wall: number | null = null;
  let mono: number | null = null;
  const steps = running?.steps ?? orderedSteps(spec, policy);
  for (const step of planSteps(spec, policy, steps, deadlineMs, running?.anchor ?? null, now.wall)) {
    const mark = marks.get(step.index);
    if (!isOurs(record, step) || (mark !== undefined && mark.state !== 'repeat')) continue;
    if (step.dueMono !== null) mono = Math.min(mono ?? step.dueMono, step.dueMono);
    else wall = Math.min(wall ?? step.dueMs, step.dueMs);
  }
  return { wall, mono };
}

/** When the first step is due that the daemon takes itself; Infinity if it takes none. */
export const firstOfOurs = (record: PayloadRecord, planned: readonly PlannedStep[]): number =>
  Math.min(...planned.filter((step) => isOurs(record, step)).map((step) => step.dueMs));
