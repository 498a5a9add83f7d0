import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, describe, it } from 'node:test';
import { systemClock } from '../../agent/clock.ts';
import type { FeatureReading, Observation } from '../../agent/lifetime/types.ts';
import { createSources } from '../../agent/sources/create.ts';
import { startDriver } from '../../agent/sources/driver.ts';
import { type MachineFacts, NO_FACTS } from '../../agent/sources/facts.ts';
import type { ReadResult, Source, TraceEntry } from '../../agent/sources/source.ts';
import { type VmwareConfig, vmwareSource } from '../../agent/sources/vmware.ts';
import { parseGuestDocument } from '../../agent/sources/vmware-document.ts';
import { createGuestInfo } from '../../agent/sources/vmware-tool.ts';
import { makeVmwareHost, type VmwareHost } from '../hosts/vmware.ts';
import { history, START, secs, source as sourceInfo } from '../lifetime/history.ts';
import { sourceEnvironment } from './environment.ts';

const hosts: VmwareHost[] = [];
const sources: Source[] = [];
afterEach(() => {
  for (const source of sources.splice(0)) source.close?.();
  for (const host of hosts.splice(0)) host.close();
});

function makeHost(values: Readonly<Record<string, string>> = {}): VmwareHost {
  const host = makeVmwareHost();
  hosts.push(host);
  for (const [key, value] of Object.entries(values)) host.set(key, value);
  return host;
}

function makeSource(host: VmwareHost, config: VmwareConfig = {}, trace?: (entry: TraceEntry) => void): Source {
  const [source] = vmwareSource.create(
    config,
    sourceEnvironment({ env: { PATH: host.binDir }, ...(trace && { trace }) }),
  );
  assert.ok(source);
  sources.push(source);
  return source;
}

/** Fails where it never comes, so that what is left over is still put away. */
async function until(condition: () => boolean): Promise<void> {
  const patience = AbortSignal.timeout(20_000);
  while (!condition()) {
    patience.throwIfAborted();
    await new Promise((resolve) => setImmediate(resolve));
  }
}
/** What has ended and was not waited for yet by whoever inherited it is not alive. */
function isAlive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) [ZX]/s.test(fs.readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
}

const TIMES = 6;
const read = (source: Source, fresh = false): Promise<ReadResult> =>
  source.read({ signal: AbortSignal.timeout(30_000), fresh, patient: true });

/** What is present, as `key=value`; what is not known, as `key?code`. */
function said(result: ReadResult, side: 'machine' | 'job' = 'machine'): readonly string[] {
  assert.ok(result.outcome === 'answer');
  return shown(result.answer[side]?.keys ?? {});
}
const shown = (keys: FeatureReading['keys']): readonly string[] =>
  Object.entries(keys)
    .flatMap(([key, reading]) =>
      reading.is === 'present'
        ? [`${key}=${reading.value.trim()}`]
        : reading.is === 'unknown'
          ? [`${key}?${reading.error}`]
          : reading.is === 'negative'
            ? [`${key}!`]
            : [],
    )
    .sort();

describe('single keys', () => {
  it('known keys of both sides, the site’s own and the pointers are found; all others are not asked for', async () => {
    const host = makeHost({
      shutdowntime: '1766440000',
      total_cpu: '8',
      job_id: 'vm-17',
      termination_allowed: '1',
      mjf_rack: 'R12',
      userdata: 'secret',
      machinefeatures: 'http://192.0.2.1/machinefeatures/',
    });
    const result = await read(makeSource(host, { keys: ['mjf_rack'] }));
    assert.deepEqual(said(result), ['mjf_rack=R12', 'shutdowntime=1766440000', 'termination_allowed=1', 'total_cpu=8']);
    assert.deepEqual(said(result, 'job'), ['job_id=vm-17', 'termination_allowed=1']);
    assert.ok(result.outcome === 'answer');
    assert.deepEqual(result.answer.pointers, { machinefeatures: 'http://192.0.2.1/machinefeatures' });
    const asked = host.asked();
    assert.equal(new Set(asked).size, asked.length, 'no key is asked for twice');
    assert.ok(asked.every((line) => line.startsWith('vmtoolsd ')));
    assert.ok(!asked.some((line) => line.includes('userdata')));
  });

  it('a reading after the first asks for the times alone: each question is a process', async () => {
    const host = makeHost({ total_cpu: '8' });
    const source = makeSource(host);
    const first = await read(source);
    assert.ok(host.asked().length > 20);
    host.set('shutdowntime', '1766440000');
    assert.deepEqual(said(await read(source)), ['shutdowntime=1766440000']);
    assert.deepEqual(host.asked().length, 1 + TIMES);
    assert.deepEqual(said(first), ['total_cpu=8']);
  });

  it('never more than three tools run at once', async () => {
    const host = makeHost();
    const tool = createGuestInfo({ timeoutMs: 500 }, sourceEnvironment({ env: { PATH: host.binDir } }));
    host.mood('*', 'hang');
    const { signal } = new AbortController();
    const all = Array.from({ length: 7 }, (_, i) => tool.get(`key${i}`, signal));
    await Promise.race(all.map((each) => each.catch(() => undefined)));
    const asked = host.asked();
    assert.ok(asked.length >= 1 && asked.length <= 3, asked.join());
    tool.close();
    await Promise.allSettled(all);
  });

  it('a key that is gone is absent, not unknown', async () => {
    const host = makeHost({ shutdowntime: '1766440000' });
    const source = makeSource(host);
    await read(source);
    host.set('shutdowntime', undefined);
    const result = await read(source);
    assert.ok(result.outcome === 'answer');
    assert.deepEqual(result.answer.machine?.keys['shutdowntime'], { is: 'absent' });
  });

  for (const [mood, expected] of [
    ['silent', { is: 'absent' }],
    ['empty', { is: 'absent' }],
    ['broken', { is: 'unknown', error: 'tool_failed' }],
    ['bytes', { is: 'unknown', error: 'not_text' }],
    ['flood', { is: 'unknown', error: 'too_long' }],
  ] as const)
    it(`a tool that is ${mood} for one key: ${expected.is}, and well again afterwards`, async () => {
      const host = makeHost({ shutdowntime: '1766440000', grace_secs: '120' });
      const source = makeSource(host);
      host.mood('shutdowntime', mood);
      const bad = await read(source);
      assert.ok(bad.outcome === 'answer');
      assert.deepEqual(bad.answer.machine?.keys['shutdowntime'], expected);
      // A bad value says nothing of the tool.
      if (mood !== 'broken') assert.equal(bad.answer.machine?.keys['grace_secs']?.is, 'present');
      host.mood('shutdowntime', undefined);
      assert.deepEqual(said(await read(source)), ['grace_secs=120', 'shutdowntime=1766440000']);
    });
});

describe('the tools', () => {
  it('vmware-rpctool is asked where there is no vmtoolsd', async () => {
    const host = makeHost({ shutdowntime: '1766440000' });
    host.uninstall('vmtoolsd');
    assert.deepEqual(said(await read(makeSource(host))), ['shutdowntime=1766440000']);
    assert.ok(host.asked().every((line) => line.startsWith('vmware-rpctool ')));
  });

  it('none installed: no channel, and what to install', async () => {
    const host = makeHost();
    host.uninstall('vmtoolsd');
    host.uninstall('vmware-rpctool');
    const result = await read(makeSource(host));
    assert.ok(result.outcome === 'no_channel');
    assert.match(result.detail, /neither vmtoolsd nor vmware-rpctool .*open-vm-tools/);
  });

  it('a configured command is used, and failing where it is missing', async () => {
    const host = makeHost({ total_cpu: '8' });
    const environment = sourceEnvironment({ env: { PATH: '/nonexistent' } });
    const make = (command: string): Source => {
      const [source] = vmwareSource.create({ command }, environment);
      assert.ok(source);
      sources.push(source);
      return source;
    };
    await assert.rejects(read(make(path.join(host.binDir, 'nothing'))), { code: 'tool_failed', message: /not_found/ });
    // The stand-in's own tools are found by its PATH alone.
    const [source] = vmwareSource.create({ command: host.vmtoolsd }, sourceEnvironment());
    assert.ok(source);
    sources.push(source);
    assert.deepEqual(said(await read(source)), ['total_cpu=8']);
  });

  it('not below VMware: no channel', async () => {
    const host = makeHost();
    host.mood('*', 'not-vmware');
    const result = await read(makeSource(host));
    assert.ok(result.outcome === 'no_channel');
    assert.match(result.detail, /no virtual machine of VMware/);
  });

  it('a tool that fails for all is a failure of the source with its own words, without control characters', async () => {
    const host = makeHost();
    host.mood('*', 'broken');
    await assert.rejects(read(makeSource(host)), {
      code: 'tool_failed',
      message: /exit code 1: Failed sending message/,
    });
  });

  it('a tool that hangs is killed when its time is over, and its place is free again', async () => {
    const host = makeHost({ one: '1' });
    const tool = createGuestInfo({ timeoutMs: 300 }, sourceEnvironment({ env: { PATH: host.binDir } }));
    host.mood('*', 'hang');
    const { signal } = new AbortController();
    const all = await Promise.allSettled(['a', 'b', 'c', 'd'].map((name) => tool.get(name, signal)));
    for (const each of all) assert.equal(each.status === 'rejected' && each.reason.code, 'timeout');
    host.mood('*', undefined);
    assert.equal((await tool.get('one', signal))?.trim(), '1');
    assert.deepEqual(host.hanging(), []);
    tool.close();
  });

  it('what a wrapper has started ends with it: when its time is over, when nobody wants it any more, and at close', async () => {
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-wrapper-'));
    const pids = path.join(directory, 'pids');
    const started = (): readonly number[] =>
      fs.existsSync(pids) ? fs.readFileSync(pids, 'utf8').trim().split('\n').map(Number) : [];
    const wrapper = path.join(directory, 'vmtoolsd');
    // The shell waits for a child of its own, as most wrappers do; it writes down both.
    fs.writeFileSync(wrapper, `#!/bin/sh\nsleep 54321 &\necho $! >>${pids}\necho $$ >>${pids}\nwait\n`, {
      mode: 0o755,
    });
    try {
      for (const [end, code] of [
        ['timeout', 'timeout'],
        ['abort', 'aborted'],
        ['close', 'aborted'],
      ] as const) {
        fs.rmSync(pids, { force: true });
        const timeoutMs = end === 'timeout' ? 500 : 30_000;
        const tool = createGuestInfo({ timeoutMs, command: wrapper }, sourceEnvironment({ env: process.env }));
        const abort = new AbortController();
        const answer = assert.rejects(tool.get('a', abort.signal), { code });
        await until(() => started().length === 2);
        if (end === 'abort') abort.abort();
        if (end === 'close') tool.close();
        await answer;
        await until(() => !started().some(isAlive));
        tool.close();
      }
    } finally {
      for (const pid of started()) if (isAlive(pid)) process.kill(pid, 'SIGKILL');
      fs.rmSync(directory, { recursive: true });
    }
  });

  it('a wrapper that leaves something behind that holds its pipes: that ends too', async () => {
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-wrapper-'));
    const pids = path.join(directory, 'pids');
    const wrapper = path.join(directory, 'vmtoolsd');
    fs.writeFileSync(wrapper, `#!/bin/sh\nsleep 54321 &\necho $! >${pids}\n`, { mode: 0o755 });
    const tool = createGuestInfo({ timeoutMs: 500, command: wrapper }, sourceEnvironment({ env: process.env }));
    let pid = 0;
    try {
      await assert.rejects(tool.get('a', new AbortController().signal), { code: 'timeout' });
      pid = Number(fs.readFileSync(pids, 'utf8'));
      await until(() => !isAlive(pid));
    } finally {
      if (pid > 0 && isAlive(pid)) process.kill(pid, 'SIGKILL');
      tool.close();
      fs.rmSync(directory, { recursive: true });
    }
  });

  it('a reading ends at once when it is aborted, and the tools with it', async () => {
    const host = makeHost();
    host.mood('*', 'hang');
    const abort = new AbortController();
    const reading = makeSource(host).read({ signal: abort.signal, fresh: false });
    while (host.hanging().length === 0) await new Promise((resolve) => setImmediate(resolve));
    abort.abort();
    await assert.rejects(reading);
    while (host.hanging().length > 0) await new Promise((resolve) => setImmediate(resolve));
  });

  it('what is not asked for any more is not started', async () => {
    const host = makeHost();
    const tool = createGuestInfo({ timeoutMs: 5000 }, sourceEnvironment({ env: { PATH: host.binDir } }));
    await assert.rejects(tool.get('a', AbortSignal.abort()), { code: 'aborted' });
    await assert.rejects(tool.get('a b', new AbortController().signal), { code: 'bad_name' });
    assert.deepEqual(host.asked(), []);
    tool.close();
  });

  it('probe hears of each question, without the value', async () => {
    const entries: TraceEntry[] = [];
    const host = makeHost({ shutdowntime: '1766440000' });
    await read(makeSource(host, {}, (entry) => entries.push(entry)));
    const found = entries.filter(({ answered }) => answered === 'present');
    assert.deepEqual(
      found.map(({ source, asked }) => [source, asked]),
      [['vmware', 'vmtoolsd info-get guestinfo.shutdowntime']],
    );
    assert.ok(!JSON.stringify(entries).includes('1766440000'));
  });
});

describe('guestinfo.mjf', () => {
  const parsed = (text: string) => {
    const { keys, pointers } = parseGuestDocument(text);
    return { machine: shown(keys.machine), job: shown(keys.job), pointers };
  };
  for (const [name, text, machine, job, pointers] of [
    ['JSON, flat', '{"shutdowntime":1766440000,"job_id":"a"}', ['shutdowntime=1766440000'], ['job_id=a'], {}],
    [
      'JSON by side, unknown names of the site’s own as if prefixed',
      '{"machinefeatures":{"total_cpu":8,"rack":"R1"},"jobfeatures":{"room":"x"}}',
      ['mjf_rack=R1', 'total_cpu=8'],
      ['mjf_room=x'],
      {},
    ],
    [
      'JSON with pointers',
      '{"machinefeatures":"http://h/m","joboutputs":"/o"}',
      [],
      [],
      { machinefeatures: 'http://h/m', joboutputs: '/o' },
    ],
    ['null says that there is none', '{"shutdowntime":null,"rack":"R1"}', ['mjf_rack=R1', 'shutdowntime!'], [], {}],
    [
      'a value that is none is a fault of its key',
      '{"total_cpu":[8],"hs06":1.5}',
      ['hs06=1.5', 'total_cpu?not_text'],
      [],
      {},
    ],
    [
      'lines, with comments, sides and values that hold "="',
      '# ours\r\nshutdowntime = 1766440000\r\njobfeatures/room=a=b\nmjf_rack=R1\n\n',
      ['mjf_rack=R1', 'shutdowntime=1766440000'],
      ['mjf_room=a=b'],
      {},
    ],
    ['an empty object', '{}', [], [], {}],
    [
      'names that every object inherits',
      '{"__proto__":"x","constructor":"y"}',
      ['mjf___proto__=x', 'mjf_constructor=y'],
      [],
      {},
    ],
  ] as const)
    it(name, () => assert.deepEqual(parsed(text), { machine, job, pointers }));

  for (const [text, code] of [
    ['{"shutdowntime":1766', 'bad_json'],
    ['<html><body>', 'bad_lines'],
    ['shutdowntime=1\nrubbish', 'bad_lines'],
  ] as const)
    it(`${text} is refused`, () => assert.throws(() => parseGuestDocument(text), { code }));

  it('with it one question a reading is enough', async () => {
    const host = makeHost({ mjf: '{"shutdowntime":1766440000,"total_cpu":8}' });
    const source = makeSource(host);
    assert.deepEqual(said(await read(source)), ['shutdowntime=1766440000', 'total_cpu=8']);
    host.asked();
    host.set('mjf', '{"shutdowntime":1766430000,"total_cpu":8}');
    assert.deepEqual(said(await read(source)), ['shutdowntime=1766430000', 'total_cpu=8']);
    assert.deepEqual(host.asked(), ['vmtoolsd mjf']);
  });

  it('what it lacks but a single key has is present, whoever was asked last; of two times the earlier counts', async () => {
    const host = makeHost({
      mjf: '{"shutdowntime":1766440000}',
      total_cpu: '8',
      grace_secs: '60',
      shutdowntime: '1766430000',
    });
    const source = makeSource(host);
    for (const fresh of [false, true, false])
      assert.ok(said(await read(source, fresh)).includes('shutdowntime=1766430000'), `fresh: ${fresh}`);
    host.set('mjf', undefined);
    assert.deepEqual(said(await read(source, true)), ['grace_secs=60', 'shutdowntime=1766430000', 'total_cpu=8']);
  });

  it('what went away while the agent was down is absent, also where it is a name that nobody would ask for', async () => {
    const heart = history({ sources: [sourceInfo('vmware', 'platform', 10_000)] });
    const host = makeHost({ mjf: `{"rack":"R1","shutdowntime":${secs(START + 7_200_000)}}` });
    const tell = async (source: Source, fresh = false): Promise<void> =>
      heart.send({ type: 'observation', observation: { source: 'vmware', ...(await read(source, fresh)) } });
    await tell(makeSource(host));
    assert.equal(heart.machine('rack'), 'R1');
    heart.restart();
    const source = makeSource(host);
    host.set('mjf', '{"rack":');
    for (let i = 0; i < 4; i += 1) {
      await tell(source, true);
      heart.pass(2_000);
    }
    assert.equal(heart.machine('rack'), 'R1', 'a damaged document clears nothing');
    assert.equal(heart.snapshot().deadlineMs, START + 7_200_000);
    host.set('mjf', undefined);
    for (let i = 0; i < 3; i += 1) {
      heart.pass(2_000);
      await tell(source, true);
    }
    assert.deepEqual([heart.machine('rack'), heart.snapshot().deadlineMs], [undefined, null]);
  });

  it('a document that is damaged leaves its keys unknown and the single keys sound; then it is well again', async () => {
    const host = makeHost({ mjf: '{"shutdowntime":1766440000,"rack":"R1"}', grace_secs: '60' });
    const source = makeSource(host);
    await read(source);
    host.set('mjf', '{"shutdowntime":17');
    const bad = await read(source, true);
    assert.ok(said(bad).includes('grace_secs=60'));
    for (const key of ['mjf_rack', 'shutdowntime', 'total_cpu'])
      assert.ok(said(bad).includes(`${key}?bad_json`), `${key} may stand in it`);
    host.set('mjf', '{"shutdowntime":1766440000}');
    const good = await read(source);
    assert.ok(good.outcome === 'answer');
    assert.deepEqual(good.answer.machine?.keys['mjf_rack'], { is: 'absent' });
    assert.deepEqual(said(good), ['shutdowntime=1766440000']);
  });
});

describe('detection', () => {
  const facts = (dmi: MachineFacts['dmi']): MachineFacts => ({ ...NO_FACTS, dmi });
  it('by vendor or product', () => {
    assert.match(vmwareSource.detect?.(facts({ sys_vendor: 'VMware, Inc.' })) ?? '', /sys_vendor/);
    assert.match(vmwareSource.detect?.(facts({ product_name: 'VMware20,1' })) ?? '', /product_name/);
    assert.equal(vmwareSource.detect?.(facts({ sys_vendor: 'QEMU', product_name: 'Standard PC' })), undefined);
  });
  it('a configured command speaks for itself; elsewhere there is no source', () => {
    const made = (table: Readonly<Record<string, unknown>>) =>
      createSources({ sources: 'auto', source: { vmware: table } }, sourceEnvironment(), {
        only: ({ name }) => name === 'vmware',
      });
    assert.equal(made({}).length, 0);
    const [source] = made({ command: '/usr/bin/vmtoolsd' });
    assert.deepEqual([source?.rank, source?.poll], ['platform', 10_000]);
  });
});

it('through the driver and the heart: a deadline is published, outlives a broken tool, and goes with its key', async () => {
  const host = makeHost({ shutdowntime: secs(START + 7_200_000), mjf_rack: 'R1', userdata: 'secret' });
  const heart = history({ sources: [sourceInfo('vmware', 'platform', 10_000)] });
  let heard: (observation: Observation) => void = () => undefined;
  const source = makeSource(host, { keys: ['mjf_rack'] });
  const driver = startDriver(source, {
    emit: (observation) => heard(observation),
    log: sourceEnvironment().log,
    clock: systemClock,
    count: () => undefined,
  });
  const next = async (): Promise<void> => {
    const observation = await new Promise<Observation>((resolve) => {
      heard = resolve;
    });
    heart.send({ type: 'observation', observation });
  };
  try {
    // Slow parts hand over by themselves.
    while (heart.machine('rack') === undefined || heart.machine('shutdowntime') === undefined) await next();
    assert.equal(heart.snapshot().deadlineMs, START + 7_200_000);
    assert.equal(heart.machine('rack'), 'R1');
    assert.equal(heart.machine('userdata'), undefined);
    host.mood('*', 'broken');
    void driver.pollNow();
    await next();
    assert.equal(heart.sourceState('vmware')?.state, 'failed');
    assert.equal(heart.snapshot().deadlineMs, START + 7_200_000);
    host.mood('*', undefined);
    host.set('shutdowntime', undefined);
    for (let i = 0; heart.snapshot().deadlineMs !== null; i += 1) {
      assert.ok(i < 12, 'never cleared');
      void driver.pollNow();
      await next();
      heart.pass(1_500);
    }
  } finally {
    driver.stop();
  }
});
