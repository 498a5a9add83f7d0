/** What the log is told, and what not again. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { tellChanges } from '../../agent/lifetime/tell.ts';
import type { Effect, MachineAnswer, Snapshot, SnapshotSource } from '../../agent/lifetime/types.ts';
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

  it('S1.8, S1.5 of a notice that is not acted on it is said why', () => {
    const marked = (mark: object): Snapshot => ({
      ...announced,
      notices: announced.notices.map((notice) => ({ ...notice, ...mark })),
    });
    const lineOf = (before: Snapshot | null, after: Snapshot) =>
      tellChanges(before, after).find((effect) => effect.type === 'log' && effect.event.startsWith('notice_'));
    for (const before of [null, quiet]) {
      const expired = lineOf(before, marked({ expired: true }));
      assert.ok(expired?.type === 'log' && /before this boot: not acted on$/.test(expired.message));
      assert.equal(expired.fields['expired'], true);
      const ignored = lineOf(before, marked({ ignored: true }));
      assert.ok(ignored?.type === 'log' && /, but ignored$/.test(ignored.message));
      const plain = lineOf(before, announced);
      assert.ok(plain?.type === 'log' && !/but/.test(plain.message) && !('expired' in plain.fields));
    }
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

  it('S5.1 whether the machine can be terminated is told when that changes, or from when on; not how far anybody is', () => {
    const of = (canTerminate: Partial<MachineAnswer> | null): Snapshot => ({
      ...quiet,
      canTerminate: canTerminate && { now: false, atMs: null, mustNotUntilMs: null, progress: null, ...canTerminate },
    });
    const told = (before: Snapshot | null, after: Snapshot) =>
      tellChanges(before, after).flatMap((effect) =>
        effect.type === 'log' && effect.event === 'can_terminate_changed' ? [effect] : [],
      );
    const [no] = told(of(null), of({}));
    assert.deepEqual([no?.level, no?.fields], ['info', { now: false, at: null }]);
    const [from] = told(of({}), of({ atMs: NOON + 1 }));
    assert.deepEqual(from?.fields, { now: false, at: NOON / 1000 + 1 });
    assert.match(from?.message ?? '', /must not be terminated now, from \d{4}-.*Z on it can/);
    assert.match(told(of({}), of({ now: true }))[0]?.message ?? '', /can be terminated now/);
    assert.deepEqual(told(of({ now: true }), of(null))[0]?.fields, { now: null, at: null });
    assert.deepEqual(told(of({ progress: 0.1 }), of({ progress: 0.2, mustNotUntilMs: NOON })), []);
    assert.deepEqual(told(of({ atMs: NOON + 1 }), of({ atMs: NOON + 900 })), []);
    assert.deepEqual(told(null, of(null)), []);
    assert.equal(told(null, of({ now: true })).length, 1);
  });
});
