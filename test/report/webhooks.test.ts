import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import pino from 'pino';
import type { WebhookConfig } from '../../agent/config/types.ts';
import { INSTANCE_HEADER, instanceId } from '../../agent/instance.ts';
import { HOOK_EVENTS, type HookEvent, type HookRun } from '../../agent/lifetime/types.ts';
import { createMetrics } from '../../agent/publish/metrics.ts';
import { publicationOf } from '../../agent/publish/publication.ts';
import { messageOf } from '../../agent/report/webhook-message.ts';
import { openWebhooks, type Webhooks } from '../../agent/report/webhooks.ts';
import { makeCertificates } from '../hosts/certificates.ts';
import { startWebhookReceiver, type WebhookReceiver, type WebhookReceiverOptions } from '../hosts/webhook.ts';
import { NOON, snapshotOf } from '../support/snapshot.ts';

const IDENTITY = { machineId: 'a-machine', bootId: 'a-boot' };
const { snapshot, payloads } = snapshotOf({ machine: { shutdowntime: '1766440600', total_cpu: '8' } });
const PUBLICATION = publicationOf(snapshot, payloads, null);
const METRIC = 'mjf_webhooks_total';
/** A wait for what never comes fails the test instead of hanging. The true one: time is turned by hand below. */
const WAIT_BOUND_MS = 60_000;
const trueSetTimeout = setTimeout;
const trueClearTimeout = clearTimeout;

interface Bench {
  readonly hooks: Webhooks;
  readonly lines: readonly Readonly<Record<string, unknown>>[];
  readonly text: () => string;
  /** `EVENT OUTCOME`, each as often as it was counted. */
  readonly counted: readonly string[];
  readonly settled: readonly string[];
  /** The next line with this `event`; the first there ever was, if there is one. */
  logged(event: string, nth?: number): Promise<Readonly<Record<string, unknown>>>;
  /** Fulfilled when so many runs have been settled. */
  through(count: number): Promise<void>;
  /** Lets time pass, on the clocks and for whoever waits. */
  pass(ms: number): void;
}

function open(
  t: TestContext,
  tables: readonly (Partial<WebhookConfig> & { readonly url: string })[],
  onSettled = () => {},
): Bench {
  // Pauses and bounds pass by hand; sockets are real.
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const lines: Record<string, unknown>[] = [];
  const counted: string[] = [];
  const settled: string[] = [];
  const metrics = createMetrics({ strict: true });
  const changed = new Set<() => void>();
  const tell = (): void => {
    for (const each of [...changed]) each();
  };
  let elapsed = 0;
  const until = <T>(found: () => T | undefined): Promise<T> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        const value = found();
        if (value === undefined) return;
        changed.delete(look);
        trueClearTimeout(bound);
        resolve(value);
      };
      const bound = trueSetTimeout(
        () => reject(new Error(`it does not come: ${JSON.stringify(lines)}`)),
        WAIT_BOUND_MS,
      );
      changed.add(look);
      look();
    });
  const write = (line: string): void => {
    lines.push(JSON.parse(line));
    tell();
  };
  const hooks = openWebhooks({
    webhooks: tables.map(tableOf),
    log: pino({ base: null, level: 'debug' }, { write }),
    count(metric, labels) {
      metrics.count(metric, labels);
      assert.equal(metric, METRIC);
      counted.push(`${labels['event']} ${labels['outcome']}`);
    },
    now: () => ({ wall: NOON + elapsed, mono: 5_000_000 + elapsed }),
    ownAddresses: [{ host: '127.0.0.1', port: 8653 }],
    identity: IDENTITY,
    onSettled(run) {
      settled.push(run);
      tell();
      onSettled();
    },
  });
  t.after(async () => {
    t.mock.timers.reset();
    await hooks.stop();
  });
  return {
    hooks,
    lines,
    text: () => JSON.stringify(lines),
    counted,
    settled,
    logged: (event, nth = 1) => until(() => lines.filter((line) => line['event'] === event)[nth - 1]),
    through: (count) => until(() => (settled.length >= count ? true : undefined)).then(() => undefined),
    pass(ms) {
      elapsed += ms;
      t.mock.timers.tick(ms);
    },
  };
}

const tableOf = (table: Partial<WebhookConfig> & { readonly url: string }): WebhookConfig => ({
  events: HOOK_EVENTS,
  authorizationFile: null,
  caFile: null,
  certFile: null,
  keyFile: null,
  ...table,
});

async function receiver(t: TestContext, options: WebhookReceiverOptions = {}): Promise<WebhookReceiver> {
  const host = await startWebhookReceiver(options);
  t.after(() => host.close());
  return host;
}

function privateDir(t: TestContext): string {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-webhooks-'));
  t.after(() => fs.rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** Where nobody listens. */
async function closedPort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const ask = (url: string): Promise<void> =>
  new Promise((resolve, reject) => {
    http.get(url, { agent: false }, (answer) => answer.resume().once('close', resolve)).once('error', reject);
  });

let runs = 0;
function run(event: HookRun['event'], more: Partial<HookRun> = {}): HookRun {
  runs += 1;
  return { id: `${runs}-${event}`, event, byMs: null, repeated: false, ...more };
}

test('the body is the Snapshot as the file has it, with the event in front; the headers say the same', async (t) => {
  const host = await receiver(t);
  const { hooks, through, settled } = open(t, [{ url: `${host.url}/events?vm=17` }]);
  const notice = { id: 'ec2/spot', kind: 'terminate', deadlineMs: NOON + 90_999 } as const;
  const told = run('notice', { notice, repeated: true });
  hooks.send(told, PUBLICATION);
  await through(1);
  assert.deepEqual(settled, [told.id]);
  const [{ method, path: asked, query, headers, body }] = host.requests as [(typeof host.requests)[number]];
  assert.deepEqual([method, asked, query.get('vm')], ['POST', '/events', '17']);
  const { event, ...rest } = JSON.parse(body) as Record<string, unknown>;
  assert.deepEqual(rest, JSON.parse(PUBLICATION.lifetimeJson.toString()));
  assert.ok(body.endsWith(PUBLICATION.lifetimeJson.subarray(1).toString()), 'byte for byte');
  const id = headers['mjf-event-id'];
  assert.match(String(id), new RegExp(`^[0-9a-f]{16}/${told.id}$`));
  assert.deepEqual(event, {
    name: 'notice',
    id,
    repeated: true,
    host: os.hostname(),
    notice: { id: 'ec2/spot', kind: 'terminate', deadline: Math.floor((NOON + 90_999) / 1000) },
  });
  assert.equal(headers['mjf-event'], 'notice');
  assert.equal(headers['idempotency-key'], id);
  assert.equal(headers['content-type'], 'application/json');
  assert.equal(headers[INSTANCE_HEADER], instanceId);
  assert.equal(headers.authorization, undefined);
});

test('the answer to the site is told with what it is now, and of no other event', () => {
  const sender = { host: 'vm-17', prefix: 'x' };
  const eventOf = (told: HookRun): Record<string, unknown> =>
    JSON.parse(messageOf(told, PUBLICATION, sender)?.body.toString() ?? '').event;
  for (const canTerminate of [true, false]) {
    const event = eventOf(run('can_terminate', { canTerminate }));
    assert.deepEqual([event['name'], event['can_terminate'], event['notice']], ['can_terminate', canTerminate, null]);
  }
  assert.equal('can_terminate' in eventOf(run('stopping')), false);
});

test('the Snapshot has no field of its own that `event` would hide', () => {
  assert.equal('event' in JSON.parse(PUBLICATION.lifetimeJson.toString()), false);
});

test('the id is the same after a crash, and another on another machine or in another boot', async (t) => {
  const host = await receiver(t);
  const told = run('stopping');
  const say = async (identity: typeof IDENTITY): Promise<void> => {
    await new Promise<void>((resolve) => {
      const hooks = openWebhooks({
        webhooks: [tableOf({ url: host.url })],
        log: pino({ level: 'silent' }),
        count: () => {},
        now: () => ({ wall: NOON, mono: 0 }),
        ownAddresses: [],
        identity,
        onSettled: () => resolve(),
      });
      t.after(() => hooks.stop());
      hooks.send(told, PUBLICATION);
    });
  };
  await say(IDENTITY);
  await say(IDENTITY);
  assert.deepEqual([host.events.length, host.doubles()], [1, 1]);
  await say({ ...IDENTITY, machineId: 'another' });
  await say({ ...IDENTITY, bootId: 'another' });
  assert.equal(new Set(host.events.map(({ id }) => id)).size, 3);
});

test('a step of a payload is nobody’s business outside: settled without a word; as is an event that nobody asked for', async (t) => {
  const host = await receiver(t);
  const { hooks, through, counted } = open(t, [{ url: host.url, events: ['stopping'] }]);
  let within = true;
  hooks.send(run('step', { file: 'x' }), PUBLICATION);
  hooks.send(run('draining'), PUBLICATION);
  within = false;
  await through(2);
  assert.equal(within, false);
  hooks.send(run('stopping'), PUBLICATION);
  await through(3);
  assert.deepEqual([host.requests.length, counted], [1, ['stopping delivered']]);
});

const SICK = [
  ['500', { is: 'status', status: 500 }],
  ['403', { is: 'status', status: 403 }],
  ['408', { is: 'status', status: 408 }],
  ['a reset', { is: 'reset' }],
] as const;
for (const [name, fault] of SICK)
  test(`${name}: tried again after a pause, and taken then; people are told once`, async (t) => {
    const host = await receiver(t);
    host.fault('*', fault, 2);
    const { hooks, logged, pass, through, counted, lines } = open(t, [{ url: host.url }]);
    hooks.send(run('stopping'), PUBLICATION);
    await logged('webhook_failed');
    assert.equal(host.requests.length, 1);
    pass(1_000);
    await logged('webhook_failed', 2);
    pass(2_000);
    await through(1);
    assert.deepEqual(counted, ['stopping retried', 'stopping retried', 'stopping delivered']);
    const warned = lines.filter(({ level }) => Number(level) >= 40).map(({ event }) => event);
    assert.deepEqual(warned, ['webhook_failed']);
    assert.ok(lines.some(({ event }) => event === 'webhook_recovered'));
  });

const ENOUGH = [
  ['a page of a portal', { is: 'html' }],
  ['nonsense after the head', { is: 'bad-chunks' }],
  ['an answer that breaks off', { is: 'reset-mid-body' }],
  ['an answer without end', { is: 'endless' }],
] as const;
for (const [name, fault] of ENOUGH)
  test(`200 is enough, whatever follows: ${name}`, async (t) => {
    const host = await receiver(t);
    host.fault('*', fault);
    const { hooks, through, counted } = open(t, [{ url: host.url }]);
    hooks.send(run('stopping'), PUBLICATION);
    await through(1);
    assert.deepEqual(counted, ['stopping delivered']);
    await host.requests[0]?.closed;
  });

test('an answer that drips is not waited for beyond the bound', async (t) => {
  const host = await receiver(t);
  host.fault('*', { is: 'drip', everyMs: 1 });
  const { hooks, through, pass, counted } = open(t, [{ url: host.url }]);
  hooks.send(run('stopping'), PUBLICATION);
  await host.seen(1);
  const through1 = through(1);
  // The head may be on its way still: then the bound of the head passes first.
  const passing = setInterval(() => pass(1_000), 5);
  t.after(() => clearInterval(passing));
  await through1;
  assert.equal(counted.at(-1), 'stopping delivered');
});

test('a receiver that hangs is let go of, and asked again', async (t) => {
  const host = await receiver(t);
  host.fault('*', { is: 'hang' }, 1);
  const { hooks, logged, through, pass } = open(t, [{ url: host.url }]);
  const asked = host.seen(1);
  hooks.send(run('stopping'), PUBLICATION);
  await asked;
  pass(5_000);
  assert.equal((await logged('webhook_failed'))['error'], 'timeout');
  await host.requests[0]?.closed;
  pass(1_000);
  await through(1);
  assert.equal(host.events.length, 1);
});

test('a connection that nobody takes is given up after its bound', async (t) => {
  // TLS that is never answered: connected, and yet not.
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => void sockets.add(socket.on('error', () => {})));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const accepted = new Promise((resolve) => server.once('connection', resolve));
  const { port } = server.address() as AddressInfo;
  const { hooks, logged, pass } = open(t, [{ url: `https://127.0.0.1:${port}/` }]);
  hooks.send(run('stopping'), PUBLICATION);
  await accepted;
  pass(5_000);
  assert.equal((await logged('webhook_failed'))['error'], 'connect_timeout');
});

test('nobody listens: tried until the time of the event is over, once more just before that, and then it is told', async (t) => {
  t.mock.method(Math, 'random', () => 1);
  const url = `http://127.0.0.1:${await closedPort()}/`;
  const { hooks, logged, pass, counted, through } = open(t, [{ url }]);
  hooks.send(run('stopping', { byMs: NOON + 60_000 }), PUBLICATION);
  for (const [index, pause] of [1_000, 2_000, 4_000, 8_000, 16_000, 24_000].entries()) {
    assert.equal((await logged('webhook_failed', index + 1))['error'], 'econnrefused');
    pass(pause);
  }
  await through(1);
  await logged('webhook_expired');
  assert.deepEqual([counted.length, counted.at(-1)], [7, 'stopping expired']);
});

test('where no deadline is known an event is worth ten minutes; pauses grow to half a minute', async (t) => {
  t.mock.method(Math, 'random', () => 1);
  const url = `http://127.0.0.1:${await closedPort()}/`;
  const { hooks, logged, pass, counted, through } = open(t, [{ url }]);
  hooks.send(run('cancelled'), PUBLICATION);
  const pauses = [1, 2, 4, 8, 16, ...Array.from({ length: 18 }, () => 30), 24];
  assert.equal(
    pauses.reduce((sum, each) => sum + each),
    595,
  );
  for (const [index, pause] of pauses.entries()) {
    await logged('webhook_failed', index + 1);
    pass(pause * 1_000);
  }
  await through(1);
  assert.equal(counted.at(-1), 'cancelled expired');
});

test('an event that had to wait for others beyond its time is tried once all the same', async (t) => {
  t.mock.method(Math, 'random', () => 1);
  const host = await receiver(t);
  host.fault('*', { is: 'status', status: 500 }, 4);
  const { hooks, logged, pass, through, counted } = open(t, [{ url: host.url }]);
  hooks.send(run('notice', { byMs: NOON + 4_000 }), PUBLICATION);
  hooks.send(run('draining', { byMs: NOON + 1_000 }), PUBLICATION);
  await logged('webhook_failed');
  pass(1_000);
  await logged('webhook_failed', 2);
  pass(2_000);
  await logged('webhook_failed', 3);
  pass(500);
  await through(2);
  assert.deepEqual(counted.slice(-2), ['notice expired', 'draining delivered']);
});

test('pauses are jittered: at the least half', async (t) => {
  t.mock.method(Math, 'random', () => 0);
  const host = await receiver(t);
  host.fault('*', { is: 'status', status: 500 }, 1);
  const { hooks, logged, pass, through } = open(t, [{ url: host.url }]);
  hooks.send(run('stopping'), PUBLICATION);
  await logged('webhook_failed');
  pass(500);
  await through(1);
});

const AGAIN = [
  ['in seconds', { 'retry-after': '90' }, 90_000],
  // The receiver's clock is not ours: what counts is how far both dates lie apart.
  ['as a date', { 'retry-after': 'Wed, 01 Jan 2020 00:01:30 GMT', date: 'Wed, 01 Jan 2020 00:00:00 GMT' }, 90_000],
  ['for longer than we have patience', { 'retry-after': '86400' }, 300_000],
  ['in words', { 'retry-after': 'soon' }, 1_000],
  ['below our own pause', { 'retry-after': '0' }, 1_000],
] as const;
for (const [name, headers, pauseMs] of AGAIN)
  for (const status of [429, 503])
    test(`${status} with Retry-After ${name}: asked again after ${pauseMs / 1000} s and not before`, async (t) => {
      t.mock.method(Math, 'random', () => 1);
      const host = await receiver(t);
      host.fault('*', { is: 'status', status, headers }, 1);
      const { hooks, logged, pass, through, counted } = open(t, [{ url: host.url }]);
      hooks.send(run('stopping'), PUBLICATION);
      await logged('webhook_failed');
      pass(pauseMs - 1);
      // By the time that a question of our own is answered, whatever was sent before it has arrived.
      for (let n = 0; n < 2; n += 1) await ask(host.url);
      assert.deepEqual(
        host.requests.map(({ method }) => method),
        ['POST', 'GET', 'GET'],
      );
      pass(1);
      await through(1);
      assert.equal(counted.at(-1), 'stopping delivered');
    });

test('Retry-After beyond the time of the event: asked once more before that ends', async (t) => {
  t.mock.method(Math, 'random', () => 1);
  const host = await receiver(t);
  host.fault('*', { is: 'status', status: 503, headers: { 'retry-after': '120' } }, 1);
  const { hooks, logged, pass, through, counted } = open(t, [{ url: host.url }]);
  hooks.send(run('stopping', { byMs: NOON + 30_000 }), PUBLICATION);
  await logged('webhook_failed');
  pass(25_000);
  await through(1);
  assert.equal(counted.at(-1), 'stopping delivered');
});

const FINAL = [
  ['404', { is: 'status', status: 404 }],
  ['410', { is: 'status', status: 410 }],
  ['a redirect', { is: 'redirect', to: '/elsewhere' }],
  ['this agent itself, by another name', { is: 'status', status: 200, headers: { [INSTANCE_HEADER]: instanceId } }],
] as const;
for (const [name, fault] of FINAL)
  test(`${name}: refused, told, not repeated; the next event goes out`, async (t) => {
    const host = await receiver(t);
    host.fault('*', fault, 1);
    const { hooks, logged, through, counted } = open(t, [{ url: host.url }]);
    hooks.send(run('notice'), PUBLICATION);
    hooks.send(run('stopping'), PUBLICATION);
    await logged('webhook_refused');
    await through(2);
    assert.deepEqual(counted, ['notice refused', 'stopping delivered']);
    assert.deepEqual(
      host.requests.map(({ path: asked }) => asked),
      ['/', '/'],
    );
  });

test('our own endpoint by name, and what is no URL of HTTP, is not asked at all; the run is settled', async (t) => {
  const { hooks, through, logged, counted } = open(t, [
    { url: 'http://localhost:8653/v1/payloads' },
    { url: 'ftp://127.0.0.1/' },
  ]);
  assert.equal((await logged('webhook_unusable'))['webhook'], 1);
  assert.equal((await logged('webhook_unusable', 2))['webhook'], 2);
  hooks.send(run('stopping'), PUBLICATION);
  await through(1);
  assert.deepEqual(counted, []);
});

test('events of one URL keep their order, also over several tables; another receiver waits for none of them', async (t) => {
  const [slow, quick] = [await receiver(t), await receiver(t)];
  slow.fault('*', { is: 'status', status: 500 }, 1);
  const { hooks, logged, pass, through, settled } = open(t, [
    { url: slow.url, events: ['notice', 'stopping'] },
    { url: quick.url },
    { url: `${slow.url}/`, events: ['draining', 'stopping'] },
  ]);
  const sent = (['notice', 'draining', 'stopping'] as const).map((event) => run(event));
  for (const each of sent) hooks.send(each, PUBLICATION);
  await quick.taken(3);
  await logged('webhook_failed');
  assert.deepEqual([slow.events.length, settled.length], [0, 0], 'settled only when every receiver is through');
  pass(1_000);
  await through(3);
  const names = ({ events }: WebhookReceiver) => events.map(({ event }) => event);
  assert.deepEqual(names(slow), ['notice', 'draining', 'stopping']);
  assert.deepEqual(names(quick), ['notice', 'draining', 'stopping']);
  assert.deepEqual(
    settled,
    sent.map(({ id }) => id),
  );
});

test('what is told of one event being settled may be the next event: it goes out too', async (t) => {
  const host = await receiver(t);
  const next: HookRun[] = [run('draining'), run('stopping')];
  const bench = open(t, [{ url: host.url }], () => {
    const event = next.shift();
    if (event !== undefined) bench.hooks.send(event, PUBLICATION);
  });
  bench.hooks.send(run('notice'), PUBLICATION);
  await bench.through(3);
  assert.equal(host.events.length, 3);
});

test('the same run told twice while it waits goes out once', async (t) => {
  const host = await receiver(t);
  const { hooks, through, settled } = open(t, [{ url: host.url }]);
  const [told, next] = [run('stopping'), run('stopped')];
  hooks.send(told, PUBLICATION);
  hooks.send({ ...told, repeated: true }, PUBLICATION);
  hooks.send(next, PUBLICATION);
  await through(2);
  assert.deepEqual(settled, [told.id, next.id]);
  assert.equal(host.requests.length, 2);
});

test('at most 16 wait: the oldest notices go first, then the oldest of all; none that is on its way', async (t) => {
  const host = await receiver(t);
  host.fault('*', { is: 'hang' }, 1);
  const { hooks, through, pass, logged, counted, settled, lines } = open(t, [{ url: host.url }]);
  const asked = host.seen(1);
  const flying = run('notice');
  hooks.send(flying, PUBLICATION);
  await asked;
  const rest = (['draining', 'notice', 'notice'] as const).map((event) => run(event));
  for (const each of rest) hooks.send(each, PUBLICATION);
  for (let n = 0; n < 15; n += 1) hooks.send(run('cancelled'), PUBLICATION);
  await through(3);
  assert.deepEqual(counted, ['notice dropped', 'notice dropped', 'draining dropped']);
  assert.deepEqual(settled, [rest[1]?.id, rest[2]?.id, rest[0]?.id]);
  assert.equal(lines.filter(({ event, level }) => event === 'webhook_dropped' && level === 40).length, 1);
  pass(5_000);
  await logged('webhook_failed');
  // The head waits for its next attempt: it may be dropped, and the others need not wait for that.
  hooks.send(run('stopping'), PUBLICATION);
  await through(20);
  assert.equal(settled[3], flying.id);
  assert.equal(host.events.length, 16);
});

test('401, then the file has other content: read for each attempt, its first line alone; never logged', async (t) => {
  const host = await receiver(t);
  host.demand('Bearer new-secret');
  const file = path.join(privateDir(t), 'authorization');
  fs.writeFileSync(file, 'Bearer old-secret\n', { mode: 0o600 });
  const { hooks, logged, pass, through, lines, text } = open(t, [
    { url: `${host.url.replace('//', '//user:pass-word@')}/path-secret?query-secret`, authorizationFile: file },
  ]);
  hooks.send(run('stopping'), PUBLICATION);
  assert.equal((await logged('webhook_failed'))['error'], 'http_401');
  fs.writeFileSync(file, '  Bearer new-secret\r\nBearer older-secret\n');
  pass(1_000);
  await through(1);
  assert.equal(host.requests.at(-1)?.headers.authorization, 'Bearer new-secret');
  assert.doesNotMatch(text(), /secret|pass-word/);
  assert.ok(!lines.some(({ event }) => event === 'webhook_secret_exposed'));
});

test('user and password of the URL are said where there is no file', async (t) => {
  const host = await receiver(t);
  host.demand(`Basic ${Buffer.from('us er:pässword').toString('base64')}`);
  const { hooks, through, text } = open(t, [{ url: host.url.replace('//', '//us%20er:p%C3%A4ssword@') }]);
  hooks.send(run('stopping'), PUBLICATION);
  await through(1);
  assert.equal(host.events.length, 1);
  assert.doesNotMatch(text(), /ssword/);
});

test('a secret that every user can read is used, and warned of once', async (t) => {
  const host = await receiver(t);
  const file = path.join(privateDir(t), 'authorization');
  fs.writeFileSync(file, 'Bearer x', { mode: 0o600 });
  fs.chmodSync(file, 0o604);
  const { hooks, through, lines } = open(t, [{ url: host.url, authorizationFile: file }]);
  hooks.send(run('notice'), PUBLICATION);
  hooks.send(run('stopping'), PUBLICATION);
  await through(2);
  assert.equal(lines.filter(({ event }) => event === 'webhook_secret_exposed').length, 1);
  assert.equal(host.requests[1]?.headers.authorization, 'Bearer x');
});

const UNFIT: readonly (readonly [string, (file: string) => void])[] = [
  ['is not there', () => {}],
  ['is a directory', (file) => fs.mkdirSync(file)],
  ['is a pipe', (file) => void execFileSync('mkfifo', [file])],
  ['is empty', (file) => fs.writeFileSync(file, '')],
  ['has an empty first line', (file) => fs.writeFileSync(file, '\nBearer secret\n')],
  ['has no end of its first line', (file) => fs.writeFileSync(file, 'secret'.repeat(10_000))],
  ['holds a line break in disguise', (file) => fs.writeFileSync(file, 'Bearer secret\rhost: elsewhere')],
  ['is not ASCII', (file) => fs.writeFileSync(file, 'Bearer secr€t')],
];
for (const [name, make] of UNFIT)
  test(`an authorization file that ${name}: nothing is sent without it; told, tried again, and mended`, async (t) => {
    const host = await receiver(t);
    const file = path.join(privateDir(t), 'authorization');
    make(file);
    const { hooks, through, pass, logged, text } = open(t, [{ url: host.url, authorizationFile: file }]);
    hooks.send(run('stopping'), PUBLICATION);
    const told = await logged('webhook_failed');
    assert.equal(told['error'], 'authorization_file');
    assert.ok(String(told['msg']).includes(file));
    assert.equal(host.requests.length, 0);
    fs.rmSync(file, { recursive: true, force: true });
    fs.writeFileSync(file, 'Bearer good', { mode: 0o600 });
    pass(1_000);
    await through(1);
    assert.equal(host.requests[0]?.headers.authorization, 'Bearer good');
    assert.doesNotMatch(text(), /secr/);
  });

test('https with a client certificate and an authority of its own; files renewed in place count', async (t) => {
  const dir = privateDir(t);
  const made = makeCertificates(dir);
  if (typeof made === 'string') return t.skip(made);
  const read = (file: string) => fs.readFileSync(file, 'utf8');
  const host = await receiver(t, {
    tls: { cert: read(made.serverCert), key: read(made.serverKey), ca: read(made.ca) },
  });
  const ca = path.join(dir, 'authorities.pem');
  fs.writeFileSync(ca, 'no certificate at all');
  const { hooks, logged, pass, through } = open(t, [
    { url: host.url, caFile: ca, certFile: made.clientCert, keyFile: made.clientKey },
  ]);
  hooks.send(run('stopping'), PUBLICATION);
  assert.equal((await logged('webhook_failed'))['error'], 'ca');
  fs.copyFileSync(made.otherCa, ca);
  pass(1_000);
  assert.match(String((await logged('webhook_failed', 2))['error']), /cert|signature|issuer/);
  assert.equal(host.requests.length, 0, 'nothing is said to a server that nobody vouches for');
  fs.writeFileSync(ca, '-----BEGIN CERTIFICATE-----\nbroken\n-----END CERTIFICATE-----\n');
  pass(2_000);
  await logged('webhook_failed', 3);
  fs.copyFileSync(made.ca, ca);
  pass(4_000);
  await through(1);
  assert.equal(host.events.length, 1);
  assert.equal(host.requests[0]?.certified, true);
});

test('a server whom nobody vouches for is not told, whatever the environment allows', async (t) => {
  const made = makeCertificates(privateDir(t));
  if (typeof made === 'string') return t.skip(made);
  const read = (file: string) => fs.readFileSync(file, 'utf8');
  const host = await receiver(t, { tls: { cert: read(made.serverCert), key: read(made.serverKey) } });
  const before = process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
  process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0';
  t.after(() => {
    if (before === undefined) delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
    else process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = before;
  });
  const { hooks, logged } = open(t, [{ url: host.url }]);
  hooks.send(run('stopping'), PUBLICATION);
  await logged('webhook_failed');
  assert.equal(host.requests.length, 0);
});

test('proxy variables are ignored', async (t) => {
  const host = await receiver(t);
  for (const name of ['http_proxy', 'HTTP_PROXY', 'all_proxy']) {
    const before = process.env[name];
    process.env[name] = `http://127.0.0.1:${await closedPort()}`;
    t.after(() => {
      if (before === undefined) delete process.env[name];
      else process.env[name] = before;
    });
  }
  const { hooks, through } = open(t, [{ url: host.url }]);
  hooks.send(run('stopping'), PUBLICATION);
  await through(1);
  assert.equal(host.events.length, 1);
});

test('stop: what waits for its next attempt, and what waits behind it, is tried once more at once', async (t) => {
  const host = await receiver(t);
  host.fault('*', { is: 'status', status: 500 }, 1);
  const { hooks, logged, settled } = open(t, [{ url: host.url }]);
  hooks.send(run('notice'), PUBLICATION);
  hooks.send(run('stopping'), PUBLICATION);
  await logged('webhook_failed');
  await hooks.stop();
  assert.deepEqual(
    host.events.map(({ event }) => event),
    ['notice', 'stopping'],
  );
  assert.equal(settled.length, 2);
});

test('stop: what nobody takes is not settled, so that the next start tells it again; each was tried once', async (t) => {
  const host = await receiver(t);
  host.fault('*', { is: 'status', status: 500 });
  const { hooks, logged, settled, counted } = open(t, [{ url: host.url }]);
  hooks.send(run('notice'), PUBLICATION);
  hooks.send(run('stopping'), PUBLICATION);
  await logged('webhook_failed');
  await hooks.stop();
  hooks.send(run('stopped'), PUBLICATION);
  assert.equal(host.requests.length, 3);
  assert.equal(((await logged('webhook_left'))['ids'] as string[]).length, 2);
  assert.deepEqual([settled, counted], [[], ['notice retried']]);
});

test('stop: a receiver that hangs does not hold it up', async (t) => {
  const host = await receiver(t);
  host.fault('*', { is: 'hang' });
  const { hooks, pass, logged } = open(t, [{ url: host.url }]);
  const asked = host.seen(1);
  hooks.send(run('stopping'), PUBLICATION);
  hooks.send(run('stopped'), PUBLICATION);
  await asked;
  const stopped = hooks.stop();
  pass(1_500);
  await stopped;
  assert.equal(((await logged('webhook_left'))['ids'] as string[]).length, 2);
});

test('reconfigured: a URL that stays keeps what waits and uses the new files; one that goes is settled; a new one is told', async (t) => {
  const [stays, goes, comes] = [await receiver(t), await receiver(t), await receiver(t)];
  const file = path.join(privateDir(t), 'authorization');
  fs.writeFileSync(file, 'Bearer x', { mode: 0o600 });
  stays.demand('Bearer x');
  goes.fault('*', { is: 'hang' });
  const { hooks, logged, pass, through, counted } = open(t, [{ url: goes.url }, { url: stays.url }]);
  const asked = goes.seen(1);
  hooks.send(run('notice'), PUBLICATION);
  hooks.send(run('draining'), PUBLICATION);
  await Promise.all([asked, logged('webhook_failed')]);
  const all: readonly HookEvent[] = ['notice', 'stopping'];
  hooks.reconfigure([tableOf({ url: comes.url }), tableOf({ url: stays.url, authorizationFile: file, events: all })]);
  await goes.requests[0]?.closed;
  pass(1_000);
  await through(2);
  hooks.send(run('stopping'), PUBLICATION);
  await through(3);
  const names = ({ events }: WebhookReceiver) => events.map(({ event }) => event);
  assert.deepEqual([names(stays), names(comes)], [['notice', 'stopping'], ['stopping']]);
  assert.deepEqual(counted.filter((each) => each.endsWith('dropped')).sort(), [
    'draining dropped',
    'draining dropped',
    'notice dropped',
  ]);
});
