/** What is held of one key or notice: the last good value, and how it may be cleared (SEMANTICS S1.4, S1.6). */
import type { Instant, Reading, StatedNotice } from './types.ts';

export interface Held<T> {
  readonly value: T;
  /** Since when this value stands. */
  readonly sinceMs: number;
  /** When it was first seen under this identity; survives changes of value and short absences. */
  readonly firstSeenMs: number;
  /** It appeared or changed after an earlier good answer, so `sinceMs` is about the moment of the announcement. */
  readonly witnessed: boolean;
  readonly misses: { readonly count: number; readonly sinceMono: number } | null;
  /** Cleared at this time; remembered for a while, in case it returns. */
  readonly goneMs: number | null;
  /** From another boot, and not heard in this one yet (S4.1). */
  readonly unheard?: true;
  /** A reboot that has happened (S1.8): not acted on until the platform delists it. */
  readonly dismissed?: true;
}

/** A notice as it is kept. `reckoned`: its time was counted on this machine's clock (S1.3) and not said by the host. */
export interface KnownNotice extends StatedNotice {
  readonly reckoned?: true;
}

/** S1.6: this many good answers running without it … */
const ABSENCES_TO_CLEAR = 3;
/** … and at least this long between the first and the last of them. */
const ABSENT_FOR_MS = 3_000;
/** S1.6: what returns sooner than this is the same notice. */
export const SAME_NOTICE_MS = 600_000;
/** S1.6: after the first absence, ask again each second. */
export const CONFIRM_ABSENCE_MS = 1_000;

export const isLive = (held: Held<unknown> | undefined): boolean => held !== undefined && held.goneMs === null;

/** What stands under this very name. Ids come from hosts and callers: `constructor` must not find what every object inherits. */
export function own<T>(record: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(record, key) ? record[key] : undefined;
}

/** Cleared, but so recently that its return would be no news (S1.6). */
export const isRemembered = (held: Held<unknown>, now: Instant): boolean =>
  held.goneMs === null || now.wall - held.goneMs <= SAME_NOTICE_MS;

/** The value of a held thing that is in force, or undefined. */
export function liveValue<T>(held: Held<T> | undefined): T | undefined {
  return held !== undefined && held.goneMs === null ? held.value : undefined;
}

/**
 * One reading applied to what is held. `unknown` changes nothing but breaks a row of absences: only good answers running
 * may clear. `update` may combine the old with the new value (S1.3, S1.4); it is given the old one only while it is the
 * same notice.
 */
export function applyReading<T>(
  held: Held<T> | undefined,
  reading: Reading<T>,
  now: Instant,
  options: {
    readonly witnessed: boolean;
    readonly same: (a: T, b: T) => boolean;
    readonly update?: (old: T, next: T, wasGone: boolean) => T;
  },
): Held<T> | undefined {
  const known = held !== undefined && isRemembered(held, now) ? held : undefined;
  switch (reading.is) {
    case 'present': {
      if (held?.unheard) return applyReading(heardAgain(held), reading, now, options);
      if (known === undefined)
        return {
          value: reading.value,
          sinceMs: now.wall,
          firstSeenMs: now.wall,
          witnessed: options.witnessed,
          misses: null,
          goneMs: null,
        };
      const value = options.update ? options.update(known.value, reading.value, known.goneMs !== null) : reading.value;
      if (known.goneMs === null && options.same(known.value, value))
        return known.misses === null ? known : { ...known, misses: null };
      return { ...known, value, sinceMs: now.wall, witnessed: options.witnessed, misses: null, goneMs: null };
    }
    case 'negative':
      return known === undefined || known.goneMs !== null ? known : gone(known, now);
    case 'unknown':
      return known === undefined || known.misses === null ? known : { ...known, misses: null };
    case 'absent': {
      if (known === undefined || known.goneMs !== null) return known;
      const misses = { count: (known.misses?.count ?? 0) + 1, sinceMono: known.misses?.sinceMono ?? now.mono };
      const confirmed = misses.count >= ABSENCES_TO_CLEAR && now.mono - misses.sinceMono >= ABSENT_FOR_MS;
      return confirmed ? gone(known, now) : { ...known, misses };
    }
  }
}

function heardAgain<T>(held: Held<T>): Held<T> {
  const { unheard: _, ...rest } = held;
  return rest;
}

/** Without what was cleared so long ago that its return would be news: a host that invents ids must not fill the memory. */
export function pruneGone<T>(held: Readonly<Record<string, Held<T>>>, now: Instant): Readonly<Record<string, Held<T>>> {
  return Object.values(held).every((each) => isRemembered(each, now))
    ? held
    : Object.fromEntries(Object.entries(held).filter(([, each]) => isRemembered(each, now)));
}

/** Delisted: a dismissal ends with it, since what comes back is then announced anew. */
function gone<T>(held: Held<T>, now: Instant): Held<T> {
  const { dismissed: _, ...rest } = held;
  return { ...rest, misses: null, goneMs: now.wall };
}
