/** What packaging/monitoring asks Prometheus: every query of dashboard and rules, and the names that it mentions. */
import fs from 'node:fs';
import path from 'node:path';

export const MONITORING = path.resolve(import.meta.dirname ?? __dirname, '../../packaging/monitoring');
export const RULES = path.join(MONITORING, 'mjf-agent.rules.yml');
export const RULE_TESTS = path.join(MONITORING, 'mjf-agent.rules.test.yml');

export interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly gridPos: { readonly h: number; readonly w: number; readonly x: number; readonly y: number };
  readonly datasource?: { readonly uid: string };
  readonly targets?: readonly { readonly refId: string; readonly expr: string; readonly legendFormat: string }[];
}
export interface Dashboard {
  readonly schemaVersion: number;
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { readonly name: string; readonly definition?: string }[] };
  readonly annotations: { readonly list: readonly { readonly expr?: string }[] };
}

export const dashboard = (): Dashboard =>
  JSON.parse(fs.readFileSync(path.join(MONITORING, 'grafana-dashboard.json'), 'utf8')) as Dashboard;

/** By where it stands. */
export interface Query {
  readonly where: string;
  readonly expr: string;
}

export const dashboardQueries = (): readonly Query[] => {
  const { panels, annotations } = dashboard();
  const shown = panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr, refId }) => ({ where: `${title} (${refId})`, expr })),
  );
  return [...shown, ...annotations.list.flatMap(({ expr }) => (expr ? [{ where: 'annotation', expr }] : []))];
};

export interface Rule extends Query {
  readonly kind: 'alert' | 'record';
  readonly name: string;
  /** The rest of it, as it stands in the file. */
  readonly text: string;
}

/** In the plain form in which the file is kept: an expression is one line, or a block of lines. */
export function rules(): readonly Rule[] {
  const parts = fs.readFileSync(RULES, 'utf8').split(/^ {6}- (?=alert:|record:)/m);
  return parts.slice(1).map((text) => {
    const [, kind, name = ''] = /^(alert|record): (\S+)$/m.exec(text) ?? [];
    const [, block, line] = /^ {8}expr: (?:\|\n((?: {10}.*\n)+)|(.*)\n)/m.exec(text) ?? [];
    const expr = (block ?? line ?? '').replace(/^ {10}/gm, '').trim();
    return { kind: kind === 'alert' ? 'alert' : 'record', name, where: name, expr, text };
  });
}

export interface Mentioned {
  readonly metrics: ReadonlySet<string>;
  /** With `=`, the value that is asked for. */
  readonly matchers: readonly { readonly metric: string; readonly label: string; readonly value: string | null }[];
  /** Of `by`, `on` and the like. */
  readonly groupings: ReadonlySet<string>;
}

/** Words of the language that are not followed by a bracket. */
const WORDS = new Set(['and', 'or', 'unless', 'bool', 'offset', 'inf', 'nan']);

/** A scan, no parser: Prometheus itself judges the grammar (prometheus.slow.test.ts). */
export function mentioned(expr: string): Mentioned {
  const matchers: { metric: string; label: string; value: string | null }[] = [];
  const groupings = new Set<string>();
  const bare = expr
    .replace(/([a-zA-Z_:][\w:]*)\s*\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\}/g, (_, metric: string, inside: string) => {
      for (const [, label = '', operator, value = ''] of inside.matchAll(/(\w+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"/g))
        matchers.push({ metric, label, value: operator === '=' ? value : null });
      return `${metric} `;
    })
    .replace(/\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)/g, (_, inside: string) => {
      for (const label of inside.split(',')) groupings.add(label.trim());
      return ' ';
    })
    .replace(/\[[^\]]*\]/g, ' ')
    .replace(/\b\d\w*/g, ' ');
  const metrics = new Set<string>();
  for (const [, word = '', bracket] of bare.matchAll(/([a-zA-Z_:][\w:]*)(\s*\()?/g))
    if (bracket === undefined && !WORDS.has(word.toLowerCase())) metrics.add(word);
  return { metrics, matchers, groupings };
}
