import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { findGone } from '../../agent/payloads/liveness.ts';
import { isAlive, SCRIPTS, specOf, startPayload, untilDead } from '../support/processes.ts';

const NOTHING = { gone: [], delivererGone: [], running: [] };

test('a living payload is not gone; a dead one is, also as a zombie; /proc is not scanned for it', async (t) => {
  const payload = await startPayload(t, SCRIPTS.plain);
  const spec = specOf(payload);
  const single = specOf(payload, { id: 'single', target: { kind: 'process', leader: payload.ref, group: false } });
  const scans = t.mock.method(fs, 'readdirSync');
  assert.deepEqual(findGone([spec, single]), NOTHING);
  assert.equal(scans.mock.callCount(), 0);
  process.kill(payload.pid, 'SIGKILL');
  while (isAlive(payload.pid));
  assert.ok(fs.existsSync(`/proc/${payload.pid}`), 'a zombie, not reaped before the loop turns');
  assert.deepEqual(findGone([spec, single]), { ...NOTHING, gone: [spec.id, 'single'], delivererGone: [] });
  await payload.ended;
  assert.deepEqual(findGone([spec, single]), { ...NOTHING, gone: [spec.id, 'single'], delivererGone: [] });
});

test('S3.8 a group is gone only with its last member; a registered pid with its leader', async (t) => {
  const payload = await startPayload(t, SCRIPTS.leavesGroup);
  const child = Number((await payload.line(/^pid (\d+)$/))[1]);
  const group = specOf(payload, { id: 'group' });
  const single = specOf(payload, { id: 'single', target: { kind: 'process', leader: payload.ref, group: false } });
  payload.child.stdin?.write('x');
  await payload.ended;
  assert.deepEqual(findGone([group, single]).gone, ['single']);
  assert.deepEqual(findGone([specOf(payload, { uid: 4_000_000 })]).gone, [
    group.id === 'group' ? `p${payload.pid}` : '',
  ]);
  process.kill(child, 'SIGKILL');
  await untilDead(child);
  assert.deepEqual(findGone([group, single]).gone, ['group', 'single']);
});

test('a reused pid is not the payload, whatever group it leads', async (t) => {
  const payload = await startPayload(t, SCRIPTS.forks);
  const leader = { pid: payload.pid, startTicks: payload.ref.startTicks - 1 };
  const spec = specOf(payload, { target: { kind: 'process', leader, group: true } });
  assert.deepEqual(findGone([spec]).gone, [spec.id]);
});

test('S3.8 the deliverer is gone while its payload lives; of a dead payload only the payload is reported', async (t) => {
  const deliverer = await startPayload(t, SCRIPTS.plain);
  const payload = await startPayload(t, SCRIPTS.plain);
  const spec = specOf(payload, { deliverer: deliverer.ref });
  assert.deepEqual(findGone([spec]), NOTHING);
  const reused = { ...spec, deliverer: { ...deliverer.ref, startTicks: deliverer.ref.startTicks + 1 } };
  assert.deepEqual(findGone([reused]), { ...NOTHING, gone: [], delivererGone: [spec.id] });
  process.kill(deliverer.pid, 'SIGKILL');
  await deliverer.ended;
  assert.deepEqual(findGone([spec]), { ...NOTHING, gone: [], delivererGone: [spec.id] });
  process.kill(payload.pid, 'SIGKILL');
  await payload.ended;
  assert.deepEqual(findGone([spec]), { ...NOTHING, gone: [spec.id], delivererGone: [] });
});
