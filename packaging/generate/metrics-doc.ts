/** packaging/docs/metrics.md: every metric with its type, labels and meaning, from the program's own table. */
import { METRICS, type MetricDefinition } from '../../agent/publish/metrics-table.ts';

/** What the table's rows are about, by the first metric of each part. */
const PARTS: Readonly<Record<string, string>> = {
  mjf_build_info: 'The agent',
  mjf_shutdown_timestamp_seconds: 'How long the machine lives',
  mjf_termination_allowed: 'May it go, can it go',
  mjf_payloads: 'Payloads and what is done to them',
  mjf_source_up: 'Sources',
  mjf_reports_pending: 'Reports to the site',
  mjf_publish_errors_total: "The agent's own work",
  mjf_http_requests_total: 'The HTTP interface',
  process_cpu_seconds_total: 'The process',
};

const HEAD = `# Metrics

\`curl localhost:8653/metrics\`, or over the socket \`curl --unix-socket /run/mjf-agent/agent.sock http://localhost/metrics\`. Text format 0.0.4 of Prometheus, whatever the request accepts. This page is made from the table that the agent itself uses (\`npm run generate\`).

- What is not known has **no sample**: no deadline, no \`mjf_shutdown_timestamp_seconds\`. It is never 0 or -1.
- Where a label has a fixed set of values, anything else is counted as \`other\`. No metric has more than 128 series: what comes beyond that is dropped and counted in \`mjf_metrics_dropped_total\`. No label holds a payload, a user, a path or a time.
- Counters begin anew with each start of the agent; \`rate()\` and \`increase()\` know that.
- A histogram has \`_bucket{le}\`, \`_sum\` and \`_count\`, a summary \`_sum\` and \`_count\` alone.

Alerts, a dashboard and how to scrape an agent that listens on loopback only are in [monitoring](../monitoring/README.md), in the packages below \`/usr/share/doc/mjf-agent/monitoring/\`.
`;

export function metricsDoc(): string {
  const lines = [HEAD];
  for (const [name, definition] of Object.entries(METRICS)) {
    const part = PARTS[name];
    if (part !== undefined) lines.push(`## ${part}\n\n| metric | type | labels | meaning |\n| --- | --- | --- | --- |`);
    const cells = [`\`${name}\``, definition.type, labelsOf(definition), `${definition.help}${bucketsOf(definition)}`];
    lines.push(`| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`);
    if (isLast(name)) lines.push('');
  }
  return `${lines.join('\n').trimEnd()}\n`;
}

const labelsOf = ({ labels }: MetricDefinition): string =>
  Object.entries(labels)
    .map(([label, values]) =>
      typeof values === 'string'
        ? `\`${label}\`: ${values}`
        : `\`${label}\`: ${values.map((value) => `\`${value}\``).join(', ')}`,
    )
    .join('; ');

const bucketsOf = ({ buckets }: MetricDefinition): string =>
  buckets === undefined ? '' : ` Buckets: ${buckets.join(', ')}.`;

/** Of its part. */
function isLast(name: string): boolean {
  const names = Object.keys(METRICS);
  const next = names[names.indexOf(name) + 1];
  return next === undefined || PARTS[next] !== undefined;
}
