import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import type { SnapshotPayload } from '../../../agent/lifetime/types.ts';
import { NOW_MS } from './fake-port.ts';
import { ask, askAs, NOT_ROOT, type Running, run, waitingProcess } from './harness.ts';

const OTHER = 65533;
const startTicks = (pid: number) =>
  Number(fs.readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ')[19]);
const own = process.getuid?.() ?? -1;

test('a registration names a process, its owner and its plan, and the row tells it all', async (t) => {
  const { url, port, runtimeDir } = await run(t);
  const pid = waitingProcess(t, { detached: true });
  const deliverer = waitingProcess(t);
  const answer = await ask(`${url}/v1/payloads`, {
    body: {
      name: 'simulation',
      target: { pid, group: true },
      deliverer_pid: deliverer,
      grace_secs: 90,
      steps: [
        { at: 'grace', signal: 'SIGTERM' },
        { at: '2.5s', signal: 'SIGKILL', to: 'group' },
      ],
      deadline: 1_766_440_000,
      limits: { allocated_cpu: 2, job_id: 'a-1' },
      can_terminate: { now: false, at: 1_766_439_500 },
    },
  });
  assert.equal(answer.status, 201);
  assert.equal(answer.headers.location, '/v1/payloads/p1');
  const [payload] = port.publication().payloads;
  const { token, ...spec } = payload?.spec ?? {};
  assert.deepEqual(spec, {
    id: 'p1',
    registeredMs: NOW_MS,
    name: 'simulation',
    uid: own,
    target: { kind: 'process', leader: { pid, startTicks: startTicks(pid) }, group: true },
    deliverer: { pid: deliverer, startTicks: startTicks(deliverer) },
    graceMs: 90_000,
    steps: [
      { at: 'grace', signal: 'SIGTERM' },
      { at: 2500, signal: 'SIGKILL', to: 'group' },
    ],
    deadlineMs: 1_766_440_000_000,
    limits: { allocated_cpu: '2', job_id: 'a-1' },
    canTerminate: { now: false, atMs: 1_766_439_500_000 },
  });
  const row = answer.json();
  assert.deepEqual(row, {
    id: 'p1',
    name: 'simulation',
    uid: own,
    target: 'process',
    pid,
    group: true,
    unit: null,
    cgroup: null,
    command: 'sleep',
    containment: 'session',
    origin: null,
    deliverer_pid: deliverer,
    state: 'running',
    deadline: null,
    stop_at: null,
    grace_secs: 90,
    steps: [
      { index: 0, at: 'grace', signal: 'SIGTERM', hook: null, to: 'all', due: null, state: 'planned' },
      { index: 1, at: '2.5s', signal: 'SIGKILL', hook: null, to: 'group', due: null, state: 'planned' },
    ],
    registered: NOW_MS / 1000,
    can_terminate: { now: false, at: 1_766_439_500 },
    needs_until: null,
    progress: null,
    final_word: null,
    limits: { allocated_cpu: '2', job_id: 'a-1' },
    episode: 0,
    view: {
      machinefeatures_path: `${runtimeDir}/views/${token}/machinefeatures`,
      jobfeatures_path: `${runtimeDir}/views/${token}/jobfeatures`,
      machinefeatures_url: `${url}/p/${token}/machinefeatures`,
      jobfeatures_url: `${url}/p/${token}/jobfeatures`,
    },
  });
  assert.equal((await ask(`${row['view'] && url}/p/${token}/jobfeatures/allocated_cpu`)).body, '2\n');
  assert.deepEqual((await ask(`${url}/v1/payloads/p1`)).json(), row);
  assert.deepEqual(JSON.parse((await ask(`${url}/v1/payloads`)).body), [row]);
});

test('the same process again is 409 and says where its row is', async (t) => {
  const { url } = await run(t);
  const pid = waitingProcess(t);
  const post = () => ask(`${url}/v1/payloads`, { body: { name: 'a', target: { pid } } });
  assert.equal((await post()).status, 201);
  const again = await post();
  assert.deepEqual([again.status, again.headers.location], [409, '/v1/payloads/p1']);
});

test('nobody registers another user’s process, and a user registers his own', { skip: NOT_ROOT }, async (t) => {
  const { url, port, logs } = await run(t);
  const post = (target: string) =>
    askAs(OTHER, `${url}/v1/payloads`, 'POST', `{"name":"a","target":{"pid":${target}}}`);
  const foreign = await post(String(waitingProcess(t)));
  assert.deepEqual([foreign.status, JSON.parse(foreign.body).code], [403, 'foreign_process']);
  const [line] = logs.filter(({ event }) => event === 'request_refused');
  assert.equal(line?.['uid'], OTHER);
  assert.equal(port.publication().payloads.length, 0);
  const mine = await post('$PID');
  assert.equal(mine.status, 201);
  assert.equal(JSON.parse(mine.body).uid, OTHER);
  assert.equal(JSON.parse(mine.body).pid, mine.pid);
  const process = waitingProcess(t, { uid: OTHER });
  const deliverer = waitingProcess(t);
  const withDeliverer = await askAs(
    OTHER,
    `${url}/v1/payloads`,
    'POST',
    JSON.stringify({ name: 'a', target: { pid: process }, deliverer_pid: deliverer }),
  );
  assert.equal(withDeliverer.status, 403, 'a deliverer of another user');
});

test('rows are their owner’s and root’s: another user neither sees nor changes them (S5.5)', {
  skip: NOT_ROOT,
}, async (t) => {
  const { url, port, admin } = await run(t);
  await ask(`${url}/v1/payloads`, { body: { name: 'of root', target: { pid: waitingProcess(t) } } });
  await ask(`${url}/v1/payloads`, { body: { name: 'of another', target: { pid: waitingProcess(t, { uid: OTHER }) } } });
  const names = (body: string) => JSON.parse(body).map((row: { name: string }) => row.name);
  assert.deepEqual(names((await ask(`${url}/v1/payloads`)).body), ['of root', 'of another']);
  assert.deepEqual(names((await ask('/v1/payloads', admin)).body), ['of root', 'of another']);
  assert.deepEqual(names((await askAs(OTHER, `${url}/v1/payloads`)).body), ['of another']);
  assert.deepEqual(names((await askAs(65532, `${url}/v1/payloads`)).body), []);
  const row = `${url}/v1/payloads/p1`;
  assert.equal((await askAs(OTHER, row)).status, 404);
  assert.equal((await askAs(OTHER, row, 'PATCH', '{"grace_secs":1}')).status, 403);
  assert.equal((await askAs(OTHER, row, 'DELETE')).status, 403);
  assert.equal(
    (
      await askAs(
        OTHER,
        `${row}/steps_done`,
        'POST',
        '{"results":[{"episode":1,"index":0,"signal":"SIGTERM","outcome":"delivered"}]}',
      )
    ).status,
    403,
  );
  assert.deepEqual(port.inputs, []);
  assert.equal((await askAs(OTHER, `${url}/v1/payloads/p2`, 'PATCH', '{"grace_secs":1}')).status, 200);
});

test('what is no payload: init, the agent, a kernel thread, nobody, a member of another’s group', async (t) => {
  const { url, port } = await run(t);
  const post = (target: unknown, rest = {}) => ask(`${url}/v1/payloads`, { body: { name: 'a', target, ...rest } });
  const code = async (target: unknown, rest = {}) => {
    const answer = await post(target, rest);
    return [answer.status, answer.json()['code']];
  };
  assert.deepEqual(await code({ pid: 1 }), [403, 'foreign_process']);
  assert.deepEqual(await code({ pid: process.pid }), [403, 'foreign_process']);
  const member = waitingProcess(t);
  assert.deepEqual(await code({ pid: member, group: true }), [422, 'not_group_leader']);
  assert.deepEqual(await code({ pid: 4_194_304 }), [422, 'no_process']);
  assert.deepEqual(await code({}), [422, 'no_target']);
  assert.equal(port.publication().payloads.length, 0);
});

test('kernel threads and mixed uids are told from /proc', async (t) => {
  // A small /proc of our own in front of the real one: fd and net are the kernel's, three processes are made up.
  const { url, runtimeDir } = await withProc(t, {
    70: { flags: 0x00200040, ppid: 1 },
    71: { ppid: 2 },
    72: { uids: '0\t0\t1000\t0' },
  });
  assert.ok(runtimeDir);
  for (const [pid, code] of [
    [70, 'foreign_process'],
    [71, 'foreign_process'],
    [72, 'mixed_uids'],
  ] as const) {
    const answer = await ask(`${url}/v1/payloads`, { body: { name: 'a', target: { pid } } });
    assert.deepEqual([answer.status, answer.json()['code']], [403, code]);
  }
});

test('bodies: what is wrong is 400, and an unknown field is not silently dropped', async (t) => {
  const { url, port } = await run(t);
  const pid = waitingProcess(t);
  for (const body of [
    {},
    { name: 'a', target: { pid: '5' } },
    { name: '', target: { pid } },
    { name: 'a\u001b[31m', target: { pid } },
    { name: 'a', target: { pid, group: 'true' } },
    { name: 'a', target: { pid }, grace: 5 },
    { name: 'a', target: { pid }, deadline: NOW_MS },
    { name: 'a', target: { pid }, steps: [{ at: 'soon', signal: 'SIGTERM' }] },
    { name: 'a', target: { pid }, steps: [{ at: '5s', signal: 'SIGNONE' }] },
    { name: 'a', target: { pid }, limits: { shutdowntime_job: 5 } },
    { name: 'a', target: { pid }, limits: { job_id: 'a b' } },
    { name: 'a', target: { pid }, steps: [{ at: '5s' }] },
    { name: 'a', target: { pid }, view: 'F'.repeat(32) },
    { name: 'a', target: { pid }, view: '../../../../../../etc/passwd/././' },
    { name: 'a', target: { pid, marker: 'LANG=C' } },
    { name: 'a', target: { pid, marker: `=${'x'.repeat(20)}` } },
    { name: 'a', target: { pid, marker: `MARKER=${'x'.repeat(20)}\u0000Y=1` } },
    { name: 'a', target: { unit: '' } },
    { name: 'a', target: { cgroup: '' } },
  ]) {
    assert.equal((await ask(`${url}/v1/payloads`, { body })).status, 400, JSON.stringify(body));
  }
  assert.equal(port.publication().payloads.length, 0);
});

test('no more payloads than the bound', async (t) => {
  const { url } = await run(t, { bounds: { maxPayloads: 1 } });
  const post = () => ask(`${url}/v1/payloads`, { body: { name: 'a', target: { pid: waitingProcess(t) } } });
  assert.equal((await post()).status, 201);
  const full = await post();
  assert.deepEqual([full.status, full.json()['code']], [503, 'too_many_payloads']);
});

test('PATCH changes what it names; DELETE tells an ended process from one that lives on', async (t) => {
  const { url, port } = await run(t);
  const pid = waitingProcess(t);
  await ask(`${url}/v1/payloads`, { body: { name: 'a', target: { pid } } });
  const patched = await ask(`${url}/v1/payloads/p1`, {
    method: 'PATCH',
    body: { can_terminate: { now: true }, grace_secs: 5 },
  });
  assert.equal(patched.status, 200);
  assert.deepEqual([patched.json()['can_terminate'], patched.json()['grace_secs']], [{ now: true, at: null }, 5]);
  assert.equal((await ask(`${url}/v1/payloads/p1`, { method: 'PATCH', body: {} })).status, 400);
  assert.equal((await ask(`${url}/v1/payloads/p1`, { method: 'DELETE' })).status, 204);
  assert.equal((await ask(`${url}/v1/payloads/p1`)).status, 404);
  assert.equal((await ask(`${url}/v1/payloads/p1`, { method: 'DELETE' })).status, 404);
  port.setPayload(row({ pid, startTicks: 1 }));
  const headers = { 'content-type': 'application/json' };
  assert.equal((await ask(`${url}/v1/payloads/p9`, { method: 'DELETE', headers })).status, 204);
  assert.deepEqual(port.inputs, [
    { type: 'payload_updated', id: 'p1', change: { canTerminate: { now: true, atMs: null }, graceMs: 5000 } },
    { type: 'payload_gone', id: 'p1', why: 'deregistered' },
    { type: 'payload_gone', id: 'p9', why: 'exited' },
  ]);
});

test('exec acknowledges its steps in one batch, at its own time', async (t) => {
  const clock = { now: () => ({ wall: NOW_MS, mono: 50_000 }), bootMs: () => 50_000 };
  const { url, port } = await run(t, { clock });
  port.setPayload(row({ pid: 5, startTicks: 1 }, true));
  const result = { episode: 2, index: 0, signal: 'SIGTERM', outcome: 'delivered' };
  const body = {
    results: [
      { ...result, at: NOW_MS / 1000 - 1.5 },
      { ...result, index: 1 },
    ],
  };
  const answer = await ask(`${url}/v1/payloads/p9/steps_done`, { body });
  assert.equal(answer.status, 200);
  assert.equal(answer.json()['id'], 'p9');
  const step = { episode: 2, index: 0, signal: 'SIGTERM' };
  assert.deepEqual(port.inputs, [
    {
      type: 'steps_done',
      results: [
        { id: 'p9', step, outcome: 'delivered', at: { wall: NOW_MS - 1500, mono: 48_500 } },
        { id: 'p9', step: { ...step, index: 1 }, outcome: 'delivered', at: { wall: NOW_MS, mono: 50_000 } },
      ],
    },
  ]);
  port.setPayload(row({ pid: 5, startTicks: 1 }));
  assert.equal((await ask(`${url}/v1/payloads/p9/steps_done`, { body })).status, 409);
});

test('a row shows its plan, and a hanging GET on it wakes when the plan changes, and when the row goes', async (t) => {
  const { url, port } = await run(t, { bounds: { rowRecheckMs: 20 } });
  const before = row({ pid: 5, startTicks: 1 });
  port.setPayload(before);
  const first = await ask(`${url}/v1/payloads/p9`);
  const etag = first.headers.etag ?? '';
  assert.equal(first.json()['command'], null);
  assert.equal((await ask(`${url}/v1/payloads/p9`, { headers: { 'if-none-match': etag } })).status, 304);
  const wait = (tag: string) => ask(`${url}/v1/payloads/p9?wait_for_change=true&last_etag=${encodeURIComponent(tag)}`);
  const hanging = wait(etag);
  await ask(`${url}/v1/payloads/p9`);
  const step = { episode: 1, index: 0, signal: 'SIGTERM' };
  port.setPayload({
    ...before,
    state: 'stopping',
    deadlineMs: NOW_MS + 10_000,
    stopAtMs: NOW_MS + 1_500,
    episode: 1,
    plan: [
      {
        step: { ...step, index: 2, signal: 'hook:save' },
        to: 'leader',
        at: 20_000,
        dueMs: NOW_MS - 10_000,
        state: 'done',
      },
      { step, to: 'leader', at: 'grace', dueMs: NOW_MS + 1_500, state: 'pending' },
      { step: { ...step, index: 1, signal: 'SIGKILL' }, to: 'all', at: 5_000, dueMs: NOW_MS + 5_000, state: 'planned' },
    ],
  });
  const changed = await hanging;
  assert.equal(changed.status, 200);
  assert.notEqual(changed.headers.etag, etag);
  assert.deepEqual(changed.json()['steps'], [
    { index: 2, at: '20s', signal: null, hook: 'save', to: null, due: NOW_MS / 1000 - 10, state: 'done' },
    { index: 0, at: 'grace', signal: 'SIGTERM', hook: null, to: 'leader', due: NOW_MS / 1000 + 1.5, state: 'pending' },
    { index: 1, at: '5s', signal: 'SIGKILL', hook: null, to: 'all', due: NOW_MS / 1000 + 5, state: 'planned' },
  ]);
  const last = wait(changed.headers.etag ?? '');
  await ask(`${url}/v1/payloads/p9`);
  port.removePayload('p9');
  assert.equal((await last).status, 404);
});

function row(leader: { pid: number; startTicks: number }, delivered = false): SnapshotPayload {
  return {
    spec: {
      id: 'p9',
      name: 'a',
      uid: own,
      target: { kind: 'process', leader, group: false },
      registeredMs: NOW_MS,
      ...(delivered && { deliverer: { pid: 4, startTicks: 1 } }),
    },
    state: 'running',
    deadlineMs: null,
    stopAtMs: null,
    episode: 0,
    steps: [],
    plan: [],
  };
}

async function withProc(
  t: Parameters<typeof run>[0],
  processes: Record<number, { flags?: number; ppid?: number; uids?: string }>,
): Promise<Running> {
  const procRoot = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-proc-'));
  t.after(() => fs.rmSync(procRoot, { recursive: true, force: true }));
  fs.symlinkSync(`/proc/${process.pid}`, `${procRoot}/self`);
  for (const [pid, { flags = 0, ppid = 1, uids = `${own}\t${own}\t${own}\t${own}` }] of Object.entries(processes)) {
    fs.mkdirSync(`${procRoot}/${pid}`);
    const zeros = new Array(12).fill('0').join(' ');
    fs.writeFileSync(
      `${procRoot}/${pid}/stat`,
      `${pid} (a) b) S ${ppid} ${pid} ${pid} 0 -1 ${flags} ${zeros} 4711 0\n`,
    );
    fs.writeFileSync(`${procRoot}/${pid}/status`, `Name:\ta\nUid:\t${uids}\n`);
  }
  return run(t, { procRoot });
}
