import assert from 'node:assert/strict';
import http from 'node:http';
import test, { type TestContext } from 'node:test';
import type { CanTerminate } from '../../../agent/lifetime/types.ts';
import { answerAfter } from '../../../agent/publish/http/payload-answer.ts';
import { NOW_MS } from './fake-port.ts';
import { ask, askAs, NOT_ROOT, type Running, run, waitingProcess } from './harness.ts';

const NOW_SECS = NOW_MS / 1000;
const LATER_MS = NOW_MS + 60_000;
type Body = Parameters<typeof answerAfter>[1];

const rows: readonly (readonly [string, CanTerminate | undefined, Body, CanTerminate | undefined])[] = [
  ['nothing said is nothing changed', { now: true, atMs: null }, {}, undefined],
  ['true is now', undefined, { can_terminate: true }, { now: true, atMs: null }],
  ['false is not now', { now: true, atMs: null }, { can_terminate: false }, { now: false, atMs: null }],
  [
    'a promised time',
    undefined,
    { can_terminate: { now: false, at: NOW_SECS + 60 } },
    { now: false, atMs: NOW_MS + 60_000 },
  ],
  [
    'a time beside now says nothing',
    undefined,
    { can_terminate: { now: true, at: NOW_SECS + 60 } },
    { now: true, atMs: null },
  ],
  [
    'what it needs is counted from now',
    undefined,
    { needs_secs: 1.5 },
    { now: false, atMs: null, untilMs: NOW_MS + 1500 },
  ],
  [
    'an estimate leaves the promise',
    { now: false, atMs: LATER_MS },
    { needs_secs: 9 },
    { now: false, atMs: LATER_MS, untilMs: NOW_MS + 9000 },
  ],
  [
    'an estimate leaves a plain yes: for information',
    { now: true, atMs: null },
    { needs_secs: 9 },
    { now: true, atMs: null, untilMs: NOW_MS + 9000 },
  ],
  [
    'yes and an estimate in one',
    undefined,
    { can_terminate: true, needs_secs: 9 },
    { now: true, atMs: null, untilMs: NOW_MS + 9000 },
  ],
  [
    'no and nothing needed: no is a word of its own',
    undefined,
    { can_terminate: false, needs_secs: 0 },
    { now: false, atMs: null, untilMs: NOW_MS },
  ],
  [
    'said anew without an estimate: the estimate stays, and how far it is',
    { now: false, atMs: null, untilMs: LATER_MS, progress: 0.5 },
    { can_terminate: true },
    { now: true, atMs: null, untilMs: LATER_MS, progress: 0.5 },
  ],
  [
    'progress changes nothing else',
    { now: false, atMs: LATER_MS, untilMs: LATER_MS },
    { progress: 0.4 },
    { now: false, atMs: LATER_MS, untilMs: LATER_MS, progress: 0.4 },
  ],
  ['progress 0 is a progress', undefined, { progress: 0 }, { now: false, atMs: null, progress: 0 }],
  [
    'null takes back',
    { now: false, atMs: LATER_MS, untilMs: LATER_MS, progress: 1 },
    { needs_secs: null, progress: null },
    { now: false, atMs: LATER_MS },
  ],
];
for (const [what, before, body, after] of rows) {
  test(`S5.1 ${what}`, () => assert.deepEqual(answerAfter(before, body, NOW_MS), after));
}

test('S5.1 who needs nothing more can go, until it needs something again; a plain yes outlives that', () => {
  const said = (...bodies: readonly Body[]) =>
    bodies.reduce<CanTerminate | undefined>((before, body) => answerAfter(before, body, NOW_MS) ?? before, undefined);
  assert.equal(said({ needs_secs: 60 }, { needs_secs: 0 })?.now, true);
  assert.equal(said({ needs_secs: 0 }, { progress: 0.1 }, { needs_secs: 60 })?.now, false, 'the next piece of work');
  assert.equal(said({ needs_secs: 0 }, { needs_secs: null })?.now, false, 'taken back');
  assert.equal(said({ needs_secs: 0 }, { needs_secs: 0 }, { needs_secs: 5 })?.now, false);
  assert.equal(said({ can_terminate: true, needs_secs: 60 }, { needs_secs: 0 }, { needs_secs: 60 })?.now, true);
  assert.equal(said({ needs_secs: 0 }, { can_terminate: true }, { needs_secs: 60 })?.now, true);
  const promise = said({ can_terminate: { now: false, at: NOW_SECS + 9 } }, { needs_secs: 0 }, { needs_secs: 60 });
  assert.deepEqual([promise?.now, promise?.atMs], [false, null], 'its promise was for the work that is done');
});

async function registered(t: TestContext, said: Readonly<Record<string, unknown>> = {}) {
  const running = await run(t);
  const { status } = await ask(`${running.url}/v1/payloads`, {
    body: { name: 'a', target: { pid: waitingProcess(t) }, ...said },
  });
  assert.equal(status, 201);
  return running;
}
const patch = ({ url }: Running, body: unknown) => ask(`${url}/v1/payloads/p1`, { method: 'PATCH', body });

test('a registration says it with its first word; the row and its tag show what is said', async (t) => {
  const running = await registered(t, { can_terminate: false, needs_secs: 59.5, progress: 0.125 });
  const row = async () => {
    const { headers, ...answer } = await ask(`${running.url}/v1/payloads/p1`);
    const { can_terminate: can, needs_until: until, progress } = answer.json();
    return { etag: headers.etag, said: [can, until, progress] };
  };
  const first = await row();
  assert.deepEqual(first.said, [{ now: false, at: null }, NOW_SECS + 60, 0.125], 'seconds are rounded up');
  assert.equal((await patch(running, { progress: 0.5 })).status, 200);
  const second = await row();
  assert.deepEqual(second.said, [{ now: false, at: null }, NOW_SECS + 60, 0.5]);
  assert.notEqual(second.etag, first.etag);
  await patch(running, { can_terminate: { now: false, at: NOW_SECS + 30 }, needs_secs: null });
  assert.deepEqual((await row()).said, [{ now: false, at: NOW_SECS + 30 }, null, 0.5]);
  await patch(running, { needs_secs: 0, progress: null });
  assert.deepEqual((await row()).said, [{ now: true, at: null }, NOW_SECS, null]);
});

test('what else is changed with it is changed, and what it has said stays', async (t) => {
  const running = await registered(t, { needs_secs: 60, progress: 0.5 });
  running.port.setNow(NOW_MS + 10_000);
  const renamed = await patch(running, { name: 'b' });
  assert.deepEqual([renamed.json()['name'], renamed.json()['needs_until']], ['b', NOW_SECS + 60], 'not counted anew');
  assert.equal((await patch(running, { needs_secs: 60 })).json()['needs_until'], NOW_SECS + 70);
  assert.deepEqual(running.port.inputs, [
    { type: 'payload_updated', id: 'p1', change: { name: 'b' } },
    {
      type: 'payload_updated',
      id: 'p1',
      change: { canTerminate: { now: false, atMs: null, untilMs: NOW_MS + 70_000, progress: 0.5 } },
    },
  ]);
});

test('bodies: what is wrong is 400 and changes nothing', async (t) => {
  const running = await registered(t);
  for (const body of [
    { can_terminate: null },
    { can_terminate: 'yes' },
    { can_terminate: 1 },
    { can_terminate: {} },
    { can_terminate: { at: NOW_SECS } },
    { can_terminate: { now: false, at: NOW_MS } },
    { can_terminate: { now: true, needs_secs: 5 } },
    { needs_secs: -1 },
    { needs_secs: '5' },
    { needs_secs: 315_360_001 },
    { progress: 1.01 },
    { progress: -0.01 },
    { progress: 40, needs_secs: 5 },
    { progress: '0.4' },
  ]) {
    const answer = await patch(running, body);
    assert.deepEqual([answer.status, answer.json()['code']], [400, 'invalid'], JSON.stringify(body));
  }
  for (const body of ['{"needs_secs":1e999}', '{"progress":1e999}']) {
    const headers = { 'content-type': 'application/json' };
    assert.equal((await ask(`${running.url}/v1/payloads/p1`, { method: 'PATCH', body, headers })).status, 400, body);
  }
  assert.deepEqual(running.port.inputs, []);
});

test('the API document says what a payload may say, and what the machine answers', async (t) => {
  const { url } = await run(t);
  const text = (await ask(`${url}/openapi.json`)).body;
  for (const name of ['needs_secs', 'progress', 'needs_until', 'final_word', 'must_not_until', '/jobstatus/{key}'])
    assert.ok(text.includes(`"${name}"`), name);
});

test('a payload that never stops telling is told to wait, before anybody looks who it is; others are heard', async (t) => {
  const bounds = { changeBurst: 2, changesPerSec: 0, lookupBurst: 7, lookupsPerSec: 0 };
  const { url, port, admin } = await run(t, { bounds });
  for (let i = 0; i < 2; i++)
    await ask('/v1/payloads', { ...admin, body: { name: 'a', target: { pid: waitingProcess(t) } } });
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  const say = (id: string, progress: number) =>
    ask(`${url}/v1/payloads/${id}`, { method: 'PATCH', body: { progress }, agent });
  // Two looks for the first on this connection and one for the second; none for what is refused.
  assert.deepEqual([(await say('p1', 0.1)).status, (await say('p1', 0.2)).status], [200, 200]);
  for (let i = 0; i < 10; i++) {
    const answer = await say('p1', 0.3);
    assert.deepEqual([answer.status, answer.json()['code']], [429, 'too_many_changes']);
    assert.equal(answer.headers['retry-after'], '1');
  }
  const second = new http.Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => second.destroy());
  for (let i = 0; i < 3; i++) {
    const options = { method: 'PATCH', body: { progress: 1 }, agent: second };
    assert.equal((await ask(`${url}/v1/payloads/p1`, options)).json()['code'], 'too_many_changes', 'one look for it');
  }
  assert.equal((await say('p2', 0.1)).status, 200);
  assert.equal((await say('nobodys', 0.1)).status, 404);
  const word = await ask(`${url}/v1/payloads/p1/final_word`, { body: { code: 200 }, agent });
  assert.equal(word.status, 200, 'the last word is not lost among them');
  assert.equal(port.counts.get('mjf_requests_refused_total too_many_changes'), 13);
});

test('nobody uses up what another may say', { skip: NOT_ROOT }, async (t) => {
  const { url, port } = await run(t, { bounds: { changeBurst: 1, changesPerSec: 0 } });
  const owner = 65533;
  const { spec } = port.register({
    name: 'a',
    uid: owner,
    target: { kind: 'process', leader: { pid: 5, startTicks: 1 }, group: false },
  });
  const say = (uid: number) => askAs(uid, `${url}/v1/payloads/${spec.id}`, 'PATCH', '{"progress":1}');
  assert.equal((await say(65532)).status, 403);
  assert.equal((await say(owner)).status, 200);
  assert.equal((await say(owner)).status, 429);
});
