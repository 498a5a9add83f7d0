import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { alibabaSource } from '../../agent/sources/alibaba.ts';
import { INSTANCE_ID_PATH, SPOT_PATH, startAlibabaHost, TOKEN_PATH, type TokenMode } from '../hosts/alibaba.ts';
import { HOUR, START } from '../lifetime/history.ts';
import { describeSpotTime, heartOf, NO_SIGNAL, type Platform, read, sourceOf } from './spot-time-story.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const ALIBABA: Platform = {
  definition: alibabaSource,
  spotPath: SPOT_PATH,
  spotText: 'instance/spot/termination-time',
  instanceIdPath: INSTANCE_ID_PATH,
  instanceId: 'i-bp13znx0m0me8cquu7yx',
  vendor: 'Alibaba Cloud',
  cloudId: 'aliyun',
  start: () => startAlibabaHost(),
};

describeSpotTime(ALIBABA, (action) => cleanups.push(action));

describe('alibaba: times', () => {
  for (const [text, expected] of [
    ['2015-01-05T18:02:00Z', Date.UTC(2015, 0, 5, 18, 2)],
    ['2018-04-07T17:03:00Z\n', Date.UTC(2018, 3, 7, 17, 3)],
    ['2018-04-07T17:03:00', Date.UTC(2018, 3, 7, 17, 3)],
  ] as const)
    it(`${JSON.stringify(text)} is UTC`, async () => {
      const { host, source } = await startWith('optional');
      host.set('instance/spot/termination-time', text);
      const spot = (await read(source)).notices?.byId['spot'];
      assert.equal(spot?.is === 'present' && spot.value.deadlineMs, expected);
    });

  it('nothing is said of termination_allowed: no documented path tells a spot machine', async () => {
    const { source } = await startWith('optional');
    assert.equal((await read(source)).derived?.machine?.['termination_allowed'], undefined);
  });
});

describe('alibaba: tokens', () => {
  for (const mode of ['none', 'optional', 'required'] as const)
    it(`${mode}: the time is read`, async () => {
      const { host, source } = await startWith(mode);
      host.takeBack(START);
      assert.equal((await read(source)).notices?.byId['spot']?.is, 'present');
    });

  it('one token serves all questions, and none is sent to a service without', async () => {
    const { host, source } = await startWith('required');
    for (let poll = 0; poll < 5; poll += 1) await read(source);
    assert.equal(host.requests.filter(({ path }) => path === TOKEN_PATH).length, 1);
    const old = await startWith('none');
    await read(old.source);
    assert.ok(old.host.requests.every(({ headers }) => headers['x-aliyun-ecs-metadata-token'] === undefined));
  });

  it('3. a token that the service forgot is replaced, never added to', async () => {
    const { host, source } = await startWith('required');
    const { heart, hear } = heartOf(source);
    host.takeBack(START + HOUR);
    await hear();
    host.forgetTokens();
    await hear();
    assert.deepEqual(heart.noticeIds(), ['alibaba/spot']);
    assert.equal(heart.sourceState('alibaba')?.state, 'ok');
    assert.ok(host.requests.every(({ headers }) => !headers['x-aliyun-ecs-metadata-token']?.includes(',')));
    assert.equal(host.requests.filter(({ path }) => path === TOKEN_PATH).length, 2);
  });

  it('a token question that hangs: what answers without is still heard', async () => {
    const { host, source } = await startWith('optional');
    host.takeBack(START);
    host.fault(TOKEN_PATH, { is: 'hang' });
    const result = await source.read({ signal: NO_SIGNAL, fresh: false });
    assert.equal(result.outcome === 'answer' && result.answer.notices?.byId['spot']?.is, 'present');
  });
});

async function startWith(tokens: TokenMode) {
  const host = await startAlibabaHost({ tokens });
  cleanups.push(() => host.close());
  const source = sourceOf(ALIBABA, { base_url: `${host.url}/` });
  cleanups.push(() => source.close?.());
  return { host, source };
}
