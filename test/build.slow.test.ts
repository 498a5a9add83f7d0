import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';

const ROOT = path.resolve(import.meta.dirname ?? __dirname, '..');
const FILES = ['THIRD-PARTY-LICENSES.txt', 'mjf-agent.cjs'];

function build(directory: string, cwd: string): readonly string[] {
  execFileSync(process.execPath, [path.join(ROOT, 'packaging/build.mjs'), directory], { cwd });
  assert.deepEqual(fs.readdirSync(directory).sort(), FILES);
  return FILES.map((name) =>
    createHash('sha256')
      .update(fs.readFileSync(path.join(directory, name)))
      .digest('hex'),
  );
}

test('the bundle', async (t) => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-build-'));
  t.after(() => fs.rmSync(directory, { recursive: true }));
  const program = path.join(directory, 'one/mjf-agent.cjs');
  const hashes = build(path.join(directory, 'one'), ROOT);
  const text = fs.readFileSync(program, 'utf8');

  await t.test('is byte-identical when built again, from another directory into another one', () => {
    assert.deepEqual(build(path.join(directory, 'deeper/two'), os.tmpdir()), hashes);
  });

  await t.test('runs by itself, away from node_modules, and knows its version', () => {
    const { version } = JSON.parse(fs.readFileSync(path.join(ROOT, 'package.json'), 'utf8'));
    const out = execFileSync(program, ['--version'], { cwd: directory, encoding: 'utf8' });
    assert.equal(out, `mjf-agent ${version}\n`);
    const config = path.join(directory, 'config.toml');
    fs.writeFileSync(config, 'listen = "off"\n');
    assert.match(execFileSync(program, ['check', config], { cwd: directory, encoding: 'utf8' }), /\nok\n$/);
  });

  await t.test('first of all ignores SIGUSR1', () => {
    const statements = text.split('\n').slice(0, 2);
    assert.deepEqual(statements, ['#!/usr/bin/env node', "process.on('SIGUSR1', () => undefined);"]);
  });

  await t.test('a small command evaluates none of the large packages', () => {
    // Each CommonJS package in the bundle is a function that runs on first use: count what runs by its file name.
    const probe = path.join(directory, 'probe.cjs');
    fs.writeFileSync(
      probe,
      `const Module = require('node:module'); const load = Module._load; const seen = new Set();
       Module._load = function (name, ...rest) { seen.add(name.replace('node:', '')); return load.call(this, name, ...rest); };
       process.on('exit', () => console.error(JSON.stringify([...seen])));`,
    );
    const { stderr, status } = spawnSync(process.execPath, ['--require', probe, program, '--version'], {
      encoding: 'utf8',
    });
    assert.equal(status, 0);
    const seen: readonly string[] = JSON.parse(stderr.trim().split('\n').at(-1) ?? '[]');
    assert.ok(seen.includes('util'), 'the probe sees what the frame itself requires');
    // What fastify, pino, node-cron and the agent's own rooms require and the command line frame does not.
    for (const name of ['http', 'diagnostics_channel', 'worker_threads', 'child_process', 'crypto', 'net', 'events']) {
      assert.ok(!seen.includes(name), `${name} was required`);
    }
  });

  await t.test('lists the licence of every package in it', () => {
    const licenses = fs.readFileSync(path.join(directory, 'one/THIRD-PARTY-LICENSES.txt'), 'utf8');
    for (const name of ['fastify', 'pino', 'node-cron', 'smol-toml', 'ajv'])
      assert.match(licenses, new RegExp(`^${name} \\d\\S* \\(`, 'm'));
    assert.doesNotMatch(licenses, /esbuild|typescript/);
  });

  await t.test('names no path of the machine that built it', () => {
    assert.ok(!text.includes(ROOT));
  });
});
