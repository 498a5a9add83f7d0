import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import pino from 'pino';
import { systemClock } from '../../agent/clock.ts';
import type { Answer, Observation, Reading } from '../../agent/lifetime/types.ts';
import { startDriver } from '../../agent/sources/driver.ts';
import { type MachineFacts, NO_FACTS } from '../../agent/sources/facts.ts';
import { type OpenstackConfig, openstackSource } from '../../agent/sources/openstack.ts';
import type { Source, SourceEnvironment } from '../../agent/sources/source.ts';
import type { Fault } from '../hosts/metadata-host.ts';
import { type OpenstackHost, type OpenstackHostOptions, startOpenstackHost, UUID } from '../hosts/openstack.ts';
import { HOUR, history, MINUTE, START, secs, source as sourceInfo } from '../lifetime/history.ts';
import { codeOf, present, read, values } from './answers.ts';
import { sourceEnvironment } from './environment.ts';

const LATEST = '/openstack/latest';
const META = `${LATEST}/meta_data.json`;
const VENDOR = `${LATEST}/vendor_data.json`;
const VENDOR2 = `${LATEST}/vendor_data2.json`;
/** Longer than a stand-in under load takes. */
const TIMEOUT = '1500ms';

let cleanups: (() => unknown)[] = [];
let root = '';
beforeEach(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-openstack-'));
  cleanups = [() => fs.rmSync(root, { recursive: true, force: true })];
});
afterEach(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
});

async function host(options?: OpenstackHostOptions): Promise<OpenstackHost> {
  const started = await startOpenstackHost(options);
  cleanups.push(() => started.close());
  return started;
}

function sourceAt(url: string, config: OpenstackConfig = {}, environment: Partial<SourceEnvironment> = {}): Source {
  const [source] = openstackSource.create(
    { base_url: url, timeout: TIMEOUT, ...config },
    sourceEnvironment({ root, ...environment }),
  );
  assert.ok(source);
  cleanups.push(() => source.close?.());
  return source;
}

const machine = (answer: Answer, key: string): Reading<string> | undefined => answer.machine?.keys[key];
const asked = (server: OpenstackHost): readonly string[] => server.requests.map((request) => request.path);
const withLabel = { facts: { ...NO_FACTS, labels: ['config-2'] } };

describe('meta_data.json', () => {
  it('gives known keys and marked ones of `meta`, the pointers, and the UUID as job_id; the rest is the tenant’s', async () => {
    const server = await host();
    for (const [key, value] of Object.entries({
      machinefeatures: 'http://10.0.0.1/machinefeatures/',
      jobfeatures: '/mnt/jobfeatures',
      joboutputs: 'https://site.example/joboutputs',
      shutdowntime: '1766440000',
      total_cpu: 8,
      termination_allowed: true,
      mjf_site_name: 'CERN',
      role: 'db',
      admin_password: 'secret',
      nested: { shutdowntime: '1' },
    }))
      server.meta(key, value);
    const answer = await read(sourceAt(server.url));
    assert.deepEqual(values(answer), {
      shutdowntime: '1766440000',
      total_cpu: '8',
      termination_allowed: 'true',
      mjf_site_name: 'CERN',
    });
    assert.deepEqual(answer.pointers, {
      machinefeatures: 'http://10.0.0.1/machinefeatures',
      jobfeatures: '/mnt/jobfeatures',
      joboutputs: 'https://site.example/joboutputs',
    });
    assert.deepEqual(answer.derived?.job, { job_id: present(UUID) });
    assert.doesNotMatch(JSON.stringify(answer), /secret|role|ssh-ed25519|random_seed/);
  });

  it('gives the flat values of older sites', async () => {
    const server = await host();
    server.meta('mjf@machinefeatures@total_cpu', '8');
    server.meta('mjf@jobfeatures@wall_limit_secs', '86400');
    server.meta('mjf@jobfeatures@queue', 'long');
    const answer = await read(sourceAt(server.url));
    assert.deepEqual(
      [values(answer), values(answer, 'job')],
      [{ total_cpu: '8' }, { wall_limit_secs: '86400', mjf_queue: 'long' }],
    );
  });

  it('may say the UUID late, and say it no more only by mistake: then nothing of it is believed', async () => {
    const server = await host();
    server.field('uuid', undefined);
    server.meta('shutdowntime', '1766440000');
    const source = sourceAt(server.url);
    const early = await read(source);
    assert.equal(early.derived?.job?.['job_id'], undefined);
    assert.deepEqual(machine(early, 'shutdowntime'), present('1766440000'));
    server.field('uuid', UUID);
    assert.deepEqual((await read(source)).derived?.job?.['job_id'], present(UUID));
    server.field('uuid', undefined);
    server.meta('shutdowntime', undefined);
    assert.deepEqual(machine(await read(source), 'shutdowntime'), { is: 'unknown', error: 'bad_document' });
  });

  it('that lacks a key says that it is absent', async () => {
    const server = await host();
    server.meta('shutdowntime', '1766440000');
    const source = sourceAt(server.url);
    await read(source);
    server.meta('shutdowntime', undefined);
    assert.deepEqual(machine(await read(source), 'shutdowntime'), { is: 'absent' });
  });

  it('tells the host’s clock', async () => {
    const server = await host();
    server.setClockOffset(3_600_000);
    const { hostNowMs = 0 } = await read(sourceAt(server.url));
    assert.ok(hostNowMs > Date.now() + 3_500_000);
  });

  const bytes = (text: string): Fault => ({ is: 'bytes', bytes: Buffer.from(text) });
  const BAD: readonly (readonly [what: string, fault: Fault, code: string])[] = [
    ['a web page', { is: 'html' }, 'bad_json'],
    ['nothing at all', { is: 'empty' }, 'bad_json'],
    ['half a document', bytes('{"uuid":"a","meta":{"shutdowntime"'), 'bad_json'],
    ['a list', bytes('[]'), 'bad_document'],
    ['null', bytes('null'), 'bad_document'],
    ['a `meta` that is a text', bytes('{"uuid":"a","meta":"x"}'), 'bad_document'],
    ['no text', { is: 'bytes', bytes: Buffer.from([0xff, 0x00]) }, 'not_text'],
    ['a body without end', { is: 'endless' }, 'too_large'],
    ['a redirect', { is: 'redirect', to: '/' }, 'http_302'],
    ['500', { is: 'status', status: 500 }, 'http_500'],
    ['503', { is: 'status', status: 503 }, 'http_503'],
    ['429', { is: 'status', status: 429 }, 'http_429'],
    ['403', { is: 'status', status: 403 }, 'http_403'],
    ['a broken connection', { is: 'reset' }, 'reset'],
  ];
  for (const [what, fault, code] of BAD)
    it(`${what} in its place is ${code}: what it gave is unknown, and known again afterwards`, async () => {
      const server = await host();
      server.meta('shutdowntime', '1766440000');
      const source = sourceAt(server.url);
      await read(source);
      server.fault(META, fault);
      const answer = await read(source);
      assert.deepEqual(machine(answer, 'shutdowntime'), { is: 'unknown', error: code });
      server.fault(META, undefined);
      assert.deepEqual(machine(await read(source), 'shutdowntime'), present('1766440000'));
    });

  it('404 for a machine that was found before is a failure: Nova has lost it for a moment', async () => {
    const server = await host();
    server.meta('shutdowntime', '1766440000');
    const source = sourceAt(server.url);
    await read(source);
    server.setFound(false);
    assert.equal(await codeOf(read(source)), 'http_404');
    server.setFound(true);
    assert.deepEqual(machine(await read(source), 'shutdowntime'), present('1766440000'));
  });
});

describe('where the documents are', () => {
  it('below latest/, and no more is asked than these three', async () => {
    const server = await host();
    await read(sourceAt(server.url));
    assert.deepEqual([...asked(server)].sort(), [META, VENDOR, VENDOR2]);
  });

  it('in the newest version of the listing where latest is 404; the search is not repeated', async () => {
    const server = await host({ versions: ['2012-08-10', '2013-10-17', '2013-04-04'] });
    server.meta('total_cpu', '8');
    const source = sourceAt(server.url);
    assert.deepEqual(values(await read(source)), { total_cpu: '8' });
    const first = asked(server).length;
    assert.deepEqual(values(await read(source)), { total_cpu: '8' });
    assert.deepEqual([...asked(server).slice(first)].sort(), [
      '/openstack/2013-10-17/meta_data.json',
      '/openstack/2013-10-17/vendor_data.json',
      '/openstack/2013-10-17/vendor_data2.json',
    ]);
  });

  it('in a version that Nova is known to have had where there is no listing either', async () => {
    const server = await host({ versions: ['2012-08-10'], listing: false });
    server.meta('total_cpu', '8');
    assert.deepEqual(values(await read(sourceAt(server.url))), { total_cpu: '8' });
  });

  it('in a known version where a plain web server redirects to its listing', async () => {
    const server = await host({ versions: ['2015-10-15'] });
    server.fault('/openstack', { is: 'redirect', to: '/openstack/' });
    server.meta('total_cpu', '8');
    assert.deepEqual(values(await read(sourceAt(server.url))), { total_cpu: '8' });
  });

  it('in Vac’s spelling, without UUID, listing and vendor data', async () => {
    const server = await host({ style: 'vac' });
    server.meta('machinefeatures', 'http://169.254.169.253/machinefeatures');
    server.meta('machinetype', 'gds');
    const source = sourceAt(server.url);
    const answer = await read(source);
    assert.deepEqual(answer.pointers, { machinefeatures: 'http://169.254.169.253/machinefeatures' });
    assert.equal(answer.derived, undefined);
    assert.ok(Object.values(answer.notices?.byId ?? {}).every(({ is }) => is !== 'unknown'));
    const first = asked(server).length;
    await read(source);
    assert.equal(asked(server)[first], `${LATEST}/meta-data.json`);
  });

  it('nowhere: http_404', async () => {
    const server = await host({ versions: [], listing: false });
    assert.equal(await codeOf(read(sourceAt(server.url))), 'http_404');
  });

  it('at an IPv6 address', async (t) => {
    const server = await host({ address: '::1' }).catch(() => undefined);
    if (server === undefined) return t.skip('no IPv6 here');
    server.meta('total_cpu', '8');
    assert.deepEqual(values(await read(sourceAt(`${server.url}/`))), { total_cpu: '8' });
  });
});

describe('vendor data', () => {
  it('has our names at the top, one level down, and under mjf; numbers and sides too', async () => {
    const server = await host();
    server.vendor({
      shutdowntime: 1766440000,
      mjf: { grace_secs: '600' },
      deep: { deeper: { total_cpu: '1' } },
      x: [1],
    });
    server.vendor2('mjf-service', {
      hs06: 171.04,
      mjf: { jobfeatures: { wall_limit_secs: 86400 } },
      password: 'secret',
    });
    server.vendor2('other', 'just a text');
    const answer = await read(sourceAt(server.url));
    assert.deepEqual(values(answer), { shutdowntime: '1766440000', grace_secs: '600', hs06: '171.04' });
    assert.deepEqual(values(answer, 'job'), { wall_limit_secs: '86400' });
    assert.doesNotMatch(JSON.stringify(answer), /secret/);
  });

  it('counts after `meta`, and that of this machine before that of all', async () => {
    const server = await host();
    server.meta('hs06', '1');
    server.vendor2('site', { hs06: '2', total_cpu: '2' });
    server.vendor({ hs06: '3', total_cpu: '3', grace_secs: '3', machinefeatures: 'http://three/' });
    const source = sourceAt(server.url);
    const answer = await read(source);
    assert.deepEqual(values(answer), { hs06: '1', total_cpu: '2', grace_secs: '3' });
    assert.deepEqual(answer.pointers, { machinefeatures: 'http://three' });
    server.meta('hs06', undefined);
    assert.deepEqual(machine(await read(source), 'hs06'), present('2'));
  });

  for (const [what, document] of [
    ['a list', []],
    ['a text', 'hello'],
    ['nothing', null],
  ] as const)
    it(`${what} has nothing for us and is no failure`, async () => {
      const server = await host();
      server.vendor(document);
      const answer = await read(sourceAt(server.url));
      assert.ok(Object.values(answer.notices?.byId ?? {}).every(({ is }) => is !== 'unknown'));
    });

  it('that fails harms nobody but its own keys', async () => {
    const server = await host();
    server.meta('total_cpu', '8');
    server.vendor2('site', { shutdowntime: '1766440000' });
    const source = sourceAt(server.url);
    await read(source);
    server.fault(VENDOR2, { is: 'status', status: 500 });
    const answer = await read(source);
    assert.deepEqual(machine(answer, 'shutdowntime'), { is: 'unknown', error: 'http_500' });
    assert.deepEqual(machine(answer, 'total_cpu'), present('8'));
    server.fault(VENDOR2, undefined);
    assert.deepEqual(machine(await read(source), 'shutdowntime'), present('1766440000'));
  });

  it('that hangs does not hold up the rest', async () => {
    const server = await host();
    server.meta('total_cpu', '8');
    server.fault(VENDOR2, { is: 'hang' });
    const answer = await read(sourceAt(server.url, { timeout: '1m' }), { patient: false, fresh: false });
    assert.deepEqual(values(answer), { total_cpu: '8' });
  });

  it('without any key of ours is asked for rarely, with one as often as the rest (S7)', async () => {
    const server = await host();
    server.vendor2('site', { total_cpu: '8' });
    // Below the shortest interval: every reading is due.
    const source = sourceAt(server.url, { poll: '200ms' });
    await read(source, { fresh: false });
    const first = asked(server).length;
    let later: readonly string[] = [];
    while (!later.includes(VENDOR2)) {
      await read(source, { fresh: false });
      later = asked(server).slice(first);
    }
    assert.equal(later.includes(VENDOR), false);
    await read(source, { fresh: true });
    assert.equal(asked(server).slice(first).includes(VENDOR), true);
  });
});

describe('the config drive', () => {
  /** A drive below the test's root, as the root helper leaves it. */
  const dropDir = () => path.join(root, 'run/mjf-agent-drive/config-2');

  async function withDrive(setUp: (server: OpenstackHost) => void): Promise<OpenstackHost> {
    const server = await host();
    setUp(server);
    server.writeDrive(dropDir());
    return server;
  }

  it('gives the same as the service, without any, and its silence is told once and is no failure', async () => {
    const server = await withDrive((one) => {
      one.meta('shutdowntime', '1766440000');
      one.meta('machinefeatures', 'http://mjf/');
      one.vendor2('site', { total_cpu: '8' });
    });
    await server.close();
    const lines: string[] = [];
    const log = pino({ level: 'info' }, { write: (line: string) => void lines.push(line) });
    const source = sourceAt(server.url, {}, { log });
    const answer = await read(source);
    assert.deepEqual(values(answer), { shutdowntime: '1766440000', total_cpu: '8' });
    assert.deepEqual(answer.pointers, { machinefeatures: 'http://mjf' });
    assert.deepEqual(answer.derived?.job, { job_id: present(UUID) });
    for (let round = 0; round < 3; round += 1) {
      const { notices } = await read(source);
      assert.ok(Object.values(notices?.byId ?? {}).every(({ is }) => is !== 'unknown'));
    }
    assert.equal(lines.filter((line) => line.includes('openstack_drive_only')).length, 1);
  });

  it('is looked at in the configured directory', async () => {
    const server = await host();
    server.meta('total_cpu', '8');
    const dir = path.join(root, 'mnt/config');
    server.writeDrive(dir);
    await server.close();
    assert.deepEqual(values(await read(sourceAt(server.url, { config_drive: dir }))), { total_cpu: '8' });
  });

  it('counts until the service gives the same document: what that lacks is absent, what it changed is changed', async () => {
    const server = await withDrive((one) => {
      one.meta('shutdowntime', '1766440000');
      one.meta('total_cpu', '8');
    });
    server.fault('*', { is: 'status', status: 503 });
    const source = sourceAt(server.url);
    assert.deepEqual(values(await read(source)), { shutdowntime: '1766440000', total_cpu: '8' });
    server.fault('*', undefined);
    server.meta('shutdowntime', undefined);
    server.meta('total_cpu', '4');
    const answer = await read(source);
    assert.deepEqual([machine(answer, 'shutdowntime'), machine(answer, 'total_cpu')], [{ is: 'absent' }, present('4')]);
  });

  it('a service that has answered once is expected to: its death is a failure although there is a drive', async () => {
    const server = await withDrive((one) => one.meta('total_cpu', '8'));
    const source = sourceAt(server.url);
    await read(source);
    await server.close();
    assert.equal(await codeOf(read(source)), 'refused');
  });

  it('without it, a dead service is a failure', async () => {
    const server = await host();
    await server.close();
    assert.equal(await codeOf(read(sourceAt(server.url))), 'refused');
  });

  it('that udev comes to only later is read all the same', async () => {
    const server = await host();
    server.meta('total_cpu', '8');
    await server.close();
    const source = sourceAt(server.url);
    assert.equal(await codeOf(read(source)), 'refused');
    server.writeDrive(dropDir());
    assert.deepEqual(values(await read(source)), { total_cpu: '8' });
  });

  it('that cannot be read is told beside what the service says, and taken when it can be read', async () => {
    const server = await host();
    server.meta('total_cpu', '8');
    fs.mkdirSync(dropDir(), { recursive: true });
    const source = sourceAt(server.url, {}, withLabel);
    const answer = await read(source);
    assert.deepEqual(answer.notices?.byId['@config drive'], { is: 'unknown', error: 'drive_empty' });
    assert.deepEqual(values(answer), { total_cpu: '8' });
    server.writeDrive(dropDir());
    assert.notEqual((await read(source)).notices?.byId['@config drive']?.is, 'unknown');
  });

  it('a document of it that is garbage leaves the others', async () => {
    const server = await withDrive((one) => {
      one.meta('total_cpu', '8');
      one.vendor2('site', { hs06: '10' });
    });
    await server.close();
    fs.writeFileSync(path.join(dropDir(), 'openstack/latest/meta_data.json'), '<html>');
    assert.deepEqual(values(await read(sourceAt(server.url))), { hs06: '10' });
  });
});

describe('detection', () => {
  const ROWS: readonly (readonly [sign: string, facts: Partial<MachineFacts>])[] = [
    ['sys_vendor is "OpenStack Foundation"', { dmi: { sys_vendor: 'OpenStack Foundation', product_name: 'x' } }],
    ['product_name is "OpenStack Nova"', { dmi: { sys_vendor: 'RDO', product_name: 'OpenStack Nova' } }],
    ['product_name is "OpenStack Compute"', { dmi: { sys_vendor: 'Red Hat', product_name: 'OpenStack Compute' } }],
    ['chassis_asset_tag is "OpenTelekomCloud"', { dmi: { chassis_asset_tag: 'OpenTelekomCloud' } }],
    ['chassis_asset_tag is "HUAWEICLOUD"', { dmi: { chassis_asset_tag: 'HUAWEICLOUD' } }],
    ['a device is labelled "CONFIG-2"', { labels: ['root', 'CONFIG-2'] }],
    ['cloud-init says "openstack"', { cloudId: 'openstack' }],
  ];
  for (const [sign, facts] of ROWS)
    it(sign, () => assert.equal(openstackSource.detect?.({ ...NO_FACTS, ...facts }), sign));

  it('nothing on EC2, on a plain KVM machine (Vac) and with another drive', () => {
    for (const facts of [
      { dmi: { sys_vendor: 'Amazon EC2', product_name: 't3.micro', chassis_asset_tag: 'Amazon EC2' } },
      { dmi: { sys_vendor: 'QEMU', product_name: 'Standard PC (i440FX + PIIX, 1996)' } },
      { labels: ['cidata', 'CONTEXT'] },
      { cloudId: 'aws' },
    ])
      assert.equal(openstackSource.detect?.({ ...NO_FACTS, ...facts }), undefined);
  });
});

describe('in the heart', () => {
  const OPENSTACK = sourceInfo('openstack', 'platform', 60_000);
  const observed = (answer: Answer): { type: 'observation'; observation: Observation } => ({
    type: 'observation',
    observation: { source: 'openstack', outcome: 'answer', answer },
  });

  it('a shutdowntime is the deadline, moves as the site moves it, stands while the service fails, and goes with the key', async () => {
    const server = await host();
    server.setClockOffset(START - Date.now());
    const heart = history({ sources: [OPENSTACK] });
    const source = sourceAt(server.url);
    const tell = async () => heart.send(observed(await read(source)));
    await tell();
    assert.equal(heart.phase(), 'running');
    server.meta('shutdowntime', secs(START + HOUR));
    await tell();
    assert.equal(heart.snapshot().deadlineMs, START + HOUR);
    assert.equal(heart.job('job_id'), UUID);
    server.meta('shutdowntime', secs(START + 10 * MINUTE));
    await tell();
    assert.equal(heart.snapshot().deadlineMs, START + 10 * MINUTE);
    assert.equal(heart.phase(), 'draining');
    server.fault(META, { is: 'html' });
    await tell();
    assert.equal(heart.snapshot().deadlineMs, START + 10 * MINUTE);
    server.fault(META, undefined);
    server.meta('shutdowntime', undefined);
    for (let answers = 1; answers <= 4; answers += 1) {
      assert.equal(heart.snapshot().deadlineMs, START + 10 * MINUTE, `answer ${answers} is no proof yet`);
      await tell();
      heart.pass(1000);
    }
    assert.equal(heart.snapshot().deadlineMs, null);
    assert.equal(heart.phase(), 'running');
  });

  it('through the driver: the announcement arrives with the next poll', async () => {
    const server = await host();
    const seen: Observation[] = [];
    const driver = startDriver(sourceAt(server.url), {
      emit: (observation) => void seen.push(observation),
      log: pino({ level: 'silent' }),
      clock: systemClock,
      count: () => undefined,
    });
    cleanups.push(() => driver.stop());
    await driver.pollNow();
    server.meta('shutdowntime', '1766440000');
    await driver.pollNow();
    const last = seen.at(-1);
    assert.ok(last?.outcome === 'answer');
    assert.deepEqual(machine(last.answer, 'shutdowntime'), present('1766440000'));
    assert.equal(driver.info().pollMs, 60_000);
  });
});
