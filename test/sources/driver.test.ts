import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import type { Logger } from 'pino';
import pino from 'pino';
import type { Clock } from '../../agent/clock.ts';
import type { Observation } from '../../agent/lifetime/types.ts';
import { type Driver, startDriver } from '../../agent/sources/driver.ts';
import { type ReadContext, type ReadResult, type Source, SourceError } from '../../agent/sources/source.ts';

/** Follows the mocked `Date`, so that it moves with the mocked timers. */
const clock: Clock = { now: () => ({ wall: Date.now(), mono: Date.now() }), bootMs: () => Date.now() };
const ANSWER: ReadResult = { outcome: 'answer', answer: {} };
const MIDDLE = () => 0.5;

interface LogLine {
  readonly event: string;
  readonly level: number;
  readonly [key: string]: unknown;
}

describe('driver', () => {
  let drivers: Driver[] = [];
  beforeEach(() => mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_000_000 }));
  afterEach(() => {
    for (const driver of drivers) driver.stop();
    drivers = [];
    mock.timers.reset();
  });

  /** Starts a driver on a source whose readings the test ends by hand or by `respond`. */
  function drive(
    source: Partial<Source> & { respond?: (context: ReadContext, read: number) => ReadResult | Promise<ReadResult> },
    random: () => number = MIDDLE,
  ) {
    const reads: { readonly context: ReadContext; readonly atMs: number }[] = [];
    const observations: Observation[] = [];
    const counted: string[] = [];
    const tookSecs: number[] = [];
    const { log, lines } = memoryLog();
    const respond = source.respond ?? (() => ANSWER);
    const driver = startDriver(
      {
        name: 'test',
        rank: 'platform',
        poll: 1000,
        timeoutMs: 500,
        read: async (context) => {
          reads.push({ context, atMs: Date.now() });
          return respond(context, reads.length);
        },
        ...source,
      },
      {
        emit: (observation) => observations.push(observation),
        log,
        clock,
        random,
        count: (metric, labels) => counted.push(`${metric}${JSON.stringify(labels)}`),
        observe(metric, value, labels) {
          assert.deepEqual([metric, labels], ['mjf_source_request_duration_seconds', { source: 'test' }]);
          tookSecs.push(value);
        },
      },
    );
    drivers.push(driver);
    return { driver, reads, observations, counted, tookSecs, lines };
  }

  it('reads at once, not only after the first interval', async () => {
    const { reads, observations, counted } = drive({});
    await settle();
    assert.equal(reads.length, 1);
    assert.deepEqual(observations, [{ source: 'test', outcome: 'answer', answer: {} }]);
    assert.deepEqual(counted, ['mjf_source_reads_total{"source":"test","outcome":"answer"}']);
  });

  it('S7: polls at the interval, counted from the start of a reading, so that slow answers do not stretch it', async () => {
    const { reads } = drive({ respond: () => later(300, ANSWER) });
    await pass(10_000);
    assert.deepEqual(
      reads.map(({ atMs }) => atMs - 1_000_000),
      [0, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000, 10_000],
    );
  });

  it('S7: jitters by ten percent either way', async () => {
    const early = drive({}, () => 0);
    const late = drive({}, () => 1);
    await pass(3400);
    assert.deepEqual(early.reads.map(at), [0, 900, 1800, 2700]);
    assert.deepEqual(late.reads.map(at), [0, 1100, 2200, 3300]);
  });

  it('S7: never polls faster than each 200 ms, whatever is configured', async () => {
    const { reads } = drive({ poll: 1 });
    await pass(1000);
    assert.deepEqual(reads.map(at), [0, 200, 400, 600, 800, 1000]);
  });

  it('does not make up for polls that a slow reading has missed', async () => {
    const { reads } = drive({ timeoutMs: 5000, respond: (_, read) => later(read === 1 ? 4500 : 0, ANSWER) });
    await pass(7000);
    assert.deepEqual(reads.map(at), [0, 4700, 5700, 6700]);
  });

  it('never overlaps readings, and remembers requests during one just once', async () => {
    const { driver, reads } = drive({ poll: 60_000, respond: () => later(100, ANSWER) });
    await settle();
    const done = [driver.pollNow(), driver.pollNow(), driver.pollNow()];
    assert.equal(reads.length, 1);
    await pass(1000);
    await Promise.all(done);
    assert.equal(reads.length, 2);
  });

  it('pollNow waits for a reading that began after the call, not for the one in flight', async () => {
    const { driver } = drive({ poll: 60_000, respond: () => later(100, ANSWER) });
    await settle();
    let done = false;
    const waiting = driver.pollNow().then(() => {
      done = true;
    });
    await pass(150);
    assert.equal(done, false, 'the reading in flight has ended, but it began before the call');
    await pass(50);
    await waiting;
  });

  it('pollNow ends within its bound although the source never returns', async () => {
    const { driver } = drive({ respond: () => new Promise(() => undefined) });
    await pass(2000);
    const waiting = driver.pollNow();
    await pass(1500);
    await waiting;
  });

  it('S1.6: a requested reading is fresh, a poll is not', async () => {
    const { driver, reads } = drive({});
    await settle();
    driver.pollSoon(300);
    await pass(1300);
    assert.deepEqual(
      reads.map(({ context }) => context.fresh),
      [false, true, false],
    );
    assert.deepEqual(reads.map(at), [0, 300, 1300]);
  });

  it('pollSoon: the earliest of several counts', async () => {
    const { driver, reads } = drive({ poll: 60_000 });
    await settle();
    driver.pollSoon(2000);
    driver.pollSoon(1000);
    driver.pollSoon(3000);
    await pass(5000);
    assert.deepEqual(reads.map(at), [0, 1000]);
  });

  it('a reading over its time is aborted, and what the source still has in hand counts', async () => {
    const { observations, tookSecs } = drive({
      poll: 60_000,
      respond: ({ signal }) => new Promise((resolve) => signal.addEventListener('abort', () => resolve(ANSWER))),
    });
    await pass(600);
    assert.deepEqual(observations.map(outcome), ['answer']);
    assert.deepEqual(tookSecs, [0.5], 'and how long it took is measured');
  });

  it('a reading that throws because it was aborted is a timeout', async () => {
    const { observations } = drive({
      poll: 60_000,
      respond: ({ signal }) =>
        new Promise((_, reject) => signal.addEventListener('abort', () => reject(new SourceError('aborted', 'x')))),
    });
    await pass(600);
    assert.deepEqual(observations.map(outcome), ['timeout']);
  });

  it('a reading that ignores its signal is abandoned, its late answer discarded, and the source recovers', async () => {
    let release = (_: ReadResult): void => undefined;
    const { reads, observations } = drive({
      respond: (_, read) => (read === 1 ? new Promise((resolve) => (release = resolve)) : ANSWER),
    });
    await pass(800);
    assert.deepEqual(observations.map(outcome), ['timeout']);
    release({ outcome: 'no_channel', detail: 'of another time' });
    await settle();
    assert.deepEqual(observations.map(outcome), ['timeout']);
    await pass(700);
    assert.deepEqual(observations.map(outcome), ['timeout', 'answer']);
    assert.equal(reads.length, 2);
  });

  it('at most two readings are outstanding, the second only after a further bound', async () => {
    const releases: ((result: ReadResult) => void)[] = [];
    const { driver, reads, observations } = drive({ respond: () => new Promise((resolve) => releases.push(resolve)) });
    await pass(1100);
    assert.deepEqual(reads.map(at), [0], 'abandoned at 750, held until 1250 although the poll was due at 1000');
    await pass(20_000);
    assert.deepEqual(reads.map(at), [0, 1250]);
    void driver.pollNow();
    await settle();
    assert.equal(reads.length, 2);
    releases[0]?.(ANSWER);
    await settle();
    assert.equal(reads.length, 3, 'one has returned: the next one starts at once');
    releases[2]?.(ANSWER);
    await settle();
    assert.equal(observations.at(-1)?.outcome, 'answer');
  });

  it('keeps the code of a SourceError', async () => {
    const { observations, driver } = drive({
      respond: () => Promise.reject(new SourceError('http_500', 'GET /x: 500')),
    });
    await settle();
    assert.deepEqual(observations, [{ source: 'test', outcome: 'failed', error: 'http_500', detail: 'GET /x: 500' }]);
    assert.deepEqual(driver.live().lastError, { code: 'http_500', detail: 'GET /x: 500', atMs: 1_000_000 });
    assert.equal(driver.live().state, 'failed');
  });

  it('anything else that is thrown is `internal`, with its stack in the log once', async () => {
    const { observations, lines } = drive({
      read: () => {
        throw new TypeError('a mistake of ours');
      },
    });
    await pass(3000);
    assert.deepEqual(observations.map(outcome), ['internal', 'internal', 'internal', 'internal']);
    const told = lines().filter(({ event }) => event === 'source_internal_error');
    assert.equal(told.length, 1);
    assert.equal(told[0]?.level, 50);
    assert.match(String(told[0]?.['stack']), /driver\.test\.ts/);
  });

  it('logs the first failure, a summary each ten minutes, and the recovery: no line a poll', async () => {
    let healthy = false;
    const { lines } = drive({
      poll: 10_000,
      respond: () => (healthy ? ANSWER : Promise.reject(new SourceError('refused', 'no'))),
    });
    await pass(1_250_000, 10_000);
    healthy = true;
    await pass(30_000, 10_000);
    assert.deepEqual(
      lines().map(({ event, failures, error }) => [event, failures, error]),
      [
        ['source_failed', undefined, 'refused'],
        ['source_still_failing', 61, 'refused'],
        ['source_still_failing', 121, 'refused'],
        ['source_recovered', 126, undefined],
      ],
    );
  });

  it('logs once that there is no channel, and does not call it a failure', async () => {
    const { lines, driver, counted, tookSecs } = drive({
      respond: () => ({ outcome: 'no_channel', detail: 'no directory' }),
    });
    await pass(5000);
    assert.deepEqual(
      lines().map(({ event, level }) => [event, level]),
      [['source_no_channel', 30]],
    );
    assert.equal(driver.live().state, 'absent');
    assert.equal(driver.live().failures, 0);
    assert.equal(counted[0], 'mjf_source_reads_total{"source":"test","outcome":"no_channel"}');
    assert.deepEqual(tookSecs, [], 'what is not there is not slow');
  });

  it('keeps the normal interval while failing, slows a fast one to 5 s after ten failures, and returns with the first success', async () => {
    let healthy = false;
    const { reads } = drive({ respond: () => (healthy ? ANSWER : Promise.reject(new SourceError('refused', 'no'))) });
    await pass(9000);
    assert.equal(reads.length, 10, 'ten failures at the normal interval');
    await pass(21_000);
    assert.deepEqual(reads.slice(10).map(at), [11_000, 15_000, 20_000, 25_000, 30_000]);
    healthy = true;
    await pass(7000);
    assert.deepEqual(reads.slice(15).map(at), [35_000, 36_000, 37_000]);
  });

  it('a slow interval is not slowed further by failures', async () => {
    const { reads } = drive({
      poll: 30_000,
      respond: (_, read) => (read === 1 ? ANSWER : Promise.reject(new SourceError('refused', 'no'))),
    });
    await pass(600_000, 30_000);
    assert.equal(reads.length, 21);
  });

  it('until its first answer a source of a slow interval is asked again after 1, 2, 4 … s, as the network may be late', async () => {
    const { reads } = drive({
      poll: 30_000,
      respond: (_, read) => (read > 4 ? ANSWER : Promise.reject(new SourceError('network', 'no'))),
    });
    await pass(80_000);
    assert.deepEqual(reads.map(at), [0, 1000, 3000, 7000, 15_000, 45_000, 75_000]);
  });

  it('one failure among successes does not count towards slowing down', async () => {
    const { reads } = drive({
      respond: (_, read) => (read % 2 === 0 ? ANSWER : Promise.reject(new SourceError('refused', 'no'))),
    });
    await pass(60_000);
    assert.equal(reads.length, 61);
  });

  it('nextPollMs takes the place of the interval, and is never undercut by jitter', async () => {
    const hinted = drive({ poll: 30_000, nextPollMs: () => 2000 }, () => 0);
    await pass(4100);
    assert.deepEqual(hinted.reads.map(at), [0, 2000, 4000]);
  });

  it('nextPollMs of a failing source is not asked', async () => {
    const { reads } = drive({
      poll: 1000,
      nextPollMs: () => 50_000,
      respond: () => Promise.reject(new SourceError('refused', 'no')),
    });
    await pass(2000);
    assert.equal(reads.length, 3);
  });

  it('a notification leads to a fresh reading at once; a storm of them to one each 20 ms', async () => {
    let changed = (): void => undefined;
    let watches = 0;
    const { reads } = drive({
      poll: 60_000,
      watch: (call) => {
        watches += 1;
        changed = call;
      },
    });
    await settle();
    changed();
    await settle();
    assert.equal(reads.length, 2);
    assert.equal(reads[1]?.context.fresh, true);
    for (let i = 0; i < 100; i += 1) {
      changed();
      await pass(1, 1);
    }
    assert.equal(reads.length, 7);
    assert.equal(watches, 1);
  });

  it('a watch that breaks leaves the poll alive', async () => {
    const { reads, lines } = drive({
      watch: () => {
        throw new Error('ENOSPC');
      },
    });
    await pass(2000);
    assert.equal(reads.length, 3);
    assert.equal(lines()[0]?.event, 'source_watch_failed');
  });

  it('`once` retries with growing pauses until the first answer, then reads only on demand', async () => {
    const { driver, reads } = drive({
      poll: 'once',
      respond: (_, read) => (read <= 8 ? Promise.reject(new SourceError('hung', 'no')) : ANSWER),
    });
    await pass(3_600_000, 1000);
    assert.deepEqual(reads.map(at), [0, 1000, 3000, 7000, 15_000, 31_000, 63_000, 123_000, 183_000]);
    const waiting = driver.pollNow();
    await settle();
    await waiting;
    assert.equal(reads.length, 10);
    assert.equal(driver.info().pollMs, 0);
  });

  it('intervals beyond 2^31 ms, which would fire at once, are waited for in parts', async () => {
    const month = 40 * 86_400_000;
    const timeouts = mock.method(globalThis, 'setTimeout');
    const { reads } = drive({ poll: month });
    await pass(month - 1, month / 8);
    assert.equal(reads.length, 1);
    await pass(1);
    assert.equal(reads.length, 2);
    const longest = Math.max(...timeouts.mock.calls.map(({ arguments: [, delayMs] }) => Number(delayMs)));
    timeouts.mock.restore();
    assert.equal(longest, 2 ** 31 - 1);
  });

  it('stop aborts the reading in flight, emits nothing afterwards, closes the source and lets pollNow go', async () => {
    let closed = 0;
    const { driver, reads, observations } = drive({
      respond: ({ signal }) => new Promise((resolve) => signal.addEventListener('abort', () => resolve(ANSWER))),
      close: () => {
        closed += 1;
      },
    });
    await settle();
    const waiting = driver.pollNow();
    driver.pollSoon(100);
    driver.stop();
    driver.stop();
    await waiting;
    await driver.pollNow();
    await pass(10_000);
    assert.equal(reads[0]?.context.signal.aborted, true);
    assert.equal(reads.length, 1);
    assert.deepEqual(observations, []);
    assert.equal(closed, 1);
  });

  it('a consumer that throws costs a log line, not the source', async () => {
    const { log, lines } = memoryLog();
    let emitted = 0;
    const driver = startDriver(
      { name: 'test', rank: 'platform', poll: 1000, timeoutMs: 500, read: async () => ANSWER },
      {
        emit: () => {
          emitted += 1;
          throw new Error('stumbled');
        },
        log,
        clock,
        random: MIDDLE,
        count: () => undefined,
      },
    );
    drivers.push(driver);
    await pass(2000);
    assert.equal(emitted, 3);
    assert.equal(lines()[0]?.event, 'observation_not_taken');
  });

  it('live tells what happened', async () => {
    const { driver } = drive({ respond: () => later(40, ANSWER) });
    await pass(50, 10);
    assert.deepEqual(driver.live(), {
      name: 'test',
      state: 'ok',
      lastSuccessMs: 1_000_040,
      lastError: null,
      latencyMs: 40,
      reads: 1,
      failures: 0,
      pollMs: 1000,
      history: [{ atMs: 1_000_040, latencyMs: 40, outcome: 'ok', error: null }],
    });
    await pass(1000);
    assert.equal(driver.live().state, 'ok');
  });

  it('remembers the last 60 readings, good ones, failed ones and those without a channel', async () => {
    const { driver } = drive({
      respond: (_, read) => {
        if (read % 3 === 1) throw new SourceError('timeout', 'GET /x: timeout');
        return read % 3 === 2 ? { outcome: 'no_channel', detail: 'not here' } : ANSWER;
      },
    });
    await pass(70_000);
    const { history = [], reads } = driver.live();
    assert.ok(reads > 65);
    assert.equal(history.length, 60);
    assert.deepEqual(
      new Set(history.map(({ outcome, error }) => `${outcome} ${error}`)),
      new Set(['failed timeout', 'absent null', 'ok null']),
    );
    assert.equal(history.at(-1)?.atMs, Date.now());
  });
});

describe('driver with a cron expression (real time)', () => {
  it('reads at once and at each time of the expression', async () => {
    let reads = 0;
    const enough = deferred();
    const { log } = memoryLog();
    const driver = startDriver(
      {
        name: 'test',
        rank: 'platform',
        poll: { cron: '* * * * * *' },
        timeoutMs: 500,
        read: async () => {
          reads += 1;
          if (reads === 2) enough.resolve();
          return ANSWER;
        },
      },
      { emit: () => undefined, log, clock: realClock, count: () => undefined },
    );
    const alive = setInterval(() => undefined, 1000);
    await enough.promise;
    clearInterval(alive);
    driver.stop();
  });

  it('an expression that is none is logged once and asked hourly instead', async () => {
    const told = deferred();
    const { log, lines } = memoryLog((line) => line.includes('source_cron_invalid') && told.resolve());
    const driver = startDriver(
      { name: 'test', rank: 'platform', poll: { cron: 'each full moon' }, timeoutMs: 500, read: async () => ANSWER },
      { emit: () => undefined, log, clock: realClock, count: () => undefined },
    );
    await told.promise;
    driver.stop();
    assert.equal(lines().filter(({ event }) => event === 'source_cron_invalid').length, 1);
  });
});

const realClock: Clock = {
  now: () => ({ wall: Date.now(), mono: performance.now() }),
  bootMs: () => performance.now(),
};

const at = ({ atMs }: { readonly atMs: number }): number => atMs - 1_000_000;
const outcome = (observation: Observation): string =>
  observation.outcome === 'failed' ? observation.error : observation.outcome;

const later = (delayMs: number, result: ReadResult): Promise<ReadResult> =>
  new Promise((resolve) => setTimeout(resolve, delayMs, result));

/** Lets everything happen that needs no time. */
async function settle(): Promise<void> {
  for (let i = 0; i < 4; i += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** Mocked time passes in steps, so that what a timer starts can start further timers. */
async function pass(totalMs: number, stepMs = 50): Promise<void> {
  await settle();
  for (let left = totalMs; left > 0; left -= stepMs) {
    mock.timers.tick(Math.min(left, stepMs));
    await settle();
  }
}

function memoryLog(onLine?: (line: string) => unknown): { log: Logger; lines: () => LogLine[] } {
  const texts: string[] = [];
  const log = pino(
    { level: 'debug' },
    {
      write: (text: string) => {
        texts.push(text);
        onLine?.(text);
      },
    },
  );
  return { log, lines: () => texts.map((text) => JSON.parse(text) as LogLine) };
}

function deferred(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve = (): void => undefined;
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
