import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { createMetadata, type Metadata, type MetadataOptions } from '../../agent/sources/metadata.ts';
import { SourceError, type TraceEntry } from '../../agent/sources/source.ts';
import { type Fault, type HostAnswer, type MetadataHost, startMetadataHost } from '../hosts/metadata-host.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const signal = new AbortController().signal;

async function start(
  answer: HostAnswer = { status: 200, body: 'content' },
  options: Partial<MetadataOptions> = {},
): Promise<{ readonly host: MetadataHost; readonly metadata: Metadata; readonly trace: readonly TraceEntry[] }> {
  const host = await startMetadataHost({}, () => answer);
  const trace: TraceEntry[] = [];
  const metadata = createMetadata(
    { source: 'test', baseUrl: host.url, timeoutMs: 2_000, ...options },
    { trace: (entry) => trace.push(entry) },
  );
  cleanups.push(
    () => host.close(),
    () => metadata.close(),
  );
  return { host, metadata, trace };
}

async function codeOf(asking: Promise<unknown>): Promise<string> {
  const error = await asking.then(
    () => assert.fail('an answer'),
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof SourceError)) throw error;
  return error.code;
}

describe('a metadata service', () => {
  it('200 is content, with headers and the host’s clock', async () => {
    const { host, metadata } = await start({ status: 200, body: ' content\n', headers: { etag: 'e1' } });
    host.setClockOffset(3_600_000);
    const answer = await metadata.ask('/path', { signal });
    assert.deepEqual([answer.is, answer.text, answer.status, answer.headers.etag], ['text', ' content\n', 200, 'e1']);
    assert.ok(Math.abs((answer.hostNowMs ?? 0) - Date.now() - 3_600_000) < 60_000);
  });

  it('an empty body is content too', async () => {
    const { metadata } = await start({ status: 200 });
    const { is, text } = await metadata.ask('/path', { signal });
    assert.deepEqual([is, text], ['text', '']);
  });

  it('without a clock none is made up', async () => {
    const { metadata } = await start({ status: 200, headers: { date: 'soon' } });
    assert.equal('hostNowMs' in (await metadata.ask('/path', { signal })), false);
  });

  it('404 is "there is none", whatever its body says; so is what the caller says is', async () => {
    const { metadata } = await start({ status: 404, body: '<html>not found</html>' });
    const absent = await metadata.ask('/path', { signal });
    assert.deepEqual([absent.is, absent.text, absent.status], ['absent', '', 404]);
    const other = await start({ status: 204 });
    assert.equal((await other.metadata.ask('/path', { signal, idle: [204] })).is, 'absent');
    assert.equal(await codeOf(other.metadata.ask('/path', { signal })), 'http_204');
  });

  for (const status of [201, 301, 302, 304, 400, 401, 403, 410, 429, 500, 503])
    it(`${status} says nothing`, async () => {
      const { metadata, host } = await start({ status, headers: { location: '/elsewhere' } });
      assert.equal(await codeOf(metadata.ask('/path', { signal })), `http_${status}`);
      assert.equal(host.requests.length, 1, 'no redirect is followed, nothing asked again');
    });

  for (const [what, fault, code] of [
    ['not UTF-8', { is: 'bytes', bytes: Buffer.from([0xff, 0x41]) }, 'not_text'],
    ['with NUL', { is: 'bytes', bytes: Buffer.from('a\0b') }, 'not_text'],
    ['cut short', { is: 'short-body' }, 'protocol'],
    ['too large', { is: 'endless' }, 'too_large'],
    ['a reset', { is: 'reset' }, 'reset'],
    ['silence', { is: 'hang' }, 'timeout'],
  ] as const satisfies readonly (readonly [string, Fault, string])[])
    it(`an answer that is ${what} says nothing, and the next one is good`, async () => {
      const { host, metadata } = await start(undefined, { timeoutMs: 300 });
      host.fault('/path', fault, 1);
      assert.equal(await codeOf(metadata.ask('/path', { signal })), code);
      assert.equal((await metadata.ask('/path', { signal })).text, 'content');
    });

  it('nobody there', async () => {
    const { host, metadata } = await start();
    await host.close();
    assert.equal(await codeOf(metadata.ask('/path', { signal })), 'refused');
  });

  it('is asked below its base URL, however that ends, with query, headers, method and body', async () => {
    let token = 1;
    const { host } = await start();
    const metadata = createMetadata(
      {
        source: 'test',
        baseUrl: `${host.url}/base//`,
        timeoutMs: 2_000,
        headers: () => ({ 'X-each': String(token++) }),
      },
      {},
    );
    cleanups.push(() => metadata.close());
    await metadata.ask('/a/b', { signal, query: { 'api-version': '1', q: 'a b&c' }, headers: { 'X-own': '1' } });
    await metadata.ask('/a', { signal, method: 'POST', body: '{}' });
    const [first, second] = host.requests;
    assert.deepEqual([first?.method, first?.path, second?.method, second?.body], ['GET', '/base/a/b', 'POST', '{}']);
    assert.deepEqual(Object.fromEntries(first?.query ?? []), { 'api-version': '1', q: 'a b&c' });
    assert.deepEqual([first?.headers['x-each'], first?.headers['x-own'], second?.headers['x-each']], ['1', '1', '2']);
  });

  it('gives tokens, where it is said to', async () => {
    const host = await startMetadataHost({}, ({ method, path, headers }) => {
      if (method === 'PUT' && path === '/base/token') return { status: 200, body: 'secret-token' };
      return { status: headers['x-token'] === 'secret-token' ? 200 : 401, body: 'content' };
    });
    const trace: TraceEntry[] = [];
    const metadata = createMetadata(
      {
        source: 'test',
        baseUrl: `${host.url}/base`,
        timeoutMs: 2_000,
        token: { path: '/token', ttlHeader: 'X-ttl', tokenHeader: 'X-token' },
      },
      { trace: (entry) => trace.push(entry) },
    );
    cleanups.push(
      () => host.close(),
      () => metadata.close(),
    );
    assert.equal((await metadata.ask('/path', { signal, query: { key: 'hidden' } })).text, 'content');
    assert.deepEqual(
      trace.map(({ source, asked, answered }) => [source, asked, answered]),
      [
        ['test', `PUT ${host.url}/base/token`, '200'],
        ['test', `GET ${host.url}/base/path`, '200'],
      ],
    );
    assert.doesNotMatch(JSON.stringify(trace), /secret-token|hidden/);
  });

  it('what is given up ends at once', async () => {
    const { host, metadata } = await start();
    host.fault('*', { is: 'hang' });
    const giveUp = new AbortController();
    const asking = codeOf(metadata.ask('/path', { signal: giveUp.signal }));
    await host.seen(1);
    giveUp.abort();
    assert.equal(await asking, 'aborted');
    assert.equal(await codeOf(metadata.ask('/path', { signal: giveUp.signal })), 'aborted');
    assert.equal(host.requests.length, 1);
  });

  it('closing ends what is on its way, and nothing is asked afterwards', async () => {
    const { host, metadata } = await start();
    host.fault('*', { is: 'hang' });
    const asking = codeOf(metadata.ask('/path', { signal }));
    await host.seen(1);
    metadata.close();
    assert.equal(await asking, 'aborted');
    assert.equal(await codeOf(metadata.ask('/path', { signal })), 'aborted');
    assert.equal(host.requests.length, 1);
  });

  it('has connections enough: one that hangs does not keep the others waiting', async () => {
    const { host, metadata } = await start(undefined, { maxSockets: 3 });
    host.fault('/hanging', { is: 'hang' });
    const giveUp = new AbortController();
    const hanging = [1, 2].map(() => codeOf(metadata.ask('/hanging', { signal: giveUp.signal })));
    await host.seen(2, '/hanging');
    assert.equal((await metadata.ask('/path', { signal })).text, 'content');
    giveUp.abort();
    assert.deepEqual(await Promise.all(hanging), ['aborted', 'aborted']);
  });
});
