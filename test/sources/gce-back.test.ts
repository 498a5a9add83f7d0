/** GCE's way back: guest attributes. */
import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { type GceConfig, gceSource } from '../../agent/sources/gce.ts';
import { type Source, SourceError } from '../../agent/sources/source.ts';
import { type GceHost, type GceHostOptions, startGceHost } from '../hosts/gce.ts';
import { sourceEnvironment } from './environment.ts';

const PLACE = '/computeMetadata/v1/instance/guest-attributes/jobstatus/';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function hostOf(options: GceHostOptions = {}): Promise<GceHost> {
  const host = await startGceHost(options);
  cleanups.push(() => host.close());
  return host;
}

function sourceOn(host: Pick<GceHost, 'url'>, config: GceConfig = {}): Source {
  const [made] = gceSource.create({ base_url: host.url, ...config }, sourceEnvironment());
  assert.ok(made);
  cleanups.push(() => made.close?.());
  return made;
}

const SIGNAL = new AbortController().signal;
type Values = Readonly<Record<string, string | null>>;

/** Undefined: it was taken. */
async function tell(source: Source, values: Values, signal = SIGNAL): Promise<string | undefined> {
  try {
    await source.back?.tell?.(values, signal);
    return undefined;
  } catch (error) {
    if (error instanceof SourceError) return error.code;
    throw error;
  }
}

describe('gce: what the machine tells', () => {
  it('each value is a guest attribute in the namespace jobstatus; null takes it away', async () => {
    const host = await hostOf();
    const source = sourceOn(host);
    assert.equal(await tell(source, { can_terminate: '0', progress: '0.25' }), undefined);
    assert.deepEqual(host.told(), { 'jobstatus/can_terminate': '0', 'jobstatus/progress': '0.25' });
    assert.ok(host.requests.every(({ headers }) => headers['metadata-flavor'] === 'Google'));
    assert.ok(host.requests.every(({ headers }) => headers['content-type'] === 'text/plain'));
    assert.equal(await tell(source, { can_terminate: '1', progress: null }), undefined);
    assert.deepEqual(host.told(), { 'jobstatus/can_terminate': '1' });
  });

  it('what was never there can be taken away; said twice it stands once', async () => {
    const host = await hostOf();
    const source = sourceOn(host);
    for (let times = 0; times < 2; times += 1)
      assert.equal(await tell(source, { shutdown_message: '200 done: 3 “jobs”', progress: null }), undefined);
    assert.deepEqual(host.told(), { 'jobstatus/shutdown_message': '200 done: 3 “jobs”' });
  });

  for (const status of [403, 404] as const)
    it(`guest attributes that are switched off (${status}) are no channel; switched on they are one`, async () => {
      const host = await hostOf({ guestAttributes: status });
      const source = sourceOn(host);
      assert.equal(await tell(source, { can_terminate: '1', progress: null }), 'no_channel');
      host.guestAttributes('on');
      assert.equal(await tell(source, { can_terminate: '1', progress: null }), undefined);
    });

  for (const [row, fault, code] of [
    ['too many', { is: 'status', status: 429 }, 'http_429'],
    ['maintenance', { is: 'status', status: 503 }, 'http_503'],
    ['a broken connection', { is: 'reset' }, 'reset'],
    ['no answer', { is: 'hang' }, 'timeout'],
  ] as const)
    it(`${row} for one value is ${code} for all, none of which is left out; and then it is taken`, async () => {
      const host = await hostOf();
      const source = sourceOn(host, { timeout: '150ms' });
      host.fault(`${PLACE}can_terminate`, fault, 1);
      assert.equal(await tell(source, { can_terminate: '1', phase: 'running' }), code);
      assert.deepEqual(host.told(), { 'jobstatus/phase': 'running' });
      assert.equal(await tell(source, { can_terminate: '1', phase: 'running' }), undefined);
      assert.deepEqual(host.told(), { 'jobstatus/can_terminate': '1', 'jobstatus/phase': 'running' });
    });

  it('the caller’s signal ends it', async () => {
    const host = await hostOf();
    host.fault(`${PLACE}*`, { is: 'hang' });
    const end = new AbortController();
    const seen = host.seen(2);
    const said = tell(sourceOn(host), { can_terminate: '1', progress: '0.5' }, end.signal);
    await seen;
    end.abort();
    assert.equal(await said, 'aborted');
  });

  for (const [row, values, code] of [
    ['a path', { '../attributes/shutdowntime': '1' }, 'bad_name'],
    ['two lines', { shutdown_message: '200 a\nb' }, 'bad_value'],
    ['what a terminal obeys', { shutdown_message: '200 \u001b[2J' }, 'bad_value'],
    ['a separator of lines', { shutdown_message: '200 a\u2028b' }, 'bad_value'],
    ['a book', { shutdown_message: 'x'.repeat(20_000) }, 'bad_value'],
  ] as const)
    it(`${row} is told to nobody (${code}), nor anything beside it`, async () => {
      const host = await hostOf();
      assert.equal(await tell(sourceOn(host), { can_terminate: '1', ...values }), code);
      assert.deepEqual(host.requests, []);
    });

  it('its own words do not come back as the host’s', async () => {
    const host = await hostOf();
    const source = sourceOn(host);
    const read = async () => {
      const result = await source.read({ signal: SIGNAL, fresh: true, patient: true });
      assert.ok(result.outcome === 'answer');
      return [Object.keys(result.answer.machine?.keys ?? {}), Object.keys(result.answer.job?.keys ?? {})];
    };
    const before = await read();
    await tell(source, { shutdowntime: '1766440000', total_cpu: '8', mjf_x: '1', can_terminate: '1' });
    assert.deepEqual(await read(), before);
    host.attribute('total_cpu', '8');
    assert.notDeepEqual(await read(), before);
  });
});
