/** What the manual says of the configuration, against what the program does: each key, its variable, its bounds. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import { readEnvironment, variableOf } from '../../agent/config/environment.ts';
import { sampleOf } from '../../agent/config/expected.ts';
import { flagKeys } from '../../agent/config/flags.ts';
import { fixedAtStart } from '../../agent/config/reload.ts';
import type { SchemaNode } from '../../agent/config/schema.ts';
import { toConfig } from '../../agent/config/typed.ts';
import { configSchema } from '../../agent/config.ts';
import { configTables } from '../../packaging/generate/config-keys.ts';
import { load, toml } from '../support/load-config.ts';

const schema = configSchema();

interface Node {
  readonly path: readonly string[];
  readonly node: SchemaNode;
  /** Within a list of tables, where nothing has a variable of its own. */
  readonly inList: boolean;
}

function nodesOf(node: SchemaNode, at: readonly string[] = [], inList = false): readonly Node[] {
  const below = Object.entries(node.properties ?? {}).flatMap(([key, inner]) => nodesOf(inner, [...at, key], inList));
  const rows = node.items?.properties === undefined ? [] : nodesOf(node.items, at, true).slice(1);
  return [{ path: at, node, inList }, ...below, ...rows];
}
const nodes = nodesOf(schema);
const named = nodes.filter(({ path }) => path.length > 0);

describe('keys of the configuration', () => {
  it('each has a description, and so has each table', () => {
    // [source] and the whole have nothing to say.
    const silent = named.filter(({ path, node }) => path.join('.') !== 'source' && !/\.$/.test(node.description ?? ''));
    assert.deepEqual(
      silent.map(({ path }) => path.join('.')),
      [],
    );
    assert.ok(named.length > 130, String(named.length));
  });

  it('each stands in the manual once, in its table', () => {
    const told = configTables(schema).flatMap(({ heading, keys }) => {
      const table = heading.replace(/[[\]]/g, '');
      return keys.map(({ name }) => [table, name.replaceAll('[]', '')].filter(Boolean).join('.'));
    });
    assert.equal(new Set(told).size, told.length);
    // The steps of a payload are those of [stop], which stand there.
    const isTable = ({ node, path }: Node): boolean =>
      node.properties !== undefined && path.join('.') !== 'payload.match';
    const isList = ({ node }: Node): boolean => node.items?.properties !== undefined && node.default === undefined;
    const wanted = named
      .filter(
        (each) => !isTable(each) && (!isList(each) || each.inList) && !/^payload\.steps\./.test(each.path.join('.')),
      )
      .map(({ path }) => path.join('.'));
    assert.deepEqual([...new Set(told)].sort(), [...new Set(wanted)].sort());
  });

  it('each can be set by the variable that the manual names', async () => {
    const wrong: string[] = [];
    for (const { path, node, inList } of named) {
      const value = node.default ?? sampleOf(node);
      if (inList || value === undefined || node.properties !== undefined) continue;
      const text = typeof value === 'string' ? value : asToml(value);
      const read = await readEnvironment({ [variableOf(path)]: text }, schema);
      const at = path.reduce<unknown>((table, key) => (table as Record<string, unknown>)[key], read.layers[0]?.table);
      const isRight = read.problems.length === 0 && read.warnings.length === 0 && at !== undefined;
      if (!isRight) wrong.push(`${variableOf(path)}=${text}: ${JSON.stringify(read)}`);
    }
    assert.deepEqual(wrong, []);
  });

  it('durations below the bound in the manual are refused, and no others', async () => {
    const bounded = named.flatMap(({ path, node }) => {
      if (node.format !== 'duration' && node.format !== 'poll') return [];
      return [{ path, least: node.atLeast ?? (node.format === 'poll' ? '200ms' : undefined) }];
    });
    assert.ok(bounded.length > 30, String(bounded.length));
    const refused = async (textFor: (least: string | undefined) => string): Promise<readonly string[]> => {
      const { problems } = await load(toml(fileWith(bounded.map(({ path, least }) => [path, textFor(least)]))));
      return bounded.map(({ path }) => path.join('.')).filter((name) => problems.some((text) => isAbout(text, name)));
    };
    assert.deepEqual(
      await refused(() => '1ms'),
      bounded.filter(({ least }) => least !== undefined).map(({ path }) => path.join('.')),
    );
    assert.deepEqual(await refused((least) => least ?? '1ms'), []);
  });

  it('flags and the keys that wait for a restart are keys', () => {
    const known = new Set(named.map(({ path }) => path.join('.')));
    for (const key of Object.keys(fixedAtStart(toConfig({}, [])))) assert.ok(known.has(key), key);
    for (const { flag, path } of flagKeys()) assert.ok(known.has(path.join('.')), flag);
  });
});

describe('worked examples', () => {
  const ROOT = path.resolve(import.meta.dirname ?? __dirname, '../..');
  for (const name of ['configuration.md', 'hooks.md', 'sources.md', 'writing-a-source.md']) {
    const document = `packaging/docs/${name}`;
    const blocks = [...fs.readFileSync(path.join(ROOT, document), 'utf8').matchAll(/^```toml\n([\s\S]*?)^```$/gm)];
    blocks.forEach(([, text = ''], index) => {
      it(`${document}, block ${index + 1}: mjf-agent check finds nothing wrong, and nothing strange`, async () => {
        const { problems, warnings } = await load(toml(text));
        assert.deepEqual([problems, warnings], [[], []], text);
      });
    });
  }
});

function asToml(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(asToml).join(', ')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  return `{ ${Object.entries(value)
    .map(([key, inner]) => `${key} = ${asToml(inner)}`)
    .join(', ')} }`;
}

const isAbout = (problem: string, name: string): boolean =>
  problem.includes(`: ${name.replace(/^(source\.schedule|payload)\./, '$1[0].')}:`);

/** A file in which these keys are set, and what must stand beside them. */
function fileWith(values: readonly (readonly [path: readonly string[], value: string])[]): string {
  const tables = new Map<string, string[]>([
    ['[source.schedule]', ['name = "x"', 'cron = "0 6 * * 2"']],
    ['[payload]', ['name = "x"', 'unit = "x.service"']],
  ]);
  for (const [path, value] of values) {
    const table = path.slice(0, -1).join('.');
    const heading = tables.has(`[${table}]`) ? `[${table}]` : table;
    tables.set(heading, [...(tables.get(heading) ?? []), `${path.at(-1)} = "${value}"`]);
  }
  return [...tables].map(([table, lines]) => `[${table}]\n${lines.join('\n')}\n`).join('');
}
