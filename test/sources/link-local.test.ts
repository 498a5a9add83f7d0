import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import net, { type AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, afterEach, describe, it } from 'node:test';
import { instanceId } from '../../agent/instance.ts';
import {
  createLinkLocalClient,
  type HttpFailure,
  type HttpOutcome,
  type HttpResponse,
  type LinkLocalClient,
  type LinkLocalOptions,
} from '../../agent/sources/link-local.ts';
import { parseTarget } from '../../agent/sources/link-local-target.ts';
import { makeCertificates } from '../hosts/certificates.ts';
import { type MjfHost, type MjfHostOptions, startMjfHost } from '../hosts/mjf.ts';

const KEY = 'machinefeatures/total_cpu';

/** A socket that is left open would otherwise hang the run instead of failing it. */
const timeout = 30_000;

describe('link-local client', () => {
  const cleanups: (() => unknown)[] = [];
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  });

  async function host(options: MjfHostOptions = {}): Promise<MjfHost> {
    const started = await startMjfHost({ machine: { total_cpu: '8' }, ...options });
    cleanups.push(() => started.close());
    return started;
  }
  function client(options: LinkLocalOptions = {}): LinkLocalClient {
    const made = createLinkLocalClient(options);
    cleanups.push(() => made.close());
    return made;
  }
  /** Sends these bytes on each connection, whatever is asked. */
  async function rawServer(onConnection: (socket: net.Socket, count: number) => void, address = '127.0.0.1') {
    let count = 0;
    const sockets = new Set<net.Socket>();
    const server = net.createServer((socket) => {
      count += 1;
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.once('close', () => sockets.delete(socket));
      onConnection(socket, count);
    });
    server.listen(0, address);
    await once(server, 'listening');
    cleanups.push(() => {
      for (const socket of sockets) socket.destroy();
      server.close();
    });
    return {
      port: (server.address() as AddressInfo).port,
      connections: () => count,
      open: sockets,
    };
  }
  const onRequest = (answer: string) => (socket: net.Socket) => socket.on('data', () => socket.write(answer));

  it('gives status, headers, whole body, the server clock and the duration', async () => {
    const server = await host();
    server.headers('*', { date: 'Tue, 29 Oct 2024 10:00:00 GMT' });
    const response = answered(await client().request({ url: `${server.url}/${KEY}` }));
    assert.equal(response.status, 200);
    assert.equal(response.body.toString(), '8');
    assert.equal(response.headers['content-type'], 'text/plain');
    assert.equal(response.dateMs, Date.UTC(2024, 9, 29, 10));
    assert.ok(response.durationMs > 0);
  });

  it('an answer of this very agent is no answer, whatever way led to it; that of another agent is one', async () => {
    const server = await host();
    server.headers('*', { 'MJF-Agent-Instance': 'mine' });
    const request = { url: `${server.url}/${KEY}`, retry: { attempts: 3, baseMs: 1 } };
    const own = await client({ ownInstance: 'mine' }).request(request);
    assert.ok(own.kind === 'failure');
    assert.deepEqual([own.code, own.connected], ['own_output', true]);
    assert.equal(server.requests.length, 1, 'asking again is in vain');
    assert.equal(answered(await client({ ownInstance: 'another' }).request(request)).status, 200);
    server.headers('*', { 'mjf-agent-instance': instanceId });
    const byDefault = await client().request(request);
    assert.equal(byDefault.kind === 'failure' && byDefault.code, 'own_output');
  });

  it('S4.3: the Date of an answer out of a cache (Age) is not the server clock', async () => {
    const server = await host();
    server.headers('*', { date: 'Tue, 29 Oct 2024 10:00:00 GMT', age: '100' });
    assert.equal('dateMs' in answered(await client().request({ url: `${server.url}/${KEY}` })), false);
  });

  it('an error status is an answer, not a failure', async () => {
    const server = await host();
    assert.equal(answered(await client().request({ url: `${server.url}/machinefeatures/none` })).status, 404);
    server.fault('*', { is: 'status', status: 503 });
    assert.equal(answered(await client().request({ url: `${server.url}/${KEY}` })).status, 503);
  });

  it('redirects are not followed', async () => {
    const server = await host();
    server.fault(KEY, { is: 'redirect', to: `${server.url}/machinefeatures/elsewhere` });
    assert.equal(answered(await client().request({ url: `${server.url}/${KEY}` })).status, 302);
    assert.equal(server.requests.length, 1);
  });

  it('sends method, headers and body (token PUTs)', async () => {
    const server = await host();
    const response = answered(
      await client().request({
        url: `${server.url}/joboutputs/heartbeat`,
        method: 'PUT',
        headers: { 'x-aws-ec2-metadata-token-ttl-seconds': '60' },
        body: 'alive',
      }),
    );
    assert.equal(response.status, 201);
    assert.equal(server.outputs.get('heartbeat')?.toString(), 'alive');
    assert.equal(server.requests[0]?.headers['x-aws-ec2-metadata-token-ttl-seconds'], '60');
  });

  it('reuses its connection', async () => {
    const server = await host();
    const http = client();
    for (let i = 0; i < 3; i += 1) answered(await http.request({ url: `${server.url}/${KEY}` }));
    assert.deepEqual(
      server.requests.map(({ connection }) => connection),
      [1, 1, 1],
    );
  });

  it('never more sockets to one server than allowed', async () => {
    const server = await host();
    server.fault('*', { is: 'slow', delayMs: 5 });
    const http = client({ maxSockets: 2 });
    const all = Array.from({ length: 12 }, () => http.request({ url: `${server.url}/${KEY}` }));
    for (const outcome of await Promise.all(all)) answered(outcome);
    assert.equal(server.peak, 2);
  });

  it('ignores proxy variables', async () => {
    const server = await host();
    const proxy = await host();
    const saved = { ...process.env };
    Object.assign(process.env, { http_proxy: proxy.url, HTTP_PROXY: proxy.url, NODE_USE_ENV_PROXY: '1' });
    cleanups.push(() => {
      for (const name of ['http_proxy', 'HTTP_PROXY', 'NODE_USE_ENV_PROXY']) {
        if (saved[name] === undefined) delete process.env[name];
        else process.env[name] = saved[name];
      }
    });
    answered(await client().request({ url: `${server.url}/${KEY}` }));
    assert.equal(proxy.requests.length, 0);
  });

  it('a closed port is `refused`, without a connection', async () => {
    const server = await host();
    await server.close();
    const failure = failed(await client().request({ url: `${server.url}/${KEY}` }));
    assert.equal(failure.code, 'refused');
    assert.equal(failure.connected, false);
  });

  it('a name that does not resolve is `dns`', async () => {
    // A label longer than DNS allows: refused by the resolver itself, without asking a network.
    const failure = failed(await client().request({ url: `http://${'a'.repeat(70)}.invalid/` }));
    assert.equal(failure.code, 'dns');
  });

  it('an address without a route is `network` or ends as `timeout`, not connected', async () => {
    // Link-local without a zone: the kernel cannot choose an interface.
    const failure = failed(await client({ connectTimeoutMs: 200 }).request({ url: 'http://[fe80::dead]/' }));
    assert.ok(['network', 'timeout'].includes(failure.code), failure.code);
    assert.equal(failure.connected, false);
  });

  it('what is no http(s) URL, or holds credentials, is `bad_url`', async () => {
    for (const url of ['', 'machinefeatures', '/etc/machinefeatures', 'ftp://host/x', 'http://user:pw@127.0.0.1/']) {
      const failure = failed(await client().request({ url }));
      assert.equal(failure.code, 'bad_url', url);
      assert.doesNotMatch(failure.detail, /pw/);
    }
  });

  it('the connect timeout ends what the total timeout would leave waiting', async () => {
    // Accepted by the kernel, never by TLS: for https, connecting includes the handshake.
    const server = await rawServer(() => undefined);
    const failure = failed(
      await client({ connectTimeoutMs: 50 }).request({ url: `https://127.0.0.1:${server.port}/`, timeoutMs: 60_000 }),
    );
    assert.equal(failure.code, 'timeout');
    assert.equal(failure.connected, false);
    assert.match(failure.detail, /no connection/);
  });

  for (const is of ['hang', 'drip'] as const) {
    it(`${is === 'hang' ? 'a black hole' : 'a slow drip'} ends by the total timeout, with its socket, and the next request succeeds`, {
      timeout,
    }, async () => {
      const server = await host();
      const http = client();
      server.fault(KEY, is === 'drip' ? { is, everyMs: 5 } : { is });
      const failure = failed(await http.request({ url: `${server.url}/${KEY}`, timeoutMs: 100 }));
      assert.equal(failure.code, 'timeout');
      assert.equal(failure.connected, true);
      await server.idle();
      server.fault(KEY, undefined);
      assert.equal(answered(await http.request({ url: `${server.url}/${KEY}` })).body.toString(), '8');
      assert.equal(server.requests[1]?.connection, 2, 'the socket of the timed-out request is not used again');
    });
  }

  it('an endless body ends at the bound, with its socket', { timeout }, async () => {
    const closed: Promise<unknown>[] = [];
    const server = await rawServer((socket) => {
      closed.push(new Promise((resolve) => socket.once('close', resolve)));
      socket.once('data', () => {
        socket.write('HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n');
        const pour = () => {
          while (!socket.destroyed && socket.write('1'.repeat(4096)));
        };
        socket.on('drain', pour);
        pour();
      });
    });
    const failure = failed(await client().request({ url: `http://127.0.0.1:${server.port}/`, timeoutMs: 60_000 }));
    assert.equal(failure.code, 'too_large');
    await Promise.all(closed);
  });

  it('a body of exactly the bound is taken, one byte more is not, and an announced one is not even read', async () => {
    const server = await host();
    const http = client({ bodyLimitBytes: 100 });
    server.fault(KEY, { is: 'bytes', bytes: Buffer.alloc(100, '1') });
    assert.equal(answered(await http.request({ url: `${server.url}/${KEY}` })).body.length, 100);
    server.fault(KEY, { is: 'bytes', bytes: Buffer.alloc(101, '1'), headers: { 'transfer-encoding': 'chunked' } });
    assert.equal(failed(await http.request({ url: `${server.url}/${KEY}` })).code, 'too_large');
    server.fault(KEY, { is: 'bytes', bytes: Buffer.alloc(101, '1'), headers: { 'content-length': '101' } });
    assert.match(failed(await http.request({ url: `${server.url}/${KEY}` })).detail, /announces/);
  });

  for (const [is, ...codes] of [
    ['short-body', 'protocol'],
    ['bad-chunks', 'protocol'],
    // Node ends the sending side before it resets, so that either may arrive first.
    ['reset-mid-body', 'reset', 'protocol'],
    ['reset', 'reset'],
  ] as const) {
    it(`${is} is a failure (${codes.join(' or ')}), never a shorter value, and the client recovers`, async () => {
      const server = await host();
      const http = client();
      server.fault(KEY, { is });
      const { code } = failed(await http.request({ url: `${server.url}/${KEY}` }));
      assert.ok(
        codes.some((one) => one === code),
        code,
      );
      server.fault(KEY, undefined);
      assert.equal(answered(await http.request({ url: `${server.url}/${KEY}` })).body.toString(), '8');
    });
  }

  for (const [name, answer] of [
    ['what is no HTTP at all', '220 mail.example ESMTP\r\n'],
    ['headers beyond all measure', `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(100_000)}\r\n\r\n`],
    ['two different lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n12'],
    ['a switch to another protocol', 'HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n'],
  ] as const) {
    it(`${name} is \`protocol\``, async () => {
      const server = await rawServer(onRequest(answer));
      const outcome = await client().request({ url: `http://127.0.0.1:${server.port}/`, timeoutMs: 5000 });
      assert.ok(['protocol', 'reset'].includes(failed(outcome).code), failed(outcome).detail);
    });
  }

  it('a cut chunked body is a failure', async () => {
    const server = await rawServer((socket) =>
      socket.on('data', () => socket.end('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n17664\r\n')),
    );
    assert.equal(failed(await client().request({ url: `http://127.0.0.1:${server.port}/` })).code, 'protocol');
  });

  const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n8';
  /** Serves one answer on a connection and breaks it at the second request. */
  const staleAfterFirst = (socket: net.Socket) => {
    let requests = 0;
    socket.on('data', () => {
      requests += 1;
      if (requests === 1) socket.write(ok);
      else socket.resetAndDestroy();
    });
  };

  it('a reset of a kept connection is tried again at once on a new one', async () => {
    const server = await rawServer(staleAfterFirst);
    const http = client();
    const url = `http://127.0.0.1:${server.port}/`;
    answered(await http.request({ url }));
    answered(await http.request({ url }));
    assert.equal(server.connections(), 2);
  });

  it('a server that was restarted with several kept connections costs no failure', async () => {
    const server = await host();
    server.fault('*', { is: 'slow', delayMs: 20 });
    const http = client();
    const several = () => Promise.all([1, 2, 3, 4].map(() => http.request({ url: `${server.url}/${KEY}` })));
    (await several()).forEach(answered);
    server.fault('*', undefined);
    server.dropConnections();
    answered(await http.request({ url: `${server.url}/${KEY}` }));
    (await several()).forEach(answered);
  });

  it('a reset of a new connection is not tried again, nor that of a PUT', async () => {
    const broken = await rawServer((socket) => socket.on('data', () => socket.resetAndDestroy()));
    assert.equal(failed(await client().request({ url: `http://127.0.0.1:${broken.port}/` })).code, 'reset');
    assert.equal(broken.connections(), 1);
    const stale = await rawServer(staleAfterFirst);
    const http = client();
    const url = `http://127.0.0.1:${stale.port}/`;
    answered(await http.request({ url }));
    assert.equal(failed(await http.request({ url, method: 'PUT', body: '1' })).code, 'reset');
    assert.equal(stale.connections(), 1);
  });

  it('retry: 5xx and resets are asked again until an answer, at most `attempts` times', async () => {
    const server = await rawServer((socket, count) => {
      if (count === 1) socket.on('data', () => socket.resetAndDestroy());
      else if (count === 2) socket.on('data', () => socket.end('HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n'));
      else socket.on('data', () => socket.end(ok));
    });
    const url = `http://127.0.0.1:${server.port}/`;
    const response = answered(await client().request({ url, retry: { attempts: 5, baseMs: 1 } }));
    assert.equal(response.status, 200);
    assert.equal(server.connections(), 3);

    const busy = await host();
    busy.fault('*', { is: 'status', status: 503 });
    const last = await client().request({ url: `${busy.url}/${KEY}`, retry: { attempts: 3, baseMs: 1 } });
    assert.equal(answered(last).status, 503);
    assert.equal(busy.requests.length, 3);
  });

  it('retry: what patience cannot cure is not repeated', async () => {
    const server = await host();
    server.fault('*', { is: 'status', status: 403 });
    await client().request({ url: `${server.url}/${KEY}`, retry: { attempts: 3, baseMs: 1 } });
    assert.equal(server.requests.length, 1);
  });

  it('retry: no pause reaches beyond the total time', async () => {
    const server = await host();
    server.fault('*', { is: 'status', status: 503 });
    const request = { url: `${server.url}/${KEY}`, timeoutMs: 5000, retry: { attempts: 9, baseMs: 60_000 } };
    assert.equal(answered(await client().request(request)).status, 503);
    assert.equal(server.requests.length, 1);
  });

  it('an AbortSignal ends a request in flight, one before its start, and one between retries', async () => {
    const server = await host();
    const http = client();
    const abort = new AbortController();
    server.fault('*', { is: 'hang' });
    const waiting = http.request({ url: `${server.url}/${KEY}`, signal: abort.signal, timeoutMs: 60_000 });
    await server.seen(1);
    abort.abort();
    assert.equal(failed(await waiting).code, 'aborted');
    assert.equal(failed(await http.request({ url: `${server.url}/${KEY}`, signal: abort.signal })).code, 'aborted');
    assert.equal(server.requests.length, 1);

    server.fault('*', { is: 'status', status: 503 });
    const later = new AbortController();
    const retry = { attempts: 3, baseMs: 50_000 };
    const pausing = http.request({ url: `${server.url}/${KEY}`, signal: later.signal, retry, timeoutMs: 200_000 });
    await server.seen(1);
    later.abort();
    assert.equal(failed(await pausing).code, 'aborted');
  });

  it('close ends what is in flight; afterwards every request is `aborted`', async () => {
    const server = await host();
    const http = client();
    server.fault('*', { is: 'hang' });
    const waiting = http.request({ url: `${server.url}/${KEY}`, timeoutMs: 60_000 });
    await server.seen(1);
    http.close();
    assert.equal(failed(await waiting).code, 'aborted');
    assert.equal(failed(await http.request({ url: `${server.url}/${KEY}` })).code, 'aborted');
  });

  it('nothing keeps the process alive after close, with a request in flight, one kept connection and a retry', async () => {
    const server = await host();
    server.fault('machinefeatures/hang', { is: 'hang' });
    server.fault('machinefeatures/busy', { is: 'status', status: 503 });
    const program = `
      const { createLinkLocalClient } = require(${JSON.stringify(path.resolve('agent/sources/link-local.ts'))});
      const http = createLinkLocalClient();
      const base = ${JSON.stringify(`${server.url}/machinefeatures`)};
      http.request({ url: base + '/total_cpu' }).then(() => {
        void http.request({ url: base + '/hang', timeoutMs: 600_000 });
        void http.request({ url: base + '/busy', timeoutMs: 600_000, retry: { attempts: 2, baseMs: 300_000 } });
        process.stdin.once('data', () => { http.close(); process.stdin.destroy(); });
      });`;
    const child = spawn(process.execPath, ['--import', 'tsx', '-e', program], {
      stdio: ['pipe', 'inherit', 'inherit'],
    });
    cleanups.push(() => child.kill('SIGKILL'));
    const exited = once(child, 'exit');
    await Promise.all([server.seen(1, 'machinefeatures/hang'), server.seen(1, 'machinefeatures/busy')]);
    child.stdin?.write('close\n');
    assert.deepEqual(await exited, [0, null]);
  });

  it('IPv6 with a zone: connects, and the Host header is without it', async (t) => {
    const requests: string[] = [];
    let server: Awaited<ReturnType<typeof rawServer>>;
    try {
      server = await rawServer((socket) => {
        socket.on('data', (data) => {
          requests.push(data.toString());
          socket.write(ok);
        });
      }, '::1');
    } catch (error) {
      return t.skip(`no IPv6 here: ${String(error)}`);
    }
    for (const zone of ['%25lo', '%lo']) {
      answered(await client().request({ url: `http://[::1${zone}]:${server.port}/x?y=1` }));
    }
    assert.match(requests[0] ?? '', /^GET \/x\?y=1 HTTP/);
    assert.match(requests[0] ?? '', new RegExp(`^host: \\[::1\\]:${server.port}\r$`, 'im'));
  });

  it('reads URLs with zones, ports and queries; what is shown to people has no query', () => {
    assert.deepEqual(parseTarget('http://[fe80::a9fe:a9fe%25eth0]/openstack?token=1'), {
      protocol: 'http:',
      host: 'fe80::a9fe:a9fe%eth0',
      port: 80,
      path: '/openstack?token=1',
      authority: '[fe80::a9fe:a9fe]',
      shown: 'http://[fe80::a9fe:a9fe%eth0]/openstack',
    });
    assert.deepEqual(parseTarget('https://host.example:8443'), {
      protocol: 'https:',
      host: 'host.example',
      port: 8443,
      path: '/',
      authority: 'host.example:8443',
      shown: 'https://host.example:8443/',
    });
  });
});

describe('link-local client over https', () => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-tls-'));
  after(() => fs.rmSync(dir, { recursive: true }));
  const certificates = makeCertificates(dir);
  const skip = typeof certificates === 'string' ? certificates : false;
  const pem = (name: 'ca' | 'serverCert' | 'serverKey' | 'clientCert' | 'clientKey' | 'otherCa') =>
    typeof certificates === 'string' ? '' : fs.readFileSync(certificates[name], 'utf8');
  const cleanups: (() => unknown)[] = [];
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  });
  async function vcycle(): Promise<MjfHost> {
    const tls = { cert: pem('serverCert'), key: pem('serverKey'), ca: pem('ca') };
    const started = await startMjfHost({ style: 'vcycle', tls, machine: { total_cpu: '8' } });
    cleanups.push(() => started.close());
    return started;
  }
  function client(options: LinkLocalOptions): LinkLocalClient {
    const made = createLinkLocalClient(options);
    cleanups.push(() => made.close());
    return made;
  }

  it('a server certified by the configured authority is trusted, and its connection kept', { skip }, async () => {
    const server = await vcycle();
    const http = client({ ca: pem('ca') });
    assert.equal(answered(await http.request({ url: `${server.url}/${KEY}` })).body.toString(), '8');
    answered(await http.request({ url: `${server.url}/${KEY}` }));
    assert.equal(server.requests[1]?.connection, 1);
  });

  it('any other is not: `tls`, not connected, nothing was asked', { skip }, async () => {
    const server = await vcycle();
    for (const options of [{}, { ca: pem('otherCa') }]) {
      const failure = failed(await client(options).request({ url: `${server.url}/${KEY}` }));
      assert.equal(failure.code, 'tls', failure.detail);
      assert.equal(failure.connected, false);
    }
    assert.equal(server.requests.length, 0);
  });

  it('a certificate for another name is `tls`', { skip }, async () => {
    const tls = { cert: pem('serverCert'), key: pem('serverKey') };
    const server = await startMjfHost({ tls, address: '127.0.0.2' });
    cleanups.push(() => server.close());
    const failure = failed(await client({ ca: pem('ca') }).request({ url: `${server.url}/${KEY}` }));
    assert.equal(failure.code, 'tls', failure.detail);
  });

  it('a server that does not speak TLS is `tls`', { skip }, async () => {
    const server = await startMjfHost();
    cleanups.push(() => server.close());
    const failure = failed(await client({}).request({ url: `${server.url.replace('http:', 'https:')}/${KEY}` }));
    assert.equal(failure.code, 'tls', failure.detail);
  });

  it('the client certificate is presented (Vcycle takes PUT only with one)', { skip }, async () => {
    const server = await vcycle();
    const put = { url: `${server.url}/joboutputs/shutdown_message`, method: 'PUT', body: '200 done' };
    assert.equal(answered(await client({ ca: pem('ca') }).request(put)).status, 403);
    const known = client({ ca: pem('ca'), cert: pem('clientCert'), key: pem('clientKey') });
    assert.equal(answered(await known.request(put)).status, 201);
    assert.equal(server.outputs.get('shutdown_message')?.toString(), '200 done');
  });

  it('a key that is none is `tls`, not an exception', { skip }, async () => {
    const server = await vcycle();
    const broken = client({ ca: pem('ca'), cert: pem('clientCert'), key: 'no key' });
    assert.equal(failed(await broken.request({ url: `${server.url}/${KEY}` })).code, 'tls');
  });
});

function answered(outcome: HttpOutcome): HttpResponse {
  if (outcome.kind !== 'response') assert.fail(`expected a response, got ${outcome.code}: ${outcome.detail}`);
  return outcome;
}

function failed(outcome: HttpOutcome): HttpFailure {
  if (outcome.kind !== 'failure') assert.fail(`expected a failure, got status ${outcome.status}`);
  return outcome;
}
