import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { createMetrics, MAX_SERIES } from '../../agent/publish/metrics.ts';
import { processMetrics, snapshotMetrics } from '../../agent/publish/metrics-now.ts';
import { NOW_MS, SNAPSHOT } from './http/fake-port.ts';

const GOLDEN = path.join(import.meta.dirname ?? __dirname, 'metrics.golden.prom');

test('the whole exposition of a draining machine, as Prometheus reads it', () => {
  const metrics = createMetrics({ strict: true });
  metrics.count('mjf_signals_total', { signal: 'SIGTERM', outcome: 'delivered' });
  metrics.count('mjf_signals_total', { outcome: 'delivered', signal: 'SIGTERM' }, 2);
  metrics.gauge('mjf_build_info', { version: '1"\\\n2', nodejs: '20.1.0' }, 1);
  metrics.observe('mjf_publish_duration_seconds', 0.25);
  metrics.observe('mjf_publish_duration_seconds', 0.5);
  for (const secs of [0.005, 0.01, 0.011, 7])
    metrics.observe('mjf_source_request_duration_seconds', secs, { source: 'ec2' });
  const snapshot = {
    ...SNAPSHOT,
    phase: 'draining' as const,
    deadlineMs: NOW_MS + 90_500,
    localDeadlineMs: NOW_MS + 60_500,
    drainAtMs: NOW_MS - 1_000,
    stopAtMs: NOW_MS + 30_500,
    terminationAllowed: true,
    payloads: { running: 2, stopping: 0, stopped: 1 },
    canTerminate: { now: false, atMs: NOW_MS + 1_500, mustNotUntilMs: NOW_MS + 1_000, progress: 0.25 },
    job: { ...SNAPSHOT.job, grace_secs: { value: '60', source: 'ec2', sinceMs: 0, stale: true } },
    sources: [
      { name: 'ec2', state: 'stale' as const, sinceMs: 0, error: null, clockOffsetSecs: -90, faults: {} },
      { name: 'directory', state: 'ok' as const, sinceMs: 0, error: null, clockOffsetSecs: null, faults: {} },
      { name: 'mjf', state: 'absent' as const, sinceMs: 0, error: null, clockOffsetSecs: null, faults: {} },
    ],
    notices: ['a', 'b'].map((id) => ({
      id,
      source: 'ec2',
      kind: 'terminate' as const,
      deadlineMs: NOW_MS,
      reason: '',
      firstSeenMs: 0,
      stale: false,
      expired: id === 'b',
      ignored: false,
      brokenPromise: false,
    })),
  };
  const live = {
    name: 'ec2',
    state: 'stale' as const,
    lastSuccessMs: NOW_MS - 1500,
    lastError: null,
    latencyMs: 12,
    reads: 1,
    failures: 0,
    pollMs: 2000,
  };
  metrics.count('mjf_reports_total', { reporter: 'azure', outcome: 'delivered' });
  const pending = [{ reporter: 'joboutputs', count: 3 }];
  const text = metrics.text(snapshotMetrics(snapshot, NOW_MS, [live], pending));
  if (process.env['MJF_WRITE_GOLDEN'] === '1') fs.writeFileSync(GOLDEN, text);
  assert.equal(text, fs.readFileSync(GOLDEN, 'utf8'), 'meant so? MJF_WRITE_GOLDEN=1 writes it anew');
});

test('no deadline, no remaining time: the samples are absent, not 0 or -1', () => {
  const names = snapshotMetrics(SNAPSHOT, NOW_MS).map(({ name }) => name);
  assert.ok(!names.includes('mjf_remaining_seconds'));
  assert.ok(!names.some((name) => /_timestamp_seconds$/.test(name)));
  assert.ok(!names.includes('mjf_termination_allowed'));
  assert.ok(!names.some((name) => /can_terminate|must_not|progress/.test(name)));
});

test('a machine that can go now: no times, since they would say less', () => {
  const canTerminate = { now: true, atMs: null, mustNotUntilMs: null, progress: null };
  const samples = snapshotMetrics({ ...SNAPSHOT, canTerminate }, NOW_MS);
  assert.deepEqual(
    samples.filter(({ name }) => /can_terminate|must_not|progress/.test(name)),
    [{ name: 'mjf_can_terminate', value: 1 }],
  );
});

test('time left is never negative', () => {
  const samples = snapshotMetrics({ ...SNAPSHOT, localDeadlineMs: NOW_MS - 5000 }, NOW_MS);
  assert.equal(samples.find(({ name }) => name === 'mjf_remaining_seconds')?.value, 0);
});

test('the process: real figures of this one, and nothing where /proc cannot be read', () => {
  const values = new Map(processMetrics('/proc', 1_766_439_000_500).map(({ name, value }) => [name, value]));
  assert.equal(values.get('process_start_time_seconds'), 1_766_439_000.5);
  const fds = values.get('process_open_fds') ?? 0;
  const opened = fs.openSync('/dev/null', 'r');
  const more = processMetrics('/proc', 0).find(({ name }) => name === 'process_open_fds')?.value;
  fs.closeSync(opened);
  assert.equal(more, fds + 1);
  assert.ok(fds < (values.get('process_max_fds') ?? 0));
  const resident = values.get('process_resident_memory_bytes') ?? 0;
  assert.ok(resident > 10e6 && resident < (values.get('process_virtual_memory_bytes') ?? 0), `${resident} bytes`);
  assert.ok((values.get('process_cpu_seconds_total') ?? 0) > 0);

  const empty = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-metrics-'));
  const names = processMetrics(empty, 0).map(({ name }) => name);
  fs.rmdirSync(empty);
  assert.deepEqual(names, ['process_cpu_seconds_total', 'process_resident_memory_bytes', 'process_start_time_seconds']);
});

test('a name, label, type or value outside the table throws in tests, and is dropped and counted in the agent', () => {
  const strict = createMetrics({ strict: true });
  assert.throws(() => strict.count('mjf_nothing_total'), /not a known counter/);
  assert.throws(() => strict.count('constructor'), /not a known counter/);
  assert.throws(() => strict.count('mjf_phase', { phase: 'running' }), /not a known counter/);
  assert.throws(() => strict.count('mjf_signals_total', { signal: 'SIGTERM' }), /has the labels/);
  assert.throws(() => strict.count('mjf_steps_uncertain_total', {}, -1), /never goes down/);
  assert.throws(() => strict.observe('mjf_publish_duration_seconds', Number.NaN), /no measurement/);
  const metrics = createMetrics();
  metrics.count('mjf_nothing_total');
  metrics.gauge('mjf_phase', { other: 'x' }, 1);
  metrics.observe('mjf_step_lateness_seconds', Number.POSITIVE_INFINITY);
  const text = metrics.text([{ name: 'mjf_nothing', value: 1 }]);
  assert.doesNotMatch(text, /mjf_nothing|Infinity|NaN/);
  for (const [reason, count] of Object.entries({ name: 2, label: 1, value: 1, series: 0 }))
    assert.match(metrics.text(), new RegExp(`^mjf_metrics_dropped_total\\{reason="${reason}"\\} ${count}$`, 'm'));
});

const seriesOf = (text: string, name: string): readonly string[] =>
  text.split('\n').filter((line) => line.startsWith(`${name}{`));

test('a label that runs away stops at the bound, and what it had goes on counting', () => {
  const metrics = createMetrics();
  for (let i = 0; i < MAX_SERIES + 10; i++) metrics.count('mjf_requests_refused_total', { reason: `r${i}` });
  metrics.count('mjf_requests_refused_total', { reason: 'r0' });
  const series = seriesOf(metrics.text(), 'mjf_requests_refused_total');
  assert.equal(series.length, MAX_SERIES);
  assert.ok(series.includes('mjf_requests_refused_total{reason="r0"} 2'));
  assert.match(metrics.text(), /mjf_metrics_dropped_total\{reason="series"\} 10/);
});

test('what is none of the known values of a label is one series, however many there are', () => {
  const metrics = createMetrics({ strict: true });
  for (let i = 0; i < 10_000; i++) metrics.count('mjf_notices_total', { kind: `kind-${i}` });
  const series = seriesOf(metrics.text(), 'mjf_notices_total');
  assert.ok(series.includes('mjf_notices_total{kind="other"} 10000'));
  assert.ok(series.includes('mjf_notices_total{kind="terminate"} 0'));
  assert.equal(series.length, 11);
});

test('hostile names of sources: bounded in number and length, escaped, never the same series twice', () => {
  const long = 'x'.repeat(5000);
  const names = [
    '',
    'a"} 1\nmjf_phase{phase="running"} 7\n#',
    'back\\slash',
    '\ud800',
    '\udfff',
    `${long}1`,
    `${long}2`,
    ...Array.from({ length: 1000 }, (_, i) => `source ${i}`),
  ];
  const metrics = createMetrics();
  const sources = names.map((name) => ({
    name,
    state: 'ok' as const,
    sinceMs: 0,
    error: null,
    clockOffsetSecs: 1,
    faults: {},
  }));
  for (const source of names) metrics.observe('mjf_source_request_duration_seconds', 1, { source });
  const text = metrics.text(snapshotMetrics({ ...SNAPSHOT, sources }, NOW_MS));
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  const keys = lines.map((line) => line.replace(/ [^ ]*$/, ''));
  assert.equal(new Set(keys).size, keys.length, 'each series once');
  // Whatever a value holds, a line is a name, labels in quotes and a number.
  for (const line of lines) assert.match(line, /^[a-z_]+(\{([a-z]+="([^"\\\n]|\\["\\n])*",?)+\})? [-+.\de]+$/);
  assert.equal(seriesOf(text, 'mjf_source_up').length, MAX_SERIES);
  assert.ok(Math.max(...lines.map(({ length }) => length)) < 300);
  assert.equal(text, Buffer.from(text).toString(), 'nothing that is not UTF-8');
});

test('10,000 payloads are three samples', () => {
  const payloads = { running: 9_000, stopping: 900, stopped: 100 };
  const few = createMetrics({ strict: true }).text(snapshotMetrics(SNAPSHOT, NOW_MS));
  const many = createMetrics({ strict: true }).text(snapshotMetrics({ ...SNAPSHOT, payloads }, NOW_MS));
  assert.equal(many.split('\n').length, few.split('\n').length);
  assert.match(many, /^mjf_payloads\{state="running"\} 9000$/m);
});
