/** What Alibaba's and Tencent's stand-ins must make the agent do alike: their tests differ in addresses and times alone. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import pino from 'pino';
import { systemClock } from '../../agent/clock.ts';
import type { Answer } from '../../agent/lifetime/types.ts';
import { startDriver } from '../../agent/sources/driver.ts';
import { NO_FACTS } from '../../agent/sources/facts.ts';
import { type Source, type SourceDefinition, SourceError } from '../../agent/sources/source.ts';
import type { SpotTimeConfig } from '../../agent/sources/spot-time.ts';
import type { Fault } from '../hosts/metadata-host.ts';
import type { SpotTimeHost } from '../hosts/spot-time-host.ts';
import { HOUR, history, MINUTE, payload, SECOND, START, source as sourceInfo } from '../lifetime/history.ts';
import { sourceEnvironment } from './environment.ts';

export interface Platform {
  readonly definition: SourceDefinition<SpotTimeConfig>;
  readonly spotPath: string;
  readonly instanceIdPath: string;
  readonly instanceId: string;
  /** Below the tree's root, as the stand-in's `set` takes it. */
  readonly spotText: string;
  readonly vendor: string;
  readonly cloudId: string;
  start(): Promise<SpotTimeHost>;
}

export const NO_SIGNAL = new AbortController().signal;

export function sourceOf({ definition }: Platform, config: SpotTimeConfig): Source {
  const [source] = definition.create(config, sourceEnvironment());
  assert.ok(source);
  return source;
}

export async function read(source: Source, fresh = true): Promise<Answer> {
  const result = await source.read({ signal: NO_SIGNAL, fresh });
  if (result.outcome !== 'answer') assert.fail(result.detail);
  return result.answer;
}

/** The heart of an agent whose only source this is. */
export function heartOf(source: Source) {
  const heart = history({ sources: [sourceInfo(source.name, 'platform', 5 * SECOND)] });
  return {
    heart,
    async hear(): Promise<void> {
      try {
        const { hostNowMs: _, ...answer } = await read(source);
        heart.send({ type: 'observation', observation: { source: source.name, outcome: 'answer', answer } });
      } catch (error) {
        if (!(error instanceof SourceError)) throw error;
        heart.fails(source.name, error.code);
      }
    },
  };
}

/** `cleanUp`: what is to be called after the test. */
export function describeSpotTime(platform: Platform, cleanUp: (action: () => unknown) => void): void {
  const { definition, spotPath, spotText, instanceIdPath, vendor, cloudId } = platform;
  const { name } = definition;

  async function hostAndSource(config: SpotTimeConfig = {}) {
    const host = await platform.start();
    cleanUp(() => host.close());
    const source = sourceOf(platform, { base_url: host.url, ...config });
    cleanUp(() => source.close?.());
    return { host, source, ...heartOf(source) };
  }

  describe(`${name}: detection`, () => {
    const detect = (facts: Partial<typeof NO_FACTS>) => definition.detect?.({ ...NO_FACTS, ...facts });
    it('firmware and cloud-id', () => {
      assert.match(detect({ dmi: { sys_vendor: vendor } }) ?? '', /sys_vendor/);
      assert.match(detect({ dmi: { product_name: `${vendor} X` } }) ?? '', /product_name/);
      assert.match(detect({ cloudId }) ?? '', /cloud-id/);
    });
    it('another cloud is none, and a base_url alone is enough', () => {
      assert.equal(detect({ dmi: { sys_vendor: 'QEMU', product_name: 'Cloud' }, cloudId: 'aws' }), undefined);
      assert.deepEqual(definition.explicitKeys, ['base_url']);
    });
  });

  describe(`${name}: the time of the end`, () => {
    it('is a terminate notice `spot`, whose time only moves earlier', async () => {
      const { host, source } = await hostAndSource();
      host.takeBack(START + MINUTE);
      const { notices } = await read(source);
      assert.deepEqual(notices?.byId['spot'], {
        is: 'present',
        value: { kind: 'terminate', deadlineMs: START + MINUTE, reason: 'spot terminate', onlyEarlier: true },
      });
    });

    it('404 is idle: no notice, no failure', async () => {
      const { heart, hear } = await hostAndSource();
      await hear();
      assert.deepEqual([heart.phase(), heart.noticeIds()], ['running', []]);
      assert.equal(heart.sourceState(name)?.state, 'ok');
      assert.deepEqual(heart.sourceState(name)?.faults, {});
    });

    it('reaches the payload in time', async () => {
      const { host, heart, hear } = await hostAndSource();
      heart.register(payload('job'));
      host.takeBack(START + 5 * MINUTE);
      await hear();
      assert.equal(heart.snapshot().reason, `${name}: spot terminate`);
      assert.equal(heart.machine('shutdowntime'), String((START + 5 * MINUTE) / 1000));
      heart.until(START + 5 * MINUTE);
      assert.equal(heart.sentTo('job', START + 5 * MINUTE), 'SIGTERM@-120 SIGKILL@-5');
    });

    it('1. weeks ahead it changes shutdowntime at once and stops nothing early', async () => {
      const { host, heart, hear } = await hostAndSource();
      const atMs = START + 14 * 24 * HOUR;
      heart.register(payload('job'));
      host.takeBack(atMs);
      await hear();
      assert.equal(heart.snapshot().deadlineMs, atMs);
      heart.until(atMs - 31 * MINUTE);
      assert.equal(heart.phase(), 'running');
      heart.until(atMs - 2 * MINUTE - 1);
      assert.equal(heart.sentTo('job', atMs), '');
    });

    it('5. a simulator that moves it on each question: one notice, which reaches its end', async () => {
      const { host, heart, hear } = await hostAndSource();
      host.takeBackAlwaysIn(2 * MINUTE);
      await hear();
      const [{ deadlineMs } = assert.fail('no notice')] = heart.snapshot().notices;
      assert.ok(deadlineMs !== null);
      // Of the same second may be the next one: until the text is another.
      const said = async () => (await (await fetch(host.url + spotPath)).text()).trim();
      const before = await said();
      while ((await said()) === before) await new Promise((next) => setTimeout(next, 20));
      await hear();
      assert.deepEqual(heart.noticeIds(), [`${name}/spot`]);
      assert.deepEqual([heart.snapshot().deadlineMs, heart.notice(`${name}/spot`).firstSeenMs], [deadlineMs, START]);
    });

    it('S1.6: an empty answer clears at once', async () => {
      const { host, heart, hear } = await hostAndSource();
      host.takeBack(START + HOUR);
      await hear();
      host.set(spotText, ' \n');
      await hear();
      assert.deepEqual(heart.noticeIds(), []);
    });

    it('S1.6: 404 must be said three times', async () => {
      const { host, heart, hear } = await hostAndSource();
      host.takeBack(START + HOUR);
      await hear();
      host.takeBack(undefined);
      for (const expected of [1, 1, 0]) {
        await hear();
        assert.equal(heart.noticeIds()?.length, expected);
        heart.pass(1.5 * SECOND);
      }
    });

    const rows: readonly (readonly [string, Fault, string])[] = [
      ...[400, 403, 410, 429, 500, 503].map(
        (status) => [`${status}`, { is: 'status', status }, `http_${status}`] as const,
      ),
      ['a redirect', { is: 'redirect', to: '/elsewhere' }, 'http_302'],
      ['a web page', { is: 'html' }, 'bad_time'],
      ['a word', { is: 'bytes', bytes: Buffer.from('none') }, 'bad_time'],
      ['an impossible date', { is: 'bytes', bytes: Buffer.from('2025-02-30T00:00:00Z') }, 'bad_time'],
      ['half a date', { is: 'bytes', bytes: Buffer.from('2025-12-2') }, 'bad_time'],
      ['cut short', { is: 'short-body' }, 'protocol'],
      ['a reset', { is: 'reset' }, 'reset'],
      ['no answer', { is: 'hang' }, 'timeout'],
    ];
    for (const [row, fault, code] of rows)
      it(`${row} clears nothing and invents nothing, and it recovers`, async () => {
        const { host, source, heart, hear } = await hostAndSource({ timeout: '100ms' });
        host.fault(spotPath, fault);
        await hear();
        assert.deepEqual(heart.noticeIds(), []);
        host.fault(spotPath, undefined);
        host.takeBack(START + HOUR);
        await hear();
        host.fault(spotPath, fault);
        await assert.rejects(read(source, false), { code });
        for (let poll = 0; poll < 4; poll += 1) {
          await hear();
          heart.pass(2 * SECOND);
        }
        assert.equal(heart.snapshot().deadlineMs, START + HOUR);
        host.fault(spotPath, undefined);
        host.set(spotText, '');
        await hear();
        assert.deepEqual(heart.noticeIds(), []);
        assert.equal(heart.sourceState(name)?.state, 'ok');
      });
  });

  describe(`${name}: what the machine is`, () => {
    it('the instance id is the job_id, asked once', async () => {
      const { host, heart, hear } = await hostAndSource();
      for (let poll = 0; poll < 3; poll += 1) await hear();
      assert.equal(heart.job('job_id'), platform.instanceId);
      assert.equal(host.requests.filter(({ path }) => path === instanceIdPath).length, 1);
    });

    it('where there is none, that is no fault', async () => {
      const { host, heart, hear } = await hostAndSource();
      host.set('instance-id', undefined);
      await hear();
      assert.equal(heart.job('job_id'), undefined);
      assert.deepEqual(heart.sourceState(name)?.faults, {});
    });

    it('a web page in its place is not taken, and the time does not wait for it', async () => {
      const { host, heart, hear } = await hostAndSource();
      host.fault(instanceIdPath, { is: 'html' });
      host.takeBack(START + HOUR);
      await hear();
      assert.equal(heart.job('job_id'), undefined);
      assert.deepEqual(heart.noticeIds(), [`${name}/spot`]);
      // Not taken for an answer: what is asked once is asked again after a failure.
      assert.deepEqual(heart.sourceState(name)?.faults, { 'notice/@instance-id': 'bad_value' });
    });

    it('S4.3: the clock of the host is passed on', async () => {
      const { host, source } = await hostAndSource();
      host.setClockOffset(HOUR);
      const { hostNowMs = 0 } = await read(source);
      assert.ok(Math.abs(hostNowMs - Date.now() - HOUR) < MINUTE);
    });
  });

  it(`${name}, driven: a notice arrives by itself while the instance id hangs, and after a reset`, async () => {
    const { host, source } = await hostAndSource({ poll: '200ms' });
    host.fault(instanceIdPath, { is: 'hang' });
    let heard: (atMs: number | undefined) => void = () => undefined;
    const driver = startDriver(source, {
      emit(observation) {
        if (observation.outcome !== 'answer') return;
        const spot = observation.answer.notices?.byId['spot'];
        heard(spot?.is === 'present' ? (spot.value.deadlineMs ?? undefined) : undefined);
      },
      log: pino({ level: 'silent' }),
      clock: systemClock,
      count: () => undefined,
    });
    cleanUp(() => driver.stop());
    const arrived = (wantedMs: number) =>
      new Promise<void>((resolve) => {
        heard = (atMs) => atMs === wantedMs && resolve();
      });
    await host.seen(1, spotPath);
    host.takeBack(START + HOUR);
    await arrived(START + HOUR);
    host.dropConnections();
    host.takeBack(START + MINUTE);
    await arrived(START + MINUTE);
  });
}
