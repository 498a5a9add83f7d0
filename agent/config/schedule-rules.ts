/** Whether the maintenance windows of `[[source.schedule]]` can be what their author means (SEMANTICS S6.3). */
import { durationMs, formatDuration } from '../duration.ts';
import { type ScheduleConfig, WINDOW_DEFAULTS } from '../sources/schedule.ts';
import { type CronTimes, cronTimes } from '../sources/schedule-cron.ts';
import type { RuleReport } from './rules.ts';
import type { Config } from './types.ts';

/** Any instant would do; from this one on a leap day is near. */
const REFERENCE_MS = Date.UTC(2024, 0, 1);
/** Windows that follow one another without a gap for so long do so for ever. */
const GAPLESS_WINDOWS = 64;
/** Shorter than the second that cron counts in. */
const SHORTEST_WINDOW_MS = 1_000;

/** Presumes a valid shape. Loads node-cron only where a window is configured. */
export async function checkSchedules(config: Config, report: RuleReport): Promise<void> {
  const rows = config.source['schedule'];
  // Its shape was checked against the source's own schema.
  if (!Array.isArray(rows)) return;
  const windows: ScheduleConfig = rows;
  if (windows.length > 0 && config.sources !== 'auto' && !config.sources.includes('schedule'))
    report.warning(['source', 'schedule'], 'is not in the list of sources: these windows are not announced');
  for (const [i, row] of windows.entries()) {
    const at = (key: string) => ['source', 'schedule', i, key];
    const twin = windows.findIndex(({ name }) => name === row.name);
    if (twin < i) report.problem(at('name'), `${JSON.stringify(row.name)} is taken: each window has a name of its own`);
    await checkWindow(row, at, report);
    if (
      (row.kind ?? WINDOW_DEFAULTS.kind) === 'shutdown' &&
      durationMs(row.announce ?? WINDOW_DEFAULTS.announce) < config.stop.graceMs
    ) {
      const message = `is shorter than stop.grace (${formatDuration(config.stop.graceMs)}): payloads are stopped in haste`;
      report.warning(at('announce'), message);
    }
  }
}

async function checkWindow(
  row: ScheduleConfig[number],
  at: (key: string) => readonly (string | number)[],
  report: RuleReport,
): Promise<void> {
  const lastsMs = durationMs(row.duration);
  if (lastsMs < SHORTEST_WINDOW_MS) report.problem(at('duration'), `expected at least 1s, got "${row.duration}"`);
  let times: CronTimes;
  try {
    times = await cronTimes(row.cron, row.timezone ?? WINDOW_DEFAULTS.timezone);
  } catch (error) {
    report.problem(at('cron'), error instanceof Error ? error.message : String(error));
    return;
  }
  const startMs = times.next(REFERENCE_MS);
  if (startMs === undefined) {
    report.problem(at('cron'), `expected a time that comes, got ${JSON.stringify(row.cron)}, which never does`);
    return;
  }
  const shortestMs = gaplessMs(times, startMs, lastsMs);
  if (shortestMs !== undefined) {
    const message = `expected less than the ${formatDuration(shortestMs)} from one window to the next, got "${row.duration}": the machine would never come out of maintenance`;
    report.problem(at('duration'), message);
  }
  const fields = row.cron.trim().split(/\s+/).slice(-3);
  if (isChosen(fields[0]) && isChosen(fields[2]))
    report.warning(at('cron'), 'day of month and day of week must both fit, unlike in crontab(5)');
}

/** The shortest way from one begin to the next, where every window lasts until the next one; else undefined. */
function gaplessMs(times: CronTimes, firstMs: number, lastsMs: number): number | undefined {
  let shortestMs = Number.POSITIVE_INFINITY;
  let startMs = firstMs;
  for (let i = 0; i < GAPLESS_WINDOWS; i += 1) {
    const nextMs = times.next(startMs);
    if (nextMs === undefined || nextMs - startMs > lastsMs) return undefined;
    shortestMs = Math.min(shortestMs, nextMs - startMs);
    startMs = nextMs;
  }
  return shortestMs;
}

const isChosen = (field: string | undefined): boolean => field !== undefined && field !== '*' && field !== '?';
