/** Who is called besides the pid that was registered, and when (SEMANTICS S3.4). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EscalationStep, PayloadSpec, SnapshotPayload } from '../../agent/lifetime/types.ts';
import { lastCalls } from '../../agent/payloads/last-call.ts';
import { type History, HOUR, history, MINUTE, payload, SECOND, START, secs } from '../lifetime/history.ts';

const DEADLINE = START + HOUR;
const BARE = { kind: 'process', leader: { pid: 4711, startTicks: 7 }, group: false } as const;
const KILL_AT = DEADLINE - 5 * SECOND;

/** A daemon's heart with one registered pid that has got its SIGTERM. */
function stopping(changes: Partial<PayloadSpec> = {}): History {
  const h = history();
  h.register(payload('p', { target: BARE, ...changes }));
  h.says('directory', { machine: { total_cpu: '8', shutdowntime: secs(DEADLINE) } });
  h.until(DEADLINE - 2 * MINUTE);
  return h;
}
const rowsOf = (h: History): readonly SnapshotPayload[] => h.result().payloads;
const called = (h: History, atMs: number, lives: boolean): boolean =>
  lastCalls(rowsOf(h), atMs, () => lives).length > 0;

test('a leader that lives has its window up to five seconds before the SIGKILL', () => {
  const h = stopping();
  assert.equal(called(h, DEADLINE - 2 * MINUTE, true), false);
  assert.equal(called(h, KILL_AT - 5 * SECOND - 1, true), false);
  assert.deepEqual(
    lastCalls(rowsOf(h), KILL_AT - 5 * SECOND, () => true),
    [{ type: 'signal', payload: h.row('p').spec, step: { episode: 1, index: 0, signal: 'SIGTERM' }, to: 'all' }],
  );
});

test('of a short window the first half', () => {
  const h = stopping({ graceMs: 11 * SECOND });
  h.until(DEADLINE - 11 * SECOND);
  const [term, kill] = h.row('p').plan.map(({ dueMs }) => dueMs - DEADLINE);
  assert.deepEqual([term, kill], [-11 * SECOND, -2_200]);
  assert.equal(called(h, DEADLINE - 6_601, true), false);
  assert.equal(called(h, DEADLINE - 6_600, true), true);
});

test('one that has ended leaves the others to us at once; and both is done once, over a restart too', () => {
  const h = stopping();
  const [call] = lastCalls(rowsOf(h), DEADLINE - 2 * MINUTE, () => false);
  assert.ok(call !== undefined);
  h.send({
    type: 'steps_done',
    results: [{ id: 'p', step: call.step, outcome: 'no_process', at: h.now(), rest: true }],
  });
  assert.equal(h.row('p').plan[0]?.state, 'done');
  for (const restart of [false, true]) {
    if (restart) h.restart({ downMs: SECOND });
    assert.equal(called(h, DEADLINE, false), false);
  }
  assert.deepEqual(
    h.sent.map(({ signal }) => signal),
    ['SIGTERM'],
  );
});

const KILL: EscalationStep = { at: 5 * SECOND, signal: 'SIGKILL' };
const silent: readonly (readonly [string, Partial<PayloadSpec>])[] = [
  ['of a group, all of which has had it', { target: { ...BARE, group: true } }],
  [
    'where the operator has written that the leader is meant',
    { steps: [{ at: 'grace', signal: 'SIGTERM', to: 'leader' }, KILL] },
  ],
  ['where all have had it', { steps: [{ at: 'grace', signal: 'SIGTERM', to: 'all' }, KILL] }],
  [
    'where nobody else will be killed',
    {
      steps: [
        { at: 'grace', signal: 'SIGTERM' },
        { ...KILL, to: 'leader' },
      ],
    },
  ],
  ['without a SIGKILL', { steps: [{ at: 'grace', signal: 'SIGTERM' }] }],
  ['of a control group', { target: { kind: 'cgroup', path: '/p', inode: 7 } }],
  ['not before its SIGTERM', { graceMs: SECOND }],
];
for (const [why, changes] of silent)
  test(`nobody is called ${why}`, () => {
    const h = stopping(changes);
    assert.equal(called(h, DEADLINE - 2 * MINUTE, false), false);
  });

test('nobody is called once the host has cancelled', () => {
  const h = stopping();
  h.saysUntilSettled('directory', { machine: { total_cpu: '8' } });
  assert.equal(h.row('p').state, 'stopping');
  assert.equal(called(h, DEADLINE, false), false);
});
