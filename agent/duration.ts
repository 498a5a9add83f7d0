/** Durations as people write them in configuration and on the command line, and as they like to read them. */

const UNIT_MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
type Unit = keyof typeof UNIT_MS;

/** Ten years: far beyond any virtual machine, and far below where millisecond sums lose precision. */
const LONGEST_MS = 3650 * UNIT_MS.d;

const PATTERN = /^(\d{1,12}(?:\.\d{1,9})?)(ms|s|m|h|d)$/;

/** What a JSON Schema says of it; tighter than what is taken in files, so that no sum of them leaves a double. */
export const DURATION_PATTERN = '^[0-9]{1,9}(\\.[0-9]{1,3})?(ms|s|m|h)$';

/**
 * `"90s"`, `"30m"`, `"2h"`, `"1.5h"`, `"250ms"`, `"3d"` → whole milliseconds.
 * @throws RangeError with a sentence that says what would be right.
 */
export function durationMs(text: string): number {
  const match = PATTERN.exec(text.trim());
  const amount = match?.[1];
  const unit = match?.[2];
  if (amount === undefined || !isUnit(unit)) {
    throw new RangeError(`expected a duration such as "90s", "30m" or "1.5h", got ${JSON.stringify(text)}`);
  }
  const ms = Math.round(Number(amount) * UNIT_MS[unit]);
  if (ms > LONGEST_MS) throw new RangeError(`expected a duration of at most 3650d, got ${JSON.stringify(text)}`);
  return ms;
}

/** Whether `durationMs` takes this text. */
export function isDuration(text: string): boolean {
  try {
    durationMs(text);
    return true;
  } catch {
    return false;
  }
}

/** As it would be written in a configuration: `90s`, `0.25s`. */
export function durationText(ms: number): string {
  return `${Math.round(ms) / 1000}s`;
}

/** For people, at most two units, rounded to whole seconds from 10 s on: `1 h 23 min`, `45 s`, `2 d`, `250 ms`. A negative one gets a `-`. */
export function formatDuration(ms: number): string {
  if (!Number.isFinite(ms)) return 'unknown';
  if (ms < 0) return `-${formatDuration(-ms)}`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 10_000) return `${Math.round(ms / 100) / 10} s`;
  const seconds = Math.round(ms / 1000);
  const parts: readonly (readonly [number, string])[] = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'min'],
    [seconds % 60, 's'],
  ];
  const first = parts.findIndex(([amount]) => amount > 0);
  return parts
    .slice(first, first + 2)
    .filter(([amount]) => amount > 0)
    .map(([amount, unit]) => `${amount} ${unit}`)
    .join(' ');
}

function isUnit(text: string | undefined): text is Unit {
  return text !== undefined && Object.hasOwn(UNIT_MS, text);
}
