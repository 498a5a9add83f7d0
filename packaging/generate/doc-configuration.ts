/** The key tables of configuration.md. */
import type { SchemaNode } from '../../agent/config/schema.ts';
import { markdownTable } from './blocks.ts';
import { configTables, type KeyFacts, type TableFacts } from './config-keys.ts';

export const configurationKeys = (schema: SchemaNode): string => configTables(schema).map(tableText).join('\n');

function tableText({ heading, description, list, keys }: TableFacts): string {
  const many =
    list === null ? '' : ` May stand more than once${list.most === null ? '' : `, at most ${list.most} times`}.`;
  const whole = list === null ? '' : ` The whole list as one variable, in TOML: \`${list.variable}\`.`;
  const text = `${description}${many}${whole}`.replaceAll('\n', ' ').trim();
  return [
    `### ${heading === '' ? 'Before all tables' : `\`${heading}\``}`,
    '',
    ...(text === '' ? [] : [text, '']),
    markdownTable(['key', 'value', 'meaning'], keys.map(rowOf)),
  ].join('\n');
}

function rowOf(key: KeyFacts): readonly string[] {
  const { name, description, expects, byDefault, example, unlessGiven, variable, flags, isRequired, needsRestart } =
    key;
  const value = [
    expects,
    ...(isRequired ? ['must be given'] : []),
    ...(byDefault === null ? [] : [`default \`${byDefault}\``]),
    ...(example === null ? [] : [`for example \`${example}\``]),
    ...(unlessGiven === null ? [] : [`\`${unlessGiven}\` unless given`]),
  ].join('; ');
  return [
    `\`${name}\`${variable === null ? '' : `<br>\`${variable}\``}`,
    value,
    [
      description.replaceAll('\n', ' '),
      ...(flags.length === 0 ? [] : [`Flag: ${flags.map((flag) => `\`${flag}\``).join(', ')}.`]),
      ...(needsRestart ? ['**Next start.**'] : []),
    ].join(' '),
  ];
}
