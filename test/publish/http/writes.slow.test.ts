import assert from 'node:assert/strict';
import test from 'node:test';
import { NOW_MS } from './fake-port.ts';
import { ask, run } from './harness.ts';

test('a job output is bytes whatever its type says, empty ones too', async (t) => {
  const { url, port } = await run(t);
  const put = (name: string, body: string, headers = {}) =>
    ask(`${url}/joboutputs/${name}`, { method: 'PUT', body, headers });
  assert.equal((await put('a.json', '{"a":', { 'content-type': 'application/json' })).status, 201);
  assert.equal((await put('b', 'text')).status, 201);
  assert.equal((await put('c', '', { 'content-type': 'image/x' })).status, 201);
  const uid = process.getuid?.();
  assert.deepEqual(port.outputs, [
    { name: 'a.json', body: '{"a":', uid },
    { name: 'b', body: 'text', uid },
    { name: 'c', body: '', uid },
  ]);
});

test('a job output is at most 1 MiB', async (t) => {
  const { url, port } = await run(t);
  const put = (size: number) => ask(`${url}/joboutputs/x`, { method: 'PUT', body: 'x'.repeat(size) });
  assert.equal((await put(1024 * 1024)).status, 201);
  const large = await put(1024 * 1024 + 1).catch((error: NodeJS.ErrnoException) => error.code);
  if (typeof large === 'object') assert.equal(large.status, 413);
  else assert.match(String(large), /EPIPE|ECONNRESET/);
  assert.equal(port.outputs.length, 1);
});

test('names of job outputs are flat and visible; the agent’s own are reserved (S5.3)', async (t) => {
  const { url, port } = await run(t, { reservedOutputs: ['shutdown_message', 'alive'] });
  const put = (name: string) => ask(`${url}/joboutputs/${name}`, { method: 'PUT', body: 'x' });
  for (const name of ['.hidden', '..', '..%2fx', 'a%00b', 'a%20b', 'x'.repeat(129)]) {
    const { status } = await put(name);
    assert.ok(status === 400 || status === 404 || status === 405, `${name}: ${status}`);
  }
  for (const name of ['shutdown_message', 'alive', 'Shutdown_Message', 'ALIVE', 'shutdown_message..']) {
    const answer = await put(name);
    assert.equal(answer.status, 403);
    assert.equal(answer.json()['code'], 'reserved_name');
  }
  assert.deepEqual(port.outputs, []);
  assert.equal((await put(`${'x'.repeat(128)}`)).status, 201);
});

test('no place named by the site is 404, a full queue 507', async (t) => {
  const { url, port } = await run(t);
  port.outputAnswer = 'no_channel';
  const none = await ask(`${url}/joboutputs/x`, { method: 'PUT', body: 'x' });
  assert.deepEqual([none.status, none.json()['code']], [404, 'no_channel']);
  port.outputAnswer = 'full';
  const full = await ask(`${url}/joboutputs/x`, { method: 'PUT', body: 'x' });
  assert.deepEqual([full.status, full.json()['code']], [507, 'full']);
});

test('the operator announces, takes back and overrides (S6.1); numbers are not given twice', async (t) => {
  const { admin, port } = await run(t);
  const { socketPath } = admin;
  const post = (body: unknown, target = '/v1/notices') => ask(target, { socketPath, body });
  const first = await post({ kind: 'shutdown', in_secs: 90.5, reason: 'patch day' });
  assert.deepEqual([first.status, first.json()], [201, { id: 'operator/1' }]);
  assert.deepEqual((await post({ kind: 'drain' })).json(), { id: 'operator/2' });
  assert.equal((await ask('/v1/notices/operator/2', { socketPath, method: 'DELETE' })).status, 204);
  assert.deepEqual((await post({ kind: 'shutdown', at: 1_766_440_000 })).json(), { id: 'operator/3' });
  assert.equal((await ask('/v1/notices/3', { socketPath, method: 'DELETE' })).status, 204);
  assert.equal((await post({ id: 'operator/1' }, '/v1/notices/ignore')).status, 204);
  assert.equal((await ask('/v1/notices', { socketPath, method: 'DELETE' })).status, 204);
  assert.deepEqual(port.inputs, [
    {
      type: 'operator_notice',
      id: 'operator/1',
      notice: { kind: 'shutdown', deadlineMs: NOW_MS + 90_500, reason: 'patch day' },
    },
    {
      type: 'operator_notice',
      id: 'operator/2',
      notice: { kind: 'drain', deadlineMs: null, reason: 'drain' },
    },
    { type: 'operator_cancel', id: 'operator/2' },
    {
      type: 'operator_notice',
      id: 'operator/3',
      notice: { kind: 'shutdown', deadlineMs: 1_766_440_000_000, reason: 'shutdown' },
    },
    { type: 'operator_cancel', id: 'operator/3' },
    { type: 'ignore', id: 'operator/1' },
    { type: 'operator_cancel' },
  ]);
});

test('the operator takes back that he overrides the host, which the host’s own word survives (S1.5)', async (t) => {
  const { admin, port } = await run(t);
  const { socketPath } = admin;
  const id = 'directory/shutdowntime';
  port.submit({ type: 'operator_notice', id, notice: { kind: 'shutdown', deadlineMs: NOW_MS, reason: 'host' } });
  const takeBack = () => ask(`/v1/notices/${id}`, { socketPath, method: 'DELETE' });
  const refused = await takeBack();
  assert.deepEqual([refused.status, refused.json()['code']], [409, 'not_overridden']);
  assert.equal((await ask('/v1/notices/ignore', { socketPath, body: { id } })).status, 204);
  assert.equal((await takeBack()).status, 204);
  assert.deepEqual(port.inputs.slice(1), [
    { type: 'ignore', id },
    { type: 'operator_cancel', id },
  ]);
});

test('notices: what is wrong is said and changes nothing', async (t) => {
  const { admin, url, port } = await run(t);
  const { socketPath } = admin;
  for (const body of [
    { kind: 'shutdown' },
    { kind: 'shutdown', at: 1_766_440_000, in_secs: 5 },
    { kind: 'shutdown', at: 1_766_440_000_000 },
    { kind: 'terminate', in_secs: 5 },
    { kind: 'drain', reason: 'a\u001b[31m' },
    { kind: 'drain', extra: 1 },
  ]) {
    assert.equal((await ask('/v1/notices', { socketPath, body })).status, 400, JSON.stringify(body));
  }
  assert.equal((await ask('/v1/notices/operator/9', { socketPath, method: 'DELETE' })).status, 404);
  assert.equal((await ask('/v1/notices/ignore', { socketPath, body: { id: 'ec2/none' } })).status, 404);
  // Root over TCP is a user like any other here: the operator comes through admin.sock.
  const tcp = await ask(`${url}/v1/notices`, { body: { kind: 'drain' } });
  assert.deepEqual([tcp.status, tcp.json()['code']], [403, 'operator_only']);
  assert.deepEqual(port.inputs, []);
});

test('broken JSON is 400, a large body 413', async (t) => {
  const { admin } = await run(t);
  const { socketPath } = admin;
  const headers = { 'content-type': 'application/json' };
  for (const body of ['{', '', '[]', '{"__proto__":{}}']) {
    assert.equal((await ask('/v1/notices', { socketPath, method: 'POST', headers, body })).status, 400, body);
  }
  const large = await ask('/v1/notices', { socketPath, body: { kind: 'drain', reason: 'x'.repeat(65 * 1024) } });
  assert.deepEqual([large.status, large.json()['code']], [413, 'too_large']);
});
