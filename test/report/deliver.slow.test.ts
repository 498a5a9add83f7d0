/** A report into a directory with the program itself as its child. */
import assert from 'node:assert/strict';
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
