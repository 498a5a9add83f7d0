/**
 * One key of GCE's metadata, watched by hanging GETs: the service answers when the value changes, or with the old one after
 * `timeout_sec`. Emulators know this in part, wrongly, or not at all; a key must be seen in time and cheaply with all of them.
 */

import { pause } from '../pause.ts';
import type { GceRequest } from './gce-client.ts';
import type { MetadataAnswer } from './metadata.ts';
import type { Part, PartReport } from './parts.ts';
import { type ReadContext, SourceError } from './source.ts';

export interface WatchedKey {
  /** For faults and people, e.g. `preempted`. */
  readonly name: string;
  readonly speaksFor?: readonly string[];
  /** How long one hanging GET may hang. */
  readonly hangMs: number;
  /** Longest that any other answer may take, and how long after `hangMs` a hanging GET is given up. */
  readonly timeoutMs: number;
  /** One GET; the query is that of the hanging GET, or empty. @throws SourceError */
  ask(request: GceRequest): Promise<MetadataAnswer>;
  /** What an answer means. @throws SourceError where it means nothing. */
  judge(answer: MetadataAnswer, signal: AbortSignal): PartReport | Promise<PartReport>;
  /** Told where several hanging GETs in a row fail while plain ones are answered. */
  onlyPlain?(code: string): void;
  /** Of a monotonic clock. */
  readonly nowMs?: () => number;
  readonly random?: () => number;
}

/** No value has it: the service answers at once. */
const NO_ETAG = '0';
/** Before one has been answered in time, and after a failure, a short hang finds out whether they work here. */
const UNPROVEN_HANG_MS = 5_000;
/** At most so many requests in a row, for values that change quickly; in the long run one each … */
const BURST = 4;
/** … second, where the service answers at once whatever is asked: a tenth of the shortest notice would be 3 s. */
const PACE_MS = 1_000;
/** A key that is not there is asked for so often: the service does not wait for it to come. */
const ABSENT_PACE_MS = 5_000;
/** Short 503s and resets happen while the host is being serviced, just when a notice may come. */
const FIRST_RETRY_MS = 250;
/** The shortest notice is 30 s. */
const LAST_RETRY_MS = 5_000;
/** An unchanged value is proof of life, but need not be told more often. */
const TELL_EVERY_MS = 10_000;
/** Silence of the hanging GET for longer than it may be silent, before the plain GET steps in. */
const SILENCE_SHARE = 1.5;
/** So many hanging GETs in a row must fail before it is said that there are none. */
const FAILURES_TO_TELL = 3;

export function watchedPart(key: WatchedKey): Part {
  const nowMs = key.nowMs ?? (() => performance.now());
  const random = key.random ?? Math.random;
  const read = async ({ signal }: ReadContext): Promise<PartReport> =>
    await key.judge(await key.ask({ signal }), signal);

  async function follow(handOver: (report: PartReport | Error) => void, signal: AbortSignal): Promise<void> {
    const paced = createPace(nowMs);
    let etag = NO_ETAG;
    let hanging = true;
    let proven = false;
    let hangFailures = 0;
    let failures = 0;
    let told: { readonly what: string; readonly atMs: number } | undefined;
    const retryMs = (count: number) => Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(16, count - 1));
    const jittered = (ms: number) => pause(ms * (0.5 + 0.5 * random()), signal);

    while (!signal.aborted) {
      await pause(paced(), signal);
      if (signal.aborted) return;
      try {
        const answer = await key.ask(hanging ? hangingGet(key, etag, proven, signal) : { signal });
        const report = await key.judge(answer, signal);
        if (signal.aborted) return;
        const what = `${answer.status} ${answer.text}`;
        if (told?.what !== what || nowMs() - told.atMs >= TELL_EVERY_MS) {
          told = { what, atMs: nowMs() };
          handOver(report);
        }
        if (hanging) hangFailures = 0;
        if (hanging && etag !== NO_ETAG) proven = true;
        hanging = true;
        failures = 0;
        etag = answer.is === 'absent' ? NO_ETAG : etagOf(answer);
        if (answer.is === 'absent') await jittered(ABSENT_PACE_MS);
      } catch (error) {
        if (signal.aborted) return;
        if (hanging) {
          // Not a word yet: whether the service or only its waiting is broken, a plain GET finds out at once.
          proven = false;
          hanging = false;
          hangFailures += 1;
          if (hangFailures === FAILURES_TO_TELL) key.onlyPlain?.(codeOf(error));
          continue;
        }
        told = undefined;
        failures += 1;
        handOver(asError(error));
        await jittered(retryMs(failures));
      }
    }
  }

  return {
    name: key.name,
    everyMs: SILENCE_SHARE * (key.hangMs + key.timeoutMs),
    ...(key.speaksFor === undefined ? {} : { speaksFor: key.speaksFor }),
    read,
    follow,
  };
}

function hangingGet(key: WatchedKey, etag: string, proven: boolean, signal: AbortSignal): GceRequest {
  const hangSecs = Math.max(1, Math.round((proven ? key.hangMs : Math.min(key.hangMs, UNPROVEN_HANG_MS)) / 1000));
  return {
    query: { wait_for_change: 'true', last_etag: etag, timeout_sec: String(hangSecs) },
    timeoutMs: hangSecs * 1000 + key.timeoutMs,
    signal,
  };
}

/** As it came: whether it is quoted is the server's affair. */
function etagOf({ headers: { etag } }: MetadataAnswer): string {
  return etag === undefined || etag === '' ? NO_ETAG : etag;
}

/** How long to wait before the next request, ms: none while there is credit, which grows by one each `PACE_MS`. */
function createPace(nowMs: () => number): () => number {
  let credit = BURST;
  let atMs = nowMs();
  return () => {
    const passedMs = nowMs() - atMs;
    credit = Math.min(BURST, credit + passedMs / PACE_MS) - 1;
    atMs += passedMs;
    return credit >= 0 ? 0 : -credit * PACE_MS;
  };
}

const codeOf = (error: unknown): string => (error instanceof SourceError ? error.code : 'internal');
const asError = (error: unknown): Error => (error instanceof Error ? error : new Error(String(error)));
