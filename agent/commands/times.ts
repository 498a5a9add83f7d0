/** Instants as the commands show them. */
import { formatDuration } from '../duration.ts';

/** `2025-12-22T21:46:40Z`. Times that no calendar has are shown as the number they are. */
export function instantText(unixSecs: number): string {
  const date = new Date(unixSecs * 1000);
  return Number.isNaN(date.getTime()) ? String(unixSecs) : date.toISOString().replace(/\.\d{3}Z$/, 'Z');
}

/** `2025-12-22T21:46:40Z, in 1 h 23 min` or `…, 5 s ago`. */
export function instantAndDistance(unixSecs: number, nowMs: number): string {
  return `${instantText(unixSecs)}, ${distanceText(unixSecs, nowMs)}`;
}

/** `in 1 h 23 min` or `5 s ago`. */
export function distanceText(unixSecs: number, nowMs: number): string {
  const distanceMs = unixSecs * 1000 - nowMs;
  return distanceMs >= 0 ? `in ${formatDuration(distanceMs)}` : `${formatDuration(-distanceMs)} ago`;
}

/** `1:23:45`, `0:00:07`, `2 d 01:23:45`: for a clock that runs. Rounded down: nobody is told to have time that is not there. */
export function clockText(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const days = Math.floor(seconds / 86_400);
  const two = (amount: number): string => String(amount).padStart(2, '0');
  const hours = Math.floor(seconds / 3600) % 24;
  const rest = `${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
  return days > 0 ? `${days} d ${two(hours)}:${rest}` : `${hours}:${rest}`;
}
