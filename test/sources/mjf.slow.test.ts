import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, afterEach, beforeEach, describe, it } from 'node:test';
import pino from 'pino';
import { instanceId } from '../../agent/instance.ts';
import { KNOWN_INPUT_KEYS } from '../../agent/lifetime/features.ts';
import type { Answer, Reading, Side } from '../../agent/lifetime/types.ts';
import { NO_FACTS } from '../../agent/sources/facts.ts';
import { createLinkLocalClient } from '../../agent/sources/link-local.ts';
import { type MjfConfig, mjfSource } from '../../agent/sources/mjf.ts';
import { namesInListing } from '../../agent/sources/mjf-listing.ts';
import { createMjfRound } from '../../agent/sources/mjf-round.ts';
import type { Source } from '../../agent/sources/source.ts';
import { makeCertificates } from '../hosts/certificates.ts';
import { startMetadataHost } from '../hosts/metadata-host.ts';
import { type Fault, type MjfHost, type MjfHostOptions, startMjfHost } from '../hosts/mjf.ts';
import { failure, present } from './answers.ts';

const SHUTDOWN = 'machinefeatures/shutdowntime';
const TOTAL_CPU = 'machinefeatures/total_cpu';
const FOLDER: Readonly<Record<Side, string>> = { machine: 'machinefeatures', job: 'jobfeatures' };

let cleanups: (() => unknown)[] = [];
let runtimeDir = '';
beforeEach(() => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-'));
  runtimeDir = dir;
  cleanups.push(() => fs.rmSync(dir, { recursive: true }));
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  cleanups = [];
});

async function host(options: MjfHostOptions = {}): Promise<MjfHost> {
  const started = await startMjfHost({
    machine: { total_cpu: '8', hs06: '171.04', shutdowntime: '1766440000' },
    job: { job_id: 'vm-17', shutdowntime_job: '1766430000' },
    ...options,
  });
  cleanups.push(() => started.close());
  return started;
}

function sources(
  config: MjfConfig,
  env: Readonly<Record<string, string>> = {},
  log = pino({ level: 'silent' }),
): readonly Source[] {
  const made = mjfSource.create(config, {
    root: '/',
    runtimeDir,
    env,
    log,
    firstBootMs: 0,
    facts: NO_FACTS,
    pointers: {},
    self: { command: process.execPath, args: [] },
  });
  for (const source of made) cleanups.push(() => source.close?.());
  return made;
}

/** A source on both sides of the host. */
function sourceOn(server: MjfHost, config: MjfConfig = {}): Source {
  const [source] = sources({
    machinefeatures: `${server.url}/machinefeatures`,
    jobfeatures: `${server.url}/jobfeatures`,
    ...config,
  });
  assert.ok(source);
  return source;
}

async function read(source: Source, fresh = false, signal = new AbortController().signal): Promise<Answer> {
  const result = await source.read({ signal, fresh });
  if (result.outcome !== 'answer') assert.fail(result.detail);
  return result.answer;
}

/** `machinefeatures/KEY` → what the answer says of it. */
function readingOf(answer: Answer, place: string): Reading<string> | undefined {
  const [folder, key = ''] = place.split('/', 2);
  return (folder === 'machinefeatures' ? answer.machine : answer.job)?.keys[key];
}

const unknown = (error: string): Reading<string> => ({ is: 'unknown', error });
const ABSENT: Reading<string> = { is: 'absent' };

/** Paths asked since the last call. */
function asked(server: MjfHost): readonly string[] {
  return server.requests.splice(0).map((request) => request.path);
}

describe('mjf source', () => {
  for (const style of ['vac', 'vcycle'] as const) {
    it(`${style}: 200 is present as raw text, 404 is absent, and every known key of both sides is asked once`, async () => {
      const server = await host({ style });
      const answer = await read(sourceOn(server));
      assert.deepEqual(readingOf(answer, TOTAL_CPU), present('8'));
      assert.deepEqual(readingOf(answer, SHUTDOWN), present('1766440000'));
      assert.deepEqual(readingOf(answer, 'jobfeatures/job_id'), present('vm-17'));
      assert.deepEqual(readingOf(answer, 'jobfeatures/wall_limit_secs'), ABSENT);
      assert.deepEqual(readingOf(answer, 'machinefeatures/log_cores'), ABSENT);
      for (const side of ['machine', 'job'] as const) {
        assert.equal(answer[side]?.channel, `${server.url}/${FOLDER[side]}`);
        assert.equal(answer[side]?.complete, true);
        assert.deepEqual(Object.keys(answer[side]?.keys ?? {}).sort(), [...KNOWN_INPUT_KEYS[side]].sort());
      }
      assert.ok(server.requests.every(({ method }) => method === 'GET'));
      const paths = asked(server);
      assert.ok(paths.includes(TOTAL_CPU));
      assert.equal(new Set(paths).size, paths.length);
    });
  }

  it('takes the value as it stands: the heart judges newlines, blanks and emptiness', async () => {
    const server = await host({ machine: { total_cpu: ' 8 \r\n', hs06: '' } });
    const answer = await read(sourceOn(server));
    assert.deepEqual(readingOf(answer, TOTAL_CPU), present(' 8 \r\n'));
    assert.deepEqual(readingOf(answer, 'machinefeatures/hs06'), present(''));
  });

  it('one side alone may be configured, with a trailing slash or without', async () => {
    const server = await host();
    const [source] = sources({ machinefeatures: `${server.url}/machinefeatures//` });
    assert.ok(source);
    const answer = await read(source);
    assert.equal(answer.job, undefined);
    assert.equal(answer.machine?.channel, `${server.url}/machinefeatures`);
    assert.ok(asked(server).every((one) => /^machinefeatures\/[a-zA-Z0-9_]*$/.test(one)));
  });

  it('S4.3: passes on the clock of the host', async () => {
    const server = await host();
    server.headers('*', { date: new Date(Date.now() + 3_600_000).toUTCString() });
    const { hostNowMs } = await read(sourceOn(server));
    assert.ok(hostNowMs !== undefined && Math.abs(hostNowMs - Date.now() - 3_600_000) < 60_000);
  });

  it('the shutdown times are asked first', async () => {
    const server = await host();
    await read(sourceOn(server));
    assert.deepEqual(asked(server).slice(0, 2).sort(), ['jobfeatures/shutdowntime_job', SHUTDOWN]);
  });

  it('at most four requests are in flight to one server', async () => {
    const server = await host();
    server.fault('*', { is: 'slow', delayMs: 5 });
    await read(sourceOn(server));
    assert.equal(server.peak, 4);
  });
});

describe('mjf source: what is neither 200 nor 404 is unknown, the others count, and it recovers', () => {
  const statuses = [204, 206, 301, 302, 304, 401, 403, 410, 500, 503].map(
    (status): readonly [string, Fault, string] => [
      `status ${status}`,
      { is: 'status', status, headers: { location: '/machinefeatures/hs06' } },
      `http_${status}`,
    ],
  );
  const moods: readonly (readonly [string, Fault, string])[] = [
    ...statuses,
    ['a web page with 200', { is: 'html' }, 'html'],
    [
      'a page that does not say it is one',
      { is: 'bytes', bytes: Buffer.from('\n <!doctype HTML><p>8'), headers: { 'content-type': 'text/plain' } },
      'html',
    ],
    ['bytes that are not UTF-8', { is: 'bytes', bytes: Buffer.from([0x38, 0xff]) }, 'not_text'],
    ['a NUL', { is: 'bytes', bytes: Buffer.from('8\0') }, 'not_text'],
    ['a slow drip', { is: 'drip', everyMs: 10 }, 'timeout'],
    ['a hang', { is: 'hang' }, 'timeout'],
    ['an endless body', { is: 'endless' }, 'too_large'],
    ['a reset', { is: 'reset' }, 'reset'],
    ['a body shorter than announced', { is: 'short-body' }, 'protocol'],
    ['chunked garbage', { is: 'bad-chunks' }, 'protocol'],
  ];
  for (const [name, fault, code] of moods) {
    it(`${name}: ${code}`, async () => {
      const server = await host();
      const source = sourceOn(server, { timeout: '2s' });
      server.fault(TOTAL_CPU, fault);
      const answer = await read(source);
      assert.deepEqual(readingOf(answer, TOTAL_CPU), unknown(code));
      assert.deepEqual(readingOf(answer, SHUTDOWN), present('1766440000'));
      server.fault(TOTAL_CPU, undefined);
      assert.deepEqual(readingOf(await read(source), TOTAL_CPU), present('8'));
    });
  }

  it('a value served as text/html (Vac behind Apache) is a value', async () => {
    const server = await host();
    server.headers(TOTAL_CPU, { 'content-type': 'text/html' });
    assert.deepEqual(readingOf(await read(sourceOn(server)), TOTAL_CPU), present('8'));
  });

  for (const [name, fault, code] of [
    ['503 for everything', { is: 'status', status: 503 }, 'http_503'],
    ['a captive portal', { is: 'html' }, 'html'],
    ['a black hole', { is: 'hang' }, 'timeout'],
  ] as const) {
    it(`${name} is a failure of the source (${code}), within its time bound, and it recovers`, async () => {
      const server = await host();
      const source = sourceOn(server, { timeout: '1s' });
      server.fault('*', fault);
      assert.equal((await failure(read(source))).code, code);
      server.fault('*', undefined);
      assert.deepEqual(readingOf(await read(source), SHUTDOWN), present('1766440000'));
    });
  }

  it('a server that cannot be reached fails the source with `refused`, and is not tried for each key; then it recovers', async () => {
    const server = await host();
    const { port } = server;
    const source = sourceOn(server);
    await server.close();
    const error = await failure(read(source));
    assert.equal(error.code, 'refused');
    assert.match(error.message, /ECONNREFUSED/);
    const again = await host({ port });
    assert.deepEqual(readingOf(await read(source), SHUTDOWN), present('1766440000'));
    assert.ok(again.requests.length > 20);
  });

  it('after a failure to connect the rest of the round is not tried', async () => {
    const server = await host();
    let connections = 0;
    // A listener without TLS under an https URL: TCP connects, TLS does not.
    const net = await import('node:net');
    const plain = net.createServer((socket) => {
      connections += 1;
      socket.on('error', () => undefined);
      socket.end('HTTP/1.1 400 Bad Request\r\n\r\n');
    });
    await new Promise<void>((resolve) => plain.listen(0, '127.0.0.1', resolve));
    cleanups.push(() => plain.close());
    const { port } = plain.address() as { port: number };
    const source = sourceOn(server, { jobfeatures: `https://127.0.0.1:${port}/jobfeatures` });
    const answer = await read(source);
    assert.ok(connections <= 4, `${connections} connections`);
    assert.deepEqual(readingOf(answer, SHUTDOWN), present('1766440000'), 'the other server counts');
    assert.equal(new Set(Object.values(answer.job?.keys ?? {}).map((one) => JSON.stringify(one))).size, 1);
    assert.deepEqual(readingOf(answer, 'jobfeatures/shutdowntime_job'), unknown('tls'));
    assert.equal(answer.job?.complete, false);
  });

  it('a round that runs out of time hands over what it has; the rest is unknown', async () => {
    const server = await host();
    const source = sourceOn(server, { timeout: '1s' });
    server.fault('*', { is: 'hang' });
    server.fault(SHUTDOWN, { is: 'slow', delayMs: 1 });
    const answer = await read(source);
    assert.deepEqual(readingOf(answer, SHUTDOWN), present('1766440000'));
    for (const key of KNOWN_INPUT_KEYS.job) {
      assert.deepEqual(readingOf(answer, `jobfeatures/${key}`), unknown('timeout'), key);
    }
  });

  it('an aborted round throws and leaves nothing in flight', async () => {
    const server = await host();
    const source = sourceOn(server);
    server.fault('*', { is: 'hang' });
    const abort = new AbortController();
    const reading = failure(read(source, false, abort.signal));
    await server.seen(4);
    abort.abort();
    assert.equal((await reading).code, 'aborted');
    assert.equal(server.requests.length, 4);
  });
});

describe('mjf source: listings only ever add names', () => {
  for (const listing of ['html', 'text'] as const) {
    it(`${listing}: other legal keys found there are asked, in the same round`, async () => {
      const machine = { total_cpu: '8', site_colour: 'blue', 'Not-Legal': 'x' };
      const answer = await read(sourceOn(await host({ machine, listing })));
      assert.deepEqual(readingOf(answer, 'machinefeatures/site_colour'), present('blue'));
      assert.deepEqual(readingOf(answer, TOTAL_CPU), present('8'));
      assert.equal(readingOf(answer, 'machinefeatures/Not-Legal'), undefined);
    });
  }

  for (const listing of ['none', 'front'] as const) {
    it(`${listing === 'none' ? 'no listing' : 'a front page that lists nothing'} is harmless: known keys are asked`, async () => {
      const answer = await read(sourceOn(await host({ listing, machine: { total_cpu: '8', site_colour: 'blue' } })));
      assert.deepEqual(readingOf(answer, TOTAL_CPU), present('8'));
      assert.equal(readingOf(answer, 'machinefeatures/site_colour'), undefined);
      assert.equal(answer.machine?.complete, true);
    });
  }

  it('a listing that is not answered leaves the names of before untouched (complete: false), and costs one try', async () => {
    const server = await host();
    server.fault('machinefeatures/', { is: 'status', status: 500 });
    const source = sourceOn(server);
    const answer = await read(source);
    assert.equal(answer.machine?.complete, false);
    assert.equal(answer.job?.complete, true);
    assert.deepEqual(readingOf(answer, TOTAL_CPU), present('8'));
    asked(server);
    await read(source);
    assert.ok(!asked(server).includes('machinefeatures/'));
  });

  it('is not read again with each poll, and what it named is asked on: gone is absent, not forgotten', async () => {
    const server = await host({ machine: { total_cpu: '8', site_colour: 'blue' } });
    const source = sourceOn(server);
    await read(source);
    asked(server);
    server.set('machine', 'site_colour', undefined);
    assert.deepEqual(readingOf(await read(source), 'machinefeatures/site_colour'), ABSENT);
    server.fault('machinefeatures/site_colour', { is: 'status', status: 500 });
    assert.deepEqual(readingOf(await read(source), 'machinefeatures/site_colour'), unknown('http_500'));
    assert.ok(!asked(server).some((one) => one.endsWith('/')));
  });

  it('understands relative, absolute and full links, ignores foreign ones, traps and more than 64 names', () => {
    const base = 'http://host.example/machinefeatures';
    const page = `<a href="one">1</a><A HREF='./two'>2</A><a class=x href=/machinefeatures/three>3</a>
      <a href="http://host.example/machinefeatures/four">4</a><a href="http://elsewhere.example/machinefeatures/five">5</a>
      <a href="../six">6</a><a href="sub/seven">7</a><a href="__proto__">8</a><a href="?C=N;O=D">9</a><a href="http://[">10</a>`;
    assert.deepEqual(namesInListing(page, base), ['one', 'two', 'three', 'four']);
    assert.deepEqual(namesInListing('one\r\ntwo\n\nNot Legal\nconstructor\n', base), ['one', 'two']);
    const many = Array.from({ length: 1000 }, (_, i) => `key_${i}\n`).join('');
    assert.equal(namesInListing(many, base).length, 64);
    assert.deepEqual(namesInListing('<a href="one">', 'http://[fe80::1%25eth0]/machinefeatures'), ['one']);
  });
});

describe('mjf source: caching', () => {
  it('ETag: asks conditionally, 304 is as before, a change is seen', async () => {
    const server = await host({ validators: 'etag' });
    const source = sourceOn(server);
    await read(source);
    asked(server);
    assert.deepEqual(readingOf(await read(source), TOTAL_CPU), present('8'));
    const again = server.requests.find((request) => request.path === TOTAL_CPU);
    assert.match(again?.headers['if-none-match'] ?? '', /^"[0-9a-f]+"$/);
    server.set('machine', 'total_cpu', '4');
    assert.deepEqual(readingOf(await read(source), TOTAL_CPU), present('4'));
    server.set('machine', 'total_cpu', undefined);
    assert.deepEqual(readingOf(await read(source), TOTAL_CPU), ABSENT);
    asked(server);
    server.set('machine', 'total_cpu', '4');
    assert.deepEqual(readingOf(await read(source), TOTAL_CPU), present('4'));
  });

  it('ETag: still good for the value before a failure', async () => {
    const server = await host({ validators: 'etag' });
    const source = sourceOn(server);
    await read(source);
    server.fault(TOTAL_CPU, { is: 'status', status: 500 });
    assert.deepEqual(readingOf(await read(source), TOTAL_CPU), unknown('http_500'));
    server.fault(TOTAL_CPU, undefined);
    assert.deepEqual(readingOf(await read(source), TOTAL_CPU), present('8'));
  });

  it('Last-Modified: used once it lies a second before the answer; a second change within one second is not missed', async () => {
    const server = await host({ validators: 'last-modified' });
    const source = sourceOn(server);
    const second = new Date(Math.floor(Date.now() / 1000) * 1000).toUTCString();
    server.headers(TOTAL_CPU, { 'last-modified': second, date: second });
    assert.deepEqual(readingOf(await read(source), TOTAL_CPU), present('8'));
    server.set('machine', 'total_cpu', '4');
    assert.deepEqual(readingOf(await read(source), TOTAL_CPU), present('4'), 'same second, other value');
    server.headers(TOTAL_CPU, {
      'last-modified': second,
      date: new Date(Date.parse(second) + 1000).toUTCString(),
    });
    await read(source);
    asked(server);
    server.requests.length = 0;
    assert.deepEqual(readingOf(await read(source), TOTAL_CPU), present('4'));
    const last = server.requests.find((request) => request.path === TOTAL_CPU);
    assert.equal(last?.headers['if-modified-since'], second);
  });

  it('max-age: a key is not asked again while fresh, but for a confirmation; no-cache and no-store ask each time', async () => {
    const server = await host();
    const source = sourceOn(server);
    server.headers(TOTAL_CPU, { 'cache-control': 'public, max-age=600' });
    server.headers('machinefeatures/hs06', { 'cache-control': 'max-age=600, no-cache' });
    server.headers('jobfeatures/job_id', { 'cache-control': 'no-store, max-age=600' });
    await read(source);
    asked(server);
    const answer = await read(source);
    assert.deepEqual(readingOf(answer, TOTAL_CPU), present('8'));
    const paths = asked(server);
    assert.ok(!paths.includes(TOTAL_CPU));
    assert.ok(paths.includes('machinefeatures/hs06'));
    assert.ok(paths.includes('jobfeatures/job_id'));
    await read(source, true);
    assert.ok(asked(server).includes(TOTAL_CPU), 'fresh bypasses max-age');
  });

  it('max-age: no-store is not asked conditionally either', async () => {
    const server = await host({ validators: 'etag' });
    const source = sourceOn(server);
    server.headers(TOTAL_CPU, { 'cache-control': 'no-store' });
    await read(source);
    server.requests.length = 0;
    await read(source);
    assert.equal(server.requests.find((request) => request.path === TOTAL_CPU)?.headers['if-none-match'], undefined);
  });

  it('max-age less Age: what is over is asked again', async () => {
    const server = await host();
    const source = sourceOn(server);
    server.headers(TOTAL_CPU, { 'cache-control': 'max-age=600', age: '600' });
    await read(source);
    asked(server);
    await read(source);
    assert.ok(asked(server).includes(TOTAL_CPU));
  });

  it('S1.6: an absence of what makes a deadline is never repeated from memory, that of another key may be', async () => {
    const server = await host({ machine: {}, job: { job_id: 'x' } });
    const source = sourceOn(server);
    server.headers('*', { 'cache-control': 'max-age=600' });
    await read(source);
    asked(server);
    const answer = await read(source);
    assert.deepEqual(readingOf(answer, TOTAL_CPU), ABSENT);
    assert.deepEqual([...asked(server)].sort(), [
      'jobfeatures/jobstart_secs',
      'jobfeatures/shutdowntime_job',
      'jobfeatures/wall_limit_secs',
      'jobfeatures/wall_limit_secs_lrms',
      SHUTDOWN,
    ]);
  });

  it('a round answered from memory alone asks nothing, and a dead server fails it as soon as a key is due', async () => {
    const server = await host();
    const [source] = sources({ machinefeatures: `${server.url}/machinefeatures` });
    assert.ok(source);
    server.headers('*', { 'cache-control': 'max-age=600' });
    await read(source);
    asked(server);
    await read(source);
    assert.deepEqual(asked(server), []);
    await server.close();
    assert.equal((await failure(read(source, true))).code, 'refused');
  });

  it('nextPollMs follows the smallest max-age of the shutdown times, between 1 s and 60 s, and only theirs', async () => {
    const server = await host();
    const source = sourceOn(server);
    server.headers(TOTAL_CPU, { 'cache-control': 'max-age=2' });
    await read(source);
    assert.equal(source.nextPollMs?.(), undefined);
    server.headers(SHUTDOWN, { 'cache-control': 'max-age=5' });
    server.headers('jobfeatures/shutdowntime_job', { 'cache-control': 'max-age=20' });
    await read(source, true);
    between(source.nextPollMs?.(), 1_000, 5_000);
    server.headers(SHUTDOWN, { 'cache-control': 'max-age=86400' });
    server.headers('jobfeatures/shutdowntime_job', { 'cache-control': 'max-age=86400' });
    await read(source, true);
    between(source.nextPollMs?.(), 30_001, 60_000);
    server.headers('jobfeatures/shutdowntime_job', undefined);
    await read(source, true);
    between(source.nextPollMs?.(), 29_000, 30_000);
    server.headers(SHUTDOWN, { 'cache-control': 'no-cache' });
    await read(source, true);
    assert.equal(source.nextPollMs?.(), undefined);
  });
});

describe('mjf source: where it is', () => {
  it('unconfigured: $MACHINEFEATURES and $JOBFEATURES where they are URLs', async () => {
    const server = await host();
    const env = { MACHINEFEATURES: `${server.url}/machinefeatures/`, JOBFEATURES: '/etc/jobfeatures' };
    const [source] = sources({}, env);
    assert.ok(source);
    const answer = await read(source);
    assert.deepEqual(readingOf(answer, TOTAL_CPU), present('8'));
    assert.equal(answer.job, undefined);
  });

  it('no URL, no source', () => {
    assert.deepEqual(sources({}), []);
    assert.deepEqual(sources({}, { MACHINEFEATURES: '/etc/machinefeatures', JOBFEATURES: '' }), []);
  });

  it("the agent's own URL is no source, however this machine is spelt", () => {
    fs.writeFileSync(path.join(runtimeDir, 'url'), 'http://127.0.0.1:8653\n');
    for (const name of ['127.0.0.1', 'localhost', '[::1]', '[::1%25lo]', 'localhost.', '127.0.0.9']) {
      assert.deepEqual(sources({}, { MACHINEFEATURES: `http://${name}:8653/machinefeatures` }), [], name);
    }
    for (const other of ['http://127.0.0.1:8654/m', 'http://192.0.2.7:8653/m', 'http://site.example:8653/m']) {
      assert.equal(sources({}, { MACHINEFEATURES: other }).length, 1, other);
    }
  });

  it('own output that is recognised only later (the file was not there at the start) is no channel', async () => {
    const server = await host();
    const source = sourceOn(server);
    await read(source);
    fs.writeFileSync(path.join(runtimeDir, 'url'), `${server.url}\n`);
    const result = await source.read({ signal: new AbortController().signal, fresh: false });
    assert.equal(result.outcome, 'no_channel');
  });

  it('own output on one side does not take the other side along', async () => {
    const server = await host();
    const site = await host({ job: { job_id: 'vm-18' } });
    const source = sourceOn(server, { jobfeatures: `${site.url}/jobfeatures` });
    fs.writeFileSync(path.join(runtimeDir, 'url'), `${server.url}\n`);
    const answer = await read(source);
    assert.equal(answer.machine, undefined);
    assert.deepEqual(readingOf(answer, 'jobfeatures/job_id'), present('vm-18'));
    assert.deepEqual(asked(server), []);
  });

  it('own output behind another name is a failure, known by the answer; nothing of it is taken', async () => {
    const server = await host();
    server.headers('*', { 'mjf-agent-instance': instanceId });
    const source = sourceOn(server);
    assert.equal((await failure(read(source))).code, 'own_output');
    server.headers('*', undefined);
    assert.deepEqual(readingOf(await read(source), TOTAL_CPU), present('8'));
  });

  it('a query of the base stays behind every key, and in none of our words', async () => {
    const values: Readonly<Record<string, string>> = { '/mf/shutdowntime': '1766440000', '/mf/': 'site_colour\n' };
    const server = await startMetadataHost({}, ({ path: place, query }) => {
      if (query.get('sig') !== 'geheim') return { status: 403 };
      if (place === '/mf/total_cpu') return { status: 500 };
      if (place === '/mf/site_colour') return { status: 200, body: 'red' };
      return values[place] === undefined ? { status: 404 } : { status: 200, body: values[place] };
    });
    cleanups.push(() => server.close());
    for (const base of ['mf?sig=geheim', 'mf/?sig=geheim', 'mf//?sig=geheim#geheim']) {
      const [source] = sources({ machinefeatures: `${server.url}/${base}` });
      assert.ok(source);
      const answer = await read(source);
      assert.deepEqual(readingOf(answer, SHUTDOWN), present('1766440000'), base);
      assert.deepEqual(readingOf(answer, 'machinefeatures/site_colour'), present('red'));
      assert.equal(answer.machine?.channel, `${server.url}/mf`);
      assert.doesNotMatch(JSON.stringify(answer), /geheim/);
    }
    assert.ok(server.requests.every(({ path: place }) => !place.includes('//')));
    server.fault('*', { is: 'reset' });
    const [broken] = sources({ machinefeatures: `${server.url}/mf?sig=geheim` });
    assert.ok(broken);
    const client = createLinkLocalClient();
    cleanups.push(() => client.close());
    const round = createMjfRound([{ side: 'machine', url: `${server.url}/mf?sig=geheim` }], {
      maxInFlight: 1,
      requestTimeoutMs: 1_000,
      pollMs: 1_000,
    });
    const context = { signal: new AbortController().signal, fresh: false };
    const outOfTime = () => round.run(client, { context, endMs: performance.now(), sides: ['machine'] });
    for (const [attempt, code] of [
      [() => read(broken), 'reset'],
      [outOfTime, 'timeout'],
    ] as const) {
      const error = await failure(attempt());
      assert.equal(error.code, code);
      assert.doesNotMatch(error.message, /geheim/);
      assert.match(error.message, /\/mf\/\w+/);
    }
    server.fault('*', undefined);
    const [refused] = sources({ machinefeatures: `${server.url}/mf?sig=falsch-geheim` });
    assert.ok(refused);
    const error = await failure(read(refused));
    assert.deepEqual([error.code, error.message], ['http_403', `${server.url}/mf/shutdowntime`]);
  });

  it('what is said of its own URL holds neither user nor query', () => {
    fs.writeFileSync(path.join(runtimeDir, 'url'), 'http://127.0.0.1:8653\n');
    const lines: string[] = [];
    const log = pino({ base: null }, { write: (line: string) => lines.push(line) });
    for (const url of ['http://localhost:8653/m?sig=geheim', 'http://me:geheim@localhost:8653/m'])
      assert.deepEqual(sources({ machinefeatures: url }, {}, log), []);
    assert.equal(lines.length, 2);
    assert.match(lines[0] ?? '', /"mjf_own_output".*"http:\/\/localhost:8653\/m"/);
    assert.doesNotMatch(lines.join(''), /geheim/);
  });

  it('S7: polls each 30 s by default, as configured otherwise', () => {
    assert.equal(sources({ machinefeatures: 'http://host/m' })[0]?.poll, 30_000);
    assert.equal(sources({ machinefeatures: 'http://host/m', poll: '5s' })[0]?.poll, 5_000);
    assert.equal(sources({ machinefeatures: 'http://host/m', timeout: '3s' })[0]?.timeoutMs, 3_000);
  });

  it('a URL that is none is a failure of the source, not of the program', async () => {
    const [source] = sources({ machinefeatures: 'http://[broken/machinefeatures' });
    assert.ok(source);
    assert.equal((await failure(read(source))).code, 'bad_url');
  });

  it('nothing is asked after close', async () => {
    const server = await host();
    const source = sourceOn(server);
    source.close?.();
    assert.equal((await failure(read(source))).code, 'aborted');
    assert.equal(server.requests.length, 0);
  });
});

describe('mjf source over https', () => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-tls-'));
  after(() => fs.rmSync(dir, { recursive: true }));
  const certificates = makeCertificates(dir);
  const skip = typeof certificates === 'string' ? certificates : false;

  async function vcycle(): Promise<{ server: MjfHost; files: Exclude<typeof certificates, string> }> {
    if (typeof certificates === 'string') throw new Error(certificates);
    const text = (file: string) => fs.readFileSync(file, 'utf8');
    const tls = { cert: text(certificates.serverCert), key: text(certificates.serverKey), ca: text(certificates.ca) };
    return { server: await host({ style: 'vcycle', tls }), files: certificates };
  }

  it('reads from a Vcycle with its own authority, presenting a client certificate', { skip }, async () => {
    const { server, files } = await vcycle();
    const source = sourceOn(server, { ca: files.ca, cert: files.clientCert, key: files.clientKey });
    assert.deepEqual(readingOf(await read(source), TOTAL_CPU), present('8'));
  });

  it('an unverified server is a failure `tls`', { skip }, async () => {
    const { server } = await vcycle();
    assert.equal((await failure(read(sourceOn(server)))).code, 'tls');
    assert.equal(server.requests.length, 0);
  });

  it('certificate files that are missing or no certificates are `tls_file`, named, and looked at again', {
    skip,
  }, async () => {
    const { server, files } = await vcycle();
    const ca = path.join(dir, 'later.pem');
    const source = sourceOn(server, { ca });
    const missing = await failure(read(source));
    assert.equal(missing.code, 'tls_file');
    assert.match(missing.message, /ca = ".*later\.pem": ENOENT/);
    fs.writeFileSync(ca, 'not a certificate\n');
    assert.match((await failure(read(source))).message, /not in PEM format/);
    fs.copyFileSync(files.otherCa, ca);
    assert.equal((await failure(read(source))).code, 'tls');
    fs.copyFileSync(files.ca, ca);
    assert.deepEqual(readingOf(await read(source), TOTAL_CPU), present('8'));
  });

  it('certificate files are not needed for plain http', async () => {
    const source = sourceOn(await host(), { ca: '/nonexistent/ca.pem' });
    assert.deepEqual(readingOf(await read(source), TOTAL_CPU), present('8'));
  });
});

function between(value: number | undefined, least: number, most: number): void {
  assert.ok(value !== undefined && value >= least && value <= most, `${value} is not within ${least}..${most}`);
}
