import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Logger, pino } from 'pino';
import type { PayloadSpec, StepReceiver, StepResultReport } from '../../agent/lifetime/types.ts';
import { type DeliverOptions, deliver, type SignalEffect } from '../../agent/payloads/delivery.ts';
import { procTree } from '../support/proc-tree.ts';
import { isAlive, SCRIPTS, specOf, startPayload, startTicksOf, untilDead } from '../support/processes.ts';

const isRoot = process.getuid?.() === 0;
const needsRoot = { skip: isRoot ? false : 'not root: no process of another user can be started' };

function effect(payload: PayloadSpec, to: StepReceiver, signal = 'SIGTERM'): SignalEffect {
  return { type: 'signal', payload, to, step: { episode: 1, index: 0, signal } };
}

function run(signals: readonly SignalEffect[], changes: Partial<DeliverOptions> = {}) {
  const done: StepResultReport[] = [];
  const lines: Record<string, unknown>[] = [];
  const log: Logger = pino({ base: null }, { write: (line: string) => void lines.push(JSON.parse(line)) });
  const reports = deliver(signals, {
    journal: { done: (report) => void done.push(report) },
    selfPid: process.pid,
    log,
    now: () => ({ wall: 1000, mono: 1 }),
    ...changes,
  });
  return { reports, outcomes: reports.map((report) => report.outcome), done, lines };
}

/** Notes kills and carries them out. */
function noting() {
  const killed: string[] = [];
  const kill = (pid: number, signal: string) => {
    killed.push(`${signal} ${pid}`);
    process.kill(pid, signal);
  };
  return { killed, kill };
}

test('to the leader: it alone, exactly once, and the journal hears of it', async (t) => {
  const payload = await startPayload(t, SCRIPTS.forks);
  const { killed, kill } = noting();
  const { reports, done, lines } = run([effect(specOf(payload), 'leader')], { kill });
  assert.deepEqual(killed, [`SIGTERM ${payload.pid}`]);
  assert.deepEqual(reports, [
    {
      id: `p${payload.pid}`,
      step: { episode: 1, index: 0, signal: 'SIGTERM' },
      outcome: 'delivered',
      at: { wall: 1000, mono: 1 },
    },
  ]);
  assert.deepEqual(done, reports);
  assert.deepEqual(lines, []);
  assert.equal((await payload.ended).signal, 'SIGTERM');
});

test('to the group: leader first, each member once, nobody else', async (t) => {
  const payload = await startPayload(t, SCRIPTS.forks);
  const bystander = await startPayload(t, SCRIPTS.plain);
  const { killed, kill } = noting();
  assert.deepEqual(run([effect(specOf(payload), 'group')], { kill }).outcomes, ['delivered']);
  assert.equal(killed[0], `SIGTERM ${payload.pid}`);
  assert.equal(killed.length, 4);
  assert.equal(new Set(killed).size, 4);
  await payload.ended;
  assert.ok(isAlive(bystander.pid));
});

/** Its leader has ended, a child in its group has not. */
async function leaderless(t: TestContext) {
  const payload = await startPayload(t, SCRIPTS.leavesGroup);
  const child = Number((await payload.line(/^pid (\d+)$/))[1]);
  payload.child.stdin?.write('x');
  await payload.ended;
  assert.ok(isAlive(child));
  return { spec: specOf(payload), child };
}

test('to the group whose leader is gone: the members left are found', async (t) => {
  const { spec, child } = await leaderless(t);
  assert.deepEqual(run([effect(spec, 'group')]).outcomes, ['delivered']);
  await untilDead(child);
  assert.deepEqual(run([effect(spec, 'group')]).outcomes, ['no_process']);
});

for (const signal of ['SIGTERM', 'SIGINT', 'SIGKILL'])
  test(`S3.4 ${signal} to a leader that is gone goes to whom it left behind, once`, async (t) => {
    const { spec, child } = await leaderless(t);
    const { killed, kill } = noting();
    const { outcomes, done } = run([effect(spec, 'leader', signal)], { kill });
    assert.deepEqual([outcomes, killed], [['delivered'], [`${signal} ${child}`]]);
    assert.deepEqual(
      done.map(({ outcome }) => outcome),
      ['delivered'],
    );
  });

test('S3.4 a warning does not: who is left may not know it', async (t) => {
  const { spec, child } = await leaderless(t);
  const { killed, kill } = noting();
  assert.deepEqual(run([effect(spec, 'leader', 'SIGUSR1')], { kill }).outcomes, ['no_process']);
  assert.deepEqual(killed, []);
  assert.ok(isAlive(child));
});

test('to the rest: the leader has had it', async (t) => {
  const payload = await startPayload(t, SCRIPTS.forks);
  const { killed, kill } = noting();
  const { reports } = run([effect(specOf(payload), 'all', 'SIGCONT')], { kill, rest: true });
  assert.deepEqual([reports[0]?.outcome, reports[0]?.rest], ['delivered', true]);
  assert.equal(killed.length, 3);
  assert.ok(!killed.includes(`SIGCONT ${payload.pid}`));
});

test('S3.4 to all: a child in its own session is reached, which to the group it is not', async (t) => {
  const payload = await startPayload(t, SCRIPTS.setsid);
  const child = Number((await payload.line(/^pid (\d+)$/))[1]);
  run([effect(specOf(payload), 'group', 'SIGCONT')]);
  const { killed, kill } = noting();
  run([effect(specOf(payload), 'group', 'SIGCONT')], { kill });
  assert.deepEqual(killed, [`SIGCONT ${payload.pid}`]);
  assert.deepEqual(run([effect(specOf(payload), 'all', 'SIGKILL')]).outcomes, ['delivered']);
  await payload.ended;
  await untilDead(child);
});

test('S3.4 to all of a registered pid: not the session and group it was started in', async (t) => {
  // A pilot that starts its payload in its own group and registers only that pid.
  const pilot = await startPayload(
    t,
    `const child = spawn(process.execPath, ['-e', 'require("node:child_process").spawn("sleep", ["1000"], { stdio: "ignore" }); setInterval(() => {}, 1e9); console.log("up")'], { stdio: ['ignore', 'pipe', 'inherit'] });
     child.stdout.once('data', () => { say('pid ' + child.pid); say('ready'); });`,
  );
  const pid = Number((await pilot.line(/^pid (\d+)$/))[1]);
  const target = { kind: 'process', leader: { pid, startTicks: startTicksOf(pid) }, group: false } as const;
  const { killed, kill } = noting();
  run([effect(specOf(pilot, { target }), 'all', 'SIGKILL')], { kill });
  assert.equal(killed.length, 2);
  assert.ok(!killed.includes(`SIGKILL ${pilot.pid}`));
  assert.ok(isAlive(pilot.pid));
});

test('a payload that replaces every child that ends is caught whole', async (t) => {
  const payload = await startPayload(t, SCRIPTS.respawns);
  assert.deepEqual(run([effect(specOf(payload), 'all', 'SIGKILL')]).outcomes, ['delivered']);
  await payload.ended;
  const left = fs.readdirSync('/proc').filter((name) => {
    try {
      return fs.readFileSync(`/proc/${name}/stat`, 'latin1').split(' ')[4] === String(payload.pid);
    } catch {
      return false;
    }
  });
  // Who has got SIGKILL needs a moment to end; who has not stays for 1,000 s.
  for (const name of left) await untilDead(Number(name));
});

test('one that ignores SIGTERM gets it once per step and ends by SIGKILL', async (t) => {
  const payload = await startPayload(t, SCRIPTS.ignoresTerm);
  assert.deepEqual(run([effect(specOf(payload), 'group')]).outcomes, ['delivered']);
  await payload.line(/^got SIGTERM$/);
  run([effect(specOf(payload), 'group', 'SIGKILL')]);
  assert.equal((await payload.ended).signal, 'SIGKILL');
});

test('one that exits at once: no_process, and a zombie counts as none', async (t) => {
  const payload = await startPayload(t, SCRIPTS.exits);
  await payload.ended;
  const spec = specOf(payload);
  const receivers = ['leader', 'group', 'all'] as const;
  assert.deepEqual(run(receivers.map((to) => effect(spec, to))).outcomes, ['no_process', 'no_process', 'no_process']);
  const other = await startPayload(t, SCRIPTS.plain);
  process.kill(other.pid, 'SIGKILL');
  while (isAlive(other.pid));
  assert.ok(fs.existsSync(`/proc/${other.pid}`), 'not reaped before the loop turns');
  const { killed, kill } = noting();
  assert.deepEqual(run([effect(specOf(other), 'group')], { kill }).outcomes, ['no_process']);
  assert.deepEqual(killed, []);
  await other.ended;
});

test('a reused pid (other start time) is never signalled, nor its group or children', async (t) => {
  const payload = await startPayload(t, SCRIPTS.forks);
  for (const wrong of [-1, 1]) {
    const leader = { pid: payload.pid, startTicks: payload.ref.startTicks + wrong };
    const spec = specOf(payload, { target: { kind: 'process', leader, group: true } });
    const { killed, kill } = noting();
    const receivers = ['leader', 'group', 'all'] as const;
    const { outcomes } = run(
      receivers.map((to) => effect(spec, to, 'SIGKILL')),
      { kill },
    );
    assert.deepEqual(outcomes, ['no_process', 'no_process', 'no_process']);
    assert.deepEqual(killed, []);
  }
  assert.ok(isAlive(payload.pid));
});

test('a process of another user is refused and said so', needsRoot, async (t) => {
  const payload = await startPayload(t, SCRIPTS.forks, { uid: 65534 });
  const { killed, kill } = noting();
  const { outcomes, lines } = run([effect(specOf(payload), 'group')], { kill });
  assert.deepEqual(outcomes, ['refused']);
  assert.deepEqual(killed, []);
  assert.equal(lines.length, 1);
  assert.equal(lines[0]?.['event'], 'signal_refused');
  assert.equal(lines[0]?.['reason'], 'other_owner');
  assert.deepEqual(run([effect(specOf(payload, { uid: 65534 }), 'group')]).outcomes, ['delivered']);
});

test('one of four uids differs: refused', needsRoot, async (t) => {
  const payload = await startPayload(t, `process.seteuid(65534); say('ready');`);
  for (const owner of [0, 65534]) {
    assert.deepEqual(run([effect(specOf(payload, { uid: owner }), 'leader')]).outcomes, ['refused']);
  }
  assert.ok(isAlive(payload.pid));
});

test('of a group with members of several users only the owner’s get the signal', needsRoot, async (t) => {
  const payload = await startPayload(
    t,
    `say('pid ' + spawn('sleep', ['1000'], { stdio: 'ignore', uid: 65534 }).pid); say('ready');`,
  );
  const child = Number((await payload.line(/^pid (\d+)$/))[1]);
  assert.deepEqual(run([effect(specOf(payload), 'all', 'SIGKILL')]).outcomes, ['delivered']);
  await payload.ended;
  assert.ok(isAlive(child));
});

test('never pid 1 or below, never itself, never a kernel thread', (t) => {
  const { root, add } = procTree(t);
  for (const pid of [1, 7, 8, 9]) add(pid, { pgrp: 7, flags: pid === 9 ? 0x0020_0000 : 0 });
  const killed: number[] = [];
  const options = { procRoot: root, selfPid: 8, kill: (pid: number) => void killed.push(pid) };
  const spec = (pid: number) => specOf({ ref: { pid, startTicks: 100 } });
  for (const pid of [0, -1, 1, -7, 1.5, Number.NaN, 8, 9]) {
    for (const to of ['leader', 'group', 'all'] as const) {
      if (pid === 9 && to !== 'leader') continue;
      assert.deepEqual(run([effect(spec(pid), to)], options).outcomes, ['refused'], `${pid} ${to}`);
    }
  }
  assert.deepEqual(killed, []);
  assert.deepEqual(run([effect(spec(7), 'group')], options).outcomes, ['delivered']);
  assert.deepEqual(killed, [7]);
});

test('identity is read anew before each kill: a member replaced after the scan is let alone', (t) => {
  const { root, add } = procTree(t);
  add(20);
  add(21, { pgrp: 20 });
  add(22, { pgrp: 20 });
  const killed: number[] = [];
  const kill = (pid: number) => {
    killed.push(pid);
    if (pid === 21) add(22, { pgrp: 22, start: 500 });
  };
  run([effect(specOf({ ref: { pid: 20, startTicks: 100 } }), 'group')], { procRoot: root, kill });
  assert.deepEqual(killed, [20, 21]);
});

test('a child born between scan and kill is caught by the next round; the rounds are bounded', (t) => {
  const { root, add, remove } = procTree(t);
  add(30);
  let next = 31;
  const killed: number[] = [];
  const kill = (pid: number) => {
    killed.push(pid);
    remove(pid);
    add(next, { pgrp: 30, start: 200 });
    next += 1;
  };
  const { outcomes } = run([effect(specOf({ ref: { pid: 30, startTicks: 100 } }), 'group')], { procRoot: root, kill });
  assert.deepEqual(outcomes, ['delivered']);
  assert.deepEqual(
    killed,
    Array.from({ length: killed.length }, (_, n) => 30 + n),
  );
  assert.ok(killed.length >= 3 && killed.length <= 11, `${killed.length} kills`);
});

test('to all: a daemon’s child whose parent has ended is found by group and session', (t) => {
  const { root, add, remove } = procTree(t);
  add(40);
  add(41, { ppid: 40, pgrp: 41, session: 41, start: 110 });
  add(42, { ppid: 41, pgrp: 42, session: 41, start: 120 });
  add(43, { ppid: 1, pgrp: 43, session: 41, start: 130 });
  add(44, { ppid: 1, pgrp: 44, session: 44, start: 130 });
  add(39, { ppid: 40, pgrp: 40, session: 40, start: 90 });
  const killed: number[] = [];
  const kill = (pid: number) => {
    killed.push(pid);
    remove(pid);
  };
  run([effect(specOf({ ref: { pid: 40, startTicks: 100 } }), 'all')], { procRoot: root, kill });
  assert.deepEqual(killed, [40, 41, 42, 43], 'neither the stranger 44 nor 39, which is older than the leader');
});

test('identity not readable (hidepid): refused, said so, nobody is signalled', (t) => {
  const { root, add } = procTree(t);
  add(50);
  fs.rmSync(path.join(root, '50/stat'));
  fs.mkdirSync(path.join(root, '50/stat'));
  add(51, { pgrp: 50 });
  const killed: number[] = [];
  const receivers = ['leader', 'group', 'all'] as const;
  const spec = specOf({ ref: { pid: 50, startTicks: 100 } });
  const { outcomes, lines } = run(
    receivers.map((to) => effect(spec, to)),
    { procRoot: root, kill: (pid) => void killed.push(pid) },
  );
  assert.deepEqual(outcomes, ['refused', 'refused', 'refused']);
  assert.deepEqual(killed, []);
  assert.deepEqual(
    lines.map((line) => line['reason']),
    ['unreadable', 'unreadable', 'unreadable'],
  );
});

test('what kill says: ESRCH is fine, EPERM and an unknown signal are refusals, nothing is thrown', async (t) => {
  const payload = await startPayload(t, SCRIPTS.plain);
  const failing = (code: string) => () => {
    throw Object.assign(new Error(code), { code });
  };
  const spec = specOf(payload);
  assert.deepEqual(run([effect(spec, 'leader')], { kill: failing('ESRCH') }).outcomes, ['no_process']);
  assert.deepEqual(run([effect(spec, 'leader')], { kill: failing('EPERM') }).outcomes, ['refused']);
  assert.deepEqual(run([effect(spec, 'leader', 'SIGNONSENSE')]).outcomes, ['refused']);
  assert.ok(isAlive(payload.pid));
});

test('S3.6 each step is in the journal before the next kill', async (t) => {
  const payloads = [await startPayload(t, SCRIPTS.plain), await startPayload(t, SCRIPTS.plain)];
  const order: string[] = [];
  const { reports } = run(
    payloads.map((payload) => effect(specOf(payload), 'group')),
    {
      kill: (pid, signal) => {
        order.push(`kill ${pid}`);
        process.kill(pid, signal);
      },
      journal: { done: (report) => void order.push(`done ${report.id.slice(1)}`) },
    },
  );
  assert.deepEqual(
    order,
    payloads.flatMap(({ pid }) => [`kill ${pid}`, `done ${pid}`]),
  );
  assert.equal(reports.length, 2);
});

test('one scan of /proc serves all group effects of a round', (t) => {
  const { root, add } = procTree(t);
  const specs = Array.from({ length: 50 }, (_, n) => {
    add(100 + n);
    return specOf({ ref: { pid: 100 + n, startTicks: 100 } });
  });
  const scans = t.mock.method(fs, 'readdirSync');
  const { outcomes } = run(
    specs.map((spec) => effect(spec, 'all')),
    { procRoot: root, kill: () => undefined },
  );
  assert.ok(outcomes.every((outcome) => outcome === 'delivered'));
  assert.equal(scans.mock.callCount(), 2);
});
