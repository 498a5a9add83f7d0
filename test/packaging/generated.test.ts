/** What is made from the program's own tables: up to date, and of use in the programs that read it. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, it } from 'node:test';
import { commandTable } from '../../agent/commands/table.ts';
import { generatedFiles } from '../../packaging/generate/generated.ts';

const PACKAGING = path.resolve(import.meta.dirname ?? __dirname, '../../packaging');
const place = (name: string): string => path.join(PACKAGING, name);
const lacks = (tool: string): string | false => (spawnSync(tool, ['--version']).error ? `needs ${tool}` : false);
const files = await generatedFiles();

describe('what is generated', () => {
  for (const [name, text] of Object.entries(files)) {
    it(`packaging/${name} is what the program's tables give now`, () => {
      assert.equal(fs.readFileSync(place(name), 'utf8'), text, 'stale: run `npm run generate`');
    });
  }

  for (const page of [
    'man/mjf-agent.1',
    'man/mjf-agent.toml.5',
    'man/mjf-agent-http.7',
    'man/mjf-agent-hooks.7',
    'man/mjf-agent-sources.7',
  ]) {
    it(`${page} has nothing that mandoc finds fault with`, { skip: lacks('mandoc') }, () => {
      const { stdout, stderr } = spawnSync('mandoc', ['-T', 'lint', place(page)], { encoding: 'utf8' });
      assert.equal(stdout + stderr, '');
    });
  }

  it('the manual names every command and every option', async () => {
    const page = files['man/mjf-agent.1'] ?? '';
    for (const { name, load } of commandTable) {
      assert.match(page, new RegExp(`^\\.SS ${name}$`, 'm'));
      for (const option of Object.keys((await load()).command.options))
        assert.ok(page.includes(`\\-\\-${option.replaceAll('-', '\\-')}`), `${name} --${option}`);
    }
  });
});

/** Command line as typed, up to the cursor, and what is offered, in any order. */
const OFFERS: readonly (readonly [typed: readonly string[], offered: readonly string[]])[] = [
  [
    ['mjf-agent', 'e'],
    ['env', 'exec'],
  ],
  [['mjf-agent', 'exec', '--fea'], ['--features']],
  [
    ['mjf-agent', 'exec', '--features', ''],
    ['path', 'url'],
  ],
  [['mjf-agent', 'run', '--log-level', 'w'], ['warn']],
  [
    ['mjf-agent', 'get', ''],
    ['hs06', 'job_id', 'total_cpu'],
  ],
  [['mjf-agent', 'exec', '--name', 'x', '--', '--fea'], []],
];

describe('completions', () => {
  /** Keys are files; what is no key is not offered. */
  const runtimeDir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-completions-'));
  process.on('exit', () => fs.rmSync(runtimeDir, { recursive: true }));
  for (const file of ['machinefeatures/hs06', 'machinefeatures/total_cpu', 'jobfeatures/job_id', 'jobfeatures/$(id)']) {
    fs.mkdirSync(path.dirname(path.join(runtimeDir, file)), { recursive: true });
    fs.writeFileSync(path.join(runtimeDir, file), '');
  }
  const env = { PATH: process.env['PATH'], HOME: runtimeDir, MJF_AGENT_RUNTIME_DIR: runtimeDir };

  it('in bash', { skip: lacks('bash') }, () => {
    const script = `. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _mjf_agent; printf '%s\\n' "\${COMPREPLY[@]}"`;
    for (const [typed, offered] of OFFERS) {
      const args = ['-c', script, 'bash', place('completions/mjf-agent.bash'), ...typed];
      assert.deepEqual(words(execFileSync('bash', args, { env, encoding: 'utf8' })), offered, typed.join(' '));
    }
    const inParts = ['mjf-agent', 'exec', '--features', '=', 'u'];
    const args = ['-c', script, 'bash', place('completions/mjf-agent.bash'), ...inParts];
    assert.deepEqual(words(execFileSync('bash', args, { env, encoding: 'utf8' })), ['url']);
  });

  it('in fish', { skip: lacks('fish') }, () => {
    for (const [typed, offered] of OFFERS) {
      const script = `source ${place('completions/mjf-agent.fish')}; complete -C '${typed.join(' ')}'`;
      const { stdout, stderr } = spawnSync('fish', ['--no-config', '-c', script], { env, encoding: 'utf8' });
      assert.deepEqual(words(stdout.replace(/\t.*$/gm, '')), offered, typed.join(' '));
      // It would stand in the middle of what is typed.
      assert.equal(stderr, '', typed.join(' '));
    }
  });

  it('in zsh, as far as its grammar goes', { skip: lacks('zsh') }, () => {
    const { status, stderr } = spawnSync('zsh', ['-n', place('completions/_mjf-agent')], { env, encoding: 'utf8' });
    assert.deepEqual([status, stderr], [0, '']);
  });
});

const words = (text: string): readonly string[] => text.split('\n').filter(Boolean).sort();
