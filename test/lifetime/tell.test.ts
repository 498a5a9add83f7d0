/** What the log is told, and what not again. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { tellChanges } from '../../agent/lifetime/tell.ts';
import type { Effect, Snapshot, SnapshotSource } from '../../agent/lifetime/types.ts';
import { NOON, snapshotOf } from '../support/snapshot.ts';

const events = (effects: readonly Effect[]) => effects.map((effect) => (effect.type === 'log' ? effect.event : ''));
const announced = snapshotOf({ machine: { shutdowntime: String(NOON / 1000 + 7200) } }).snapshot;
const quiet = snapshotOf({ machine: { total_cpu: '8' } }).snapshot;

function withClock(snapshot: Snapshot, clockOffsetSecs: number | null): Snapshot {
  const [source] = snapshot.sources;
  assert.ok(source !== undefined);
  return { ...snapshot, sources: [{ ...source, clockOffsetSecs } satisfies SnapshotSource] };
}

describe('news', () => {
  it('a notice that comes while we run is new; one from the memory of a former run is not', () => {
    assert.ok(events(tellChanges(quiet, announced)).includes('notice_new'));
    const atStart = events(tellChanges(null, announced));
    assert.ok(atStart.includes('notice_restored'));
    assert.ok(!atStart.includes('notice_new'));
  });

  it('S4.3 a host’s clock is told when it begins to be planned with, and when it agrees again', () => {
    const [ahead] = tellChanges(quiet, withClock(quiet, 300));
    assert.ok(
      ahead?.type === 'log' && ahead.event === 'host_clock_differs' && /300 s ahead of ours/.test(ahead.message),
    );
    const [behind] = tellChanges(quiet, withClock(quiet, -45));
    assert.ok(behind?.type === 'log' && /45 s behind ours/.test(behind.message));
    assert.deepEqual(events(tellChanges(withClock(quiet, 300), withClock(quiet, 300))), []);
    assert.deepEqual(events(tellChanges(withClock(quiet, 300), quiet)), ['host_clock_agrees']);
  });
});
