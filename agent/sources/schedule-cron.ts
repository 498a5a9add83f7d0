/**
 * The instants that a cron expression names in a time zone. node-cron judges the expression and knows which days it means;
 * the walk from day to day stands here, since node-cron looks only forward, only from now, and passes over a time of day
 * that does not exist where the clocks go forward: a window at that time would be lost.
 */
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
/** Minutes to days of the week, with seconds in front where six are given. */
const CRON_SHAPE = /^\S+(\s+\S+){4,5}$/;
const FIELDS: Readonly<Record<string, string>> = {
  second: 'seconds from 0 to 59',
  minute: 'minutes from 0 to 59',
  hour: 'hours from 0 to 23',
  dayOfMonth: 'days of the month from 1 to 31',
  month: 'months from 1 to 12',
  dayOfWeek: 'days of the week from 0 to 7 (0 and 7 are Sunday)',
};

/** Five or six fields, whatever stands in them. */
export const isCronShaped = (text: string): boolean => CRON_SHAPE.test(text.trim());

/** Loads node-cron (10 MB). @throws RangeError with a sentence that says what would be right. */
export async function cronTimes(expression: string, timezone: string): Promise<CronTimes> {
  const cron = await import('node-cron');
  // It also takes words such as @daily; the configuration does not.
  if (!isCronShaped(expression)) throw new RangeError(`expected five or six fields, got ${JSON.stringify(expression)}`);
  const { valid, fields, errors } = cron.validateDetailed(expression);
  if (!valid || fields === undefined) throw new RangeError(sentence(expression, errors));
  // In UTC, so that a date of the calendar is asked for and not an instant of some place.
  const task = cron.createTask(expression, () => undefined, { timezone: 'UTC' });
  // Only what it knows is wanted: it is never started, and must not stay in node-cron's list.
  void task.destroy();

  const timesOfDay = [...fields.hour].flatMap((hour) =>
    fields.minute.flatMap((minute) => fields.second.map((second) => ((hour * 60 + minute) * 60 + second) * 1000)),
  );
  timesOfDay.sort((a, b) => a - b);
  const firstTime = timesOfDay[0] ?? 0;
  const everyHour = new Set(fields.hour).size === 24;
  const months = new Set(fields.month);
  const days = onlyNumbers(fields.dayOfMonth);
  const weekdays = onlyNumbers(fields.dayOfWeek);

  /** Days are counted on the calendar from 1 January 1970. */
  function isMeant(day: number): boolean {
    const date = new Date(day * DAY_MS);
    // node-cron's own test costs a hundred times as much, and most days of most expressions fail here.
    if (!months.has(date.getUTCMonth() + 1)) return false;
    if (days !== undefined && !days.has(date.getUTCDate())) return false;
    if (weekdays !== undefined && !weekdays.has(date.getUTCDay())) return false;
    return task.match(new Date(day * DAY_MS + firstTime));
  }

  function instantsOn(day: number): readonly number[] {
    if (!isMeant(day)) return [];
    const instants = civilToUnixMs(day * DAY_MS, timesOfDay, timezone, everyHour);
    return [...new Set(instants)].sort((a, b) => a - b);
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

/** Undefined where there are words such as `L` or `2#1` among them. */
function onlyNumbers(values: readonly (number | string)[]): ReadonlySet<number> | undefined {
  const numbers = values.filter((value) => typeof value === 'number');
  return numbers.length === values.length ? new Set(numbers) : undefined;
}

function sentence(
  expression: string,
  errors: readonly { readonly field: string; readonly value?: string; readonly message: string }[],
): string {
  const wrong = errors.map(({ field, value, message }) => {
    const range = FIELDS[field];
    // Each field by itself is possible: 31 February.
    if (range === undefined || /impossible/.test(message))
      return `days that these months have, got ${JSON.stringify(value ?? '')}`;
    return `${range}, got ${JSON.stringify(value ?? '')}`;
  });
  return `expected ${wrong.join('; ') || 'a cron expression'} in ${JSON.stringify(expression)}`;
}
