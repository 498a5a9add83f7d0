/** The end of a boot, as the guard announces it and as logind counts it where there is a guard. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createShutdownPicture } from '../../agent/sources/logind-shutdown.ts';
import { history, MINUTE, SECOND, START } from '../lifetime/history.ts';

test('S4.1 what the operator said of the end of this boot is over with it; a restart of the agent forgets nothing', () => {
  const h = history();
  const deadlineMs = START + 20 * MINUTE;
  h.operator('1', { kind: 'shutdown', deadlineMs, reason: 'the machine is going down', thisBoot: true });
  h.operator('2', { kind: 'drain', deadlineMs: null, reason: 'stays' });
  h.restart();
  assert.deepEqual(
    h.snapshot().notices.map(({ id }) => id),
    ['operator/1', 'operator/2'],
  );
  assert.equal(h.snapshot().deadlineMs, deadlineMs);
  h.restart({ reboot: true });
  assert.deepEqual(
    h.snapshot().notices.map(({ id }) => id),
    ['operator/2'],
  );
  assert.equal(h.snapshot().deadlineMs, null);
});

test('where a guard holds up the shutdown, the end comes so much later than logind alone would let it', () => {
  const picture = createShutdownPicture(
    () => START,
    () => 300 * SECOND,
  );
  picture.delayMaxIs(45_000_000);
  picture.announced(true);
  const reading = picture.reading();
  assert.equal(reading.is === 'present' && reading.value.deadlineMs, START + 345 * SECOND);
});
