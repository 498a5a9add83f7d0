/** When a source is read next: by interval, by what its channel says, by a site's cron expression, or once. */
import type { Logger } from 'pino';
import type { Clock } from '../clock.ts';
import type { Observation } from '../lifetime/types.ts';
import type { Source } from './source.ts';
import { startTimer, type Timer } from './timer.ts';

export interface Schedule {
  /** A reading has ended, whoever asked for it. */
  ended(observation: Observation, startedMono: number, endedMono: number): void;
  stop(): void;
}

interface Surroundings {
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  poll(): void;
}

/** S7: no channel is asked more often, by whatever configuration or header. */
const MIN_INTERVAL_MS = 200;
/** What a channel may put off at most: it may be wrong. */
const MAX_HINT_MS = 3_600_000;
/** Ten thousand guests that were started together drift apart within a few polls. */
const JITTER = 0.1;
/** From so many failures running on, a fast interval slows down … */
const SLOW_AFTER_FAILURES = 10;
/** … but only as far as still leaves most of the shortest notice (30 s). */
const SLOWEST_FAST_INTERVAL_MS = 5_000;
/** What is read once is tried again so soon at first, and so late at most. */
const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 60_000;
/** A cron expression names one instant to all guests: they spread over this, or over a tenth of the time to the next one. */
const CRON_SPREAD_MS = 30_000;
/** Where the expression is no good: rare enough for anything that one would put on a cron. */
const CRON_FALLBACK_MS = 3_600_000;

export function startSchedule(source: Source, surroundings: Surroundings): Schedule {
  const { poll } = source;
  if (typeof poll === 'number') return everyInterval(source, poll, surroundings);
  const retrying = untilAnswered(surroundings);
  return poll === 'once' ? retrying : byCron(source, poll.cron, retrying, surroundings);
}

function everyInterval(source: Source, pollMs: number, { clock, random, poll }: Surroundings): Schedule {
  let timer: Timer | undefined;
  let failuresRunning = 0;
  let answered = false;

  function intervalMs(): number {
    // The network may come later than the agent: until the first answer nobody waits for a slow interval.
    const soonMs =
      answered || failuresRunning === 0
        ? Number.POSITIVE_INFINITY
        : FIRST_RETRY_MS * 2 ** Math.min(16, failuresRunning - 1);
    return Math.min(soonMs, slowed(pollMs, failuresRunning)) * (1 - JITTER + 2 * JITTER * random());
  }

  return {
    ended(observation, startedMono, endedMono) {
      failuresRunning = observation.outcome === 'failed' ? failuresRunning + 1 : 0;
      answered ||= observation.outcome === 'answer';
      timer?.cancel();
      const hintMs = failuresRunning === 0 ? source.nextPollMs?.() : undefined;
      const dueMono =
        hintMs === undefined
          ? // From the start of the reading, so that slow answers do not stretch the interval; what is overdue is not made up for.
            startedMono + intervalMs()
          : // Never before the time that the channel named: the answer would be the same.
            endedMono + Math.min(hintMs, MAX_HINT_MS) * (1 + JITTER * random());
      timer = startTimer(clock, Math.max(dueMono, startedMono + MIN_INTERVAL_MS, endedMono + MIN_INTERVAL_MS), poll);
    },
    stop: () => timer?.cancel(),
  };
}

/** Blocking back-off would eat a notice; none at all keeps a machine without this channel busy. */
function slowed(pollMs: number, failuresRunning: number): number {
  if (pollMs >= SLOWEST_FAST_INTERVAL_MS || failuresRunning < SLOW_AFTER_FAILURES) return pollMs;
  return Math.min(SLOWEST_FAST_INTERVAL_MS, pollMs * 2 ** Math.min(16, failuresRunning - SLOW_AFTER_FAILURES + 1));
}

/** Exponential back-off until the first answer; nothing by itself afterwards. */
function untilAnswered({ clock, random, poll }: Surroundings): Schedule {
  let timer: Timer | undefined;
  let tries = 0;
  let answered = false;
  return {
    ended(observation, _startedMono, endedMono) {
      timer?.cancel();
      answered ||= observation.outcome === 'answer';
      if (answered) return;
      const delayMs = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(16, tries));
      tries += 1;
      timer = startTimer(clock, endedMono + delayMs * (1 - JITTER + 2 * JITTER * random()), poll);
    },
    stop: () => timer?.cancel(),
  };
}

function byCron(source: Source, expression: string, retrying: Schedule, { clock, log, poll }: Surroundings): Schedule {
  let stopped = false;
  let stopTask: () => void = () => undefined;

  function fallBack(error: unknown): void {
    log.error(
      { event: 'source_cron_invalid', source: source.name, cron: expression, err: error },
      `${source.name}: cron expression ${JSON.stringify(expression)} cannot be used, asking each hour instead`,
    );
    let timer: Timer | undefined;
    const again = () => {
      timer = startTimer(clock, clock.now().mono + CRON_FALLBACK_MS, () => {
        poll();
        again();
      });
    };
    again();
    stopTask = () => timer?.cancel();
  }

  async function begin(): Promise<void> {
    // Loaded on demand: it costs 10 MB, and hardly any site writes cron expressions.
    const cron = await import('node-cron');
    if (stopped) return;
    const planned = cron.createTask(expression, poll);
    const [first, second] = planned.getNextRuns(2);
    void planned.destroy();
    const gapMs = first && second ? second.getTime() - first.getTime() : 0;
    const task = cron.schedule(expression, poll, {
      name: source.name,
      noOverlap: true,
      maxRandomDelay: Math.min(CRON_SPREAD_MS, gapMs * JITTER),
      suppressMissedWarning: true,
      unref: true,
      logger: cronLogger(source.name, log),
    });
    stopTask = () => void task.destroy();
  }

  begin().catch((error: unknown) => {
    if (!stopped) fallBack(error);
  });
  return {
    ended: retrying.ended,
    stop() {
      stopped = true;
      retrying.stop();
      stopTask();
    },
  };
}

/** node-cron would write to the console. */
function cronLogger(source: string, log: Logger) {
  const at = (level: 'debug' | 'warn') => (message: string | Error) =>
    log[level]({ event: 'cron', source }, `${source}: ${message instanceof Error ? message.message : message}`);
  return { info: at('debug'), debug: at('debug'), warn: at('warn'), error: at('warn') };
}
