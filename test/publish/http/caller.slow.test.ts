import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import test from 'node:test';
import { ask, askAs, NOT_ROOT, raw, run, temporaryDir } from './harness.ts';

const OTHER = 65533;

test('any identified local user may PUT, and is known by the kernel’s word', { skip: NOT_ROOT }, async (t) => {
  const { url, port } = await run(t);
  const { status } = await askAs(OTHER, `${url}/joboutputs/log.txt`, 'PUT', 'hello', 'text/plain');
  assert.equal(status, 201);
  assert.deepEqual(port.outputs, [{ name: 'log.txt', body: 'hello', uid: OTHER }]);
});

test('uid 65534 is nobody we can name: refused', { skip: NOT_ROOT }, async (t) => {
  const { url, port } = await run(t);
  const { status, body } = await askAs(65534, `${url}/joboutputs/x`, 'PUT', 'x');
  assert.equal(status, 403);
  assert.equal(JSON.parse(body).code, 'unidentified');
  assert.deepEqual(port.outputs, []);
});

test('the trap on real sockets: a client that sent everything and closed its side is nobody', async (t) => {
  const { tcpPort, port } = await run(t);
  // It is no intruder to be warned of: the end of every `exec` may look like that.
  const refused = port.counted('mjf_requests_refused_total client_gone');
  const socket = net.connect(tcpPort, '127.0.0.1', () => {
    socket.end('PUT /joboutputs/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx', () => socket.destroy());
  });
  socket.on('error', () => undefined);
  await refused;
  assert.deepEqual(port.outputs, []);
});

for (const [what, change] of [
  ['another user', (row: string) => row.replace(/^((?:\s*\S+){7})\s+\d+/, '$1 4321')],
  ['another socket', (row: string, inode: string) => row.replace(` ${inode} `, ' 987654321 ')],
] as const) {
  test(`the look after the body counts: ${what} at the other end is refused, whatever the first look said`, async (t) => {
    // The tables as files that the test rewrites; descriptors are the real ones.
    const procRoot = temporaryDir(t);
    const tables = path.join(procRoot, 'self/net');
    fs.mkdirSync(tables, { recursive: true });
    fs.symlinkSync('/proc/self/fd', path.join(procRoot, 'self/fd'));
    const copy = (edit = (text: string) => text) =>
      fs.writeFileSync(path.join(tables, 'tcp'), edit(fs.readFileSync('/proc/self/net/tcp', 'latin1')));
    const { tcpPort, port, url } = await run(t, { procRoot });
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    t.after(() => agent.destroy());
    await ask(`${url}/healthz`, { agent });
    copy();
    const put = () => ask(`${url}/joboutputs/x`, { method: 'PUT', body: 'x', agent });
    assert.equal((await put()).status, 201);
    const mirrored = new RegExp(
      `^.*:[0-9A-F]{4} 0100007F:${tcpPort.toString(16).toUpperCase().padStart(4, '0')} 01 .*$`,
      'm',
    );
    // The kernel gives the table in pieces: with other sockets coming and going a row can be missing in one reading.
    let changed = false;
    while (!changed) {
      copy((text) =>
        text.replace(mirrored, (row) => {
          changed = true;
          return change(row, row.trim().split(/\s+/)[9] ?? '');
        }),
      );
    }
    const refused = await put();
    assert.equal(refused.status, 403);
    assert.match(String(refused.json()['detail']), /changed hands/);
    assert.equal(port.outputs.length, 1);
  });
}

test('a kept connection is identified anew at each request', async (t) => {
  const { url, port } = await run(t, { bounds: { lookupBurst: 4, lookupsPerSec: 0 } });
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  const put = () => ask(`${url}/joboutputs/x`, { method: 'PUT', body: 'x', agent });
  // Two looks for the first, one each for those that follow on the same connection; then the bucket is empty.
  assert.deepEqual([(await put()).status, (await put()).status, (await put()).status], [201, 201, 201]);
  const late = await put();
  assert.equal(late.status, 429);
  assert.equal(late.headers['retry-after'], '1');
  assert.equal(port.outputs.length, 3);
  assert.equal(port.counts.get('mjf_requests_refused_total rate_limited'), 1);
});

test('who asks without end uses up nobody else’s look-ups', { skip: NOT_ROOT }, async (t) => {
  const { url } = await run(t, { bounds: { lookupBurst: 4, lookupsPerSec: 0 } });
  const put = (uid: number) => askAs(uid, `${url}/joboutputs/x`, 'PUT', 'x', 'text/plain');
  assert.deepEqual([(await put(OTHER)).status, (await put(OTHER)).status, (await put(OTHER)).status], [201, 201, 429]);
  assert.deepEqual([(await put(OTHER - 1)).status, (await put(OTHER)).status], [201, 429]);
});

test('those who come at once share a reading of the tables, and each is himself', async (t) => {
  const { url, port } = await run(t);
  const answers = await Promise.all(
    Array.from({ length: 12 }, () => ask(`${url}/joboutputs/x`, { method: 'PUT', body: 'x' })),
  );
  assert.ok(answers.every(({ status }) => status === 201));
  assert.ok(port.outputs.every(({ uid }) => uid === process.getuid?.()));
});

test('agent.sock reads and never writes', async (t) => {
  const { reader, port } = await run(t);
  const { socketPath } = reader;
  for (const [method, target] of [
    ['PUT', '/joboutputs/x'],
    ['POST', '/v1/payloads'],
    ['GET', '/v1/payloads'],
    ['POST', '/v1/notices'],
  ] as const) {
    const options = method === 'GET' ? {} : { body: {} };
    const answer = await ask(target, { method, socketPath, ...options });
    assert.equal(answer.status, 403, target);
  }
  assert.equal((await ask('/v1/lifetime', { socketPath })).status, 200);
  assert.deepEqual(port.inputs, []);
  assert.equal(fs.statSync(socketPath).mode & 0o777, 0o666);
});

test('admin.sock is the operator, for its own user and nobody else', async (t) => {
  const { admin, port } = await run(t);
  const { socketPath } = admin;
  assert.equal(fs.statSync(socketPath).mode & 0o777, 0o600);
  assert.equal((await ask('/v1/notices', { socketPath, body: { kind: 'drain' } })).status, 201);
  assert.equal(port.inputs.length, 1);
});

test('admin.sock belongs to the configured group', { skip: NOT_ROOT }, async (t) => {
  const { admin } = await run(t, { adminGroupId: 54321 });
  const { mode, gid } = fs.statSync(admin.socketPath);
  assert.deepEqual([mode & 0o777, gid], [0o660, 54321]);
});

test('a listener beyond loopback reads, answers to its own address, and never writes', async (t) => {
  const { server, port } = await run(t, { listen: [{ host: '0.0.0.0', port: 0 }] });
  const tcpPort = Number(server.urls()[0]?.split(':').at(-1));
  assert.match(
    await raw(tcpPort, 'GET /v1/remaining_secs HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n'),
    /^HTTP\/1\.1 404 /,
  );
  const answer = await ask(`http://127.0.0.1:${tcpPort}/joboutputs/x`, { method: 'PUT', body: 'x' });
  assert.equal(answer.status, 403);
  assert.equal(answer.json()['code'], 'read_only');
  assert.equal((await ask(`http://127.0.0.1:${tcpPort}/`, { headers: { host: 'evil' } })).status, 403);
  assert.deepEqual(port.outputs, []);
});

test('socket tables that cannot be read identify nobody', async (t) => {
  const procRoot = temporaryDir(t);
  fs.mkdirSync(path.join(procRoot, 'self'));
  const { url, port } = await run(t, { procRoot });
  const answer = await ask(`${url}/joboutputs/x`, { method: 'PUT', body: 'x' });
  assert.equal(answer.status, 403);
  assert.match(String(answer.json()['detail']), /cannot be read/);
  assert.deepEqual(port.outputs, []);
});

test('IPv6 loopback identifies its callers too', async (t) => {
  const { server, port, logs } = await run(t, { listen: [{ host: '::1', port: 0 }] });
  const [url] = server.urls();
  if (url === undefined) {
    t.skip('no IPv6 on this machine');
    assert.ok(logs.some(({ event, level }) => event === 'http_listener_absent' && level === 20));
    return;
  }
  const tcpPort = Number(url.split(':').at(-1));
  const status = await new Promise((resolve, reject) => {
    const options = {
      host: '::1',
      port: tcpPort,
      path: '/joboutputs/x',
      method: 'PUT',
      agent: false,
      headers: { host: '[::1]' },
    };
    http
      .request(options, (response) => resolve(response.resume().statusCode))
      .on('error', reject)
      .end('x');
  });
  assert.equal(status, 201);
  assert.equal(port.outputs[0]?.uid, process.getuid?.());
});
