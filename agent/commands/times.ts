/** Instants as the commands show them. */
import { formatDuration } from '../duration.ts';

/** `2025-12-22T21:46:40Z`. Times that no calendar has are shown as the number they are. */
export function instantText(unixSecs: number): string {
  const date = new Date(unixSecs * 1000);
  return Number.isNaN(date.getTime()) ? String(unixSecs) : date.toISOString().replace(/\.\d{3}Z$/, 'Z');
}

/** `2025-12-22T21:46:40Z, in 1 h 23 min` or `…, 5 s ago`. */
export function instantAndDistance(unixSecs: number, nowMs: number): string {
  const distanceMs = unixSecs * 1000 - nowMs;
  const distance = distanceMs >= 0 ? `in ${formatDuration(distanceMs)}` : `${formatDuration(-distanceMs)} ago`;
  return `${instantText(unixSecs)}, ${distance}`;
}
