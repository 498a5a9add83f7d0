/** How late steps are said to be, and whom the deadline found alive: by what the heart has planned and what was reported. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Effect, SnapshotPayload, StepResultReport } from '../agent/lifetime/types.ts';
import { openMeasures } from '../agent/measures.ts';
import type { Publication } from '../agent/ports.ts';
import { NOW_MS, SNAPSHOT } from './publish/http/fake-port.ts';

const STEP = { episode: 1, index: 0, signal: 'SIGTERM' };

function bed() {
  const late: number[] = [];
  const loops: number[] = [];
  const counted: string[] = [];
  const measures = openMeasures({
    count: (name, labels = {}, by = 1) => void counted.push([name, ...Object.values(labels), by].join(' ')),
    observe(name, value) {
      if (name === 'mjf_loop_delay_seconds') loops.push(value);
      else late.push(value);
    },
  });
  return { measures, late, loops, counted };
}

const row = (dueMs: number, state: SnapshotPayload['plan'][number]['state'] = 'planned'): SnapshotPayload => ({
  spec: {
    id: 'p-1',
    name: 'one',
    uid: 1000,
    registeredMs: NOW_MS - 60_000,
    target: { kind: 'process', leader: { pid: 1, startTicks: 1 }, group: false },
  },
  state: 'running',
  deadlineMs: dueMs + 60_000,
  stopAtMs: dueMs,
  episode: 0,
  steps: [],
  plan: [{ step: STEP, to: 'leader', at: 'grace', dueMs, state }],
});

const shown = (payloads: readonly SnapshotPayload[], change: Partial<typeof SNAPSHOT> = {}): Publication => ({
  snapshot: { ...SNAPSHOT, ...change },
  lifetimeJson: Buffer.from(''),
  etag: '',
  machine: {},
  job: {},
  jobstatus: {},
  views: {},
  payloads,
});

const signal: Effect = { type: 'signal', payload: row(0).spec, step: STEP, to: 'leader' };
const report = (wall: number, outcome: StepResultReport['outcome'] = 'delivered'): StepResultReport => ({
  id: 'p-1',
  step: STEP,
  outcome,
  at: { wall, mono: 0 },
});

test('a step is as late as its signal went out after its planned time', () => {
  const { measures, late } = bed();
  measures.stepped(shown([row(NOW_MS)]), { snapshot: SNAPSHOT, effects: [signal] }, NOW_MS + 200);
  measures.heard({ type: 'steps_done', results: [report(NOW_MS + 1_500)] });
  // The rest of its processes comes later (last-call.ts).
  measures.heard({ type: 'steps_done', results: [{ ...report(NOW_MS + 9_000), rest: true }] });
  assert.deepEqual(late, [1.5]);
});

test('a deadline that comes too late for the plan makes no step late', () => {
  const { measures, late } = bed();
  const announced = { snapshot: SNAPSHOT, effects: [signal] };
  measures.stepped(shown([]), announced, NOW_MS);
  measures.heard({ type: 'steps_done', results: [report(NOW_MS + 100)] });
  measures.stepped(shown([row(NOW_MS + 3_600_000)]), announced, NOW_MS);
  measures.heard({ type: 'steps_done', results: [report(NOW_MS + 300)] });
  assert.deepEqual(late, [0.1, 0.3]);
});

test('a step that reached nobody was not late', () => {
  const { measures, late } = bed();
  measures.stepped(shown([row(NOW_MS)]), { snapshot: SNAPSHOT, effects: [signal] }, NOW_MS);
  measures.heard({ type: 'steps_done', results: [report(NOW_MS + 5_000, 'no_process')] });
  assert.deepEqual(late, []);
});

test('what exec has delivered counts once, and only what stands in the plan', () => {
  const { measures, late, counted } = bed();
  measures.acknowledged([report(NOW_MS + 250)], row(NOW_MS));
  measures.acknowledged([report(NOW_MS + 250)], row(NOW_MS, 'done'));
  measures.acknowledged([{ ...report(NOW_MS), step: { ...STEP, signal: 'SIGSEGV' } }], row(NOW_MS));
  measures.acknowledged([{ ...report(NOW_MS), step: { ...STEP, episode: 7 } }], row(NOW_MS));
  measures.acknowledged([report(NOW_MS)], undefined);
  assert.deepEqual(late, [0.25]);
  assert.deepEqual(counted, ['mjf_signals_total SIGTERM delivered 1']);
});

test('what exec says twice in one breath counts once', () => {
  const { measures, late, counted } = bed();
  measures.acknowledged(
    Array.from({ length: 64 }, () => report(NOW_MS + 250)),
    row(NOW_MS),
  );
  assert.deepEqual(late, [0.25]);
  assert.deepEqual(counted, ['mjf_signals_total SIGTERM delivered 1']);
});

test('exec is not late where the deadline, or the payload itself, came late', () => {
  const { measures, late } = bed();
  const announced = { ...SNAPSHOT, stopAtMs: NOW_MS - 90_000 };
  measures.stepped(shown([]), { snapshot: announced, effects: [] }, NOW_MS);
  measures.acknowledged([report(NOW_MS + 100)], row(NOW_MS - 90_000));
  assert.deepEqual(late, [0.1]);
});

test('payloads that the deadline finds alive are counted at that moment, and not after a restart', () => {
  const { measures, counted } = bed();
  const snapshot = { ...SNAPSHOT, overdue: true, payloads: { running: 1, stopping: 2, stopped: 4 } };
  const result = { snapshot, effects: [] };
  measures.stepped(null, result, NOW_MS);
  measures.stepped(shown([]), result, NOW_MS);
  measures.stepped(shown([], { overdue: true }), result, NOW_MS);
  measures.stepped(
    shown([]),
    { ...result, snapshot: { ...snapshot, payloads: { running: 0, stopping: 0, stopped: 7 } } },
    NOW_MS,
  );
  assert.deepEqual(counted, ['mjf_deadline_missed_total 3']);
});

test('the loop is as late as it comes round after its second', () => {
  const { measures, loops } = bed();
  for (const mono of [5_000, 6_000, 6_999, 8_499]) measures.looked(mono);
  assert.deepEqual(loops, [0, 0, 0.5]);
});
