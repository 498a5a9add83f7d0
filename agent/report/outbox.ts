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
/** What is on its way when something urgent could go gets this long: a site that is well needs far less. */
const URGENT_PATIENCE_MS = 500;

export interface OutboxItem {
  /** The machine waits for it: it goes first, without spacing, with short pauses. */
  readonly urgent?: boolean;
  /** Sent although it is what was sent last, and before what can wait (a heartbeat). */
  readonly always?: boolean;
  /** The longest pause after a failure, where somebody counts on it at the other end (a heartbeat). */
  readonly pauseMostMs?: number;
}

export interface Outbox {
  want(name: string, body: Buffer | null, item?: OutboxItem): void;
  /** Names whose latest content is not there yet. */
  pending(): readonly string[];
  /** Forgets what is wanted under this name; what is on its way may still arrive. */
  drop(name: string): void;
  /** The other end is another one from now on: nothing is there yet, and what waits goes there at once. */
  moved(): void;
  /** Tries what waits without further pauses until it is out or `boundMs` is over. Gives the names that are left. */
  close(boundMs: number): Promise<readonly string[]>;
}

export interface OutboxOptions extends Pick<ReporterEnvironment, 'log' | 'count'> {
  readonly reporter: string;
  readonly deliver: Deliver;
  /** Told once for each thing that is over: delivered, or refused for good. Not for what was overtaken or dropped. */
  readonly settled?: (name: string, outcome: 'delivered' | 'refused') => void;
  readonly spacingMs?: number;
}

interface Waiting {
  readonly name: string;
  readonly body: Buffer | null;
  readonly digest: string;
  readonly urgent: boolean;
  readonly always: boolean;
  readonly pauseMostMs: number | null;
  readonly failures: number;
  /** performance.now(), as below: since when the other end lacks something under this name. */
  readonly sinceMono: number;
  readonly notBefore: number;
}

export function openOutbox(options: OutboxOptions): Outbox {
  const { reporter, deliver, log, count, spacingMs = SPACING_MS } = options;
  const waiting = new Map<string, Waiting>();
  /** What is there, by name, and when it came to be. */
  const there = new Map<string, { readonly digest: string; readonly atMono: number }>();
  let sending: { readonly item: Waiting; readonly cut: AbortController; isElsewhere: boolean } | null = null;
  let hurrying: NodeJS.Timeout | undefined;
  let wake = new AbortController();
  let working: Promise<void> | null = null;
  let closing = false;
  let stopped = false;
  let failing = false;
  /** The site itself is away: nothing that can wait is tried before then, of however many names it is. */
  let away = { failures: 0, untilMono: 0 };

  function enqueue(item: Waiting): void {
    waiting.set(item.name, item);
    wake.abort();
    hurry();
    working ??= work();
  }

  /** performance.now(); a time that has passed is now. */
  const dueMono = ({ notBefore, urgent, pauseMostMs }: Waiting): number =>
    urgent || pauseMostMs !== null ? notBefore : Math.max(notBefore, away.untilMono);

  function next(): Waiting | undefined {
    const now = performance.now();
    const ready = [...waiting.values()].filter((item) => dueMono(item) <= now);
    return ready.find(({ urgent }) => urgent) ?? ready.find(({ always }) => always) ?? ready[0];
  }

  async function work(): Promise<void> {
    // What was wanted in one go is judged together.
    await Promise.resolve();
    while (waiting.size > 0 && !stopped) {
      const item = next();
      if (item === undefined) {
        const soonest = Math.min(...[...waiting.values()].map(dueMono));
        wake = new AbortController();
        await pause(soonest - performance.now(), wake.signal);
        continue;
      }
      const attempt = { item, cut: new AbortController(), isElsewhere: false };
      sending = attempt;
      hurry();
      const failure = await deliver(item.name, item.body, attempt.cut.signal).catch(unforeseen);
      sending = null;
      clearTimeout(hurrying);
      // What was said elsewhere says nothing of where it goes now.
      if (attempt.isElsewhere) continue;
      if (failure === null) delivered(item);
      else notDelivered(item, failure, attempt.cut.signal.aborted);
    }
    // In the same breath as the last look: who wants something from now on must find nobody at work.
    working = null;
  }

  /** Something that can wait must not hold up, for as long as a delivery may take, what the machine waits for. */
  function hurry(): void {
    const current = sending;
    if (current === null || current.item.urgent) return;
    const urgent = [...waiting.values()].filter((each) => each.urgent).map(({ notBefore }) => notBefore);
    if (urgent.length === 0) return;
    clearTimeout(hurrying);
    const inMs = Math.max(0, Math.min(...urgent) - performance.now()) + URGENT_PATIENCE_MS;
    hurrying = setTimeout(() => current.cut.abort(), inMs);
    hurrying.unref();
  }

  function notDelivered(item: Waiting, failure: DeliveryFailure, wasCut: boolean): void {
    const { name } = item;
    // It may have arrived all the same.
    there.delete(name);
    // Not the site's fault: it has another turn.
    if (wasCut) return;
    const current = waiting.get(name);
    const outcome = failure.final ? 'refused' : 'failed';
    // That there is no such way here is nobody's refusal; whoever knows it tells it once.
    const isNoWay = failure.final && failure.code === 'no_channel';
    if (!isNoWay) count('mjf_reports_total', { reporter, outcome });
    if (failure.final) {
      if (!isNoWay)
        log.warn(
          { event: 'report_refused', reporter, name, error: failure.code },
          `${reporter}: ${name} is refused (${failure.code}) and dropped`,
        );
      // Newer content has its own turn.
      if (current !== item) return;
      waiting.delete(name);
      options.settled?.(name, 'refused');
      return;
    }
    if (!failing)
      log.warn(
        { event: 'report_failed', reporter, name, error: failure.code },
        `${reporter}: ${name} could not be handed to the site (${failure.code}), it is tried again`,
      );
    failing = true;
    const { failures, urgent, pauseMostMs } = item;
    if (!urgent && pauseMostMs === null && isOfTheSite(failure)) {
      const inMs = pauseAfter(away.failures, RETRY_MOST_MS);
      away = { failures: away.failures + 1, untilMono: performance.now() + inMs };
    }
    // Newer content of this name waits like the one that failed, unless it alone is urgent.
    if (current === undefined || (current.urgent && !urgent)) return;
    const mostMs = current.urgent ? RETRY_MOST_URGENT_MS : (current.pauseMostMs ?? RETRY_MOST_MS);
    waiting.delete(name);
    waiting.set(name, {
      ...current,
      failures: failures + 1,
      notBefore: performance.now() + pauseAfter(failures, mostMs),
    });
  }

  function pauseAfter(failures: number, mostMs: number): number {
    if (closing) return CLOSING_PAUSE_MS;
    return Math.min(mostMs, RETRY_FIRST_MS * 2 ** Math.min(failures, 16)) * (0.5 + Math.random() / 2);
  }

  function delivered(item: Waiting): void {
    const { name, digest } = item;
    // What is sent whatever was sent last need not be known again: payloads may use any number of names.
    if (item.always) there.delete(name);
    else there.set(name, { digest, atMono: performance.now() });
    count('mjf_reports_total', { reporter, outcome: 'delivered' });
    count('mjf_report_delay_seconds_total', { reporter }, (performance.now() - item.sinceMono) / 1000);
    if (failing) log.info({ event: 'report_recovered', reporter }, `${reporter}: the site takes reports again`);
    failing = false;
    away = { failures: 0, untilMono: 0 };
    const current = waiting.get(name);
    if (current === undefined) return;
    if (current === item || (current.digest === digest && !current.always)) {
      waiting.delete(name);
      options.settled?.(name, 'delivered');
      return;
    }
    // Overtaken by newer content while it was on its way: that one has its own turn, at its own time.
    const sinceMono = performance.now();
    waiting.set(name, { ...current, failures: 0, sinceMono, notBefore: closing ? 0 : dueAt(name, current) });
  }

  /** Without the failures of those before it. */
  function dueAt(name: string, { urgent, always }: Pick<Waiting, 'urgent' | 'always'>): number {
    const known = there.get(name);
    return urgent || always || known === undefined || closing ? 0 : known.atMono + spacingMs;
  }

  /** At once, whatever they were waiting for; what is on its way is. */
  function releaseAll(): void {
    away = { failures: 0, untilMono: 0 };
    for (const item of [...waiting.values()])
      if (item !== sending?.item) waiting.set(item.name, { ...item, failures: 0, notBefore: 0 });
    wake.abort();
    hurry();
  }

  return {
    want(name, body, { urgent = false, always = false, pauseMostMs } = {}) {
      if (stopped) return;
      const digest = body === null ? '' : createHash('sha256').update(body).digest('base64');
      const current = waiting.get(name);
      if (!always && current?.digest === digest && (current.urgent || !urgent)) return;
      // What is on its way may still arrive: then the old is said again.
      if (!always && there.get(name)?.digest === digest && sending?.item.name !== name) {
        if (waiting.delete(name)) options.settled?.(name, 'delivered');
        return;
      }
      // A site that is away is not asked more often because there is more to say.
      const isHeld = current !== undefined && current.failures > 0 && (current.urgent || !urgent);
      const held = isHeld ? current : { failures: 0, notBefore: dueAt(name, { urgent, always }) };
      const { failures, notBefore } = held;
      const sinceMono = current?.sinceMono ?? performance.now();
      const more = { urgent, always, pauseMostMs: pauseMostMs ?? null, failures, sinceMono, notBefore };
      enqueue({ name, body, digest, ...more });
    },
    pending: () => [...waiting.keys()],
    drop: (name) => void waiting.delete(name),
    moved() {
      there.clear();
      if (sending !== null) {
        sending.isElsewhere = true;
        sending.cut.abort();
      }
      releaseAll();
    },
    async close(boundMs) {
      closing = true;
      releaseAll();
      const over = new AbortController();
      const bound = pause(boundMs, over.signal, true).then(() => {
        stopped = true;
        wake.abort();
        sending?.cut.abort();
        // Whoever heeds the signal has settled by then; whoever does not is not waited for.
        return new Promise((resolve) => setImmediate(resolve));
      });
      await Promise.race([working, bound]);
      over.abort();
      await bound;
      return [...waiting.keys()];
    },
  };
}

/** Rather than of the one thing that was sent: a server that refuses that may well take another. */
const isOfTheSite = ({ code }: DeliveryFailure): boolean => !/^http_4/.test(code) || /^http_(408|429)$/.test(code);

const unforeseen = (error: Error): DeliveryFailure => ({ code: error.message, final: false });
