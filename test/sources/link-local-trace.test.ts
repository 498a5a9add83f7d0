import assert from 'node:assert/strict';
import test from 'node:test';
import { createLinkLocalClient } from '../../agent/sources/link-local.ts';
import { traced } from '../../agent/sources/link-local-trace.ts';
import { createMetadata } from '../../agent/sources/metadata.ts';
import type { TraceEntry } from '../../agent/sources/source.ts';
import { startMetadataHost } from '../hosts/metadata-host.ts';

const TOKEN = { path: '/token', ttlHeader: 'x-ttl', tokenHeader: 'x-token' };

test('every request is told: the token, a refused one, its repetition; without query, header or content', async (t) => {
  let tokens = 0;
  let valid = 'geheim-1';
  const host = await startMetadataHost({}, ({ method, headers }) => {
    if (method === 'PUT') {
      tokens += 1;
      return { status: 200, body: `geheim-${tokens}` };
    }
    return headers['x-token'] === valid ? { status: 200, body: 'geheim' } : { status: 401 };
  });
  t.after(() => host.close());
  const told: TraceEntry[] = [];
  const options = { source: 'test', baseUrl: `${host.url}/`, timeoutMs: 5_000, token: TOKEN };
  const metadata = createMetadata(options, { trace: (entry) => void told.push(entry) });
  t.after(() => metadata.close());
  const ask = () => metadata.ask('/key', { signal: new AbortController().signal, query: { secret: 'geheim' } });
  await ask();
  valid = 'geheim-2';
  await ask();
  assert.deepEqual(
    told.map(({ source, asked, answered }) => [source, asked, answered]),
    [
      ['test', `PUT ${host.url}/token`, '200'],
      ['test', `GET ${host.url}/key`, '200'],
      ['test', `GET ${host.url}/key`, '401'],
      ['test', `PUT ${host.url}/token`, '200'],
      ['test', `GET ${host.url}/key`, '200'],
    ],
  );
  assert.ok(told.every(({ tookMs }) => tookMs >= 0));
  assert.doesNotMatch(JSON.stringify(told), /geheim/);
});

test('what fails is told with its code', async (t) => {
  const host = await startMetadataHost({}, () => ({ status: 200 }));
  t.after(() => host.close());
  host.fault('*', { is: 'reset' });
  const told: TraceEntry[] = [];
  const client = traced(createLinkLocalClient(), 'test', { trace: (entry) => void told.push(entry) });
  t.after(() => client.close());
  await client.request({ url: `${host.url}/a` });
  await client.request({ url: 'http://me:geheim@127.0.0.1/' });
  assert.deepEqual(
    told.map(({ asked, answered }) => [asked, answered]),
    [
      [`GET ${host.url}/a`, 'reset'],
      ['GET (unusable URL)', 'bad_url'],
    ],
  );
});

test('where nobody listens the client is left as it is', () => {
  const client = createLinkLocalClient();
  assert.equal(traced(client, 'test', {}), client);
});
