import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, it, mock } from 'node:test';
import { describeProblem, loadConfig } from '../../agent/config.ts';
import type { Observation, Reading, StatedNotice } from '../../agent/lifetime/types.ts';
import { createOf, createSources } from '../../agent/sources/create.ts';
import { startDriver } from '../../agent/sources/driver.ts';
import { createScheduleSource, type ScheduleConfig, scheduleSource } from '../../agent/sources/schedule.ts';
import { cronTimes } from '../../agent/sources/schedule-cron.ts';
import { isTimeZone } from '../../agent/sources/schedule-zone.ts';
import { HOUR, history, MINUTE, payload, SECOND, START, source as sourceInfo } from '../lifetime/history.ts';
import { sourceEnvironment } from './environment.ts';

const at = (text: string): number => Date.parse(text);
const iso = (ms: number | undefined): string | undefined =>
  ms === undefined ? undefined : new Date(ms).toISOString().replace('.000Z', 'Z');
const DAY = 24 * HOUR;

/** The occurrences after an instant, as UTC. */
async function list(cron: string, timezone: string, after: string, count: number) {
  const times = await cronTimes(cron, timezone);
  const found: (string | undefined)[] = [];
  let from: number | undefined = at(after);
  while (found.length < count && from !== undefined) {
    from = times.next(from);
    found.push(iso(from));
  }
  return found;
}

describe('occurrences', () => {
  for (const [name, cron, timezone, after, expected] of [
    [
      'a time of day keeps to the clock on the wall when summer begins',
      '0 6 * * 0',
      'Europe/Zurich',
      '2025-03-20T00:00:00Z',
      ['2025-03-23T05:00:00Z', '2025-03-30T04:00:00Z', '2025-04-06T04:00:00Z'],
    ],
    [
      'and when it ends',
      '0 6 * * 0',
      'Europe/Zurich',
      '2025-10-18T23:00:00Z',
      ['2025-10-19T04:00:00Z', '2025-10-26T05:00:00Z', '2025-11-02T05:00:00Z'],
    ],
    [
      'a time that the clocks skip is not lost: it counts as if they had not been put forward',
      '30 2 * * *',
      'Europe/Zurich',
      '2025-03-29T00:00:00Z',
      ['2025-03-29T01:30:00Z', '2025-03-30T01:30:00Z', '2025-03-31T00:30:00Z'],
    ],
    [
      'a time that comes twice is the first one',
      '30 2 * * *',
      'Europe/Zurich',
      '2025-10-25T12:00:00Z',
      ['2025-10-26T00:30:00Z', '2025-10-27T01:30:00Z'],
    ],
    [
      'what is meant for every hour comes in both hours',
      '30 * * * *',
      'Europe/Zurich',
      '2025-10-25T23:00:00Z',
      ['2025-10-25T23:30:00Z', '2025-10-26T00:30:00Z', '2025-10-26T01:30:00Z', '2025-10-26T02:30:00Z'],
    ],
    [
      'every hour in the night that lacks one names no instant twice',
      '30 * * * *',
      'Europe/Zurich',
      '2025-03-30T00:00:00Z',
      ['2025-03-30T00:30:00Z', '2025-03-30T01:30:00Z', '2025-03-30T02:30:00Z'],
    ],
    [
      'a zone far east of UTC is another day there',
      '0 1 1 * *',
      'Pacific/Auckland',
      '2025-06-01T00:00:00Z',
      ['2025-06-30T13:00:00Z'],
    ],
    ['29 February', '0 0 29 2 *', 'UTC', '2025-01-01T00:00:00Z', ['2028-02-29T00:00:00Z', '2032-02-29T00:00:00Z']],
    ['29 February over 2100', '0 0 29 2 *', 'UTC', '2096-03-01T00:00:00Z', ['2104-02-29T00:00:00Z']],
    ['29 February on a Sunday', '0 0 29 2 0', 'UTC', '2088-03-01T00:00:00Z', ['2128-02-29T00:00:00Z']],
    ['six fields begin with the second', '15 0 6 * * *', 'UTC', '2025-01-01T00:00:00Z', ['2025-01-01T06:00:15Z']],
    ['the last Friday of a month', '0 6 * * 5L', 'UTC', '2025-01-01T00:00:00Z', ['2025-01-31T06:00:00Z']],
    [
      'names of days',
      '0 6 * * MON-TUE',
      'UTC',
      '2025-12-20T00:00:00Z',
      ['2025-12-22T06:00:00Z', '2025-12-23T06:00:00Z'],
    ],
  ] as const) {
    it(name, async () => assert.deepEqual(await list(cron, timezone, after, expected.length), expected));
  }

  it('forwards and backwards name the same instants, over both changes of the clocks', async () => {
    for (const cron of ['30 2 * * *', '*/20 * * * *', '0 6 * * 2', '15 1,2,3 * * 0']) {
      const times = await cronTimes(cron, 'Europe/Zurich');
      for (const [from, to] of [
        ['2025-03-28T00:00:00Z', '2025-04-02T00:00:00Z'],
        ['2025-10-24T00:00:00Z', '2025-10-29T00:00:00Z'],
      ] as const) {
        const forwards: number[] = [];
        for (let ms = times.next(at(from)); ms !== undefined && ms <= at(to); ms = times.next(ms)) forwards.push(ms);
        const backwards: number[] = [];
        for (let ms = times.previous(at(to), at(from) + 1); ms !== undefined; ms = times.previous(ms - 1, at(from) + 1))
          backwards.unshift(ms);
        assert.ok(forwards.length > 0 || cron === '0 6 * * 2');
        assert.deepEqual(backwards, forwards, cron);
      }
    }
  });

  it('previous keeps to its bounds, both of them included', async () => {
    const times = await cronTimes('0 6 * * *', 'UTC');
    const six = at('2025-06-01T06:00:00Z');
    assert.deepEqual(
      [times.previous(six, six), times.previous(six - 1, six - DAY + 1), times.previous(six - 1, six - DAY)],
      [six, undefined, six - DAY],
    );
  });

  for (const [cron, expected] of [
    ['75 6 * 13 2', /minutes from 0 to 59, got "75"; months from 1 to 12, got "13"/],
    ['0 6 * * 8', /days of the week from 0 to 7 .*got "8"/],
    ['0 6 31 2 *', /days that these months have, got "31"/],
    ['@daily', /five or six fields, got "@daily"/],
    ['0 6 *', /five or six fields/],
    ['0 6 * * ; rm', /expected/],
    ['*/2 * * * * *', /at most 288 beginnings a day, such as "\*\/5 \* \* \* \*", got 43200 in "\*\/2 \* \* \* \* \*"/],
    ['0-58 * * * * *', /at most 288 beginnings a day.*got 84960/],
    ['* * * * *', /at most 288 beginnings a day.*got 1440/],
  ] as const)
    it(`${cron} is refused with what would be right`, () =>
      assert.rejects(
        cronTimes(cron, 'UTC'),
        (error: Error) => error instanceof RangeError && expected.test(error.message),
      ));

  it('the same minute written twice is one beginning', async () => {
    const fields = Array.from({ length: 60 }, () => '5').join();
    assert.deepEqual(await list(`${fields} * * * *`, 'UTC', '2025-06-01T00:00:00Z', 2), [
      '2025-06-01T00:05:00Z',
      '2025-06-01T01:05:00Z',
    ]);
  });

  it('as many beginnings as there may be cost little, also in the night when the clocks change', async (t) => {
    const asked = t.mock.method(Intl.DateTimeFormat.prototype, 'formatToParts').mock;
    for (const around of ['2026-03-29T00:30:00Z', '2026-10-25T00:30:00Z']) {
      const times = await cronTimes('*/5 * * * *', 'Europe/Zurich');
      const before = asked.callCount();
      let count = 0;
      for (let ms = times.next(at(around) - DAY); ms !== undefined && ms < at(around) + DAY; ms = times.next(ms))
        count += 1;
      assert.equal(count, 2 * 288 - 1);
      const first = asked.callCount() - before;
      // The offset on both sides of five days, where it changes, and which day it is at each question.
      assert.ok(first < 300 + count, `the time zone was asked ${first} times`);
      for (let i = 0; i < 100; i += 1) times.previous(at(around) - i * MINUTE, at(around) - DAY);
      const again = asked.callCount() - before - first;
      assert.ok(again <= 200, `the time zone was asked ${again} times more`);
    }
  });

  it('an offset, nonsense and nothing are no time zones', () => {
    assert.deepEqual(['UTC', 'Europe/Zurich', '+01:00', 'Europe/Zürich', '', 'Mars/Base'].map(isTimeZone), [
      true,
      true,
      false,
      false,
      false,
      false,
    ]);
  });
});

/** What the source says at an instant: `id kind deadline`, or `id negative`. */
async function said(rows: ScheduleConfig, nowMs: number): Promise<readonly string[]> {
  return Object.entries(await readings(rows, nowMs)).map(([id, reading]) =>
    reading.is === 'present'
      ? `${id} ${reading.value.kind} ${iso(reading.value.deadlineMs ?? undefined)}`
      : `${id} ${reading.is}`,
  );
}

async function readings(rows: ScheduleConfig, nowMs: number): Promise<Readonly<Record<string, Reading<StatedNotice>>>> {
  const source = createScheduleSource(rows, sourceEnvironment(), () => nowMs);
  const result = await source.read({ signal: AbortSignal.timeout(5000), fresh: false });
  assert.ok(result.outcome === 'answer');
  assert.equal(result.answer.notices?.complete, true);
  return result.answer.notices.byId;
}

const PATCH_DAY = { name: 'patch day', cron: '0 6 * * 2', timezone: 'Europe/Zurich', duration: '2h' } as const;
/** Tuesday 23 December 2025, 06:00 in Zurich. */
const PATCH_MS = at('2025-12-23T05:00:00Z');

describe('windows', () => {
  const STATED = 'patch day 2025-12-23T05:00:00Z shutdown 2025-12-23T05:00:00Z';
  for (const [name, fromStartMs, expected] of [
    ['nothing is said of a window that is more than announce away', -DAY - 1, []],
    ['from announce on it is a notice with its begin as the deadline', -DAY, [STATED]],
    ['it stands when it begins', 0, [STATED]],
    ['and to the last moment of its duration, also for an agent that has just started', 2 * HOUR - 1, [STATED]],
    ['it is over at its end', 2 * HOUR, ['patch day 2025-12-23T05:00:00Z negative']],
  ] as const)
    it(name, async () => assert.deepEqual(await said([PATCH_DAY], PATCH_MS + fromStartMs), expected));

  it('kind, reason and announce are the row’s own', async () => {
    const row = { ...PATCH_DAY, kind: 'drain', reason: 'new kernel', announce: '30m' } as const;
    assert.deepEqual(await readings([row], PATCH_MS - 31 * MINUTE), {});
    assert.deepEqual(await readings([row], PATCH_MS - 30 * MINUTE), {
      'patch day 2025-12-23T05:00:00Z': {
        is: 'present',
        value: { kind: 'drain', deadlineMs: PATCH_MS, reason: 'new kernel' },
      },
    });
  });

  it('without a time zone the expression is meant in UTC, wherever the machine is', async () => {
    const { timezone: _, ...row } = PATCH_DAY;
    assert.deepEqual(await said([row], PATCH_MS), ['patch day 2025-12-23T06:00:00Z shutdown 2025-12-23T06:00:00Z']);
  });

  it('the next one is announced while one is going on', async () => {
    const daily = { name: 'd', cron: '0 0 * * *', duration: '20h', announce: '12h' };
    assert.deepEqual(await said([daily], at('2025-06-02T13:00:00Z')), [
      'd 2025-06-02T00:00:00Z shutdown 2025-06-02T00:00:00Z',
      'd 2025-06-03T00:00:00Z shutdown 2025-06-03T00:00:00Z',
    ]);
  });

  it('windows that overlap stand side by side, each until its own end', async () => {
    const row = { name: 'o', cron: '0 6 * * 1,2', duration: '30h', announce: '1h' };
    const monday = 'o 2025-12-22T06:00:00Z shutdown 2025-12-22T06:00:00Z';
    const tuesday = 'o 2025-12-23T06:00:00Z shutdown 2025-12-23T06:00:00Z';
    assert.deepEqual(await said([row], at('2025-12-23T07:00:00Z')), [monday, tuesday]);
    assert.deepEqual(await said([row], at('2025-12-23T12:00:00Z')), ['o 2025-12-22T06:00:00Z negative', tuesday]);
  });

  it('several schedules are one source, and one that cannot be understood takes no other along', async () => {
    const rows = [{ ...PATCH_DAY, name: 'bad', cron: '0 25 * * *' }, PATCH_DAY];
    assert.deepEqual(await said(rows, PATCH_MS), ['bad unknown', STATED]);
    const dense = { ...PATCH_DAY, name: 'dense', cron: '*/2 * * * * *' };
    assert.deepEqual(await said([dense, PATCH_DAY], PATCH_MS), ['dense unknown', STATED]);
    const alone = createScheduleSource(rows.slice(0, 1), sourceEnvironment(), () => PATCH_MS);
    await assert.rejects(alone.read({ signal: AbortSignal.timeout(1000), fresh: false }), { code: 'bad_cron' });
  });

  it('a clock that is set back or forth is believed at the next reading: nothing is remembered', async () => {
    let now = PATCH_MS + HOUR;
    const source = createScheduleSource([PATCH_DAY], sourceEnvironment(), () => now);
    const seen: unknown[] = [];
    for (const ms of [now, PATCH_MS - 2 * DAY, PATCH_MS - HOUR]) {
      now = ms;
      const result = await source.read({ signal: AbortSignal.timeout(5000), fresh: false });
      assert.ok(result.outcome === 'answer');
      seen.push(Object.values(result.answer.notices?.byId ?? {}).map(({ is }) => is));
    }
    assert.deepEqual(seen, [['present'], [], ['present']]);
  });

  it('a name that every object inherits is a name', async () => {
    assert.equal((await said([{ ...PATCH_DAY, name: '__proto__' }], PATCH_MS)).length, 1);
  });

  it('there is a source only where a window is configured, and nothing is detected', () => {
    const environment = sourceEnvironment();
    const names = (table: Readonly<Record<string, unknown>>) =>
      createSources({ sources: 'auto', source: table }, environment, { only: ({ name }) => name === 'schedule' }).map(
        ({ name, rank }) => [name, rank],
      );
    assert.deepEqual(names({}), []);
    assert.deepEqual(names({ schedule: [] }), []);
    assert.deepEqual(names({ schedule: [PATCH_DAY, { ...PATCH_DAY, name: 'other' }] }), [['schedule', 'platform']]);
    assert.deepEqual(createOf(scheduleSource, { source: {} }, environment), []);
  });
});

describe('what the heart makes of it', () => {
  const SCHEDULE = sourceInfo('schedule', 'platform', 30 * SECOND);
  /** Reads at each edge and each `everyMs`, as the driver does, from `START` to `untilMs` after it. */
  function play(rows: ScheduleConfig) {
    const heart = history({ sources: [SCHEDULE] });
    const source = createScheduleSource(rows, sourceEnvironment(), () => heart.now().wall);
    const read = async (): Promise<void> => {
      const result = await source.read({ signal: AbortSignal.timeout(5000), fresh: false });
      heart.send({ type: 'observation', observation: { source: 'schedule', ...result } });
    };
    return {
      heart,
      read,
      async until(wallMs: number) {
        heart.until(wallMs);
        await read();
      },
    };
  }
  const inMs = (ms: number): { readonly cron: string; readonly startMs: number } => {
    const startMs = START + ms;
    const date = new Date(startMs);
    const [day, month] = [date.getUTCDate(), date.getUTCMonth() + 1];
    return {
      cron: `${date.getUTCSeconds()} ${date.getUTCMinutes()} ${date.getUTCHours()} ${day} ${month} *`,
      startMs,
    };
  };

  it('a window drains, stops in time and ends with its end: back to running, and the keys are gone', async () => {
    const { cron, startMs } = inMs(2 * HOUR);
    const { heart, read, until } = play([{ name: 'w', cron, duration: '1h' }]);
    heart.register(payload('p'));
    await read();
    assert.deepEqual([heart.phase(), heart.snapshot().deadlineMs], ['running', startMs]);
    assert.equal(heart.machine('shutdowntime'), String(startMs / 1000));
    assert.match(heart.snapshot().reason ?? '', /schedule: maintenance window: w/);
    heart.until(startMs - 30 * MINUTE);
    assert.equal(heart.phase(), 'draining');
    heart.until(startMs - 1);
    assert.equal(heart.sentTo('p', startMs), 'SIGTERM@-120 SIGKILL@-5');
    await until(startMs + 30 * MINUTE);
    assert.equal(heart.phase(), 'stopped');
    await until(startMs + HOUR - 1);
    assert.equal(heart.phase(), 'stopped');
    await until(startMs + HOUR);
    assert.deepEqual([heart.phase(), heart.machine('shutdowntime')], ['running', undefined]);
  });

  it('kind drain drains from its begin to its end, and sets no deadline', async () => {
    const { cron, startMs } = inMs(2 * HOUR);
    const { heart, read, until } = play([{ name: 'w', cron, duration: '1h', kind: 'drain' }]);
    await read();
    await until(startMs - 1);
    assert.deepEqual([heart.phase(), heart.snapshot().deadlineMs], ['running', null]);
    await until(startMs);
    assert.deepEqual([heart.phase(), heart.snapshot().deadlineMs], ['draining', null]);
    await until(startMs + HOUR);
    assert.equal(heart.phase(), 'running');
  });

  it('S1.5 overriding one window overrides no other, although the next is announced at once', async () => {
    const { startMs } = inMs(2 * HOUR);
    const date = new Date(startMs);
    const cron = `${date.getUTCSeconds()} ${date.getUTCMinutes()} ${date.getUTCHours()} * * *`;
    const { heart, read, until } = play([{ name: 'daily', cron, duration: '30m' }]);
    await read();
    const [id = ''] = heart.noticeIds() ?? [];
    heart.send({ type: 'ignore', id });
    assert.equal(heart.snapshot().deadlineMs, null);
    await until(startMs);
    assert.deepEqual([heart.phase(), heart.snapshot().deadlineMs], ['running', startMs + DAY]);
    await until(startMs + 30 * MINUTE);
    await until(startMs + DAY);
    assert.equal(heart.phase(), 'stopped');
  });

  it('S1.6 windows within ten minutes of each other are each a notice of their own, and each stops anew', async () => {
    const { heart, read, until } = play([{ name: 'often', cron: '*/15 * * * *', duration: '5m', announce: '10m' }]);
    const first = Math.ceil(START / (15 * MINUTE)) * 15 * MINUTE;
    heart.configure({ policy: { drainMs: 0, graceMs: MINUTE } });
    await read();
    for (const n of [0, 1]) {
      const startMs = first + n * 15 * MINUTE;
      await until(Math.max(heart.now().wall, startMs - 10 * MINUTE));
      heart.register(payload(`p${n}`));
      assert.equal(heart.snapshot().deadlineMs, startMs);
      const notice = heart.snapshot().notices.find((each) => each.deadlineMs === startMs);
      assert.equal(notice?.firstSeenMs, heart.now().wall);
      assert.equal(heart.phase(), 'running');
      await until(startMs);
      assert.equal(heart.sentTo(`p${n}`, startMs), 'SIGTERM@-60 SIGKILL@-5');
      await until(startMs + 5 * MINUTE);
    }
  });

  it('S1.8 a machine that is started within a window may work, and is stopped for the next', async () => {
    const startMs = START - 3 * HOUR;
    const date = new Date(startMs);
    const cron = `${date.getUTCSeconds()} ${date.getUTCMinutes()} ${date.getUTCHours()} * * *`;
    const { heart, read } = play([{ name: 'long', cron, duration: '8h' }]);
    await read();
    assert.deepEqual([heart.phase(), heart.snapshot().deadlineMs], ['running', startMs + DAY]);
    const expired = heart.snapshot().notices.find((each) => each.deadlineMs === startMs);
    assert.equal(expired?.expired, true);
  });
});

describe('driven', () => {
  it('reads at the very edges, between two polls', async () => {
    // Loaded beforehand, so that turned clocks wait for nothing real.
    await cronTimes('0 * * * *', 'UTC');
    mock.timers.enable({ apis: ['setTimeout', 'Date'], now: at('2025-06-01T05:49:50Z') });
    const seen: string[] = [];
    let heard: () => void = () => undefined;
    const row = { name: 'w', cron: '0 6 * * *', duration: '7s', announce: '598s' };
    const [source] = scheduleSource.create([row], sourceEnvironment());
    assert.ok(source);
    const emit = (observation: Observation): void => {
      assert.ok(observation.outcome === 'answer');
      const notices = Object.values(observation.answer.notices?.byId ?? {});
      const now = notices.find(({ is }) => is === 'present')?.is ?? notices[0]?.is ?? 'nothing';
      if (seen.at(-1)?.split(' ')[0] !== now) seen.push(`${now} ${new Date().toISOString().slice(11, 19)}`);
      heard();
    };
    const driver = startDriver(source, {
      emit,
      log: sourceEnvironment().log,
      clock: { now: () => ({ wall: Date.now(), mono: Date.now() }), bootMs: () => Date.now() },
      random: () => 0.5,
      count: () => undefined,
    });
    try {
      await new Promise<void>((resolve) => {
        heard = resolve;
      });
      for (let i = 0; i < 700; i += 1) {
        mock.timers.tick(1000);
        // A reading is some promises deep.
        for (let turn = 0; turn < 4; turn += 1) await new Promise((resolve) => setImmediate(resolve));
      }
    } finally {
      driver.stop();
      mock.timers.reset();
    }
    assert.deepEqual(seen, ['nothing 05:49:50', 'present 05:50:02', 'negative 06:00:07']);
  });
});

describe('configuration', () => {
  async function check(text: string) {
    const etcDir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-schedule-'));
    try {
      fs.writeFileSync(path.join(etcDir, 'config.toml'), text);
      const result = await loadConfig({ etcDir, env: {}, flags: {} });
      const lines = result.ok ? result.warnings : result.problems.map(describeProblem);
      return { ok: result.ok, lines: lines.map((line) => line.replace(`${etcDir}/config.toml: `, '')) };
    } finally {
      fs.rmSync(etcDir, { recursive: true });
    }
  }
  const table = (row: Readonly<Record<string, string>>): string =>
    `[[source.schedule]]\n${Object.entries({ name: 'w', cron: '0 6 * * 2', duration: '2h', ...row })
      .map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`)
      .join('')}`;

  for (const [name, text, expected] of [
    [
      'a field that cannot be',
      table({ cron: '75 6 * * 2' }),
      /^source\.schedule\[0\]\.cron: expected minutes from 0 to 59, got "75"/,
    ],
    [
      'too few fields',
      table({ cron: '0 6' }),
      /^source\.schedule\[0\]\.cron: expected a cron expression of five or six fields/,
    ],
    [
      'a day that never comes',
      table({ cron: '0 6 31 2 *' }),
      /^source\.schedule\[0\]\.cron: expected days that these months have/,
    ],
    ['a day that no month has there', table({ cron: '0 6 30 2 1#5' }), /^source\.schedule\[0\]\.cron: expected/],
    [
      'more beginnings than anybody means',
      table({ cron: '*/2 * * * * *', duration: '1s', announce: '1s', timezone: 'Europe/Zurich' }),
      /^source\.schedule\[0\]\.cron: expected at most 288 beginnings a day, such as "\*\/5 \* \* \* \*", got 43200/,
    ],
    [
      'an unknown time zone',
      table({ timezone: 'Europe/Zürich' }),
      /^source\.schedule\[0\]\.timezone: expected an IANA time zone such as "Europe\/Zurich"/,
    ],
    [
      'windows without end',
      table({ cron: '0 * * * *', duration: '90m' }),
      /^source\.schedule\[0\]\.duration: expected less than the 1 h from one window to the next, got "90m"/,
    ],
    [
      'windows that touch',
      table({ cron: '0 * * * *', duration: '1h' }),
      /^source\.schedule\[0\]\.duration: expected less/,
    ],
    ['no length', table({ duration: '0s' }), /^source\.schedule\[0\]\.duration: expected at least 1s/],
    ['a name twice', table({}) + table({}), /^source\.schedule\[1\]\.name: "w" is taken/],
    [
      'a missing duration',
      '[[source.schedule]]\nname = "w"\ncron = "0 6 * * 2"\n',
      /^source\.schedule\[0\]\.duration: is missing/,
    ],
    ['an unknown key', table({ crom: 'x' }), /^source\.schedule\[0\]\.crom: unknown key; did you mean "cron"\?/],
    ['one table in place of a list', '[source.schedule]\nname = "w"\n', /^source\.schedule: expected a list/],
    [
      'a kind that is none',
      table({ kind: 'reboot' }),
      /^source\.schedule\[0\]\.kind: expected one of "shutdown", "drain"/,
    ],
  ] as const)
    it(`${name} is an error with its key and what would be right`, async () => {
      const { ok, lines } = await check(text);
      assert.equal(ok, false);
      assert.match(lines.join('\n'), expected);
    });

  for (const [name, text, expected] of [
    ['windows with a minute between them are fine', table({ cron: '0 * * * *', duration: '59m' }), []],
    ['a window each five minutes is fine', table({ cron: '*/5 * * * *', duration: '1m' }), []],
    ['windows that now and then overlap are fine', table({ cron: '0 6 * * 1,2', duration: '30h' }), []],
    ['both days', table({ cron: '0 6 1 * 2' }), [/cron: day of month and day of week must both fit/]],
    [
      'an announcement shorter than the grace',
      table({ announce: '1m' }),
      [/announce: is shorter than stop\.grace \(2 min\)/],
    ],
    ['a list of sources without it', `sources = ["directory"]\n${table({})}`, [/source\.schedule: is not in the list/]],
  ] as const)
    it(`${name}: accepted${expected.length > 0 ? ' with a warning' : ''}`, async () => {
      const { ok, lines } = await check(text);
      assert.equal(ok, true, lines.join('\n'));
      assert.equal(lines.length, expected.length, lines.join('\n'));
      for (const [i, pattern] of expected.entries()) assert.match(lines[i] ?? '', pattern);
    });
});
