import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, describe, it, mock } from 'node:test';
import pino from 'pino';
import { systemClock } from '../../agent/clock.ts';
import type { Answer, Observation, Reading, StatedNotice } from '../../agent/lifetime/types.ts';
import { type AzureConfig, azureSource, createAzure } from '../../agent/sources/azure.ts';
import { patientAtFirst } from '../../agent/sources/azure-first-answer.ts';
import { createOwnName } from '../../agent/sources/azure-name.ts';
import { startDriver } from '../../agent/sources/driver.ts';
import { NO_FACTS } from '../../agent/sources/facts.ts';
import { type Source, type SourceEnvironment, SourceError } from '../../agent/sources/source.ts';
import { type AzureHost, type AzureHostOptions, COMPUTE_PATH, EVENTS_PATH, startAzureHost } from '../hosts/azure.ts';
import type { Fault } from '../hosts/metadata-host.ts';
import { HOUR, history, MINUTE, payload, SECOND, START, source as sourceInfo } from '../lifetime/history.ts';
import { codeOf } from './answers.ts';
import { sourceEnvironment } from './environment.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function azureHost(options: AzureHostOptions = {}): Promise<AzureHost> {
  const host = await startAzureHost(options);
  cleanups.push(() => host.close());
  return host;
}

interface Given {
  readonly config?: AzureConfig;
  readonly environment?: Partial<SourceEnvironment>;
  readonly nowMs?: () => number;
}

function sourceOn(host: AzureHost, { config, environment, nowMs }: Given = {}): Source {
  const source = createAzure({ base_url: host.url, ...config }, sourceEnvironment(environment), nowMs);
  cleanups.push(() => source.close?.());
  return source;
}

const NO_SIGNAL = new AbortController().signal;

/** `fresh` as the heart asks: every part is due. */
async function read(source: Source, fresh = true): Promise<Answer> {
  const result = await source.read({ signal: NO_SIGNAL, fresh });
  if (result.outcome !== 'answer') assert.fail(result.detail);
  return result.answer;
}

async function noticeOf(source: Source, id: string): Promise<Reading<StatedNotice> | undefined> {
  return (await read(source)).notices?.byId[id];
}

async function presentIn(source: Source, id: string): Promise<StatedNotice> {
  const notice = await noticeOf(source, id);
  if (notice?.is !== 'present') assert.fail(`${id} is ${JSON.stringify(notice)}`);
  return notice.value;
}

/** Notices that are in force by this answer alone, without the marks of failing parts. */
const inForce = ({ notices }: Answer): readonly string[] =>
  Object.entries(notices?.byId ?? {})
    .filter(([, reading]) => reading.is === 'present')
    .map(([id]) => id);

/** A root in which the kernel says this host name. */
function rootWithHostName(name: string): string {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'azure-'));
  cleanups.push(() => fs.rmSync(root, { recursive: true }));
  fs.mkdirSync(path.join(root, 'proc/sys/kernel'), { recursive: true });
  fs.writeFileSync(path.join(root, 'proc/sys/kernel/hostname'), `${name}\n`);
  return root;
}

/** The heart of an agent whose only source this is. Its clock begins at `START`, whatever the real one says. */
function heartOf(source: Source, options: Parameters<typeof history>[0] = {}) {
  const heart = history({ sources: [sourceInfo('azure')], ...options });
  const tell = (observation: Observation): void => heart.send({ type: 'observation', observation });
  return {
    heart,
    async hear(from: Source = source): Promise<void> {
      try {
        const { hostNowMs: _, ...answer } = await read(from);
        tell({ source: 'azure', outcome: 'answer', answer });
      } catch (error) {
        if (!(error instanceof SourceError)) throw error;
        tell({ source: 'azure', outcome: 'failed', error: error.code, detail: error.message });
      }
    },
  };
}

describe('azure: detection', () => {
  const detect = (facts: Partial<typeof NO_FACTS>) => azureSource.detect?.({ ...NO_FACTS, ...facts });
  it('the asset tag of Azure machines', () => {
    assert.match(detect({ dmi: { chassis_asset_tag: '7783-7084-3265-9085-8269-3286-77' } }) ?? '', /asset_tag/);
  });
  it('cloud-id, of the sovereign clouds too', () => {
    assert.match(detect({ cloudId: 'azure' }) ?? '', /cloud-id is "azure"/);
    assert.match(detect({ cloudId: 'azure-china' }) ?? '', /azure-china/);
  });
  it('another Hyper-V is none', () => {
    const dmi = { sys_vendor: 'Microsoft Corporation', product_name: 'Virtual Machine', chassis_asset_tag: '1234' };
    assert.equal(detect({ dmi }), undefined);
    assert.equal(detect({ cloudId: 'aws' }), undefined);
  });
  it('a base_url alone is enough', () => {
    assert.deepEqual(azureSource.explicitKeys, ['base_url']);
  });
});

describe('azure: what is asked', () => {
  it('both endpoints, with their versions and `Metadata: true`', async () => {
    const host = await azureHost();
    await read(sourceOn(host));
    assert.deepEqual(
      host.requests.map(({ method, path: asked, query, headers }) => [
        `${method} ${asked}`,
        query.get('api-version'),
        headers['metadata'],
      ]),
      [
        [`GET ${EVENTS_PATH}`, '2020-07-01', 'true'],
        [`GET ${COMPUTE_PATH}`, '2021-02-01', 'true'],
      ],
    );
  });

  it('events on each poll, the rest rarely', async () => {
    const host = await azureHost();
    const source = sourceOn(host);
    for (let poll = 0; poll < 5; poll += 1) await read(source, false);
    const asked = (wanted: string) => host.requests.filter((request) => request.path === wanted).length;
    assert.deepEqual([asked(EVENTS_PATH), asked(COMPUTE_PATH)], [5, 1]);
  });

  it('S4.3: the clock of the host is passed on', async () => {
    const host = await azureHost();
    host.setClockOffset(HOUR);
    const { hostNowMs = 0 } = await read(sourceOn(host));
    assert.ok(Math.abs(hostNowMs - Date.now() - HOUR) < MINUTE);
  });

  it('no event is ever acknowledged unasked', async () => {
    const host = await azureHost();
    const source = sourceOn(host);
    const id = host.schedule({ type: 'Terminate', notBeforeMs: Date.now() });
    await presentIn(source, id);
    assert.ok(host.requests.every(({ method }) => method === 'GET'));
  });
});

describe('azure: what the machine is', () => {
  it('a spot machine may be terminated, with half a minute of notice; vmId is its job_id', async () => {
    const { heart, hear } = heartOf(sourceOn(await azureHost()));
    await hear();
    assert.equal(heart.snapshot().terminationAllowed, true);
    assert.equal(heart.machine('grace_secs'), '30');
    assert.equal(heart.job('job_id'), '13f56399-bd52-4150-9748-7190aae1ff21');
  });

  for (const [priority, allowed] of [
    ['Low', true],
    ['spot', true],
    ['Regular', null],
    ['', null],
    [undefined, null],
  ] as const)
    it(`priority ${priority}: termination_allowed is ${allowed}`, async () => {
      const host = await azureHost();
      host.setCompute({ priority });
      const { heart, hear } = heartOf(sourceOn(host));
      await hear();
      assert.equal(heart.snapshot().terminationAllowed, allowed);
      assert.equal(heart.machine('grace_secs'), allowed ? '30' : undefined);
    });

  const TAGS = {
    machinefeatures: 'http://site.example:8080/mf/',
    total_cpu: '8',
    mjf_pool: 'grid',
    shutdowntime_job: String(START / 1000 + 7200),
    owner: 'somebody',
  };
  for (const form of ['tagsList', 'tags'] as const)
    it(`S2.2: tags in the form of ${form}: known keys, mjf_ keys and pointers pass, the rest does not`, async () => {
      const host = await azureHost();
      host.setTags(TAGS);
      host.setCompute({ [form === 'tags' ? 'tagsList' : 'tags']: undefined });
      const { heart, hear } = heartOf(sourceOn(host));
      await hear();
      assert.equal(heart.machine('total_cpu'), '8');
      assert.equal(heart.machine('pool'), 'grid');
      assert.equal(heart.snapshot().deadlineMs, START + 2 * HOUR);
      assert.deepEqual(heart.snapshot().pointers, { machinefeatures: 'http://site.example:8080/mf' });
      assert.doesNotMatch(JSON.stringify(heart.snapshot()), /somebody/);
    });

  it('a value with a semicolon is whole in the list', async () => {
    const host = await azureHost();
    host.setTags({ mjf_note: 'a;total_cpu:99' });
    const { machine } = await read(sourceOn(host));
    assert.deepEqual(machine?.keys, { mjf_note: { is: 'present', value: 'a;total_cpu:99' } });
  });

  it('a tag that was taken away is gone after three answers', async () => {
    const host = await azureHost();
    const { heart, hear } = heartOf(sourceOn(host));
    host.setTags({ total_cpu: '8' });
    await hear();
    host.setTags({});
    for (const expected of ['8', '8', undefined]) {
      await hear();
      assert.equal(heart.machine('total_cpu'), expected);
      heart.pass(1.5 * SECOND);
    }
  });

  it('a tag that was taken away while the agent was down is gone as well, whatever else fails', async () => {
    const host = await azureHost();
    const { heart, hear } = heartOf(sourceOn(host));
    host.setTags({ total_cpu: '8' });
    await hear();
    heart.restart({ downMs: SECOND });
    assert.equal(heart.machine('total_cpu'), '8');
    host.setTags({});
    host.fault(EVENTS_PATH, { is: 'status', status: 503 });
    const again = sourceOn(host);
    for (let poll = 0; poll < 4; poll += 1) {
      await hear(again);
      heart.pass(1.5 * SECOND);
    }
    assert.equal(heart.machine('total_cpu'), undefined);
  });

  for (const [row, body, code] of [
    ['truncated', '{"name":"vm-1', 'bad_json'],
    ['a list', '[]', 'bad_document'],
    ['a web page', '<!DOCTYPE html><html></html>', 'bad_json'],
  ] as const)
    it(`compute is ${row}: what was known stands, the fault is shown, events go on; and it recovers`, async () => {
      const host = await azureHost();
      const { heart, hear } = heartOf(sourceOn(host));
      host.setTags({ total_cpu: '8' });
      await hear();
      host.fault(COMPUTE_PATH, { is: 'bytes', bytes: Buffer.from(body) });
      const id = host.schedule({ type: 'Reboot', notBeforeMs: START + HOUR });
      await hear();
      assert.equal(heart.machine('total_cpu'), '8');
      assert.equal(heart.job('job_id')?.length, 36);
      assert.equal(heart.sourceState('azure')?.faults['machine/total_cpu'], code);
      assert.deepEqual(heart.noticeIds(), [`azure/${id}`]);
      host.fault(COMPUTE_PATH, undefined);
      await hear();
      assert.deepEqual(heart.sourceState('azure')?.faults, {});
    });
});

describe('azure: events become notices', () => {
  const AT = Date.UTC(2025, 11, 22, 21, 46, 40);
  for (const [type, kind, more] of [
    ['Freeze', 'freeze', {}],
    ['Reboot', 'reboot', { awaits: 'own', minimumNoticeMs: 30_000 }],
    ['Redeploy', 'redeploy', { awaits: 'own', minimumNoticeMs: 30_000 }],
    ['Preempt', 'terminate', { awaits: 'own', minimumNoticeMs: 30_000, onlyEarlier: true }],
    ['Terminate', 'terminate', { awaits: 'own', minimumNoticeMs: 300_000 }],
    ['terminate', 'terminate', { awaits: 'own', minimumNoticeMs: 300_000 }],
  ] as const)
    it(`${type} is ${kind}, under its EventId`, async () => {
      const host = await azureHost();
      const id = host.schedule({ type, notBeforeMs: AT, fields: { Description: 'Host work.' } });
      const { reason, ...notice } = await presentIn(sourceOn(host), id);
      assert.deepEqual(notice, { kind, deadlineMs: AT, ...more });
      assert.match(reason, /^[A-Z][a-z]+: Host work\.$/);
    });

  for (const [row, NotBefore, expected] of [
    ['RFC 1123', 'Mon, 22 Dec 2025 21:46:40 GMT', AT],
    ['the wrong weekday', 'Fri, 22 Dec 2025 21:46:40 GMT', AT],
    ['ISO 8601', '2025-12-22T21:46:40Z', AT],
    ['ISO 8601 with fractions', '2025-12-22T21:46:40.0000000Z', AT],
    ['ISO 8601 with an offset', '2025-12-22T22:46:40+01:00', AT],
    ['blank', '', null],
    ['missing', undefined, null],
    ['null', null, null],
  ] as const)
    it(`NotBefore ${row}`, async () => {
      const host = await azureHost();
      const id = host.schedule({ type: 'Preempt', fields: { NotBefore } });
      assert.equal((await presentIn(sourceOn(host), id)).deadlineMs, expected);
    });

  for (const NotBefore of ['soon', 1_766_440_000, 'Mon, 32 Dec 2025 21:46:40 GMT', {}])
    it(`NotBefore ${JSON.stringify(NotBefore)} is no time: unknown, and never a made-up deadline`, async () => {
      const host = await azureHost();
      const id = host.schedule({ type: 'Preempt', fields: { NotBefore } });
      assert.deepEqual(await noticeOf(sourceOn(host), id), { is: 'unknown', error: 'bad_time' });
    });

  it('the description is bounded and nothing in it reaches a terminal', async () => {
    const host = await azureHost();
    const Description = `\u001b[2Jline\r\nline\u202e${'x'.repeat(5_000)}`;
    const id = host.schedule({ type: 'Reboot', notBeforeMs: AT, fields: { Description } });
    const { reason } = await presentIn(sourceOn(host), id);
    assert.match(reason, /^Reboot: \[2Jline line x+…$/);
    assert.equal(reason.length, 'Reboot: '.length + 120);
  });

  it('without a description, and without an EventId, the type says it all', async () => {
    const host = await azureHost();
    host.schedule({ type: 'Reboot', notBeforeMs: AT, fields: { EventId: undefined, Description: null } });
    assert.equal((await presentIn(sourceOn(host), 'reboot')).reason, 'Reboot');
  });

  it('unknown fields and statuses do not matter', async () => {
    const host = await azureHost();
    const id = host.schedule({
      type: 'Reboot',
      notBeforeMs: AT,
      fields: { EventStatus: 'Thinking', Colour: { a: [1] } },
    });
    assert.equal((await presentIn(sourceOn(host), id)).deadlineMs, AT);
  });

  for (const EventStatus of ['Completed', 'Canceled', 'Cancelled'])
    it(`${EventStatus} clears at once`, async () => {
      const host = await azureHost();
      const { heart, hear } = heartOf(sourceOn(host));
      host.setIncarnationStuck(true);
      const id = host.schedule({ type: 'Reboot', notBeforeMs: START + HOUR });
      await hear();
      assert.deepEqual(heart.noticeIds(), [`azure/${id}`]);
      host.schedule({ type: 'Reboot', notBeforeMs: START + HOUR, fields: { EventStatus } }, id);
      await hear();
      assert.deepEqual(heart.noticeIds(), []);
    });

  it('an unknown type is told once and is no notice; the others count', async () => {
    const host = await azureHost();
    const lines: { event?: string; type?: string }[] = [];
    const log = pino({ level: 'debug' }, { write: (line: string) => void lines.push(JSON.parse(line)) });
    const source = sourceOn(host, { environment: { log } });
    host.schedule({ type: 'Teleport\u001b[31m', notBeforeMs: AT });
    const known = host.schedule({ type: 'Freeze', notBeforeMs: AT });
    for (let poll = 0; poll < 3; poll += 1) assert.deepEqual(inForce(await read(source)), [known]);
    assert.deepEqual(
      lines.map(({ event, type }) => [event, type]),
      [['azure_unknown_event', 'Teleport [31m']],
    );
  });

  it('ids that are names of what every object has are ids like others', async () => {
    const host = await azureHost();
    const source = sourceOn(host);
    for (const id of ['__proto__', 'constructor']) host.schedule({ type: 'Freeze', notBeforeMs: AT }, id);
    assert.deepEqual([...inForce(await read(source))].sort(), ['__proto__', 'constructor']);
  });
});

describe('azure: events for other VMs', () => {
  it('are none of this one’s', async () => {
    const host = await azureHost({ name: 'workers_11' });
    host.schedule({ type: 'Preempt', notBeforeMs: START + MINUTE, resources: ['workers_1', 'workers_111', 'workers'] });
    host.schedule({ type: 'Preempt', notBeforeMs: START + MINUTE, resources: [] });
    const { heart, hear } = heartOf(sourceOn(host));
    heart.register(payload('job'));
    await hear();
    heart.pass(HOUR);
    assert.deepEqual(heart.noticeIds(), []);
    assert.equal(heart.phase(), 'running');
    assert.equal(heart.sentTo('job'), '');
  });

  it('one that names this VM among others counts, in whatever case', async () => {
    const host = await azureHost({ name: 'workers_11' });
    const id = host.schedule({ type: 'Freeze', notBeforeMs: 0, resources: ['workers_1', 'WORKERS_11'] });
    host.schedule({ type: 'Freeze', notBeforeMs: 0, resources: ['workers_2'] });
    assert.deepEqual(inForce(await read(sourceOn(host))), [id]);
  });

  it('[source.azure] name rules over what the platform says', async () => {
    const host = await azureHost({ name: 'vm-17' });
    const id = host.schedule({ type: 'Freeze', notBeforeMs: 0, resources: ['role_3'] });
    host.schedule({ type: 'Freeze', notBeforeMs: 0 });
    const source = sourceOn(host, { config: { name: 'role_3' } });
    for (let poll = 0; poll < 2; poll += 1) assert.deepEqual(inForce(await read(source)), [id]);
  });

  it('an event that is taken off this VM clears at once', async () => {
    const host = await azureHost();
    const { heart, hear } = heartOf(sourceOn(host));
    host.setIncarnationStuck(true);
    const id = host.schedule({ type: 'Redeploy', notBeforeMs: START + HOUR, resources: ['vm-16', 'vm-17'] });
    await hear();
    assert.deepEqual(heart.noticeIds(), [`azure/${id}`]);
    host.schedule({ type: 'Redeploy', notBeforeMs: START + HOUR, resources: ['vm-16'] }, id);
    await hear();
    assert.deepEqual(heart.noticeIds(), []);
  });

  for (const Resources of [undefined, 'vm-17', [17], { 0: 'vm-17' }])
    it(`Resources ${JSON.stringify(Resources)} names nobody: unknown`, async () => {
      const host = await azureHost();
      const id = host.schedule({ type: 'Preempt', notBeforeMs: 0, fields: { Resources } });
      assert.deepEqual(await noticeOf(sourceOn(host), id), { is: 'unknown', error: 'bad_event' });
    });
});

describe('azure: as long as the own name is not known', () => {
  const DEAD: Fault = { is: 'status', status: 503 };

  async function nameless(environment: Partial<SourceEnvironment> = {}) {
    let nowMs = 0;
    const host = await azureHost({ name: 'workers_11' });
    host.fault(COMPUTE_PATH, DEAD);
    const source = sourceOn(host, { environment, nowMs: () => nowMs });
    return { host, source, pass: (ms: number) => (nowMs += ms), ...heartOf(source) };
  }

  it('an event is unknown at first: shown as a fault, not acted on; no name is needed where there is none', async () => {
    const { host, heart, hear } = await nameless();
    await hear();
    assert.deepEqual(heart.sourceState('azure')?.faults, { 'notice/@instance/compute': 'http_503' });
    const id = host.schedule({ type: 'Preempt', notBeforeMs: START + MINUTE });
    await hear();
    assert.equal(heart.sourceState('azure')?.faults[`notice/${id}`], 'own_name_unknown');
    assert.deepEqual(heart.noticeIds(), []);
  });

  it('is acted on as soon as the name is known, in the same reading if it can be', async () => {
    const { host, heart, hear } = await nameless();
    const id = host.schedule({ type: 'Preempt', notBeforeMs: START + MINUTE });
    host.schedule({ type: 'Preempt', notBeforeMs: START + MINUTE, resources: ['workers_12'] });
    await hear();
    assert.deepEqual(heart.noticeIds(), []);
    host.fault(COMPUTE_PATH, { is: 'slow', delayMs: 30 });
    await hear();
    assert.deepEqual(heart.noticeIds(), [`azure/${id}`]);
    assert.deepEqual(heart.sourceState('azure')?.faults, {});
  });

  it('who waits for the name goes on when it is there, and not for ever', { timeout: 20_000 }, async () => {
    const name = createOwnName({ root: '/nonexistent' });
    // Its own timers hold no process alive.
    const alive = setInterval(() => undefined, SECOND);
    cleanups.push(() => clearInterval(alive));
    await name.wait(1);
    const waiting = name.wait(HOUR);
    name.learn('workers_11');
    await waiting;
    await name.wait(HOUR);
  });

  it('a service without the endpoint (404) does not cost a notice: then every event counts', async () => {
    const lines: { event?: string }[] = [];
    const log = pino({ level: 'debug' }, { write: (line: string) => void lines.push(JSON.parse(line)) });
    const { host, heart, hear, pass } = await nameless({ log });
    host.fault(COMPUTE_PATH, { is: 'status', status: 404 });
    const id = host.schedule({ type: 'Preempt', notBeforeMs: START + MINUTE });
    await hear();
    pass(9_999);
    await hear();
    assert.deepEqual(heart.noticeIds(), []);
    pass(1);
    await hear();
    await hear();
    assert.deepEqual(heart.noticeIds(), [`azure/${id}`]);
    assert.deepEqual(
      lines.map(({ event }) => event),
      ['azure_name_unknown'],
    );
  });

  it('an endpoint that is only dead makes no event of another machine ours, however long', async () => {
    const { host, heart, hear, pass } = await nameless();
    const id = host.schedule({ type: 'Preempt', notBeforeMs: START + HOUR, resources: ['workers_12'] });
    for (let minute = 0; minute < 5; minute += 1) {
      await hear();
      pass(60_000);
    }
    assert.deepEqual(heart.noticeIds(), []);
    assert.equal(heart.snapshot().sources[0]?.faults[`notice/${id}`], 'own_name_unknown');
  });

  it('404s count only while they go on: one at the boot, and then failures, is no service without the endpoint', async () => {
    const { host, heart, hear, pass } = await nameless();
    host.fault(COMPUTE_PATH, { is: 'status', status: 404 });
    host.schedule({ type: 'Preempt', notBeforeMs: START + HOUR, resources: ['workers_12'] });
    await hear();
    host.fault(COMPUTE_PATH, DEAD);
    for (let times = 0; times < 5; times += 1) {
      pass(10_000);
      await hear();
    }
    assert.deepEqual(heart.noticeIds(), []);
  });

  it('what was taken for its own by mistake is called off at once when the name is learnt', async () => {
    const { host, heart, hear, pass } = await nameless();
    host.fault(COMPUTE_PATH, { is: 'status', status: 404 });
    const id = host.schedule({ type: 'Preempt', notBeforeMs: START + HOUR, resources: ['workers_12'] });
    await hear();
    pass(10_000);
    await hear();
    assert.deepEqual(heart.noticeIds(), [`azure/${id}`]);
    host.fault(COMPUTE_PATH, undefined);
    await hear();
    assert.deepEqual(heart.noticeIds(), []);
    assert.equal(heart.snapshot().deadlineMs, null);
  });

  it('a notice from before a restart of the agent stands meanwhile', async () => {
    const { host, source, heart, hear } = await nameless();
    host.fault(COMPUTE_PATH, undefined);
    const id = host.schedule({ type: 'Terminate', notBeforeMs: START + HOUR });
    await hear(source);
    host.fault(COMPUTE_PATH, DEAD);
    heart.restart({ downMs: SECOND });
    const again = sourceOn(host);
    for (let poll = 0; poll < 5; poll += 1) {
      await hear(again);
      heart.pass(2 * SECOND);
    }
    assert.deepEqual(heart.noticeIds(), [`azure/${id}`]);
  });

  for (const [hostName, resource] of [
    ['workers_11', 'Workers_11'],
    ['workers00000B', 'workers_11'],
    ['workers0000zz.internal.example', 'workers_1295'],
  ] as const)
    it(`host name ${hostName} claims ${resource} at once`, async () => {
      const { host, source } = await nameless({ root: rootWithHostName(hostName) });
      const id = host.schedule({ type: 'Preempt', notBeforeMs: 0, resources: ['other', resource] });
      await presentIn(source, id);
    });

  it('a host name does not claim its neighbours, and the platform knows better', async () => {
    const { host, source } = await nameless({ root: rootWithHostName('workers00000b') });
    const neighbour = host.schedule({ type: 'Preempt', notBeforeMs: 0, resources: ['workers_12'] });
    const mine = host.schedule({ type: 'Preempt', notBeforeMs: 0, resources: ['workers_11'] });
    const { notices } = await read(source);
    assert.deepEqual(notices?.byId[neighbour], { is: 'unknown', error: 'own_name_unknown' });
    assert.equal(notices?.byId[mine]?.is, 'present');
    host.setCompute({ name: 'workers_12' });
    host.fault(COMPUTE_PATH, undefined);
    assert.deepEqual(inForce(await read(source)), [neighbour]);
  });

  it('compute is asked again soon, and rarely once it has answered', async () => {
    const { host, source } = await nameless();
    let nowMs = 1_000_000;
    // The parts count their intervals on the real monotonic clock.
    const clock = mock.method(performance, 'now', () => nowMs);
    cleanups.push(() => clock.mock.restore());
    const asked = () => host.requests.filter((request) => request.path === COMPUTE_PATH).length;
    const poll = async (secs: number): Promise<number> => {
      const before = asked();
      for (let sec = 0; sec < secs; sec += 1) {
        await source.read({ signal: NO_SIGNAL, fresh: false });
        nowMs += SECOND;
      }
      return asked() - before;
    };
    assert.equal(await poll(10), 5);
    host.fault(COMPUTE_PATH, undefined);
    await poll(2);
    assert.equal(await poll(45), 0);
    assert.equal(await poll(30), 1);
  });
});

describe('azure: what is over', () => {
  async function withReboot() {
    const host = await azureHost();
    const source = sourceOn(host);
    const id = host.schedule({ type: 'Reboot', notBeforeMs: START + HOUR });
    const story = heartOf(source);
    await story.hear();
    assert.deepEqual(story.heart.noticeIds(), [`azure/${id}`]);
    return { host, source, id, ...story };
  }

  it('S1.6: a new incarnation without the event clears at once', async () => {
    const { host, id, heart, hear } = await withReboot();
    host.end(id);
    await hear();
    assert.deepEqual(heart.noticeIds(), []);
    assert.equal(heart.machine('shutdowntime'), undefined);
  });

  for (const [row, incarnation] of [
    ['the same incarnation', undefined],
    ['an older incarnation', 1],
    ['no incarnation at all, but other events', 'none'],
  ] as const)
    it(`S1.6: ${row} without the event must say so three times`, async () => {
      const { host, id, heart, hear } = await withReboot();
      host.setIncarnationStuck(true);
      host.end(id);
      if (incarnation === 1) host.setIncarnation(incarnation);
      const bytes = Buffer.from(
        JSON.stringify({ Events: [{ EventId: 'E', EventType: 'Freeze', Resources: ['vm-17'], NotBefore: '' }] }),
      );
      if (incarnation === 'none') host.fault(EVENTS_PATH, { is: 'bytes', bytes });
      for (const expected of [true, true, false]) {
        await hear();
        assert.equal(heart.noticeIds()?.includes(`azure/${id}`), expected);
        heart.pass(1.5 * SECOND);
      }
    });

  it('S1.6: an empty list without any incarnation clears at once', async () => {
    const { host, heart, hear } = await withReboot();
    host.fault(EVENTS_PATH, { is: 'bytes', bytes: Buffer.from('{"Events":[]}') });
    await hear();
    assert.deepEqual(heart.noticeIds(), []);
  });

  const listed = (EventId: string | undefined, EventType: string, atMs: number | null, more = {}) => ({
    EventId,
    EventType,
    Resources: ['vm-17'],
    NotBefore: atMs === null ? '' : new Date(atMs).toUTCString(),
    ...more,
  });
  const document = (host: AzureHost, DocumentIncarnation: number, Events: readonly unknown[]) =>
    host.fault(EVENTS_PATH, { is: 'bytes', bytes: Buffer.from(JSON.stringify({ DocumentIncarnation, Events })) });
  const OVER = { EventStatus: 'Completed' };

  for (const [row, entries] of [
    [
      'a live one before one that is over',
      [
        [2, {}],
        [1, OVER],
      ],
    ],
    [
      'a live one after one that is over',
      [
        [1, OVER],
        [2, {}],
      ],
    ],
    [
      'the earlier of two first',
      [
        [2, {}],
        [5, {}],
      ],
    ],
    [
      'the earlier of two last',
      [
        [5, {}],
        [2, {}],
      ],
    ],
    [
      'one without a readable time last',
      [
        [2, {}],
        [5, { NotBefore: 'soon' }],
      ],
    ],
    [
      'one of nobody knows whom last',
      [
        [2, {}],
        [1, { Resources: 7 }],
      ],
    ],
    [
      'one of another machine last',
      [
        [2, {}],
        [1, { Resources: ['vm-18'] }],
      ],
    ],
  ] as const)
    for (const id of ['E', undefined])
      it(`S1.2: an id that is listed twice is there if one says so, earliest first: ${row}, ${id ?? 'by kind'}`, async () => {
        const host = await azureHost();
        const { heart, hear } = heartOf(sourceOn(host));
        const at = (hours: number) => START + hours * HOUR;
        document(
          host,
          5,
          entries.map(([hours, more]) => listed(id, 'Reboot', at(hours), more)),
        );
        for (let poll = 0; poll < 2; poll += 1) await hear();
        assert.deepEqual(heart.noticeIds(), [`azure/${id ?? 'reboot'}`]);
        assert.equal(heart.snapshot().deadlineMs, at(2));
      });

  it('a known event whose type is suddenly not understood stands as long as it is listed', async () => {
    const { host, id, heart, hear } = await withReboot();
    for (const incarnation of [50, 51, 52, 53, 54]) {
      document(host, incarnation, [listed(id, 'RebootNew', START + HOUR), listed('never-seen', 'RebootNew', START)]);
      await hear();
      heart.pass(2 * SECOND);
    }
    assert.deepEqual(heart.noticeIds(), [`azure/${id}`]);
    assert.deepEqual(heart.sourceState('azure')?.faults, { [`notice/${id}`]: 'unknown_type' });
    document(host, 55, [listed(id, 'RebootNew', START + HOUR, { Resources: ['vm-18'] })]);
    await hear();
    assert.deepEqual(heart.noticeIds(), [], 'it is about another machine now');
  });

  it('a known event stands through a damaged document and a type that is not understood', async () => {
    const { host, id, heart, hear } = await withReboot();
    document(host, 50, [null]);
    await hear();
    document(host, 51, [listed(id, 'RebootNew', START + HOUR)]);
    await hear();
    assert.deepEqual(heart.noticeIds(), [`azure/${id}`]);
  });

  it('of a list that is too long the most urgent count, and it denies nothing, after a restart of the agent either', async () => {
    const { host, id, heart, hear } = await withReboot();
    const crowd = Array.from({ length: 300 }, (_, i) => listed(`c${i}`, 'Freeze', START + MINUTE));
    const late = Array.from({ length: 100 }, (_, i) => listed(`t${i}`, 'Terminate', START + 50 * MINUTE - i * SECOND));
    const source = sourceOn(host);
    for (let incarnation = 50; incarnation < 60; incarnation += 1) {
      document(host, incarnation, [...crowd, ...late]);
      if (incarnation === 55) heart.restart();
      if (incarnation < 55) await hear();
      else await hear(source);
      heart.pass(2 * SECOND);
    }
    assert.equal(heart.noticeIds()?.includes(`azure/${id}`), true);
    assert.equal(heart.noticeIds()?.length, 65);
    assert.equal(heart.snapshot().deadlineMs, START + 50 * MINUTE - 99 * SECOND);
    document(host, 70, [listed('t99', 'Terminate', START + HOUR)]);
    for (let poll = 0; poll < 4; poll += 1) {
      await hear(source);
      heart.pass(2 * SECOND);
    }
    assert.deepEqual(heart.noticeIds(), ['azure/t99']);
  });

  it('S1.6: of two back-ends that number by themselves the lower one denies nothing at once', async () => {
    const { host, id, heart, hear } = await withReboot();
    document(host, 5, [listed(id, 'Reboot', START + HOUR)]);
    await hear();
    for (const incarnation of [3, 4]) {
      document(host, incarnation, []);
      await hear();
      assert.deepEqual(heart.noticeIds(), [`azure/${id}`], `${incarnation}`);
      heart.pass(2 * SECOND);
    }
    document(host, 5, [listed(id, 'Reboot', START + HOUR)]);
    await hear();
    document(host, 6, []);
    await hear();
    assert.deepEqual(heart.noticeIds(), []);
  });

  it('S1.6: a service that began anew with low numbers clears by absence', async () => {
    const { host, id, heart, hear } = await withReboot();
    document(host, 5_000, [listed(id, 'Reboot', START + HOUR)]);
    await hear();
    for (const [incarnation, expected] of [
      [1, 1],
      [2, 1],
      [3, 0],
    ] as const) {
      document(host, incarnation, []);
      await hear();
      assert.equal(heart.noticeIds()?.length, expected);
      heart.pass(2 * SECOND);
    }
  });

  it('204 is idle: absence, to be confirmed', async () => {
    const { host, heart, hear } = await withReboot();
    host.fault(EVENTS_PATH, { is: 'status', status: 204 });
    for (const expected of [1, 1, 0]) {
      await hear();
      assert.equal(heart.noticeIds()?.length, expected);
      heart.pass(1.5 * SECOND);
    }
    assert.equal(heart.sourceState('azure')?.state, 'ok');
  });

  it('S1.6: what went away while the agent was down is cleared too, whatever else fails', async () => {
    const { host, id, heart, hear } = await withReboot();
    heart.restart({ downMs: SECOND });
    assert.deepEqual(heart.noticeIds(), [`azure/${id}`]);
    host.end(id);
    host.fault(COMPUTE_PATH, { is: 'status', status: 500 });
    const again = sourceOn(host);
    for (let poll = 0; poll < 4; poll += 1) {
      await hear(again);
      heart.pass(1.5 * SECOND);
    }
    assert.deepEqual(heart.noticeIds(), []);
    assert.deepEqual(heart.sourceState('azure')?.faults, { 'notice/@instance/compute': 'http_500' });
  });

  it('S1.6: of a document that is damaged in part, what is readable counts and nothing is cleared', async () => {
    const { host, id, heart, hear } = await withReboot();
    const freeze = { EventId: 'F', EventType: 'Freeze', Resources: ['vm-17'], NotBefore: '' };
    const bytes = Buffer.from(JSON.stringify({ DocumentIncarnation: 99, Events: [null, freeze] }));
    host.fault(EVENTS_PATH, { is: 'bytes', bytes });
    for (let poll = 0; poll < 5; poll += 1) {
      await hear();
      heart.pass(2 * SECOND);
    }
    assert.deepEqual([...(heart.noticeIds() ?? [])].sort(), [`azure/${id}`, 'azure/F'].sort());
  });

  const rows: readonly (readonly [string, Fault, string])[] = [
    ...[400, 401, 403, 404, 410, 429, 500, 503].map(
      (status) => [`${status}`, { is: 'status', status }, `http_${status}`] as const,
    ),
    ['a redirect', { is: 'redirect', to: '/elsewhere' }, 'http_302'],
    ['a web page', { is: 'html' }, 'bad_json'],
    ['nothing', { is: 'empty' }, 'bad_json'],
    ['cut short', { is: 'short-body' }, 'protocol'],
    ['a reset', { is: 'reset' }, 'reset'],
    ['null', { is: 'bytes', bytes: Buffer.from('null') }, 'bad_document'],
    ['without events', { is: 'bytes', bytes: Buffer.from('{"DocumentIncarnation":7}') }, 'bad_document'],
    ['truncated', { is: 'bytes', bytes: Buffer.from('{"DocumentIncarnation":7,"Events":[') }, 'bad_json'],
    ['not UTF-8', { is: 'bytes', bytes: Buffer.from([0xff, 0xfe]) }, 'not_text'],
  ];
  for (const [row, fault, code] of rows)
    it(`${row} is an error that clears nothing, and it recovers`, async () => {
      const { host, source, id, heart, hear } = await withReboot();
      host.fault(EVENTS_PATH, fault);
      assert.equal(await codeOf(source.read({ signal: NO_SIGNAL, fresh: false })), code);
      for (let poll = 0; poll < 4; poll += 1) {
        await hear();
        heart.pass(2 * SECOND);
      }
      assert.deepEqual(heart.noticeIds(), [`azure/${id}`]);
      assert.equal(heart.sourceState('azure')?.faults[`notice/${id}`], code);
      host.fault(EVENTS_PATH, undefined);
      await hear();
      assert.deepEqual(heart.sourceState('azure')?.faults, {});
      host.end(id);
      await hear();
      assert.deepEqual(heart.noticeIds(), []);
    });
});

describe('azure: with the heart', () => {
  it('1. an event weeks ahead changes shutdowntime at once and stops nothing early', async () => {
    const host = await azureHost();
    const atMs = START + 21 * 24 * HOUR;
    host.schedule({ type: 'Reboot', notBeforeMs: atMs });
    const { heart, hear } = heartOf(sourceOn(host));
    heart.register(payload('job'));
    await hear();
    assert.equal(heart.machine('shutdowntime'), String(atMs / 1000));
    assert.equal(heart.phase(), 'running');
    heart.until(atMs - 30 * MINUTE - 1);
    assert.equal(heart.phase(), 'running');
    heart.until(atMs - 2 * MINUTE - 1);
    assert.equal(heart.phase(), 'draining');
    assert.equal(heart.sentTo('job', atMs), '');
    heart.until(atMs);
    assert.equal(heart.sentTo('job', atMs), 'SIGTERM@-120 SIGKILL@-5');
  });

  it('5. the same event on every poll is one notice, first seen once; a new time is an update', async () => {
    const host = await azureHost();
    const id = host.schedule({ type: 'Terminate', notBeforeMs: START + HOUR });
    const { heart, hear } = heartOf(sourceOn(host));
    for (let poll = 0; poll < 10; poll += 1) {
      await hear();
      heart.pass(SECOND);
    }
    host.schedule({ type: 'Terminate', notBeforeMs: START + 2 * HOUR, style: 'wrong-weekday' }, id);
    await hear();
    assert.deepEqual(heart.noticeIds(), [`azure/${id}`]);
    const { firstSeenMs, deadlineMs, reason } = heart.notice(`azure/${id}`);
    assert.deepEqual([firstSeenMs, deadlineMs], [START, START + 2 * HOUR]);
    assert.equal(heart.snapshot().reason, `azure: ${reason}`);
  });

  it('a freeze is shown and stops nothing', async () => {
    const host = await azureHost();
    const id = host.schedule({ type: 'Freeze', notBeforeMs: START + MINUTE });
    const { heart, hear } = heartOf(sourceOn(host));
    await hear();
    assert.equal(heart.notice(`azure/${id}`).kind, 'freeze');
    assert.deepEqual([heart.phase(), heart.snapshot().deadlineMs], ['running', null]);
  });

  it('S1.3: started with a blank time keeps the last known one', async () => {
    const host = await azureHost();
    const id = host.schedule({ type: 'Preempt', notBeforeMs: START + 40 * SECOND });
    const { heart, hear } = heartOf(sourceOn(host));
    await hear();
    heart.pass(20 * SECOND);
    host.begin(id);
    await hear();
    assert.equal(heart.snapshot().deadlineMs, START + 40 * SECOND);
  });

  for (const [type, secs] of [
    ['Preempt', 30],
    ['Terminate', 300],
    ['Reboot', 30],
    ['Redeploy', 30],
  ] as const)
    it(`S1.3: ${type} that was never seen with a time ends ${secs} s after it was first seen, on every poll the same`, async () => {
      const host = await azureHost();
      const id = host.schedule({ type });
      host.begin(id);
      const { heart, hear } = heartOf(sourceOn(host));
      for (let poll = 0; poll < 3; poll += 1) {
        await hear();
        heart.pass(SECOND);
      }
      assert.equal(heart.snapshot().deadlineMs, START + secs * SECOND);
    });

  for (const [type, row, expected] of [
    ['Preempt', 'only moves earlier', [60, 60, 50]],
    ['Terminate', 'moves as the host says', [60, 90, 50]],
  ] as const)
    it(`S1.4: the time of a ${type} ${row}`, async () => {
      const host = await azureHost();
      const { heart, hear } = heartOf(sourceOn(host));
      const seen: number[] = [];
      for (const secs of [60, 90, 50]) {
        host.schedule({ type, notBeforeMs: START + secs * SECOND }, 'E');
        await hear();
        seen.push(((heart.snapshot().deadlineMs ?? 0) - START) / SECOND);
      }
      assert.deepEqual(seen, expected);
    });

  it('a cancelled event lets the payloads run on', async () => {
    const host = await azureHost();
    const id = host.schedule({ type: 'Reboot', notBeforeMs: START + 10 * MINUTE });
    const { heart, hear } = heartOf(sourceOn(host));
    heart.register(payload('job'));
    await hear();
    assert.equal(heart.phase(), 'draining');
    host.end(id);
    await hear();
    assert.equal(heart.phase(), 'running');
    heart.pass(HOUR);
    assert.equal(heart.sentTo('job'), '');
  });
});

describe('azure: the first answer may take its time', () => {
  const SLOW = { firstAnswerAfterMs: 120_000 };

  it('what else there is to know is not held up', async () => {
    const host = await azureHost(SLOW);
    const { heart, hear } = heartOf(sourceOn(host));
    await hear();
    assert.equal(heart.snapshot().terminationAllowed, true);
  });

  it('a reading ends at its bound, the question does not, and its answer is taken', async () => {
    const host = await azureHost(SLOW);
    const source = sourceOn(host, { config: { timeout: '100ms' } });
    const id = host.schedule({ type: 'Preempt', notBeforeMs: START });
    await read(source, false);
    const [first] = host.requests.filter((request) => request.path === EVENTS_PATH);
    assert.ok(first);
    let closed = false;
    void first.closed.then(() => {
      closed = true;
    });
    // The patient question, and each time an ordinary one beside it that is given up.
    for (let reading = 0; reading < 3; reading += 1) {
      const failed = await source.read({ signal: AbortSignal.timeout(2_000), fresh: false }).then(
        (result) => (result.outcome === 'answer' && inForce(result.answer).length === 0 ? 'nothing yet' : 'answered'),
        (error: unknown) => (error instanceof SourceError ? error.code : error),
      );
      assert.ok(failed === 'timeout' || failed === 'nothing yet', String(failed));
    }
    assert.equal(closed, false);
    const next = source.read({ signal: NO_SIGNAL, fresh: true });
    host.enable();
    const result = await next;
    const present = result.outcome === 'answer' && inForce(result.answer).includes(id);
    assert.ok(present || (await noticeOf(source, id))?.is === 'present');
    await first.closed;
  });

  it('a first question that hangs for ever is overtaken by the next', { timeout: 20_000 }, async () => {
    const host = await azureHost();
    host.fault(EVENTS_PATH, { is: 'hang' }, 1);
    const id = host.schedule({ type: 'Preempt', notBeforeMs: START });
    const source = sourceOn(host, { config: { timeout: '100ms' } });
    const [hung] = await Promise.all([host.seen(1, EVENTS_PATH).then(() => host.requests[0]), read(source)]);
    let found: Reading<StatedNotice> | undefined;
    while (found === undefined) {
      const result = await source.read({ signal: NO_SIGNAL, fresh: true }).catch(() => undefined);
      found = result?.outcome === 'answer' ? result.answer.notices?.byId[id] : undefined;
      await new Promise(setImmediate);
    }
    assert.equal(found?.is, 'present');
    await hung?.closed;
  });

  it('a burst of refusals at first is tried again at once', async () => {
    const host = await azureHost();
    host.fault(EVENTS_PATH, { is: 'status', status: 503 }, 2);
    const source = sourceOn(host);
    const id = host.schedule({ type: 'Preempt', notBeforeMs: START });
    assert.deepEqual(inForce(await read(source)), []);
    assert.equal(await codeOf(source.read({ signal: NO_SIGNAL, fresh: false })), 'http_503');
    assert.deepEqual(inForce(await read(source, false)), [id]);
  });

  it('a slow answer later is a failure like any other', async () => {
    const host = await azureHost();
    const source = sourceOn(host, { config: { timeout: '100ms' } });
    await read(source);
    host.fault(EVENTS_PATH, { is: 'hang' });
    assert.equal(await codeOf(source.read({ signal: NO_SIGNAL, fresh: false })), 'timeout');
  });

  it('a reading ends soon after it is given up', async () => {
    const host = await azureHost(SLOW);
    host.fault(COMPUTE_PATH, { is: 'hang' });
    const source = sourceOn(host);
    const giveUp = new AbortController();
    const reading = codeOf(source.read({ signal: giveUp.signal, fresh: false }));
    await Promise.all([host.seen(1, EVENTS_PATH), host.seen(1, COMPUTE_PATH)]);
    giveUp.abort();
    await reading;
  });

  it('a reading that was given up before it began does not wait', async () => {
    const first = patientAtFirst(() => new Promise<string>(() => undefined), HOUR);
    assert.equal(await codeOf(first.ask(AbortSignal.abort())), 'timeout');
    assert.equal(await codeOf(first.ask(AbortSignal.abort())), 'timeout');
  });

  it('closing ends the patient question', async () => {
    const host = await azureHost(SLOW);
    const source = sourceOn(host);
    await read(source);
    source.close?.();
    await host.requests.find((request) => request.path === EVENTS_PATH)?.closed;
  });
});

describe('azure: driven', () => {
  it('a notice arrives by itself while compute hangs, and after a reset', async () => {
    const host = await azureHost();
    const [source] = azureSource.create({ base_url: host.url, poll: '200ms', name: 'vm-17' }, sourceEnvironment());
    assert.ok(source);
    host.fault(COMPUTE_PATH, { is: 'hang' });
    const found = new Map<string, () => void>();
    const driver = startDriver(source, {
      emit(observation) {
        if (observation.outcome === 'answer') for (const id of inForce(observation.answer)) found.get(id)?.();
      },
      log: pino({ level: 'silent' }),
      clock: systemClock,
      count: () => undefined,
    });
    cleanups.push(() => driver.stop());
    const arrived = (id: string) => new Promise<void>((resolve) => found.set(id, resolve));
    await host.seen(1, EVENTS_PATH);
    const first = arrived('E1');
    host.schedule({ type: 'Preempt', notBeforeMs: Date.now() + 30_000 }, 'E1');
    await first;
    host.dropConnections();
    const second = arrived('E2');
    host.schedule({ type: 'Terminate', notBeforeMs: Date.now() + 30_000 }, 'E2');
    await second;
  });
});
