import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isPoll, pollOf } from '../../agent/sources/poll.ts';

test('S7 an interval in ms, never below 200; a cron expression of five or six fields as it is', () => {
  assert.equal(pollOf('2s'), 2_000);
  assert.equal(pollOf('1ms'), 200);
  assert.deepEqual(pollOf(' */5 * * * * '), { cron: '*/5 * * * *' });
  assert.deepEqual(pollOf('*/3 * * * * *'), { cron: '*/3 * * * * *' });
});

test('anything else is neither, and says so', () => {
  for (const text of ['', 'soon', '* * * *', '5']) {
    assert.equal(isPoll(text), false, text);
    assert.throws(() => pollOf(text), RangeError, text);
  }
});
