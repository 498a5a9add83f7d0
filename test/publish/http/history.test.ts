import assert from 'node:assert/strict';
import test from 'node:test';
import type { SnapshotNotice, SnapshotPayload } from '../../../agent/lifetime/types.ts';
import { KEPT_EVENTS } from '../../../agent/publish/history.ts';
import { NOW_MS } from './fake-port.ts';
import { ask, type Running, run } from './harness.ts';

interface Event {
  readonly at: number;
  readonly kind: string;
  readonly text: string;
  readonly deadline?: number;
}

async function events({ url }: Running): Promise<readonly Event[]> {
  return (await ask(`${url}/v1/history`)).json()['events'] as Event[];
}
const texts = (list: readonly Event[]) => list.map(({ kind, text }) => `${kind}: ${text}`);

const NOTICE: SnapshotNotice = {
  id: 'ec2/spot',
  source: 'ec2',
  kind: 'terminate',
  deadlineMs: NOW_MS + 120_000,
  reason: 'spot terminate',
  firstSeenMs: NOW_MS,
  stale: false,
  expired: false,
  ignored: false,
  brokenPromise: false,
};

function row(id: string, steps: readonly ('planned' | 'done' | 'refused')[] = ['planned']): SnapshotPayload {
  return {
    spec: {
      id,
      name: 'secret-analysis',
      uid: 4711,
      target: { kind: 'process', leader: { pid: 31_415, startTicks: 1 }, group: true },
      registeredMs: NOW_MS,
    },
    state: 'running',
    deadlineMs: null,
    stopAtMs: null,
    episode: 1,
    steps: [],
    plan: steps.map((state, index) => ({
      step: { episode: 1, index, signal: index === 0 ? 'SIGTERM' : 'hook:save-secret' },
      to: 'group',
      at: 'grace',
      dueMs: NOW_MS,
      state,
    })),
  };
}

test('/v1/history tells what has changed, with its instant, the oldest first', async (t) => {
  const running = await run(t);
  const { port } = running;
  port.setNow(NOW_MS + 1_500);
  port.publish({ notices: [NOTICE], deadlineMs: NOTICE.deadlineMs, reason: 'ec2: spot terminate', phase: 'draining' });
  port.publish({ sources: [{ name: 'ec2', state: 'ok', sinceMs: 0, error: null, clockOffsetSecs: null, faults: {} }] });
  port.setNow(NOW_MS + 60_000);
  port.publish({
    sources: [{ name: 'ec2', state: 'stale', sinceMs: 0, error: null, clockOffsetSecs: null, faults: {} }],
  });
  port.publish({ notices: [{ ...NOTICE, deadlineMs: NOW_MS + 90_000 }], deadlineMs: NOW_MS + 90_000 });
  port.publish({ canTerminate: { now: true, atMs: null, mustNotUntilMs: null, progress: null } });
  port.publish({ notices: [], deadlineMs: null, reason: null, phase: 'running' });
  const list = await events(running);
  assert.deepEqual(texts(list), [
    'agent: agent started, running',
    'phase: draining (was running)',
    'deadline: deadline set (ec2: spot terminate)',
    'notice: notice ec2/spot: terminate announced, spot terminate',
    'source: ec2 ok',
    'source: ec2 stale (was ok)',
    'deadline: deadline earlier (ec2: spot terminate)',
    'notice: notice ec2/spot: terminate changed',
    'answer: can be terminated: now',
    'phase: running (was draining)',
    'deadline: no deadline any more',
    'notice: notice ec2/spot: gone',
  ]);
  const at = (text: string) => list.find((event) => event.text.startsWith(text));
  assert.equal(at('draining')?.at, (NOW_MS + 1_500) / 1000);
  assert.equal(at('deadline set')?.deadline, (NOW_MS + 120_000) / 1000);
});

test('S5.5: payloads and their steps are counted, without name, number, user or the file of a hook', async (t) => {
  const running = await run(t);
  const { port } = running;
  for (const id of ['one', 'two', 'three']) port.setPayload(row(id));
  port.publish({});
  for (const id of ['one', 'two']) port.setPayload(row(id, ['done', 'done']));
  port.setPayload(row('three', ['refused']));
  port.publish({});
  port.removePayload('one');
  port.setPayload({ ...row('two', ['done', 'done']), state: 'stopped' });
  port.publish({});
  port.removePayload('two');
  port.publish({});
  const answer = await ask(`${running.url}/v1/history`);
  assert.deepEqual(texts(await events(running)).slice(1), [
    'payload: registered: 3 payloads',
    'step: SIGTERM: 2 payloads',
    'step: hook: 2 payloads',
    'step: SIGTERM refused: 1 payload',
    'payload: ended: 2 payloads',
  ]);
  assert.doesNotMatch(answer.body, /secret|31415|4711|one|two|three/);
});

test('the same happening again within seconds is one event, later it is another', async (t) => {
  const running = await run(t);
  const { port } = running;
  for (const [id, atMs] of [
    ['a', 0],
    ['b', 3_000],
    ['c', 40_000],
  ] as const) {
    port.setNow(NOW_MS + atMs);
    port.setPayload(row(id));
    port.publish({});
  }
  assert.deepEqual(texts(await events(running)).slice(1), [
    'payload: registered: 2 payloads',
    'payload: registered: 1 payload',
  ]);
});

test('memory is bounded, and a source that comes and goes pushes out no notice', async (t) => {
  const running = await run(t);
  const { port } = running;
  port.publish({ notices: [{ ...NOTICE, reason: 'x'.repeat(10_000) }] });
  for (let i = 0; i < 3 * KEPT_EVENTS; i++) {
    const state = i % 2 === 0 ? 'ok' : 'failed';
    port.publish({ sources: [{ name: 'ec2', state, sinceMs: i, error: null, clockOffsetSecs: null, faults: {} }] });
  }
  const list = await events(running);
  assert.equal(list.length, KEPT_EVENTS + 2);
  const notice = list.find(({ kind }) => kind === 'notice');
  assert.ok(notice !== undefined && notice.text.length < 300);
});

test('a payload that changes its mind without end pushes out no notice', async (t) => {
  const running = await run(t);
  const { port } = running;
  port.publish({ notices: [NOTICE], deadlineMs: NOTICE.deadlineMs });
  for (let i = 0; i < 3 * KEPT_EVENTS; i++)
    port.publish({ canTerminate: { now: i % 2 === 0, atMs: null, mustNotUntilMs: null, progress: null } });
  const list = await events(running);
  assert.deepEqual(
    list.slice(0, 3).map(({ kind }) => kind),
    ['agent', 'deadline', 'notice'],
  );
  assert.equal(list.length, KEPT_EVENTS + 3);
});

test('a clock that is set back changes nothing of the order', async (t) => {
  const running = await run(t);
  const { port } = running;
  port.publish({ phase: 'draining' });
  port.setNow(NOW_MS - 3_600_000);
  port.publish({ phase: 'running' });
  assert.deepEqual(texts(await events(running)).slice(1), [
    'phase: draining (was running)',
    'phase: running (was draining)',
  ]);
});

test('/v1/history has an ETag of its content, and 304 when that is known', async (t) => {
  const { url, port } = await run(t);
  const { headers } = await ask(`${url}/v1/history`);
  const etag = headers.etag ?? '';
  assert.match(etag, /^"/);
  assert.equal((await ask(`${url}/v1/history`, { headers: { 'if-none-match': etag } })).status, 304);
  port.publish({ phase: 'draining' });
  const changed = await ask(`${url}/v1/history`, { headers: { 'if-none-match': etag } });
  assert.equal(changed.status, 200);
  assert.notEqual(changed.headers.etag, etag);
});
