/** One memory over looks and deliveries: real processes that try to get away. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import { type TestContext, test } from 'node:test';
import { type Logger, pino } from 'pino';
import type {
  PayloadSpec,
  PayloadState,
  ProcessTarget,
  SnapshotPayload,
  StepReceiver,
} from '../../agent/lifetime/types.ts';
import { openPayloads } from '../../agent/payloads/payloads.ts';
import { makeCgroup, noCgroups } from '../support/cgroups.ts';
import { procTree } from '../support/proc-tree.ts';
import { isAlive, SCRIPTS, specOf, startPayload, type TestPayload, untilDead } from '../support/processes.ts';

const isRoot = process.getuid?.() === 0;
const needsRoot = { skip: isRoot ? false : 'not root: no process of another user can be started' };

function open(t: TestContext, procRoot?: string) {
  const killed: string[] = [];
  const lines: Record<string, unknown>[] = [];
  const log: Logger = pino({ base: null }, { write: (line: string) => void lines.push(JSON.parse(line)) });
  const payloads = openPayloads({
    selfPid: process.pid,
    log,
    journal: { done: () => undefined },
    now: () => ({ wall: Date.now(), mono: performance.now() }),
    kill(pid, signal) {
      killed.push(`${signal} ${pid}`);
      process.kill(pid, signal);
    },
    ...(procRoot === undefined ? {} : { procRoot }),
  });
  t.after(() =>
    assert.deepEqual(
      lines.filter((line) => line['event'] === 'payload_scan_failed'),
      [],
    ),
  );
  return {
    ...payloads,
    killed,
    lines,
    send: (payload: PayloadSpec, signal: string, to: StepReceiver = 'all') =>
      payloads.deliver([{ type: 'signal', payload, to, step: { episode: 1, index: 0, signal } }])[0]?.outcome,
  };
}

function specFor(payload: TestPayload, target: Partial<ProcessTarget> = {}, id = 'p1'): PayloadSpec {
  return specOf(payload, { id, target: { kind: 'process', leader: payload.ref, group: false, ...target } });
}
const stateOf = (state: PayloadState): ReadonlyMap<string, PayloadState> => new Map([['p1', state]]);

/**
 * The leader starts `middle` in a session of its own; at a word that starts `far`, the daemon, and ends. Then `far` has
 * neither parent, group nor session of the leader.
 */
const DAEMON = [
  'sh',
  '-c',
  `mkfifo "$1/go"
   setsid sh -c 'read go < "$0/go"; sleep 1000 & echo far $!' "$1" & echo ready; wait $!; echo reaped; read end`,
  'sh',
] as const;

async function daemonIn(t: TestContext, env: readonly string[] = []) {
  const dir = fs.mkdtempSync('/tmp/mjf-daemon-');
  t.after(() => fs.rmSync(dir, { recursive: true, force: true }));
  const payload = await startPayload(t, 'unused', { command: ['env', ...env, ...DAEMON, dir] });
  return {
    payload,
    /** Ends what is between; the daemon's pid. */
    async daemonise(): Promise<number> {
      fs.writeFileSync(`${dir}/go`, 'go\n');
      const far = Number((await payload.line(/^far (\d+)$/))[1]);
      // As a zombie it would still tie the two together.
      await payload.line(/^reaped$/);
      return far;
    },
    async end(): Promise<void> {
      payload.child.stdin?.write('end\n');
      await payload.ended;
    },
  };
}

test('a daemonised grandchild whose parent has ended is found again, if that was seen', async (t) => {
  const { payload, daemonise } = await daemonIn(t);
  const spec = specFor(payload, { group: true });
  const { look, send, killed } = open(t);
  const blind = open(t);
  assert.deepEqual(look([spec]), { gone: [], delivererGone: [], running: [] });
  const far = await daemonise();
  assert.equal(blind.send(spec, 'SIGCONT'), 'delivered');
  assert.deepEqual(blind.killed, [`SIGCONT ${payload.pid}`], 'without memory there is no way to it');
  send(spec, 'SIGCONT', 'group');
  assert.deepEqual(killed, [`SIGCONT ${payload.pid}`], 'and it is not of the group');
  assert.equal(send(spec, 'SIGKILL'), 'delivered');
  await payload.ended;
  await untilDead(far);
});

test('S3.4 SIGTERM to a group of which only who left it is left reaches that one', async (t) => {
  const { payload, daemonise, end } = await daemonIn(t);
  const spec = specFor(payload, { group: true });
  const { look, send, killed } = open(t);
  look([spec]);
  const far = await daemonise();
  look([spec]);
  await end();
  assert.equal(send(spec, 'SIGTERM', 'group'), 'delivered');
  assert.deepEqual(killed, [`SIGTERM ${far}`]);
  await untilDead(far);
});

test('S3.4 so does one to a leader that has ended, by the marker of those that nobody has seen', async (t) => {
  const marker = `MJF_MARK=${randomUUID()}`;
  const { payload, daemonise, end } = await daemonIn(t, [marker]);
  const far = await daemonise();
  await end();
  const { send, killed } = open(t);
  assert.equal(send(specFor(payload, { marker }), 'SIGTERM', 'leader'), 'delivered');
  assert.deepEqual(killed, [`SIGTERM ${far}`]);
  await untilDead(far);
});

test('S3.4 whom a registered pid leaves behind when it is told to end is told at the next look', async (t) => {
  const { payload, daemonise, end } = await daemonIn(t);
  const { look, send, callTheRest, killed } = open(t);
  const spec = specFor(payload);
  look([spec]);
  const far = await daemonise();
  look([spec]);
  send(spec, 'SIGCONT', 'leader');
  assert.deepEqual(callTheRest([stoppingRow(spec, 60_000)]), [], 'the leader lives and has time');
  await end();
  killed.length = 0;
  const [report] = callTheRest([stoppingRow(spec, 60_000)]);
  assert.deepEqual([report?.outcome, report?.rest, report?.step.signal], ['delivered', true, 'SIGTERM']);
  assert.deepEqual(killed, [`SIGTERM ${far}`]);
  await untilDead(far);
});

test('S3.4 and whom it still has shortly before the SIGKILL, then; itself not again', async (t) => {
  const payload = await startPayload(t, SCRIPTS.forks);
  const { callTheRest, killed } = open(t);
  const spec = specFor(payload);
  assert.deepEqual(callTheRest([stoppingRow(spec, 6_000)]), []);
  assert.equal(callTheRest([stoppingRow(spec, 4_000)])[0]?.outcome, 'delivered');
  assert.equal(killed.length, 3);
  assert.ok(!killed.includes(`SIGTERM ${payload.pid}`));
  assert.ok(isAlive(payload.pid));
});

/** The row of one that was told to end a minute ago and has its SIGKILL before it. */
function stoppingRow(spec: PayloadSpec, killInMs: number): SnapshotPayload {
  const now = Date.now();
  const of = (index: number, signal: string) => ({ step: { episode: 1, index, signal }, at: 'grace' as const });
  return {
    spec,
    state: 'stopping',
    deadlineMs: now + killInMs,
    stopAtMs: now - 60_000,
    episode: 1,
    steps: [
      { at: 'grace', signal: 'SIGTERM' },
      { at: 0, signal: 'SIGKILL' },
    ],
    plan: [
      { ...of(0, 'SIGTERM'), to: 'leader', dueMs: now - 60_000, state: 'done' },
      { ...of(1, 'SIGKILL'), to: 'all', dueMs: now + killInMs, state: 'planned' },
    ],
  };
}

test('S3.8 what is left behind: a group lives on in it, a pid alone ends with its leader unless it is being stopped', async (t) => {
  const { payload, daemonise, end } = await daemonIn(t);
  const { look, send } = open(t);
  const group = specFor(payload, { group: true });
  const bare = specFor(payload, {}, 'bare');
  look([group, bare]);
  const far = await daemonise();
  look([group, bare]);
  await end();
  const stopping = new Map([['bare', 'stopping']] as const);
  assert.deepEqual(look([group, bare], stopping).gone, []);
  assert.equal(send(bare, 'SIGCONT', 'leader'), 'no_process');
  assert.deepEqual(look([group, bare]).gone, ['bare']);
  assert.equal(send(group, 'SIGKILL'), 'delivered');
  await untilDead(far);
  assert.deepEqual(look([group]).gone, ['p1']);
});

test('the marker leads to whom nobody has seen; the entry whole, and of the owner alone', needsRoot, async (t) => {
  const marker = `MJF_MARK=${randomUUID()}`;
  const { payload, daemonise, end } = await daemonIn(t, [marker]);
  const { look, send, killed, lines } = open(t);
  const others = [
    await startPayload(t, 'unused', { command: ['env', `${marker}x`, 'sh', '-c', 'echo ready; read x'] }),
    await startPayload(t, 'unused', { command: ['env', `X${marker}`, 'sh', '-c', 'echo ready; read x'] }),
  ];
  const foreign = await startPayload(t, 'unused', {
    command: ['env', marker, 'sh', '-c', 'echo ready; read x'],
    uid: 65534,
  });
  const spec = specFor(payload, { marker });
  const far = await daemonise();
  await end();
  assert.deepEqual(look([spec]).gone, [], 'a marker keeps it alive');
  assert.equal(send(spec, 'SIGUSR1', 'leader'), 'no_process');
  assert.equal(send(spec, 'SIGKILL'), 'delivered');
  assert.deepEqual(killed, [`SIGKILL ${far}`]);
  assert.deepEqual(
    lines.map((line) => [line['event'], line['processes'], line['reason']]),
    [['signal_left_out', 1, 'other_owner']],
  );
  await untilDead(far);
  assert.deepEqual(look([spec]).gone, ['p1'], 'another user’s process keeps nothing alive');
  assert.ok([...others, foreign].every(({ pid }) => isAlive(pid)));
});

test('of two markers each finds its own', async (t) => {
  const mark = () => `MJF_MARK=${randomUUID()}`;
  const [one, two] = [mark(), mark()];
  const start = (marker: string) =>
    startPayload(t, 'unused', { command: ['env', marker, 'sh', '-c', 'echo ready; read x'] });
  const [first, second, third] = [await start(one), await start(two), await start(one)];
  const { deliver, killed } = open(t);
  const step = { episode: 1, index: 0, signal: 'SIGCONT' };
  const outcomes = deliver(
    [specFor(first, { marker: one }), specFor(second, { marker: two })].map((payload) => ({
      type: 'signal',
      payload,
      to: 'all',
      step,
    })),
  );
  assert.deepEqual(
    outcomes.map(({ outcome }) => outcome),
    ['delivered', 'delivered'],
  );
  assert.deepEqual(new Set(killed), new Set([first, second, third].map(({ pid }) => `SIGCONT ${pid}`)));
  assert.equal(killed.length, 3);
});

test('a marker behind more environment than is read finds nobody, and half of one nobody either', async (t) => {
  // The kernel allows 128 KiB an entry.
  const fill = ['A', 'B', 'C'].map((name) => `${name}=${'x'.repeat(120_000)}`);
  const payload = await startPayload(t, 'unused', {
    command: ['env', '-i', ...fill, 'MJF_MARK=1', '/bin/sh', '-c', 'echo ready; read x'],
  });
  const leader = await startPayload(t, SCRIPTS.plain);
  const { send, killed, containment } = open(t);
  assert.equal(send(specFor(leader, { marker: 'MJF_MARK=1' }), 'SIGCONT'), 'delivered');
  assert.deepEqual(killed, [`SIGCONT ${leader.pid}`]);
  assert.equal(containment(specFor(payload, { marker: 'MJF_MARK=1' })), 'descent');
});

test('what holds a payload together is said as it is', async (t) => {
  const marker = `MJF_MARK=${randomUUID()}`;
  const payload = await startPayload(t, 'unused', { command: ['env', marker, 'sh', '-c', 'echo ready; read x'] });
  const { containment } = open(t);
  assert.equal(containment(specFor(payload, { marker, group: true })), 'marker');
  assert.equal(containment(specFor(payload, { marker: 'MJF_MARK=other', group: true })), 'session');
  assert.equal(containment(specFor(payload, { group: true })), 'session');
  assert.equal(containment(specFor(payload)), 'descent');
  const inShell = await startPayload(t, 'unused', {
    detached: false,
    command: ['sh', '-c', 'set -m; sleep 1000 & echo job $!; echo ready; wait'],
  });
  const job = Number((await inShell.line(/^job (\d+)$/))[1]);
  const startTicks = Number(/\) (.*)/.exec(fs.readFileSync(`/proc/${job}/stat`, 'latin1'))?.[1]?.split(' ')[19]);
  const leader = { pid: job, startTicks };
  assert.equal(containment(specFor(inShell, { leader, group: true })), 'descent', 'a group without a session');
  const target = { kind: 'cgroup', path: '/x', inode: 1 } as const;
  assert.equal(containment(specOf(payload, { target })), 'cgroup');
  assert.equal(containment(specOf(payload, { target: { kind: 'unit', unit: 'x.service', cgroup: '/x' } })), 'cgroup');
});

test('groups and units: populated is alive, empty, gone or another is gone; stopped ones that run are told', {
  skip: noCgroups,
}, async (t) => {
  const group = makeCgroup(t);
  const inner = group.below('inner');
  const payload = await startPayload(t, SCRIPTS.plain);
  const { look } = open(t);
  const cgroup = { ...specOf(payload, { id: 'c' }), target: { kind: 'cgroup', path: group.path, inode: group.inode } };
  const unit = { ...specOf(payload, { id: 'u' }), target: { kind: 'unit', unit: 'x.service', cgroup: group.path } };
  const other = { ...cgroup, id: 'o', target: { ...cgroup.target, inode: group.inode + 1 } };
  const none = { ...unit, id: 'n', target: { ...unit.target, cgroup: `${group.path}/none` } };
  const odd = { ...unit, id: 'x', target: { ...unit.target, cgroup: '/../x' } };
  const specs = [cgroup, unit, other, none, odd] as readonly PayloadSpec[];
  const stopped = new Map(specs.map(({ id }) => [id, id === 'c' || id === 'o' ? 'running' : 'stopped'] as const));
  assert.deepEqual(look(specs).gone, ['c', 'u', 'o', 'n'], 'what cannot be read is not gone');
  assert.deepEqual(look(specs, stopped), { gone: ['c', 'o'], delivererGone: [], running: [] });
  inner.take(payload.pid);
  assert.deepEqual(look(specs), { gone: ['o', 'n'], delivererGone: [], running: [] });
  assert.deepEqual(look(specs, stopped), { gone: ['o'], delivererGone: [], running: ['u'] });
  process.kill(payload.pid, 'SIGKILL');
  await payload.ended;
  assert.deepEqual(look(specs, stateOf('running')).gone, ['c', 'u', 'o', 'n']);
});

test('without cgroup v2 a unit is alive and cannot be signalled', (t) => {
  const { root, write } = procTree(t);
  write('self/mountinfo', '35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n');
  const { look, send, lines } = open(t, root);
  const target = { kind: 'unit', unit: 'x.service', cgroup: '/system.slice/x.service' } as const;
  const spec: PayloadSpec = { id: 'u', name: 'test', uid: 0, registeredMs: 0, target };
  assert.deepEqual(look([spec]).gone, []);
  assert.equal(send(spec, 'SIGTERM'), 'refused');
  assert.equal(lines[0]?.['event'], 'signal_refused');
});

test('a process whose first thread has ended is alive, and is stopped', async (t) => {
  const { root, add, cursor } = procTree(t);
  cursor(1000);
  add(20, { state: 'Z', threads: 2 });
  const killed: number[] = [];
  const payloads = openPayloads({
    procRoot: root,
    selfPid: process.pid,
    log: pino({ level: 'silent' }),
    journal: { done: () => undefined },
    now: () => ({ wall: 0, mono: 0 }),
    kill: (pid) => void killed.push(pid),
  });
  const spec = specOf({ ref: { pid: 20, startTicks: 100 } });
  assert.deepEqual(payloads.look([spec]).gone, []);
  payloads.deliver([{ type: 'signal', payload: spec, to: 'all', step: { episode: 1, index: 0, signal: 'SIGTERM' } }]);
  assert.deepEqual(killed, [20]);
});

test('a scan that fails is told once and costs no payload', (t) => {
  const { root, add, cursor } = procTree(t);
  add(20);
  cursor(1000);
  const lines: Record<string, unknown>[] = [];
  const payloads = openPayloads({
    procRoot: root,
    selfPid: process.pid,
    log: pino({ base: null }, { write: (line: string) => void lines.push(JSON.parse(line)) }),
    journal: { done: () => undefined },
    now: () => ({ wall: 0, mono: 0 }),
  });
  const spec = specOf({ ref: { pid: 20, startTicks: 100 } });
  const gone = specOf({ ref: { pid: 21, startTicks: 100 } });
  const fails = t.mock.method(fs, 'readdirSync', () => {
    throw new Error('EMFILE');
  });
  for (let round = 0; round < 3; round += 1) assert.deepEqual(payloads.look([spec, gone]).gone, []);
  assert.deepEqual(
    lines.map((line) => line['event']),
    ['payload_scan_failed'],
  );
  fails.mock.restore();
  assert.deepEqual(payloads.look([spec, gone]).gone, [gone.id]);
});

test('S5.3 one whose exec lives is not gone before that has had time for its last word', async (t) => {
  const exec = await startPayload(t, SCRIPTS.plain);
  const payload = await startPayload(t, SCRIPTS.plain);
  const other = await startPayload(t, SCRIPTS.plain);
  const specs = [specOf(payload, { id: 'p1', deliverer: exec.ref }), specOf(other, { id: 'p2' })];
  let mono = 0;
  const { look } = openPayloads({
    selfPid: process.pid,
    log: pino({ level: 'silent' }),
    journal: { done: () => undefined },
    now: () => ({ wall: Date.now(), mono }),
  });
  for (const { child } of [payload, other]) child.kill('SIGKILL');
  await Promise.all([payload.ended, other.ended]);
  assert.deepEqual(look(specs).gone, ['p2'], 'nobody has a word to say for the other');
  mono += 3_000;
  assert.deepEqual(look(specs).gone, ['p2']);
  mono += 1_000;
  assert.deepEqual(look(specs).gone, ['p1', 'p2'], 'an exec that hangs is not waited for');
});

test('S3.8 with the exec a payload that has ended is gone, too', async (t) => {
  const exec = await startPayload(t, SCRIPTS.plain);
  const payload = await startPayload(t, SCRIPTS.plain);
  const specs = [specOf(payload, { id: 'p1', deliverer: exec.ref })];
  const { look } = open(t);
  payload.child.kill('SIGKILL');
  await payload.ended;
  assert.deepEqual(look(specs).gone, []);
  exec.child.kill('SIGKILL');
  await exec.ended;
  assert.deepEqual(look(specs), { gone: ['p1'], delivererGone: [], running: [] });
});
