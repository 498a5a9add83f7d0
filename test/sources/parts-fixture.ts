/** Parts that answer as a test tells them, driven and heard by the heart, on clocks that the test turns. */
import { mock } from 'node:test';
import pino from 'pino';
import type { Clock } from '../../agent/clock.ts';
import type { Answer, Observation, Reading, StatedNotice } from '../../agent/lifetime/types.ts';
import { type Driver, startDriver } from '../../agent/sources/driver.ts';
import { type Part, type PartReport, type PartsOptions, sourceOfParts } from '../../agent/sources/parts.ts';
import { type ReadContext, type Source, SourceError } from '../../agent/sources/source.ts';
import { type History, history, source as infoOf } from '../lifetime/history.ts';

export const START_MS = 1_000_000;
export const ABSENT = { is: 'absent' } as const;
export const NEGATIVE = { is: 'negative' } as const;
export const unknown = (error: string) => ({ is: 'unknown', error }) as const;
export const text = (value: string): Reading<string> => ({ is: 'present', value });
export const notice = (deadlineMs: number | null, more: Partial<StatedNotice> = {}): Reading<StatedNotice> => ({
  is: 'present',
  value: { kind: 'terminate', deadlineMs, reason: 'test', ...more },
});
export const REFUSED = new SourceError('refused', 'nobody there');
export const HTTP_500 = new SourceError('http_500', 'HTTP status 500');
/** Ends when its signal is aborted. */
export const HANGS = 'hangs';
/** Does not even then. */
export const DEAF = 'deaf';

type Reply = PartReport | Error | typeof HANGS | typeof DEAF;
export interface FakePart extends Part {
  /** What it answers from now on, and after how long. */
  says(reply: Reply, afterMs?: number): void;
  readonly asked: { readonly atMs: number; readonly context: ReadContext }[];
  /** When it was asked, in ms after the start. */
  times(): readonly number[];
  /** What `follow` hands over; only with `pushes`. */
  push(report: PartReport | Error): void;
  /** Breaks its `follow`. */
  breakFollow(error: Error): void;
  readonly followed: { readonly signal: AbortSignal }[];
}

/** Needs the mocked timers where it answers late. */
export function fakePart(
  name: string,
  { pushes = false, ...more }: Partial<Pick<Part, 'everyMs' | 'speaksFor'>> & { pushes?: boolean } = {},
): FakePart {
  let reply: Reply = {};
  let afterMs = 0;
  let handOver: ((report: PartReport | Error) => void) | undefined;
  let breakOff: ((error: Error) => void) | undefined;
  const asked: { readonly atMs: number; readonly context: ReadContext }[] = [];
  const followed: { readonly signal: AbortSignal }[] = [];

  async function read(context: ReadContext): Promise<PartReport> {
    asked.push({ atMs: Date.now(), context });
    const [now, lateMs] = [reply, afterMs];
    if (now === DEAF) return await new Promise(() => undefined);
    if (lateMs > 0 || now === HANGS)
      await new Promise<void>((resolve, reject) => {
        context.signal.addEventListener('abort', () => reject(new SourceError('aborted', 'given up')), { once: true });
        if (now !== HANGS) setTimeout(resolve, lateMs).unref();
      });
    if (now instanceof Error) throw now;
    return now === HANGS ? {} : now;
  }

  return {
    name,
    everyMs: 1_000,
    ...more,
    read,
    ...(pushes && {
      follow: (given: (report: PartReport | Error) => void, signal: AbortSignal) =>
        new Promise<void>((resolve, reject) => {
          followed.push({ signal });
          handOver = given;
          breakOff = reject;
          signal.addEventListener('abort', () => resolve(), { once: true });
        }),
    }),
    says(next, nextMs = 0) {
      reply = next;
      afterMs = nextMs;
    },
    asked,
    times: () => asked.map(({ atMs }) => atMs - START_MS),
    push: (report) => handOver?.(report),
    breakFollow: (error) => breakOff?.(error),
    followed,
  };
}

export const middle = () => 0.5;

/** A source of these parts on the mocked clock: `Date` and timers. */
export const sourceOf = (parts: readonly Part[], options: Partial<PartsOptions> = {}): Source =>
  sourceOfParts({
    name: 'test',
    rank: 'platform',
    poll: 1_000,
    timeoutMs: 500,
    nowMs: () => Date.now(),
    random: middle,
    ...options,
    parts,
  });

const clock: Clock = { now: () => ({ wall: Date.now(), mono: Date.now() }), bootMs: () => Date.now() };

export interface World {
  readonly source: Source;
  readonly driver: Driver;
  readonly heart: History;
  readonly observations: Observation[];
  /** Answers and what came with failures. */
  answers(): readonly Answer[];
}

/** The source, its driver and the heart, which asks again where it is not sure. */
export function world(parts: readonly Part[], options: Partial<PartsOptions> = {}): World {
  const source = sourceOf(parts, options);
  const pollMs = typeof source.poll === 'number' ? source.poll : 0;
  const heart = history({ sources: [infoOf('test', 'platform', pollMs)] });
  const observations: Observation[] = [];
  let seenMs = Date.now();
  const driver = startDriver(source, {
    log: pino({ level: 'silent' }),
    clock,
    random: middle,
    count: () => undefined,
    emit(observation) {
      observations.push(observation);
      heart.pass(Date.now() - seenMs);
      seenMs = Date.now();
      heart.pollsWanted.length = 0;
      heart.send({ type: 'observation', observation });
      for (const wanted of heart.pollsWanted) driver.pollSoon(wanted.atMono - heart.now().mono);
    },
  });
  return {
    source,
    driver,
    heart,
    observations,
    answers: () =>
      observations.flatMap((seen) => {
        const answer = seen.outcome === 'answer' ? seen.answer : seen.outcome === 'failed' ? seen.partial : undefined;
        return answer === undefined ? [] : [answer];
      }),
  };
}

/** Everything that is due at this moment has been done. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

export async function pass(ms: number, stepMs = 10): Promise<void> {
  await settle();
  for (let passed = 0; passed < ms; passed += stepMs) {
    mock.timers.tick(Math.min(stepMs, ms - passed));
    await settle();
  }
}
