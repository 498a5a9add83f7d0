import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { tencentSource } from '../../agent/sources/tencent.ts';
import { CHARGE_TYPE_PATH, INSTANCE_ID_PATH, SPOT_PATH, startTencentHost } from '../hosts/tencent.ts';
import { describeSpotTime, heartOf, type Platform, read, sourceOf } from './spot-time-story.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const TENCENT: Platform = {
  definition: tencentSource,
  spotPath: SPOT_PATH,
  spotText: 'spot/termination-time',
  instanceIdPath: INSTANCE_ID_PATH,
  instanceId: 'ins-3g445roi',
  vendor: 'Tencent Cloud',
  cloudId: 'tencentcloud',
  start: () => startTencentHost(),
};

describeSpotTime(TENCENT, (action) => cleanups.push(action));

describe('tencent: times', () => {
  for (const [text, expected] of [
    ['2018-08-18 12:05:33', Date.UTC(2018, 7, 18, 4, 5, 33)],
    ['2019-01-01 07:59:59\n', Date.UTC(2018, 11, 31, 23, 59, 59)],
    ['2018-08-18T12:05:33Z', Date.UTC(2018, 7, 18, 12, 5, 33)],
    ['2018-08-18T12:05:33+08:00', Date.UTC(2018, 7, 18, 4, 5, 33)],
  ] as const)
    it(`${JSON.stringify(text)}: Chinese time, unless it names another`, async () => {
      const { host, source } = await start();
      host.set('spot/termination-time', text);
      const spot = (await read(source)).notices?.byId['spot'];
      assert.equal(spot?.is === 'present' && spot.value.deadlineMs, expected);
    });
});

describe('tencent: termination_allowed', () => {
  for (const [type, allowed] of [
    ['SPOTPAID', true],
    ['SPOTPAID\n', true],
    ['POSTPAID_BY_HOUR', null],
    ['PREPAID', null],
    ['', null],
    [undefined, null],
  ] as const)
    it(`charge type ${JSON.stringify(type)}: ${allowed}`, async () => {
      const { host, source } = await start();
      host.set('payment/charge-type', type);
      const { heart, hear } = heartOf(source);
      await hear();
      assert.equal(heart.snapshot().terminationAllowed, allowed);
      assert.deepEqual(heart.sourceState('tencent')?.faults, {});
    });

  it('is asked once', async () => {
    const { host, source } = await start();
    for (let poll = 0; poll < 3; poll += 1) await read(source);
    assert.equal(host.requests.filter(({ path }) => path === CHARGE_TYPE_PATH).length, 1);
  });
});

async function start() {
  const host = await startTencentHost();
  cleanups.push(() => host.close());
  const source = sourceOf(TENCENT, { base_url: host.url });
  cleanups.push(() => source.close?.());
  return { host, source };
}
