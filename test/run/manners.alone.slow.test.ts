/**
 * Hundreds of real processes of different manners under the built daemon: every signal, its order and its receiver are as the
 * plan said before, and nobody else gets one (issue "Stopping payloads", "How it is judged").
 */
import assert from 'node:assert/strict';
import path from 'node:path';
import test from 'node:test';
import { inSecs, startAgent, type TestAgent } from '../support/agent.ts';
import { makeCgroup, noCgroups } from '../support/cgroups.ts';
import { isAlive, startPayload, type TestPayload } from '../support/processes.ts';
import { PROGRAM, plainUser, WAIT_MS } from '../support/program.ts';
import { type Animal, startZoo, whyNoZoo, type ZooRecord } from '../support/zoo.ts';
import { metric } from './faces.ts';
import {
  assertRow,
  bodyOf,
  CONFIG,
  expected,
  FIRST_STEP_SECS,
  judge,
  type PlannedRow,
  population,
  type Subject,
} from './manners.ts';

/** More than 300 payloads, some of which are several processes. */
const COPIES = 5;
/** Announced so long before the first step: rows are read meanwhile. */
const READING_SECS = 10;
const BYSTANDERS = 40;

const skip = process.getuid?.() !== 0 ? 'needs root, for payloads of several users' : (whyNoZoo() ?? false);

test('hundreds of payloads of every manner are stopped by the plan, and nobody else', { skip }, async (t) => {
  const plain = plainUser();
  const users = [0, ...('reason' in plain ? [] : [plain.uid])];
  const agent = await startAgent(t, { config: CONFIG, machine: { total_cpu: 8 } });
  const zoo = await startZoo(t, path.join(agent.dir, 'records'));
  const subjects = population(users, COPIES).filter(({ by }) => by !== 'cgroup' || noCgroups === false);
  if (noCgroups !== false) t.diagnostic(`without control groups: ${noCgroups}`);
  const started = subjects.filter(({ by }) => by !== 'exec');

  const bystanders: Animal[] = Array.from({ length: BYSTANDERS }, (_, n) => ({
    name: `by${n}`,
    manner: n % 2 === 0 ? 'ignores' : 'plain',
    uid: [...users, 65_532][n % (users.length + 1)] ?? 0,
    session: n % 3 === 0,
  }));
  const leading: Animal = { name: 'leading-bystander', manner: 'ignores' };
  // Of another user, in the very group that a payload leads.
  const mixed = started.filter(({ manner, by, uid }) => manner === 'ignores' && by === 'group' && uid !== 0);
  const intruders: Animal[] = mixed.map(({ name }) => ({
    name: `in-${name}`,
    manner: 'ignores',
    uid: 0,
    group_of: name,
  }));
  const pids = await zoo.start([
    leading,
    ...bystanders,
    ...started.map(({ name, manner, uid, by, groupOf }) => ({
      name,
      manner,
      uid,
      ...(groupOf && { group_of: groupOf }),
      ...(by === 'marker' && { marker: markerOf(name) }),
    })),
    ...intruders,
  ]);
  const leaderOf = (name: string): number => pids.get(name)?.get('leader') ?? 0;

  for (const subject of started) {
    if (subject.by !== 'cgroup') await register(agent, subject, { pid: leaderOf(subject.name) });
    else {
      const cgroup = makeCgroup(t);
      for (const pid of pids.get(subject.name)?.values() ?? []) cgroup.take(pid);
      await register(agent, subject, { cgroup: cgroup.path });
    }
  }
  const execs = new Map<string, TestPayload>();
  for (const { name, manner } of subjects.filter(({ by }) => by === 'exec')) {
    const command = [
      process.execPath,
      PROGRAM,
      'exec',
      '--runtime-dir',
      agent.runtimeDir,
      '--name',
      name,
      '--',
    ] as const;
    execs.set(name, await startPayload(t, '', { command: [...command, ...zoo.memberCommand(name, manner)] }));
  }
  await agent.until('all registered', ({ payloads }) => payloads.running === subjects.length);
  t.diagnostic(
    `${subjects.length} payloads, ${[...pids.values()].reduce((sum, members) => sum + members.size, 0)} processes`,
  );
  const early = subjects.filter((subject) => subject.early);
  await zoo.end(early.map(({ name }) => leaderOf(name)));
  await agent.until('who ended is dropped', ({ payloads }) => payloads.running === subjects.length - early.length);

  // Everybody has been looked at by now: the parents of daemons may go.
  await zoo.end([...pids.values()].flatMap((members) => members.get('between') ?? []));

  const rowsNow = async (): Promise<readonly PlannedRow[]> =>
    JSON.parse((await agent.request('/v1/payloads', { socket: 'admin.sock' })).body.toString());
  // A row of exec first names exec itself: it is reserved before there is a payload.
  for (
    const giveUpAt = Date.now() + WAIT_MS;
    !(await rowsNow()).every(({ name, group }) => group || !execs.has(name));
  ) {
    assert.ok(Date.now() < giveUpAt, 'a row of exec never named its payload');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const deadline = inSecs(FIRST_STEP_SECS + READING_SECS);
  agent.hostDirs.set('machine', 'shutdowntime', deadline);
  await agent.until('announced', (lifetime) => lifetime.deadline === deadline);
  const rows = await rowsNow();
  assert.ok(Date.now() < (deadline - FIRST_STEP_SECS) * 1000, 'the rows were read before the first step');
  const byName = new Map(rows.map((row) => [row.name, row]));
  assert.equal(rows.length, subjects.length - early.length);
  for (const subject of subjects) {
    const row = byName.get(subject.name);
    if (row !== undefined) assertRow(subject, row, deadline * 1000);
  }

  await agent.until('all are gone', ({ payloads }) => payloads.running + payloads.stopping === 0);
  const records = await settled(zoo.records, subjects, deadline * 1000);
  const faults = subjects.flatMap((subject) => {
    const own = records.filter(({ name }) => name === subject.name);
    return judge(subject, own, deadline * 1000, execs.get(subject.name)?.pid ?? agent.pid);
  });
  assert.deepEqual(faults, []);
  const others = [leading, ...bystanders, ...intruders].map(({ name }) => name);
  assert.deepEqual(
    records.filter(({ name }) => others.includes(name)),
    [],
    'nobody else was signalled',
  );
  assert.deepEqual(
    others.filter((name) => !isAlive(leaderOf(name))),
    [],
  );
  for (const exec of execs.values()) assert.deepEqual(await exec.ended, { code: 75, signal: null });
  const members = [
    ...[...pids].flatMap(([name, each]) => (others.includes(name) ? [] : [...each.values()])),
    ...records.flatMap(({ name, pid }) => (execs.has(name) ? [pid] : [])),
  ];
  assert.deepEqual(members.filter(isAlive), [], 'every member of every payload is gone');
  assert.deepEqual(
    agent.lines.filter(({ level }) => level === 'error'),
    [],
  );
  assert.equal((await metric(agent, 'mjf_steps_uncertain_total')) ?? 0, 0);
});

const markerOf = (name: string): string => `MJF_TEST_MANNER=${name}`;

async function register(
  agent: TestAgent,
  subject: Subject,
  place: { pid: number } | { cgroup: string },
): Promise<void> {
  const { name, by } = subject;
  const more = by === 'marker' ? { marker: markerOf(name) } : by === 'group' ? { group: true } : {};
  const body = { name, target: { ...place, ...more }, ...bodyOf(subject) };
  const { status, body: answer } = await agent.request('/v1/payloads', { method: 'POST', body, socket: 'admin.sock' });
  assert.equal(status, 201, `${name}: ${answer}`);
}

/** The records once every end that is expected stands in them: the reaper may lag behind the agent. */
async function settled(
  records: () => readonly ZooRecord[],
  subjects: readonly Subject[],
  deadlineMs: number,
): Promise<readonly ZooRecord[]> {
  const seen = subjects.filter(({ by }) => by !== 'exec');
  const wanted = seen.reduce((sum, subject) => sum + expected(subject, deadlineMs).size, 0);
  const names = new Set(seen.map(({ name }) => name));
  const giveUpAt = Date.now() + 10_000;
  for (;;) {
    const all = records();
    const ends = all.filter(({ name, what }) => names.has(name) && what.includes(':')).length;
    if (ends >= wanted || Date.now() > giveUpAt) return all;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
