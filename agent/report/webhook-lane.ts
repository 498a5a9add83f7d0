/**
 * What waits for one receiver: events go out one after the other in their order, each until it is taken, refused or out of
 * time. Nothing here waits for a hook or holds back a signal.
 */
import type { Logger } from 'pino';
import type { WebhookConfig } from '../config/types.ts';
import type { HookEvent, Instant } from '../lifetime/types.ts';
import type { WebhookMessage } from './webhook-message.ts';
import { type PostResult, post } from './webhook-post.ts';

/** A machine has about five events in its life; this is a host that keeps changing its mind while the receiver is away. */
export const MAX_QUEUED = 16;
/** First pause after a failure and the longest one; jittered, since all guests of a site fail at the same moment. */
const RETRY_FIRST_MS = 1_000;
const RETRY_MOST_MS = 30_000;
/** Longer than this a receiver does not send us away: its next words may be the machine's last. */
const RETRY_AFTER_MOST_MS = 300_000;
/** How long an event is worth telling where no deadline ends it. */
const WINDOW_MS = 600_000;
/** The last attempt begins so long before the end: as long as a connection may take. */
const LAST_TRY_MS = 5_000;

/** `dropped`: too many were waiting, or the configuration no longer wants it. `expired`: tried until its time was over. */
export type LaneOutcome = 'delivered' | 'refused' | 'expired' | 'dropped';

export interface LaneOptions {
  /** Names the receiver in log lines: `webhook`, `to`. No path nor query, which are the secret of many. */
  readonly shown: () => Readonly<Record<string, unknown>>;
  /** As the configuration is now; undefined where this event is no longer wanted. */
  readonly webhookFor: (event: HookEvent) => WebhookConfig | undefined;
  readonly log: Logger;
  readonly count: (metric: string, labels: Readonly<Record<string, string>>) => void;
  readonly now: () => Instant;
  readonly settled: (message: WebhookMessage, outcome: LaneOutcome) => void;
}

export interface Lane {
  add(message: WebhookMessage): void;
  /** Each that waits gets one more attempt, all together `boundMs`. Gives what nobody took: it is not settled. */
  close(boundMs: number): Promise<readonly WebhookMessage[]>;
  /** Nobody wants to hear it any more. */
  discard(): void;
}

interface Waiting {
  readonly message: WebhookMessage;
  readonly sinceMono: number;
  failures: number;
  last: boolean;
}

export function openLane(options: LaneOptions): Lane {
  const { shown, webhookFor, log, count, now, settled } = options;
  const queue: Waiting[] = [];
  const left: WebhookMessage[] = [];
  const stop = new AbortController();
  let flying: Waiting | null = null;
  let working: Promise<void> | null = null;
  let wake = (): void => {};
  let closing = false;
  /** The code of what is wrong with the receiver now: told when it changes, not with each attempt. */
  let wrong: string | null = null;
  let overflown = false;
  const toldExposed = new Set<string>();

  function settle(item: Waiting, outcome: LaneOutcome): void {
    queue.splice(queue.indexOf(item), 1);
    count('mjf_webhooks_total', { event: item.message.event, outcome });
    settled(item.message, outcome);
  }

  function start(): void {
    working ??= work().finally(() => {
      working = null;
      // Added between the end of the work and this.
      if (queue.length > 0 && !stop.signal.aborted) start();
    });
  }

  async function work(): Promise<void> {
    for (let item = queue[0]; item !== undefined && !stop.signal.aborted; item = queue[0]) {
      const webhook = webhookFor(item.message.event);
      if (webhook === undefined) {
        settle(item, 'dropped');
        continue;
      }
      flying = item;
      const result = await post(webhook, item.message, stop.signal, tellExposed);
      flying = null;
      if (!queue.includes(item)) continue;
      const pauseMs = judge(item, result);
      if (pauseMs !== null) await pause(pauseMs);
    }
  }

  /** How long to wait before the next attempt; null: at once, with the next event. */
  function judge(item: Waiting, result: PostResult): number | null {
    const { event, id } = item.message;
    const fields = { ...shown(), hook_event: event, id };
    if (result.is === 'taken') {
      if (wrong !== null) log.info({ event: 'webhook_recovered', ...shown() }, 'the web hook answers again');
      log.info({ event: 'webhook_sent', ...fields, attempts: item.failures + 1 }, `web hook told of ${event}`);
      wrong = null;
      overflown = false;
      settle(item, 'delivered');
      return null;
    }
    const { code } = result;
    if (result.is === 'refused') {
      const why = /^http_3/.test(code) ? `${code}; redirects are not followed` : code;
      log.warn({ event: 'webhook_refused', ...fields, error: code }, `the web hook refuses ${event} (${why})`);
      settle(item, 'refused');
      return null;
    }
    item.failures += 1;
    if (stop.signal.aborted) return null;
    const detail = result.detail === '' ? code : result.detail;
    log[wrong === code ? 'debug' : 'warn'](
      { event: 'webhook_failed', ...fields, error: code },
      `the web hook could not be told of ${event} (${detail})`,
    );
    wrong = code;
    if (closing) {
      left.push(...queue.splice(queue.indexOf(item), 1).map(({ message }) => message));
      return null;
    }
    const pauseMs = pauseOf(item, result.retryAfterMs);
    if (pauseMs === null) {
      log.warn({ event: 'webhook_expired', ...fields, error: code }, `the web hook was not told of ${event} in time`);
      settle(item, 'expired');
    } else count('mjf_webhooks_total', { event, outcome: 'retried' });
    return pauseMs;
  }

  /** null: its time is over. An event that had to wait for others has been tried once all the same. */
  function pauseOf(item: Waiting, askedMs: number): number | null {
    const { wall, mono } = now();
    const { byMs } = item.message;
    const leftMs = byMs === null ? item.sinceMono + WINDOW_MS - mono : byMs - wall;
    const backoffMs = Math.min(RETRY_MOST_MS, RETRY_FIRST_MS * 2 ** (item.failures - 1)) * jitter();
    const wantedMs = Math.max(backoffMs, Math.min(askedMs, RETRY_AFTER_MOST_MS));
    if (wantedMs < leftMs) return wantedMs;
    if (item.last) return null;
    // What would come too late comes once more before the end, so that the last moment is not left unused.
    item.last = true;
    const lastMs = (leftMs > LAST_TRY_MS ? leftMs - LAST_TRY_MS : leftMs / 2) * jitter();
    return leftMs > 0 ? lastMs : null;
  }

  function pause(ms: number): Promise<void> {
    if (closing) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms).unref();
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  function makeRoom(): void {
    if (queue.length <= MAX_QUEUED) return;
    const idle = queue.filter((item) => item !== flying);
    const victim = idle.find(({ message }) => message.event === 'notice') ?? idle[0];
    if (victim === undefined) return;
    const { event, id } = victim.message;
    log[overflown ? 'debug' : 'warn'](
      { event: 'webhook_dropped', ...shown(), hook_event: event, id },
      `more than ${MAX_QUEUED} events wait for the web hook: the oldest ${event} is dropped`,
    );
    overflown = true;
    settle(victim, 'dropped');
    // It may have been the one whose next attempt was waited for.
    wake();
  }

  function tellExposed(file: string): void {
    if (toldExposed.has(file)) return;
    toldExposed.add(file);
    log.warn({ event: 'webhook_secret_exposed', ...shown(), file }, `${file} can be read by every user: chmod 0600`);
  }

  return {
    add(message) {
      queue.push({ message, sinceMono: now().mono, failures: 0, last: false });
      makeRoom();
      start();
    },
    async close(boundMs) {
      closing = true;
      wake();
      const bound = setTimeout(() => stop.abort(), boundMs);
      while (working !== null) await working;
      clearTimeout(bound);
      stop.abort();
      return [...left, ...queue.map(({ message }) => message)];
    },
    discard() {
      stop.abort();
      for (const item of [...queue]) settle(item, 'dropped');
      wake();
    },
  };
}

/** 0.5 to 1. */
const jitter = (): number => 0.5 + Math.random() / 2;
