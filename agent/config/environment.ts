/** `MJF_AGENT_STOP__GRACE=5m` → `stop.grace = "5m"`: the environment as layers of the configuration. */
import { didYouMean } from '../nearest.ts';
import { expectedText, textFormat } from './expected.ts';
import { type Layer, tableOf } from './merge.ts';
import { type ConfigProblem, keyText, showValue } from './problem.ts';
import type { SchemaNode } from './schema.ts';

const PREFIX = 'MJF_AGENT_';
/** Means something else than a key of the configuration. */
const OTHER_VARIABLES = new Set(['MJF_AGENT_DEBUG']);

/** The variable that sets a key. */
export const variableOf = (path: readonly string[]): string => PREFIX + path.join('__').toUpperCase();

export interface EnvironmentRead {
  readonly layers: readonly Layer[];
  readonly problems: readonly ConfigProblem[];
  readonly warnings: readonly string[];
}

/**
 * One layer a variable, in the order of their names. Double underscores part the tables; an empty value counts as not
 * set. Lists are written with commas (`directory,static`) or, like tables, as TOML. An unknown variable is a warning, not
 * an error: an environment is inherited, and a newer agent's variable must not keep this one from starting.
 */
export async function readEnvironment(
  env: Readonly<Record<string, string | undefined>>,
  schema: SchemaNode,
): Promise<EnvironmentRead> {
  const layers: Layer[] = [];
  const problems: ConfigProblem[] = [];
  const warnings: string[] = [];
  const names = Object.keys(env).filter((name) => name.startsWith(PREFIX) && !OTHER_VARIABLES.has(name));
  for (const name of names.sort()) {
    const text = env[name];
    if (text === undefined || text === '') continue;
    const path = name.slice(PREFIX.length).toLowerCase().split('__');
    const target = findNode(schema, path);
    if (target === undefined) {
      warnings.push(`${name}: unknown variable${didYouMean(name, variableNames(schema, PREFIX))}`);
      continue;
    }
    const converted = await convert(text, target);
    if ('expected' in converted) {
      const message = `expected ${converted.expected}, got ${showValue(text)}`;
      problems.push({ origin: name, key: keyText(path), message });
    } else {
      const table = tableOf(path, converted.value);
      layers.push({ origin: name, kind: 'environment', table, checked: converted.checked });
    }
  }
  return { layers, problems, warnings };
}

function findNode(schema: SchemaNode, path: readonly string[]): SchemaNode | undefined {
  let node: SchemaNode | undefined = schema;
  for (const key of path) {
    if (key === '' || node === undefined) return undefined;
    const anything: boolean = Object.keys(node).length === 0;
    const extra: boolean | SchemaNode | undefined = node.additionalProperties;
    const other: SchemaNode | undefined = extra === true || anything ? {} : extra === false ? undefined : extra;
    node = node.properties !== undefined && Object.hasOwn(node.properties, key) ? node.properties[key] : other;
  }
  return node;
}

type Converted = { readonly value: unknown; readonly checked: boolean } | { readonly expected: string };

/** `checked`: the value is known to fit, so it alone is no reason to load Ajv. */
async function convert(text: string, node: SchemaNode): Promise<Converted> {
  const choices = node.anyOf ?? node.oneOf ?? [node];
  if (choices.some((choice) => choice.const === text || choice.enum?.includes(text)))
    return { value: text, checked: true };
  if (choices.some((choice) => textFormat(choice)?.test(text))) return { value: text, checked: true };
  const has = (type: string) => choices.some((choice) => [choice.type].flat().includes(type));
  if (has('boolean') && /^(true|false|1|0|yes|no)$/i.test(text)) {
    return { value: /^(true|1|yes)$/i.test(text), checked: true };
  }
  if ((has('number') || has('integer')) && /^-?\d+(\.\d+)?$/.test(text) && !has('string')) {
    return { value: Number(text), checked: false };
  }
  if (/^\s*[[{]/.test(text) && (has('array') || has('object'))) return parseTomlValue(text, node);
  if (has('array') && (text.includes(',') || !has('string')))
    return { value: text.split(',').map((item) => item.trim()), checked: false };
  const plainText = choices.some((choice) => choice.type === undefined || [choice.type].flat().includes('string'));
  const closed = choices.every(
    (choice) => choice.enum !== undefined || choice.const !== undefined || textFormat(choice),
  );
  return plainText && !closed ? { value: text, checked: false } : { expected: expectedText(node) };
}

async function parseTomlValue(text: string, node: SchemaNode): Promise<Converted> {
  const { parse } = await import('smol-toml');
  try {
    return { value: parse(`value = ${text.trim()}`)['value'], checked: false };
  } catch {
    return { expected: `${expectedText(node)}, written as in TOML` };
  }
}

function variableNames(node: SchemaNode, prefix: string): readonly string[] {
  return Object.entries(node.properties ?? {}).flatMap(([key, inner]) => {
    const name = `${prefix}${key.toUpperCase()}`;
    return inner.properties ? [name, ...variableNames(inner, `${name}__`)] : [name];
  });
}
