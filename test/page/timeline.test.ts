import assert from 'node:assert/strict';
import test from 'node:test';
import type { Lifetime, Payload, Reading, Step } from '../../agent/publish/page/documents.ts';
import { type Mark, MOST_PAST, MOST_STEPS, marksOf } from '../../agent/publish/page/marks.ts';
import { sparkOf } from '../../agent/publish/page/spark.ts';
import { type Layout, layHorizontally, layVertically } from '../../agent/publish/page/timeline.ts';

const NOW = 1_766_465_200;
const NOTHING: Lifetime = {
  phase: 'running',
  deadline: null,
  drain_at: null,
  stop_at: null,
  grace_secs: null,
  reason: null,
  overdue: false,
  termination_allowed: null,
  can_terminate: null,
  notices: [],
  machinefeatures: {},
  jobfeatures: {},
  sources: [],
  payloads: { running: 0, stopping: 0, stopped: 0 },
};

const withDeadline = (secs: number): Lifetime => ({
  ...NOTHING,
  deadline: NOW + secs,
  drain_at: NOW + secs - 1800,
  stop_at: NOW + secs - 120,
});

function payload(name: string, steps: readonly Step[]): Payload {
  return {
    id: name,
    name,
    uid: 1000,
    target: 'process',
    pid: 1,
    state: 'running',
    deadline: null,
    stop_at: null,
    steps,
    can_terminate: null,
    needs_until: null,
    progress: null,
    final_word: null,
  };
}
const stepsBefore = (end: number): readonly Step[] => [
  { signal: 'SIGTERM', hook: null, due: end - 120, state: 'planned' },
  { signal: 'SIGKILL', hook: null, due: end - 5, state: 'planned' },
];

function marks(lifetime: Lifetime, payloads: readonly Payload[] = [], events: readonly [number, string][] = []) {
  const history = { since: NOW - 9_999, events: events.map(([at, text]) => ({ at, kind: 'notice', text })) };
  return marksOf({ lifetime, deadline: lifetime.deadline, payloads, history }, NOW * 1000);
}
const labels = (list: readonly Mark[]) => list.map(({ label }) => label);

test('marks stand in the order of their times, past ones first', () => {
  const end = NOW + 7_200;
  const chosen = marks(withDeadline(7_200), [payload('pilot', stepsBefore(end))], [[NOW - 60, 'ec2: announced']]);
  assert.deepEqual(labels(chosen.marks), [
    'ec2: announced',
    'now',
    'draining begins',
    'stopping begins',
    'SIGTERM · pilot',
    'SIGKILL · pilot',
    'deadline',
  ]);
  assert.equal(chosen.earlier, 0);
});

test('without a deadline there is only now', () => {
  assert.deepEqual(labels(marks(NOTHING).marks), ['now']);
});

test('a thousand payloads are few marks: the same step is one, the nearest ones are joined', () => {
  const end = NOW + 7_200;
  const alike = Array.from({ length: 1_000 }, (_, index) => payload(`p${index}`, stepsBefore(end)));
  assert.deepEqual(labels(marks(withDeadline(7_200), alike).marks).slice(3, 5), ['1,000 × SIGTERM', '1,000 × SIGKILL']);
  const different = alike.map((one, index) => ({ ...one, steps: stepsBefore(end - index * 7) }));
  const chosen = marks(withDeadline(7_200), different).marks.filter(({ kind }) => kind === 'step');
  assert.equal(chosen.length, MOST_STEPS);
  const total = chosen.map(({ label }) => Number(/^([\d,]+) (?:steps|×)/.exec(label)?.[1]?.replace(',', '') ?? 1));
  assert.equal(
    total.reduce((sum, one) => sum + one, 0),
    2_000,
    'none is lost',
  );
});

test('a change of phase at its planned time is one mark, an unforeseen one has its own', () => {
  const lifetime = { ...withDeadline(1_000), phase: 'draining' };
  const events = [NOW - 800.5, NOW - 30].map((at) => ({ at, kind: 'phase', text: 'draining (was running)' }));
  const chosen = marksOf(
    { lifetime, deadline: lifetime.deadline, payloads: [], history: { since: 0, events } },
    NOW * 1000,
  );
  assert.deepEqual(labels(chosen.marks).slice(0, 3), ['draining begins', 'draining (was running)', 'now']);
});

test('of the past the newest are shown, the others counted, and nothing that is still to come', () => {
  const events = Array.from({ length: 30 }, (_, index): [number, string] => [
    NOW - 300 + index * 10 + 10,
    `event ${index}`,
  ]);
  const chosen = marks(NOTHING, [], [...events, [NOW + 5, 'of a clock that runs ahead']]);
  assert.equal(chosen.earlier, 30 - MOST_PAST);
  assert.deepEqual(labels(chosen.marks), ['event 25', 'event 26', 'event 27', 'event 28', 'event 29', 'now']);
});

test('a payload that changes its mind again and again hides no notice', () => {
  const answers = Array.from({ length: 30 }, (_, index) => ({ at: NOW - 60 + index, kind: 'answer', text: 'now' }));
  const events = [{ at: NOW - 900, kind: 'notice', text: 'notice ec2/spot: terminate announced' }, ...answers];
  const told = { lifetime: NOTHING, deadline: null, payloads: [], history: { since: 0, events } };
  const chosen = marksOf(told, NOW * 1000);
  assert.deepEqual(labels(chosen.marks), ['ec2/spot: terminate annou…', 'now', 'now', 'now', 'now', 'now']);
  assert.equal(chosen.earlier, 31 - MOST_PAST);
});

test('a label of a host’s text is short, the whole stands beside it', () => {
  const text = `notice <img src=x onerror=alert(1)> ${'x'.repeat(300)}`;
  const [mark] = marks(NOTHING, [], [[NOW - 5, text]]).marks;
  assert.ok((mark?.label.length ?? 99) <= 26);
  assert.ok(mark?.label.startsWith('<img src=x'));
  assert.ok(mark?.detail?.startsWith('notice <img src=x onerror=alert(1)> xxx'));
});

const under = (): string => 'in 23 h 59 min';
const SPANS = [5, 90, 600, 7_200, 86_400, 10 * 86_400];

function full(secs: number): readonly Mark[] {
  const end = NOW + secs;
  const payloads = Array.from({ length: 12 }, (_, index) => payload(`payload-${index}`, stepsBefore(end - index * 40)));
  const events = Array.from({ length: 9 }, (_, index): [number, string] => [NOW - 4 ** index, `something ${index}`]);
  return marks(withDeadline(secs), payloads, events).marks;
}

function assertOrdered({ placed, length }: Layout, what: string): void {
  let last = Number.NEGATIVE_INFINITY;
  for (const { along } of placed) {
    assert.ok(along >= last && along >= 0 && along <= length, `${what}: ${along} after ${last} of ${length}`);
    last = along;
  }
}

for (const width of [620, 900, 1080])
  test(`labels do not collide on ${width} px, from seconds to days, and later is never left of earlier`, () => {
    for (const secs of SPANS) {
      const layout = layHorizontally(full(secs), width, under);
      assertOrdered(layout, `${secs} s`);
      layout.placed.forEach(({ mark, along }, index) => {
        const next = layout.placed[index + 1];
        if (next !== undefined && next.mark.at > mark.at)
          assert.ok(next.along - along >= 14, `${secs} s: ${mark.label} and ${next.mark.label} are one dot`);
      });
      const rows = new Map<number, { from: number; to: number }[]>();
      for (const { mark, row, labelAt } of layout.placed) {
        if (row === 0) continue;
        const half = (Math.max(mark.label.length, under().length) * 6.5) / 2;
        const one = { from: labelAt - half, to: labelAt + half };
        assert.ok(one.from >= 0 && one.to <= width, `${secs} s: ${mark.label} leaves the picture`);
        for (const other of rows.get(row) ?? [])
          assert.ok(one.from >= other.to || one.to <= other.from, `${secs} s: ${mark.label} is on another label`);
        rows.set(row, [...(rows.get(row) ?? []), one]);
      }
      for (const kind of ['now', 'deadline'] as const)
        assert.notEqual(
          layout.placed.find(({ mark }) => mark.kind === kind)?.row,
          0,
          `${secs} s: ${kind} has its label`,
        );
    }
  });

test('upright, each label has a line of its own', () => {
  for (const secs of SPANS) {
    const layout = layVertically(full(secs));
    assertOrdered(layout, `${secs} s`);
    layout.placed.forEach(({ along }, index) => {
      const next = layout.placed[index + 1];
      if (next !== undefined) assert.ok(next.along - along >= 36, `${secs} s: ${next.along - along} px`);
    });
  }
});

test('a KILL five seconds before a deadline that is days away stands apart from it', () => {
  const { placed } = layHorizontally(
    marks(withDeadline(5 * 86_400), [payload('p', stepsBefore(NOW + 5 * 86_400))]).marks,
    620,
    under,
  );
  const [kill, end] = placed.slice(-2);
  assert.ok((end?.along ?? 0) - (kill?.along ?? 0) >= 14);
});

test('the axis is coloured by phase, what is past apart from what is to come, without a hole', () => {
  const { bands, length } = layHorizontally(marks(withDeadline(600)).marks, 800, under);
  assert.deepEqual(
    bands.map(({ phase, past }) => `${phase}${past ? ' past' : ''}`),
    ['running past', 'draining past', 'draining', 'stopping', 'stopped'],
  );
  let at = 0;
  for (const { from, to } of bands) {
    assert.equal(from, at);
    at = to;
  }
  assert.equal(at, length);
});

const reading = (latency: number, outcome = 'ok'): Reading => ({
  at: NOW,
  latency_ms: latency,
  outcome,
  error: outcome === 'failed' ? 'timeout' : null,
});

test('the plot of a source: a failure breaks the line and is a mark of its own', () => {
  const spark = sparkOf([reading(1), reading(2), reading(2_000, 'failed'), reading(3)], 120, 30);
  assert.equal(spark.lines.length, 2);
  assert.equal(spark.failed.length, 1);
  assert.equal(spark.text, '4 readings, 1 failed, 1 ms to 3 ms, mostly 2 ms');
  const points = spark.lines
    .join(' ')
    .split(' ')
    .map((pair) => pair.split(',').map(Number));
  for (const [x = -1, y = -1] of points) assert.ok(x >= 0 && x <= 120 && y >= 7 && y <= 28, `${x},${y}`);
  // The newest is at the right edge.
  assert.ok((points.at(-1)?.[0] ?? 0) > 117);
});

test('the plot of a source that has not been read yet, or is not there, is empty', () => {
  assert.deepEqual(sparkOf([], 120, 30), { lines: [], failed: [], text: 'no reading yet' });
  assert.deepEqual(sparkOf([reading(1, 'absent')], 120, 30).lines, []);
});
