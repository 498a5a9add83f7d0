import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import pino from 'pino';
import type { JobOutputsConfig } from '../../agent/config/types.ts';
import { instanceId } from '../../agent/instance.ts';
import type { Publication } from '../../agent/ports.ts';
import { publicationOf } from '../../agent/publish/publication.ts';
import { deliverTo } from '../../agent/report/deliver.ts';
import { openJobOutputs } from '../../agent/report/joboutputs.ts';
import { snapshotOf } from '../support/snapshot.ts';

const SELF = { command: process.execPath, args: ['--import', 'tsx', path.resolve('agent/main.ts')] };
const NOWHERE: JobOutputsConfig = {
  url: null,
  directory: null,
  caFile: null,
  certFile: null,
  keyFile: null,
  heartbeatFile: null,
  heartbeatMs: 60_000,
};

interface Site {
  readonly url: string;
  readonly got: { readonly name: string; readonly body: string }[];
  /** Status for a file; 201 by default. */
  answer: (name: string) => number;
  /** Fulfils when so many files have arrived, refused ones included. */
  arrived(count: number): Promise<void>;
}

async function startSite(t: TestContext): Promise<Site> {
  const got: Site['got'] = [];
  let waiting: { count: number; resolve: () => void }[] = [];
  const server = http.createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const name = path.basename(request.url ?? '');
      got.push({ name, body: Buffer.concat(chunks).toString() });
      response.writeHead(site.answer(name)).end();
      for (const each of waiting) if (got.length >= each.count) each.resolve();
      waiting = waiting.filter(({ count }) => got.length < count);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const site: Site = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/joboutputs/vm-17`,
    got,
    answer: () => 201,
    arrived: (count) =>
      got.length >= count ? Promise.resolve() : new Promise((resolve) => waiting.push({ count, resolve })),
  };
  return site;
}

function open(
  t: TestContext,
  config: Partial<JobOutputsConfig>,
  env: Record<string, string> = {},
  lines: string[] = [],
) {
  const log = pino({ base: null }, { write: (line: string) => lines.push(line) });
  const reports = openJobOutputs({
    config: { ...NOWHERE, ...config },
    env,
    self: SELF,
    ownAddresses: [{ host: '127.0.0.1', port: 8653 }],
    log,
  });
  t.after(() => reports.close());
  return reports;
}

/** The host's deadline has stopped the last payload. */
function stoppedPublication(): Publication {
  const { snapshot, payloads } = snapshotOf({ machine: { shutdowntime: '1766440001' } });
  const ended = { ...snapshot, phase: 'stopped' as const, payloads: { running: 0, stopping: 0, stopped: 1 } };
  return publicationOf(ended, payloads, null);
}

test('the last message is one line without a newline, sent once', async (t) => {
  const site = await startSite(t);
  const reports = open(t, { url: site.url });
  reports.update(stoppedPublication());
  reports.update(stoppedPublication());
  await site.arrived(1);
  await reports.close();
  assert.deepEqual(site.got, [{ name: 'shutdown_message', body: '100 Shutdown as requested by the host' }]);
});

test('no payload can crowd out the last message: a full queue of files that the site does not take', async (t) => {
  const site = await startSite(t);
  site.answer = (name) => (name === 'shutdown_message' ? 201 : 503);
  const reports = open(t, { url: site.url });
  for (let n = 0; n < 64; n += 1) assert.equal(reports.put(`file-${n}`, Buffer.from('x')), 'stored');
  assert.equal(reports.put('one-more', Buffer.from('x')), 'full');
  reports.update(stoppedPublication());
  while (!site.got.some(({ name }) => name === 'shutdown_message')) await site.arrived(site.got.length + 1);
  assert.ok(site.got.length < 64, 'before the others, not after them');
});

test('what the site refuses for good is dropped with a line; the rest goes on', async (t) => {
  const site = await startSite(t);
  site.answer = (name) => (name === 'huge' ? 413 : 201);
  const lines: string[] = [];
  const reports = open(t, { url: site.url }, {}, lines);
  reports.put('huge', Buffer.from('x'));
  reports.put('log', Buffer.from('y'));
  await site.arrived(2);
  await reports.close();
  assert.deepEqual(
    site.got.map(({ name }) => name),
    ['huge', 'log'],
  );
  assert.ok(lines.some((line) => line.includes('report_refused') && line.includes('http_413')));
});

test('a site that is away gets the file when it is back, the newest content of a name', async (t) => {
  const site = await startSite(t);
  site.answer = () => 503;
  const lines: string[] = [];
  const reports = open(t, { url: site.url }, {}, lines);
  reports.put('log', Buffer.from('old'));
  while (!lines.some((line) => line.includes('report_failed'))) await new Promise(setImmediate);
  site.answer = () => 201;
  reports.put('log', Buffer.from('new'));
  await site.arrived(2);
  await reports.close();
  assert.equal(site.got.at(-1)?.body, 'new');
  assert.ok(lines.some((line) => line.includes('report_recovered')));
});

test('the heartbeat goes out at once, under the name that the site gave', async (t) => {
  const site = await startSite(t);
  open(t, { url: site.url, heartbeatFile: 'heartbeat' });
  await site.arrived(1);
  assert.equal(site.got[0]?.name, 'heartbeat');
  assert.match(site.got[0]?.body ?? '', /^\d+\.\d\d \d+\.\d\d \d+\.\d\d\n[\d.]+\n$/);
});

test('JOBOUTPUTS that is no URL, or the agent itself, is no channel; secrets of a URL stay out of the log', (t) => {
  const lines: string[] = [];
  assert.equal(open(t, {}, { JOBOUTPUTS: 'http://exa mple.org/x' }).put('log', Buffer.from('x')), 'no_channel');
  assert.equal(
    open(t, {}, { JOBOUTPUTS: 'http://localhost:8653/joboutputs' }).put('log', Buffer.from('x')),
    'no_channel',
  );
  assert.equal(open(t, {}).put('log', Buffer.from('x')), 'no_channel');
  open(t, {}, { JOBOUTPUTS: 'http://user:secret@127.0.0.1:9/out?token=abc' }, lines);
  assert.ok(lines.some((line) => line.includes('report_channel')));
  for (const line of lines) assert.doesNotMatch(line, /secret|abc/);
});

test('a directory gets the file whole, by rename', async (t) => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-outputs-'));
  t.after(() => fs.rmSync(dir, { recursive: true }));
  const appeared = new Promise<void>((resolve) => {
    const watcher = fs.watch(dir, (_, name) => {
      if (name !== 'shutdown_message') return;
      watcher.close();
      resolve();
    });
  });
  open(t, { directory: dir }).update(stoppedPublication());
  await appeared;
  assert.equal(fs.readFileSync(path.join(dir, 'shutdown_message'), 'utf8'), '100 Shutdown as requested by the host');
});

test('what turns out to be ourselves is not a site: dropped at once, never sent on', async (t) => {
  const seen: unknown[] = [];
  const server = http.createServer((request, response) => {
    seen.push(request.headers['mjf-agent-instance']);
    request.resume().on('end', () => response.writeHead(508, { 'mjf-agent-instance': 'this-one' }).end());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/joboutputs`;
  const send = (instance?: string) =>
    deliverTo({ url, directory: null, ca: null, cert: null, key: null }, SELF, instance)(
      'log',
      Buffer.from('x'),
      new AbortController().signal,
    );
  assert.deepEqual(await send('this-one'), { code: 'own_output', final: true });
  assert.deepEqual(await send('another'), { code: 'http_508', final: false });
  assert.equal((await send())?.code, 'http_508');
  assert.deepEqual(seen, ['this-one', 'another', instanceId]);
});
