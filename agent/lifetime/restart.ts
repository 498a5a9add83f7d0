/**
 * Units that the agent stopped are started again when the host cancels (SEMANTICS S3.6). A stopped unit keeps its row, so
 * that whoever registered it need not do so again: it is down, counts as ended, and is neither alive nor stopped once more.
 * With the end of its episode `start_units` goes out and it is alive again, in another life that no step was taken in;
 * `unit_running` says the same where somebody else has started it.
 */
import type { Episode, PayloadRecord, StepMark } from './state.ts';
import { anchorIndex } from './steps.ts';
import { hookOf, type Instant } from './types.ts';

/** Units of one slice that are remembered: a batch system's has some per core. */
export const MAX_UNITS = 512;
/** Jobs are taken in milliseconds; a unit that is not seen running this long afterwards does not start. */
const SEEN_RUNNING_WITHIN_MS = 30_000;
/** No answer at all to the wish to start it: the root hand gives up long before. */
const TAKEN_WITHIN_MS = 300_000;

/** Whether it counts as living: all that is known, but for units that we stopped. */
export const isAlive = ({ restart }: PayloadRecord): boolean => restart?.down !== true;

/** Told of something that does not run while it is being started: it is not up yet. */
export function isStarting({ restart }: PayloadRecord, now: Instant): boolean {
  const start = restart?.start;
  if (start === undefined) return false;
  return now.mono - start.mono < (start.state === 'done' ? SEEN_RUNNING_WITHIN_MS : TAKEN_WITHIN_MS);
}

/**
 * Whether it was us who took the unit down, rather than the unit itself: the stop signal of its episode or a later one went
 * out. Also where a last process of its stop looked like another life, of which systemd then knew nothing to stop.
 */
export function hasStopped({ spec, episode, restart }: PayloadRecord): boolean {
  if (spec.target.kind !== 'unit' || episode === null) return false;
  return restart?.owed === true || episode.marks.some((mark) => isStop(episode, mark));
}

function isStop({ steps }: Episode, { step, state, missed, uncertain }: StepMark): boolean {
  if (hookOf(step.signal) !== null || step.index < anchorIndex(steps)) return false;
  if (state === 'refused' || state === 'skipped') return false;
  // It was down before we came; unless that was ourselves, before a crash.
  return missed !== true || uncertain === true;
}

export function wentDown(record: PayloadRecord): PayloadRecord {
  const { start: _, ...rest } = record.restart ?? {};
  return { ...record, restart: { ...rest, down: true } };
}

/**
 * A life in which nothing was done or said yet. The number of its last episode is kept, so that no late report of that one is taken
 * for one of the next; and its notices are not, since their return means another stop.
 */
function newLife(record: PayloadRecord, now: Instant): PayloadRecord {
  const { restart: _, wasSignalled: __, failed: ___, episode, ...known } = record;
  // What it has said was of the life that is over, and of its last word the site has heard.
  const { canTerminate: _said, word: _word, ...spec } = known.spec;
  const rest = { ...known, spec };
  if (episode === null) return { ...rest, episode };
  const ended = episode.ended ?? { atMs: now.wall, by: 'postponed' as const };
  return { ...rest, episode: { ...episode, noticeIds: [], marks: [], anchor: null, ended } };
}

/** Whether the end of an episode concerns a unit of ours: `start` it, `drop` what is not to be started, or neither. */
export function afterEpisode(record: PayloadRecord): 'start' | 'drop' | 'nothing' {
  if (!hasStopped(record)) return 'nothing';
  if (record.spec.restartOnCancel !== false && unitsOf(record).length > 0) return 'start';
  return isAlive(record) ? 'nothing' : 'drop';
}

/** Alive again, with what `start_units` is to name. */
export function started(record: PayloadRecord, now: Instant): PayloadRecord {
  const start = { units: unitsOf(record), state: 'issued' as const, mono: now.mono };
  return { ...newLife(record, now), restart: { start } };
}

function unitsOf({ spec, restart }: PayloadRecord): readonly string[] {
  return restart?.units ?? (spec.target.kind === 'unit' ? [spec.target.unit] : []);
}

/** In one life more may be told, when a stop is repeated: what was running the first time is not any more. */
export function stopsUnits(record: PayloadRecord, units: readonly string[]): PayloadRecord {
  if (record.spec.target.kind !== 'unit') return record;
  const known = record.restart?.units ?? [];
  const all = [...new Set([...known, ...units])].slice(0, MAX_UNITS);
  if (record.restart?.units !== undefined && all.length === known.length) return record;
  return { ...record, restart: { ...record.restart, units: all } };
}

/** `start_units` has ended; the row waits for the unit to be seen. */
export function unitsStarted(record: PayloadRecord, now: Instant): PayloadRecord {
  const start = record.restart?.start;
  if (start === undefined || start.state === 'done') return record;
  return { ...record, restart: { ...record.restart, start: { ...start, state: 'done', mono: now.mono } } };
}

export function unitRunning(record: PayloadRecord, now: Instant): PayloadRecord {
  if (!isAlive(record)) {
    const { units } = record.restart ?? {};
    return { ...newLife(record, now), restart: { ...(units && { units }), owed: true } };
  }
  if (record.restart?.start === undefined) return record;
  const { start: _, ...rest } = record.restart;
  return { ...record, restart: rest };
}

/** The one repetition; or none, where the unit is to be stopped again by now. */
export function repeatStart(
  record: PayloadRecord,
  now: Instant,
): { readonly record: PayloadRecord; readonly units: readonly string[] | null } {
  const start = record.restart?.start;
  if (start?.state !== 'repeat') return { record, units: null };
  const isStopping = record.episode?.ended === null;
  const next = isStopping
    ? { ...start, state: 'done' as const, mono: now.mono }
    : { ...start, state: 'issued' as const, uncertain: true as const, mono: now.mono };
  return {
    record: { ...record, restart: { ...record.restart, start: next } },
    units: isStopping ? null : start.units,
  };
}
