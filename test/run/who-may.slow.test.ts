/**
 * Tried as another user (issue 4, "Who may"): the real daemon as root, and attempts to have somebody else's process stopped,
 * each by a user of its own, since of one user and reason the log tells once a minute. Each is refused, told in the log, and
 * when the deadline comes nobody but the one payload that was rightly registered gets a signal.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { askAs } from '../publish/http/harness.ts';
import { inSecs, startAgent } from '../support/agent.ts';
import { makeCgroup, noCgroups } from '../support/cgroups.ts';
import { isAlive, SCRIPTS, startPayload, untilDead } from '../support/processes.ts';

const NOT_ROOT = process.getuid?.() === 0 ? false : 'needs root, to become other users';
/** Nobody has these; each attempt takes the next one. */
const FIRST_UID = 61_000;
const VICTIM_UID = 60_999;
/** setpriv takes milliseconds. */
const CHANGE_MS = 10_000;
/** PF_KTHREAD of linux/sched.h. */
const KTHREAD_FLAG = 0x0020_0000;

test('every attempt to have somebody else’s process stopped is refused and logged, and he lives on', {
  skip: NOT_ROOT,
}, async (t) => {
  const agent = await startAgent(t, { config: '[stop]\ngrace = "2s"\n', machine: { total_cpu: 8 } });
  const { url } = agent;
  const victim = await startPayload(t, SCRIPTS.plain, { uid: VICTIM_UID });
  const roots = await startPayload(t, SCRIPTS.plain);
  const registered = await agent.request('/v1/payloads', {
    method: 'POST',
    body: { name: 'root’s', target: { pid: roots.pid }, can_terminate: { now: false } },
  });
  assert.equal(registered.status, 201);
  const row = `/v1/payloads/${JSON.parse(registered.body.toString()).id}`;

  let nextUid = FIRST_UID;
  /** One attempt by a new user: what it was answered, and the reason in the log. */
  async function attempt(
    method: string,
    target: string,
    body: unknown,
    headers: Readonly<Record<string, string>> = {},
    uid = nextUid++,
  ): Promise<readonly [number, string]> {
    const text = body === undefined ? '' : JSON.stringify(body);
    const answer = await askAs(uid, `${url}${target}`, method, text, 'application/json', headers);
    // Whoever is turned away by his headers was not asked yet who he is.
    const known = Object.keys(headers).length === 0;
    const line = await agent.log('request_refused', (each) => each['uid'] === (known ? uid : null));
    assert.equal(line.level, 'warn');
    return [answer.status, String(line['reason'])];
  }
  const register = (target: unknown, more = {}, uid = nextUid++) =>
    attempt('POST', '/v1/payloads', { name: 'a', target, ...more }, {}, uid);
  const foreign = [403, 'foreign_process'] as const;

  await t.test('processes: another user’s, root’s, pid 1, the agent, a thread of the kernel', async (t) => {
    assert.deepEqual(await register({ pid: victim.pid }), foreign);
    assert.deepEqual(await register({ pid: roots.pid }), foreign);
    assert.deepEqual(await register({ pid: 1 }), foreign);
    assert.deepEqual(await register({ pid: agent.pid }), foreign);
    assert.deepEqual(await register({ pid: agent.pid, group: true }), foreign);
    // A marker makes nobody his: it only tells among processes of one user.
    assert.deepEqual(await register({ pid: victim.pid, marker: 'MJF_TEST_PAYLOAD=whatever' }), foreign);
    const thread = kernelThread();
    if (thread === undefined) t.diagnostic('no thread of the kernel is seen here: not tried');
    else assert.deepEqual(await register({ pid: thread }), foreign);
  });

  await t.test('by what goes with a process of his own: deliverer, reservation, group', async (t) => {
    const uid = nextUid++;
    const mine = await startPayload(t, SCRIPTS.plain, { uid });
    assert.deepEqual(await register({ pid: mine.pid }, { deliverer_pid: roots.pid }, uid), foreign);
    assert.deepEqual(await register({ pid: victim.pid }, { deliverer_pid: victim.pid }), foreign);
    const shared = nextUid++;
    assert.deepEqual(await register({ pid: await mixedGroup(t, shared), group: true }, {}, shared), [
      403,
      'foreign_group',
    ]);
    const changing = nextUid++;
    const target = { pid: await mixedUids(t, changing) };
    assert.deepEqual(await register(target, {}, changing), [403, 'mixed_uids']);
  });

  await t.test('a reservation cannot be turned into another user’s process', async (t) => {
    const uid = nextUid++;
    const mine = await startPayload(t, SCRIPTS.plain, { uid });
    const body = JSON.stringify({ name: 'a', target: { pid: mine.pid }, deliverer_pid: mine.pid });
    const made = await askAs(uid, `${url}/v1/payloads`, 'POST', body);
    assert.equal(made.status, 201);
    const own = `/v1/payloads/${JSON.parse(made.body).id}`;
    assert.deepEqual(await attempt('PATCH', own, { target: { pid: victim.pid } }, {}, uid), foreign);
    const gone = await askAs(uid, `${url}${own}`, 'DELETE');
    assert.equal(gone.status, 204);
  });

  await t.test('units, and control groups of somebody else or with the agent in it', async (t) => {
    assert.deepEqual(await register({ unit: 'dbus.service' }), [403, 'foreign_unit']);
    assert.deepEqual(await register({ unit: 'no-such.service' }), [403, 'foreign_unit']);
    if (noCgroups !== false) {
      t.diagnostic(`control groups not tried: ${noCgroups}`);
      return;
    }
    const group = makeCgroup(t);
    assert.deepEqual(await register({ cgroup: group.path }), [403, 'foreign_cgroup']);
    assert.deepEqual(await register({ cgroup: '/' }), [403, 'foreign_cgroup']);
    const mine = nextUid++;
    fs.chownSync(group.directory, mine, mine);
    // An empty one would be dropped by itself.
    group.take((await startPayload(t, SCRIPTS.plain, { uid: mine })).pid);
    const body = JSON.stringify({ name: 'a', target: { cgroup: group.path } });
    const made = await askAs(mine, `${url}/v1/payloads`, 'POST', body);
    assert.deepEqual([made.status, JSON.parse(made.body).uid], [201, mine]);
    assert.equal((await askAs(mine, `${url}/v1/payloads/${JSON.parse(made.body).id}`, 'DELETE')).status, 204);
  });

  await t.test('rows: to look at they are not there, to change they are another’s, and the log tells', async () => {
    assert.deepEqual(await attempt('GET', row, undefined), [404, 'foreign_payload']);
    const unseen = [403, 'foreign_payload'] as const;
    assert.deepEqual(await attempt('PATCH', row, { can_terminate: { now: true } }), unseen);
    assert.deepEqual(await attempt('PATCH', row, { target: { pid: victim.pid } }), unseen);
    assert.deepEqual(await attempt('DELETE', row, undefined), unseen);
    const done = { results: [{ episode: 1, index: 0, signal: 'SIGKILL', outcome: 'delivered' }] };
    assert.deepEqual(await attempt('POST', `${row}/steps_done`, done), unseen);
    const list = await askAs(nextUid++, `${url}/v1/payloads`);
    assert.deepEqual(JSON.parse(list.body), []);
  });

  await t.test('programs are named by the configuration alone; notices come through admin.sock', async () => {
    const uid = nextUid++;
    const body = { name: 'a', target: { pid: 1 }, steps: [{ at: 'grace', signal: 'hook:../../bin/sh' }] };
    assert.deepEqual(await attempt('POST', '/v1/payloads', body, {}, uid), [403, 'hook_refused']);
    const notice = await askAs(nextUid++, `${url}/v1/notices`, 'POST', '{"kind":"shutdown","in_secs":1}');
    assert.deepEqual([notice.status, JSON.parse(notice.body).code], [403, 'operator_only']);
    await agent.log('request_refused', (each) => each['reason'] === 'operator_only');
  });

  await t.test('a web page of another origin, or a name that was rebound to us, has no say', async () => {
    const body = { name: 'a', target: { pid: victim.pid } };
    for (const [headers, reason] of [
      [{ host: 'evil.example' }, 'foreign_host'],
      [{ origin: 'https://evil.example' }, 'foreign_origin'],
      [{ 'sec-fetch-site': 'cross-site' }, 'cross_site'],
    ] as const)
      assert.deepEqual(await attempt('POST', '/v1/payloads', body, headers), [403, reason]);
  });

  await t.test('when the deadline comes, only the one that was rightly registered is stopped', async (t) => {
    const uid = nextUid++;
    const mine = await startPayload(t, SCRIPTS.plain, { uid });
    // What a bystander carries tells nothing of a process that does not.
    const marker = fs
      .readFileSync(`/proc/${victim.pid}/environ`, 'latin1')
      .split('\0')
      .find((entry) => entry.startsWith('MJF_TEST_PAYLOAD='));
    const ask = (target: object) => askAs(uid, `${url}/v1/payloads`, 'POST', JSON.stringify({ name: 'a', target }));
    const foreign = await ask({ pid: mine.pid, marker });
    assert.deepEqual(
      [foreign.status, JSON.parse(foreign.body).code],
      [422, 'bad_marker'],
      'his process does not carry it',
    );
    assert.equal((await ask({ pid: mine.pid })).status, 201);
    assert.equal((await agent.request(row, { method: 'DELETE' })).status, 204);
    agent.hostDirs.set('machine', 'shutdowntime', inSecs(3 + agent.slackSecs));
    await untilDead(mine.pid);
    await agent.until('over', ({ overdue }) => overdue);
    for (const each of [victim, roots]) assert.ok(isAlive(each.pid));
    assert.ok(isAlive(agent.pid));
  });
});

/** The leader of a process group, of this user, with a process of root's in it. */
function mixedGroup(t: TestContext, uid: number): Promise<number> {
  return shellLeader(t, `sleep 600 & exec setpriv --reuid ${uid} --clear-groups sh -c 'echo ready; exec sleep 600'`);
}

/** As a set-user-id program while it runs: real uid of this user, effective of root. */
function mixedUids(t: TestContext, uid: number): Promise<number> {
  return shellLeader(t, `exec setpriv --ruid ${uid} --clear-groups sleep 600`, uid);
}

async function shellLeader(t: TestContext, script: string, awaitedUid?: number): Promise<number> {
  const child = spawn('/bin/sh', ['-c', script], { detached: true, cwd: '/', stdio: ['ignore', 'pipe', 'inherit'] });
  const { pid } = child;
  if (pid === undefined) throw new Error('sh did not start');
  t.after(() => process.kill(-pid, 'SIGKILL'));
  if (awaitedUid === undefined) await once(child.stdout, 'data');
  else {
    const changed = new RegExp(`\nUid:\t${awaitedUid}\t`);
    const giveUpAt = Date.now() + CHANGE_MS;
    while (!changed.test(fs.readFileSync(`/proc/${pid}/status`, 'latin1'))) {
      if (Date.now() > giveUpAt) throw new Error('setpriv does not change the uid');
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
  child.stdout.destroy();
  return pid;
}

function kernelThread(): number | undefined {
  for (const name of fs.readdirSync('/proc').filter((each) => /^\d+$/.test(each))) {
    try {
      const stat = fs.readFileSync(path.join('/proc', name, 'stat'), 'latin1');
      const flags = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[6]);
      if ((flags & KTHREAD_FLAG) !== 0) return Number(name);
    } catch {
      // It has ended.
    }
  }
  return undefined;
}
