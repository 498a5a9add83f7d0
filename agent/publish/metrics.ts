/**
 * A small Prometheus exposition of our own: prom-client costs 7–10 MB of resident memory, this costs nothing. What exists
 * stands in one table (metrics-table.ts); a name or label outside it is a programming error, never a new series.
 *
 * Text format 0.0.4 alone, whatever is asked for: every Prometheus reads it, and OpenMetrics would add nothing here (no
 * exemplars, no creation times) but a second form of each counter's name to keep right.
 */
import { METRICS, type MetricDefinition } from './metrics-table.ts';

/** Enough for every source, signal and route there is; a label that runs away (a code from outside) stops here. */
export const MAX_SERIES = 128;
/** Longer than any name of ours; bounds a label that came from outside. */
const MAX_LABEL_LENGTH = 80;
/** What is none of a label's known values is counted under this one. */
const OTHER = 'other';
/** What counts, with so few possible series, shows them all from the start: a rate exists from the first event on. */
const MAX_SHOWN_AT_ONCE = 12;
const DROPPED = 'mjf_metrics_dropped_total';

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
  /** Adds one measurement to a summary (`_sum` and `_count`, no quantiles) or histogram. Seconds where the name says so. */
  observe(name: string, value: number, labels?: Labels): void;
  /** The whole exposition, text format 0.0.4; `extra` are values that are true only at this moment (metrics-now.ts). */
  text(extra?: readonly Sample[]): string;
}

interface Series {
  readonly labels: Labels;
  sum: number;
  count: number;
  /** Of a histogram: measurements up to each bound, and not above the one before. */
  readonly buckets: number[];
}

/**
 * What counts starts at 0 where it has no labels, or few possible ones. `strict` (tests) throws on a name or label outside the table;
 * otherwise the measurement is dropped and counted: a metric never ends the agent.
 */
export function createMetrics(options: { readonly strict?: boolean } = {}): Metrics {
  const store = new Map<string, Map<string, Series>>();
  for (const [name, definition] of Object.entries(METRICS)) {
    const series = new Map<string, Series>();
    store.set(name, series);
    // What a gauge is must be known; of the process the system counts.
    if (definition.type !== 'gauge' && !name.startsWith('process_'))
      for (const labels of shownAtOnce(definition)) series.set(labelText(definition, labels), newSeries(labels));
  }

  function drop({ reason, message }: Fault): void {
    if (options.strict === true) throw new Error(message);
    change(DROPPED, ['counter'], { reason }, (series) => (series.sum += 1));
  }

  function change(
    name: string,
    types: readonly MetricDefinition['type'][],
    labels: Labels,
    by: (series: Series, definition: MetricDefinition) => void,
  ): void {
    const definition = definitionOf(name, types, labels);
    if ('reason' in definition) {
      drop(definition);
      return;
    }
    const all = store.get(name) ?? new Map<string, Series>();
    const key = labelText(definition, labels);
    let series = all.get(key);
    if (series === undefined) {
      if (all.size >= MAX_SERIES) {
        if (name !== DROPPED) drop(tooMany(name));
        return;
      }
      series = newSeries(labels);
      all.set(key, series);
    }
    by(series, definition);
  }

  return {
    count(name, labels = {}, by = 1) {
      if (by >= 0) change(name, ['counter'], labels, (series) => (series.sum += by));
      else drop({ reason: 'value', message: `${name}: a counter never goes down` });
    },
    gauge(name, labels, value) {
      change(name, ['gauge'], labels, (series) => (series.sum = value));
    },
    observe(name, value, labels = {}) {
      if (Number.isFinite(value))
        change(name, ['summary', 'histogram'], labels, (series, { buckets = [] }) => {
          series.sum += value;
          series.count += 1;
          const index = buckets.findIndex((bound) => value <= bound);
          if (index >= 0) series.buckets[index] = (series.buckets[index] ?? 0) + 1;
        });
      else drop({ reason: 'value', message: `${name}: ${value} is no measurement` });
    },
    text(extra = []) {
      const samples = new Map<string, Map<string, number>>();
      for (const { name, labels = {}, value } of extra) {
        const definition = definitionOf(name, ['gauge', 'counter'], labels);
        if ('reason' in definition) {
          drop(definition);
          continue;
        }
        const ofName = samples.get(name) ?? new Map<string, number>();
        samples.set(name, ofName);
        const key = labelText(definition, labels);
        // Twice the same series would make the whole answer unreadable.
        if (ofName.size < MAX_SERIES || ofName.has(key)) ofName.set(key, value);
        else drop(tooMany(name));
      }
      return Object.entries(METRICS)
        .map(([name, definition]) =>
          exposition(name, definition, store.get(name) ?? new Map(), samples.get(name) ?? new Map()),
        )
        .join('');
    },
  };
}

interface Fault {
  readonly reason: 'name' | 'label' | 'series' | 'value';
  readonly message: string;
}

const tooMany = (name: string): Fault => ({ reason: 'series', message: `${name}: more than ${MAX_SERIES} series` });

const newSeries = (labels: Labels): Series => ({ labels, sum: 0, count: 0, buckets: [] });

function definitionOf(
  name: string,
  types: readonly MetricDefinition['type'][],
  labels: Labels,
): MetricDefinition | Fault {
  const definition = Object.hasOwn(METRICS, name) ? METRICS[name] : undefined;
  if (definition === undefined || !types.includes(definition.type))
    return { reason: 'name', message: `${name} is not a known ${types.join(' or ')}` };
  const known = Object.keys(definition.labels);
  const given = Object.keys(labels);
  if (given.length === known.length && given.every((label) => known.includes(label))) return definition;
  return { reason: 'label', message: `${name} has the labels {${known.join(',')}}, not {${given.join(',')}}` };
}

/** Every combination of the known values of all labels, where there are only a few. */
function shownAtOnce({ labels }: MetricDefinition): readonly Labels[] {
  let all: readonly Labels[] = [{}];
  for (const [label, values] of Object.entries(labels)) {
    if (typeof values === 'string') return [];
    all = all.flatMap((before) => values.map((value) => ({ ...before, [label]: value })));
  }
  return all.length <= MAX_SHOWN_AT_ONCE ? all : [];
}

function exposition(
  name: string,
  definition: MetricDefinition,
  series: ReadonlyMap<string, Series>,
  extra: ReadonlyMap<string, number>,
): string {
  const lines: string[] = [];
  for (const [label, { labels, sum, count, buckets }] of series) {
    if (definition.type === 'gauge' || definition.type === 'counter') {
      if (!extra.has(label)) lines.push(`${name}${label} ${number(sum)}`);
      continue;
    }
    let below = 0;
    for (const [index, bound] of (definition.buckets ?? []).entries()) {
      below += buckets[index] ?? 0;
      lines.push(`${name}_bucket${labelText(definition, labels, number(bound))} ${below}`);
    }
    if (definition.type === 'histogram') lines.push(`${name}_bucket${labelText(definition, labels, '+Inf')} ${count}`);
    lines.push(`${name}_sum${label} ${number(sum)}`, `${name}_count${label} ${count}`);
  }
  for (const [label, value] of extra) lines.push(`${name}${label} ${number(value)}`);
  if (lines.length === 0) return '';
  const help = definition.help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
  return `# HELP ${name} ${help}\n# TYPE ${name} ${definition.type}\n${lines.join('\n')}\n`;
}

/** In the table's order, so that the same labels are the same series however the caller wrote them. `le`: of a bucket. */
function labelText(definition: MetricDefinition, labels: Labels, le?: string): string {
  const pairs = Object.entries(definition.labels).map(([label, values]) => {
    const value = labels[label] ?? '';
    return `${label}="${typeof values === 'string' || values.includes(value) ? escapeLabel(value) : OTHER}"`;
  });
  if (le !== undefined) pairs.push(`le="${le}"`);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

/** Half a surrogate pair cannot be written as UTF-8: it becomes what it would become there, before it is compared. */
const escapeLabel = (value: string): string =>
  value
    .slice(0, MAX_LABEL_LENGTH)
    .replace(/\p{Surrogate}/gu, '\ufffd')
    .replaceAll('\\', '\\\\')
    .replaceAll('"', '\\"')
    .replaceAll('\n', '\\n');

function number(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? '+Inf' : '-Inf';
  return String(value);
}
