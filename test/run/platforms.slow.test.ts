/**
 * The built program on every platform's stand-in: what the host announces becomes the published deadline, a payload is told in
 * time, and what is only a hint stops nobody. One image, one program; only the address of the stand-in is configured.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test, { describe } from 'node:test';
import { startAlibabaHost } from '../hosts/alibaba.ts';
import { startAzureHost } from '../hosts/azure.ts';
import { startEc2Host } from '../hosts/ec2.ts';
import { startGceHost } from '../hosts/gce.ts';
import { startMjfHost } from '../hosts/mjf.ts';
import { startOpennebulaHost } from '../hosts/opennebula.ts';
import { startOpenstackHost } from '../hosts/openstack.ts';
import { startOracleHost } from '../hosts/oracle.ts';
import { startTencentHost } from '../hosts/tencent.ts';
import { inSecs, startAgent, type TestAgent } from '../support/agent.ts';

/** No channel but the one that the configuration names. */
const NO_DIRECTORIES: readonly string[] = [];

const table = (name: string, url: string, more = ''): string =>
  `sources = ["${name}", "self"]\n[source.${name}]\nbase_url = "${url}"\n${more}`;

const deadlineIs = (agent: TestAgent, at: number) =>
  agent.until(`the deadline ${at}`, ({ deadline }) => deadline === at);
const noticeThere = (agent: TestAgent, id: string) =>
  agent.until(`the notice ${id}`, ({ notices }) => notices.some((notice) => notice.id === id));
const noticeGone = (agent: TestAgent, id: string) =>
  agent.until(`no notice ${id}`, ({ notices }) => notices.every((notice) => notice.id !== id));

describe('platforms', { concurrency: 4 }, () => {
  test('ec2: a spot interruption is the deadline, rebalance and a freeze only inform, what is cancelled is gone', async (t) => {
    const host = await startEc2Host({ tokens: 'required', lifeCycle: 'spot', tags: { hs06: '171.04', secret: 'x' } });
    t.after(() => host.close());
    const config = table('ec2', host.url, 'poll = "200ms"\nslow_poll = "500ms"\n');
    const agent = await startAgent(t, { config, channels: NO_DIRECTORIES });
    await agent.until('the tag', ({ machinefeatures }) => machinefeatures['hs06']?.value === '171.04');
    assert.equal(agent.file('machinefeatures/secret'), undefined);
    // Asked beside the tags, and possibly answered after them.
    await agent.until('a spot machine', ({ termination_allowed }) => termination_allowed === true);

    host.event({ id: 'instance-event-1', code: 'system-maintenance', notBeforeMs: Date.now() + 60_000 });
    const hinted = await noticeThere(agent, 'ec2/instance-event-1');
    assert.equal(hinted.deadline, null);
    assert.equal(hinted.phase, 'running');

    const far = inSecs(14 * 86_400);
    host.event({ id: 'instance-event-2', code: 'instance-stop', notBeforeMs: far * 1000 });
    const announced = await deadlineIs(agent, far);
    assert.equal(announced.phase, 'running', 'weeks ahead nobody is stopped, nor drained');
    host.eventOver('instance-event-2', 'Canceled');
    await agent.until('no deadline', ({ deadline }) => deadline === null);

    const near = inSecs(120);
    host.spot('terminate', near * 1000);
    const { phase, reason } = await deadlineIs(agent, near);
    assert.notEqual(phase, 'running');
    assert.match(String(reason), /^ec2: spot terminate/);
  });

  test('gce: a preemption without a time gets its thirty seconds; MIGRATE informs', async (t) => {
    const host = await startGceHost();
    t.after(() => host.close());
    const agent = await startAgent(t, { config: table('gce', host.url), channels: NO_DIRECTORIES });
    host.maintenance('MIGRATE_ON_HOST_MAINTENANCE');
    const informed = await noticeThere(agent, 'gce/maintenance-event');
    assert.deepEqual([informed.deadline, informed.phase], [null, 'running']);
    host.maintenance('NONE');
    await noticeGone(agent, 'gce/maintenance-event');
    const beforeMs = Date.now();
    host.preempt();
    const { deadline } = await noticeThere(agent, 'gce/preempted');
    const seenMs = Date.now();
    assert.ok(deadline !== null && deadline * 1000 > beforeMs + 28_000 && deadline * 1000 <= seenMs + 30_000);
  });

  test('azure: only what is about this machine; an event in force stays until its incarnation drops it', async (t) => {
    const host = await startAzureHost({ name: 'worker-7' });
    t.after(() => host.close());
    const agent = await startAgent(t, {
      config: table('azure', host.url, 'poll = "200ms"\n'),
      channels: NO_DIRECTORIES,
    });
    const at = inSecs(900);
    host.schedule({ type: 'Reboot', notBeforeMs: inSecs(60) * 1000, resources: ['worker-8'] });
    const id = host.schedule({ type: 'Redeploy', notBeforeMs: at * 1000, resources: ['worker-7', 'worker-8'] });
    const { notices } = await deadlineIs(agent, at);
    assert.deepEqual(
      notices.map((notice) => notice.id),
      [`azure/${id}`],
    );
    host.begin(id);
    await host.seen(2, '/metadata/scheduledevents');
    assert.equal((await agent.lifetime()).deadline, at, 'S1.3 a blank time keeps the last known one');
    host.end(id);
    await noticeGone(agent, `azure/${id}`);
  });

  for (const [name, start] of [
    ['alibaba', startAlibabaHost],
    ['tencent', startTencentHost],
  ] as const) {
    test(`${name}: the termination time of a spot machine`, async (t) => {
      const host = await start();
      t.after(() => host.close());
      const config = table(name, host.url, 'poll = "200ms"\n');
      const agent = await startAgent(t, { config, channels: NO_DIRECTORIES });
      const at = inSecs(300);
      host.takeBack(at * 1000);
      const { notices } = await deadlineIs(agent, at);
      assert.deepEqual([notices[0]?.id, notices[0]?.kind], [`${name}/spot`, 'terminate']);
    });
  }

  test('oracle: a tag is the deadline, and taken away it is taken back; what a tenant keeps beside it goes nowhere', async (t) => {
    const host = await startOracleHost();
    t.after(() => host.close());
    const agent = await startAgent(t, {
      config: table('oracle', host.url, 'poll = "200ms"\n'),
      channels: NO_DIRECTORIES,
    });
    host.tag('mjf_rack', 'r7');
    const at = inSecs(3600);
    host.tag('shutdowntime', String(at));
    const { reason } = await deadlineIs(agent, at);
    assert.match(String(reason), /^oracle: shutdowntime/);
    assert.equal(agent.file('machinefeatures/rack'), 'r7\n');
    assert.equal(agent.file('machinefeatures/user_data'), undefined);
    host.tag('shutdowntime', undefined);
    await agent.until('no deadline', ({ deadline }) => deadline === null);
  });

  test('openstack: what `meta` points to is read, and stays read although the metadata service dies', async (t) => {
    const site = await startMjfHost({ machine: { total_cpu: '8', shutdowntime: String(inSecs(7200)) } });
    const host = await startOpenstackHost();
    t.after(() => Promise.all([site.close(), host.close()]));
    host.meta('machinefeatures', `${site.url}/machinefeatures/`);
    host.meta('jobfeatures', `${site.url}/jobfeatures`);
    host.meta('admin_pass', 'secret');
    const config = `sources = ["openstack", "mjf", "self"]\n[source.openstack]\nbase_url = "${host.url}"\n[source.mjf]\npoll = "200ms"\n`;
    const agent = await startAgent(t, { config, channels: NO_DIRECTORIES });
    await agent.until('the site speaks', ({ machinefeatures }) => machinefeatures['total_cpu']?.source === 'mjf');
    assert.equal(agent.file('jobfeatures/admin_pass'), undefined);
    // "may appear late"
    site.set('job', 'job_id', 'late-one');
    await agent.until('the late id', ({ jobfeatures }) => jobfeatures['job_id']?.value === 'late-one');
    await host.close();
    await agent.kill9();
    const at = inSecs(3600);
    site.set('machine', 'shutdowntime', String(at));
    await agent.restart();
    await deadlineIs(agent, at);
  });

  test('opennebula: the context is read and not executed, OneGate says that the machine goes', async (t) => {
    const host = await startOpennebulaHost();
    t.after(() => host.close());
    const proof = path.join(fs.mkdtempSync('/tmp/mjf-context-'), 'executed');
    t.after(() => fs.rmSync(path.dirname(proof), { recursive: true }));
    const context = path.join(path.dirname(proof), 'context');
    fs.mkdirSync(context);
    host.writeContext(context, {
      ONEGATE_ENDPOINT: host.url,
      HS06: '99.5',
      MJF_RACK: `$(touch ${proof})`,
      PASSWORD: 'x',
    });
    const config = `sources = ["opennebula"]\n[source.opennebula]\ncontext = "${context}"\npoll = "200ms"\n`;
    const agent = await startAgent(t, { config, channels: NO_DIRECTORIES });
    await agent.until('the context', ({ machinefeatures }) => machinefeatures['hs06']?.value === '99.5');
    assert.equal(agent.file('machinefeatures/rack'), `$(touch ${proof})\n`);
    assert.equal(agent.file('machinefeatures/password'), undefined);
    assert.equal(fs.existsSync(proof), false);
    host.lcmState(18);
    const { notices } = await noticeThere(agent, 'opennebula/lcm-state');
    assert.equal(notices[0]?.kind, 'shutdown');
  });

  test('S1.3 ec2: an interruption that is certain but has no readable time gets its two minutes', async (t) => {
    const host = await startEc2Host();
    t.after(() => host.close());
    const agent = await startAgent(t, { config: table('ec2', host.url, 'poll = "200ms"\n'), channels: NO_DIRECTORIES });
    const beforeMs = Date.now();
    host.set('spot/instance-action', '{"action":"stop","time":"soon"}');
    const { deadline, notices } = await noticeThere(agent, 'ec2/spot');
    assert.equal(notices[0]?.kind, 'stop');
    assert.ok(deadline !== null && deadline * 1000 > beforeMs + 118_000 && deadline * 1000 <= Date.now() + 120_000);
  });

  test('S7 a guest does not hurt the site: a quiet minute of requests at the most, whatever happens in between', async (t) => {
    const ec2 = await startEc2Host();
    const openstack = await startOpenstackHost();
    const azure = await startAzureHost();
    t.after(() => Promise.all([ec2.close(), openstack.close(), azure.close()]));
    const tables = [`[source.ec2]\nbase_url = "${ec2.url}"`, `[source.openstack]\nbase_url = "${openstack.url}"`];
    const config = `sources = ["directory", "ec2", "openstack", "azure"]\n${tables.join('\n')}\n[source.azure]\nbase_url = "${azure.url}"\n[source.directory]\npoll = "200ms"\n`;
    const agent = await startAgent(t, { config, machine: { total_cpu: 8 } });
    const counts = () => [ec2, openstack, azure].map(({ requests }) => requests.length);
    // What is asked once at the start is over then.
    await ec2.seen(2, '/latest/meta-data/spot/instance-action');
    const before = counts();
    // Other sources' news must not make these ask more often: five seconds of it.
    for (let times = 0; times < 25; times += 1) {
      agent.hostDirs.set('machine', 'shutdowntime', inSecs(3600) + times);
      await agent.readAgain();
    }
    const [ec2More = 0, openstackMore = 0, azureMore = 0] = counts().map((count, at) => count - (before[at] ?? 0));
    // By their intervals some 3, 0 and 6: a loop that asks without a pause makes hundreds.
    assert.ok(ec2More <= 20 && openstackMore <= 10 && azureMore <= 30, `${ec2More}, ${openstackMore}, ${azureMore}`);
  });

  test('a metadata service that hangs on every request holds up neither another source nor the readiness', async (t) => {
    const host = await startEc2Host();
    t.after(() => host.close());
    host.fault('*', { is: 'hang' });
    const config = `sources = ["directory", "ec2"]\n[source.ec2]\nbase_url = "${host.url}"\n[source.directory]\npoll = "200ms"\n`;
    const agent = await startAgent(t, { config, machine: { total_cpu: 8 } });
    const at = inSecs(3600);
    agent.hostDirs.set('machine', 'shutdowntime', at);
    await deadlineIs(agent, at);
    // Well again, it is heard.
    const near = inSecs(1800);
    host.fault('*', undefined);
    host.spot('stop', near * 1000);
    await deadlineIs(agent, near);
  });
});
