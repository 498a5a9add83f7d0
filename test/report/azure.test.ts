/** When Azure is told that it may begin (S5.4), as far as the reporter decides it. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { openAzure } from '../../agent/report/azure.ts';
import { eventsOf, newsOf, quiet, surroundings, type Told, turnTime } from './fake-back.ts';

const OWN = { id: 'azure/E1', awaits: 'own' } as const;
const SHARED = { id: 'azure/E2', awaits: 'shared' } as const;

function open(t: TestContext, ackShared = false) {
  const time = turnTime(t);
  const around = surroundings();
  const reporter = openAzure({ ...around.environment, ackShared });
  t.after(async () => {
    around.fake.answer = null;
    const closed = reporter.close();
    await time.pass(2_000);
    await closed;
  });
  const tell = (told: Told): Promise<void> => {
    reporter.update(newsOf({ phase: 'stopped', ...told }));
    return quiet();
  };
  const acknowledged = () => around.fake.heard.map(({ event }) => event);
  return { ...around, ...time, reporter, tell, acknowledged };
}

test('an event that is released is acknowledged once, and it is told', async (t) => {
  const { tell, fake, lines, reporter, counted } = open(t);
  await tell({ notices: [OWN] });
  assert.deepEqual(fake.heard, []);
  for (let i = 0; i < 3; i += 1) await tell({ notices: [OWN], released: [OWN.id] });
  assert.deepEqual(fake.heard, [{ source: 'azure', event: 'E1' }]);
  assert.deepEqual([reporter.pending(), reporter.owesLastWord(), counted], [0, false, ['azure delivered']]);
  const [line] = lines();
  assert.deepEqual([line?.event, line?.['notice'], line?.level], ['acknowledged', 'azure/E1', 30]);
  await tell({ notices: [OWN] });
  await tell({ notices: [OWN], released: [OWN.id] });
  assert.equal(fake.heard.length, 1, 'once per event and start');
});

test('one that is about other machines, too, waits for its time, and why is told once', async (t) => {
  const { tell, acknowledged, lines } = open(t);
  for (let i = 0; i < 3; i += 1) await tell({ notices: [OWN, SHARED], released: [OWN.id, SHARED.id] });
  assert.deepEqual(acknowledged(), ['E1']);
  assert.deepEqual(eventsOf(lines()), ['ack_withheld', 'acknowledged']);
});

test('ack_shared = true acknowledges that as well', async (t) => {
  const { tell, acknowledged, lines } = open(t, true);
  await tell({ notices: [OWN, SHARED], released: [OWN.id, SHARED.id] });
  assert.deepEqual(acknowledged(), ['E1', 'E2']);
  assert.deepEqual(eventsOf(lines()), ['acknowledged', 'acknowledged']);
});

test('what does not wait, is no event of this platform, or not in the picture, is never acknowledged', async (t) => {
  const { tell, acknowledged } = open(t, true);
  const notices = [{ id: 'azure/E3' }, { id: 'ec2/azure/E4', awaits: 'own' as const }, OWN];
  await tell({ notices, released: ['azure/E3', 'ec2/azure/E4', 'azure/E9'] });
  assert.deepEqual(acknowledged(), []);
});

test('a platform that fails is told again while the event is released, and no longer', async (t) => {
  const { tell, fake, pass, reporter } = open(t);
  fake.answer = { code: 'http_500', final: false };
  await tell({ notices: [OWN], released: [OWN.id] });
  for (let second = 0; second < 30; second += 1) await pass(1_000);
  const tries = fake.heard.length;
  assert.ok(tries >= 12, `every two seconds at the longest, not ${tries} times in 30 s`);
  assert.equal(reporter.pending(), 1);
  // A payload has come.
  await tell({ notices: [OWN] });
  await pass(600_000);
  assert.deepEqual([fake.heard.length, reporter.pending()], [tries, 0]);
  fake.answer = null;
  await tell({ notices: [OWN], released: [OWN.id] });
  assert.equal(fake.heard.length, tries + 1);
});

test('an event that turns out to be about others before it was told is not told', async (t) => {
  const { tell, fake, pass } = open(t);
  fake.answer = { code: 'http_500', final: false };
  await tell({ notices: [OWN], released: [OWN.id] });
  await tell({ notices: [{ ...OWN, awaits: 'shared' }], released: [OWN.id] });
  await pass(600_000);
  assert.equal(fake.heard.length, 1);
});

test('one that is gone is no failure; one that is refused is dropped; neither is tried again', async (t) => {
  const { tell, fake, pass, lines, counted } = open(t);
  fake.answer = { code: 'gone', final: true };
  for (let i = 0; i < 3; i += 1) await tell({ notices: [OWN], released: [OWN.id] });
  assert.deepEqual([eventsOf(lines()), counted], [['ack_not_needed'], []]);
  fake.answer = { code: 'http_400', final: true };
  const other = { id: 'azure/E5', awaits: 'own' } as const;
  for (let i = 0; i < 3; i += 1) await tell({ notices: [OWN, other], released: [OWN.id, other.id] });
  await pass(600_000);
  assert.deepEqual([eventsOf(lines()), counted], [['report_refused'], ['azure refused']]);
  assert.equal(fake.heard.length, 2);
});

test('a platform that hangs is let go at the end', async (t) => {
  const { tell, fake, reporter, pass } = open(t);
  fake.answer = 'hang';
  await tell({ notices: [OWN], released: [OWN.id] });
  const closed = reporter.close();
  await pass(1_500);
  await closed;
  assert.equal(fake.heard.length, 1);
});
