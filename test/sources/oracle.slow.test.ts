import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import type { Answer } from '../../agent/lifetime/types.ts';
import { NO_FACTS } from '../../agent/sources/facts.ts';
import { type OracleConfig, oracleSource } from '../../agent/sources/oracle.ts';
import { SourceError } from '../../agent/sources/source.ts';
import type { Fault } from '../hosts/metadata-host.ts';
import { INSTANCE_ID, INSTANCE_PATH, startOracleHost } from '../hosts/oracle.ts';
import { HOUR, history, MINUTE, payload, SECOND, START, source as sourceInfo } from '../lifetime/history.ts';
import { sourceEnvironment } from './environment.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const SECS = String((START + HOUR) / 1000);

async function start(config: OracleConfig = {}) {
  const host = await startOracleHost();
  cleanups.push(() => host.close());
  const [source = assert.fail('no source')] = oracleSource.create(
    { base_url: host.url, ...config },
    sourceEnvironment(),
  );
  cleanups.push(() => source.close?.());
  const heart = history({ sources: [sourceInfo('oracle', 'platform', 30 * SECOND)] });
  async function read(): Promise<Answer> {
    const result = await source.read({ signal: new AbortController().signal, fresh: true });
    if (result.outcome !== 'answer') assert.fail(result.detail);
    return result.answer;
  }
  async function hear(): Promise<void> {
    try {
      const { hostNowMs: _, ...answer } = await read();
      heart.send({ type: 'observation', observation: { source: 'oracle', outcome: 'answer', answer } });
    } catch (error) {
      if (!(error instanceof SourceError)) throw error;
      heart.fails('oracle', error.code);
    }
  }
  return { host, heart, hear, read };
}

describe('oracle: detection', () => {
  it('by the asset tag of the chassis, else by cloud-init', () => {
    assert.match(oracleSource.detect?.({ ...NO_FACTS, dmi: { chassis_asset_tag: 'OracleCloud.com' } }) ?? '', /asset/);
    assert.match(oracleSource.detect?.({ ...NO_FACTS, cloudId: 'oracle' }) ?? '', /cloud-id/);
  });
  it('a machine of the same vendor that is no cloud is none', () => {
    const dmi = { sys_vendor: 'Oracle Corporation', product_name: 'VirtualBox', chassis_asset_tag: 'None' };
    assert.equal(oracleSource.detect?.({ ...NO_FACTS, dmi, cloudId: 'openstack' }), undefined);
  });
});

describe('oracle: keys', () => {
  it('a tag shutdowntime reaches the payload in time', async () => {
    const { host, heart, hear } = await start();
    heart.register(payload('job'));
    host.tag('shutdowntime', SECS);
    await hear();
    assert.equal(heart.machine('shutdowntime'), SECS);
    heart.until(START + HOUR);
    assert.equal(heart.sentTo('job', START + HOUR), 'SIGTERM@-120 SIGKILL@-5');
  });

  it('the free-form tag wins over the metadata, and that over a defined tag', async () => {
    const { host, heart, hear } = await start();
    host.definedTag('Site', 'hs06', '10');
    host.definedTag('Site', 'total_cpu', '1');
    host.definedTag('Site', 'mjf_rack', 'r7');
    host.meta('hs06', '20');
    host.meta('total_cpu', '2');
    host.tag('hs06', '30');
    await hear();
    assert.deepEqual([heart.machine('hs06'), heart.machine('total_cpu'), heart.machine('rack')], ['30', '2', 'r7']);
  });

  it('what is not ours goes nowhere: SSH keys, user data, other tags', async () => {
    const { read } = await start();
    const { machine, job } = await read();
    assert.deepEqual([Object.keys(machine?.keys ?? {}), Object.keys(job?.keys ?? {})], [[], []]);
  });

  it('pointers are passed on, and the id of the instance is the job_id', async () => {
    const { host, heart, hear, read } = await start();
    host.meta('machinefeatures', 'http://192.0.2.1/mjf/machinefeatures/');
    assert.equal((await read()).pointers?.machinefeatures, 'http://192.0.2.1/mjf/machinefeatures');
    await hear();
    assert.equal(heart.job('job_id'), INSTANCE_ID);
  });

  it('S1.6: a tag that is taken away must be missing three times', async () => {
    const { host, heart, hear } = await start();
    host.tag('shutdowntime', SECS);
    await hear();
    host.tag('shutdowntime', undefined);
    for (const there of [true, true, false]) {
      await hear();
      assert.equal(heart.snapshot().deadlineMs !== null, there);
      heart.pass(1.5 * SECOND);
    }
  });

  it('asks one document, with the header, each time', async () => {
    const { host, hear } = await start();
    await hear();
    await hear();
    assert.deepEqual(
      host.requests.map(({ method, path, headers }) => [method, path, headers.authorization]),
      Array(2).fill(['GET', INSTANCE_PATH, 'Bearer Oracle']),
    );
  });

  it('S4.3: the clock of the host is passed on', async () => {
    const { host, read } = await start();
    host.setClockOffset(HOUR);
    const { hostNowMs = 0 } = await read();
    assert.ok(Math.abs(hostNowMs - Date.now() - HOUR) < MINUTE);
  });
});

describe('oracle: what is no answer clears nothing, and it recovers', () => {
  const text = (words: string): Fault => ({ is: 'bytes', bytes: Buffer.from(words) });
  const rows: readonly (readonly [string, Fault, string])[] = [
    ...[401, 403, 404, 429, 500, 503].map(
      (status) => [`${status}`, { is: 'status', status }, `http_${status}`] as const,
    ),
    ['a redirect', { is: 'redirect', to: '/elsewhere' }, 'http_302'],
    ['a web page', { is: 'html' }, 'bad_json'],
    ['a list', text('[]'), 'bad_document'],
    ['a document without an id', text('{"freeformTags":{}}'), 'bad_document'],
    ['tags that are a text', text('{"id":"x","freeformTags":"none"}'), 'bad_document'],
    ['cut short', { is: 'short-body' }, 'protocol'],
    ['a reset', { is: 'reset' }, 'reset'],
    ['no answer', { is: 'hang' }, 'timeout'],
  ];
  for (const [row, fault, code] of rows)
    it(row, async () => {
      const { host, heart, hear, read } = await start({ timeout: '100ms' });
      host.tag('shutdowntime', SECS);
      await hear();
      host.tag('shutdowntime', undefined);
      host.fault(INSTANCE_PATH, fault);
      await assert.rejects(read(), { code });
      for (let poll = 0; poll < 4; poll += 1) {
        await hear();
        heart.pass(2 * SECOND);
      }
      assert.equal(heart.snapshot().deadlineMs, START + HOUR);
      host.fault(INSTANCE_PATH, undefined);
      for (let poll = 0; poll < 3; poll += 1) {
        await hear();
        heart.pass(1.5 * SECOND);
      }
      assert.equal(heart.snapshot().deadlineMs, null);
      assert.equal(heart.sourceState('oracle')?.state, 'ok');
    });
});
