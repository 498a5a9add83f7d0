/**
 * The agent without any configuration on machines of several platforms: it finds by the firmware's word where it is, asks
 * 169.254.169.254 and shows what it was told; where the firmware says nothing, nobody is asked (issue "Every channel", 3).
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import test, { after, describe } from 'node:test';
import type { ProbeReport } from '../../agent/probe/types.ts';
import { inSecs, startAgent, type TestAgent } from '../support/agent.ts';
import type { Ending } from '../support/processes.ts';
import { PROGRAM } from '../support/program.ts';
import { METADATA_ADDRESS, startMachine, type TestMachine, whyNoMachine } from './netns-machine.ts';

/** The DMI asset tag of every machine of Azure. */
const AZURE_TAG = '7783-7084-3265-9085-8269-3286-77';

const PLATFORMS: readonly {
  readonly name: string;
  readonly dmi: Readonly<Record<string, string>>;
  readonly args?: readonly string[];
  /** To the stand-in: the host announces the end of the machine. */
  readonly announce: string;
  readonly kind: string;
}[] = [
  { name: 'ec2', dmi: { sys_vendor: 'Amazon EC2' }, announce: 'spot terminate 600', kind: 'terminate' },
  {
    // Nothing resolves metadata.google.internal here: its address is tried.
    name: 'gce',
    dmi: { sys_vendor: 'Google', product_name: 'Google Compute Engine' },
    announce: 'preempt',
    kind: 'terminate',
  },
  {
    name: 'azure',
    dmi: { sys_vendor: 'Microsoft Corporation', chassis_asset_tag: AZURE_TAG },
    announce: 'schedule Preempt 600',
    kind: 'terminate',
  },
];

/** Whose metadata the site writes: how the stand-in is told of it. */
const POINTING = [
  ['ec2', '--tag', { bios_vendor: 'Amazon EC2' }],
  ['openstack', '--meta', { sys_vendor: 'OpenStack Foundation', product_name: 'OpenStack Nova' }],
] as const;

/** No option but the places that it must not share with other tests, and a configuration file without a word in it. */
const startUnconfigured = (t: Ending, machine: TestMachine): Promise<TestAgent> =>
  startAgent(t, { channels: [], within: machine.within });

/** `curl URL` in the machine; undefined for a 404. */
async function getInside(machine: TestMachine, url: string): Promise<string | undefined> {
  const script = `fetch(process.argv[1]).then(async (answer) => {
    if (answer.status !== 404) process.stdout.write(await answer.text());
    process.exit(answer.status === 200 ? 0 : answer.status === 404 ? 4 : 1);
  })`;
  const { code, out, err } = await machine.exec([process.execPath, '-e', script, url]);
  assert.ok(code === 0 || code === 4, err);
  return code === 4 ? undefined : out;
}

async function probeInside(
  machine: TestMachine,
  agent: TestAgent,
  more: readonly string[] = [],
): Promise<ProbeReport & { readonly code: number | null }> {
  const places = ['--config', agent.configFile, '--runtime-dir', agent.runtimeDir, ...more];
  const { code, out, err } = await machine.exec([process.execPath, PROGRAM, 'probe', '--json', ...places]);
  assert.equal(err, '');
  return { ...(JSON.parse(out) as ProbeReport), code };
}

const skip = whyNoMachine() ?? false;

describe('an unconfigured agent beside 169.254.169.254', { skip, concurrency: 3 }, () => {
  const namespaces: string[] = [];
  async function machineOf(t: Ending, dmi: Readonly<Record<string, string>>): Promise<TestMachine> {
    const machine = await startMachine(t, dmi);
    namespaces.push(...machine.namespaces);
    return machine;
  }
  after(() => assert.deepEqual(namespaces.filter(isInUse), [], 'namespaces are left behind'));

  // First: it mostly waits, and the others run beside it.
  test('a metadata service that swallows everything: others are heard and payloads stopped all the while', async (t) => {
    const machine = await machineOf(t, { sys_vendor: 'Amazon EC2' });
    const host = await machine.startHost('ec2');
    await host.say('spot terminate 1');
    await machine.swallow(true);
    const agent = await startAgent(t, { within: machine.within, unready: true, machine: { hs06: '171.04' } });
    await agent.log('http_listening', (line) => line['url'] !== undefined);
    await agent.log('http_listening', (line) => String(line['address']).endsWith('/agent.sock'));
    await agent.until('the directory', ({ machinefeatures }) => machinefeatures['hs06']?.value === '171.04');

    const payload = machine.exec([
      ...[process.execPath, PROGRAM, 'exec', '--runtime-dir', agent.runtimeDir, '--grace', '1s'],
      ...['--', 'sleep', '1000'],
    ]);
    await agent.until('the payload', ({ payloads }) => payloads.running === 1);
    const at = inSecs(2);
    agent.hostDirs.set('machine', 'shutdowntime', at);
    assert.equal((await payload).code, 75, 'stopped by the deadline');
    await agent.until('the payload has ended', ({ payloads }) => payloads.running + payloads.stopping === 0);

    // Not for ever: what the start waits for has a bound.
    await agent.log('ready');
    const ec2 = (await agent.lifetime()).sources.find((source) => source.name === 'ec2');
    assert.notEqual(ec2?.state, 'ok');
    const { sources, hints, took_ms } = await probeInside(machine, agent, ['--timeout', '2s']);
    assert.equal(sources.find((source) => source.name === 'ec2')?.error, 'timeout');
    assert.ok(hints.some(({ code }) => code === 'unreachable'));
    assert.ok(took_ms < 10_000, `${took_ms} ms`);

    await machine.swallow(false);
    await agent.until('it is heard', ({ notices }) => notices.some((notice) => notice.source === 'ec2'));
  });

  for (const { name, dmi, args, announce, kind } of PLATFORMS) {
    test(`${name}: found by its firmware, the notice is on every face, and probe says the same`, async (t) => {
      const machine = await machineOf(t, dmi);
      const host = await machine.startHost(name, args);
      const agent = await startUnconfigured(t, machine);
      const quiet = await agent.lifetime();
      assert.deepEqual([quiet.phase, quiet.deadline], ['running', null]);
      assert.equal(quiet.sources.find((source) => source.name === name)?.state, 'ok');

      await host.say(announce);
      const { deadline, notices } = await agent.until('the notice', (lifetime) => lifetime.deadline !== null);
      assert.deepEqual(
        notices.map((notice) => [notice.source, notice.kind, notice.deadline]),
        [[name, kind, deadline]],
      );
      assert.equal(agent.file('machinefeatures/shutdowntime'), `${deadline}\n`);
      assert.equal(await getInside(machine, `${agent.url}/machinefeatures/shutdowntime`), `${deadline}\n`);

      const { sources, would, code } = await probeInside(machine, agent);
      const row = sources.find((source) => source.name === name);
      assert.deepEqual([row?.why, row?.outcome, code], ['detected', 'answer', 0]);
      assert.ok(row?.asked.some(({ what, answered }) => what.includes(METADATA_ADDRESS) && answered === '200'));
      assert.ok(would.notices.some((notice) => notice.source === name && notice.kind === kind));
    });
  }

  for (const [name, option, dmi] of POINTING)
    test(`${name}: metadata that names a server of features is found, asked and followed`, async (t) => {
      const machine = await machineOf(t, dmi);
      const port = 8080;
      const url = `http://${METADATA_ADDRESS}:${port}/machinefeatures`;
      const at = inSecs(7200);
      await machine.startHost('mjf', ['--set', `machinefeatures/shutdowntime=${at}`], port);
      await machine.startHost(name, [option, `machinefeatures=${url}`]);
      const agent = await startUnconfigured(t, machine);
      const { notices } = await agent.until('the deadline', ({ deadline }) => deadline === at);
      assert.equal(notices[0]?.source, 'mjf');

      const { sources, pointers, would, code } = await probeInside(machine, agent);
      const mjf = sources.find((source) => source.name === 'mjf');
      assert.deepEqual(
        [mjf?.why, mjf?.outcome, pointers, would.deadline, code],
        ['metadata', 'answer', { machinefeatures: url }, at, 0],
      );
    });

  test('firmware that says nothing: nobody is asked, and the agent is ready', async (t) => {
    const machine = await machineOf(t, {});
    // It would answer, and it would announce.
    await machine.startHost('ec2', ['--simulate', 'terminate']);
    const agent = await startUnconfigured(t, machine);
    const { phase, deadline, sources } = await agent.lifetime();
    assert.deepEqual([phase, deadline], ['running', null]);
    const names = PLATFORMS.map((platform) => platform.name);
    assert.deepEqual(
      sources.filter((source) => names.includes(source.name)),
      [],
    );
    const { code, would } = await probeInside(machine, agent);
    assert.deepEqual([code, would.deadline], [0, null]);
    assert.equal(await machine.segmentsSeen(), 0);
    // That counts what is asked, if anything is.
    await getInside(machine, `http://${METADATA_ADDRESS}/latest/meta-data/`);
    assert.ok((await machine.segmentsSeen()) > 0);
  });
});

/** Whether any process lives in it. */
function isInUse(namespace: string): boolean {
  const kind = namespace.slice(0, namespace.indexOf(':'));
  return fs.readdirSync('/proc').some((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      return fs.readlinkSync(`/proc/${name}/ns/${kind}`) === namespace;
    } catch {
      return false;
    }
  });
}
