/**
 * A small Prometheus exposition of our own: prom-client costs 7–10 MB of resident memory, this costs
 * nothing. What exists stands in one table; a name or label outside it is a programming error, never a new series.
 */
import type { Phase, Snapshot } from '../lifetime/types.ts';
import type { LiveSource } from '../ports.ts';

type MetricType = 'counter' | 'gauge' | 'summary';
interface MetricDefinition {
  readonly type: MetricType;
  readonly labels: readonly string[];
  readonly help: string;
}

/** Names after the Prometheus conventions: base units, `_total` for counters, `_seconds`/`_timestamp_seconds` for time. */
const METRICS: Readonly<Record<string, MetricDefinition>> = {
  mjf_build_info: { type: 'gauge', labels: ['version'], help: 'Always 1; names the version of the agent.' },
  mjf_shutdown_timestamp_seconds: {
    type: 'gauge',
    labels: [],
    help: 'UNIX time by which all processing must have ended; absent when no shutdown is foreseen.',
  },
  mjf_remaining_seconds: {
    type: 'gauge',
    labels: [],
    help: 'Seconds to the deadline, never negative; absent when no shutdown is foreseen.',
  },
  mjf_phase: { type: 'gauge', labels: ['phase'], help: '1 for the phase the machine is in, 0 for the others.' },
  mjf_overdue: { type: 'gauge', labels: [], help: '1 when the deadline has passed and the machine still lives.' },
  mjf_termination_allowed: {
    type: 'gauge',
    labels: [],
    help: '1 when the site may terminate the machine at any time, 0 when not; absent when the host has not said.',
  },
  mjf_can_terminate: {
    type: 'gauge',
    labels: [],
    help: '1 when the machine can be terminated without loss, 0 when not; absent when no payload was ever registered.',
  },
  mjf_can_terminate_timestamp_seconds: {
    type: 'gauge',
    labels: [],
    help: 'UNIX time from which on the machine can be terminated without loss; absent when nobody knows.',
  },
  mjf_must_not_terminate_until_timestamp_seconds: {
    type: 'gauge',
    labels: [],
    help: 'UNIX time before which work is lost if the machine is terminated, as a payload reckons.',
  },
  mjf_progress_ratio: {
    type: 'gauge',
    labels: [],
    help: 'How far the payloads are that say so, 0 to 1, in the mean.',
  },
  mjf_notices: { type: 'gauge', labels: ['kind'], help: 'Notices in force by kind.' },
  mjf_payloads: { type: 'gauge', labels: ['state'], help: 'Payloads by state.' },
  mjf_reports_pending: {
    type: 'gauge',
    labels: ['reporter'],
    help: 'Reports to the site that wait for their delivery.',
  },
  mjf_source_up: {
    type: 'gauge',
    labels: ['source'],
    help: '1 when the source answers, 0 when it is stale, failed or absent.',
  },
  mjf_source_last_success_timestamp_seconds: {
    type: 'gauge',
    labels: ['source'],
    help: 'UNIX time of the last good answer; absent when there never was one.',
  },
  mjf_source_request_duration_seconds: {
    type: 'gauge',
    labels: ['source'],
    help: 'How long the last reading of the source took.',
  },
  mjf_source_reads_total: { type: 'counter', labels: ['source', 'outcome'], help: 'Readings of a source by outcome.' },
  mjf_source_faults_total: {
    type: 'counter',
    labels: ['source', 'error'],
    help: 'Content or answers that were not acceptable, by stable code.',
  },
  mjf_notices_total: { type: 'counter', labels: ['kind'], help: 'Notices seen for the first time, by kind.' },
  mjf_signals_total: {
    type: 'counter',
    labels: ['signal', 'outcome'],
    help: 'Escalation steps delivered, by outcome.',
  },
  mjf_steps_uncertain_total: {
    type: 'counter',
    labels: [],
    help: 'Steps of stopping taken once more after a crash that left open whether they had been taken.',
  },
  mjf_hooks_uncertain_total: {
    type: 'counter',
    labels: [],
    help: 'Programs of hooks started with MJF_REPEATED=1 after a crash that left open whether they had run.',
  },
  mjf_unit_starts_uncertain_total: {
    type: 'counter',
    labels: [],
    help: 'Units started again once more after a crash that left open whether they had been started.',
  },
  mjf_webhooks_total: {
    type: 'counter',
    labels: ['event', 'outcome'],
    help: 'Events told to web hooks, by outcome; `retried` counts the failed attempts between.',
  },
  mjf_hooks_total: {
    type: 'counter',
    labels: ['event', 'outcome'],
    help: 'Programs below hooks.d by outcome; `skipped` for those that no time was left for.',
  },
  mjf_reports_total: {
    type: 'counter',
    labels: ['reporter', 'outcome'],
    help: 'Reports to the site by outcome: delivered, failed (tried again) or refused for good.',
  },
  mjf_report_spool_errors_total: {
    type: 'counter',
    labels: [],
    help: 'Files of payloads for the site that could not be kept on disk until they are delivered.',
  },
  mjf_poweroff_total: {
    type: 'counter',
    labels: ['outcome'],
    help: 'Attempts to switch the machine off, by outcome.',
  },
  mjf_publish_errors_total: { type: 'counter', labels: [], help: 'Published files that could not be written.' },
  mjf_publish_duration_seconds: { type: 'summary', labels: [], help: 'Time taken to write the published files.' },
  mjf_journal_errors_total: { type: 'counter', labels: [], help: 'Journal records that could not be written.' },
  mjf_requests_refused_total: { type: 'counter', labels: ['reason'], help: 'HTTP requests refused, by reason.' },
  mjf_http_requests_total: { type: 'counter', labels: ['route', 'code'], help: 'HTTP requests answered.' },
  mjf_http_streams_dropped_total: {
    type: 'counter',
    labels: ['reason'],
    help: 'Streams and hanging requests that were turned away or cut off.',
  },
  mjf_log_dropped_total: { type: 'counter', labels: [], help: 'Log lines lost because the log did not drain.' },
  mjf_metrics_dropped_total: {
    type: 'counter',
    labels: ['reason'],
    help: 'Measurements lost: unknown metric or label, or too many series.',
  },
};

/** Enough for every source, signal and route there is; a label that runs away (a code from outside) stops here. */
export const MAX_SERIES = 64;
/** Longer than any name of ours; bounds a label that came from outside. */
const MAX_LABEL_LENGTH = 80;
const DROPPED = 'mjf_metrics_dropped_total';
const PHASES: readonly Phase[] = ['running', 'draining', 'stopping', 'stopped'];

export type Labels = Readonly<Record<string, string>>;
export interface Sample {
  readonly name: string;
  readonly labels?: Labels;
  readonly value: number;
}

export interface Metrics {
  /** Adds `by` (default 1) to a counter. */
  count(name: string, labels?: Labels, by?: number): void;
  gauge(name: string, labels: Labels, value: number): void;
  /** Adds one measurement to a summary (`_sum` and `_count`, no quantiles). Seconds where the name says so. */
  observe(name: string, value: number, labels?: Labels): void;
  /** The whole exposition, text format 0.0.4; `extra` are gauges that are true only at this moment (`snapshotMetrics`). */
  text(extra?: readonly Sample[]): string;
}

interface Series {
  readonly labels: Labels;
  sum: number;
  count: number;
}

/**
 * Counters without labels start at 0, so that a rate exists from the first scrape on. `strict` (tests) throws on a name or
 * label outside the table; otherwise the measurement is dropped and counted: a metric never ends the agent.
 */
export function createMetrics(options: { readonly strict?: boolean } = {}): Metrics {
  const store = new Map<string, Map<string, Series>>();
  for (const [name, definition] of Object.entries(METRICS)) {
    const series = new Map<string, Series>();
    if (definition.type === 'counter' && definition.labels.length === 0)
      series.set('', { labels: {}, sum: 0, count: 0 });
    store.set(name, series);
  }

  function drop(reason: string, message: string): void {
    if (options.strict === true) throw new Error(message);
    find(DROPPED, 'counter', { reason }, (series) => (series.sum += 1));
  }

  function find(name: string, type: MetricType, labels: Labels, change: (series: Series) => void): void {
    const fault = faultOf(name, type, labels);
    if (fault !== undefined) {
      drop(fault.reason, fault.message);
      return;
    }
    const all = store.get(name) ?? new Map<string, Series>();
    const key = labelText(name, labels);
    let series = all.get(key);
    if (series === undefined) {
      if (all.size >= MAX_SERIES) {
        if (name !== DROPPED) drop('series', `${name}: more than ${MAX_SERIES} series`);
        return;
      }
      series = { labels, sum: 0, count: 0 };
      all.set(key, series);
    }
    change(series);
  }

  return {
    count(name, labels = {}, by = 1) {
      if (by >= 0) find(name, 'counter', labels, (series) => (series.sum += by));
      else drop('value', `${name}: a counter never goes down`);
    },
    gauge(name, labels, value) {
      find(name, 'gauge', labels, (series) => (series.sum = value));
    },
    observe(name, value, labels = {}) {
      find(name, 'summary', labels, (series) => {
        series.sum += value;
        series.count += 1;
      });
    },
    text(extra = []) {
      const samples = new Map<string, Sample[]>();
      for (const sample of extra) {
        const fault = faultOf(sample.name, 'gauge', sample.labels ?? {});
        if (fault !== undefined) {
          drop(fault.reason, fault.message);
          continue;
        }
        const list = samples.get(sample.name) ?? [];
        samples.set(sample.name, list);
        if (list.length < MAX_SERIES) list.push(sample);
        else drop('series', `${sample.name}: more than ${MAX_SERIES} series`);
      }
      return Object.entries(METRICS)
        .map(([name, definition]) =>
          exposition(name, definition, [...(store.get(name)?.values() ?? [])], samples.get(name) ?? []),
        )
        .join('');
    },
  };
}

/** The gauges that a Snapshot, and the live view of sources and reporters, mean at `nowMs` (UNIX ms). Nothing known = no sample. */
export function snapshotMetrics(
  snapshot: Snapshot,
  nowMs: number,
  sources: readonly LiveSource[] = [],
  reports: readonly { readonly reporter: string; readonly count: number }[] = [],
): readonly Sample[] {
  const samples: Sample[] = [];
  const add = (name: string, value: number, labels?: Labels) =>
    samples.push(labels === undefined ? { name, value } : { name, labels, value });
  if (snapshot.deadlineMs !== null) add('mjf_shutdown_timestamp_seconds', snapshot.deadlineMs / 1000);
  // On this machine's clock (S4.3).
  const { localDeadlineMs } = snapshot;
  if (localDeadlineMs !== null) add('mjf_remaining_seconds', Math.max(0, localDeadlineMs - nowMs) / 1000);
  for (const phase of PHASES) add('mjf_phase', snapshot.phase === phase ? 1 : 0, { phase });
  add('mjf_overdue', snapshot.overdue ? 1 : 0);
  if (snapshot.terminationAllowed !== null) add('mjf_termination_allowed', snapshot.terminationAllowed ? 1 : 0);
  samples.push(...answerMetrics(snapshot));
  const kinds = new Map<string, number>();
  for (const notice of snapshot.notices) {
    if (!notice.expired && !notice.ignored) kinds.set(notice.kind, (kinds.get(notice.kind) ?? 0) + 1);
  }
  for (const [kind, count] of kinds) add('mjf_notices', count, { kind });
  for (const [state, count] of Object.entries(snapshot.payloads)) add('mjf_payloads', count, { state });
  for (const source of snapshot.sources) add('mjf_source_up', source.state === 'ok' ? 1 : 0, { source: source.name });
  for (const source of sources) {
    const labels = { source: source.name };
    if (source.lastSuccessMs !== null)
      add('mjf_source_last_success_timestamp_seconds', source.lastSuccessMs / 1000, labels);
    if (source.latencyMs !== null) add('mjf_source_request_duration_seconds', source.latencyMs / 1000, labels);
  }
  for (const { reporter, count } of reports) add('mjf_reports_pending', count, { reporter });
  return samples;
}

/** The machine's answer (S5.1); nothing where there is none. */
function answerMetrics({ canTerminate }: Snapshot): readonly Sample[] {
  if (canTerminate === null) return [];
  const { now, atMs, mustNotUntilMs, progress } = canTerminate;
  const secs = (ms: number | null): number | null => (ms === null ? null : ms / 1000);
  const values: readonly (readonly [name: string, value: number | null])[] = [
    ['mjf_can_terminate', now ? 1 : 0],
    ['mjf_can_terminate_timestamp_seconds', secs(atMs)],
    ['mjf_must_not_terminate_until_timestamp_seconds', secs(mustNotUntilMs)],
    ['mjf_progress_ratio', progress],
  ];
  return values.flatMap(([name, value]) => (value === null ? [] : [{ name, value }]));
}

function faultOf(name: string, type: MetricType, labels: Labels): { reason: string; message: string } | undefined {
  const definition = Object.hasOwn(METRICS, name) ? METRICS[name] : undefined;
  if (definition?.type !== type) return { reason: 'name', message: `${name} is not a known ${type}` };
  const given = Object.keys(labels);
  if (given.length !== definition.labels.length || !given.every((label) => definition.labels.includes(label))) {
    return {
      reason: 'label',
      message: `${name} has the labels {${definition.labels.join(',')}}, not {${given.join(',')}}`,
    };
  }
  return undefined;
}

function exposition(
  name: string,
  definition: MetricDefinition,
  series: readonly Series[],
  extra: readonly Sample[],
): string {
  const lines: string[] = [];
  for (const { labels, sum, count } of series) {
    const label = labelText(name, labels);
    if (definition.type === 'summary')
      lines.push(`${name}_sum${label} ${number(sum)}`, `${name}_count${label} ${count}`);
    else lines.push(`${name}${label} ${number(sum)}`);
  }
  for (const sample of extra) lines.push(`${name}${labelText(name, sample.labels ?? {})} ${number(sample.value)}`);
  if (lines.length === 0) return '';
  const help = definition.help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
  return `# HELP ${name} ${help}\n# TYPE ${name} ${definition.type}\n${lines.join('\n')}\n`;
}

/** In the table's order, so that the same labels are the same series however the caller wrote them. */
function labelText(name: string, labels: Labels): string {
  const pairs = (METRICS[name]?.labels ?? []).map((label) => `${label}="${escapeLabel(labels[label] ?? '')}"`);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

function escapeLabel(value: string): string {
  return value.slice(0, MAX_LABEL_LENGTH).replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}

function number(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? '+Inf' : '-Inf';
  return String(value);
}
