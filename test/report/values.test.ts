/** The answer as named values over the way back of a source: OneGate, guest attributes, guestinfo. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { openGuestAttributes } from '../../agent/report/gce.ts';
import { openOneGate } from '../../agent/report/onegate.ts';
import type { Reporter } from '../../agent/report/reporter.ts';
import { openGuestInfo } from '../../agent/report/vmware.ts';
import { eventsOf, newsOf, quiet, surroundings, type Told, turnTime } from './fake-back.ts';

const NOTHING = {
  shutdown_message: null,
  can_terminate: null,
  can_terminate_at: null,
  must_not_terminate_until: null,
  progress: null,
  phase: null,
};
const HTTP_500 = { code: 'http_500', final: false };
const HTTP_403 = { code: 'http_403', final: false };
const WORD = { code: 300, text: 'no more work' };

function open(t: TestContext) {
  const time = turnTime(t);
  const around = surroundings();
  const reporter = openOneGate(around.environment);
  t.after(async () => {
    around.fake.answer = null;
    const closed = reporter.close();
    await time.pass(2_000);
    await closed;
  });
  const tell = (told: Told): Promise<void> => {
    reporter.update(newsOf({ sources: { opennebula: 'ok' }, ...told }));
    return quiet();
  };
  return { ...around, ...time, reporter, tell, last: () => around.fake.heard.at(-1)?.values };
}

for (const [name, source, make] of [
  ['onegate', 'opennebula', openOneGate],
  ['gce', 'gce', openGuestAttributes],
  ['vmware', 'vmware', openGuestInfo],
] as const) {
  test(`${name} speaks over the source ${source}, and only while that is there`, async (t) => {
    const { fake, environment, counted } = surroundings();
    const reporter: Reporter = make(environment);
    t.after(() => reporter.close());
    assert.equal(reporter.name, name);
    reporter.update(newsOf({ answer: { now: true }, sources: { [source]: 'absent', other: 'ok' } }));
    await quiet();
    assert.deepEqual([fake.heard, reporter.pending()], [[], 0]);
    reporter.update(newsOf({ answer: { now: true }, sources: { [source]: 'failed' } }));
    await fake.hears(1);
    assert.deepEqual(fake.heard, [{ source, values: { ...NOTHING, can_terminate: '1', phase: 'running' } }]);
    await quiet();
    assert.deepEqual(counted, [`${name} delivered`]);
  });
}

test('all there is to say, the last word among it; what holds no more is taken away', async (t) => {
  const { tell, last, pass } = open(t);
  await tell({ answer: { atMs: 1_766_439_000_001, mustNotUntilMs: 1_766_439_000_000, progress: 0.25 } });
  assert.deepEqual(last(), {
    shutdown_message: null,
    can_terminate: '0',
    can_terminate_at: '1766439001',
    must_not_terminate_until: '1766439000',
    progress: '0.25',
    phase: 'running',
  });
  await tell({ answer: { now: true }, phase: 'stopped' });
  await pass(5_000);
  assert.deepEqual(last(), { ...NOTHING, can_terminate: '1', phase: 'stopped' });
  await tell({ answer: { now: true }, phase: 'stopped', lastWord: { code: 200, text: '' } });
  assert.equal(last()?.['shutdown_message'], '200');
});

test('nothing is sent while nothing changes, and after a start once, although nothing holds', async (t) => {
  const { fake, tell, last, pass, lines } = open(t);
  await tell({});
  await tell({ phase: 'draining' });
  await pass(600_000);
  assert.deepEqual([fake.heard.length, last()], [1, NOTHING]);
  await tell({ answer: { now: true } });
  for (let i = 0; i < 5; i += 1) await tell({ answer: { now: true } });
  await pass(600_000);
  assert.equal(fake.heard.length, 2);
  assert.deepEqual(eventsOf(lines()), []);
});

test('what changes often is said every five seconds, the newest; the last word at once', async (t) => {
  const { fake, tell, last, pass, reporter } = open(t);
  await tell({ answer: { progress: 0.1 } });
  await tell({ answer: { progress: 0.2 } });
  await tell({ answer: { progress: 0.3 } });
  assert.deepEqual([fake.heard.length, reporter.pending(), reporter.owesLastWord()], [1, 1, false]);
  await pass(5_000);
  assert.deepEqual([fake.heard.length, last()?.['progress'], reporter.pending()], [2, '0.3', 0]);
  await tell({ answer: { now: true }, lastWord: WORD });
  assert.equal(last()?.['shutdown_message'], '300 no more work');
  assert.deepEqual([fake.heard.length, reporter.owesLastWord()], [3, false]);
});

test('a host that fails is told again, with growing pauses, but for the last word; recovery is told', async (t) => {
  const { fake, tell, pass, lines, reporter, counted } = open(t);
  fake.answer = HTTP_500;
  await tell({ answer: { now: false } });
  assert.deepEqual([reporter.pending(), reporter.owesLastWord()], [1, false]);
  for (let minute = 0; minute < 30; minute += 1) await pass(60_000);
  const tries = fake.heard.length;
  assert.ok(tries > 20 && tries <= 40, `${tries}`);
  await tell({ answer: { now: true }, lastWord: WORD });
  assert.equal(reporter.owesLastWord(), true);
  for (let second = 0; second < 20; second += 1) await pass(1_000);
  assert.ok(fake.heard.length >= tries + 8, 'the machine waits: every two seconds at the longest');
  fake.answer = null;
  await pass(2_000);
  assert.deepEqual([reporter.pending(), reporter.owesLastWord()], [0, false]);
  assert.deepEqual(eventsOf(lines()), ['report_failed', 'report_recovered']);
  assert.equal(counted.at(-1), 'onegate delivered');
});

test('what the host refuses for good is dropped, and said again only when it is another', async (t) => {
  const { fake, tell, pass, lines, reporter, counted } = open(t);
  fake.answer = { code: 'http_400', final: true };
  for (let i = 0; i < 3; i += 1) await tell({ answer: { now: true } });
  await pass(600_000);
  assert.deepEqual([fake.heard.length, reporter.pending()], [1, 0]);
  assert.deepEqual(counted, ['onegate refused']);
  await tell({ answer: { now: false } });
  assert.equal(fake.heard.length, 2);
  assert.ok(eventsOf(lines()).every((event) => event === 'report_refused'));
});

test('a host without this way is told so once, tried at the next change alone, and owed nothing', async (t) => {
  const { fake, tell, pass, lines, reporter, counted } = open(t);
  // As the driver gives it: not final.
  fake.answer = { code: 'no_channel', final: false };
  for (let i = 0; i < 3; i += 1) await tell({ answer: { now: true } });
  await pass(600_000);
  assert.equal(fake.heard.length, 1);
  await tell({ answer: { now: true }, lastWord: WORD });
  assert.deepEqual([fake.heard.length, reporter.pending(), reporter.owesLastWord()], [2, 0, false]);
  assert.deepEqual(eventsOf(lines()), ['report_no_channel']);
  assert.deepEqual(counted, []);
});

test('taking away an old answer is tried quietly, a few times, and then no more', async (t) => {
  const { fake, tell, pass, lines, reporter, last } = open(t);
  fake.answer = HTTP_403;
  await tell({});
  assert.equal(reporter.pending(), 0);
  for (let minute = 0; minute < 60; minute += 1) await pass(60_000);
  assert.deepEqual([fake.heard.length, last()], [5, NOTHING]);
  assert.deepEqual(eventsOf(lines()), [], 'a site that restricts its machines is nobody here to be warned of');
  await tell({ answer: { now: true } });
  assert.deepEqual(eventsOf(lines()), ['report_failed'], 'an answer that does not arrive is');
});

test('an old answer that could not be taken away at first goes when the host is up', async (t) => {
  const { fake, tell, pass } = open(t);
  fake.answer = HTTP_500;
  await tell({});
  fake.answer = null;
  await pass(60_000);
  await pass(600_000);
  assert.equal(fake.heard.length, 2);
});

test('a tidying up that was not done does not overwrite the answer that has come since', async (t) => {
  const { fake, tell, pass, last } = open(t);
  fake.answer = HTTP_500;
  await tell({});
  fake.answer = null;
  await tell({ answer: { now: false } });
  await pass(60_000);
  await pass(60_000);
  assert.equal(last()?.['can_terminate'], '0');
});

test('a host that hangs holds nobody up; at the end it is let go and told of', async (t) => {
  const { fake, tell, reporter, lines, pass } = open(t);
  fake.answer = 'hang';
  await tell({ answer: { now: true }, lastWord: WORD });
  assert.deepEqual([reporter.owesLastWord(), reporter.pending()], [true, 1]);
  const closed = reporter.close();
  await pass(1_500);
  await closed;
  assert.deepEqual(eventsOf(lines()), ['report_lost']);
});

test('what nobody foresaw ends neither the agent nor the report', async (t) => {
  const { fake, tell, pass, lines, reporter } = open(t);
  fake.answer = new Error('a fault');
  await tell({ answer: { now: true } });
  fake.answer = null;
  await pass(2_000);
  assert.equal(reporter.pending(), 0);
  assert.deepEqual(eventsOf(lines()), ['internal', 'report_failed', 'report_recovered']);
});

test('when the source is gone, what waits is not said any more', async (t) => {
  const { fake, tell, pass, reporter } = open(t);
  fake.answer = HTTP_500;
  await tell({ answer: { now: true } });
  await tell({ answer: { now: true }, sources: {} });
  assert.equal(reporter.pending(), 0);
  await pass(600_000);
  assert.equal(fake.heard.length, 1);
});
