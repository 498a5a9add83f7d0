/** What a schema wants, in words: `a duration such as "2m"`, `one of "always", "draining"`. */
import { TEXT_FORMATS, type TextFormat } from './formats.ts';
import type { SchemaNode } from './schema.ts';

const TYPE_TEXTS: Readonly<Record<string, string>> = {
  string: 'text in quotes',
  number: 'a number',
  integer: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a table',
  null: 'null',
};

/** Patterns that sources use in their schemas, in words, each with a text that it accepts. */
const PATTERN_TEXTS: Readonly<Record<string, { readonly expected: string; readonly sample: string }>> = {
  '^/': { expected: TEXT_FORMATS['absolute-path'].expected, sample: '/absolute/path' },
  '^https?://': { expected: 'an http(s) URL', sample: 'https://site.example/' },
  '^[0-9]+(\\.[0-9]+)?(ms|s|m|h|d)$': { expected: TEXT_FORMATS.duration.expected, sample: '1s' },
};

/** Continues "expected …". */
export function expectedText(node: SchemaNode): string {
  const format = textFormat(node);
  if (format) return format.expected;
  if (node.const !== undefined) return JSON.stringify(node.const);
  if (node.enum) return `one of ${node.enum.map((value) => JSON.stringify(value)).join(', ')}`;
  const choices = node.anyOf ?? node.oneOf;
  if (choices) return choiceText(choices);
  const pattern = patternText(node);
  if (pattern) return pattern.expected;
  const example = node.examples?.[0] ?? node.default;
  const suchAs = example === undefined || typeof example !== 'string' ? '' : ` such as ${JSON.stringify(example)}`;
  if (node.items && Object.keys(node.items).length > 0) return `a list, each ${expectedText(node.items)}`;
  const types = typeof node.type === 'string' ? [node.type] : (node.type ?? []);
  const range =
    node.minimum === undefined && node.maximum === undefined
      ? ''
      : ` from ${node.minimum ?? 'any'} to ${node.maximum ?? 'any'}`;
  return `${types.map((type) => TYPE_TEXTS[type] ?? type).join(' or ') || 'another value'}${range}${suchAs}`;
}

/** A text that a key with neither default nor example accepts, for the example file. */
export function sampleOf(node: SchemaNode): unknown {
  return node.examples?.[0] ?? patternText(node)?.sample;
}

function choiceText(choices: readonly SchemaNode[]): string {
  const texts = choices.filter(({ items }) => items === undefined).map(expectedText);
  const lists = choices.flatMap(({ items }) => (items ? [expectedText(items)] : []));
  const listTexts = lists.map((item) => (texts.includes(item) ? 'a list of such' : `a list, each ${item}`));
  return [...new Set([...texts, ...listTexts])].join(', or ');
}

function patternText(node: SchemaNode): { readonly expected: string; readonly sample: string } | undefined {
  return node.pattern === undefined ? undefined : PATTERN_TEXTS[node.pattern];
}

/** The row of formats.ts that a schema names. */
export function textFormat(node: SchemaNode): TextFormat | undefined {
  const formats: Readonly<Record<string, TextFormat>> = TEXT_FORMATS;
  return node.format === undefined ? undefined : formats[node.format];
}
