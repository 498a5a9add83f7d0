/** Which sources are driven as a machine shows its signs, loses them, and is told where its features are. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, describe, it } from 'node:test';
import pino from 'pino';
import { type Channels, type ChannelsOptions, openChannels } from '../agent/channels.ts';
import { systemClock } from '../agent/clock.ts';
import type { Config } from '../agent/config/types.ts';
import { loadConfig } from '../agent/config.ts';
import { initialState } from '../agent/lifetime/state.ts';
import { step } from '../agent/lifetime/step.ts';
import type { Observation, SourceInfo } from '../agent/lifetime/types.ts';
import { type OpennebulaHost, startOpennebulaHost } from './hosts/opennebula.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function machine(files: Readonly<Record<string, string>> = {}): string {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-channels-'));
  cleanups.push(() => fs.rmSync(root, { recursive: true }));
  for (const [name, text] of Object.entries(files)) write(root, name, text);
  return root;
}

function write(root: string, name: string, text: string): void {
  fs.mkdirSync(path.dirname(path.join(root, name)), { recursive: true });
  fs.writeFileSync(path.join(root, name), text);
}

async function config(): Promise<Config> {
  const loaded = await loadConfig({ env: {}, flags: {}, etcDir: '/nonexistent' });
  assert.ok(loaded.ok);
  return { ...loaded.config, source: { directory: { poll: '200ms' }, logind: { enabled: false } } };
}

function open(root: string, more: Partial<ChannelsOptions> = {}): { channels: Channels; seen: Observation[] } {
  const seen: Observation[] = [];
  const channels = openChannels({
    root,
    env: {},
    log: pino({ level: 'silent' }),
    clock: systemClock,
    runtimeDir: path.join(root, 'run/mjf-agent'),
    firstBootMs: 0,
    self: { command: process.execPath, args: [] },
    ownAddresses: [],
    pointers: {},
    without: new Set(['self']),
    emit: (observation) => seen.push(observation),
    count: () => {},
    ...more,
  });
  // Timers of the program keep no process alive.
  const alive = setInterval(() => {}, 1_000);
  cleanups.push(() => {
    clearInterval(alive);
    channels.stop();
  });
  return { channels, seen };
}

const names = (infos: readonly SourceInfo[]) => infos.map(({ name }) => name);

describe('channels', () => {
  it('a platform that spoke before is there although its sign has gone; one that never spoke is not', async () => {
    const root = machine();
    const { channels } = open(root, { known: new Set(['opennebula']) });
    assert.ok(names(channels.start(await config())).includes('opennebula'));
    const fresh = open(root);
    assert.ok(!names(fresh.channels.start(await config())).includes('opennebula'));
  });

  it('a sign that goes away while we run unmakes nothing when the configuration is read again', async () => {
    const root = machine({ 'dev/disk/by-label/CONTEXT': '' });
    const { channels } = open(root);
    assert.ok(names(channels.start(await config())).includes('opennebula'));
    fs.rmSync(path.join(root, 'dev'), { recursive: true });
    assert.ok(names(channels.start(await config())).includes('opennebula'));
  });

  it('what the configuration alone had named is not found: without its table it is gone', async () => {
    const root = machine({ 'dev/disk/by-label/CONTEXT': '' });
    const { channels } = open(root);
    const plain = await config();
    const ec2 = { ...plain, source: { ...plain.source, ec2: { base_url: 'http://127.0.0.1:1' } } };
    const infos = channels.start(ec2);
    assert.deepEqual(
      infos.filter(({ found }) => found).map(({ name }) => name),
      ['opennebula'],
    );
    assert.ok(names(infos).includes('ec2'));
    assert.ok(!names(channels.start(plain)).includes('ec2'));
  });

  for (const [sign, file] of [
    ['a label', 'dev/disk/by-label/CONTEXT'],
    ['a drive that a root helper has copied', 'run/mjf-agent-drive/CONTEXT/context.sh'],
  ] as const)
    it(`${sign} that comes late is found without anybody’s asking`, async () => {
      const root = machine();
      let tell: (infos: readonly SourceInfo[]) => void = () => {};
      const late = new Promise<readonly SourceInfo[]>((resolve) => {
        tell = resolve;
      });
      const { channels } = open(root, { onSources: (infos) => tell(infos) });
      assert.ok(!names(channels.start(await config())).includes('opennebula'));
      write(root, file, '');
      assert.ok(names(await late).includes('opennebula'));
      assert.ok(names(channels.infos()).includes('directory'), 'all others go on');
    });

  it('a place that the metadata names late does not stand in for what the host has mounted', async () => {
    const at = String(Math.floor(Date.now() / 1000) + 3600);
    const root = machine({
      'etc/machinefeatures/shutdowntime': at,
      'etc/machinefeatures/total_cpu': '8',
      'pointed/hs06': '9',
    });
    const now = { wall: Date.now(), mono: performance.now() };
    let state = initialState(0, 0);
    const answers: (() => void)[] = [];
    const { channels } = open(root, {
      emit(observation) {
        state = step(state, { type: 'observation', observation }, { wall: Date.now(), mono: performance.now() }).state;
        for (const done of answers.splice(0)) done();
      },
    });
    const answered = () => new Promise<void>((done) => answers.push(done));
    const configure = (sources: readonly SourceInfo[]) => {
      state = step(state, { type: 'configure', policy: state.policy, sources }, now).state;
    };
    configure(channels.start(await config()));
    await answered();
    configure(channels.follow({ machinefeatures: path.join(root, 'pointed') }));
    for (let times = 0; times < 5; times += 1) await answered();
    const { snapshot } = step(state, { type: 'tick' }, { wall: Date.now(), mono: performance.now() + 10_000 });
    assert.equal(snapshot.deadlineMs, Number(at) * 1000);
    assert.equal(snapshot.machine['hs06'], undefined);
  });

  it('from a place that only the metadata names, known names pass and others do not (S2.2)', async () => {
    const root = machine({ 'pointed/total_cpu': '8', 'pointed/token': 's3cr3t', 'pointed/password': 'x' });
    let tell: (observation: Observation) => void = () => {};
    const answer = new Promise<Observation>((resolve) => {
      tell = resolve;
    });
    const { channels } = open(root, {
      pointers: { machinefeatures: path.join(root, 'pointed') },
      emit: (observation) => observation.outcome === 'answer' && tell(observation),
    });
    const sources = channels.start(await config());
    const at = { wall: Date.now(), mono: performance.now() };
    const first = step(initialState(0, 0), { type: 'configure', policy: initialState(0, 0).policy, sources }, at);
    const { snapshot } = step(first.state, { type: 'observation', observation: await answer }, at);
    assert.deepEqual(Object.keys(snapshot.machine), ['total_cpu']);
  });
});

describe('channels: the way back to the host', () => {
  const SIGNAL = new AbortController().signal;
  const NO_CHANNEL = { code: 'no_channel', final: false };

  async function oneGate(root: string): Promise<OpennebulaHost> {
    const host = await startOpennebulaHost();
    cleanups.push(() => host.close());
    host.writeContext(path.join(root, 'context'));
    return host;
  }

  async function withGate(root: string, host: OpennebulaHost, timeout = '2s'): Promise<Config> {
    const { source, ...rest } = await config();
    const opennebula = { context: path.join(root, 'context'), base_url: host.url, poll: '1h', timeout };
    return { ...rest, source: { ...source, opennebula } };
  }

  it('is that of the source which is in use, before its first answer too, and after the configuration is read again', async () => {
    const root = machine();
    const host = await oneGate(root);
    const { channels } = open(root);
    const { back } = channels;
    assert.deepEqual(await back.tell('opennebula', { can_terminate: '0' }, SIGNAL), NO_CHANNEL);
    channels.start(await withGate(root, host));
    assert.equal(await back.tell('opennebula', { can_terminate: '0' }, SIGNAL), null);
    const other = await oneGate(root);
    channels.start(await withGate(root, other));
    assert.equal(await back.tell('opennebula', { can_terminate: '1' }, SIGNAL), null);
    assert.equal(host.userTemplate()['JOBSTATUS_CAN_TERMINATE'], '0');
    assert.equal(other.userTemplate()['JOBSTATUS_CAN_TERMINATE'], '1');
    channels.start(await config());
    assert.deepEqual(await back.tell('opennebula', { can_terminate: '0' }, SIGNAL), NO_CHANNEL);
    assert.equal(other.userTemplate()['JOBSTATUS_CAN_TERMINATE'], '1');
  });

  it('a source that has no such way, or not this one, is no channel', async () => {
    const root = machine({ 'etc/machinefeatures/total_cpu': '8' });
    const host = await oneGate(root);
    const { channels } = open(root);
    channels.start(await withGate(root, host));
    assert.deepEqual(await channels.back.tell('directory', { can_terminate: '0' }, SIGNAL), NO_CHANNEL);
    assert.deepEqual(await channels.back.acknowledge('opennebula', 'lcm-state', SIGNAL), NO_CHANNEL);
    assert.deepEqual(await channels.back.tell('nobody', { can_terminate: '0' }, SIGNAL), NO_CHANNEL);
  });

  it('what is under way when the sources are made anew ends, and may be tried again', async () => {
    const root = machine();
    const host = await oneGate(root);
    const { channels } = open(root);
    const given = await withGate(root, host, '20s');
    channels.start(given);
    host.fault('/vm', { is: 'hang' });
    const seen = new Promise<void>((resolve) => {
      const look = () => (host.requests.some(({ method }) => method === 'PUT') ? resolve() : void setImmediate(look));
      look();
    });
    const said = channels.back.tell('opennebula', { can_terminate: '1' }, SIGNAL);
    await seen;
    host.fault('/vm', undefined);
    channels.start(given);
    assert.deepEqual(await said, { code: 'aborted', final: false });
    assert.equal(await channels.back.tell('opennebula', { can_terminate: '1' }, SIGNAL), null);
  });

  it('who refuses for good is told from who may think better of it', async () => {
    const root = machine();
    const host = await oneGate(root);
    const { channels } = open(root);
    channels.start(await withGate(root, host));
    for (const [status, final] of [
      [400, true],
      [403, false],
      [413, true],
      [500, false],
    ] as const) {
      host.fault('/vm', { is: 'status', status });
      const said = await channels.back.tell('opennebula', { can_terminate: '1' }, SIGNAL);
      assert.deepEqual(said, { code: `http_${status}`, final });
    }
  });
});
