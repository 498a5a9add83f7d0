import assert from 'node:assert/strict';
import test from 'node:test';
import { NOW_MS, SNAPSHOT } from './fake-port.ts';
import { ask, run } from './harness.ts';

test('a value is its text and one newline, with a strong ETag, and unchanged it is 304', async (t) => {
  const { url } = await run(t);
  const first = await ask(`${url}/machinefeatures/total_cpu`);
  assert.equal(first.status, 200);
  assert.equal(first.body, '8\n');
  assert.equal(first.headers['content-type'], 'text/plain; charset=utf-8');
  assert.equal(first.headers['cache-control'], 'no-cache');
  assert.equal(first.headers['x-content-type-options'], 'nosniff');
  assert.equal(first.headers['content-security-policy'], "default-src 'none'");
  assert.equal(first.headers['access-control-allow-origin'], undefined);
  assert.match(first.headers.etag ?? '', /^"[\w-]+"$/);
  assert.equal(first.headers['last-modified'], new Date(NOW_MS - 9_000_000).toUTCString());
  for (const tag of [first.headers.etag ?? '', `W/${first.headers.etag}`, `"x", ${first.headers.etag}`, '*']) {
    const again = await ask(`${url}/machinefeatures/total_cpu`, { headers: { 'if-none-match': tag } });
    assert.equal(again.status, 304, tag);
    assert.equal(again.body, '');
    assert.equal(again.headers.etag, first.headers.etag);
  }
  const other = await ask(`${url}/machinefeatures/total_cpu`, { headers: { 'if-none-match': '"x"' } });
  assert.equal(other.status, 200);
});

test('If-Modified-Since counts when no tag is given, and a date of the running second is not given out', async (t) => {
  const { url, port } = await run(t);
  const since = { 'if-modified-since': new Date(NOW_MS - 9_000_000).toUTCString() };
  assert.equal((await ask(`${url}/machinefeatures/total_cpu`, { headers: since })).status, 304);
  const before = { 'if-modified-since': new Date(NOW_MS - 9_001_000).toUTCString() };
  assert.equal((await ask(`${url}/machinefeatures/total_cpu`, { headers: before })).status, 200);
  const stale = { ...since, 'if-none-match': '"x"' };
  assert.equal((await ask(`${url}/machinefeatures/total_cpu`, { headers: stale })).status, 200);
  assert.equal((await ask(`${url}/jobfeatures/job_id`)).headers['last-modified'], undefined);
  port.setNow(NOW_MS + 1000);
  assert.equal((await ask(`${url}/jobfeatures/job_id`)).headers['last-modified'], new Date(NOW_MS).toUTCString());
});

test('HEAD is GET without the body', async (t) => {
  const { url } = await run(t);
  for (const path of [
    '/machinefeatures/total_cpu',
    '/machinefeatures/',
    '/v1/lifetime',
    '/healthz',
    '/openapi.json',
    '/',
  ]) {
    const get = await ask(`${url}${path}`);
    const head = await ask(`${url}${path}`, { method: 'HEAD' });
    assert.equal(head.status, 200, path);
    assert.equal(head.body, '');
    assert.equal(head.headers['content-length'], String(Buffer.byteLength(get.body)), path);
    assert.equal(head.headers.etag, get.headers.etag);
  }
});

test('absent, illegal and unreadable names are 404 with an empty text: a reader takes any body for a value', async (t) => {
  const { url } = await run(t);
  const names = [
    'shutdowntime',
    'Total_CPU',
    '__proto__',
    'constructor',
    '..%2f..%2furl',
    '%zz',
    'a/b',
    'x'.repeat(2000),
    'total_cpu/',
  ];
  for (const name of names) {
    for (const directory of ['machinefeatures', 'jobfeatures']) {
      const answer = await ask(`${url}/${directory}/${name}`);
      assert.equal(answer.status, 404, name);
      assert.equal(answer.body, '', name);
      assert.equal(answer.headers['content-type'], 'text/plain; charset=utf-8', name);
    }
  }
});

test('the listing is one key a line, with and without the slash at the end, no redirect', async (t) => {
  const { url, port } = await run(t);
  port.publish({
    machine: { ...SNAPSHOT.machine, hs06: { value: '171.04', source: 'static', sinceMs: 0, stale: false } },
  });
  for (const path of ['/machinefeatures', '/machinefeatures/']) {
    const answer = await ask(`${url}${path}`);
    assert.equal(answer.status, 200);
    assert.equal(answer.body, 'hs06\ntotal_cpu\n');
    assert.match(answer.headers['content-type'] ?? '', /^text\/plain/);
  }
  port.publish({ job: {} });
  const empty = await ask(`${url}/jobfeatures`);
  assert.equal(empty.status, 200);
  assert.equal(empty.body, '');
});

test("the machine's answer reads like a directory of keys; without an answer it is an empty one", async (t) => {
  const { url, port, reader } = await run(t);
  const none = await ask(`${url}/jobstatus/`);
  assert.deepEqual([none.status, none.body], [200, '']);
  for (const path of ['/jobstatus/can_terminate', '/jobstatus/__proto__', '/jobstatus/%zz', '/jobstatus/a/b']) {
    const absent = await ask(`${url}${path}`);
    assert.deepEqual([absent.status, absent.body], [404, ''], path);
    assert.equal(absent.headers['content-type'], 'text/plain; charset=utf-8', path);
  }
  port.publish({
    canTerminate: { now: false, atMs: null, mustNotUntilMs: NOW_MS + 1, progress: 0.25 },
  });
  for (const path of ['/jobstatus', '/jobstatus/'])
    assert.equal((await ask(`${url}${path}`)).body, 'can_terminate\nmust_not_terminate_until\nprogress\n');
  const value = await ask(`${url}/jobstatus/must_not_terminate_until`);
  assert.equal(value.body, `${NOW_MS / 1000 + 1}\n`, 'rounded up');
  assert.equal(value.headers['content-type'], 'text/plain; charset=utf-8');
  const known = { headers: { 'if-none-match': value.headers.etag ?? '' } };
  assert.equal((await ask(`${url}/jobstatus/must_not_terminate_until`, known)).status, 304);
  assert.equal((await ask('/jobstatus/can_terminate', { socketPath: reader.socketPath })).body, '0\n');
  assert.equal((await ask(`${url}/jobstatus/can_terminate`, { method: 'PUT', body: '1' })).status, 405);
});

test("a payload's view holds its own job features under its token, and no token opens nothing", async (t) => {
  const { url, port } = await run(t);
  const { spec } = port.register({
    name: 'a',
    uid: 1000,
    target: { kind: 'process', leader: { pid: 2, startTicks: 1 }, group: false },
    limits: { allocated_cpu: '2' },
  });
  const view = `${url}/p/${spec.token}`;
  assert.equal((await ask(`${view}/jobfeatures/allocated_cpu`)).body, '2\n');
  assert.equal((await ask(`${view}/machinefeatures/total_cpu`)).body, '8\n');
  assert.equal((await ask(`${view}/jobfeatures`)).body, 'allocated_cpu\njob_id\n');
  assert.equal((await ask(`${view}/machinefeatures/`)).body, 'total_cpu\n');
  assert.equal((await ask(`${url}/jobfeatures/allocated_cpu`)).status, 404);
  for (const path of [
    '/p/nobody/jobfeatures',
    '/p/nobody/jobfeatures/job_id',
    '/p/__proto__/machinefeatures/',
    `/p/${spec.token}`,
  ]) {
    const answer = await ask(`${url}${path}`);
    assert.equal(answer.status, 404, path);
    assert.equal(answer.body, '', path);
  }
});

test('both sockets and the files of one address give the same answers', async (t) => {
  const { admin, reader } = await run(t);
  for (const { socketPath } of [admin, reader]) {
    assert.equal((await ask('/machinefeatures/total_cpu', { socketPath })).body, '8\n');
  }
});
