import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { instanceId } from '../../agent/instance.ts';
import { type DeliveryChannel, deliverTo } from '../../agent/report/deliver.ts';
import { heldPlace, removeReport, writeMain, writeReport } from '../../agent/report/write-main.ts';
import { makeCertificates } from '../hosts/certificates.ts';
import { type MjfHostOptions, startMjfHost } from '../hosts/mjf.ts';

const NOWHERE: DeliveryChannel = { url: null, directory: null, ca: null, cert: null, key: null };
const NO_CHILD = { command: '/nonexistent', args: [] };
const patient = (): AbortSignal => new AbortController().signal;

function place(t: TestContext): string {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-deliver-'));
  t.after(() => fs.rmSync(dir, { recursive: true, force: true }));
  return dir;
}

async function site(t: TestContext, options: MjfHostOptions = {}) {
  const host = await startMjfHost(options);
  t.after(() => host.close());
  return host;
}

describe('to a URL', () => {
  const send = (channel: Partial<DeliveryChannel>, name = 'log', body: Buffer | null = Buffer.from('x')) =>
    deliverTo({ ...NOWHERE, ...channel }, NO_CHILD)(name, body, patient());

  test('Vac takes what belongs below joboutputs and nothing else', async (t) => {
    const host = await site(t);
    assert.equal(await send({ url: `${host.url}/joboutputs` }), null);
    assert.equal(await send({ url: `${host.url}/joboutputs/` }, 'second', Buffer.from('y')), null);
    assert.deepEqual(host.taken, [
      { name: 'log', text: 'x' },
      { name: 'second', text: 'y' },
    ]);
    assert.deepEqual(await send({ url: `${host.url}/elsewhere` }), { code: 'http_403', final: false });
    assert.deepEqual(await send({ url: `${host.url}/joboutputs` }, 'no name'), { code: 'http_403', final: false });
  });

  test('nothing can be taken away there: nothing is asked, and all is well', async (t) => {
    const host = await site(t);
    assert.equal(await send({ url: `${host.url}/joboutputs` }, 'log', null), null);
    assert.equal(host.requests.length, 0);
  });

  test('errors of the server pass; what the request itself is refused for does not', async (t) => {
    const host = await site(t);
    const url = `${host.url}/joboutputs`;
    for (const [status, final] of [
      [500, false],
      [503, false],
      [404, false],
      [429, false],
      [400, true],
      [413, true],
    ] as const) {
      host.fault('*', { is: 'status', status });
      assert.deepEqual(await send({ url }), { code: `http_${status}`, final });
    }
    host.fault('*', undefined);
    assert.equal(await send({ url }), null);
  });

  test('a report is not led elsewhere', async (t) => {
    const [host, other] = [await site(t), await site(t)];
    host.fault('*', { is: 'redirect', to: `${other.url}/joboutputs/log` });
    assert.deepEqual(await send({ url: `${host.url}/joboutputs` }), { code: 'http_302', final: false });
    assert.equal(other.requests.length, 0);
  });

  test('a site that hangs is let go of when the caller says so; one that breaks or is not there has its code', async (t) => {
    const host = await site(t);
    const url = `${host.url}/joboutputs`;
    host.fault('*', { is: 'hang' });
    const stop = new AbortController();
    const sent = deliverTo({ ...NOWHERE, url }, NO_CHILD)('log', Buffer.from('x'), stop.signal);
    await host.seen(1);
    stop.abort();
    assert.deepEqual(await sent, { code: 'timeout', final: false });
    await host.idle();
    assert.deepEqual(await deliverTo({ ...NOWHERE, url }, NO_CHILD)('log', Buffer.from('x'), stop.signal), {
      code: 'timeout',
      final: false,
    });
    host.fault('*', { is: 'reset' });
    assert.deepEqual(await send({ url }), { code: 'econnreset', final: false });
    await host.close();
    assert.deepEqual(await send({ url }), { code: 'econnrefused', final: false });
  });

  test('what turns out to be ourselves is not a site: refused for good', async (t) => {
    const seen: unknown[] = [];
    const server = http.createServer((request, response) => {
      seen.push(request.headers['mjf-agent-instance']);
      request.resume().on('end', () => response.writeHead(508, { 'mjf-agent-instance': 'this-one' }).end());
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    t.after(() => server.close());
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/joboutputs`;
    const sendAs = (instance?: string) =>
      deliverTo({ ...NOWHERE, url }, NO_CHILD, instance)('log', Buffer.from('x'), patient());
    assert.deepEqual(await sendAs('this-one'), { code: 'own_output', final: true });
    assert.deepEqual(await sendAs('another'), { code: 'http_508', final: false });
    assert.equal((await sendAs())?.code, 'http_508');
    assert.deepEqual(seen, ['this-one', 'another', instanceId]);
  });

  test('Vcycle insists on a client certificate; its file is read anew each time', async (t) => {
    const dir = place(t);
    const pems = makeCertificates(dir);
    if (typeof pems === 'string') return t.skip(pems);
    const read = (file: string): string => fs.readFileSync(file, 'utf8');
    const tls = { cert: read(pems.serverCert), key: read(pems.serverKey), ca: read(pems.ca) };
    const host = await site(t, { style: 'vcycle', tls });
    const [cert, key] = [path.join(dir, 'renewed.pem'), path.join(dir, 'renewed.key')];
    const channel = { url: `${host.url}/joboutputs`, ca: pems.ca, cert, key };

    assert.deepEqual(await send({ ...channel, cert: null, key: null }), { code: 'http_403', final: false });
    assert.deepEqual(await send({ ...channel, ca: pems.otherCa }), { code: 'cert_enoent', final: false });
    fs.copyFileSync(pems.clientCert, cert);
    assert.deepEqual(await send(channel), { code: 'key_enoent', final: false });
    fs.copyFileSync(pems.serverKey, key);
    assert.match((await send(channel))?.code ?? '', /^err_ossl_\w+$/, 'the key of another certificate');
    fs.copyFileSync(pems.clientKey, key);
    assert.equal(await send(channel), null);
    assert.equal(host.outputs.get('log')?.toString(), 'x');
    const before = host.requests.length;
    const unknown = /^(unable_to_verify_leaf_signature|self_signed_cert_in_chain)$/;
    assert.match((await send({ ...channel, ca: pems.otherCa }))?.code ?? '', unknown);
    assert.match((await send({ ...channel, ca: null }))?.code ?? '', unknown);
    const { NODE_TLS_REJECT_UNAUTHORIZED: setting } = process.env;
    process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0';
    t.after(() => {
      if (setting === undefined) delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
      else process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = setting;
    });
    assert.match((await send({ ...channel, ca: null }))?.code ?? '', unknown);
    assert.equal(host.requests.length, before, 'an unknown server has been told nothing');
  });
});

/** A child that does what the script says, with the words of `__write-file` from `$1` on. */
const shell = (script: string) => ({ command: '/bin/sh', args: ['-c', script, 'sh'] });

describe('to a directory, in a child', () => {
  const send = (script: string, body: Buffer | null = Buffer.from('x'), signal = patient()) =>
    deliverTo({ ...NOWHERE, directory: '/share' }, shell(script))('log', body, signal);

  test('the child is told what to do and given the bytes', async (t) => {
    const file = path.join(place(t), 'seen');
    const script = `{ echo "$*"; cat; } > ${file}`;
    assert.equal(await send(script, Buffer.from('body')), null);
    assert.equal(fs.readFileSync(file, 'utf8'), `__write-file /share log 4 ${process.pid}\nbody`);
    assert.equal(await send(script, null), null);
    assert.equal(fs.readFileSync(file, 'utf8'), `__write-file /share log remove ${process.pid}\n`);
  });

  test('its last line is the code, whatever was warned of before; without one its end is', async () => {
    const why = async (script: string) => (await send(script))?.code;
    assert.equal(await why('echo enospc >&2; exit 1'), 'enospc');
    assert.equal(await why('echo "(node:1) Warning: old" >&2; echo erofs >&2; exit 1'), 'erofs');
    assert.equal(await why('echo "Error: Cannot find /secret" >&2; exit 1'), 'exit_1');
    assert.equal(await why('kill -9 $$'), 'sigkill');
    const nobody = deliverTo({ ...NOWHERE, directory: '/share' }, NO_CHILD);
    assert.deepEqual(await nobody('log', null, patient()), { code: 'not_found', final: false });
  });

  test('one that hangs is let go of when the caller says so', async () => {
    const stop = new AbortController();
    const sent = send('exec sleep 1000', Buffer.from('x'), stop.signal);
    stop.abort();
    assert.deepEqual(await sent, { code: 'timeout', final: false });
  });
});

describe('what the child does', () => {
  const put = (dir: string, name = 'log', text = 'x'): void => writeReport(dir, name, Buffer.from(text));

  test('a file appears whole, is replaced, and goes away, which it need not be there for', (t) => {
    const dir = place(t);
    put(dir, 'log', 'first');
    put(dir, 'log', 'second');
    assert.equal(fs.readFileSync(path.join(dir, 'log'), 'utf8'), 'second');
    assert.deepEqual(fs.readdirSync(dir), ['log']);
    removeReport(dir, 'log');
    removeReport(dir, 'log');
    assert.deepEqual(fs.readdirSync(dir), []);
  });

  test('a directory that is not there, or another thing of that name', (t) => {
    const dir = place(t);
    for (const act of [put, (at: string) => removeReport(at, 'log')])
      assert.throws(() => act(path.join(dir, 'missing')), { code: 'ENOENT' });
    fs.mkdirSync(path.join(dir, 'log'));
    assert.throws(() => put(dir), { code: 'EISDIR' });
    assert.deepEqual(fs.readdirSync(dir), ['log'], 'nothing half-written');
  });

  test('leftovers of killed children go, others of that look stay', (t) => {
    const dir = place(t);
    const old = new Date(Date.now() - 120_000);
    const leave = (name: string, at = old): void => {
      fs.writeFileSync(path.join(dir, name), 'half');
      fs.utimesSync(path.join(dir, name), at, at);
    };
    const dead = spawnSync('true').pid;
    leave(`.log.${dead}`);
    // A living process; somebody else's; another report's; of another machine that shares the directory, perhaps.
    const kept = [`.log.${process.ppid}`, '.log.old', `.other.${dead}`, `.log.${dead + 1_000_000_000}`];
    for (const name of kept) leave(name, name === kept.at(-1) ? new Date() : old);
    put(dir);
    assert.deepEqual(fs.readdirSync(dir).sort(), [...kept, 'log'].sort());
  });

  test('a full and a read-only directory have their codes, and nothing is left in them', (t) => {
    const dir = place(t);
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', dir]);
    if (mounted.status !== 0) return t.skip('a tmpfs cannot be mounted here (not root)');
    try {
      put(dir, 'log', 'first');
      assert.throws(() => put(dir, 'log', 'x'.repeat(100_000)), { code: 'ENOSPC' });
      assert.deepEqual(fs.readdirSync(dir), ['log']);
      assert.equal(fs.readFileSync(path.join(dir, 'log'), 'utf8'), 'first', 'what was there stays');
      assert.equal(spawnSync('mount', ['-o', 'remount,ro', dir]).status, 0);
      assert.throws(() => put(dir), { code: 'EROFS' });
      assert.throws(() => removeReport(dir, 'log'), { code: 'EROFS' });
      assert.equal(spawnSync('mount', ['-o', 'remount,rw', dir]).status, 0);
      put(dir, 'log', 'second');
      assert.equal(fs.readFileSync(path.join(dir, 'log'), 'utf8'), 'second');
    } finally {
      assert.equal(spawnSync('umount', [dir]).status, 0);
    }
  });
});

test('where no operator has named the place, no link on the way there is followed', async (t) => {
  const root = place(t);
  const [share, elsewhere] = [path.join(root, 'share'), path.join(root, 'elsewhere')];
  for (const dir of [share, elsewhere, path.join(share, 'real')]) fs.mkdirSync(dir);
  fs.symlinkSync(elsewhere, path.join(share, 'link'));
  fs.writeFileSync(path.join(elsewhere, 'log'), 'old');
  t.mock.method(process.stderr, 'write', () => true);
  assert.equal(await writeMain([path.join(share, 'link'), 'log', 'remove', String(process.ppid), 'no-links']), 1);
  fs.mkdirSync(path.join(elsewhere, 'real'));
  assert.equal(await writeMain([path.join(share, 'link/real'), 'log', 'remove', String(process.ppid), 'no-links']), 1);
  assert.equal(fs.readFileSync(path.join(elsewhere, 'log'), 'utf8'), 'old');
  // What is put in its place afterwards is not what was looked at.
  const held = heldPlace(path.join(share, 'real'));
  fs.renameSync(path.join(share, 'real'), path.join(share, 'moved'));
  fs.symlinkSync(elsewhere, path.join(share, 'real'));
  writeReport(held, 'log', Buffer.from('new'));
  assert.deepEqual(fs.readdirSync(path.join(share, 'moved')), ['log']);
  removeReport(held, 'log');
  assert.deepEqual(fs.readdirSync(path.join(share, 'moved')), []);
  assert.equal(fs.readFileSync(path.join(elsewhere, 'log'), 'utf8'), 'old');
  assert.throws(() => heldPlace(path.join(share, 'none')), { code: 'ENOENT' });
});
