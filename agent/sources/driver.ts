/**
 * Drives one source: when it is read, for how long at most, never twice at once, with jitter, measured, and told to the
 * log without repetition. A source itself only reads (source.ts); everything that all sources need stands here once.
 */
import type { Logger } from 'pino';
import type { Clock } from '../clock.ts';
import type { Observation, SourceInfo, SourceState } from '../lifetime/types.ts';
import type { LiveSource, SourceReading } from '../ports.ts';
import { type Say, speak } from './driver-back.ts';
import { startReader } from './driver-read.ts';
import { createReporter } from './driver-report.ts';
import { startSchedule } from './driver-schedule.ts';
import type { Source } from './source.ts';
import { startTimer, type Timer } from './timer.ts';

export interface DriverOptions {
  /** Called once for each reading that ended, never synchronously within `startDriver`. */
  emit(observation: Observation): void;
  readonly log: Logger;
  readonly clock: Clock;
  readonly random?: () => number;
  count(metric: string, labels?: Readonly<Record<string, string>>): void;
  /** How long readings take; absent where nobody wants to know. */
  observe?(metric: string, value: number, labels: Readonly<Record<string, string>>): void;
}

export interface Driver {
  /**
   * Reads, and fulfils when a reading that began after this call has ended, well or not; at the latest after three times
   * the source's time bound, or when the driver stops. Never rejects. `fresh` as in `ReadContext`, true by default.
   */
  pollNow(fresh?: boolean): Promise<void>;
  /** One fresh reading in addition to the interval's (S1.6: confirm an absence); the earliest of several counts. */
  pollSoon(inMs: number): void;
  /** Over the source's way back: null when the host has taken it, else a code (driver-back.ts). Bounded; never rejects. */
  tell(values: Readonly<Record<string, string | null>>, signal: AbortSignal): Promise<string | null>;
  acknowledge(event: string, signal: AbortSignal): Promise<string | null>;
  live(): LiveSource;
  info(): SourceInfo;
  /** Ends everything, in flight or planned, and closes the source. Nothing is emitted afterwards. */
  stop(): void;
}

/** A reading in flight may end at its bound, the next waits for it as long again, and then has its own bound. */
const POLL_NOW_BOUNDS = 3;
/** A storm of notifications must not become a busy loop; a lone one is still read at once. */
const WATCH_GAP_MS = 20;
/** Readings that are remembered: a plot of a few hours on a slow source, a minute of a directory; 60 small objects each. */
const HISTORY_LENGTH = 60;
const OUTCOMES = { answer: 'ok', failed: 'failed', no_channel: 'absent' } as const;
/** What the heart is told of a source read by a site's cron expression: marked stale after three days without an answer. */
const CRON_NOMINAL_POLL_MS = 86_400_000;

/** Starts reading at once. */
export function startDriver(source: Source, options: DriverOptions): Driver {
  const { clock, log } = options;
  const random = options.random ?? Math.random;
  const reporter = createReporter(source.name, log, clock);
  const stopping = new AbortController();
  const waiters = new Set<{ readonly done: () => void; started: boolean }>();
  let state: SourceState = 'absent';
  let lastSuccessMs: number | null = null;
  let lastError: LiveSource['lastError'] = null;
  let latencyMs: number | null = null;
  let reads = 0;
  let failures = 0;
  let history: readonly SourceReading[] = [];
  let soon: { readonly dueMono: number; readonly timer: Timer } | undefined;
  let watchTimer: Timer | undefined;
  let watchFresh = false;
  let lastWatchMono = Number.NEGATIVE_INFINITY;

  const reader = startReader(source, {
    clock,
    onStart() {
      for (const waiter of waiters) waiter.started = true;
    },
    onEnd({ observation, stack, startedMono, endedMono }) {
      const served = [...waiters].filter((waiter) => waiter.started);
      record(observation, endedMono - startedMono);
      reporter.report(observation, stack);
      options.count('mjf_source_reads_total', { source: source.name, outcome: observation.outcome });
      // A channel that this machine does not have is not slow.
      const tookSecs = (endedMono - startedMono) / 1000;
      if (observation.outcome !== 'no_channel')
        options.observe?.('mjf_source_request_duration_seconds', tookSecs, { source: source.name });
      try {
        options.emit(observation);
      } catch (error) {
        // The reading was sound; that the rest stumbled over it must not end the reading of this source.
        log.error(
          { event: 'observation_not_taken', source: source.name, err: error },
          `${source.name}: an observation was not taken`,
        );
      }
      if (stopping.signal.aborted) return;
      schedule.ended(observation, startedMono, endedMono);
      for (const waiter of served) waiter.done();
    },
  });

  function record(observation: Observation, tookMs: number): void {
    reads += 1;
    latencyMs = tookMs;
    const wallMs = clock.now().wall;
    const reading: SourceReading = {
      atMs: wallMs,
      latencyMs: tookMs,
      outcome: OUTCOMES[observation.outcome],
      error: observation.outcome === 'failed' ? observation.error : null,
    };
    history = [...history.slice(1 - HISTORY_LENGTH), reading];
    switch (observation.outcome) {
      case 'answer':
        state = 'ok';
        lastSuccessMs = wallMs;
        lastError = null;
        return;
      case 'no_channel':
        state = 'absent';
        return;
      case 'failed':
        state = 'failed';
        failures += 1;
        lastError = { code: observation.error, detail: observation.detail, atMs: wallMs };
    }
  }

  const schedule = startSchedule(source, { clock, random, log, poll: () => reader.request(false) });

  function pollNow(fresh = true): Promise<void> {
    if (stopping.signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const waiter = {
        started: false,
        done() {
          bound.cancel();
          waiters.delete(waiter);
          resolve();
        },
      };
      const bound = startTimer(clock, clock.now().mono + POLL_NOW_BOUNDS * source.timeoutMs, waiter.done);
      waiters.add(waiter);
      reader.request(fresh);
    });
  }

  function changed(fresh = true): void {
    if (stopping.signal.aborted) return;
    watchFresh ||= fresh;
    if (watchTimer !== undefined) return;
    const { mono } = clock.now();
    const dueMono = lastWatchMono + WATCH_GAP_MS;
    if (mono < dueMono) {
      watchTimer = startTimer(clock, dueMono, () => {
        watchTimer = undefined;
        changed(false);
      });
      return;
    }
    lastWatchMono = mono;
    const wanted = watchFresh;
    watchFresh = false;
    reader.request(wanted);
  }

  const say = (words: Say, wanted: AbortSignal): Promise<string | null> =>
    speak(source, words, {
      clock,
      wanted,
      stopping: stopping.signal,
      onUnforeseen: (error) =>
        log.error({ event: 'source_back_failed', source: source.name, err: error }, `${source.name}: cannot be told`),
    });

  reader.request(false);
  try {
    source.watch?.(changed, stopping.signal);
  } catch (error) {
    // The poll goes on; it only takes longer until a change is seen.
    log.warn(
      { event: 'source_watch_failed', source: source.name, err: error },
      `${source.name}: no notification of changes`,
    );
  }

  return {
    pollNow,
    pollSoon(inMs) {
      if (stopping.signal.aborted) return;
      const dueMono = clock.now().mono + Math.max(0, inMs);
      if (soon !== undefined && soon.dueMono <= dueMono) return;
      soon?.timer.cancel();
      const timer = startTimer(clock, dueMono, () => {
        soon = undefined;
        reader.request(true);
      });
      soon = { dueMono, timer };
    },
    tell: (values, signal) => say((back, end) => back.tell?.(values, end), signal),
    acknowledge: (event, signal) => say((back, end) => back.acknowledge?.(event, end), signal),
    live: () => ({
      name: source.name,
      state,
      lastSuccessMs,
      lastError,
      latencyMs,
      reads,
      failures,
      pollMs: nominalPollMs(source),
      history,
    }),
    info: () => ({ name: source.name, rank: source.rank, pollMs: nominalPollMs(source) }),
    stop() {
      if (stopping.signal.aborted) return;
      stopping.abort();
      schedule.stop();
      soon?.timer.cancel();
      watchTimer?.cancel();
      reader.stop();
      source.close?.();
      for (const waiter of waiters) waiter.done();
    },
  };
}

function nominalPollMs({ poll }: Source): number {
  if (typeof poll === 'number') return poll;
  return poll === 'once' ? 0 : CRON_NOMINAL_POLL_MS;
}
