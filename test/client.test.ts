import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { request } from '../agent/client.ts';
import { fakeDaemon } from './commands/cli.ts';

test('a body goes as JSON over TCP to the URL that the daemon wrote', async () => {
  const daemon = await fakeDaemon(() => ({ status: 201, body: 'made', headers: { etag: '"1"' } }));
  try {
    const answer = await request({
      channel: 'tcp',
      runtimeDir: daemon.runtimeDir,
      method: 'POST',
      path: '/v1/payloads',
      body: { a: 'ü' },
      timeoutMs: 5000,
    });
    assert.ok('status' in answer);
    assert.deepEqual([answer.status, answer.body.toString(), answer.headers.etag], [201, 'made', '"1"']);
    assert.deepEqual(
      daemon.requests.map(({ channel, body }) => [channel, body]),
      [['tcp', { a: 'ü' }]],
    );
  } finally {
    await daemon.close();
  }
});

test('an answer that does not come is given up at the bound, an abort at once, an endless body at 4 MiB', async () => {
  const daemon = await fakeDaemon(({ url }) =>
    url === '/endless' ? { status: 200, body: 'x'.repeat(5 * 1024 * 1024) } : new Promise(() => undefined),
  );
  const ask = (address: string, options: { timeoutMs: number; signal?: AbortSignal }) =>
    request({ channel: 'agent', runtimeDir: daemon.runtimeDir, method: 'GET', path: address, ...options });
  try {
    const codes = await Promise.all([
      ask('/hang', { timeoutMs: 50 }),
      ask('/hang', { timeoutMs: 60_000, signal: AbortSignal.timeout(20) }),
      ask('/hang', { timeoutMs: 60_000, signal: AbortSignal.abort() }),
      ask('/endless', { timeoutMs: 60_000 }),
    ]);
    assert.deepEqual(
      codes.map((answer) => ('code' in answer ? answer.code : answer.status)),
      ['timeout', 'aborted', 'aborted', 'too_big'],
    );
  } finally {
    await daemon.close();
  }
});

test('no daemon: no socket, a dead socket, no url file, an unfit url file', async () => {
  const daemon = await fakeDaemon(() => ({ status: 200, body: '' }));
  const ask = async (channel: 'agent' | 'tcp') => {
    const answer = await request({ channel, runtimeDir: daemon.runtimeDir, method: 'GET', path: '/', timeoutMs: 5000 });
    return 'code' in answer ? answer.code : answer.status;
  };
  try {
    assert.deepEqual([await ask('agent'), await ask('tcp')], [200, 200]);
    for (const text of [
      '',
      'ftp://127.0.0.1/',
      'http://192.0.2.1/',
      'https://127.0.0.1/',
      'http://127.0.0.1.example/',
      'nonsense',
    ]) {
      fs.writeFileSync(path.join(daemon.runtimeDir, 'url'), text);
      assert.equal(await ask('tcp'), 'ENOENT', text);
    }
    fs.writeFileSync(path.join(daemon.runtimeDir, 'url'), daemon.url);
    await daemon.stop();
    // Closing took the socket file away; a killed daemon leaves one behind.
    assert.deepEqual([await ask('agent'), await ask('tcp')], ['ENOENT', 'ECONNREFUSED']);
  } finally {
    await daemon.close();
  }
});
