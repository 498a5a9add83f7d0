import assert from 'node:assert/strict';
import test from 'node:test';
import { createMetrics, MAX_SERIES, snapshotMetrics } from '../../agent/publish/metrics.ts';
import { NOW_MS, SNAPSHOT } from './http/fake-port.ts';

test('the whole exposition of a draining machine, as Prometheus reads it', () => {
  const metrics = createMetrics({ strict: true });
  metrics.count('mjf_signals_total', { signal: 'SIGTERM', outcome: 'delivered' });
  metrics.count('mjf_signals_total', { outcome: 'delivered', signal: 'SIGTERM' }, 2);
  metrics.gauge('mjf_build_info', { version: '1"\\\n2' }, 1);
  metrics.observe('mjf_publish_duration_seconds', 0.25);
  metrics.observe('mjf_publish_duration_seconds', 0.5);
  const snapshot = {
    ...SNAPSHOT,
    phase: 'draining' as const,
    deadlineMs: NOW_MS + 90_500,
    localDeadlineMs: NOW_MS + 60_500,
    terminationAllowed: true,
    payloads: { running: 2, stopping: 0, stopped: 1 },
    canTerminate: { now: false, atMs: NOW_MS + 1_500, mustNotUntilMs: NOW_MS + 1_000, progress: 0.25 },
    sources: [
      { name: 'ec2', state: 'stale' as const, sinceMs: 0, error: null, clockOffsetSecs: null, faults: {} },
      { name: 'directory', state: 'ok' as const, sinceMs: 0, error: null, clockOffsetSecs: null, faults: {} },
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
  const lines = metrics.text(snapshotMetrics(snapshot, NOW_MS, [live], pending)).split('\n');
  assert.deepEqual(
    lines.filter((line) => !line.startsWith('# HELP')),
    [
      '# TYPE mjf_build_info gauge',
      'mjf_build_info{version="1\\"\\\\\\n2"} 1',
      '# TYPE mjf_shutdown_timestamp_seconds gauge',
      'mjf_shutdown_timestamp_seconds 1766439090.5',
      '# TYPE mjf_remaining_seconds gauge',
      'mjf_remaining_seconds 60.5',
      '# TYPE mjf_phase gauge',
      'mjf_phase{phase="running"} 0',
      'mjf_phase{phase="draining"} 1',
      'mjf_phase{phase="stopping"} 0',
      'mjf_phase{phase="stopped"} 0',
      '# TYPE mjf_overdue gauge',
      'mjf_overdue 0',
      '# TYPE mjf_termination_allowed gauge',
      'mjf_termination_allowed 1',
      '# TYPE mjf_can_terminate gauge',
      'mjf_can_terminate 0',
      '# TYPE mjf_can_terminate_timestamp_seconds gauge',
      'mjf_can_terminate_timestamp_seconds 1766439001.5',
      '# TYPE mjf_must_not_terminate_until_timestamp_seconds gauge',
      'mjf_must_not_terminate_until_timestamp_seconds 1766439001',
      '# TYPE mjf_progress_ratio gauge',
      'mjf_progress_ratio 0.25',
      '# TYPE mjf_notices gauge',
      'mjf_notices{kind="terminate"} 1',
      '# TYPE mjf_payloads gauge',
      'mjf_payloads{state="running"} 2',
      'mjf_payloads{state="stopping"} 0',
      'mjf_payloads{state="stopped"} 1',
      '# TYPE mjf_reports_pending gauge',
      'mjf_reports_pending{reporter="joboutputs"} 3',
      '# TYPE mjf_source_up gauge',
      'mjf_source_up{source="ec2"} 0',
      'mjf_source_up{source="directory"} 1',
      '# TYPE mjf_source_last_success_timestamp_seconds gauge',
      'mjf_source_last_success_timestamp_seconds{source="ec2"} 1766438998.5',
      '# TYPE mjf_source_request_duration_seconds gauge',
      'mjf_source_request_duration_seconds{source="ec2"} 0.012',
      '# TYPE mjf_signals_total counter',
      'mjf_signals_total{signal="SIGTERM",outcome="delivered"} 3',
      '# TYPE mjf_steps_uncertain_total counter',
      'mjf_steps_uncertain_total 0',
      '# TYPE mjf_hooks_uncertain_total counter',
      'mjf_hooks_uncertain_total 0',
      '# TYPE mjf_unit_starts_uncertain_total counter',
      'mjf_unit_starts_uncertain_total 0',
      '# TYPE mjf_reports_total counter',
      'mjf_reports_total{reporter="azure",outcome="delivered"} 1',
      '# TYPE mjf_report_spool_errors_total counter',
      'mjf_report_spool_errors_total 0',
      '# TYPE mjf_publish_errors_total counter',
      'mjf_publish_errors_total 0',
      '# TYPE mjf_publish_duration_seconds summary',
      'mjf_publish_duration_seconds_sum 0.75',
      'mjf_publish_duration_seconds_count 2',
      '# TYPE mjf_journal_errors_total counter',
      'mjf_journal_errors_total 0',
      '# TYPE mjf_log_dropped_total counter',
      'mjf_log_dropped_total 0',
      '',
    ],
  );
});

test('no deadline, no remaining time: the samples are absent, not 0 or -1', () => {
  const names = snapshotMetrics(SNAPSHOT, NOW_MS).map(({ name }) => name);
  assert.ok(!names.includes('mjf_remaining_seconds'));
  assert.ok(!names.includes('mjf_shutdown_timestamp_seconds'));
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

test('a name, label or type outside the table throws in tests, and is dropped and counted in the agent', () => {
  const strict = createMetrics({ strict: true });
  assert.throws(() => strict.count('mjf_nothing_total'), /not a known counter/);
  assert.throws(() => strict.count('constructor'), /not a known counter/);
  assert.throws(() => strict.count('mjf_phase', { phase: 'running' }), /not a known counter/);
  assert.throws(() => strict.count('mjf_signals_total', { signal: 'SIGTERM' }), /has the labels/);
  assert.throws(() => strict.count('mjf_steps_uncertain_total', {}, -1), /never goes down/);
  const metrics = createMetrics();
  metrics.count('mjf_nothing_total');
  metrics.gauge('mjf_phase', { other: 'x' }, 1);
  const text = metrics.text([{ name: 'mjf_nothing', value: 1 }]);
  assert.doesNotMatch(text, /mjf_nothing/);
  assert.match(
    metrics.text(),
    /mjf_metrics_dropped_total\{reason="name"\} 2\nmjf_metrics_dropped_total\{reason="label"\} 1\n/,
  );
});

test('a label that runs away stops at the bound, and what it had goes on counting', () => {
  const metrics = createMetrics();
  for (let i = 0; i < MAX_SERIES + 10; i++) metrics.count('mjf_requests_refused_total', { reason: `r${i}` });
  metrics.count('mjf_requests_refused_total', { reason: 'r0' });
  const series = metrics.text().match(/^mjf_requests_refused_total\{.*$/gm) ?? [];
  assert.equal(series.length, MAX_SERIES);
  assert.ok(series.includes('mjf_requests_refused_total{reason="r0"} 2'));
  assert.match(metrics.text(), /mjf_metrics_dropped_total\{reason="series"\} 10/);
});
