/**
 * Names: of the metrics, after the Prometheus conventions and each really measured somewhere; and in dashboard and rules, which
 * must not ask for what there is not.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { METRICS, type MetricDefinition } from '../../agent/publish/metrics-table.ts';
import { sourceDefinitions } from '../../agent/sources/index.ts';
import { dashboard, dashboardQueries, mentioned, RULE_TESTS, rules } from './queries.ts';

const ROOT = path.resolve(import.meta.dirname ?? __dirname, '../..');

const textsOf = (directory: string, end: string): ReadonlyMap<string, string> =>
  new Map(
    fs
      .readdirSync(path.join(ROOT, directory), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith(end))
      .map((file) => [path.join(directory, file), fs.readFileSync(path.join(ROOT, directory, file), 'utf8')]),
  );

describe('the table of metrics', () => {
  test('the names that monitoring was promised', () => {
    const promised = [
      'mjf_shutdown_timestamp_seconds',
      'mjf_remaining_seconds',
      'mjf_phase',
      'mjf_source_up',
      'mjf_source_last_success_timestamp_seconds',
      'mjf_source_request_duration_seconds',
      'mjf_notices_total',
      'mjf_signals_total',
    ];
    assert.deepEqual(
      promised.filter((name) => !Object.hasOwn(METRICS, name)),
      [],
    );
  });

  test('every name is measured somewhere, and every name that is measured is in the table', () => {
    const sources = [...textsOf('agent', '.ts')].filter(([file]) => !file.endsWith('metrics-table.ts'));
    const measured = new Set(sources.flatMap(([, text]) => text.match(/(?<=')(?:mjf|process)_[a-z_]+(?=')/g) ?? []));
    assert.deepEqual(
      Object.keys(METRICS).filter((name) => !measured.has(name)),
      [],
      'dead',
    );
    const ofMetrics = [...measured].filter((name) => /^process_|_(total|seconds|info|bytes|ratio)$/.test(name));
    assert.deepEqual(
      ofMetrics.filter((name) => !Object.hasOwn(METRICS, name)),
      [],
      'unknown',
    );
  });

  for (const [name, definition] of Object.entries(METRICS))
    test(`${name} is named and described as it should be`, () => {
      const { type, labels, help, buckets } = definition;
      assert.match(name, /^(mjf|process)(_[a-z]+)+$/);
      assert.equal(name.endsWith('_total'), type === 'counter', 'counters, and only they, end in _total');
      assert.ok(!/_(ms|secs|millis|minutes|kb|mb|percent|count|sum|bucket)(_|$)/.test(name), 'base units');
      if (name.includes('timestamp')) assert.match(name, /_timestamp_seconds$/);
      if (type === 'histogram' || type === 'summary') assert.match(name, /_(seconds|bytes)$/);
      assert.match(help, /^[A-Z0-9].*[.]$/, 'sentences');
      assert.ok(help.length >= 25 && help.length <= 160, `${help.length} characters`);
      assert.deepEqual(
        Object.keys(labels).filter((label) => ['le', 'quantile', 'job', 'instance', 'type', 'name'].includes(label)),
        [],
      );
      for (const values of Object.values(labels))
        assert.ok(typeof values === 'string' ? values !== '' : new Set(values).size === values.length && values[0]);
      assert.equal(buckets !== undefined, type === 'histogram');
      assert.deepEqual(buckets, buckets && [...buckets].sort((a, b) => a - b));
    });

  test('documents speak of metrics that there are', () => {
    const documents = new Map([
      ...textsOf('packaging', '.md'),
      ...textsOf('test/monitoring', '.md'),
      ...['README.md', 'CHANGELOG.md'].map((file) => [file, fs.readFileSync(path.join(ROOT, file), 'utf8')] as const),
    ]);
    const unknown = [...documents].flatMap(([file, text]) =>
      (text.match(/\b(?:mjf|process)_[a-z_]+_(?:total|seconds|bytes|fds|pending|running|up|ready)\b/g) ?? [])
        .filter((name) => !Object.hasOwn(METRICS, name))
        .map((name) => `${file}: ${name}`),
    );
    assert.deepEqual(unknown, []);
  });
});

/** The metric that a series belongs to, with what its own labels are called. */
function definitionOf(series: string): Pick<MetricDefinition, 'labels'> | undefined {
  if (Object.hasOwn(METRICS, series)) {
    const definition = METRICS[series];
    // A histogram itself has no series of its name.
    return definition?.type === 'histogram' || definition?.type === 'summary' ? undefined : definition;
  }
  const [, name = '', part] = /^(.*)_(bucket|sum|count)$/.exec(series) ?? [];
  const definition = Object.hasOwn(METRICS, name) ? METRICS[name] : undefined;
  if (definition?.type === 'histogram')
    return part === 'bucket'
      ? { labels: { ...definition.labels, le: (definition.buckets ?? []).map(String) } }
      : definition;
  return definition?.type === 'summary' && part !== 'bucket' ? definition : OTHERS[series];
}

/** Not the agent's. */
const OTHERS: Readonly<Record<string, Pick<MetricDefinition, 'labels'>>> = {
  up: { labels: {} },
  node_textfile_scrape_error: { labels: {} },
  node_textfile_mtime_seconds: { labels: { file: 'path' } },
  // Recorded by a rule.
  'instance:mjf_ended:up': { labels: {} },
};
/** Given by Prometheus to every target. */
const TARGET_LABELS = ['job', 'instance'];

describe('dashboard and rules', () => {
  const queries = [...dashboardQueries(), ...rules()];

  test('the scan finds what a query mentions', () => {
    const found = mentioned(
      'sum by (a, b) (rate(x_total{c="1",d=~"}"}[5m])) / on (a) group_left (b) y > 1e3 and time() - z offset 5m < w',
    );
    assert.deepEqual([...found.metrics], ['x_total', 'y', 'z', 'w']);
    assert.deepEqual(found.matchers, [
      { metric: 'x_total', label: 'c', value: '1' },
      { metric: 'x_total', label: 'd', value: null },
    ]);
    assert.deepEqual([...found.groupings], ['a', 'b']);
  });

  for (const { where, expr } of queries)
    test(`${where} asks for what there is`, () => {
      const { metrics, matchers, groupings } = mentioned(expr);
      assert.ok(metrics.size > 0, expr);
      const known = new Set(TARGET_LABELS);
      for (const metric of metrics) {
        const definition = definitionOf(metric) ?? OTHERS[metric];
        assert.ok(definition, `there is no ${metric}`);
        for (const label of Object.keys(definition.labels)) known.add(label);
      }
      for (const label of groupings) assert.ok(known.has(label), `no metric here has the label ${label}`);
      for (const { metric, label, value } of matchers) {
        const values = (definitionOf(metric) ?? OTHERS[metric])?.labels[label];
        assert.ok(values !== undefined || TARGET_LABELS.includes(label), `${metric} has no label ${label}`);
        if (value !== null && Array.isArray(values)) assert.ok(values.includes(value), `${label} is never ${value}`);
      }
    });

  test('sources that a rule names are sources that there are', () => {
    const names = new Set(sourceDefinitions.map(({ name }) => name));
    const asked = rules().flatMap(({ expr }) => [...expr.matchAll(/source!~"([^"]*)"/g)].map(([, list = '']) => list));
    assert.deepEqual(asked.length, 1);
    assert.deepEqual(
      asked.flatMap((list) => list.split('|')).filter((name) => !names.has(name)),
      [],
    );
  });

  test('every alert says how bad it is, what it means and what to do, and has a test', () => {
    const tests = fs.readFileSync(RULE_TESTS, 'utf8');
    const alerts = rules().filter(({ kind }) => kind === 'alert');
    assert.ok(alerts.length > 20);
    assert.equal(new Set(alerts.map(({ name }) => name)).size, alerts.length);
    for (const { name, text } of alerts) {
      assert.match(text, /^ {8}labels: \{ severity: (critical|warning|info) \}$/m, name);
      for (const annotation of ['summary', 'description', 'runbook'])
        assert.match(text, new RegExp(`^ {10}${annotation}: "[A-Z\`{m0-9].{20,}"$`, 'm'), `${name}: ${annotation}`);
      assert.ok(tests.includes(`  - name: ${name}\n`), `${name} has no test`);
    }
  });

  test('the dashboard: every panel has its own place, a description and the chosen Prometheus', () => {
    const { panels, schemaVersion, templating } = dashboard();
    assert.equal(schemaVersion, 39, 'Grafana 10.4 and 11');
    assert.deepEqual(
      templating.list.map(({ name }) => name),
      ['datasource', 'job', 'instance'],
    );
    assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length);
    const taken = new Set<string>();
    for (const { type, title, description, gridPos, datasource, targets = [] } of panels) {
      const { x, y, w, h } = gridPos;
      assert.ok(x + w <= 24, title);
      for (let column = x; column < x + w; column += 1)
        for (let line = y; line < y + h; line += 1) {
          assert.ok(!taken.has(`${column} ${line}`), `${title} covers another panel`);
          taken.add(`${column} ${line}`);
        }
      if (type === 'row') continue;
      assert.match(description ?? '', /^[A-Za-z].*[.]$/, title);
      assert.match(datasource?.uid ?? '', /^\$\{datasource\}$/);
      assert.ok(targets.length > 0, title);
      assert.equal(new Set(targets.map(({ refId }) => refId)).size, targets.length);
      for (const { expr } of targets) assert.match(expr, /job=~"\$job"/, title);
    }
  });
});
