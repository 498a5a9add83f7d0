import assert from 'node:assert/strict';
import test from 'node:test';
import type { SnapshotPayload } from '../../../agent/lifetime/types.ts';
import { NOW_MS } from './fake-port.ts';
import { ask, askAs, NOT_ROOT, run } from './harness.ts';

const OWNER = 65533;
const STRANGER = 65532;
const own = process.getuid?.() ?? -1;

function row(id: string, uid: number, origin?: string): SnapshotPayload {
  return {
    spec: {
      id,
      name: 'a',
      uid,
      target: { kind: 'process', leader: { pid: 5, startTicks: 1 }, group: false },
      registeredMs: NOW_MS,
      ...(origin !== undefined && { origin }),
    },
    state: 'running',
    deadlineMs: null,
    stopAtMs: null,
    episode: 0,
    steps: [],
    plan: [],
  };
}

test('S5.3 a payload’s word goes to the heart and stands in its row', async (t) => {
  const { url, port } = await run(t);
  port.setPayload(row('p9', own));
  const say = (body: unknown) => ask(`${url}/v1/payloads/p9/final_word`, { body });
  const before = await ask(`${url}/v1/payloads/p9`);
  assert.equal(before.json()['final_word'], null);
  const answer = await say({ code: 710, text: 'Prüfpunkt 7: no space left' });
  assert.equal(answer.status, 200);
  assert.deepEqual(answer.json()['final_word'], { code: 710, text: 'Prüfpunkt 7: no space left', by: 'payload' });
  assert.notEqual(answer.headers.etag, before.headers.etag);
  assert.equal((await ask(`${url}/v1/payloads/p9`)).headers.etag, answer.headers.etag);
  assert.equal((await say({ code: 200, by: 'exit' })).status, 200);
  assert.equal((await say({ code: 999, text: '😀'.repeat(200) })).status, 200);
  assert.deepEqual(port.inputs.slice(0, 2), [
    { type: 'final_word', id: 'p9', word: { code: 710, text: 'Prüfpunkt 7: no space left', by: 'payload' } },
    { type: 'final_word', id: 'p9', word: { code: 200, text: '', by: 'exit' } },
  ]);
});

test('S5.3 codes have three digits, the text is one printable line of 200 characters', async (t) => {
  const { url, port, admin } = await run(t);
  port.setPayload(row('p9', own));
  const bad = [
    {},
    { text: 'x' },
    { code: 99 },
    { code: 1000 },
    { code: 200.5 },
    { code: '200' },
    { code: 200, text: 5 },
    { code: 200, text: 'x'.repeat(201) },
    { code: 200, extra: 1 },
    ...[
      '\n',
      '\r',
      '\t',
      '\0',
      '\u001b',
      '\u007f',
      '\u0085',
      '\u2028',
      '\u2029',
      '\u202e',
      '\u2066',
      '\u200f',
      '\ud800',
    ].map((character) => ({ code: 200, text: `a${character}b` })),
  ];
  for (const body of bad) {
    for (const [target, options] of [
      [`${url}/v1/payloads/p9/final_word`, {}],
      ['/v1/final_word', admin],
    ] as const) {
      const answer = await ask(target, { ...options, body });
      assert.deepEqual([answer.status, answer.json()['code']], [400, 'invalid'], JSON.stringify(body));
    }
  }
  assert.equal((await ask(`${url}/v1/payloads/p9/final_word`, { body: { code: 200, by: 'host' } })).status, 400);
  assert.equal((await ask('/v1/final_word', { ...admin, body: { code: 200, by: 'exit' } })).status, 400);
  assert.deepEqual(port.inputs, []);
});

test('S5.3 the machine’s own word is the operator’s: through admin.sock, never through agent.sock', async (t) => {
  const { admin, reader, port } = await run(t);
  const said = await ask('/v1/final_word', { ...admin, body: { code: 300, text: 'No more work' } });
  assert.deepEqual([said.status, said.body], [204, '']);
  assert.deepEqual(port.inputs, [{ type: 'final_word', word: { code: 300, text: 'No more work', by: 'payload' } }]);
  for (const target of ['/v1/final_word', '/v1/payloads/p9/final_word'])
    assert.equal((await ask(target, { ...reader, body: { code: 300 } })).status, 403, target);
  port.setPayload(row('p9', OWNER, 'condor'));
  assert.equal((await ask('/v1/payloads/p9/final_word', { ...admin, body: { code: 300 } })).status, 200);
  assert.equal(port.inputs.length, 2);
});

test('S5.3 who speaks for what: owner and root for a payload, configured or not; root for the machine', {
  skip: NOT_ROOT,
}, async (t) => {
  const { url, port } = await run(t);
  port.setPayload(row('owners', OWNER));
  port.setPayload(row('configured', OWNER, 'condor'));
  port.setPayload(row('roots', 0));
  const wordOf = (id: string) => `${url}/v1/payloads/${id}/final_word`;
  const say = async (uid: number, target: string, method = 'POST', words = '{"code":200}') => {
    const { status, body } = await askAs(uid, target, method, words);
    return [status, status >= 400 ? JSON.parse(body).code : ''];
  };
  const asked = await Promise.all([
    say(OWNER, wordOf('owners')),
    say(OWNER, wordOf('configured')),
    say(OWNER, wordOf('roots')),
    say(OWNER, wordOf('none')),
    say(STRANGER, wordOf('configured')),
    // How a configured payload is stopped stays the operator's business.
    say(OWNER, `${url}/v1/payloads/configured`, 'PATCH', '{"grace_secs":1}'),
  ]);
  assert.deepEqual(asked, [
    [200, ''],
    [200, ''],
    [403, 'foreign_payload'],
    [404, 'no_payload'],
    [403, 'foreign_payload'],
    [403, 'configured_payload'],
  ]);
  const refused = await askAs(OWNER, `${url}/v1/final_word`, 'POST', '{"code":200}');
  assert.deepEqual([refused.status, JSON.parse(refused.body).code], [403, 'operator_only']);
  assert.match(JSON.parse(refused.body).detail, /register a payload or run it under mjf-agent exec/);
  assert.equal(port.counts.get('mjf_requests_refused_total operator_only'), 1);
  assert.equal(port.inputs.length, 2);
  assert.equal((await ask(wordOf('configured'), { body: { code: 200 } })).status, 200);
  assert.equal((await ask(`${url}/v1/final_word`, { body: { code: 200 } })).status, 204);
  assert.equal(port.inputs.length, 4);
});
