/** What may be registered besides a process, reservations, views and steps (issue 4: what can be a payload; who may). */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import test, { type TestContext } from 'node:test';
import type { PayloadSpec } from '../../../agent/lifetime/types.ts';
import { type FakePort, NOW_MS } from './fake-port.ts';
import { type Answer, ask, askAs, NOT_ROOT, type Running, run, waitingProcess } from './harness.ts';

const OTHER = 65533;
const VIEW = '0123456789abcdef0123456789abcdef';
const MARKER = 'MJF_AGENT_EXEC_0011=1';
const own = process.getuid?.() ?? -1;
const UNIT = { unit: 'condor.service', active: true, cgroup: '/system.slice/condor.service', stopTimeoutMs: 300_000 };

const post = (url: string, body: object): Promise<Answer> =>
  ask(`${url}/v1/payloads`, { body: { name: 'a', ...body } });
const told = (answer: Answer) => [answer.status, answer.json()['code']];
const refusals = ({ logs }: Running) =>
  logs.filter(({ event }) => event === 'request_refused').map((line) => [line['reason'], line['uid']]);
const startTicks = (pid: number) =>
  Number(fs.readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ')[19]);
const refOf = (pid: number) => ({ pid, startTicks: startTicks(pid) });

function firstSpec(port: FakePort): PayloadSpec {
  const [first] = port.publication().payloads;
  assert.ok(first);
  return first.spec;
}

async function asOther(running: Running, body: object): Promise<unknown[]> {
  const answer = await askAs(OTHER, `${running.url}/v1/payloads`, 'POST', JSON.stringify({ name: 'a', ...body }));
  return [answer.status, JSON.parse(answer.body).code];
}

test('a unit is registered as systemd names it, with its own time to stop as its lead', {
  skip: NOT_ROOT,
}, async (t) => {
  const { url, port, admin } = await run(t);
  port.units.set('condor', UNIT);
  port.units.set('condor.service', UNIT);
  const answer = await post(url, { target: { unit: 'condor' } });
  assert.equal(answer.status, 201);
  const { target, uid } = firstSpec(port);
  const { unit, cgroup, stopTimeoutMs } = UNIT;
  assert.deepEqual([target, uid], [{ kind: 'unit', unit, cgroup, stopTimeoutMs }, 0]);
  const row = answer.json();
  assert.deepEqual(
    [row['target'], row['unit'], row['cgroup'], row['pid'], row['group'], row['command'], row['grace_secs']],
    ['unit', unit, cgroup, null, false, null, 300],
  );
  const again = await post(url, { target: { unit: 'condor.service' } });
  assert.deepEqual([...told(again), again.headers.location], [409, 'registered_already', '/v1/payloads/p1']);
  // A slice states no time, and the operator may what root may.
  port.units.set('pilots.slice', { unit: 'pilots.slice', active: true, cgroup: '/pilots.slice', stopTimeoutMs: null });
  const slice = await ask('/v1/payloads', { ...admin, body: { name: 'b', target: { unit: 'pilots.slice' } } });
  assert.deepEqual([slice.status, slice.json()['grace_secs']], [201, 120]);
});

test('what is no unit that runs is 422', { skip: NOT_ROOT }, async (t) => {
  const { url, port } = await run(t);
  port.units.set('off.service', { ...UNIT, unit: 'off.service', active: false });
  assert.deepEqual(told(await post(url, { target: { unit: 'none.service' } })), [422, 'no_unit']);
  assert.deepEqual(told(await post(url, { target: { unit: 'off.service' } })), [422, 'inactive_unit']);
  assert.equal(port.publication().payloads.length, 0);
});

test('a control group belongs to whom its directory belongs to', { skip: NOT_ROOT }, async (t) => {
  const running = await run(t);
  const { url, port } = running;
  const group = { is: 'found', path: '/pilots/mine', inode: 77 } as const;
  port.cgroups.set('/pilots/mine', { ...group, uid: OTHER });
  port.cgroups.set('/sys/fs/cgroup/pilots/mine', { ...group, uid: OTHER });
  port.cgroups.set('/roots', { is: 'found', path: '/roots', inode: 78, uid: 0 });
  port.cgroups.set('/', { is: 'refused', detail: 'The agent itself is in it.' });
  assert.deepEqual(await asOther(running, { target: { cgroup: '/roots' } }), [403, 'foreign_cgroup']);
  assert.deepEqual(refusals(running), [['foreign_cgroup', OTHER]]);
  assert.deepEqual(told(await post(url, { target: { cgroup: '/' } })), [403, 'foreign_cgroup']);
  assert.deepEqual(told(await post(url, { target: { cgroup: '/none' } })), [422, 'no_cgroup']);
  assert.deepEqual(await asOther(running, { target: { cgroup: '/pilots/mine' } }), [201, undefined]);
  const { target, uid } = firstSpec(port);
  assert.deepEqual([target, uid], [{ kind: 'cgroup', path: '/pilots/mine', inode: 77 }, OTHER]);
  // Root may have anybody's stopped, and finds it registered already under its other name.
  const again = await post(url, { target: { cgroup: '/sys/fs/cgroup/pilots/mine' } });
  assert.deepEqual(told(again), [409, 'registered_already']);
  // Another one made under the same path is another one.
  port.cgroups.set('/pilots/mine', { ...group, inode: 79, uid: OTHER });
  const next = await post(url, { target: { cgroup: '/pilots/mine' } });
  assert.deepEqual([next.status, next.json()['uid'], next.json()['cgroup']], [201, OTHER, '/pilots/mine']);
  assert.equal((await ask(`${url}/v1/payloads/p1`, { method: 'DELETE' })).status, 204);
  assert.deepEqual(port.inputs, [{ type: 'payload_gone', id: 'p1', why: 'deregistered' }]);
});

test('a unit is root’s alone, and so is a group that somebody else is in', { skip: NOT_ROOT }, async (t) => {
  const running = await run(t);
  const { port, url } = running;
  port.units.set('condor.service', UNIT);
  assert.deepEqual(await asOther(running, { target: { unit: 'condor.service' } }), [403, 'foreign_unit']);
  assert.deepEqual(await asOther(running, { target: { unit: 'none.service' } }), [403, 'foreign_unit']);
  // A leader of his, and in its group a process of root's.
  const leader = await mixedGroup(t);
  assert.deepEqual(await asOther(running, { target: { pid: leader, group: true } }), [403, 'foreign_group']);
  assert.deepEqual(
    refusals(running).map(([reason]) => reason),
    ['foreign_unit', 'foreign_group'],
  );
  assert.equal(port.publication().payloads.length, 0);
  // Alone it is his own, and root may have the group: whoever is not the leader's user gets no signal.
  assert.deepEqual(await asOther(running, { target: { pid: leader } }), [201, undefined]);
  assert.equal((await ask(`${url}/v1/payloads/p1`, { method: 'DELETE' })).status, 204);
  assert.equal((await post(url, { target: { pid: leader, group: true } })).status, 201);
});

test('one target, and only what goes with it', async (t) => {
  const { url, port } = await run(t);
  const pid = waitingProcess(t);
  const code = async (body: object) => told(await post(url, body));
  assert.deepEqual(await code({ target: { pid, unit: 'a.service' } }), [422, 'bad_target']);
  assert.deepEqual(await code({ target: { unit: 'a.service', cgroup: '/a' } }), [422, 'bad_target']);
  assert.deepEqual(await code({ target: { cgroup: '/a', group: true } }), [422, 'bad_target']);
  assert.deepEqual(await code({ target: { unit: 'a.service', marker: MARKER } }), [422, 'bad_target']);
  assert.deepEqual(await code({ target: { cgroup: '/a' }, deliverer_pid: pid }), [422, 'bad_deliverer']);
  assert.deepEqual(await code({ target: { pid, group: true }, deliverer_pid: pid }), [422, 'bad_deliverer']);
  assert.equal(port.publication().payloads.length, 0);
});

test('only the configuration names programs: hook steps are refused, and that is logged', async (t) => {
  const running = await run(t);
  const { url, port } = running;
  const pid = waitingProcess(t);
  for (const step of [
    { at: 'grace', hook: 'save' },
    { at: 'grace', signal: 'hook:save' },
    { at: 'grace', signal: 'SIGTERM', hook: 'save' },
  ]) {
    const answer = await post(url, { target: { pid }, steps: [step] });
    assert.deepEqual(told(answer), [403, 'hook_refused'], JSON.stringify(step));
    assert.match(String(answer.json()['detail']), /configuration/);
  }
  assert.equal((await post(url, { target: { pid } })).status, 201);
  const patched = await ask(`${url}/v1/payloads/p1`, {
    method: 'PATCH',
    body: { steps: [{ at: '5s', signal: 'hook:save' }] },
  });
  assert.deepEqual(told(patched), [403, 'hook_refused']);
  assert.deepEqual(port.inputs, []);
  assert.deepEqual(refusals(running)[0]?.[0], 'hook_refused');
});

test('a view that the client proposes is its view; twice it is 409, and only its owner learns whose it is', {
  skip: NOT_ROOT,
}, async (t) => {
  const running = await run(t);
  const { url, port, runtimeDir } = running;
  const first = await post(url, { target: { pid: waitingProcess(t) }, view: VIEW, limits: { allocated_cpu: 2 } });
  assert.equal(first.status, 201);
  assert.deepEqual(first.json()['view'], {
    machinefeatures_path: `${runtimeDir}/views/${VIEW}/machinefeatures`,
    jobfeatures_path: `${runtimeDir}/views/${VIEW}/jobfeatures`,
    machinefeatures_url: `${url}/p/${VIEW}/machinefeatures`,
    jobfeatures_url: `${url}/p/${VIEW}/jobfeatures`,
  });
  assert.equal((await ask(`${url}/p/${VIEW}/jobfeatures/allocated_cpu`)).body, '2\n');
  const again = await post(url, { target: { pid: waitingProcess(t) }, view: VIEW });
  assert.deepEqual([...told(again), again.headers.location], [409, 'view_taken', '/v1/payloads/p1']);
  const foreign = await askAs(
    OTHER,
    `${url}/v1/payloads`,
    'POST',
    JSON.stringify({ name: 'a', target: { pid: waitingProcess(t, { uid: OTHER }) }, view: VIEW }),
  );
  assert.deepEqual([foreign.status, JSON.parse(foreign.body).code], [409, 'view_taken']);
  assert.equal(foreign.headers.location, undefined);
  assert.doesNotMatch(foreign.body, /p1/);
  assert.equal(port.publication().payloads.length, 1);
});

test('exec reserves its row under its own pid, and names the process once it runs', async (t) => {
  const { url, port } = await run(t);
  const exec = waitingProcess(t);
  const [name = '', value = ''] = MARKER.split('=');
  const child = waitingProcess(t, { detached: true, env: { [name]: value } });
  const reserve = () => post(url, { target: { pid: exec, marker: MARKER }, deliverer_pid: exec, view: VIEW });
  const reserved = await reserve();
  assert.deepEqual([reserved.status, reserved.json()['pid']], [201, exec]);
  const { target, deliverer } = firstSpec(port);
  assert.deepEqual(target, { kind: 'process', leader: refOf(exec), group: false, marker: MARKER });
  assert.deepEqual(deliverer, refOf(exec));
  const again = await reserve();
  assert.deepEqual([...told(again), again.headers.location], [409, 'registered_already', '/v1/payloads/p1']);
  // `exec` inside a payload: its own pid is another payload's process, which is no reason to refuse either of the two.
  const outer = await post(url, { target: { pid: exec } });
  assert.equal(outer.status, 201);

  const patch = (id: string, body: object) => ask(`${url}/v1/payloads/${id}`, { method: 'PATCH', body });
  assert.deepEqual(told(await patch('p1', { target: { pid: exec } })), [422, 'bad_deliverer']);
  assert.deepEqual(told(await patch('p1', { target: { pid: 1 } })), [403, 'foreign_process']);
  assert.deepEqual(told(await patch('p1', { target: { pid: 4_194_304 } })), [422, 'no_process']);
  assert.equal((await patch('p1', { target: { unit: 'a.service' } })).status, 400);
  const named = await patch('p1', { target: { pid: child, group: true, marker: MARKER }, grace_secs: 7 });
  assert.equal(named.status, 200);
  assert.deepEqual([named.json()['pid'], named.json()['group'], named.json()['deliverer_pid']], [child, true, exec]);
  const change = { target: { kind: 'process', leader: refOf(child), group: true, marker: MARKER }, graceMs: 7000 };
  assert.deepEqual(port.inputs, [{ type: 'payload_updated', id: 'p1', change }]);
  // Once named it stays, as does every other registration.
  assert.deepEqual(told(await patch('p1', { target: { pid: exec } })), [409, 'not_a_reservation']);
  assert.deepEqual(told(await patch('p2', { target: { pid: child } })), [409, 'not_a_reservation']);
});

test('a marker that its leader does not carry itself is refused, as is what every process carries', async (t) => {
  const { url, port } = await run(t);
  const env = { JOB_MARKER_0123: 'abcdef', LANG: 'C' };
  const pid = waitingProcess(t, { env });
  for (const marker of [
    'JOB_MARKER_0123=abcde',
    'JOB_MARKER_0123=abcdefg',
    'OB_MARKER_0123=abcdef',
    'SOMEBODY_ELSES_JOB=1',
  ])
    assert.deepEqual(told(await post(url, { target: { pid, marker } })), [422, 'bad_marker'], marker);
  assert.equal((await post(url, { target: { pid, marker: 'LANG=C' } })).status, 400);
  assert.equal(port.publication().payloads.length, 0);
  // Nor by way of a reservation, whose own process need not carry it.
  const exec = waitingProcess(t);
  assert.equal(
    (await post(url, { target: { pid: exec, marker: 'OB_MARKER_0123=abcdef' }, deliverer_pid: exec })).status,
    201,
  );
  const name = (marker: string) => ask(`${url}/v1/payloads/p1`, { method: 'PATCH', body: { target: { pid, marker } } });
  assert.deepEqual(told(await name('OB_MARKER_0123=abcdef')), [422, 'bad_marker']);
  assert.deepEqual(told(await post(url, { target: { pid, marker: 'SOMEBODY_ELSES_JOB=1' }, deliverer_pid: exec })), [
    422,
    'bad_marker',
  ]);
  assert.deepEqual(port.inputs, []);
  assert.equal((await name('JOB_MARKER_0123=abcdef')).status, 200);
});

test('S5.2 the goodbye of a reservation says whether its process has run', async (t) => {
  const { url, port } = await run(t);
  const rows = ['p1', 'p2', 'p3'];
  for (const _ of rows) {
    const exec = waitingProcess(t);
    assert.equal((await post(url, { target: { pid: exec }, deliverer_pid: exec })).status, 201);
  }
  // One that names its process needs nobody's word.
  const pid = waitingProcess(t);
  assert.equal((await ask(`${url}/v1/payloads/p3`, { method: 'PATCH', body: { target: { pid } } })).status, 200);
  port.inputs.length = 0;
  const goodbye = (below: string) => ask(`${url}/v1/payloads/${below}`, { method: 'DELETE' });
  assert.equal((await goodbye('p1?started=perhaps')).status, 400);
  for (const below of ['p1?started=true', 'p2?started=false', 'p3?started=true'])
    assert.equal((await goodbye(below)).status, 204);
  assert.deepEqual(port.inputs, [
    { type: 'payload_gone', id: 'p1', why: 'exited', lived: true },
    { type: 'payload_gone', id: 'p2', why: 'deregistered' },
    { type: 'payload_gone', id: 'p3', why: 'deregistered' },
  ]);
});

test('a payload that has run for a while is registered as of its start', async (t) => {
  const clock = { now: () => ({ wall: NOW_MS, mono: 50_000 }), bootMs: () => 50_000 };
  const { url } = await run(t, { clock });
  const body = {
    target: { pid: waitingProcess(t) },
    limits: { wall_limit_secs: 3600 },
    running_since: NOW_MS / 1000 - 61.235,
  };
  const answer = await post(url, body);
  assert.deepEqual([answer.status, answer.json()['registered']], [201, NOW_MS / 1000 - 61.235]);
  const ahead = await post(url, { target: { pid: waitingProcess(t) }, running_since: NOW_MS / 1000 + 5 });
  assert.equal(ahead.json()['registered'], NOW_MS / 1000, 'nobody begins later than now');
  assert.equal((await post(url, { target: { pid: waitingProcess(t) }, running_since: -1 })).status, 400);
});

test('a reservation names nobody whom another exec delivers to, nor another user’s process', {
  skip: NOT_ROOT,
}, async (t) => {
  const { url, port } = await run(t);
  const exec = waitingProcess(t);
  const theirs = waitingProcess(t, { uid: OTHER });
  const taken = waitingProcess(t);
  await post(url, { target: { pid: taken }, deliverer_pid: waitingProcess(t) });
  await post(url, { target: { pid: exec }, deliverer_pid: exec });
  const name = (pid: number) => ask(`${url}/v1/payloads/p2`, { method: 'PATCH', body: { target: { pid } } });
  assert.deepEqual(told(await name(taken)), [409, 'registered_already']);
  // Root may register it, but not in this row, which is of its own user.
  assert.deepEqual(told(await name(theirs)), [403, 'foreign_process']);
  assert.deepEqual(port.inputs, []);
  assert.equal((await ask(`${url}/v1/payloads/p2`, { method: 'DELETE' })).status, 204);
  assert.deepEqual(port.inputs, [{ type: 'payload_gone', id: 'p2', why: 'deregistered' }]);
});

test('exec takes over its child from whoever was first; others are told that it is there', async (t) => {
  const { url, port } = await run(t);
  const child = waitingProcess(t);
  const found = { kind: 'process', leader: refOf(child), group: false } as const;
  const spec = { id: 'p9', name: 'pilots', uid: own, target: found, origin: 'pilots', registeredMs: NOW_MS };
  port.setPayload({ spec, state: 'running', deadlineMs: null, stopAtMs: null, episode: 0, steps: [], plan: [] });
  const [row] = JSON.parse((await ask(`${url}/v1/payloads`)).body);
  assert.equal(row.origin, 'pilots');
  assert.deepEqual(told(await post(url, { target: { pid: child } })), [409, 'registered_already']);
  assert.equal((await post(url, { target: { pid: child }, deliverer_pid: waitingProcess(t) })).status, 201);
  // One that registered itself before its exec could name it: the two rows become one in the heart.
  const itself = waitingProcess(t);
  const exec = waitingProcess(t);
  const reserved = await post(url, { target: { pid: exec }, deliverer_pid: exec });
  assert.equal((await post(url, { target: { pid: itself } })).status, 201);
  const body = { target: { pid: itself } };
  assert.equal((await ask(`${url}/v1/payloads/${reserved.json()['id']}`, { method: 'PATCH', body })).status, 200);
});

test('who tries to change another user’s row is told so and logged; who looks is told that there is none, and logged', {
  skip: NOT_ROOT,
}, async (t) => {
  const running = await run(t);
  const { url } = running;
  await post(url, { target: { pid: waitingProcess(t) } });
  const deleted = await askAs(OTHER, `${url}/v1/payloads/p1`, 'DELETE');
  assert.deepEqual([deleted.status, JSON.parse(deleted.body).code], [403, 'foreign_payload']);
  const looked = await askAs(OTHER, `${url}/v1/payloads/p1`);
  assert.deepEqual([looked.status, JSON.parse(looked.body).code], [404, 'no_payload']);
  const both = ['foreign_payload', OTHER];
  assert.deepEqual(refusals(running), [both, both]);
  await askAs(OTHER, `${url}/v1/payloads/p1`, 'DELETE');
  assert.deepEqual(refusals(running), [both, both], 'the same again does not fill the log; the counter counts it');
  assert.equal((await ask(`${url}/v1/payloads/p7`)).status, 404);
  assert.equal(refusals(running).length, 2, 'an id that nobody has is no attempt');
});

test('what the configuration found is the operator’s to change, not its owner’s', { skip: NOT_ROOT }, async (t) => {
  const { url, port } = await run(t);
  const { id } = port.register({
    name: 'worker',
    uid: OTHER,
    target: { kind: 'process', leader: { pid: waitingProcess(t), startTicks: 1 }, group: false },
    origin: 'worker',
  }).spec;
  const row = `${url}/v1/payloads/${id}`;
  for (const [method, body] of [
    ['PATCH', '{"grace_secs":0}'],
    ['DELETE', undefined],
  ] as const) {
    const refused = await askAs(OTHER, row, method, body);
    assert.deepEqual([refused.status, JSON.parse(refused.body).code], [403, 'configured_payload'], method);
  }
  assert.equal((await askAs(OTHER, row)).status, 200, 'he may look');
  assert.equal((await ask(row, { method: 'DELETE' })).status, 204);
});

/** The leader of a process group, of user OTHER, with a process of root's in it. */
async function mixedGroup(t: TestContext): Promise<number> {
  const script = `sleep 600 & exec setpriv --reuid ${OTHER} --clear-groups sh -c 'echo ready; exec sleep 600'`;
  const child = spawn('/bin/sh', ['-c', script], { detached: true, cwd: '/', stdio: ['ignore', 'pipe', 'inherit'] });
  const { pid } = child;
  if (pid === undefined) throw new Error('sh did not start');
  t.after(() => process.kill(-pid, 'SIGKILL'));
  await once(child.stdout, 'data');
  child.stdout.destroy();
  return pid;
}
