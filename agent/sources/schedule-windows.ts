/** Which maintenance windows are to be spoken of at an instant (SEMANTICS S6.3). Pure but for the cron's own knowledge. */
import type { CronTimes } from './schedule-cron.ts';

export interface Window {
  readonly startMs: number;
  readonly endMs: number;
}

export interface WindowsNow {
  /** Going on or announced, earliest first: those in progress, and the next one when it is near enough. */
  readonly stated: readonly Window[];
  /** Over, most recent first, and so recently that somebody may still believe in them. */
  readonly over: readonly Window[];
  /** When this changes by itself, UNIX ms; undefined: never. */
  readonly changesMs: number | undefined;
}

/** Windows of one expression rarely overlap at all; where they do, those further back end earlier than these. */
const MAX_IN_PROGRESS = 16;
/** Older ones are not held by anybody, or are cleared as absent. */
const OVER_FOR_MS = 3_600_000;
const MAX_OVER = 4;

export function windowsAt(
  times: CronTimes,
  { durationMs, announceMs }: { readonly durationMs: number; readonly announceMs: number },
  nowMs: number,
): WindowsNow {
  const windowOf = (startMs: number): Window => ({ startMs, endMs: startMs + durationMs });
  // In progress: start ≤ now < start + duration.
  const inProgress = backwards(times, nowMs, nowMs - durationMs + 1, MAX_IN_PROGRESS)
    .map(windowOf)
    .reverse();
  const over = backwards(times, nowMs - durationMs, nowMs - durationMs - OVER_FOR_MS, MAX_OVER).map(windowOf);
  const nextMs = times.next(nowMs);
  const announcedMs = nextMs === undefined ? undefined : nextMs - announceMs;
  const isAnnounced = announcedMs !== undefined && announcedMs <= nowMs;
  const edges = [...inProgress.map(({ endMs }) => endMs), isAnnounced ? nextMs : announcedMs];
  const changes = edges.filter((ms) => ms !== undefined);
  return {
    stated: [...inProgress, ...(isAnnounced && nextMs !== undefined ? [windowOf(nextMs)] : [])],
    over,
    changesMs: changes.length === 0 ? undefined : Math.min(...changes),
  };
}

function backwards(times: CronTimes, atMs: number, earliestMs: number, most: number): number[] {
  const found: number[] = [];
  let from = atMs;
  while (found.length < most) {
    const startMs = times.previous(from, earliestMs);
    if (startMs === undefined) break;
    found.push(startMs);
    from = startMs - 1;
  }
  return found;
}
