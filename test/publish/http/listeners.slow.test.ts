import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import test from 'node:test';
import { startHttp } from '../../../agent/publish/http/server.ts';
import { fakePort } from './fake-port.ts';
import { ask, captureLog, listen, run, temporaryDir } from './harness.ts';

test('the file url leads to the server, readable by all, and goes with it', async (t) => {
  const { runtimeDir, url, server, admin, reader } = await run(t);
  const file = path.join(runtimeDir, 'url');
  assert.equal(fs.readFileSync(file, 'utf8'), `${url}\n`);
  assert.match(url, /^http:\/\/127\.0\.0\.1:\d+$/);
  assert.equal(fs.statSync(file).mode & 0o777, 0o644);
  assert.deepEqual(fs.readdirSync(path.join(runtimeDir, '.tmp')), []);
  await server.close();
  for (const gone of [file, admin.socketPath, reader.socketPath]) assert.ok(!fs.existsSync(gone), gone);
});

test('no TCP listener, no url; the sockets serve', async (t) => {
  const { runtimeDir, server, reader } = await run(t, { listen: [] });
  assert.deepEqual(server.urls(), []);
  assert.ok(!fs.existsSync(path.join(runtimeDir, 'url')));
  assert.equal((await ask('/v1/lifetime', reader)).status, 200);
});

test('a taken port is said once with what to do, the sockets serve, and when it is free it is taken', async (t) => {
  const taker = http.createServer();
  await new Promise<void>((resolve) => taker.listen(0, '127.0.0.1', resolve));
  const address = taker.address();
  assert.ok(typeof address === 'object' && address !== null);
  const { log, logs, logged } = captureLog();
  const { server, reader, runtimeDir } = await run(t, {
    listen: [{ host: '127.0.0.1', port: address.port }],
    log,
    bounds: { retryMs: 10 },
  });
  const failures = () => logs.filter(({ event }) => event === 'http_listener_failed');
  assert.equal(failures().length, 1);
  assert.equal(failures()[0]?.['address'], `127.0.0.1:${address.port}`);
  assert.match(String(failures()[0]?.['msg']), new RegExp(`127\\.0\\.0\\.1:${address.port}: it is in use .*--listen`));
  assert.equal((await ask('/v1/lifetime', reader)).status, 200);
  assert.deepEqual(server.urls(), []);
  for (let i = 0; i < 20; i++) await ask('/healthz', reader);
  await new Promise<void>((resolve) => taker.close(() => resolve()));
  await logged('http_listener_recovered');
  assert.equal(failures().length, 1, 'the same failure again is not news');
  assert.equal((await ask(`${server.urls()[0]}/healthz`)).status, 200);
  assert.equal(fs.readFileSync(path.join(runtimeDir, 'url'), 'utf8'), `http://127.0.0.1:${address.port}\n`);
});

test('socket files of a killed agent are replaced', async (t) => {
  const runtimeDir = temporaryDir(t);
  const file = path.join(runtimeDir, 'agent.sock');
  const child = spawn(process.execPath, [
    '-e',
    `require('node:net').createServer().listen(process.argv[1], () => process.stdout.write('up'))`,
    file,
  ]);
  await new Promise((resolve) => child.stdout.once('data', resolve));
  const ended = new Promise((resolve) => child.once('close', resolve));
  child.kill('SIGKILL');
  await ended;
  assert.ok(fs.lstatSync(file).isSocket());
  const { reader } = await run(t, { runtimeDir });
  assert.equal((await ask('/v1/lifetime', reader)).status, 200);
});

test('a socket that somebody serves, and a file that is none, are left alone; when they go, we come', async (t) => {
  const runtimeDir = temporaryDir(t);
  const taken = path.join(runtimeDir, 'agent.sock');
  const other = net.createServer((socket) => socket.end());
  await new Promise<void>((resolve) => other.listen(taken, resolve));
  const inode = fs.lstatSync(taken).ino;
  const file = path.join(runtimeDir, 'admin.sock');
  fs.writeFileSync(file, 'mine');
  const { log, logs, logged } = captureLog();
  const { url, server } = await run(t, { runtimeDir, log, bounds: { retryMs: 10 } });
  assert.equal(fs.lstatSync(taken).ino, inode);
  assert.equal(fs.readFileSync(file, 'utf8'), 'mine');
  assert.deepEqual(
    logs.filter(({ event }) => event === 'http_listener_failed').map(({ address, code }) => [address, code]),
    [
      [taken, 'EADDRINUSE'],
      [file, 'EEXIST'],
    ],
  );
  assert.equal((await ask(`${url}/healthz`)).status, 200);
  await new Promise<void>((resolve) => other.close(() => resolve()));
  await logged('http_listener_recovered');
  await server.close();
  assert.equal(fs.readFileSync(file, 'utf8'), 'mine');
});

test('a runtime directory too deep for a socket is said, and HTTP serves', async (t) => {
  const runtimeDir = path.join(temporaryDir(t), 'x'.repeat(100));
  const { url, logs } = await run(t, { runtimeDir });
  assert.equal((await ask(`${url}/healthz`)).status, 200);
  const codes = logs.filter(({ event }) => event === 'http_listener_failed').map(({ code }) => code);
  assert.deepEqual(codes, ['ENAMETOOLONG', 'ENAMETOOLONG']);
});

test('close ends with streams, hanging GETs and half a request open, and answers those who hang', async (t) => {
  const { url, server, tcpPort, port } = await run(t);
  const events = await listen(`${url}/v1/events`);
  await events.until(/event: lifetime/);
  const hanging = ask(`${url}/v1/lifetime?wait_for_change=true`);
  const half = net.connect(tcpPort, '127.0.0.1', () =>
    half.write('PUT /joboutputs/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx'),
  );
  half.on('error', () => undefined);
  const halfEnded = new Promise((resolve) => half.on('close', resolve));
  const kept = new http.Agent({ keepAlive: true });
  t.after(() => kept.destroy());
  for (let i = 0; i < 5; i++) await ask(`${url}/healthz`, { agent: kept });
  await Promise.all([server.close(), server.close()]);
  await events.ended;
  await halfEnded;
  assert.equal((await hanging).body, port.publication().lifetimeJson.toString());
  await assert.rejects(ask(`${url}/healthz`), { code: 'ECONNREFUSED' });
});

test('closed while a port is still taken, nothing comes up later', async (t) => {
  const taker = http.createServer();
  await new Promise<void>((resolve) => taker.listen(0, '127.0.0.1', resolve));
  const address = taker.address();
  assert.ok(typeof address === 'object' && address !== null);
  const { server } = await run(t, { listen: [{ host: '127.0.0.1', port: address.port }], bounds: { retryMs: 1 } });
  await server.close();
  await new Promise<void>((resolve) => taker.close(() => resolve()));
  const again = http.createServer();
  await new Promise<void>((resolve) => again.listen(address.port, '127.0.0.1', resolve));
  await new Promise<void>((resolve) => again.close(() => resolve()));
  assert.deepEqual(server.urls(), []);
});

test('inherited listeners serve as what they are: TCP loopback, reader, operator; the address is not opened twice', async (t) => {
  const runtimeDir = temporaryDir(t);
  const tcp = net.createServer();
  await new Promise<void>((resolve) => tcp.listen(0, '127.0.0.1', resolve));
  const admin = net.createServer();
  await new Promise<void>((resolve) => admin.listen(path.join(runtimeDir, 'admin.sock'), resolve));
  const address = tcp.address();
  assert.ok(typeof address === 'object' && address !== null);
  // In a process of its own, as systemd starts it: descriptors 3 and 4 are all it gets.
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', path.join(import.meta.dirname, 'inherited-main.ts'), runtimeDir, String(address.port)],
    { stdio: ['pipe', 'pipe', 'inherit', handleOf(tcp), handleOf(admin)] },
  );
  t.after(() => child.kill('SIGKILL'));
  const { stdout, stdin } = child;
  assert.ok(stdout && stdin);
  const ended = new Promise((resolve) => child.once('close', resolve));
  const urls = await new Promise<string>((resolve) => stdout.once('data', (chunk) => resolve(String(chunk))));
  tcp.close();
  admin.close();
  assert.equal(urls, `["http://127.0.0.1:${address.port}"]`);
  assert.equal((await ask(`http://127.0.0.1:${address.port}/joboutputs/x`, { method: 'PUT', body: 'x' })).status, 201);
  stdin.end();
  assert.equal(await ended, 0);
});

test('started twice on one directory, the second says so and does not take the sockets', async (t) => {
  const first = await run(t);
  const { log, logs } = captureLog();
  const second = await startHttp(fakePort(), { listen: [], runtimeDir: first.runtimeDir, log, version: '0' });
  assert.equal(logs.filter(({ code }) => code === 'EADDRINUSE').length, 2);
  await second.close();
  assert.equal((await ask('/v1/lifetime', first.reader)).status, 200);
  assert.ok(fs.existsSync(path.join(first.runtimeDir, 'url')));
});

/** The descriptor behind a server, to hand to a child. */
function handleOf(server: net.Server): number {
  const handle: unknown = Reflect.get(server, '_handle');
  const fd: unknown = typeof handle === 'object' && handle !== null ? Reflect.get(handle, 'fd') : undefined;
  assert.ok(typeof fd === 'number');
  return fd;
}
