/** The JSON of the commands is an interface: what is documented is there, and what is there is documented. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import type { JsonField } from '../../agent/commands/command.ts';
import { CHECK_JSON, LIFETIME_JSON, NOTICE_JSON, PROBE_JSON } from '../../agent/commands/json-help.ts';
import { commandTable } from '../../agent/commands/table.ts';
import { EXIT_CODE_TEXTS } from '../../agent/exit-codes.ts';
import { lifetimeDocument } from '../../agent/lifetime/document.ts';
import { snapshotOf } from '../support/snapshot.ts';
import { fakeDaemon, run } from './cli.ts';

const DOCUMENT = fs.readFileSync(
  path.resolve(import.meta.dirname ?? __dirname, '../../packaging/docs/command-line.md'),
  'utf8',
);
const namesOf = (fields: readonly JsonField[]): readonly string[] =>
  fields.flatMap(([names]) => names.split(', ')).sort();

describe('fields of --json', () => {
  test('status and watch', () => {
    const { snapshot } = snapshotOf({ machine: { total_cpu: '8' } });
    assert.deepEqual(Object.keys(lifetimeDocument(snapshot)).sort(), namesOf(LIFETIME_JSON));
  });

  test('probe, check and notice', async () => {
    const daemon = await fakeDaemon(() => ({ status: 201, body: '{"id":"operator/1"}' }));
    const file = path.join(daemon.runtimeDir, 'config.toml');
    fs.writeFileSync(file, 'sources = ["static"]\n');
    try {
      for (const [argv, fields] of [
        [['probe', '--json', '--config', file, '--timeout', '5s'], PROBE_JSON],
        [['check', '--json', file], CHECK_JSON],
        [['notice', '--json', '--kind', 'drain'], NOTICE_JSON],
      ] as const) {
        const { out } = await run(argv, daemon.env);
        assert.deepEqual(Object.keys(JSON.parse(out)).sort(), namesOf(fields), argv.join(' '));
      }
    } finally {
      await daemon.close();
    }
  });
});

describe('packaging/docs/command-line.md', () => {
  const sectionOf = (name: string): string =>
    new RegExp(`^## ${name}\\n([\\s\\S]*?)(?=^## |$(?![\\s\\S]))`, 'm').exec(DOCUMENT)?.[1] ?? '';

  for (const { name, load } of commandTable) {
    test(`${name}: its options, its exit codes, an example, each field of its JSON`, async () => {
      const { command } = await load();
      const section = sectionOf(name);
      assert.match(section, /^Exit codes: /m);
      assert.ok(section.includes(`mjf-agent ${name}`), 'an example');
      const common = ['runtime-dir'];
      for (const option of Object.keys(command.options).filter((each) => !common.includes(each)))
        assert.ok(section.includes(`--${option}`), `--${option}`);
      for (const field of namesOf(command.json?.fields ?? [])) assert.ok(section.includes(`\`${field}\``), field);
    });
  }

  test('every exit code', () => {
    for (const code of Object.keys(EXIT_CODE_TEXTS)) assert.match(DOCUMENT, new RegExp(`^\\| ${code} \\|`, 'm'));
  });
});
