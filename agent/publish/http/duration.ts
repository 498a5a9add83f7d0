/** Durations in bodies and rows, written as in the configuration: `"90s"`, `"30m"`, `"2h"`. */

export const DURATION_PATTERN = '^[0-9]{1,9}(\\.[0-9]{1,3})?(ms|s|m|h)$';
const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** Milliseconds; undefined if it is none. */
export function parseDuration(text: string): number | undefined {
  if (!new RegExp(DURATION_PATTERN).test(text)) return undefined;
  const unit = /[a-z]+$/.exec(text)?.[0] ?? '';
  const factor = UNIT_MS[unit];
  return factor === undefined ? undefined : Math.round(Number(text.slice(0, -unit.length)) * factor);
}

/** In seconds: what everybody reads. */
export function formatDuration(ms: number): string {
  return `${Math.round(ms) / 1000}s`;
}
