/** Times of the calendar in a time zone, and the instants that they are. Loads Intl only when asked. */

const DAY_MS = 86_400_000;

const formats = new Map<string, Intl.DateTimeFormat>();

/** Whether this is a name of the IANA time zone database that this runtime knows. Offsets (`+01:00`) are none. */
export function isTimeZone(name: string): boolean {
  try {
    return /^[A-Za-z]/.test(name) && formatOf(name) !== undefined;
  } catch {
    return false;
  }
}

/** How far the zone's clocks are ahead of UTC at an instant, ms. @throws RangeError for an unknown zone. */
export function zoneOffsetMs(unixMs: number, timezone: string): number {
  const wholeMs = Math.floor(unixMs / 1000) * 1000;
  const parts = new Map(
    formatOf(timezone)
      .formatToParts(wholeMs)
      .map(({ type, value }) => [type, Number(value)]),
  );
  const part = (type: Intl.DateTimeFormatPartTypes): number => parts.get(type) ?? 0;
  const civil = Date.UTC(part('year'), part('month') - 1, part('day'), part('hour'), part('minute'), part('second'));
  return civil - wholeMs;
}

/**
 * The instants of times of one day. `dayMs` is the day's midnight as if it were UTC; `times` are ms after it. A time that
 * the clocks skip counts as if they had not been put forward yet; of one that comes twice it is the first, or both where
 * `twice` (what is meant for every hour comes in every hour).
 */
export function civilToUnixMs(
  dayMs: number,
  times: readonly number[],
  timezone: string,
  twice: boolean,
): readonly number[] {
  const before = zoneOffsetMs(dayMs - DAY_MS, timezone);
  const after = zoneOffsetMs(dayMs + 2 * DAY_MS, timezone);
  if (before === after) return times.map((time) => dayMs + time - before);
  const changeMs = changeBetween(dayMs - DAY_MS, dayMs + 2 * DAY_MS, before, timezone);
  const offsetAt = (ms: number): number => (ms < changeMs ? before : after);
  return times.flatMap((time) => {
    const civil = dayMs + time;
    const real = [civil - before, civil - after].filter((ms) => ms + offsetAt(ms) === civil);
    if (real.length === 0) return [civil - before];
    return twice ? real : [Math.min(...real)];
  });
}

/** The first whole second with another offset than `before`, which holds at `fromMs`. Clocks change once in three days. */
function changeBetween(fromMs: number, toMs: number, before: number, timezone: string): number {
  let [same, other] = [fromMs, toMs];
  while (other - same > 1000) {
    const middle = same + Math.floor((other - same) / 2000) * 1000;
    if (zoneOffsetMs(middle, timezone) === before) same = middle;
    else other = middle;
  }
  return other;
}

function formatOf(timezone: string): Intl.DateTimeFormat {
  const known = formats.get(timezone);
  if (known !== undefined) return known;
  const made = new Intl.DateTimeFormat('en-US', {
    timeZone: timezone,
    calendar: 'gregory',
    numberingSystem: 'latn',
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
  });
  formats.set(timezone, made);
  return made;
}
