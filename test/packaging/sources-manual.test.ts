/** What the manual says of the sources, against the sources and the stand-ins: names, keys, intervals, ways back, questions. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import type { SchemaNode } from '../../agent/config/schema.ts';
import { sourceDefinitions } from '../../agent/sources/index.ts';
import type { Source, SourceDefinition, SourceEnvironment } from '../../agent/sources/source.ts';
import { SOURCE_FACTS } from '../../packaging/generate/source-facts.ts';
import { startAlibabaHost } from '../hosts/alibaba.ts';
import { startAzureHost } from '../hosts/azure.ts';
import { startEc2Host } from '../hosts/ec2.ts';
import { startGceHost } from '../hosts/gce.ts';
import { startOpenstackHost } from '../hosts/openstack.ts';
import { startOracleHost } from '../hosts/oracle.ts';
import { startTencentHost } from '../hosts/tencent.ts';
import { sourceEnvironment } from '../sources/environment.ts';

const ROOT = path.resolve(import.meta.dirname ?? __dirname, '../..');
const manual = fs.readFileSync(path.join(ROOT, 'packaging/docs/sources.md'), 'utf8');
const names = sourceDefinitions.map(({ name }) => name);

/** What stands below `### name`. */
function sectionOf(name: string): string {
  const [, body] = manual.split(`\n### ${name}\n`);
  assert.ok(body !== undefined, `sources.md has no section ${name}`);
  return body.split(/\n##+ /)[0] ?? '';
}

const marked = (text: string): readonly string[] => [...text.matchAll(/`([^`]+)`/g)].map(([, word = '']) => word);

/** Enough of a table that there is a source. */
const TABLES: Readonly<Record<string, unknown>> = {
  static: { max_lifetime: '1h' },
  mjf: { machinefeatures: 'http://192.0.2.1/machinefeatures' },
  schedule: [{ name: 'x', cron: '0 6 * * 2', duration: '2h' }],
};

function sourceOf(name: string, table = TABLES[name] ?? {}, given: Partial<SourceEnvironment> = {}): Source {
  const definition = sourceDefinitions.find((each) => each.name === name) as SourceDefinition<unknown> | undefined;
  const [source] = definition?.create(table, sourceEnvironment(given)) ?? [];
  assert.ok(source, `${name} makes no source`);
  return source;
}

describe('sources.md', () => {
  it('describes every source in the order of the program, and no other', () => {
    assert.deepEqual(
      [...manual.matchAll(/^### (\S+)$/gm)].map(([, name]) => name),
      names,
    );
    assert.deepEqual(Object.keys(SOURCE_FACTS).sort(), [...names].sort());
  });

  for (const { name, schema } of sourceDefinitions) {
    it(`${name}: names every key of its table, and no other`, () => {
      const [, listed = ''] = /^- \*\*Configuration:\*\* `\[+source\.\w+\]+`: ([^.]*)/m.exec(sectionOf(name)) ?? [];
      const node = schema as SchemaNode;
      const keys = Object.keys(node.properties ?? node.items?.properties ?? {});
      const given = marked(listed).filter((word) => word !== 'true' && word !== 'false');
      assert.deepEqual([...given].sort(), [...keys].sort());
    });

    it(`${name}: its way back and its interval are those of the program`, (t) => {
      const source = sourceOf(name);
      t.after(() => source.close?.());
      const { backIs, asked } = SOURCE_FACTS[name] ?? assert.fail(name);
      assert.deepEqual(Object.keys(source.back ?? {}), backIs);
      if (asked === undefined) return;
      assert.equal(typeof source.poll === 'number' ? `every ${source.poll / 1000} s` : source.poll, asked);
    });
  }

  const HOSTS = {
    ec2: startEc2Host,
    gce: startGceHost,
    azure: startAzureHost,
    openstack: startOpenstackHost,
    alibaba: startAlibabaHost,
    tencent: startTencentHost,
    oracle: startOracleHost,
  };
  for (const [name, start] of Object.entries(HOSTS)) {
    it(`${name}: names every path that is asked, and no other`, async (t) => {
      const host = await start();
      t.after(() => host.close());
      const asked = new Set<string>();
      const trace: SourceEnvironment['trace'] = ({ asked: what }) => {
        // Drives and files are no paths of a service.
        if (what.includes(host.url)) asked.add(what.replace(/^GET /, '').replace(host.url, ''));
      };
      const source = sourceOf(name, { base_url: host.url }, { trace });
      t.after(() => source.close?.());
      await source.read({ signal: new AbortController().signal, fresh: true, patient: true });
      const cells = [...sectionOf(name).matchAll(/^\| (.*?) \|/gm)].map(([, cell = '']) => cell);
      const told = cells.flatMap(marked).filter((word) => word.includes('/'));
      // Below a path that ends in a slash stands what a site has named.
      const fits = (one: string, other: string): boolean =>
        one === other || (other.endsWith('/') && one.startsWith(other)) || `${one}/` === other;
      const untold = [...asked].filter((one) => !told.some((other) => fits(one, other)));
      assert.deepEqual(untold, [], 'asked, and not in the manual');
      const unasked = told.filter((other) => ![...asked].some((one) => fits(one, other)));
      assert.deepEqual(unasked, [], 'in the manual, and never asked');
    });
  }
});
