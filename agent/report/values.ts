/**
 * The machine's answer as named values, for every way that takes such: the keys of `jobstatus`, `phase`, and in the end
 * `shutdown_message` (SEMANTICS S5.1, S5.3). What does not hold is taken away. Said when it changes, and once after each
 * start, since the site may still see what a former run has said.
 */
import type { Snapshot } from '../lifetime/types.ts';
import { messageOf } from './joboutputs-words.ts';
import { openOutbox } from './outbox.ts';
import {
  CLOSE_BOUND_MS,
  type DeliveryFailure,
  isActive,
  type Reporter,
  type ReporterEnvironment,
  type SiteNews,
} from './reporter.ts';

/** For the outbox nothing to tell of and nothing to try again. */
export const NO_CHANNEL: DeliveryFailure = { code: 'no_channel', final: true };

/** null = not to be there. */
export type Values = Readonly<Record<string, string | null>>;

/** Every name that is ever used. The dangerous ones first, where they go out one by one: a site acts on what it reads. */
export const VALUE_NAMES = [
  'shutdown_message',
  'can_terminate',
  'can_terminate_at',
  'must_not_terminate_until',
  'progress',
  'phase',
] as const;

/** All of them, the answer and the word, are one thing to hand over. */
const ITEM = 'answer';
/** Nobody waits for what is only tidying up: a host that is not up yet gets these chances to take away an old answer. */
const TIDY_TRIES = 5;
const TIDY_AGAIN_MS = 60_000;

export interface ValuesOptions extends Pick<ReporterEnvironment, 'log' | 'count'> {
  readonly reporter: string;
  /** Whether this machine has the way at all. */
  readonly isThere: (snapshot: Snapshot) => boolean;
  /** Bounded in time; `no_channel` where there is no such way after all. */
  readonly tell: (values: Values, signal: AbortSignal) => Promise<DeliveryFailure | null>;
  /** A way that was not there may come: it is looked for after so long. Absent: at the next change. */
  readonly againMs?: number;
  /** How it is told that there is no such way. */
  readonly absence?: 'debug' | 'info';
  readonly spacingMs?: number;
}

/** By the way back of a source, while that source is in use. */
export function openSourceValues(reporter: string, source: string, { back, ...rest }: ReporterEnvironment): Reporter {
  return openValues({
    ...rest,
    reporter,
    isThere: (snapshot) => isActive(snapshot, source),
    tell: (values, signal) => back.tell(source, values, signal),
  });
}

export function openValues(options: ValuesOptions): Reporter {
  const { reporter, log, count, againMs, absence = 'info', spacingMs } = options;
  let news: SiteNews | null = null;
  /** What was given to the outbox last. */
  let wanted: string | null = null;
  /** This run has said something: what it takes away is its own, and that must arrive. */
  let hasSpoken = false;
  let tidied = 0;
  let toldAbsent = false;
  let again: NodeJS.Timeout | undefined;

  const outbox = openOutbox({
    reporter,
    log,
    count,
    ...(spacingMs !== undefined && { spacingMs }),
    async deliver(_name, body, signal) {
      const values: Values = JSON.parse(String(body));
      return judged(values, await tell(values, signal));
    },
  });

  // What nobody foresaw is a failure like any other: a report must not end the agent.
  async function tell(values: Values, signal: AbortSignal): Promise<DeliveryFailure | null> {
    try {
      return await options.tell(values, signal);
    } catch (error) {
      log.error({ event: 'internal', reporter, err: error }, `${reporter}: a fault in the agent itself`);
      return { code: 'internal', final: false };
    }
  }

  /** What becomes of it, and what of that is worth telling. */
  function judged(values: Values, failure: DeliveryFailure | null): DeliveryFailure | null {
    const isTidying = isEmpty(values) && !hasSpoken;
    if (failure === null) {
      hasSpoken ||= !isTidying;
      toldAbsent = false;
      return null;
    }
    if (failure.code === NO_CHANNEL.code) {
      if (!toldAbsent && !isTidying) {
        toldAbsent = true;
        log[absence]({ event: 'report_no_channel', reporter }, `${reporter}: there is no such way to the site here`);
      }
      if (againMs !== undefined) sayAgain(againMs);
      return NO_CHANNEL;
    }
    if (!isTidying) {
      // It may have arrived all the same.
      hasSpoken = true;
      return failure;
    }
    log.debug(
      { event: 'report_not_tidied', reporter, error: failure.code },
      `${reporter}: whether an old answer still stands there is not known (${failure.code})`,
    );
    tidied += 1;
    if (!failure.final && tidied < TIDY_TRIES) sayAgain(TIDY_AGAIN_MS);
    return NO_CHANNEL;
  }

  function sayAgain(inMs: number): void {
    clearTimeout(again);
    again = setTimeout(() => {
      wanted = null;
      if (news !== null) say(news);
    }, inMs);
    again.unref();
  }

  function say(now: SiteNews): void {
    if (!options.isThere(now.publication.snapshot)) {
      outbox.drop(ITEM);
      wanted = null;
      return;
    }
    const body = JSON.stringify(valuesOf(now));
    if (body === wanted) return;
    wanted = body;
    outbox.want(ITEM, Buffer.from(body), { urgent: now.lastWord !== null });
  }

  return {
    name: reporter,
    update(next) {
      news = next;
      say(next);
    },
    owesLastWord: () => news?.lastWord != null && outbox.pending().length > 0,
    pending: () => outbox.pending().length,
    async close() {
      clearTimeout(again);
      again = undefined;
      const left = await outbox.close(CLOSE_BOUND_MS);
      clearTimeout(again);
      if (left.length > 0 && news !== null && !isEmpty(valuesOf(news)))
        log.warn({ event: 'report_lost', reporter }, `${reporter}: the latest answer did not reach the site`);
    },
  };
}

/** Every name, in their order. Of a machine on which nobody ever registered nothing is said, its phase neither (S5.2). */
export function valuesOf({ publication, lastWord }: SiteNews): Values {
  const { jobstatus, snapshot } = publication;
  const isSilent = Object.keys(jobstatus).length === 0 && lastWord === null;
  const values: Values = {
    ...jobstatus,
    shutdown_message: lastWord === null ? null : messageOf(lastWord),
    phase: isSilent ? null : snapshot.phase,
  };
  return Object.fromEntries(VALUE_NAMES.map((name) => [name, values[name] ?? null]));
}

const isEmpty = (values: Values): boolean => Object.values(values).every((value) => value === null);
