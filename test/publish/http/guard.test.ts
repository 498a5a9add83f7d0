import assert from 'node:assert/strict';
import test from 'node:test';
import { fakePort } from './fake-port.ts';
import { type Ask, ask, listen, raw, run } from './harness.ts';

const refusals: readonly (readonly [string, string, Ask, number, string])[] = [
  ['a rebound name in Host', '/v1/lifetime', { headers: { host: 'evil.example' } }, 403, 'foreign_host'],
  ['a name that only begins like ours', '/', { headers: { host: 'localhost.evil.example' } }, 403, 'foreign_host'],
  ['an address of the network in Host', '/', { headers: { host: '10.0.0.1:8653' } }, 403, 'foreign_host'],
  ['a foreign Origin', '/', { headers: { origin: 'http://evil.example' } }, 403, 'foreign_origin'],
  ['Origin null (a sandboxed frame)', '/', { headers: { origin: 'null' } }, 403, 'foreign_origin'],
  ['an https Origin of the same name', '/', { headers: { origin: 'https://localhost' } }, 403, 'foreign_origin'],
  ['a cross-site fetch', '/', { headers: { 'sec-fetch-site': 'cross-site' } }, 403, 'cross_site'],
  ['a same-site fetch (another port)', '/', { headers: { 'sec-fetch-site': 'same-site' } }, 403, 'cross_site'],
  [
    'a form',
    '/v1/payloads',
    { method: 'POST', body: 'a=b', headers: { 'content-type': 'text/plain' } },
    415,
    'not_json',
  ],
  ['a body without a type', '/v1/payloads', { method: 'POST', body: '{}' }, 415, 'not_json'],
  [
    'DELETE with a body of another type',
    '/v1/payloads/x',
    { method: 'DELETE', body: 'x', headers: { 'content-length': '1' } },
    415,
    'not_json',
  ],
];
for (const [what, path, options, status, code] of refusals) {
  test(`refused: ${what}`, async (t) => {
    const { url, port } = await run(t);
    const answer = await ask(`${url}${path}`, options);
    assert.equal(answer.status, status);
    assert.match(answer.headers['content-type'] ?? '', /^application\/problem\+json/);
    assert.equal(answer.headers['x-content-type-options'], 'nosniff');
    assert.equal(answer.headers['access-control-allow-origin'], undefined);
    const { type, title, detail, ...rest } = answer.json();
    assert.deepEqual(rest, { status, code });
    assert.ok([type, title, detail].every((text) => typeof text === 'string' && text !== ''));
    assert.equal(port.counts.get(`mjf_requests_refused_total ${code}`), 1);
  });
}

const accepted: readonly (readonly [string, Record<string, string>])[] = [
  ['localhost through ssh -L', { host: 'localhost:18653' }],
  ['127.0.0.1', { host: '127.0.0.1' }],
  ['[::1] with a port', { host: '[::1]:1' }],
  ['an Origin of our own', { origin: 'http://127.0.0.1:8653' }],
  ['a fetch typed by the user', { 'sec-fetch-site': 'none' }],
  ['a fetch of our own page', { 'sec-fetch-site': 'same-origin', origin: 'http://localhost:8653' }],
];
for (const [what, headers] of accepted) {
  test(`accepted: ${what}`, async (t) => {
    const { url } = await run(t);
    assert.equal((await ask(`${url}/v1/lifetime`, { headers })).status, 200);
  });
}

test('absolute-form targets are refused: this is no proxy', async (t) => {
  const { tcpPort, port } = await run(t);
  for (const target of ['http://evil/v1/lifetime', 'http://localhost/v1/lifetime', '*']) {
    const answer = await raw(tcpPort, `GET ${target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
    assert.match(answer, /^HTTP\/1\.1 400 /, target);
    assert.match(answer, /"code":"absolute_target"/, target);
  }
  assert.equal(port.counts.get('mjf_requests_refused_total absolute_target'), 3);
});

test('HTTP/1.0 without Host is refused on TCP; on the sockets any Host will do', async (t) => {
  const { tcpPort, admin, reader } = await run(t);
  assert.match(await raw(tcpPort, 'GET /v1/lifetime HTTP/1.0\r\n\r\n'), /^HTTP\/1\.1 403 /);
  for (const { socketPath } of [admin, reader]) {
    assert.equal((await ask('/v1/lifetime', { socketPath, headers: { host: 'anything' } })).status, 200);
  }
});

test('unknown paths are 404, known paths with another method 405 with Allow', async (t) => {
  const { url } = await run(t);
  const unknown = await ask(`${url}/v2/nothing`, { method: 'POST', body: 'x' });
  assert.equal(unknown.status, 404);
  assert.equal(unknown.json()['code'], 'not_found');
  for (const [path, method, allow] of [
    ['/machinefeatures/total_cpu', 'PUT', 'GET, HEAD'],
    ['/v1/lifetime?x=1', 'POST', 'GET, HEAD'],
    ['/v1/payloads', 'PUT', 'GET, HEAD, POST'],
    ['/v1/payloads/p1', 'OPTIONS', 'DELETE, GET, HEAD, PATCH'],
    ['/joboutputs/x', 'GET', 'PUT'],
    ['/healthz', 'PROPFIND', 'GET, HEAD'],
    ['/v1/notices', 'GET', 'DELETE, POST'],
  ] as const) {
    const answer = await ask(`${url}${path}`, { method });
    assert.equal(answer.status, 405, path);
    assert.equal(answer.headers.allow, allow);
  }
});

test('an unreadable target elsewhere is 400, not a stack trace', async (t) => {
  const { url } = await run(t);
  const answer = await ask(`${url}/v1/payloads/%zz`);
  assert.equal(answer.status, 400);
  assert.match(answer.headers['content-type'] ?? '', /^application\/problem\+json/);
  assert.equal(answer.headers['x-content-type-options'], 'nosniff');
});

test('the same refusal is logged once, each is counted, and no control character reaches the log', async (t) => {
  const { url, port, logs, reader } = await run(t);
  for (let i = 0; i < 5; i++)
    await ask(`${url}/v1/\u001b%5b31mtoken`.replace('\u001b', '%1b'), { headers: { host: 'evil' } });
  await ask('/v1/notices/%1b[2J', { socketPath: reader.socketPath, method: 'DELETE' });
  const refused = logs.filter(({ event }) => event === 'request_refused');
  assert.deepEqual(
    refused.map(({ reason, route }) => [reason, route]),
    [
      ['foreign_host', 'none'],
      ['operator_only', '/v1/notices/*'],
    ],
  );
  assert.equal(port.counts.get('mjf_requests_refused_total foreign_host'), 5);
  assert.doesNotMatch(logs.map((entry) => Object.values(entry).join(' ')).join(' '), /[\p{Cc}\p{Cf}]|token/u);
});

test('requests are counted by the pattern of their route, never by the path (a path may hold a token)', async (t) => {
  const { url, port } = await run(t);
  await ask(`${url}/p/secret/jobfeatures/job_id`);
  await ask(`${url}/nothing/here`);
  await ask(`${url}/healthz`);
  assert.equal(port.counts.get('mjf_http_requests_total /p/:token/jobfeatures/:key 404'), 1);
  assert.equal(port.counts.get('mjf_http_requests_total none 404'), 1);
});

test('a failure inside is a 500 without its text, and a log line', async (t) => {
  const port = fakePort();
  const { url, logs } = await run(
    t,
    {},
    {
      ...port,
      sources: () => {
        throw new Error('a secret path');
      },
    },
  );
  const answer = await ask(`${url}/v1/sources`);
  assert.equal(answer.status, 500);
  assert.doesNotMatch(answer.body, /secret/);
  assert.ok(logs.some(({ event }) => event === 'http_error'));
  assert.equal((await ask(`${url}/healthz`)).status, 200);
});

test('liveness, readiness, metrics and the list of what there is', async (t) => {
  const { url, port } = await run(t);
  assert.deepEqual(await statusAndBody(`${url}/healthz`), [200, 'ok\n']);
  assert.deepEqual(await statusAndBody(`${url}/readyz`), [200, 'ok\n']);
  port.healthy = false;
  port.ready = false;
  assert.deepEqual(await statusAndBody(`${url}/healthz`), [503, 'main loop late\n']);
  assert.deepEqual(await statusAndBody(`${url}/readyz`), [503, 'no source has answered yet\n']);
  const metrics = await ask(`${url}/metrics`);
  assert.equal(metrics.headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8');
  assert.match(metrics.body, /^# HELP/);
  const index = await ask(`${url}/`);
  assert.match(index.headers['content-type'] ?? '', /^text\/plain/);
  assert.match(index.body, /^GET +\/v1\/lifetime +\S/m);
});

test('the OpenAPI document names every route that the list names, with its parameters and body', async (t) => {
  const { url } = await run(t);
  const document = (await ask(`${url}/openapi.json`)).json();
  assert.equal(document['openapi'], '3.1.0');
  const paths = document['paths'] as Record<string, Record<string, Record<string, unknown>>>;
  const index = (await ask(`${url}/`)).body;
  const routes = [...index.matchAll(/^([A-Z]+) +(\/\S*)/gm)].map(([, method, path]) => [
    method?.toLowerCase() ?? '',
    path ?? '',
  ]);
  assert.ok(routes.length >= 30, `${routes.length} routes`);
  const ids = new Set<unknown>();
  for (const [method = '', path = ''] of routes) {
    const operation = paths[path.replace(/:(\w+)/g, '{$1}').replace('*', '{id}')]?.[method];
    assert.ok(operation, `${method} ${path}`);
    assert.ok(operation['responses'], path);
    assert.notEqual(operation['summary'], '', path);
    ids.add(operation['operationId']);
  }
  assert.equal(ids.size, routes.length, 'operationIds are unique');
  const names = (operation: Record<string, unknown> | undefined) =>
    ((operation?.['parameters'] ?? []) as { name: string; in: string }[]).map((one) => `${one.in} ${one.name}`);
  assert.deepEqual(names(paths['/p/{token}/jobfeatures/{key}']?.['get']), [
    'path token',
    'path key',
    'header If-None-Match',
  ]);
  assert.deepEqual(names(paths['/v1/lifetime']?.['get']), [
    'query wait_for_change',
    'query last_etag',
    'query timeout_sec',
    'header If-None-Match',
  ]);
  assert.ok(paths['/v1/payloads']?.['post']?.['requestBody']);
});

test('streams count among the requests once they end', async (t) => {
  const { url, port, server } = await run(t);
  const events = await listen(`${url}/v1/events`);
  const counted = port.counted('mjf_http_requests_total /v1/events 200');
  await server.close();
  await events.ended;
  await counted;
});

async function statusAndBody(url: string): Promise<[number, string]> {
  const { status, body } = await ask(url);
  return [status, body];
}

test('every answer says whose it is: values, refusals, streams, what no route knows, on every door', async (t) => {
  const { url, reader, admin } = await run(t, { instance: 'this-one' });
  for (const target of ['/', '/v1/lifetime', '/machinefeatures/none', '/nowhere', '/%zz', '/metrics'])
    assert.equal((await ask(`${url}${target}`)).headers['mjf-agent-instance'], 'this-one', target);
  const refused = await ask(`${url}/`, { headers: { host: 'evil.example' } });
  assert.deepEqual([refused.status, refused.headers['mjf-agent-instance']], [403, 'this-one']);
  for (const { socketPath } of [reader, admin])
    assert.equal((await ask('/', { socketPath })).headers['mjf-agent-instance'], 'this-one');
});

test('a request of our own that came back is refused before anything is done with it; another agent’s is not', async (t) => {
  const { url, port } = await run(t, { instance: 'this-one' });
  const put = (instance: string) =>
    ask(`${url}/joboutputs/log`, { method: 'PUT', body: 'x', headers: { 'mjf-agent-instance': instance } });
  const own = await put('this-one');
  assert.deepEqual([own.status, own.json()['code']], [508, 'own_output']);
  assert.equal(port.counts.get('mjf_requests_refused_total own_output'), 1);
  assert.notEqual((await put('another')).status, 508);
});

test('an expectation that nobody knows is overlooked: no answer comes past all this', async (t) => {
  const { url } = await run(t, { instance: 'this-one' });
  const answer = await ask(`${url}/healthz`, { headers: { expect: 'miracles' } });
  assert.deepEqual([answer.status, answer.body, answer.headers['mjf-agent-instance']], [200, 'ok\n', 'this-one']);
  const refused = await ask(`${url}/healthz`, { headers: { expect: 'miracles', host: 'evil.example' } });
  assert.deepEqual([refused.status, refused.json()['code']], [403, 'foreign_host']);
});
