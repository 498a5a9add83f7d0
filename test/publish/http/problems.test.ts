/** What goes wrong is told in one form, wherever it goes wrong (RFC 9457); and paths as people type them. */
import assert from 'node:assert/strict';
import net from 'node:net';
import test from 'node:test';
import { settledTarget } from '../../../agent/publish/http/target.ts';
import { type Answer, ask, raw, run } from './harness.ts';

const JSON_TYPE = { 'content-type': 'application/json' };

const wrongFields: readonly (readonly [what: string, body: unknown, error: object])[] = [
  ['a wrong type', { name: 'a', target: { pid: '17' } }, { detail: 'must be integer', pointer: '#/target/pid' }],
  ['a missing field', { target: { pid: 17 } }, { detail: "must have required property 'name'", pointer: '#/name' }],
  ['an unknown field', { name: 'a', target: {}, 'a/b': 1 }, { detail: 'must not be given', pointer: '#/a~1b' }],
  ['half a character', { name: 'a', target: {}, '\ud800': 1 }, { detail: 'must not be given', pointer: '#/%EF%BF%BD' }],
  [
    'what no fragment may hold',
    { name: 'a', target: {}, 'a#b': 1 },
    { detail: 'must not be given', pointer: '#/a%23b' },
  ],
  ['no object', 17, { detail: 'must be object', pointer: '#' }],
  [
    'a step in a list',
    {
      name: 'a',
      target: {},
      steps: [
        { at: 'grace', signal: 'SIGTERM' },
        { at: 'soon', signal: 'SIGTERM' },
      ],
    },
    { pointer: '#/steps/1/at' },
  ],
  [
    'a signal of another system',
    { name: 'a', target: {}, steps: [{ at: 'grace', signal: 'SIGNONE' }] },
    { detail: 'There is no signal SIGNONE on this system.', pointer: '#/steps/0/signal' },
  ],
];
for (const [what, body, error] of wrongFields) {
  test(`the field is named: ${what}`, async (t) => {
    const { admin } = await run(t);
    const answer = await ask('/v1/payloads', { ...admin, body });
    const { status, code, errors } = answer.json();
    assert.deepEqual([answer.status, status, code], [400, 400, 'invalid']);
    assert.ok(Array.isArray(errors));
    assert.deepEqual({ ...errors[0], ...error }, errors[0]);
  });
}

test('a wrong parameter is named', async (t) => {
  const { url } = await run(t);
  const { errors } = (await ask(`${url}/v1/lifetime?timeout_sec=soon`)).json();
  assert.deepEqual(errors, [{ detail: 'must match pattern "^[0-9]{1,9}$"', parameter: 'timeout_sec' }]);
});

const mistakes: readonly (readonly [
  what: string,
  send: (url: string) => Promise<Answer>,
  code: string,
  status: number,
])[] = [
  ['no JSON', (url) => ask(`${url}/v1/payloads`, { method: 'POST', headers: JSON_TYPE, body: '{' }), 'bad_json', 400],
  [
    'a poisoned prototype',
    (url) => ask(`${url}/v1/payloads`, { method: 'POST', headers: JSON_TYPE, body: '{"__proto__":{}}' }),
    'bad_json',
    400,
  ],
  ['a % without digits', (url) => ask(`${url}/v1/payloads/%zz`), 'bad_path', 400],
  ['a name without end', (url) => ask(`${url}/v1/payloads/${'x'.repeat(2000)}`), 'path_too_long', 414],
  [
    'headers without end',
    (url) => ask(`${url}/v1/lifetime`, { headers: { x: 'x'.repeat(20_000) } }),
    'headers_too_large',
    431,
  ],
  ['a path without end', (url) => ask(`${url}/v1/lifetime?${'x'.repeat(20_000)}`), 'headers_too_large', 431],
];
for (const [what, send, code, status] of mistakes) {
  test(`told as a problem: ${what}`, async (t) => {
    const { url } = await run(t);
    const answer = await send(url);
    assert.deepEqual([answer.status, answer.json()['status'], answer.json()['code']], [status, status, code]);
    assert.match(answer.headers['content-type'] ?? '', /^application\/problem\+json/);
    assert.equal(answer.headers['x-content-type-options'], 'nosniff');
    assert.ok(answer.headers['mjf-agent-instance']);
    assert.ok(answer.body.endsWith('}\n'));
  });
}

test('what is no HTTP is told so, and the connection is closed', async (t) => {
  const { tcpPort, url } = await run(t);
  const got = await raw(tcpPort, 'EHLO example\r\n\r\n');
  const [head = '', body = ''] = got.split('\r\n\r\n');
  assert.match(head, /^HTTP\/1\.1 400 Bad Request\r\n/);
  assert.match(head, /^connection: close$/im);
  assert.equal(JSON.parse(body).code, 'bad_request');
  assert.equal((await ask(`${url}/healthz`)).status, 200);
});

test('nothing is written into the middle of another answer', async (t) => {
  const { tcpPort } = await run(t);
  const socket = net.connect(tcpPort, '127.0.0.1');
  socket.write('GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n');
  let got = '';
  socket.on('data', (chunk) => {
    if (got === '') socket.write('GARBAGE\r\n\r\n');
    got += String(chunk);
  });
  socket.on('error', () => undefined);
  await new Promise((resolve) => socket.on('close', resolve));
  assert.match(got, /^HTTP\/1\.1 200 OK\r\n/);
  assert.doesNotMatch(got, /bad_request/);
});

test('a slash too many or too few at the end of a path does no harm', async (t) => {
  const { url } = await run(t);
  for (const [path, same] of [
    ['/machinefeatures', '/machinefeatures/'],
    ['/jobfeatures?x=1', '/jobfeatures/'],
    ['/jobstatus', '/jobstatus/'],
    ['/v1/lifetime/', '/v1/lifetime'],
    ['/healthz/', '/healthz'],
    ['/v1/sources/?x=1', '/v1/sources'],
  ] as const) {
    const [answer, other] = [await ask(`${url}${path}`), await ask(`${url}${same}`)];
    assert.deepEqual([answer.status, answer.body], [200, other.body], path);
  }
});

test('a path is changed at its end and nowhere else', () => {
  const kept = [
    '/',
    '//',
    '//evil/',
    '/machinefeatures/',
    '/machinefeatures/a/',
    '/p/x/jobfeatures/a/',
    '*',
    '/v1/x?y=/',
  ];
  for (const target of [...kept, 'http://evil/']) assert.equal(settledTarget(target), target);
  assert.equal(settledTarget('/p/x/jobfeatures?y=1'), '/p/x/jobfeatures/?y=1');
  assert.equal(settledTarget('/p/x/'), '/p/x');
  assert.equal(settledTarget('/machinefeaturesx/'), '/machinefeaturesx');
});
