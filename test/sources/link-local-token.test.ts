import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { createLinkLocalClient, type HttpOutcome, type LinkLocalRequest } from '../../agent/sources/link-local.ts';
import { createTokenKeeper } from '../../agent/sources/link-local-token.ts';
import { startMetadataHost } from '../hosts/metadata-host.ts';

const OPTIONS = { url: 'http://host/token', ttlHeader: 'X-ttl-seconds', tokenHeader: 'X-token' };
const GET: LinkLocalRequest = { url: 'http://host/path', headers: { 'X-own': '1' } };
const MINUTE_MS = 60_000;

const response = (status: number, body = '', headers: Record<string, string> = {}): HttpOutcome => ({
  kind: 'response',
  status,
  body: Buffer.from(body, 'latin1'),
  headers,
  durationMs: 1,
});
const failure = (code: 'refused' | 'timeout' | 'reset', connected: boolean): HttpOutcome => ({
  kind: 'failure',
  code,
  detail: code,
  connected,
});
const statusOf = (outcome: HttpOutcome) => (outcome.kind === 'response' ? outcome.status : outcome.code);

/** A service that gives tokens and wants the newest, unless the test says otherwise; remembers what it was asked. */
function startService() {
  const service = {
    nowMs: 0,
    puts: [] as LinkLocalRequest[],
    gets: [] as LinkLocalRequest[],
    newest: '',
    ttl: '21600',
    onPut: (n: number): HttpOutcome | Promise<HttpOutcome> =>
      response(200, `token-${n}\n`, { 'x-ttl-seconds': service.ttl }),
    isValid: (token: string | undefined): boolean => token === service.newest,
    /** Tokens of the GETs, in order. */
    tokens: () => service.gets.map(({ headers }) => headers?.['X-token']),
  };
  async function request(asked: LinkLocalRequest): Promise<HttpOutcome> {
    if (asked.method === 'PUT') {
      service.puts.push(asked);
      const outcome = await service.onPut(service.puts.length);
      if (outcome.kind === 'response' && outcome.status === 200) service.newest = outcome.body.toString().trim();
      return outcome;
    }
    service.gets.push(asked);
    await new Promise((resolve) => setImmediate(resolve));
    return response(service.isValid(asked.headers?.['X-token']) ? 200 : 401);
  }
  const keeper = createTokenKeeper({ request, close: () => undefined }, OPTIONS, () => service.nowMs);
  return Object.assign(service, { get: async (asked = GET) => statusOf(await keeper.request(asked)) });
}

describe('tokens', () => {
  it('one is asked for before the first question, and carried by every one', async () => {
    const service = startService();
    assert.equal(await service.get(), 200);
    assert.equal(await service.get(), 200);
    assert.equal(service.puts.length, 1);
    assert.deepEqual(service.puts[0]?.headers, { 'X-ttl-seconds': '21600' });
    assert.equal(service.puts[0]?.url, OPTIONS.url);
    assert.deepEqual(
      service.gets.map(({ headers }) => headers),
      [
        { 'X-own': '1', 'X-token': 'token-1' },
        { 'X-own': '1', 'X-token': 'token-1' },
      ],
    );
  });

  it('questions at the same time share one', async () => {
    const service = startService();
    assert.deepEqual(await Promise.all([service.get(), service.get(), service.get()]), [200, 200, 200]);
    assert.equal(service.puts.length, 1);
  });

  it('is renewed a minute before its end, and not earlier', async () => {
    const service = startService();
    await service.get();
    service.nowMs += 21_600_000 - MINUTE_MS - 1;
    await service.get();
    assert.equal(service.puts.length, 1);
    service.nowMs += 1;
    await service.get();
    assert.equal(service.puts.length, 2);
    assert.deepEqual(service.tokens(), ['token-1', 'token-1', 'token-2']);
  });

  for (const [ttl, lastsMs] of [
    ['30', 15_000],
    ['300', 240_000],
    ['0', 21_540_000],
    ['-5', 21_540_000],
    ['soon', 21_540_000],
    ['1e9', 21_540_000],
  ] as const)
    it(`the service may say how long it lives: ${ttl}`, async () => {
      const service = startService();
      service.ttl = ttl;
      await service.get();
      service.nowMs += lastsMs - 1;
      await service.get();
      assert.equal(service.puts.length, 1);
      service.nowMs += 1;
      await service.get();
      assert.equal(service.puts.length, 2);
    });

  it('3. that the service forgot is replaced on 401, and the question repeated with the new one alone', async () => {
    const service = startService();
    await service.get({ ...GET, headers: { 'x-TOKEN': 'of the caller' } });
    service.newest = 'another';
    assert.equal(await service.get({ ...GET, headers: { 'x-TOKEN': 'of the caller' } }), 200);
    assert.equal(service.puts.length, 2);
    const headers = service.gets.map((request) => Object.entries(request.headers ?? {}));
    assert.deepEqual(headers, [[['X-token', 'token-1']], [['X-token', 'token-1']], [['X-token', 'token-2']]]);
  });

  it('is replaced once for all questions that were refused because of it', async () => {
    const service = startService();
    await service.get();
    service.newest = 'another';
    assert.deepEqual(
      await Promise.all([service.get(), service.get(), service.get(), service.get()]),
      [200, 200, 200, 200],
    );
    assert.equal(service.puts.length, 2);
  });

  it('a service that refuses every token is asked for one more by each question, and no more', async () => {
    const service = startService();
    service.isValid = () => false;
    for (let n = 1; n <= 5; n += 1) {
      assert.equal(await service.get(), 401);
      assert.equal(service.puts.length, n);
    }
    const before = service.puts.length;
    await Promise.all([service.get(), service.get(), service.get()]);
    assert.ok(service.puts.length - before <= 3);
    assert.ok(service.gets.length <= 2 * 8);
  });

  for (const status of [400, 403, 404, 405, 301, 204] as const)
    it(`PUT answered ${status}: there are none; asked for again minutes later`, async () => {
      const service = startService();
      const { onPut } = service;
      service.onPut = () => response(status);
      service.isValid = (token) => token === undefined;
      for (let n = 0; n < 3; n += 1) assert.equal(await service.get(), 200);
      assert.equal(service.puts.length, 1);
      assert.deepEqual(service.gets[0], GET);
      service.onPut = onPut;
      service.isValid = () => true;
      service.nowMs += 300_000 - 1;
      await service.get();
      assert.equal(service.puts.length, 1);
      service.nowMs += 1;
      await service.get();
      assert.equal(service.puts.length, 2);
      assert.equal(service.tokens().at(-1), 'token-2');
    });

  it('there were none, and now they are required: 401 asks for one at once', async () => {
    const service = startService();
    const { onPut } = service;
    service.onPut = () => response(404);
    service.isValid = () => true;
    await service.get();
    service.onPut = onPut;
    service.isValid = (token) => token === service.newest;
    assert.equal(await service.get(), 200);
    assert.equal(service.puts.length, 2);
  });

  for (const status of [429, 500, 503] as const)
    it(`PUT answered ${status} passes: the question is asked without, the next one with`, async () => {
      const service = startService();
      const { onPut } = service;
      service.onPut = () => response(status);
      service.isValid = () => true;
      await service.get();
      service.onPut = onPut;
      await service.get();
      assert.deepEqual(service.tokens(), [undefined, 'token-2']);
    });

  it('and where tokens are required, such a question makes no second PUT', async () => {
    const service = startService();
    service.onPut = () => response(503);
    service.isValid = () => false;
    assert.equal(await service.get(), 401);
    assert.equal(service.puts.length, 1);
  });

  it('a PUT that hangs (hop limit) costs one question a second each minute, and the others nothing', async () => {
    const service = startService();
    service.onPut = () => failure('timeout', true);
    service.isValid = (token) => token === undefined;
    for (let n = 0; n < 5; n += 1) assert.equal(await service.get(), 200);
    assert.equal(service.puts.length, 1);
    assert.equal(service.puts[0]?.timeoutMs, 1_000);
    service.nowMs += MINUTE_MS;
    await service.get();
    assert.equal(service.puts.length, 2);
  });

  it('a PUT whose connection breaks passes', async () => {
    const service = startService();
    const { onPut } = service;
    service.onPut = () => failure('reset', true);
    service.isValid = () => true;
    await service.get();
    service.onPut = onPut;
    await service.get();
    assert.deepEqual(service.tokens(), [undefined, 'token-2']);
  });

  it('nobody there: said at once, not found out twice', async () => {
    const service = startService();
    service.onPut = () => failure('refused', false);
    assert.equal(await service.get(), 'refused');
    assert.equal(service.gets.length, 0);
    service.onPut = () => response(200, 'late');
    assert.equal(await service.get(), 200);
  });

  for (const [what, token] of [
    ['nothing', ''],
    ['a web page', '<html><body>hello you</body></html>'],
    ['two lines', 'token\r\nX-evil: 1'],
    ['a control character', 'to\u0007ken'],
    ['other than ASCII', 't\u00f6ken'],
    ['far too much', 'x'.repeat(5_000)],
  ] as const)
    it(`${what} is no token`, async () => {
      const service = startService();
      service.onPut = () => response(200, token);
      service.isValid = (given) => given === undefined;
      assert.equal(await service.get(), 200);
      assert.deepEqual(service.tokens(), [undefined]);
    });

  it('what is given up while the token is on its way ends at once, and takes nobody along', async () => {
    const service = startService();
    let answer: (outcome: HttpOutcome) => void = () => undefined;
    service.onPut = () =>
      new Promise((resolve) => {
        answer = resolve;
      });
    const giveUp = new AbortController();
    const given = service.get({ ...GET, signal: giveUp.signal });
    const other = service.get();
    giveUp.abort();
    assert.equal(await given, 'aborted');
    answer(response(200, 'token-1'));
    assert.equal(await other, 200);
    assert.equal(await service.get({ ...GET, signal: giveUp.signal }), 200, 'the client judges the signal itself');
    assert.equal(service.puts.length, 1);
  });
});

describe('tokens over a wire', () => {
  const cleanups: (() => unknown)[] = [];
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  });

  it('expire in the middle of a run, while the PUT hangs, and all is well afterwards', async () => {
    let token = 'one';
    const host = await startMetadataHost({}, ({ method, headers }) => {
      if (method === 'PUT') return { status: 200, body: token };
      return headers['x-token'] === token ? { status: 200, body: 'content' } : { status: 401 };
    });
    const client = createLinkLocalClient({ timeoutMs: 2_000 });
    cleanups.push(
      () => host.close(),
      () => client.close(),
    );
    const keeper = createTokenKeeper(client, { ...OPTIONS, url: `${host.url}/token` });
    const get = async () => statusOf(await keeper.request({ url: `${host.url}/path` }));
    assert.equal(await get(), 200);
    token = 'two';
    host.fault('/token', { is: 'hang' }, 1);
    assert.equal(await get(), 401, 'no token to be had');
    assert.equal(await get(), 200);
    assert.ok(host.requests.every(({ headers }) => !String(headers['x-token'] ?? '').includes(',')));
  });

  it('closing the client ends a PUT that hangs', async () => {
    const host = await startMetadataHost({}, () => new Promise(() => undefined));
    cleanups.push(() => host.close());
    const client = createLinkLocalClient();
    const keeper = createTokenKeeper(client, { ...OPTIONS, url: `${host.url}/token` });
    const asking = keeper.request({ url: `${host.url}/path` });
    await host.seen(1);
    client.close();
    assert.equal(statusOf(await asking), 'aborted');
  });
});
