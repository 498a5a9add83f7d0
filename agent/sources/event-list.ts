/** A platform's list of events, of which nothing may be taken for granted: an id may be in it twice, and it may be endless. */
import { DEADLINE_KINDS, type Reading, type StatedNotice } from '../lifetime/types.ts';

/** A machine has one or two. */
export const MAX_EVENTS = 64;

export type Readings = ReadonlyMap<string, Reading<StatedNotice>>;

/** By id. Of an id that is listed more than once what is there counts, of two the more urgent; then what is unclear. */
export function byId(listed: Iterable<readonly [id: string, reading: Reading<StatedNotice>]>): Readings {
  // A Map: the ids are the host's, and `__proto__` is a fine id.
  const readings = new Map<string, Reading<StatedNotice>>();
  for (const [id, reading] of listed) {
    const known = readings.get(id);
    if (known === undefined || compareUrgency(reading, known) < 0) readings.set(id, reading);
  }
  return readings;
}

/**
 * The most urgent ones of a list that is too long. `complete`: what was left out is over, so that an event that is not
 * among them is over or not listed; else nothing may be concluded from its absence.
 */
export function bounded(readings: Readings): { readonly readings: Readings; readonly complete: boolean } {
  if (readings.size <= MAX_EVENTS) return { readings, complete: true };
  const sorted = [...readings].sort(([, a], [, b]) => compareUrgency(a, b));
  return {
    readings: new Map(sorted.slice(0, MAX_EVENTS)),
    complete: sorted.slice(MAX_EVENTS).every(([, reading]) => reading.is === 'negative'),
  };
}

/** First what sets a deadline, the earliest of it first (S1.2); last what is said to be over. */
function compareUrgency(a: Reading<StatedNotice>, b: Reading<StatedNotice>): number {
  return classOf(a) - classOf(b) || compareTimes(timeOf(a), timeOf(b));
}

function classOf(reading: Reading<StatedNotice>): number {
  if (reading.is === 'present') return DEADLINE_KINDS.has(reading.value.kind) ? 0 : 1;
  return reading.is === 'unknown' ? 2 : 3;
}

const timeOf = (reading: Reading<StatedNotice>): number =>
  (reading.is === 'present' ? reading.value.deadlineMs : null) ?? Number.POSITIVE_INFINITY;

/** Not by subtraction: two that have no time are equal. */
const compareTimes = (a: number, b: number): number => (a === b ? 0 : a < b ? -1 : 1);
