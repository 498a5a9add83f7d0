/**
 * One round over all keys of one or two Machine/Job Features bases: which names to ask, in which order, and what the
 * answers make together. Remembers between rounds what caching needs.
 */
import { KNOWN_INPUT_KEYS, SHUTDOWN_KEYS } from '../lifetime/features.ts';
import type { Answer, FeatureReading, Reading, Side } from '../lifetime/types.ts';
import type { HttpFailure, LinkLocalClient } from './link-local.ts';
import { parseTarget } from './link-local-target.ts';
import { namesInListing } from './mjf-listing.ts';
import { keyUrl, placeOf, shownUrl } from './mjf-url.ts';
import { judgeAnswer, type KeptValue } from './mjf-value.ts';
import { type ReadContext, SourceError } from './source.ts';

export interface MjfBase {
  readonly side: Side;
  /** As configured; a query stays behind every key (mjf-url.ts). */
  readonly url: string;
}

export interface RoundRequest {
  readonly context: ReadContext;
  /** On `performance.now()`. */
  readonly endMs: number;
  /** The sides to ask; others are not mentioned in the answer. */
  readonly sides: readonly Side[];
}

export interface MjfRound {
  /**
   * Asks for what is due and tells all that is known of every name; names not answered are unknown.
   * @throws SourceError with the first code where nothing that was asked got a proper answer.
   */
  run(client: LinkLocalClient, round: RoundRequest): Promise<Answer>;
  /** Until the server's max-age of a shutdown time is over; undefined where it gives none. */
  nextPollMs(): number | undefined;
}

/** Listings change when a site changes its configuration. */
const LISTING_EVERY_MS = 300_000;

/** Names beyond the specification's that are asked for, over all listings ever seen. */
const MAX_EXTRA_NAMES = 64;

/** What a deadline is made of: that one is gone must be seen afresh each time, since absences are counted (S1.6). */
const DEADLINE_KEYS: ReadonlySet<string> = new Set([
  ...Object.values(SHUTDOWN_KEYS),
  'jobstart_secs',
  'wall_limit_secs',
  'wall_limit_secs_lrms',
]);

interface SideMemory extends MjfBase {
  readonly kept: Map<string, KeptValue>;
  /** Names from listings that are not of the specification. */
  readonly listed: Set<string>;
  /** When the shutdown time may be asked again, as the server said; undefined where it did not. */
  timeKeyUntilMs: number | undefined;
  listingAtMs: number | undefined;
  /** Whether the last listing was answered, be it with 404: only then is a name that nobody mentions known to be absent. */
  listingKnown: boolean;
}

type Task = { readonly memory: SideMemory; readonly key: string };
const LISTING = '';

interface Progress {
  readonly client: LinkLocalClient;
  readonly context: ReadContext;
  readonly endMs: number;
  readonly requestTimeoutMs: number;
  readonly readings: Record<Side, Record<string, Reading<string>>>;
  /** Keys (not listings) with an answer that counts, and the first failure. */
  good: number;
  firstBad: { readonly code: string; readonly detail: string } | undefined;
  hostClock: { readonly dateMs: number; readonly atMs: number } | undefined;
}

export interface MjfRoundOptions {
  /** Requests at a time to one server. */
  readonly maxInFlight: number;
  readonly requestTimeoutMs: number;
  /** The interval where the server says nothing. */
  readonly pollMs: number;
}

/** The memory of both sides and the way to ask for them. */
export function createMjfRound(bases: readonly MjfBase[], options: MjfRoundOptions): MjfRound {
  const memories: readonly SideMemory[] = bases.map((base) => ({
    ...base,
    kept: new Map(),
    listed: new Set(),
    timeKeyUntilMs: undefined,
    listingAtMs: undefined,
    listingKnown: false,
  }));

  return {
    async run(client, { context, endMs, sides }) {
      const chosen = memories.filter(({ side }) => sides.includes(side));
      const readings = { machine: {}, job: {} };
      const progress: Progress = {
        client,
        context,
        endMs,
        requestTimeoutMs: options.requestTimeoutMs,
        readings,
        good: 0,
        firstBad: undefined,
        hostClock: undefined,
      };
      const queues = planRound(chosen, progress);
      await Promise.all([...queues.values()].map((queue) => workOff(queue, progress, options.maxInFlight)));
      if (context.signal.aborted) throw new SourceError('aborted', 'the round was given up');
      if (progress.good === 0 && progress.firstBad !== undefined) {
        throw new SourceError(progress.firstBad.code, progress.firstBad.detail);
      }
      return conclude(chosen, progress);
    },
    nextPollMs() {
      const untils = memories.map((memory) => memory.timeKeyUntilMs);
      if (untils.every((until) => until === undefined)) return undefined;
      const nowMs = performance.now();
      return Math.max(0, Math.min(...untils.map((until) => (until === undefined ? options.pollMs : until - nowMs))));
    },
  };
}

/** What is due, by server, shutdown times first: what a round must not miss. The rest is answered from memory. */
function planRound(memories: readonly SideMemory[], progress: Progress): ReadonlyMap<string, Task[]> {
  const queues = new Map<string, { readonly first: Task[]; readonly rest: Task[] }>();
  const nowMs = performance.now();
  for (const memory of memories) {
    const target = parseTarget(memory.url);
    const server = typeof target === 'string' ? memory.url : `${target.protocol}${target.host}:${target.port}`;
    const queue = queues.get(server) ?? { first: [], rest: [] };
    queues.set(server, queue);
    const due = (key: string) => {
      const kept = memory.kept.get(key);
      if (kept === undefined || progress.context.fresh || !isFresh(key, kept, nowMs)) return true;
      progress.readings[memory.side][key] = kept.reading;
      return false;
    };
    const names = namesOf(memory).filter(due);
    const timeKey = SHUTDOWN_KEYS[memory.side];
    if (names.includes(timeKey)) queue.first.push({ memory, key: timeKey });
    if (memory.listingAtMs === undefined || nowMs - memory.listingAtMs >= LISTING_EVERY_MS) {
      queue.rest.push({ memory, key: LISTING });
    }
    for (const key of names) if (key !== timeKey) queue.rest.push({ memory, key });
  }
  return new Map([...queues].map(([server, { first, rest }]) => [server, [...first, ...rest]]));
}

function isFresh(key: string, kept: KeptValue, nowMs: number): boolean {
  if (kept.freshUntilMs === undefined || kept.freshUntilMs <= nowMs) return false;
  return !(kept.reading.is === 'absent' && DEADLINE_KEYS.has(key));
}

/** Several workers on one server's queue. A server that cannot be reached is not tried again for each of its keys. */
async function workOff(queue: Task[], progress: Progress, workers: number): Promise<void> {
  let down: HttpFailure | undefined;
  const work = async () => {
    for (let task = queue.shift(); task !== undefined; task = queue.shift()) {
      if (down !== undefined) {
        failTask(task, down, progress);
        continue;
      }
      const failure = await ask(task, queue, progress);
      if (failure !== undefined && (!failure.connected || failure.code === 'tls')) down ??= failure;
    }
  };
  await Promise.all(Array.from({ length: workers }, work));
}

async function ask(task: Task, queue: Task[], progress: Progress): Promise<HttpFailure | undefined> {
  const { memory, key } = task;
  const { client, context } = progress;
  const url = keyUrl(memory.url, key);
  const leftMs = progress.endMs - performance.now();
  if (leftMs <= 0) {
    const detail = `${shownUrl(url)}: no time was left in this round`;
    failTask(task, { kind: 'failure', code: 'timeout', detail, connected: true }, progress);
    return undefined;
  }
  const before = memory.kept.get(key);
  const outcome = await client.request({
    url,
    headers: key === LISTING ? {} : (before?.validators ?? {}),
    timeoutMs: Math.min(progress.requestTimeoutMs, leftMs),
    signal: context.signal,
  });
  if (outcome.kind === 'failure') {
    failTask(task, outcome, progress);
    return outcome;
  }
  const nowMs = performance.now();
  if (outcome.dateMs !== undefined) progress.hostClock = { dateMs: outcome.dateMs, atMs: nowMs };
  if (key === LISTING) {
    readListing(memory, outcome.status, outcome.body, queue, nowMs);
    return undefined;
  }
  const isTimeKey = key === SHUTDOWN_KEYS[memory.side];
  const judged = judgeAnswer(outcome, before, isTimeKey, nowMs);
  if (judged.kept === undefined) memory.kept.delete(key);
  else memory.kept.set(key, judged.kept);
  if (isTimeKey) memory.timeKeyUntilMs = judged.freshUntilMs;
  progress.readings[memory.side][key] = judged.reading;
  if (judged.reading.is === 'unknown') noteBad(progress, judged.reading.error, shownUrl(url));
  else progress.good += 1;
  return undefined;
}

/** The key is unknown in this round; what was remembered of it stays for the next one. */
function failTask({ memory, key }: Task, failure: HttpFailure, progress: Progress): void {
  if (key === LISTING) {
    // A server that hangs only on its listing would cost each round a timeout; one that is away is no reason to wait.
    if (failure.connected) memory.listingAtMs = performance.now();
    memory.listingKnown = false;
    return;
  }
  if (key === SHUTDOWN_KEYS[memory.side]) memory.timeKeyUntilMs = undefined;
  progress.readings[memory.side][key] = { is: 'unknown', error: failure.code };
  noteBad(progress, failure.code, failure.detail);
}

function noteBad(progress: Progress, code: string, detail: string): void {
  progress.firstBad ??= { code, detail };
}

function readListing(memory: SideMemory, status: number, body: Buffer, queue: Task[], nowMs: number): void {
  memory.listingAtMs = nowMs;
  memory.listingKnown = status === 200 || status === 404;
  if (status !== 200) return;
  const names = new Set(namesInListing(body.toString('utf8'), placeOf(memory.url)));
  for (const key of memory.listed) {
    if (!names.has(key) && memory.kept.get(key)?.reading.is === 'absent') {
      memory.listed.delete(key);
      memory.kept.delete(key);
    }
  }
  const known = KNOWN_INPUT_KEYS[memory.side];
  for (const key of names) {
    if (known.includes(key) || memory.listed.has(key) || memory.listed.size >= MAX_EXTRA_NAMES) continue;
    memory.listed.add(key);
    queue.push({ memory, key });
  }
}

const namesOf = (memory: SideMemory): readonly string[] => [...KNOWN_INPUT_KEYS[memory.side], ...memory.listed];

function conclude(memories: readonly SideMemory[], { readings, hostClock }: Progress): Answer {
  const answer: { machine?: FeatureReading; job?: FeatureReading; hostNowMs?: number } = {};
  for (const { side, url, listingKnown } of memories) {
    answer[side] = { channel: placeOf(url), complete: listingKnown, keys: readings[side] };
  }
  if (hostClock !== undefined) answer.hostNowMs = Math.round(hostClock.dateMs + performance.now() - hostClock.atMs);
  return answer;
}
