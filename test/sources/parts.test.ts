import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import type { Answer } from '../../agent/lifetime/types.ts';
import type { Part, PartsOptions } from '../../agent/sources/parts.ts';
import { type Source, SourceError } from '../../agent/sources/source.ts';
import { MINUTE, SECOND, START } from '../lifetime/history.ts';
import {
  ABSENT,
  DEAF,
  type FakePart,
  fakePart,
  HANGS,
  HTTP_500,
  NEGATIVE,
  notice,
  pass,
  REFUSED,
  START_MS,
  settle,
  sourceOf,
  world as startWorld,
  text,
  unknown,
  type World,
} from './parts-fixture.ts';

const LATER = START + 3 * 3_600_000;
const NEVER_ABORTED = new AbortController().signal;
const rejections: unknown[] = [];
const onRejection = (reason: unknown): void => void rejections.push(reason);

let worlds: World[] = [];
beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: START_MS });
  process.on('unhandledRejection', onRejection);
});
afterEach(async () => {
  for (const { driver } of worlds) driver.stop();
  worlds = [];
  await settle();
  mock.timers.reset();
  process.off('unhandledRejection', onRejection);
  assert.deepEqual(rejections.splice(0), []);
});

function world(parts: readonly Part[], options: Partial<PartsOptions> = {}): World {
  const made = startWorld(parts, options);
  worlds.push(made);
  return made;
}

async function read(source: Source, more: { fresh?: boolean; patient?: boolean } = {}): Promise<Answer> {
  const reading = source.read({ signal: NEVER_ABORTED, fresh: false, ...more });
  let over = false;
  reading.then(
    () => (over = true),
    () => (over = true),
  );
  for (let passed = 0; !over && passed < 20_000; passed += 10) await pass(10);
  const result = await reading;
  if (result.outcome !== 'answer') assert.fail(result.detail);
  return result.answer;
}

/** All that is said of notices, without the marks of the parts. */
const ids = ({ notices }: Answer) =>
  Object.fromEntries(Object.entries(notices?.byId ?? {}).filter(([id]) => !id.startsWith('@')));
const lastOf = <T>(list: readonly T[]): T => list.at(-1) ?? assert.fail('none');
/** Asked at once, then after 2, 4, 8 … s, or as much sooner as a reading that comes anyhow may take it along. */
function assertDoubling(part: FakePart, count: number): void {
  const times = part.times().slice(0, count);
  assert.equal(times.length, count);
  times.slice(1).forEach((at, index) => {
    const share = (at - (times[index] ?? 0)) / (2 * SECOND * 2 ** index);
    assert.ok(share > 0.8 && share < 1.3, `${times}`);
  });
}

/** State, error, and what is wrong in particular. */
function assertState(made: World, ...wanted: (string | null)[]): void {
  const state = made.heart.sourceState('test');
  assert.deepEqual([state?.state, state?.error, ...Object.keys(state?.faults ?? {})], wanted);
}

describe('one reading', () => {
  it('asks every part and puts what they say into one answer', async () => {
    const [a, b] = [fakePart('a'), fakePart('b', { everyMs: MINUTE })];
    a.says({ notices: { spot: notice(LATER) }, hostNowMs: 7 });
    b.says({
      machine: { hs06: text('10') },
      job: { job_id: text('x') },
      derived: { machine: { grace_secs: text('120') } },
      pointers: { machinefeatures: 'http://host/mf' },
    });
    assert.deepEqual(await read(sourceOf([a, b])), {
      hostNowMs: 7,
      machine: { channel: 'test', complete: false, keys: { hs06: text('10') } },
      job: { channel: 'test', complete: false, keys: { job_id: text('x') } },
      notices: { complete: false, byId: { spot: notice(LATER), '@a': NEGATIVE, '@b': NEGATIVE } },
      derived: { machine: { grace_secs: text('120') }, job: {} },
      pointers: { machinefeatures: 'http://host/mf' },
    });
  });

  it('ends soon after the first good word: a slow part is left behind, and asked no second time', async () => {
    const [a, slow] = [fakePart('a'), fakePart('slow')];
    a.says({ notices: { a: ABSENT } });
    slow.says({ notices: { slow: notice(LATER) } }, 400);
    const source = sourceOf([a, slow]);
    assert.deepEqual(ids(await read(source)), { a: ABSENT });
    assert.ok(Date.now() - START_MS <= 110);
    assert.deepEqual(ids(await read(source)), { a: ABSENT });
    assert.equal(slow.asked.length, 1);
    await pass(400);
    assert.deepEqual(ids(await read(source)), { a: ABSENT, slow: notice(LATER) });
  });

  it('waits a little longer where somebody waits for the truth of this moment (S4.2)', async () => {
    const [a, slow] = [fakePart('a'), fakePart('slow')];
    slow.says({ notices: { slow: notice(LATER) } }, 400);
    assert.deepEqual(ids(await read(sourceOf([a, slow]), { fresh: true })), { slow: notice(LATER) });
  });

  it('but no longer than a second', async () => {
    const [a, slow] = [fakePart('a'), fakePart('slow')];
    slow.says({ notices: { slow: notice(LATER) } }, 4_000);
    assert.deepEqual(ids(await read(sourceOf([a, slow], { timeoutMs: 5_000 }), { fresh: true })), {});
    assert.ok(Date.now() - START_MS <= 1_010);
  });

  it('a patient one waits for everybody (probe)', async () => {
    const [a, slow] = [fakePart('a'), fakePart('slow')];
    a.says(REFUSED);
    slow.says({ notices: { slow: notice(LATER) } }, 4_000);
    const answer = await read(sourceOf([a, slow], { timeoutMs: 5_000 }), { fresh: true, patient: true });
    assert.deepEqual(ids(answer), { slow: notice(LATER) });
    assert.equal(a.asked.length, 1);
  });

  it('does not begin its patience with a failure: somebody else may know better', async () => {
    const [a, slow] = [fakePart('a'), fakePart('slow')];
    a.says(HTTP_500);
    slow.says({ notices: { slow: notice(LATER) } }, 400);
    const answer = await read(sourceOf([a, slow]));
    assert.deepEqual(answer.notices?.byId, { slow: notice(LATER), '@slow': NEGATIVE, '@a': unknown('http_500') });
  });

  it('throws what its first part threw where none has an answer', async () => {
    const [a, b] = [fakePart('a'), fakePart('b')];
    a.says(HTTP_500);
    b.says(REFUSED);
    await assert.rejects(read(sourceOf([a, b])), HTTP_500);
  });

  it('a part that breaks in a way that nobody foresaw is `internal`, one that did not end in time is `timeout`', async () => {
    const odd: Part = {
      name: 'odd',
      everyMs: 1_000,
      read() {
        throw new TypeError('x is not a function');
      },
    };
    const silent = fakePart('silent');
    silent.says(HANGS);
    const fine = fakePart('fine');
    const source = sourceOf([odd, silent, fine]);
    const answer = await read(source, { patient: true });
    assert.deepEqual(answer.notices?.byId, {
      '@odd': unknown('internal'),
      '@silent': unknown('timeout'),
      '@fine': NEGATIVE,
    });
    await assert.rejects(read(sourceOf([odd])), { code: 'internal', message: 'odd: x is not a function' });
  });

  it('ends when its own signal is aborted, and so do the parts that it asked', async () => {
    const part = fakePart('a');
    part.says(HANGS);
    const source = sourceOf([part]);
    const giveUp = new AbortController();
    const reading = source.read({ signal: giveUp.signal, fresh: false });
    await settle();
    giveUp.abort();
    await assert.rejects(reading, SourceError);
    assert.equal(part.asked[0]?.context.signal.aborted, true);
  });

  it('what was heard before it was given up is not lost', async () => {
    const [a, hanging] = [fakePart('a', { everyMs: MINUTE }), fakePart('hanging')];
    a.says({ notices: { spot: notice(LATER) } });
    hanging.says(HANGS);
    const source = sourceOf([a, hanging]);
    const giveUp = new AbortController();
    const reading = source.read({ signal: giveUp.signal, fresh: false, patient: true });
    await settle();
    giveUp.abort();
    await assert.rejects(reading, SourceError);
    assert.deepEqual(ids(await read(source)), { spot: notice(LATER) });
    assert.equal(a.asked.length, 1);
  });

  it('is never given without a question: where nothing is due, one of the leading parts is asked', async () => {
    const [fast, slow] = [fakePart('fast', { everyMs: 10 * SECOND }), fakePart('slow', { everyMs: MINUTE })];
    const source = sourceOf([slow, fast], { poll: { cron: '* * * * *' } });
    await read(source);
    await read(source);
    assert.deepEqual([fast.asked.length, slow.asked.length], [2, 1]);
    fast.says(REFUSED);
    await assert.rejects(read(source), REFUSED);
  });

  it('a report for which nobody was asked does not make up for a failure', async () => {
    const [a, kept] = [fakePart('a'), fakePart('kept')];
    kept.says({ machine: { hs06: text('1') } });
    const source = sourceOf([a, kept]);
    await read(source);
    a.says(REFUSED);
    kept.says({ machine: { hs06: text('1') }, unasked: true });
    await assert.rejects(read(source), REFUSED);
    a.says({});
    assert.equal((await read(source)).notices?.byId['@a']?.is, 'negative');
  });

  it('a source that asks nobody any more is well', async () => {
    const part = fakePart('drive', { everyMs: 'once' });
    const source = sourceOf([part], { poll: 'once' });
    part.says({ machine: { hs06: text('1') } });
    await read(source);
    assert.deepEqual(await read(source), {});
  });

  it('tells the host’s clock as it is when it is told, not when it was read', async () => {
    const [a, slow] = [fakePart('a'), fakePart('slow', { everyMs: MINUTE })];
    slow.says({ hostNowMs: 5_000 }, 300);
    const source = sourceOf([a, slow]);
    await read(source);
    await pass(900);
    const toldMs = Date.now();
    assert.equal((await read(source)).hostNowMs, 5_000 + toldMs - START_MS - 300);
  });
});

describe('parts in their own rhythms', () => {
  it('a hanging part never delays another', async () => {
    const [fast, dead] = [fakePart('fast'), fakePart('dead')];
    dead.says(HANGS);
    world([fast, dead], { timeoutMs: 5_000 });
    await pass(10_500);
    const gaps = fast.times().map((at, index, all) => at - (all[index - 1] ?? at));
    assert.ok(fast.times().length >= 9, `${fast.times()}`);
    assert.ok(Math.max(...gaps) <= 1_200, `${gaps}`);
    assert.ok(dead.asked.length <= 3);
  });

  it('not even the one that is due while the reading waits for it', async () => {
    const [dead, slow] = [fakePart('dead'), fakePart('slow', { everyMs: 7 * SECOND })];
    const { heart } = world([dead, slow], { timeoutMs: 5_000 });
    await pass(3_000);
    dead.says(HANGS);
    slow.says({ notices: { late: notice(LATER) } });
    await pass(4_600);
    assert.deepEqual(slow.times(), [0, 7_000]);
    assert.deepEqual(heart.noticeIds(), ['test/late']);
  });

  it('a part that fails at once is asked again while another hangs', async () => {
    const [dead, burst] = [fakePart('dead'), fakePart('burst')];
    dead.says(HANGS);
    burst.says(HTTP_500);
    const { heart } = world([dead, burst], { timeoutMs: 5_000 });
    await pass(500);
    burst.says({ notices: { spot: notice(LATER) } });
    await pass(1_500);
    assert.deepEqual(heart.noticeIds(), ['test/spot']);
  });

  it('a late answer is handed over at once, by a reading that asks nobody', async () => {
    const [fast, slow] = [fakePart('fast'), fakePart('slow', { everyMs: MINUTE })];
    slow.says({ notices: { spot: notice(LATER) } }, 400);
    const { heart, answers } = world([fast, slow]);
    await pass(390);
    assert.deepEqual(heart.noticeIds(), []);
    await pass(40);
    assert.deepEqual(heart.noticeIds(), ['test/spot']);
    assert.deepEqual([fast.asked.length, slow.asked.length, answers().length], [1, 1, 2]);
  });

  it('and does not put off what is due', async () => {
    const [fast, slow] = [fakePart('fast'), fakePart('slow')];
    slow.says({}, 450);
    world([fast, slow]);
    await pass(10_400);
    assert.ok(fast.asked.length >= 9, `${fast.times()}`);
  });

  it('also one that came before anybody wanted to be told', async () => {
    const [fast, slow] = [fakePart('fast'), fakePart('slow', { everyMs: MINUTE })];
    slow.says({ notices: { spot: notice(LATER) } }, 400);
    const source = sourceOf([fast, slow]);
    await read(source);
    await pass(400);
    const changed = mock.fn<(fresh?: boolean) => void>();
    source.watch?.(changed, NEVER_ABORTED);
    assert.deepEqual(
      changed.mock.calls.map(({ arguments: given }) => given),
      [[false]],
    );
  });

  it('a confirmation that falls together with it asks all the same', async () => {
    const [fast, slow] = [fakePart('fast', { everyMs: MINUTE }), fakePart('slow', { everyMs: MINUTE })];
    slow.says({}, 400);
    const { driver } = world([fast, slow], { poll: MINUTE });
    await pass(390);
    const before = fast.asked.length;
    const confirmed = driver.pollNow(true);
    await pass(20);
    await confirmed;
    assert.equal(fast.asked.length, before + 1);
    assert.equal(lastOf(fast.asked).context.fresh, true);
  });

  it('slow parts are asked when they are due, with those that are asked always', async () => {
    const [fast, slow] = [fakePart('fast'), fakePart('slow', { everyMs: 5_000 })];
    world([fast, slow]);
    await pass(16_000);
    assert.ok(slow.asked.length >= 3 && slow.asked.length <= 4, `${slow.times()}`);
  });

  it('what failed is tried again sooner, ever more slowly, and then as ever', async () => {
    const [fast, slow] = [fakePart('fast'), fakePart('slow', { everyMs: 20 * SECOND })];
    slow.says(HTTP_500);
    world([fast, slow]);
    await pass(45_000);
    const gaps = slow.times().map((at, index, all) => Math.round((at - (all[index - 1] ?? at)) / SECOND));
    assert.deepEqual(
      gaps.slice(0, 5),
      [0, 2, 4, 8, 16].map((secs, index) => gaps[index] ?? secs),
    );
    assert.ok(slow.asked.length >= 5 && slow.asked.length <= 7, `${gaps}`);
    slow.says({});
    await pass(21_000);
    const well = slow.asked.length;
    await pass(16_000);
    assert.ok(slow.asked.length - well <= 1);
  });

  it('also where the source itself is hardly ever read', async () => {
    const [fine, late] = [fakePart('fine', { everyMs: MINUTE }), fakePart('late', { everyMs: MINUTE })];
    late.says(REFUSED);
    const made = world([fine, late], { poll: MINUTE });
    await pass(1_000);
    assertState(made, 'ok', null, 'notice/@late');
    late.says({ notices: { spot: notice(LATER) } });
    await pass(2_000);
    assert.deepEqual(made.heart.noticeIds(), ['test/spot']);
    assertState(made, 'ok', null);
  });

  it('by a cron expression parts of interval 0 are asked at every reading, others when they are due', async () => {
    const [each, hourly] = [fakePart('each', { everyMs: 0 }), fakePart('hourly', { everyMs: 60 * MINUTE })];
    const source = sourceOf([each, hourly], { poll: { cron: '* * * * *' } });
    for (let n = 0; n < 3; n += 1) await read(source);
    assert.deepEqual([each.asked.length, hourly.asked.length], [3, 1]);
  });

  it('and a failing one has no rhythm of its own once it has been heard: the site has said when', async () => {
    const part = fakePart('each', { everyMs: 0 });
    world([part], { poll: { cron: '0 0 1 1 *' } });
    await pass(100);
    part.says(REFUSED);
    await worlds[0]?.driver.pollNow();
    await pass(120_000, 1_000);
    assert.equal(part.asked.length, 2);
  });

  it('what does not end when it is told to is given up, not asked beside itself, and asked again when it has ended', async () => {
    const [fast, deaf] = [fakePart('fast'), fakePart('deaf')];
    deaf.says(DEAF);
    const made = world([fast, deaf]);
    await pass(20_000, 50);
    assert.equal(deaf.asked.length, 1);
    assert.ok(fast.asked.length >= 18);
    assertState(made, 'ok', null, 'notice/@deaf');
  });
});

describe('once', () => {
  it('is asked until it has answered, ever more slowly, and never again', async () => {
    const [fast, once] = [fakePart('fast'), fakePart('once', { everyMs: 'once' })];
    once.says(HTTP_500);
    const { driver } = world([fast, once]);
    await pass(15_500);
    assertDoubling(once, 4);
    once.says({ machine: { hs06: text('3') } });
    await pass(20_000);
    const asked = once.asked.length;
    assert.equal(asked, 5);
    void driver.pollNow(true);
    await pass(70_000, 50);
    assert.equal(once.asked.length, asked);
  });

  it('not even a confirmation asks it before its time', async () => {
    const [fast, once] = [fakePart('fast'), fakePart('once', { everyMs: 'once' })];
    once.says(HTTP_500);
    const { driver } = world([fast, once]);
    await pass(3_000);
    const asked = once.asked.length;
    for (let n = 0; n < 5; n += 1) {
      void driver.pollNow(true);
      await pass(100);
    }
    assert.equal(once.asked.length, asked);
    assert.ok(fast.asked.length >= 5);
  });

  it('also as the only kind of part', async () => {
    const once = fakePart('once', { everyMs: 'once' });
    once.says(REFUSED);
    const made = world([once], { poll: 'once' });
    await pass(1_000);
    once.says({ machine: { hs06: text('3') } });
    await pass(10_000);
    assert.equal(made.heart.machine('hs06'), '3');
    assertState(made, 'ok', null);
  });

  it('where it says that something is not there, that is confirmed without asking', async () => {
    const [fast, once] = [fakePart('fast'), fakePart('once', { everyMs: 'once' })];
    once.says({ machine: { hs06: ABSENT }, derived: { machine: { termination_allowed: ABSENT } } });
    const made = world([fast, once]);
    // From before a restart of the agent.
    made.heart.says('test', { machine: { channel: 'test', complete: false, keys: { hs06: '3' } } });
    await pass(6_000);
    assert.equal(made.heart.machine('hs06'), undefined);
    assert.equal(once.asked.length, 1);
    const confirmed = made.observations.length;
    await pass(5_000);
    assert.ok(made.observations.length - confirmed <= 6, 'and nobody goes on asking');
  });
});

describe('failures', () => {
  const seen = (...parts: readonly FakePart[]) => {
    const [a, b] = parts;
    a?.says({ notices: { a: notice(LATER) }, machine: { hs06: text('1') }, job: { job_id: text('x') } });
    b?.says({ notices: { b: notice(LATER + MINUTE) }, machine: { total_cpu: text('8') } });
  };

  it('one part’s failure makes its own ids and keys unknown and nothing else, until it recovers', async () => {
    const [a, b] = [fakePart('a'), fakePart('b')];
    seen(a, b);
    const made = world([a, b]);
    await pass(100);
    a.says(HTTP_500);
    await pass(1_000);
    assertState(made, 'ok', null, 'machine/hs06', 'job/job_id', 'notice/a', 'notice/@a');
    assert.deepEqual(made.heart.noticeIds(), ['test/a', 'test/b']);
    assert.deepEqual([made.heart.machine('hs06'), made.heart.machine('total_cpu')], ['1', '8']);
    // What it does not mention when it is well again is as it was.
    a.says({});
    await pass(1_100);
    assertState(made, 'ok', null);
    assert.deepEqual(made.heart.noticeIds(), ['test/a', 'test/b']);
  });

  it('absences before and after a failure are no absences running (S1.6)', async () => {
    const [a, b] = [fakePart('a'), fakePart('b')];
    seen(a, b);
    const made = world([a, b]);
    await pass(100);
    for (let turn = 0; turn < 6; turn += 1) {
      a.says({ notices: { a: ABSENT } });
      await pass(1_500);
      a.says(HTTP_500);
      await pass(1_500);
    }
    assert.deepEqual(made.heart.noticeIds(), ['test/a', 'test/b']);
  });

  it('what was good before the failure is news all the same', async () => {
    const [fast, pushing] = [fakePart('fast'), fakePart('pushing', { pushes: true, everyMs: MINUTE })];
    const source = sourceOf([fast, pushing]);
    source.watch?.(() => undefined, NEVER_ABORTED);
    await read(source);
    pushing.push({ notices: { spot: notice(LATER) } });
    pushing.says(HTTP_500);
    const answer = await read(source, { fresh: true });
    assert.deepEqual(answer.notices?.byId, {
      spot: notice(LATER),
      '@fast': NEGATIVE,
      '@pushing': unknown('http_500'),
    });
    source.close?.();
  });

  it('a platform of which every part fails late is dead, and stale in its time', async () => {
    const [a, b] = [fakePart('a', { everyMs: 2_000 }), fakePart('b', { everyMs: MINUTE })];
    seen(a, b);
    const made = world([a, b], { poll: 2_000, timeoutMs: 5_000 });
    await pass(5_000);
    a.says(HANGS);
    b.says(HANGS);
    const diedMs = Date.now();
    await pass(8_000);
    assertState(made, 'failed', 'timeout');
    const before = made.observations.length;
    await pass(115_000, 50);
    assert.ok(made.observations.slice(before).every(({ outcome }) => outcome === 'failed'));
    made.heart.pass(30 * SECOND - Math.min(30 * SECOND, Date.now() - diedMs));
    assert.equal(made.heart.sourceState('test')?.state, 'stale');
    assert.deepEqual(made.heart.noticeIds(), ['test/a', 'test/b']);
  });

  it('and is asked no more often than the driver thinks right', async () => {
    const part = fakePart('a');
    part.says(REFUSED);
    world([part]);
    await pass(60_000, 50);
    assert.ok(part.asked.length <= 25, `${part.times()}`);
    assert.ok(part.asked.length >= 15, `${part.times()}`);
  });

  it('and alive at once when it is', async () => {
    const [a, b] = [fakePart('a'), fakePart('b', { everyMs: MINUTE })];
    a.says(REFUSED);
    b.says(REFUSED);
    const made = world([a, b]);
    await pass(3_000);
    assertState(made, 'failed', 'refused');
    seen(a, b);
    await pass(10_000);
    assertState(made, 'ok', null);
    assert.deepEqual(made.heart.noticeIds(), ['test/a', 'test/b']);
  });

  it('while the leading part is dead the source fails all along, and what slow parts bring counts', async () => {
    const [fast, slow] = [fakePart('fast'), fakePart('slow', { everyMs: 5_000 })];
    seen(fast, slow);
    const made = world([fast, slow]);
    await pass(500);
    fast.says(HTTP_500);
    await pass(1_000);
    const before = made.observations.length;
    slow.says({ machine: { total_cpu: text('4') }, notices: { b: NEGATIVE } });
    await pass(12_000);
    assert.ok(made.observations.slice(before).every(({ outcome }) => outcome === 'failed'));
    assert.equal(made.heart.machine('total_cpu'), '4');
    assert.deepEqual(made.heart.noticeIds(), ['test/a']);
    const state = made.heart.sourceState('test');
    assert.deepEqual([state?.state, state?.error, state?.faults['notice/@fast']], ['failed', 'http_500', 'http_500']);
    made.heart.pass(30 * SECOND);
    assert.equal(made.heart.sourceState('test')?.state, 'stale');
  });

  it('while a slow part is dead the source is fresh and says what is wrong, all along', async () => {
    const [fast, slow] = [fakePart('fast'), fakePart('slow', { everyMs: 30 * SECOND })];
    slow.says(HANGS);
    const made = world([fast, slow]);
    await pass(1_500);
    const before = made.observations.length;
    await pass(65_000, 50);
    assert.ok(made.observations.slice(before).every(({ outcome }) => outcome === 'answer'));
    assertState(made, 'ok', null, 'notice/@slow');
    assert.equal(made.heart.sourceState('test')?.faults['notice/@slow'], 'timeout');
  });

  it('one good leading part of two is enough, and it is asked where the other failed', async () => {
    const [a, b] = [fakePart('a'), fakePart('b', { pushes: true, everyMs: MINUTE })];
    const made = world([a, b]);
    await pass(100);
    a.says(HTTP_500);
    await pass(10_000);
    assertState(made, 'ok', null, 'notice/@a');
    assert.ok(b.asked.length >= 5);
  });
});

describe('following', () => {
  const pushingParts = () => [
    fakePart('fast', { everyMs: 10_000 }),
    fakePart('push', { pushes: true, everyMs: MINUTE }),
  ];
  const start = async () => {
    const [fast, push] = pushingParts() as [FakePart, FakePart];
    const made = world([fast, push], { poll: 10_000 });
    await pass(100);
    return { ...made, made, fast, push };
  };

  it('hands over each report at once', async () => {
    const { heart, push, fast } = await start();
    push.push({ notices: { spot: notice(LATER) } });
    await pass(30);
    assert.deepEqual(heart.noticeIds(), ['test/spot']);
    push.push({ notices: { spot: NEGATIVE } });
    await pass(30);
    assert.deepEqual(heart.noticeIds(), []);
    assert.equal(fast.asked.length, 1);
  });

  it('even while the reading waits for a part that hangs', async () => {
    const { heart, push, fast } = await start();
    fast.says(HANGS);
    await pass(9_950);
    push.push({ notices: { spot: notice(LATER) } });
    await pass(130);
    assert.deepEqual(heart.noticeIds(), ['test/spot']);
  });

  it('`read` is asked when nothing has come for its interval, and not before', async () => {
    const { push } = await start();
    for (let n = 0; n < 12; n += 1) {
      await pass(10_000, 50);
      push.push({});
    }
    assert.equal(push.asked.length, 1);
    await pass(75_000, 50);
    assert.equal(push.asked.length, 2);
  });

  it('an Error makes `read` due: where that is well, nothing has happened', async () => {
    const { made, push } = await start();
    await pass(5_000);
    push.push(HTTP_500);
    await pass(100);
    assert.equal(push.asked.length, 2);
    assertState(made, 'ok', null);
    for (let n = 0; n < 100; n += 1) {
      push.push(HTTP_500);
      await pass(100);
    }
    assert.ok(push.asked.length <= 8, `${push.times()}`);
    assert.ok(push.asked.length >= 5, `${push.times()}`);
  });

  it('where `read` fails too, the part does, long before its interval is over', async () => {
    const { made, push } = await start();
    push.says(REFUSED);
    push.push(HTTP_500);
    await pass(2_100);
    assertState(made, 'ok', null, 'notice/@push');
    assert.equal(made.heart.sourceState('test')?.faults['notice/@push'], 'refused');
  });

  it('what it brings is newer than the answer to a question that was asked before', async () => {
    const { heart, push, driver } = await start();
    push.says({ notices: { spot: NEGATIVE } }, 300);
    void driver.pollNow(true);
    await pass(100);
    push.push({ notices: { spot: notice(LATER) } });
    await pass(1_000);
    assert.deepEqual(heart.noticeIds(), ['test/spot']);
  });

  it('one that breaks is begun anew', async () => {
    const { push, heart } = await start();
    push.breakFollow(new Error('oh'));
    await pass(2_500);
    assert.equal(push.followed.length, 2);
    push.push({ notices: { spot: notice(LATER) } });
    await pass(30);
    assert.deepEqual(heart.noticeIds(), ['test/spot']);
  });

  it('one that throws at once does not keep the others from following', async () => {
    const broken: Part = {
      ...fakePart('broken'),
      follow() {
        throw new Error('oh');
      },
    };
    const push = fakePart('push', { pushes: true });
    world([broken, push]);
    await pass(100);
    assert.equal(push.followed.length, 1);
  });

  it('S1.6: its absence is confirmed by asking each second', async () => {
    const { heart, push } = await start();
    push.push({ notices: { spot: notice(LATER) } });
    await pass(100);
    push.says({ notices: { spot: ABSENT } });
    push.push({ notices: { spot: ABSENT } });
    await pass(2_500);
    assert.deepEqual(heart.noticeIds(), ['test/spot']);
    await pass(2_000);
    assert.deepEqual(heart.noticeIds(), []);
  });
});

describe('confirming an absence (S1.6)', () => {
  it('a notice whose part is asked each minute is cleared seconds after it was first missed', async () => {
    const [fast, slow] = [fakePart('fast'), fakePart('slow', { everyMs: MINUTE })];
    slow.says({ notices: { event: notice(LATER) } });
    const { heart } = world([fast, slow]);
    await pass(1_000);
    slow.says({ notices: { event: ABSENT } });
    while (slow.asked.length < 2) await pass(100);
    assert.ok(lastOf(slow.times()) > 50 * SECOND);
    await pass(2_800);
    assert.deepEqual(heart.noticeIds(), ['test/event']);
    await pass(1_400);
    assert.deepEqual(heart.noticeIds(), []);
    const asked = slow.asked.length;
    await pass(10_000);
    assert.equal(slow.asked.length, asked, 'and then as rarely as before');
  });

  it('a dead part beside it does not hold that up', async () => {
    const [fast, dead] = [fakePart('fast'), fakePart('dead')];
    fast.says({ notices: { event: notice(LATER) } });
    const { heart } = world([fast, dead], { timeoutMs: 5_000 });
    await pass(1_000);
    dead.says(HANGS);
    fast.says({ notices: { event: ABSENT } });
    await pass(6_500);
    assert.deepEqual(heart.noticeIds(), []);
  });

  it('an explicit "no" that was followed by mere absence before the heart heard of it still clears at once', async () => {
    const [fast, push] = [fakePart('fast', { everyMs: MINUTE }), fakePart('push', { pushes: true, everyMs: MINUTE })];
    const { heart } = world([fast, push], { poll: MINUTE });
    push.push({ notices: { spot: notice(LATER) } });
    await pass(100);
    push.push({ notices: { spot: NEGATIVE } });
    push.push({ notices: { spot: ABSENT } });
    await pass(100);
    assert.deepEqual(heart.noticeIds(), []);
  });
});

describe('one name from several parts', () => {
  const both = (first: object, second: object, options = {}) => {
    const [a, b] = [fakePart('a', options), fakePart('b', { everyMs: MINUTE })];
    a.says(first);
    b.says(second);
    return { a, b, source: sourceOf([a, b]) };
  };

  it('a notice is there if one of them says so, however often the other does not see it', async () => {
    const { a, source } = both({ notices: { spot: ABSENT } }, { notices: { spot: notice(LATER) } });
    for (let n = 0; n < 3; n += 1) assert.deepEqual(ids(await read(source)), { spot: notice(LATER) });
    a.says({ notices: { spot: NEGATIVE } });
    assert.deepEqual(ids(await read(source)), { spot: notice(LATER) });
  });

  it('the earlier of two times counts, and a time before none', async () => {
    const { a, source } = both({ notices: { spot: notice(LATER) } }, { notices: { spot: notice(LATER - MINUTE) } });
    assert.deepEqual(ids(await read(source)), { spot: notice(LATER - MINUTE) });
    a.says({ notices: { spot: notice(null) } });
    assert.deepEqual(ids(await read(source)), { spot: notice(LATER - MINUTE) });
  });

  it('it is absent when neither sees it, and denied only by who has just denied it', async () => {
    const { a, b, source } = both({ notices: { spot: NEGATIVE } }, { notices: { spot: notice(LATER) } });
    await read(source);
    b.says({ notices: { spot: ABSENT } });
    assert.deepEqual(ids(await read(source, { fresh: true })), { spot: NEGATIVE });
    a.says({});
    b.says({ notices: { spot: notice(LATER) } });
    await read(source, { fresh: true });
    b.says({ notices: { spot: ABSENT } });
    assert.deepEqual(ids(await read(source, { fresh: true })), { spot: ABSENT }, 'the denial was before that');
  });

  it('it is unknown while one that may know of it fails', async () => {
    const { a, b, source } = both({}, { notices: { spot: ABSENT } }, { speaksFor: ['spot'] });
    a.says(HTTP_500);
    assert.deepEqual(ids(await read(source)), { spot: unknown('http_500') });
    b.says({ notices: { spot: notice(LATER) } });
    assert.deepEqual(ids(await read(source, { fresh: true })), { spot: notice(LATER) });
  });

  it('of keys and pointers the first part’s count', async () => {
    const { source } = both(
      { machine: { hs06: text('1') }, pointers: { machinefeatures: '/a', jobfeatures: '/a' } },
      { machine: { hs06: text('2'), total_cpu: text('8') }, pointers: { machinefeatures: '/b', joboutputs: '/b' } },
    );
    const answer = await read(source);
    assert.deepEqual(answer.machine?.keys, { hs06: text('1'), total_cpu: text('8') });
    assert.deepEqual(answer.pointers, { machinefeatures: '/a', jobfeatures: '/a', joboutputs: '/b' });
  });
});

describe('what is not mentioned', () => {
  it('is left as it is, or is absent or denied where the part has looked through all there is', async () => {
    const part = fakePart('list');
    const source = sourceOf([part]);
    part.says({ notices: { a: notice(LATER), b: notice(LATER) }, machine: { hs06: text('1') } });
    await read(source);
    part.says({ notices: { a: notice(LATER) } });
    assert.deepEqual(ids(await read(source)), { a: notice(LATER) });
    part.says({ notices: { a: notice(LATER) }, others: 'absent' });
    const answer = await read(source);
    assert.deepEqual(ids(answer), { a: notice(LATER), b: ABSENT });
    assert.deepEqual(answer.machine?.keys, { hs06: ABSENT });
    part.says({ others: 'negative' });
    assert.deepEqual(ids(await read(source)), { a: NEGATIVE, b: NEGATIVE });
  });

  const restarted = async (parts: readonly Part[]) => {
    const made = world(parts);
    made.heart.says('test', {
      complete: false,
      notices: { before: notice(LATER), spot: notice(LATER + MINUTE) },
      machine: { channel: 'test', complete: false, keys: { hs06: '1' } },
    });
    await pass(100);
    return made;
  };

  it('what was cancelled while the agent was down is cleared, and nothing of which another part may know', async () => {
    const [list, spot] = [fakePart('list', { everyMs: 30 * SECOND }), fakePart('spot', { speaksFor: ['spot'] })];
    list.says({ others: 'absent' });
    const { heart } = await restarted([list, spot]);
    await pass(5_000);
    assert.deepEqual(heart.noticeIds(), ['test/spot']);
    assert.equal(heart.machine('hs06'), undefined);
  });

  it('but not before every other part has been heard', async () => {
    const [list, other] = [fakePart('list', { everyMs: 30 * SECOND }), fakePart('other')];
    list.says({ others: 'absent' });
    other.says(HTTP_500);
    const { heart } = await restarted([list, other]);
    await pass(20_000, 50);
    assert.deepEqual(heart.noticeIds(), ['test/before', 'test/spot']);
    other.says({ notices: { spot: notice(LATER + MINUTE) } });
    await pass(30_000, 50);
    assert.deepEqual(heart.noticeIds(), ['test/spot']);
  });

  it('and not by one list that is told again and again', async () => {
    const [list, other] = [fakePart('list', { everyMs: 30 * SECOND }), fakePart('other', { speaksFor: ['spot'] })];
    list.says({ others: 'absent' });
    const { heart } = await restarted([list, other]);
    list.says(HANGS);
    await pass(10_000);
    assert.deepEqual(heart.noticeIds(), ['test/before', 'test/spot']);
  });

  it('unless the part alone speaks of such things', async () => {
    const [list, other] = [fakePart('list'), fakePart('other', { speaksFor: ['spot'] })];
    list.says({ others: 'absent', whole: ['notices'] });
    other.says(HTTP_500);
    const { heart } = await restarted([list, other]);
    await pass(6_000);
    assert.deepEqual(heart.noticeIds(), ['test/spot']);
    assert.equal(heart.machine('hs06'), '1');
  });

  it('a list that fails clears nothing', async () => {
    const list = fakePart('list');
    list.says({ notices: { before: notice(LATER), spot: notice(LATER) }, others: 'negative', whole: ['notices'] });
    const { heart } = await restarted([list]);
    list.says(HTTP_500);
    await pass(10_000);
    assert.deepEqual(heart.noticeIds(), ['test/before', 'test/spot']);
  });

  it('a host that invents ids fills no memory, and each of them is cleared', async () => {
    const part = fakePart('list');
    const { heart, answers } = world([part]);
    for (let n = 0; n < 700; n += 1) {
      part.says({ notices: { [`id-${n}`]: notice(LATER) }, others: 'negative' });
      await worlds[0]?.driver.pollNow();
      mock.timers.tick(5);
    }
    assert.deepEqual(heart.noticeIds(), ['test/id-699']);
    assert.ok(Object.keys(lastOf(answers()).notices?.byId ?? {}).length < 600);
    part.says({ notices: Object.fromEntries(Array.from({ length: 600 }, (_, n) => [`many-${n}`, notice(LATER)])) });
    await worlds[0]?.driver.pollNow();
    part.says({ others: 'negative' });
    await worlds[0]?.driver.pollNow();
    assert.deepEqual(heart.noticeIds(), []);
  });

  it('ids that are traps as names of properties are ids like any other', async () => {
    const part = fakePart('list');
    const given = Object.fromEntries(['constructor', '__proto__', 'toString'].map((id) => [id, notice(LATER)]));
    part.says({ notices: given, machine: Object.fromEntries([['__proto__', text('1')]]) });
    const { heart } = world([part]);
    await pass(100);
    assert.deepEqual(heart.noticeIds()?.toSorted(), ['test/__proto__', 'test/constructor', 'test/toString']);
    part.says({ others: 'negative' });
    await pass(1_100);
    assert.deepEqual(heart.noticeIds(), []);
  });
});

describe('stopping', () => {
  it('ends what was asked, also by a reading that is over, and what follows; nothing is said afterwards', async () => {
    const [fast, hanging] = [fakePart('fast'), fakePart('hanging')];
    const push = fakePart('push', { pushes: true });
    hanging.says(HANGS);
    const close = mock.fn();
    const made = world([fast, hanging, push], { timeoutMs: 5_000, close });
    await pass(200);
    assert.equal(made.observations.length, 1, 'the reading is over, the question is not');
    made.driver.stop();
    await settle();
    assert.equal(hanging.asked[0]?.context.signal.aborted, true);
    assert.equal(push.followed[0]?.signal.aborted, true);
    assert.equal(close.mock.callCount(), 1);
    push.push({ notices: { spot: notice(LATER) } });
    await pass(70_000, 500);
    assert.equal(made.observations.length, 1);
    assert.deepEqual([fast.asked.length, hanging.asked.length, push.followed.length], [1, 1, 1]);
  });

  it('in the middle of a reading ends that', async () => {
    const part = fakePart('hanging');
    part.says(HANGS);
    const source = sourceOf([part]);
    const reading = source.read({ signal: NEVER_ABORTED, fresh: false });
    await settle();
    source.close?.();
    await assert.rejects(reading, SourceError);
    assert.equal(part.asked[0]?.context.signal.aborted, true);
  });
});
