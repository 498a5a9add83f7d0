/**
 * What is to be at the other end, by name, until it is there: the latest content of a name wins, the same is not sent twice,
 * failures are tried again with growing, jittered pauses. One line, one thing at a time; nobody waits for it.
 */
import { createHash } from 'node:crypto';
import { pause } from '../pause.ts';
import type { DeliveryFailure, ReporterEnvironment } from './reporter.ts';

/** Hands over one thing; `null` = nothing shall be there under this name. Bounded in time; never rejects. */
export type Deliver = (name: string, body: Buffer | null, signal: AbortSignal) => Promise<DeliveryFailure | null>;

/** First pause after a failure and the longest one; jittered, since all guests of a site fail at the same moment. */
const RETRY_FIRST_MS = 1_000;
const RETRY_MOST_MS = 60_000;
/** What the machine is waiting for before it goes: the site may be back any second. */
const RETRY_MOST_URGENT_MS = 2_000;
/** What a payload changes many times a second is said so often at most: a guest must not hurt the site (S7). */
export const SPACING_MS = 5_000;
/** While ending, failures are not waited out; this keeps it from spinning. */
const CLOSING_PAUSE_MS = 100;

export interface OutboxItem {
  /** The machine waits for it: no spacing, short pauses. */
  readonly urgent?: boolean;
  /** Sent although it is what was sent last (a heartbeat). */
  readonly always?: boolean;
}

export interface Outbox {
  want(name: string, body: Buffer | null, item?: OutboxItem): void;
  /** Names whose latest content is not there yet. */
  pending(): readonly string[];
  /** Forgets what is wanted under this name. */
  drop(name: string): void;
  /** Tries what waits without further pauses until it is out or `boundMs` is over. Gives the names that are left. */
  close(boundMs: number): Promise<readonly string[]>;
}

export interface OutboxOptions extends Pick<ReporterEnvironment, 'log' | 'count'> {
  readonly reporter: string;
  readonly deliver: Deliver;
  /** Told once for each thing that is over: delivered, or refused for good. */
  readonly settled?: (name: string, outcome: 'delivered' | 'refused') => void;
  readonly spacingMs?: number;
}

interface Waiting {
  readonly name: string;
  readonly body: Buffer | null;
  readonly digest: string;
  readonly urgent: boolean;
  readonly failures: number;
  /** performance.now() */
  readonly notBefore: number;
}

export function openOutbox(options: OutboxOptions): Outbox {
  const { reporter, deliver, log, count, spacingMs = SPACING_MS } = options;
  const waiting = new Map<string, Waiting>();
  /** What is there, by name, and when it came to be. */
  const there = new Map<string, { readonly digest: string; readonly atMono: number }>();
  const stopped = new AbortController();
  let wake = new AbortController();
  let working: Promise<void> | null = null;
  let closing = false;
  let failing = false;

  function enqueue(item: Waiting): void {
    waiting.set(item.name, item);
    wake.abort();
    working ??= work().finally(() => {
      working = null;
    });
  }

  function next(): Waiting | undefined {
    const now = performance.now();
    const ready = [...waiting.values()].filter(({ notBefore }) => closing || notBefore <= now);
    return ready.find(({ urgent }) => urgent) ?? ready[0];
  }

  async function work(): Promise<void> {
    // What was wanted in one go is judged together.
    await Promise.resolve();
    while (waiting.size > 0 && !stopped.signal.aborted) {
      const item = next();
      if (item === undefined) {
        const soonest = Math.min(...[...waiting.values()].map(({ notBefore }) => notBefore));
        wake = new AbortController();
        await pause(soonest - performance.now(), AbortSignal.any([stopped.signal, wake.signal]), false);
        continue;
      }
      const failure = await deliver(item.name, item.body, stopped.signal);
      settle(item, failure);
      if (closing && failure !== null) await pause(CLOSING_PAUSE_MS, stopped.signal, false);
    }
  }

  function settle(item: Waiting, failure: DeliveryFailure | null): void {
    const { name, digest } = item;
    // Overtaken by newer content while it was on its way: that one has its own turn.
    const isCurrent = waiting.get(name) === item;
    if (failure === null) {
      there.set(name, { digest, atMono: performance.now() });
      if (isCurrent) waiting.delete(name);
      count('mjf_reports_total', { reporter, outcome: 'delivered' });
      if (failing) log.info({ event: 'report_recovered', reporter }, `${reporter}: the site takes reports again`);
      failing = false;
      if (isCurrent) options.settled?.(name, 'delivered');
      return;
    }
    if (stopped.signal.aborted) return;
    // It may have arrived all the same.
    there.delete(name);
    if (!isCurrent) return;
    if (failure.final) {
      waiting.delete(name);
      count('mjf_reports_total', { reporter, outcome: 'refused' });
      log.warn(
        { event: 'report_refused', reporter, name, error: failure.code },
        `${reporter}: ${name} is refused (${failure.code}) and dropped`,
      );
      options.settled?.(name, 'refused');
      return;
    }
    count('mjf_reports_total', { reporter, outcome: 'failed' });
    if (!failing)
      log.warn(
        { event: 'report_failed', reporter, name, error: failure.code },
        `${reporter}: ${name} could not be handed to the site (${failure.code}), it is tried again`,
      );
    failing = true;
    const mostMs = item.urgent ? RETRY_MOST_URGENT_MS : RETRY_MOST_MS;
    const pauseMs = Math.min(mostMs, RETRY_FIRST_MS * 2 ** Math.min(item.failures, 16)) * (0.5 + Math.random() / 2);
    waiting.delete(name);
    waiting.set(name, { ...item, failures: item.failures + 1, notBefore: performance.now() + pauseMs });
  }

  return {
    want(name, body, { urgent = false, always = false } = {}) {
      if (stopped.signal.aborted) return;
      const digest = body === null ? '' : createHash('sha256').update(body).digest('base64');
      const current = waiting.get(name);
      const known = there.get(name);
      if (!always && current?.digest === digest && current.urgent === urgent) return;
      if (!always && current === undefined && known?.digest === digest) return;
      // Back to what is there already; but one that is on its way may still arrive, so it is said again.
      const notBefore = urgent || always || known === undefined ? 0 : known.atMono + spacingMs;
      enqueue({ name, body, digest, urgent, failures: 0, notBefore });
    },
    pending: () => [...waiting.keys()],
    drop: (name) => void waiting.delete(name),
    async close(boundMs) {
      closing = true;
      wake.abort();
      const bound = setTimeout(() => stopped.abort(), boundMs);
      await working;
      clearTimeout(bound);
      stopped.abort();
      return [...waiting.keys()];
    },
  };
}
