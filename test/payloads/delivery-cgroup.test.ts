/** Signals to control groups and units: real groups, real processes. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { type TestContext, test } from 'node:test';
import { type Logger, pino } from 'pino';
import type { PayloadSpec, StepReceiver } from '../../agent/lifetime/types.ts';
import { type DeliverOptions, deliver } from '../../agent/payloads/delivery.ts';
import { makeCgroup, noCgroups, type TestCgroup } from '../support/cgroups.ts';
import { isAlive, SCRIPTS, startPayload, untilDead } from '../support/processes.ts';

const real = { skip: noCgroups };

function specFor(group: TestCgroup, changes: Partial<PayloadSpec> = {}): PayloadSpec {
  const target = { kind: 'cgroup', path: group.path, inode: group.inode } as const;
  return { id: 'c1', name: 'test', uid: 0, target, registeredMs: 0, ...changes };
}

function send(payload: PayloadSpec, signal: string, changes: Partial<DeliverOptions> & { to?: StepReceiver } = {}) {
  const { to = 'all', ...options } = changes;
  const killed: string[] = [];
  const lines: Record<string, unknown>[] = [];
  const log: Logger = pino({ base: null }, { write: (line: string) => void lines.push(JSON.parse(line)) });
  const [report] = deliver([{ type: 'signal', payload, to, step: { episode: 1, index: 0, signal } }], {
    journal: { done: () => undefined },
    selfPid: process.pid,
    log,
    now: () => ({ wall: 1000, mono: 1 }),
    kill(pid, name) {
      killed.push(`${name} ${pid}`);
      process.kill(pid, name);
    },
    ...options,
  });
  return { outcome: report?.outcome, killed, lines };
}

/** Waits for a line on its input, so that it can be moved first; then has one child beside it and one far away. */
const FAMILY = [
  'sh',
  '-c',
  'echo ready; read go; setsid -f sh -c "echo far \\$\\$; exec sleep 1000"; sleep 1000 & echo near $!; wait',
] as const;

async function familyIn(t: TestContext, group: TestCgroup) {
  const payload = await startPayload(t, 'unused', { command: FAMILY });
  group.take(payload.pid);
  payload.child.stdin?.write('go\n');
  const far = Number((await payload.line(/^far (\d+)$/))[1]);
  const near = Number((await payload.line(/^near (\d+)$/))[1]);
  return { payload, pids: [payload.pid, near, far] };
}

test('to a control group: everybody in it and below it, wherever they went, and nobody else', real, async (t) => {
  const group = makeCgroup(t);
  const { pids } = await familyIn(t, group.below('inner'));
  const other = await startPayload(t, SCRIPTS.plain);
  group.take(other.pid);
  const bystander = await startPayload(t, SCRIPTS.plain);
  // Whatever receiver is named: a control group has no leader.
  const { outcome, killed, lines } = send(specFor(group), 'SIGTERM', { to: 'leader' });
  assert.equal(outcome, 'delivered');
  assert.deepEqual(new Set(killed), new Set([...pids, other.pid].map((pid) => `SIGTERM ${pid}`)));
  assert.equal(killed.length, 4);
  assert.deepEqual(lines, []);
  for (const pid of [...pids, other.pid]) await untilDead(pid);
  assert.ok(isAlive(bystander.pid));
  assert.equal(send(specFor(group), 'SIGTERM').outcome, 'no_process');
});

test('SIGKILL is the kernel’s own, for all at once; each other signal is never that', real, async (t) => {
  const group = makeCgroup(t);
  const { pids } = await familyIn(t, group.below('inner'));
  assert.equal(send(specFor(group), 'SIGCONT').killed.length, 3);
  const { outcome, killed } = send(specFor(group), 'SIGKILL');
  assert.equal(outcome, 'delivered');
  assert.deepEqual(killed, []);
  for (const pid of pids) await untilDead(pid);
  assert.equal(send(specFor(group), 'SIGKILL').outcome, 'no_process');
});

test('a unit is what is in its control group, whatever inode and owner that has', real, async (t) => {
  const group = makeCgroup(t);
  const { pids } = await familyIn(t, group);
  const target = { kind: 'unit', unit: 'x.service', cgroup: group.path } as const;
  const { outcome, killed } = send(specFor(group, { target }), 'SIGTERM');
  assert.equal(outcome, 'delivered');
  assert.equal(killed.length, 3);
  for (const pid of pids) await untilDead(pid);
  const gone = { ...target, cgroup: `${group.path}/none` };
  assert.equal(send(specFor(group, { target: gone }), 'SIGTERM').outcome, 'no_process');
});

test('another group under the same path is not the payload', real, async (t) => {
  const group = makeCgroup(t);
  const payload = await startPayload(t, SCRIPTS.plain);
  group.take(payload.pid);
  const target = { kind: 'cgroup', path: group.path, inode: group.inode + 1 } as const;
  for (const signal of ['SIGTERM', 'SIGKILL']) {
    const { outcome, killed } = send(specFor(group, { target }), signal);
    assert.equal(outcome, 'no_process');
    assert.deepEqual(killed, []);
  }
  assert.ok(isAlive(payload.pid));
});

test('a path that could become the whole machine is refused', real, () => {
  for (const path of ['/', '', '/..', '/a/..', '/./a', 'a', '//']) {
    const target = { kind: 'unit', unit: 'x.service', cgroup: path } as const;
    const payload: PayloadSpec = { id: 'u', name: 'test', uid: 0, target, registeredMs: 0 };
    const { outcome, killed, lines } = send(payload, 'SIGCONT', { kill: () => assert.fail('nobody may be signalled') });
    assert.equal(outcome, 'refused', path);
    assert.deepEqual(killed, []);
    assert.deepEqual(
      lines.map((line) => [line['event'], line['cgroup'], line['reason']]),
      [['signal_refused', path, 'unreadable']],
    );
  }
});

test('of a user’s group only his own processes; SIGKILL goes from one to the next there', real, async (t) => {
  const group = makeCgroup(t);
  const own = await startPayload(t, SCRIPTS.ignoresTerm, { uid: 65534 });
  const foreign = await startPayload(t, SCRIPTS.plain);
  group.take(own.pid);
  group.take(foreign.pid);
  const spec = specFor(group, { uid: 65534 });
  for (const signal of ['SIGTERM', 'SIGKILL']) {
    const { outcome, killed, lines } = send(spec, signal);
    assert.equal(outcome, 'delivered');
    assert.deepEqual(killed, [`${signal} ${own.pid}`]);
    assert.deepEqual(
      lines.map((line) => [line['event'], line['processes'], line['reason']]),
      [['signal_left_out', 1, 'other_owner']],
    );
  }
  await own.ended;
  assert.equal(send(spec, 'SIGKILL').outcome, 'refused');
  assert.ok(isAlive(foreign.pid));
});

test('who is moved out after the list was read is no member any more', real, async (t) => {
  const group = makeCgroup(t);
  const inner = group.below('inner');
  const payloads = [await startPayload(t, SCRIPTS.plain), await startPayload(t, SCRIPTS.plain)];
  for (const { pid } of payloads) inner.take(pid);
  const killed: number[] = [];
  const kill = (pid: number) => {
    killed.push(pid);
    for (const each of payloads) if (each.pid !== pid) group.take(each.pid);
  };
  assert.equal(send(specFor(inner), 'SIGTERM', { kill }).outcome, 'delivered');
  assert.equal(killed.length, 1);
});

test('who comes in while signals go out is caught by the next round', real, async (t) => {
  const group = makeCgroup(t);
  const payloads = [await startPayload(t, SCRIPTS.plain), await startPayload(t, SCRIPTS.plain)];
  const [first, second] = payloads.map(({ pid }) => pid);
  group.take(first ?? 0);
  const killed: number[] = [];
  const kill = (pid: number) => {
    killed.push(pid);
    group.take(second ?? 0);
  };
  send(specFor(group), 'SIGTERM', { kill });
  assert.deepEqual(killed, [first, second]);
});

test('the agent in a payload’s group is never signalled, and the group not killed whole', real, async (t) => {
  const group = makeCgroup(t);
  const { payload, pids } = await familyIn(t, group);
  const agent = await startPayload(t, SCRIPTS.plain);
  group.below('agent').take(agent.pid);
  const { outcome, killed } = send(specFor(group), 'SIGKILL', { selfPid: agent.pid });
  assert.equal(outcome, 'delivered');
  assert.deepEqual(new Set(killed), new Set(pids.map((pid) => `SIGKILL ${pid}`)));
  await payload.ended;
  assert.ok(isAlive(agent.pid));
});

test('a frozen group hears SIGTERM, and SIGKILL ends it as it is', real, async (t) => {
  const group = makeCgroup(t);
  const inner = group.below('inner');
  const payload = await startPayload(t, SCRIPTS.ignoresTerm);
  inner.take(payload.pid);
  for (const frozen of [group, inner]) {
    frozen.write('cgroup.freeze', '1');
    assert.equal(send(specFor(group), 'SIGTERM').outcome, 'delivered');
    assert.equal(frozen.read('cgroup.freeze').trim(), '0');
  }
  await payload.line(/^got SIGTERM$/);
  group.write('cgroup.freeze', '1');
  for (const signal of ['SIGUSR2', 'SIGCONT']) send(specFor(group), signal, { kill: () => undefined });
  assert.equal(group.read('cgroup.freeze').trim(), '1', 'only the stop signal proper thaws');
  send(specFor(group), 'SIGKILL');
  assert.equal((await payload.ended).signal, 'SIGKILL');
});

test('a group frozen from above is said to be', real, async (t) => {
  const group = makeCgroup(t);
  const inner = group.below('inner');
  const payload = await startPayload(t, SCRIPTS.ignoresTerm);
  inner.take(payload.pid);
  group.write('cgroup.freeze', '1');
  const giveUpAt = Date.now() + 5000;
  while (!/frozen 1/.test(inner.read('cgroup.events')) && Date.now() < giveUpAt);
  const { outcome, lines } = send(specFor(inner), 'SIGTERM');
  assert.equal(outcome, 'delivered');
  assert.deepEqual(
    lines.map((line) => line['event']),
    ['cgroup_frozen'],
  );
});

test('a stopped process in a group hears SIGTERM', real, async (t) => {
  const group = makeCgroup(t);
  const payload = await startPayload(t, SCRIPTS.ignoresTerm);
  group.take(payload.pid);
  process.kill(payload.pid, 'SIGSTOP');
  const state = () => /\) (\w)/.exec(fs.readFileSync(`/proc/${payload.pid}/stat`, 'latin1'))?.[1];
  const giveUpAt = Date.now() + 5000;
  while (state() !== 'T' && Date.now() < giveUpAt);
  assert.deepEqual(send(specFor(group), 'SIGTERM').killed, [`SIGTERM ${payload.pid}`, `SIGCONT ${payload.pid}`]);
  await payload.line(/^got SIGTERM$/);
});

test('processes whose threads are in a threaded group below are reached', real, async (t) => {
  const group = makeCgroup(t);
  const threads = group.below('threads');
  threads.write('cgroup.type', 'threaded');
  const payload = await startPayload(t, 'unused', { command: ['sh', '-c', 'echo ready; while :; do sleep 1; done'] });
  group.take(payload.pid);
  threads.write('cgroup.threads', String(payload.pid));
  const { killed } = send(specFor(group), 'SIGTERM');
  assert.ok(killed.includes(`SIGTERM ${payload.pid}`));
  assert.equal((await payload.ended).signal, 'SIGTERM');
});

test('a user’s group is held still while it is killed, and let go on as it was found', real, async (t) => {
  const group = makeCgroup(t);
  const own = await startPayload(t, SCRIPTS.plain, { uid: 65534 });
  const foreign = await startPayload(t, SCRIPTS.plain);
  for (const { pid } of [own, foreign]) group.take(pid);
  const frozen = () => group.read('cgroup.freeze').trim();
  const during: string[] = [];
  const kill = () => void during.push(frozen());
  const spec = specFor(group, { uid: 65534 });
  send(spec, 'SIGKILL', { kill });
  send(spec, 'SIGTERM', { kill });
  assert.deepEqual(during, ['1', '0'], 'for SIGKILL alone');
  assert.equal(frozen(), '0');
  send(spec, 'SIGKILL', { kill, selfPid: foreign.pid });
  assert.deepEqual(during, ['1', '0', '0'], 'never with the agent in it');
  group.write('cgroup.freeze', '1');
  send(spec, 'SIGKILL', { kill });
  assert.equal(frozen(), '1', 'frozen by somebody else');
  group.write('cgroup.freeze', '0');
  const done = () => {
    throw new Error('a fault of the agent’s own');
  };
  assert.throws(() => send(spec, 'SIGKILL', { kill, journal: { done } }), /fault/);
  assert.equal(during.at(-1), '1');
  assert.equal(frozen(), '0', 'whatever happens');
});
