import assert from 'node:assert/strict';
import net from 'node:net';
import test from 'node:test';
import { ask, askUntil, listen, run } from './harness.ts';

test('a stream begins with the whole Snapshot, its id is the ETag without quotes, and each change follows', async (t) => {
  const { url, port } = await run(t);
  const events = await listen(`${url}/v1/events`);
  assert.equal(events.response.headers['content-type'], 'text/event-stream; charset=utf-8');
  assert.equal(events.response.headers['x-content-type-options'], 'nosniff');
  assert.equal(events.response.headers['cache-control'], 'no-store');
  const first = await events.until(/event: lifetime\n[\s\S]*\n\n/);
  const { etag, lifetimeJson } = port.publication();
  assert.match(first, /^retry: \d+\n\n/);
  assert.deepEqual(parse(first), [{ id: etag.replaceAll('"', ''), data: lifetimeJson.toString().trimEnd() }]);
  port.publish({});
  const changed = port.publish({ phase: 'draining', reason: 'x' });
  const all = parse(await events.until(/draining[\s\S]*\n\n/));
  assert.equal(all.length, 2, 'the unchanged truth is no event');
  assert.equal(all[1]?.data, changed.lifetimeJson.toString().trimEnd());
  events.close();
});

test('Last-Event-ID as now: nothing until the change; another id: the whole Snapshot at once', async (t) => {
  const { url, port } = await run(t);
  const id = port.publication().etag.replaceAll('"', '');
  const known = await listen(`${url}/v1/events`, { 'last-event-id': id });
  const unknown = await listen(`${url}/v1/events`, { 'last-event-id': 'long-ago' });
  const snapshot = parse(await unknown.until(/event: lifetime\n[\s\S]*\n\n/));
  assert.equal(snapshot[0]?.id, id);
  const changed = port.publish({ phase: 'draining' });
  const resumed = parse(await known.until(/event: lifetime\n[\s\S]*\n\n/));
  assert.deepEqual(
    resumed.map((event) => event.id),
    [changed.etag.replaceAll('"', '')],
  );
  known.close();
  unknown.close();
});

test('a quiet stream gets comments as heartbeat', async (t) => {
  const { url } = await run(t, { bounds: { heartbeatMs: 10 } });
  const events = await listen(`${url}/v1/events`);
  await events.until(/\n:\n\n:\n\n/);
  events.close();
});

test('HEAD on the stream ends', async (t) => {
  const { url } = await run(t);
  const answer = await ask(`${url}/v1/events`, { method: 'HEAD' });
  assert.equal(answer.status, 200);
  assert.equal(answer.headers['content-type'], 'text/event-stream; charset=utf-8');
});

test('a reader that takes nothing is destroyed and gives its place back; one that reads goes on', async (t) => {
  const { url, port, tcpPort } = await run(t, { bounds: { undrainedMs: 100, maxStreams: 2 } });
  const reading = await listen(`${url}/v1/events`);
  const slow = net.connect(tcpPort, '127.0.0.1');
  t.after(() => slow.destroy());
  slow.pause();
  slow.on('error', () => undefined);
  slow.write('GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n');
  const another = `${url}/v1/lifetime?wait_for_change=true&timeout_sec=0`;
  await askUntil(503, another);
  const dropped = port.counted('mjf_http_streams_dropped_total undrained');
  // Beyond what the kernel buffers for a reader on loopback (some megabytes at most).
  for (let i = 0; i < 12; i++) {
    port.publish({ reason: `${i} ${'x'.repeat(1_000_000)} end-of-${i}` });
    await reading.until(new RegExp(`end-of-${i}"`));
  }
  await dropped;
  await askUntil(200, another);
  port.publish({ phase: 'draining', reason: 'last' });
  await reading.until(/"reason": "last"/);
  reading.close();
});

test('a reader that falls behind gets the latest state only, not every one that was', async (t) => {
  const { url, port, tcpPort } = await run(t);
  const slow = net.connect(tcpPort, '127.0.0.1');
  t.after(() => slow.destroy());
  slow.pause();
  slow.write('GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n');
  for (let i = 0; i < 5; i++) await ask(`${url}/healthz`);
  const count = 40;
  for (let i = 0; i < count; i++) {
    port.publish({ reason: `${i} ${'x'.repeat(1_000_000)}` });
    await ask(`${url}/healthz`);
  }
  port.publish({ reason: 'the last' });
  let text = '';
  await new Promise<void>((resolve) => {
    slow.on('data', (chunk) => {
      text += String(chunk);
      if (text.includes('the last')) resolve();
    });
    slow.resume();
  });
  const seen = text.match(/event: lifetime/g)?.length ?? 0;
  assert.ok(seen >= 2 && seen < count, `${seen} events of ${count + 2}`);
});

test('one more than the bound is 503 with Retry-After, and the others stay', async (t) => {
  const { url, port } = await run(t, { bounds: { maxStreams: 3 } });
  const streams = [await listen(`${url}/v1/events`), await listen(`${url}/v1/events`)];
  const hanging = ask(`${url}/v1/lifetime?wait_for_change=true`);
  for (let i = 0; i < 5; i++) await ask(`${url}/healthz`);
  const refused = await ask(`${url}/v1/events`);
  assert.equal(refused.status, 503);
  assert.match(refused.headers['retry-after'] ?? '', /^\d+$/);
  assert.match(refused.headers['content-type'] ?? '', /^application\/problem\+json/);
  port.publish({ phase: 'stopping' });
  for (const stream of streams) {
    await stream.until(/stopping/);
    stream.close();
  }
  assert.equal((await hanging).json()['phase'], 'stopping');
});

/** Events as a browser understands them: several data lines are one text. */
function parse(text: string): { id: string | undefined; data: string }[] {
  return text
    .split('\n\n')
    .filter((block) => block.startsWith('event: lifetime\n'))
    .map((block) => {
      const lines = block.split('\n');
      const data = lines.filter((line) => line.startsWith('data: ')).map((line) => line.slice(6));
      return { id: lines.find((line) => line.startsWith('id: '))?.slice(4), data: data.join('\n') };
    });
}
