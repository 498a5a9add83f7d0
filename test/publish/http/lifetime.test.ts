import assert from 'node:assert/strict';
import http from 'node:http';
import test from 'node:test';
import { NOW_MS } from './fake-port.ts';
import { ask, askUntil, run } from './harness.ts';

test('/v1/lifetime is the published bytes and their tag, and 304 when known', async (t) => {
  const { url, port } = await run(t);
  const answer = await ask(`${url}/v1/lifetime`);
  const { lifetimeJson, etag } = port.publication();
  assert.equal(answer.body, lifetimeJson.toString());
  assert.equal(answer.headers.etag, etag);
  assert.match(answer.headers['content-type'] ?? '', /^application\/json/);
  assert.equal((await ask(`${url}/v1/lifetime`, { headers: { 'if-none-match': etag } })).status, 304);
});

for (const [spelling, of] of [
  ['as sent', (tag: string) => tag],
  ['without quotes', (tag: string) => tag.replaceAll('"', '')],
  ['weak', (tag: string) => `W/${tag}`],
] as const) {
  test(`a hanging GET wakes on change, last_etag ${spelling}`, async (t) => {
    const { url, port } = await run(t);
    const { etag } = port.publication();
    const path = `${url}/v1/lifetime?wait_for_change=true&last_etag=${encodeURIComponent(of(etag))}`;
    // Unchanged truth published again must not wake it.
    const hanging = ask(path, { headers: { 'if-none-match': etag } });
    await settled(url);
    port.publish({});
    const changed = port.publish({ phase: 'draining' });
    const answer = await hanging;
    assert.equal(answer.status, 200);
    assert.equal(answer.body, changed.lifetimeJson.toString());
    assert.equal(answer.headers.etag, changed.etag);
  });
}

test('an unknown last_etag, 0 and NONE are answered at once', async (t) => {
  const { url } = await run(t);
  for (const tag of ['0', 'NONE', 'something']) {
    assert.equal((await ask(`${url}/v1/lifetime?wait_for_change=true&last_etag=${tag}&timeout_sec=300`)).status, 200);
  }
});

test('without last_etag the next change is waited for', async (t) => {
  const { url, port } = await run(t);
  const hanging = ask(`${url}/v1/lifetime?wait_for_change=true`);
  await settled(url);
  port.publish({ phase: 'draining' });
  assert.equal((await hanging).json()['phase'], 'draining');
});

test('at the timeout the unchanged document is the answer, as GCE does', async (t) => {
  const { url, port } = await run(t);
  const { etag, lifetimeJson } = port.publication();
  const path = `${url}/v1/lifetime?wait_for_change=true&last_etag=${encodeURIComponent(etag)}&timeout_sec=0`;
  const answer = await ask(path, { headers: { 'if-none-match': etag } });
  assert.equal(answer.status, 200);
  assert.equal(answer.headers.etag, etag);
  assert.equal(answer.body, lifetimeJson.toString());
});

test('nonsense in the query is 400 and says what is wrong', async (t) => {
  const { url } = await run(t);
  for (const query of ['wait_for_change=yes', 'timeout_sec=-1', 'timeout_sec=1e3']) {
    const answer = await ask(`${url}/v1/lifetime?${query}`);
    assert.equal(answer.status, 400, query);
    assert.match(answer.headers['content-type'] ?? '', /^application\/problem\+json/);
    assert.equal(answer.json()['code'], 'invalid');
  }
});

test('a client that goes away while it hangs gives its place back', async (t) => {
  const { url, port } = await run(t, { bounds: { maxStreams: 1 } });
  const path = `${url}/v1/lifetime?wait_for_change=true`;
  const request = http.get(path, { agent: false });
  request.on('error', () => undefined);
  await settled(url);
  const full = await ask(path);
  assert.equal(full.status, 503);
  assert.match(full.headers['retry-after'] ?? '', /^\d+$/);
  assert.equal(full.json()['code'], 'too_many_streams');
  request.destroy();
  await askUntil(200, `${path}&timeout_sec=0`);
  assert.ok((port.counts.get('mjf_http_streams_dropped_total full') ?? 0) >= 1);
});

test('remaining_secs is whole seconds rounded down, 0 when passed, 404 and empty when none', async (t) => {
  const { url, port } = await run(t);
  const none = await ask(`${url}/v1/remaining_secs`);
  assert.equal(none.status, 404);
  assert.equal(none.body, '');
  assert.equal(none.headers['cache-control'], 'no-store');
  port.publish({ deadlineMs: NOW_MS + 90_000, localDeadlineMs: NOW_MS + 61_999 });
  const some = await ask(`${url}/v1/remaining_secs`);
  assert.equal(some.body, '61\n');
  assert.equal(some.headers['cache-control'], 'no-store');
  port.setNow(NOW_MS + 100_000);
  assert.equal((await ask(`${url}/v1/remaining_secs`)).body, '0\n');
});

test('/v1/sources tells in seconds what the sources do', async (t) => {
  const { url, port } = await run(t);
  port.live = [
    {
      name: 'ec2',
      state: 'failed',
      lastSuccessMs: 1_766_430_000_250,
      lastError: { code: 'http_500', detail: 'HTTP 500', atMs: 1_766_430_001_000 },
      latencyMs: 12.5,
      reads: 7,
      failures: 2,
      pollMs: 2000,
      faults: { 'notice/@spot/instance-action': 'http_500' },
      history: [
        { atMs: 1_766_430_000_250, latencyMs: 7.654321, outcome: 'ok', error: null },
        { atMs: 1_766_430_001_000, latencyMs: 12.5, outcome: 'failed', error: 'http_500' },
      ],
    },
    {
      name: 'self',
      state: 'absent',
      lastSuccessMs: null,
      lastError: null,
      latencyMs: null,
      reads: 0,
      failures: 0,
      pollMs: 0,
    },
  ];
  const { body } = await ask(`${url}/v1/sources`);
  assert.deepEqual(JSON.parse(body), [
    {
      name: 'ec2',
      state: 'failed',
      last_success: 1_766_430_000.25,
      last_error: { code: 'http_500', detail: 'HTTP 500', at: 1_766_430_001 },
      latency_ms: 12.5,
      reads: 7,
      failures: 2,
      poll_secs: 2,
      faults: { 'notice/@spot/instance-action': 'http_500' },
      history: [
        { at: 1_766_430_000.25, latency_ms: 7.654, outcome: 'ok', error: null },
        { at: 1_766_430_001, latency_ms: 12.5, outcome: 'failed', error: 'http_500' },
      ],
    },
    {
      name: 'self',
      state: 'absent',
      last_success: null,
      last_error: null,
      latency_ms: null,
      reads: 0,
      failures: 0,
      poll_secs: 0,
      faults: {},
      history: [],
    },
  ]);
});

/** A whole other request after it: what was sent before has reached its handler. */
async function settled(url: string): Promise<void> {
  for (let i = 0; i < 5; i++) await ask(`${url}/healthz`);
}
