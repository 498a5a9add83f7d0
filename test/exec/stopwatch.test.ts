import assert from 'node:assert/strict';
import test from 'node:test';
import { startStopwatch } from '../../agent/exec/stopwatch.ts';

test('time that the machine slept counts, time that somebody set does not, and boot time’s whole seconds make no jitter', () => {
  let [wall, mono, bootMs] = [1_766_440_000_000, 50_000.5, 60_000];
  const ran = startStopwatch({ now: () => ({ wall, mono }), bootMs: () => bootMs });
  assert.equal(ran(), 0);
  [wall, mono, bootMs] = [wall + 3_600_000, mono + 1_250, bootMs + 2_000];
  assert.equal(ran(), 1_250);
  [mono, bootMs] = [mono + 750, bootMs + 600_000];
  assert.equal(ran(), 602_000);
});
