/** Instants as metadata services write them. Everything here gives UNIX ms, or undefined for what is no time. */

const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
/** Longer than any time that is written out. */
const MAX_TEXT = 64;
/** What a date library writes for "no time" (year 1), and what a dead clock does; also, years below 100 are others to `Date`. */
const FIRST_YEAR = 1970;
const ZONE = String.raw`(Z|z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)`;
const ISO = new RegExp(
  String.raw`^(\d{4})-(\d{2})-(\d{2})[Tt ](\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,12}))?)? ?${ZONE}?$`,
);
/** RFC 1123 and EC2's variant: the weekday is often wrong and never read, the day may stand without a leading zero. */
const RFC1123 = new RegExp(
  String.raw`^(?:[A-Za-z]{3,9},? )?(\d{1,2})[ -]([A-Za-z]{3})[A-Za-z]*[ -](\d{4}) (\d{2}):(\d{2}):(\d{2})(?: ?${ZONE})?$`,
);

/**
 * RFC 3339 (also with a blank, a comma or without seconds) or RFC 1123 (also with a one-digit day or a wrong weekday).
 * Without a zone it is `zoneMinutes` east of UTC (Tencent: 480), by default UTC.
 */
export function parseInstant(text: string, zoneMinutes = 0): number | undefined {
  const trimmed = text.trim().replace(/\s+/g, ' ');
  if (trimmed.length > MAX_TEXT) return undefined;
  const iso = ISO.exec(trimmed);
  if (iso) {
    const [, year, month, day, hour, minute, second = '0', fraction = '0', zone] = iso;
    const ms = Number(fraction.slice(0, 3).padEnd(3, '0'));
    return instantOf([year, month, day, hour, minute, second].map(Number), ms, zone, zoneMinutes);
  }
  const rfc = RFC1123.exec(trimmed);
  if (rfc === null) return undefined;
  const [, day, name = '', year, hour, minute, second, zone] = rfc;
  const month = MONTHS.indexOf(name.toLowerCase()) + 1;
  return month === 0
    ? undefined
    : instantOf([year, month, day, hour, minute, second].map(Number), 0, zone, zoneMinutes);
}

function instantOf(
  [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0]: readonly number[],
  ms: number,
  zone: string | undefined,
  zoneMinutes: number,
): number | undefined {
  const isEndOfDay = hour === 24 && minute === 0 && second === 0 && ms === 0;
  // A leap second is written as :60 and is the next minute to everybody else.
  if (year < FIRST_YEAR || month < 1 || month > 12 || (hour > 23 && !isEndOfDay) || minute > 59 || second > 60)
    return undefined;
  const day0 = Date.UTC(year, month - 1, day);
  const eastMinutes = zone === undefined ? zoneMinutes : offsetMinutes(zone);
  if (day < 1 || new Date(day0).getUTCMonth() !== month - 1 || eastMinutes === undefined) return undefined;
  return day0 + ((hour * 60 + minute - eastMinutes) * 60 + second) * 1000 + ms;
}

/** East of UTC; undefined for what no place on earth has. */
function offsetMinutes(zone: string): number | undefined {
  const [, sign, hours, minutes = '0'] = /^([+-])(\d{2}):?(\d{2})?$/.exec(zone) ?? [];
  if (sign === undefined) return 0;
  if (Number(hours) > 15 || Number(minutes) > 59) return undefined;
  return (sign === '-' ? -1 : 1) * (Number(hours) * 60 + Number(minutes));
}
