/** The default configuration file: every key with its description and default, all commented out. Made from the schema. */
import { configSchema } from '../config.ts';
import { sampleOf } from './expected.ts';
import type { SchemaNode } from './schema.ts';

const HEADER = `Configuration of mjf-agent. Every setting shows its default; without any change this file does nothing.
Files in conf.d/*.toml, then MJF_AGENT_* variables, then flags override what stands here. "mjf-agent check" validates.
Durations are "90s", "30m", "2h". A line "#key = …" is the default; "#   key = …" is an example of what has no default.`;

/** TOML text, line feed at the end. Uncommenting every "#key" and "#[table]" line gives the defaults. */
export function exampleConfig(): string {
  return `${[...prose(HEADER), '', ...tableLines(configSchema(), [])].join('\n').trimEnd()}\n`;
}

function tableLines(table: SchemaNode, path: readonly string[]): readonly string[] {
  const entries = Object.entries(table.properties ?? {});
  const isPlain = (node: SchemaNode): boolean => node.properties === undefined && listed(node) === undefined;
  const settings = entries.filter(([, node]) => isPlain(node));
  const tables = entries.filter(([, node]) => !isPlain(node));
  return [
    ...settings.flatMap(([key, node]) => settingLines(key, node)),
    ...tables.flatMap(([key, node]) => {
      const rows = listed(node);
      return rows === undefined ? innerLines(node, [...path, key]) : listLines(node, rows, [...path, key]);
    }),
  ];
}

/** The keys of each table, where the node is a list of tables. */
const listed = (node: SchemaNode): SchemaNode['properties'] =>
  node.default === undefined ? node.items?.properties : undefined;

/** There is no default to uncomment: the schema's own examples of tables, else one table with every key. */
function listLines(
  node: SchemaNode,
  rows: NonNullable<SchemaNode['properties']>,
  path: readonly string[],
): readonly string[] {
  const whole = Object.entries(rows).map(([key, row]) => [key, row.examples?.[0] ?? row.default ?? sampleOf(row)]);
  const explained = new Set<string>();
  const lines = (node.examples ?? [Object.fromEntries(whole)]).flatMap((example) => [
    `#   [[${path.join('.')}]]`,
    ...Object.entries(example ?? {}).flatMap(([key, value]) => {
      const description = explained.has(key) ? [] : prose(rows[key]?.description ?? '');
      explained.add(key);
      return [...description, `#   ${key} = ${toml(value)}`];
    }),
    '',
  ]);
  return [...prose(node.description ?? ''), ...lines];
}

function innerLines(node: SchemaNode, path: readonly string[]): readonly string[] {
  const lines = tableLines(node, path);
  const hasSettings = Object.values(node.properties ?? {}).some((inner) => inner.properties === undefined);
  const isOnlyAround = !hasSettings || path.join('.') === 'source';
  return isOnlyAround ? lines : [...prose(node.description ?? ''), `#[${path.join('.')}]`, ...lines];
}

/** Nothing for a key with neither a default nor an example: its table's description speaks of it. */
function settingLines(key: string, node: SchemaNode): readonly string[] {
  const description = prose(node.description ?? '');
  if (node.default !== undefined && !node.namesChannel) return [...description, `#${key} = ${toml(node.default)}`, ''];
  const example = node.default ?? sampleOf(node);
  return example === undefined ? [] : [...description, `#   ${key} = ${toml(example)}`, ''];
}

function prose(text: string): readonly string[] {
  return text === '' ? [] : text.split('\n').map((line) => `# ${line}`);
}

/** A value as one line of TOML. */
function toml(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(toml).join(', ')}]`;
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).map(([key, inner]) => `${key} = ${toml(inner)}`);
    return entries.length === 0 ? '{}' : `{ ${entries.join(', ')} }`;
  }
  // JSON's strings, numbers and booleans are TOML's as well.
  return JSON.stringify(value);
}
