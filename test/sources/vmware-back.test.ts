/** VMware's way back: `info-set guestinfo.jobstatus.KEY`. */
import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { type Source, SourceError, type TraceEntry } from '../../agent/sources/source.ts';
import { vmwareSource } from '../../agent/sources/vmware.ts';
import { createGuestInfo } from '../../agent/sources/vmware-tool.ts';
import { makeVmwareHost, type VmwareHost } from '../hosts/vmware.ts';
import { sourceEnvironment } from './environment.ts';

const hosts: VmwareHost[] = [];
const sources: Pick<Source, 'close'>[] = [];
afterEach(() => {
  for (const source of sources.splice(0)) source.close?.();
  for (const host of hosts.splice(0)) host.close();
});

function makeHost(): VmwareHost {
  const host = makeVmwareHost();
  hosts.push(host);
  return host;
}

function makeSource(host: VmwareHost, trace?: (entry: TraceEntry) => void): Source {
  const [source] = vmwareSource.create({}, sourceEnvironment({ env: { PATH: host.binDir }, ...(trace && { trace }) }));
  assert.ok(source);
  sources.push(source);
  return source;
}

/** What a process did is seen in files only. */
async function until(condition: () => boolean): Promise<void> {
  const patience = AbortSignal.timeout(20_000);
  while (!condition()) {
    patience.throwIfAborted();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const SIGNAL = new AbortController().signal;

/** Undefined: it was taken. */
async function codeOf(said: Promise<void> | undefined): Promise<string | undefined> {
  assert.ok(said);
  try {
    await said;
    return undefined;
  } catch (error) {
    if (error instanceof SourceError) return error.code;
    throw error;
  }
}
const tell = (source: Source, values: Readonly<Record<string, string | null>>, signal = SIGNAL) =>
  codeOf(source.back?.tell?.(values, signal));

describe('vmware: what the machine tells', () => {
  it('each value below guestinfo.jobstatus, as it is, blanks and quotes and all; what is taken away is blank', async () => {
    const host = makeHost();
    const entries: TraceEntry[] = [];
    const source = makeSource(host, (entry) => entries.push(entry));
    const message = `700 "checkpoint"  failed: $(id) 'x' \\ ä; *`;
    assert.equal(await tell(source, { shutdown_message: message, progress: null }), undefined);
    assert.deepEqual(host.told(), [`vmtoolsd jobstatus.shutdown_message ${message}`, 'vmtoolsd jobstatus.progress  ']);
    assert.equal(host.get('jobstatus.shutdown_message'), message);
    assert.equal(host.get('jobstatus.progress')?.trim(), '');
    assert.deepEqual(
      entries.map(({ asked, answered }) => [asked, answered]),
      [
        ['vmtoolsd info-set guestinfo.jobstatus.shutdown_message', 'taken'],
        ['vmtoolsd info-set guestinfo.jobstatus.progress', 'taken'],
      ],
    );
  });

  it('by vmware-rpctool where that is what there is', async () => {
    const host = makeHost();
    host.uninstall('vmtoolsd');
    assert.equal(await tell(makeSource(host), { can_terminate: '1' }), undefined);
    assert.deepEqual(host.told(), ['vmware-rpctool jobstatus.can_terminate 1']);
  });

  it('without a tool, or without a VMware host, there is no channel', async () => {
    const host = makeHost();
    host.mood('*', 'not-vmware');
    assert.equal(await tell(makeSource(host), { can_terminate: '1' }), 'no_channel');
    for (const tool of ['vmtoolsd', 'vmware-rpctool'] as const) host.uninstall(tool);
    assert.equal(await tell(makeSource(host), { can_terminate: '1' }), 'no_channel');
  });

  for (const mood of ['broken', 'silent'] as const)
    it(`a tool that is ${mood} has not taken it, nor is it asked for the rest; and then it is taken`, async () => {
      const host = makeHost();
      const source = makeSource(host);
      host.mood('*', mood);
      assert.equal(await tell(source, { can_terminate: '1', progress: '0.5' }), 'tool_failed');
      assert.equal(host.told().length, 1);
      assert.equal(host.get('jobstatus.can_terminate'), undefined);
      host.mood('*', undefined);
      assert.equal(await tell(source, { can_terminate: '1', progress: '0.5' }), undefined);
      assert.equal(host.get('jobstatus.can_terminate'), '1');
    });

  it('one that hangs ends with its bound or with the caller’s signal, and leaves nothing behind', async () => {
    const host = makeHost();
    host.mood('*', 'hang');
    const guestInfo = createGuestInfo({ timeoutMs: 150 }, sourceEnvironment({ env: { PATH: host.binDir } }));
    sources.push(guestInfo);
    assert.equal(await codeOf(guestInfo.set('jobstatus.can_terminate', '1', SIGNAL)), 'timeout');
    const end = new AbortController();
    const said = tell(makeSource(host), { can_terminate: '1' }, end.signal);
    await until(() => host.hanging().length > 0);
    end.abort();
    assert.equal(await said, 'aborted');
    await until(() => host.hanging().length === 0);
  });

  for (const [row, values, code] of [
    ['a name with a blank', { 'x y': '1' }, 'bad_name'],
    ['two lines', { shutdown_message: '200 a\nb' }, 'bad_value'],
    ['what a terminal obeys', { shutdown_message: '200 \u001b[2J' }, 'bad_value'],
  ] as const)
    it(`${row} is told to nobody (${code})`, async () => {
      const host = makeHost();
      assert.equal(await tell(makeSource(host), { can_terminate: '1', ...values }), code);
      assert.deepEqual(host.told(), []);
    });

  it('the tool itself is given no such value either', async () => {
    const host = makeHost();
    const guestInfo = createGuestInfo({ timeoutMs: 5_000 }, sourceEnvironment({ env: { PATH: host.binDir } }));
    assert.equal(await codeOf(guestInfo.set('jobstatus.x', 'a\u0000b', SIGNAL)), 'bad_value');
    assert.equal(await codeOf(guestInfo.set('x y', '1', SIGNAL)), 'bad_name');
    assert.deepEqual(host.told(), []);
  });

  it('its own words are never asked for, so they do not come back as the host’s', async () => {
    const host = makeHost();
    const source = makeSource(host);
    await tell(source, { shutdowntime: '1766440000', total_cpu: '8' });
    const result = await source.read({ signal: AbortSignal.timeout(30_000), fresh: true, patient: true });
    assert.ok(result.outcome === 'answer');
    const present = Object.values({ ...result.answer.machine?.keys, ...result.answer.job?.keys });
    assert.ok(present.every(({ is }) => is !== 'present'));
    assert.ok(!host.asked().some((line) => line.includes('jobstatus')));
  });
});
