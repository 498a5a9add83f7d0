/** The shape of a configuration against its schema: every error at once, in words. Loads Ajv, so only when there is a file. */
import type { ErrorObject } from 'ajv';
import { didYouMean } from '../nearest.ts';
import { expectedText } from './expected.ts';
import { TEXT_FORMATS } from './formats.ts';
import type { KeyPath, Merged } from './merge.ts';
import { type ConfigProblem, keyText, showValue } from './problem.ts';
import type { SchemaNode } from './schema.ts';

/** As many names as a person reads in one line: the sources are the longest list. */
const MANY_NAMES = 20;

/** The one keyword of our own (schema.ts, `exactlyOne`). */
const EXACTLY_ONE = 'exactlyOne';

/** All problems of the merged table; empty when it fits. */
export async function validateShape(merged: Merged, schema: SchemaNode): Promise<readonly ConfigProblem[]> {
  const { Ajv } = await import('ajv');
  const formats = Object.fromEntries(Object.entries(TEXT_FORMATS).map(([name, { test }]) => [name, test]));
  // Not strict: sources describe their own tables and may use words of their own.
  const ajv = new Ajv({ allErrors: true, verbose: true, strict: false, logger: false, formats });
  ajv.addKeyword({ keyword: EXACTLY_ONE, type: 'object', schemaType: 'array', validate: hasExactlyOne });
  const validate = ajv.compile(schema);
  if (validate(merged.table)) return [];
  const problems = withoutEchoes(validate.errors ?? []).map((error): ConfigProblem => {
    const { path, message } = describe(error, merged.table);
    return { origin: merged.originOf(path), key: keyText(path), message };
  });
  return problems.filter((one, i) => problems.findIndex((other) => sameProblem(one, other)) === i);
}

function describe(error: ErrorObject, table: unknown): { readonly path: KeyPath; readonly message: string } {
  const path = pathOf(error.instancePath, table);
  const params: Readonly<Record<string, unknown>> = error.params;
  const parent = (error.parentSchema ?? {}) as SchemaNode;
  if (error.keyword === 'additionalProperties') {
    const key = String(params['additionalProperty']);
    const known = Object.keys(parent.properties ?? {});
    const hint = didYouMean(key, known) || (known.length <= MANY_NAMES ? `; known here: ${known.join(', ')}` : '');
    return { path: [...path, key], message: `unknown key${hint}` };
  }
  if (error.keyword === 'propertyNames') {
    const key = String(params['propertyName']);
    const known = error.schema as SchemaNode;
    const hint = didYouMean(key, (known.enum ?? []).map(String)) || `; expected ${expectedText(known)}`;
    return { path: [...path, key], message: `unknown key${hint}` };
  }
  if (error.keyword === 'required') {
    const key = String(params['missingProperty']);
    const node = parent.properties?.[key];
    return { path: [...path, key], message: `is missing${node ? `, expected ${expectedText(node)}` : ''}` };
  }
  if (error.keyword === EXACTLY_ONE) return { path, message: choiceMessage(parent, error.data) };
  if (/^(min|max)(Items|Length|Properties)$|^uniqueItems$/.test(error.keyword)) {
    return { path, message: error.message ?? error.keyword };
  }
  return { path, message: `expected ${expectedText(parent)}, got ${showValue(error.data)}` };
}

function hasExactlyOne(keys: readonly string[], table: Readonly<Record<string, unknown>>): boolean {
  return keys.filter((key) => Object.hasOwn(table, key)).length === 1;
}

function choiceMessage({ exactlyOne = [], properties = {} }: SchemaNode, table: unknown): string {
  const given = exactlyOne.filter((key) => Object.hasOwn(table ?? {}, key));
  if (given.length > 0) return `${given.join(' and ')} exclude each other: keep one`;
  const choices = exactlyOne.map((key) => `${key} (${expectedText(properties[key] ?? {})})`);
  return `needs one of ${choices.join(', ')}`;
}

/**
 * One mistake, one message: a choice (`anyOf`) that fails reports each alternative's complaint too. Those at the same
 * place are dropped; where an alternative went deeper (an item of a list), its complaint is the better one and stays.
 */
function withoutEchoes(errors: readonly ErrorObject[]): readonly ErrorObject[] {
  const choices = errors.filter(({ keyword }) => keyword === 'anyOf' || keyword === 'oneOf');
  const isDeeper = (error: ErrorObject, than: ErrorObject) => error.instancePath.startsWith(`${than.instancePath}/`);
  return errors.filter((error) => {
    if (error.propertyName !== undefined && error.keyword !== 'propertyNames') return false;
    if (choices.includes(error)) return !errors.some((other) => isDeeper(other, error));
    return !choices.some((choice) => choice.instancePath === error.instancePath);
  });
}

/** A number is a position in a list, but a name in a table (`report.codes.3`). */
function pathOf(pointer: string, table: unknown): KeyPath {
  let value = table;
  return pointer
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
    .map((part) => {
      const step = Array.isArray(value) ? Number(part) : part;
      value = Reflect.get(Object(value), step);
      return step;
    });
}

function sameProblem(one: ConfigProblem, other: ConfigProblem): boolean {
  return one.key === other.key && one.message === other.message && one.origin === other.origin;
}
