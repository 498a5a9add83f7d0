/** A report into a directory with the program itself as its child. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { deliverTo } from '../../agent/report/deliver.ts';

const SELF = { command: process.execPath, args: ['--import', 'tsx', path.resolve('agent/main.ts')] };

test('the program writes, replaces and removes, and says why it cannot', async (t) => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-deliver-'));
  t.after(() => fs.rmSync(directory, { recursive: true, force: true }));
  const send = (into: string, body: Buffer | null) =>
    deliverTo({ url: null, directory: into, ca: null, cert: null, key: null }, SELF)(
      'shutdown_message',
      body,
      new AbortController().signal,
    );
  const file = path.join(directory, 'shutdown_message');
  for (const text of ['100 first', '700 second']) {
    assert.equal(await send(directory, Buffer.from(text)), null);
    assert.equal(fs.readFileSync(file, 'utf8'), text);
    assert.equal(fs.statSync(file).mode & 0o777, 0o644 & ~process.umask());
  }
  assert.equal(await send(directory, null), null);
  assert.deepEqual(fs.readdirSync(directory), []);
  const missing = path.join(directory, 'missing');
  assert.deepEqual(await send(missing, Buffer.from('x')), { code: 'enoent', final: false });
  assert.deepEqual(await send(missing, null), { code: 'enoent', final: false });
});

test('of a file whose sender is killed in the middle, and of one whose sender is dead, nothing is seen', async (t) => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-deliver-'));
  t.after(() => fs.rmSync(directory, { recursive: true, force: true }));
  fs.writeFileSync(path.join(directory, 'log'), 'newer');
  const write = async (text: string, ...what: readonly string[]): Promise<readonly [number, string]> => {
    const child = spawn(SELF.command, [...SELF.args, '__write-file', directory, 'log', ...what], { stdio: 'pipe' });
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
    child.stdin.end(text);
    const [code] = await once(child, 'close');
    return [code, said.trim()];
  };
  assert.deepEqual(await write('half', '8', String(process.pid)), [1, 'ecanceled']);
  assert.deepEqual(await write('old', '3', '1'), [1, 'ecanceled']);
  assert.deepEqual(await write('', 'remove', '1'), [1, 'ecanceled']);
  assert.deepEqual(fs.readdirSync(directory), ['log']);
  assert.equal(fs.readFileSync(path.join(directory, 'log'), 'utf8'), 'newer');
  assert.deepEqual(await write('newest', '6', String(process.pid)), [0, '']);
  assert.equal(fs.readFileSync(path.join(directory, 'log'), 'utf8'), 'newest');
});
