/**
 * `[[source.schedule]]`: maintenance windows that the operator knows beforehand (SEMANTICS S6.3). Each window is a notice
 * from `announce` before it begins until it ends; its deadline is its begin.
 *
 * A window's id is the schedule's name and its begin, which is what tells one window from the next (S1.4): an operator who
 * overrides tonight's (`--ignore`) has not overridden tomorrow's, and while one is going on the next can be announced.
 */
import type { Static } from 'typebox';
import { durationMs } from '../duration.ts';
import type { Reading, StatedNotice } from '../lifetime/types.ts';
import { type CronTimes, cronTimes } from './schedule-cron.ts';
import { windowsAt } from './schedule-windows.ts';
import { type ReadResult, type Source, type SourceDefinition, type SourceEnvironment, SourceError } from './source.ts';

const schema = {
  type: 'array',
  maxItems: 64,
  description: 'Maintenance windows: each is announced as a notice, and all processing ends when it begins.',
  items: {
    type: 'object',
    additionalProperties: false,
    required: ['name', 'cron', 'duration'],
    properties: {
      name: {
        type: 'string',
        pattern: '^[^\\u0000-\\u001f\\u007f]{1,64}$',
        description: 'What people call it; each name once.',
        examples: ['patch day'],
      },
      cron: {
        type: 'string',
        format: 'cron',
        description:
          'When it begins: minute, hour, day of month, month, day of week; six fields begin with the second.\nWhere both days are given, both must fit.',
        examples: ['0 6 * * 2'],
      },
      timezone: {
        type: 'string',
        format: 'time-zone',
        description: "The IANA time zone that cron is meant in. The machine's own zone has no part in it.",
        default: 'UTC',
        examples: ['Europe/Zurich'],
      },
      duration: {
        type: 'string',
        format: 'duration',
        description: 'How long it lasts.',
        examples: ['2h'],
        atLeast: '1s',
      },
      announce: {
        type: 'string',
        format: 'duration',
        description: 'So long before it begins it is announced.',
        default: '24h',
      },
      kind: {
        enum: ['shutdown', 'drain'],
        description: '"shutdown": its begin is the deadline; "drain": from its begin no new work is taken.',
        default: 'shutdown',
      },
      reason: {
        type: 'string',
        pattern: '^[^\\u0000-\\u001f\\u007f]{1,200}$',
        description: 'What payloads and people are told. Default: its name.',
        examples: ['kernel update of the hypervisors'],
      },
    },
  },
} as const;

export type ScheduleConfig = Static<typeof schema>;
type Row = ScheduleConfig[number];

const { timezone, announce, kind } = schema.items.properties;
/** What holds for a window that does not say otherwise. */
export const WINDOW_DEFAULTS = {
  timezone: timezone.default,
  announce: announce.default,
  kind: kind.default,
} as const;

/** The edges have a timer of their own; this is for a clock that was set without anybody noticing. */
const POLL_MS = 30_000;
/** Nothing is asked over any wire; loading node-cron takes some 20 ms. */
const TIMEOUT_MS = 5_000;
/** Beyond 2^31 − 1 ms `setTimeout` fires at once; each reading sets the timer anew. */
const LONGEST_TIMEOUT_MS = 2 ** 31 - 1;

/** One source for all windows, none without any. Gives notices only, of kind `shutdown` or `drain`. */
export const scheduleSource: SourceDefinition<ScheduleConfig | Readonly<Record<string, never>> | undefined> = {
  name: 'schedule',
  schema,
  create(config, environment) {
    return Array.isArray(config) && config.length > 0 ? [createScheduleSource(config, environment)] : [];
  },
};

/** As `create`, on another clock: `nowMs` gives UNIX ms. */
export function createScheduleSource(
  rows: ScheduleConfig,
  { log }: Pick<SourceEnvironment, 'log'>,
  nowMs: () => number = Date.now,
): Source {
  let loaded: Promise<readonly (CronTimes | undefined)[]> | undefined;
  let timer: NodeJS.Timeout | undefined;
  let changed: (() => void) | undefined;
  let closed = false;

  /** The configuration was checked; what fails here all the same must not take the other windows along. */
  async function load(row: Row): Promise<CronTimes | undefined> {
    try {
      const times = await cronTimes(row.cron, row.timezone ?? WINDOW_DEFAULTS.timezone);
      if (times.next(nowMs()) === undefined)
        log.warn(
          { event: 'schedule_never', name: row.name, cron: row.cron },
          `schedule: ${row.name} never comes again`,
        );
      return times;
    } catch (error) {
      log.error(
        { event: 'schedule_invalid', name: row.name, err: error },
        `schedule: ${row.name} cannot be understood`,
      );
      return undefined;
    }
  }

  async function read(): Promise<ReadResult> {
    loaded ??= Promise.all(rows.map(load));
    const times = await loaded;
    if (times.every((each) => each === undefined)) throw new SourceError('bad_cron', 'no cron expression can be used');
    const now = nowMs();
    const byId = new Map<string, Reading<StatedNotice>>();
    let changesMs = Number.POSITIVE_INFINITY;
    rows.forEach((row, i) => {
      const mine = times[i];
      if (mine === undefined) {
        byId.set(row.name, { is: 'unknown', error: 'bad_cron' });
        return;
      }
      const lengths = {
        durationMs: durationMs(row.duration),
        announceMs: durationMs(row.announce ?? WINDOW_DEFAULTS.announce),
      };
      const windows = windowsAt(mine, lengths, now);
      // Said, not only left out: what is over is over at once (S1.6).
      for (const { startMs } of windows.over) byId.set(idOf(row, startMs), { is: 'negative' });
      for (const { startMs } of windows.stated)
        byId.set(idOf(row, startMs), { is: 'present', value: noticeOf(row, startMs) });
      changesMs = Math.min(changesMs, windows.changesMs ?? Number.POSITIVE_INFINITY);
    });
    wakeIn(changesMs - now);
    return { outcome: 'answer', answer: { notices: { complete: true, byId: Object.fromEntries(byId) } } };
  }

  function wakeIn(ms: number): void {
    clearTimeout(timer);
    if (closed || changed === undefined || ms > LONGEST_TIMEOUT_MS) return;
    timer = setTimeout(() => changed?.(), Math.max(1, Math.ceil(ms)));
    timer.unref();
  }

  return {
    name: 'schedule',
    rank: 'platform',
    poll: POLL_MS,
    timeoutMs: TIMEOUT_MS,
    read,
    watch(onChange, signal) {
      changed = onChange;
      signal.addEventListener('abort', () => clearTimeout(timer), { once: true });
    },
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
}

/** `patch day 2025-12-23T05:00:00Z`. */
const idOf = ({ name }: Row, startMs: number): string =>
  `${name} ${new Date(startMs).toISOString().replace('.000Z', 'Z')}`;

function noticeOf({ name, kind, reason }: Row, startMs: number): StatedNotice {
  return { kind: kind ?? WINDOW_DEFAULTS.kind, deadlineMs: startMs, reason: reason ?? `maintenance window: ${name}` };
}
