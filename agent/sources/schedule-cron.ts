/**
 * The instants that a cron expression names in a time zone. node-cron judges the expression and knows which days it means;
 * the walk from day to day stands here, since node-cron looks only forward, only from now, and passes over a time of day
 * that does not exist where the clocks go forward: a window at that time would be lost.
 */
import { type CronFields, cronFields } from './cron.ts';
import { civilToUnixMs, zoneOffsetMs } from './schedule-zone.ts';

export interface CronTimes {
  /** The first one later than `afterMs`, UNIX ms; undefined when there is none in forty years. */
  next(afterMs: number): number | undefined;
  /** The last one that is neither later than `atMs` nor earlier than `earliestMs`. */
  previous(atMs: number, earliestMs: number): number | undefined;
}

const DAY_MS = 86_400_000;
/** 29 February on a given day of the week may be forty years away (around 2100). */
const HORIZON_DAYS = 41 * 366;
/** One each five minutes: of more nobody could make use, and each is gone through where a day is looked at. */
const MAX_PER_DAY = 288;
/** A reading looks at yesterday, today and tomorrow, again and again; of some windows it looks far back. */
const MAX_DAYS_KEPT = 16;
/** Days of forty years that may need node-cron's own word, for words such as `5#5` on one day of the week. */
const MAX_VERDICTS_KEPT = 4_096;

/**
 * Loads node-cron (10 MB). What is asked of the answer costs a few ms at most.
 * @throws RangeError with a sentence that says what would be right.
 */
export async function cronTimes(expression: string, timezone: string): Promise<CronTimes> {
  const fields = await cronFields(expression);
  const timesOfDay = timesIn(expression, fields);
  const cron = await import('node-cron');
  // In UTC, so that a date of the calendar is asked for and not an instant of some place.
  const task = cron.createTask(expression, () => undefined, { timezone: 'UTC' });
  // Only what it knows is wanted: it is never started, and must not stay in node-cron's list.
  void task.destroy();

  const firstTime = timesOfDay[0] ?? 0;
  const everyHour = new Set(fields.hour).size === 24;
  const months = new Set(fields.month);
  const days = onlyNumbers(fields.dayOfMonth);
  const weekdays = onlyNumbers(fields.dayOfWeek);

  const verdicts = new Map<number, boolean>();
  const instants = new Map<number, readonly number[]>();

  /** Days are counted on the calendar from 1 January 1970. */
  function isMeant(day: number): boolean {
    const date = new Date(day * DAY_MS);
    // node-cron's own test costs a hundred times as much, and most days of most expressions fail here.
    if (!months.has(date.getUTCMonth() + 1)) return false;
    if (days !== undefined && !days.has(date.getUTCDate())) return false;
    if (weekdays !== undefined && !weekdays.has(date.getUTCDay())) return false;
    const known = verdicts.get(day);
    if (known !== undefined) return known;
    const verdict = task.match(new Date(day * DAY_MS + firstTime));
    keep(verdicts, day, verdict, MAX_VERDICTS_KEPT);
    return verdict;
  }

  function instantsOn(day: number): readonly number[] {
    if (!isMeant(day)) return [];
    const known = instants.get(day);
    if (known !== undefined) return known;
    const found = civilToUnixMs(day * DAY_MS, timesOfDay, timezone, everyHour);
    const sorted = [...new Set(found)].sort((a, b) => a - b);
    keep(instants, day, sorted, MAX_DAYS_KEPT);
    return sorted;
  }

  const dayAt = (ms: number): number => Math.floor((ms + zoneOffsetMs(ms, timezone)) / DAY_MS);

  return {
    next(afterMs) {
      const first = dayAt(afterMs) - 1;
      for (let day = first; day < first + HORIZON_DAYS; day += 1) {
        const found = instantsOn(day).find((instant) => instant > afterMs);
        if (found !== undefined) return found;
      }
      return undefined;
    },
    previous(atMs, earliestMs) {
      const last = dayAt(earliestMs) - 1;
      for (let day = dayAt(atMs) + 1; day >= last; day -= 1) {
        const found = instantsOn(day).findLast((instant) => instant <= atMs);
        if (found !== undefined) return found >= earliestMs ? found : undefined;
      }
      return undefined;
    },
  };
}

/** Ms after midnight, in order. */
function timesIn(expression: string, { hour, minute, second }: CronFields): readonly number[] {
  // What is written twice stands there twice.
  const [hours, minutes, seconds] = [new Set(hour), new Set(minute), new Set(second)];
  const count = hours.size * minutes.size * seconds.size;
  if (count > MAX_PER_DAY)
    throw new RangeError(
      `expected at most ${MAX_PER_DAY} beginnings a day, such as "*/5 * * * *", got ${count} in ${JSON.stringify(expression)}`,
    );
  const times = [...hours].flatMap((h) =>
    [...minutes].flatMap((m) => [...seconds].map((s) => ((h * 60 + m) * 60 + s) * 1000)),
  );
  return times.sort((a, b) => a - b);
}

/** The one that has been there longest goes. */
function keep<T>(days: Map<number, T>, day: number, value: T, most: number): void {
  const [oldest] = days.keys();
  if (days.size >= most && oldest !== undefined) days.delete(oldest);
  days.set(day, value);
}

/** Undefined where there are words such as `L` or `2#1` among them. */
function onlyNumbers(values: readonly (number | string)[]): ReadonlySet<number> | undefined {
  const numbers = values.filter((value) => typeof value === 'number');
  return numbers.length === values.length ? new Set(numbers) : undefined;
}
