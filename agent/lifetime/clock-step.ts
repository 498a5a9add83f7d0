/**
 * Our clock was stepped (SEMANTICS S4.2): every instant that it had stamped in this boot moves with it, so that ten minutes
 * stay ten minutes and a notice without a time of its own keeps its distance (S1.3). What the host said stays as it said it.
 */
import type { Held, KnownNotice } from './held.ts';
import { collectNotices } from './notice.ts';
import { CLOCK_TOLERANCE_MS } from './observe.ts';
import { mapValues, type PayloadRecord, type SourceRecord, type State } from './state.ts';
import type { HooksRecord, ToldNotice } from './told.ts';
import type { Instant } from './types.ts';

/** The kernel tells the start of a boot in whole seconds, and now and then another one. */
const SAME_BOOT_MS = 2_000;

/** `bootWallMs`: where boot lies on the corrected clock. */
export function clockStepped(state: State, bootWallMs: number, now: Instant): State {
  const byMs = bootWallMs - state.bootWallMs;
  if (byMs === 0) return state;
  // Stamps of another boot were made by a clock of which nothing is known now.
  const shift: Shift = (ms) => (ms >= state.bootWallMs ? ms + byMs : ms);
  const keys = (held: Readonly<Record<string, Held<string>>>) => mapValues(held, (each) => shiftHeld(each, shift));
  const notices = (held: Readonly<Record<string, Held<KnownNotice>>>) =>
    mapValues(held, (each) => shiftNotice(each, shift, bootWallMs));
  const next: State = {
    ...state,
    bootWallMs,
    // On the first boot both are the same instant; of an earlier one the clock of that time has told.
    firstBootMs: Math.abs(state.firstBootMs - state.bootWallMs) < SAME_BOOT_MS ? bootWallMs : state.firstBootMs,
    sources: mapValues(state.sources, (record) => ({
      ...record,
      sinceMs: shift(record.sinceMs),
      keys: { machine: keys(record.keys.machine), job: keys(record.keys.job) },
      notices: notices(record.notices),
      clock: offsetAfter(record, byMs),
    })),
    operator: { ...state.operator, notices: notices(state.operator.notices) },
    payloads: mapValues(state.payloads, (record) => shiftPayload(record, shift)),
  };
  return { ...next, hooks: toldSince(state, next, now, shift) };
}

/** A time that moved with the clock alone is no news for the operator's programs: it is as far away as before. */
function toldSince(before: State, after: State, now: Instant, shift: Shift): HooksRecord {
  const { hooks } = before;
  const timesOf = (state: State) => new Map(collectNotices(state, now).map(({ id, deadlineMs }) => [id, deadlineMs]));
  const [were, are] = [timesOf(before), timesOf(after)];
  const notices = Object.entries(hooks.notices).map(([id, told]): [string, ToldNotice] => {
    // What was told may lie a little beside what is so (hooks.ts): it moves as far as that does.
    const movedMs = (are.get(id) ?? 0) - (were.get(id) ?? 0);
    const deadlineMs = told.deadlineMs === null ? null : told.deadlineMs + movedMs;
    return [id, { ...told, deadlineMs, firstSeenMs: shift(told.firstSeenMs) }];
  });
  return notices.length === 0 ? hooks : { ...hooks, notices: Object.fromEntries(notices) };
}

type Shift = (ms: number) => number;

function shiftHeld<T>(held: Held<T>, shift: Shift): Held<T> {
  return {
    ...held,
    sinceMs: shift(held.sinceMs),
    firstSeenMs: shift(held.firstSeenMs),
    goneMs: held.goneMs === null ? null : shift(held.goneMs),
  };
}

function shiftNotice(held: Held<KnownNotice>, shift: Shift, bootWallMs: number): Held<KnownNotice> {
  const { deadlineMs, reckoned } = held.value;
  const value = reckoned && deadlineMs !== null ? { ...held.value, deadlineMs: shift(deadlineMs) } : held.value;
  const { dismissed, ...rest } = shiftHeld({ ...held, value }, shift);
  // S1.8 was judged by a wrong clock: what lies after this boot is still to come.
  return dismissed && (value.deadlineMs ?? 0) < bootWallMs ? { ...rest, dismissed } : rest;
}

/** The host's clock did not move: it is ahead of ours by so much less (S4.3). */
function offsetAfter({ clock }: SourceRecord, byMs: number): SourceRecord['clock'] {
  if (clock === null) return null;
  const offsetMs = clock.offsetMs - byMs;
  return Math.abs(offsetMs) <= CLOCK_TOLERANCE_MS ? null : { ...clock, offsetMs };
}

/** The anchor stays: the time after a SIGTERM is counted monotonically (S3.5). A wall limit counts from when it began. */
function shiftPayload(record: PayloadRecord, shift: Shift): PayloadRecord {
  const { spec, episode } = record;
  const { canTerminate } = spec;
  // What it promised is a time of its own; what it still needs was counted from ours.
  const said = canTerminate?.untilMs !== undefined && {
    canTerminate: { ...canTerminate, untilMs: shift(canTerminate.untilMs) },
  };
  const moved = { ...record, spec: { ...spec, registeredMs: shift(spec.registeredMs), ...said } };
  if (episode === null || episode.ended === null) return moved;
  return { ...moved, episode: { ...episode, ended: { ...episode.ended, atMs: shift(episode.ended.atMs) } } };
}
