/** What the manual says of each key of the configuration, from the schema: configuration.md and mjf-agent.toml(5) are made of it. */
import { variableOf } from '../../agent/config/environment.ts';
import { expectedText } from '../../agent/config/expected.ts';
import { flagKeys } from '../../agent/config/flags.ts';
import { fixedAtStart } from '../../agent/config/reload.ts';
import type { SchemaNode } from '../../agent/config/schema.ts';
import { toConfig } from '../../agent/config/typed.ts';

export interface KeyFacts {
  /** `grace`; of a table that is written within a line, `match.user` or `steps[].at`. */
  readonly name: string;
  readonly description: string;
  /** `a duration, at least 1s`. */
  readonly expects: string;
  /** TOML. */
  readonly byDefault: string | null;
  /** TOML; only where there is no default. */
  readonly example: string | null;
  /** TOML: what is used where the key is not given, although writing the very same has an effect of its own. */
  readonly unlessGiven: string | null;
  /** null: within a list, which is set as a whole. */
  readonly variable: string | null;
  readonly flags: readonly string[];
  readonly isRequired: boolean;
  readonly needsRestart: boolean;
}

export interface TableFacts {
  /** `[stop]`, `[[payload]]`; empty for the keys in front of all tables. */
  readonly heading: string;
  readonly description: string;
  /** Of a list of tables: the variable that holds all of it, and how many there may be. */
  readonly list: { readonly variable: string; readonly most: number | null } | null;
  readonly keys: readonly KeyFacts[];
}

/** Durations by which a site is asked (rules.ts). */
const SHORTEST_POLL = '200ms';

/** In the order of the schema; a table after the keys that stand beside it. */
export function configTables(schema: SchemaNode): readonly TableFacts[] {
  return tablesAt(schema, [], new Set());
}

function tablesAt(table: SchemaNode, at: readonly string[], shown: Set<SchemaNode>): readonly TableFacts[] {
  const entries = Object.entries(table.properties ?? {});
  const isTable = (node: SchemaNode): boolean => node.properties !== undefined || rowsOf(node) !== undefined;
  const plain = entries.filter(([, node]) => !isTable(node));
  const keys = plain.flatMap(([key, node]) => keysAt(node, [...at, key], { shown, inList: false }));
  const inner = entries.filter(([, node]) => isTable(node));
  const heading = at.length === 0 ? '' : `[${at.join('.')}]`;
  return [
    // `[source]` itself has nothing to say.
    ...(keys.length === 0 && !table.description
      ? []
      : [{ heading, description: table.description ?? '', list: null, keys }]),
    ...inner.flatMap(([key, node]) =>
      rowsOf(node) === undefined ? tablesAt(node, [...at, key], shown) : [listAt(node, [...at, key], shown)],
    ),
  ];
}

function listAt(node: SchemaNode, at: readonly string[], shown: Set<SchemaNode>): TableFacts {
  const one = node.items?.exactlyOne;
  const choice = one === undefined ? '' : ` Each has one and only one of ${one.join(', ')}.`;
  return {
    heading: `[[${at.join('.')}]]`,
    description: `${node.description ?? ''}${choice}`,
    list: { variable: variableOf(at), most: node.maxItems ?? null },
    keys: Object.entries(rowsOf(node) ?? {}).flatMap(([key, row]) =>
      keysAt(row, [...at, key], { shown, inList: true, required: node.items?.required }),
    ),
  };
}

interface Around {
  readonly shown: Set<SchemaNode>;
  readonly inList: boolean;
  readonly required?: readonly string[] | undefined;
  /** Of a table within a line: what stands before its keys. */
  readonly prefix?: string;
}

function keysAt(node: SchemaNode, path: readonly string[], around: Around): readonly KeyFacts[] {
  const { shown, inList, required = [], prefix = '' } = around;
  const key = path.at(-1) ?? '';
  const name = prefix + key;
  const hasDefault = node.default !== undefined && !node.namesChannel;
  const example = node.default === undefined ? node.examples?.[0] : undefined;
  const facts: KeyFacts = {
    name,
    description: node.description ?? '',
    expects: formOf(node),
    byDefault: hasDefault ? shownValue(node.default) : null,
    example: example === undefined ? null : shownValue(example),
    unlessGiven: node.namesChannel && node.default !== undefined ? shownValue(node.default) : null,
    variable: inList ? null : variableOf(path),
    flags: flagKeys().flatMap(({ flag, path: set }) => (set.join('.') === path.join('.') ? [flag] : [])),
    isRequired: required.includes(key),
    needsRestart: !inList && fixedNames.some((fixed) => `${path.join('.')}.`.startsWith(`${fixed}.`)),
  };
  const [inner, mark] = node.properties === undefined ? [node.items, '[]'] : [node, ''];
  // The steps of [stop] and of a payload are one and the same thing.
  if (inner?.properties === undefined || shown.has(inner)) return [facts];
  shown.add(inner);
  const below = Object.entries(inner.properties).flatMap(([each, row]) =>
    keysAt(row, [...path, each], { shown, inList: true, required: inner.required, prefix: `${name}${mark}.` }),
  );
  return [facts, ...below];
}

/** Of a list of tables that is written as such: the keys of each. */
const rowsOf = (node: SchemaNode): SchemaNode['properties'] =>
  node.default === undefined && node.type === 'array' && node.description !== undefined && node.exactlyOne === undefined
    ? node.items?.properties
    : undefined;

const fixedNames = Object.keys(fixedAtStart(toConfig({}, [])));

function formOf(node: SchemaNode): string {
  const least = node.atLeast ?? (node.format === 'poll' ? SHORTEST_POLL : undefined);
  const bounds = [
    ...(least === undefined ? [] : [`at least ${least}`]),
    ...(node.maxItems === undefined ? [] : [`at most ${node.maxItems} of them`]),
    ...(node.anyOf ?? []).flatMap(({ maxItems }) => (maxItems === undefined ? [] : [`at most ${maxItems} of them`])),
    ...(node.maxLength === undefined ? [] : [`at most ${node.maxLength} characters`]),
  ];
  // Where a default or an example follows, that one shows the form.
  const shows = node.default !== undefined || node.examples !== undefined;
  // The sample of a path would be taken for the place that is meant.
  const plain = shows || node.format === 'absolute-path' || node.pattern === '^/';
  const form = plain ? expectedText(node).replace(/ such as (?:"[^"]*"|\S+)(?: or \d+)?/g, '') : expectedText(node);
  return [form, ...bounds].join(', ');
}

/** A value as one line of TOML. */
function shownValue(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(shownValue).join(', ')}]`;
  if (typeof value === 'object' && value !== null) {
    return `{ ${Object.entries(value)
      .map(([key, inner]) => `${key} = ${shownValue(inner)}`)
      .join(', ')} }`;
  }
  return JSON.stringify(value);
}
