/**
 * Issue "Every channel", 2: a platform's metadata names the places of the features, and the built program goes there. The
 * metadata keys are read once per boot, the key files again and again; the places outlive a metadata service that dies.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import test, { describe } from 'node:test';
import { startEc2Host } from '../hosts/ec2.ts';
import { startGceHost } from '../hosts/gce.ts';
import { type MjfHost, type MjfHostOptions, startMjfHost } from '../hosts/mjf.ts';
import { inSecs, startAgent, type TestAgent } from '../support/agent.ts';

type Ending = Parameters<typeof startAgent>[0];

/** Nobody but the metadata service is configured. */
const EC2 = (url: string): string => `[source.ec2]\nbase_url = "${url}"\npoll = "200ms"\nslow_poll = "300ms"\n`;
const MJF = '[source.mjf]\npoll = "200ms"\n';
const HEARTBEAT = '[report.joboutputs]\nheartbeat_file = "heartbeat"\nheartbeat = "1s"\n';

const tagsOf = (mjf: MjfHost): Record<string, string> => ({
  machinefeatures: `${mjf.url}/machinefeatures`,
  jobfeatures: `${mjf.url}/jobfeatures/`,
  joboutputs: `${mjf.url}/joboutputs`,
});
async function mjfHost(t: Ending, options: MjfHostOptions): Promise<MjfHost> {
  const host = await startMjfHost(options);
  t.after(() => host.close());
  return host;
}
async function ec2Host(t: Ending, tags: Record<string, string>) {
  const host = await startEc2Host({ tags });
  t.after(() => host.close());
  return host;
}
const start = (t: Ending, config: string): Promise<TestAgent> => startAgent(t, { config, channels: [] });

const deadlineIs = (agent: TestAgent, at: number | null) =>
  agent.until(`deadline ${at}`, ({ deadline }) => deadline === at);
const jobKey = (agent: TestAgent, key: string, value: string) =>
  agent.until(`${key} ${value}`, ({ jobfeatures }) => jobfeatures[key]?.value === value);
const puts = (host: MjfHost, path: string) =>
  host.requests.filter((request) => request.method === 'PUT' && request.path === path).length;

describe('pointers in the metadata', { concurrency: 3 }, () => {
  test('EC2 tags start the mjf source: its deadline counts, a late job_id is picked up, what is said to the site arrives', async (t) => {
    const at = inSecs(7200);
    const mjf = await mjfHost(t, {
      machine: { shutdowntime: String(at), hs06: '171.04' },
      job: { allocated_cpu: '4' },
    });
    const ec2 = await ec2Host(t, { ...tagsOf(mjf), Name: 'worker', password: 'hidden' });
    const agent = await start(t, EC2(ec2.url) + MJF + HEARTBEAT);

    const { machinefeatures, jobfeatures, sources } = await deadlineIs(agent, at);
    assert.equal(machinefeatures['hs06']?.source, 'mjf');
    assert.equal(jobfeatures['allocated_cpu']?.value, '4');
    assert.ok(sources.some(({ name, state }) => name === 'mjf' && state === 'ok'));
    assert.equal(agent.file('machinefeatures/shutdowntime'), `${at}\n`);

    // The metadata keys are read once, the key files again and again.
    mjf.set('job', 'job_id', 'batch-4711');
    assert.equal((await jobKey(agent, 'job_id', 'batch-4711')).jobfeatures['job_id']?.source, 'mjf');
    const later = inSecs(10_800);
    mjf.set('machine', 'shutdowntime', String(later));
    await deadlineIs(agent, later);

    // VM to site: the agent's own word and a payload's.
    await mjf.seen(2, 'joboutputs/heartbeat');
    assert.ok(mjf.outputs.has('heartbeat'));
    const put = { method: 'PUT', body: 'of a payload', headers: { 'content-type': 'text/plain' } };
    const arrived = mjf.seen(1, 'joboutputs/pilot.log');
    const { status } = await agent.request('/joboutputs/pilot.log', put);
    assert.ok(status < 300, `${status}`);
    await arrived;
    assert.equal((await agent.stop()).code, 0);
    assert.ok(!agent.lines.some((line) => JSON.stringify(line).includes(mjf.url) && line.event === 'pointers'));
  });

  test('other places named later in the same boot are not followed, nor does the agent lose the first ones with the tags', async (t) => {
    const [at, elsewhereAt] = [inSecs(7200), inSecs(3600)];
    const mjf = await mjfHost(t, { machine: { shutdowntime: String(at) } });
    const elsewhere = await mjfHost(t, { machine: { shutdowntime: String(elsewhereAt) } });
    const ec2 = await ec2Host(t, tagsOf(mjf));
    const agent = await start(t, EC2(ec2.url) + MJF + HEARTBEAT);
    await deadlineIs(agent, at);

    for (const [key, value] of Object.entries(tagsOf(elsewhere))) ec2.tag(key, value);
    await ec2.seen(4, '/latest/meta-data/tags/instance/machinefeatures');
    for (const key of Object.keys(tagsOf(mjf))) ec2.tag(key, undefined);
    await ec2.seen(4, '/latest/meta-data/tags/instance/');
    await mjf.seen(2, 'machinefeatures/shutdowntime');
    await mjf.seen(2, 'joboutputs/heartbeat');
    assert.deepEqual(elsewhere.requests, []);
    assert.equal((await agent.lifetime()).deadline, at);

    // Nor by an agent that is started anew in this boot.
    for (const [key, value] of Object.entries(tagsOf(elsewhere))) ec2.tag(key, value);
    await agent.stop();
    await agent.restart();
    await ec2.seen(4, '/latest/meta-data/tags/instance/machinefeatures');
    await mjf.seen(2, 'machinefeatures/shutdowntime');
    assert.deepEqual(elsewhere.requests, []);
    assert.equal((await agent.lifetime()).deadline, at);
  });

  test('an agent that starts while the metadata service is dead reads on where it was told to: no deadline is lost', async (t) => {
    const at = inSecs(7200);
    const mjf = await mjfHost(t, { machine: { shutdowntime: String(at) } });
    const ec2 = await ec2Host(t, tagsOf(mjf));
    const agent = await start(t, EC2(ec2.url) + MJF + HEARTBEAT);
    await deadlineIs(agent, at);
    const before = puts(mjf, 'joboutputs/heartbeat');

    await ec2.close();
    await agent.kill9();
    const earlier = inSecs(5400);
    mjf.set('machine', 'shutdowntime', String(earlier));
    await agent.restart();
    const { sources } = await deadlineIs(agent, earlier);
    assert.ok(sources.some(({ name, state }) => name === 'mjf' && state === 'ok'));
    await agent.until('ec2 fails', (each) => each.sources.some(({ name, state }) => name === 'ec2' && state !== 'ok'));
    while (puts(mjf, 'joboutputs/heartbeat') <= before) await mjf.seen(1, 'joboutputs/heartbeat');

    // What the operator wrote wins over what the metadata says.
    const written = await mjfHost(t, { machine: { shutdowntime: String(inSecs(3000)) } });
    const config = `${EC2(ec2.url)}${MJF}machinefeatures = "${written.url}/machinefeatures"\n`;
    fs.writeFileSync(agent.configFile, config);
    agent.signal('SIGHUP');
    await written.seen(1, 'machinefeatures/shutdowntime');
  });

  test('places that are named only after the agent has started are found, and those that are none are not', async (t) => {
    const at = inSecs(7200);
    const mjf = await mjfHost(t, { machine: { shutdowntime: String(at) } });
    const ec2 = await ec2Host(t, {
      Name: 'worker',
      machinefeatures: 'file:///etc/machinefeatures',
      jobfeatures: 'none',
    });
    const agent = await start(t, EC2(ec2.url) + MJF);
    await ec2.seen(3, '/latest/meta-data/tags/instance/machinefeatures');
    assert.ok(!(await agent.lifetime()).sources.some(({ name }) => name === 'mjf'));
    ec2.tag('machinefeatures', `${mjf.url}/machinefeatures`);
    await deadlineIs(agent, at);
  });

  test('GCE attributes do the same', async (t) => {
    const at = inSecs(7200);
    const mjf = await mjfHost(t, { machine: { shutdowntime: String(at) }, job: { job_id: 'batch-1' } });
    const gce = await startGceHost();
    t.after(() => gce.close());
    for (const [name, place] of Object.entries(tagsOf(mjf))) gce.set(`attributes/${name}`, place);
    const agent = await start(t, `[source.gce]\nbase_url = "${gce.url}"\n${MJF}${HEARTBEAT}`);
    await deadlineIs(agent, at);
    await jobKey(agent, 'job_id', 'batch-1');
    if (!mjf.outputs.has('heartbeat')) await mjf.seen(1, 'joboutputs/heartbeat');
  });
});
