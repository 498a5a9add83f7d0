/** `[[payload]] match`, on processes that stand in files: what is found, what is not, and when. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { ConfiguredPayload } from '../../agent/config/types.ts';
import type { PayloadSpec } from '../../agent/lifetime/types.ts';
import { type Finder, openFinder } from '../../agent/payloads/finder.ts';
import type { Registration } from '../../agent/ports.ts';
import { type FakeProc, fakeProc } from '../support/fake-proc.ts';
import { type LogLine, logLines } from '../support/log-lines.ts';
import type { Ending } from '../support/processes.ts';

const AGENT = 900;
const KERNEL_THREAD = 0x0020_0000;

interface Bench {
  readonly proc: FakeProc;
  readonly finder: Finder;
  readonly clock: { mono: number };
  /** One look, a second later; the pids that were registered at it. */
  look(extra?: readonly PayloadSpec[]): readonly number[];
  readonly specs: PayloadSpec[];
  lines(): readonly LogLine[];
}

const match = (command: RegExp, changes: Partial<ConfiguredPayload> = {}): ConfiguredPayload => ({
  name: 'worker',
  find: { by: 'match', user: '1000', command },
  group: false,
  graceMs: null,
  steps: null,
  restartOnCancel: true,
  ...changes,
});

function bench(t: Ending, payloads: readonly ConfiguredPayload[]): Bench {
  const proc = fakeProc(t);
  const clock = { mono: 1_000 };
  const { log, take } = logLines();
  const specs: PayloadSpec[] = [];
  let fresh: Registration[] = [];
  const finder = openFinder({
    procRoot: proc.root,
    selfPid: AGENT,
    self: { command: '/usr/bin/node', args: ['/opt/agent/own.ts'] },
    units: { describe: async () => new Map(), available: () => false },
    log,
    register: (registration) => void fresh.push(registration),
    nowMono: () => clock.mono,
  });
  finder.configure(payloads);
  proc.put({ pid: 1, uid: 0, ppid: 0, command: ['/sbin/init'] }, { pid: AGENT, uid: 0, command: ['mjf-agent', 'run'] });
  return {
    proc,
    finder,
    clock,
    specs,
    look(extra = []) {
      clock.mono += 1_000;
      fresh = [];
      finder.look([...specs, ...extra]);
      specs.push(...fresh.map((one, i) => ({ ...one, id: `p${specs.length + i}`, registeredMs: 0 })));
      return fresh.map(({ target }) => (target.kind === 'process' ? target.leader.pid : 0));
    },
    lines: take,
  };
}

const specOf = (pid: number, changes: Partial<PayloadSpec> = {}): PayloadSpec => ({
  id: `r${pid}`,
  name: 'registered',
  uid: 1000,
  target: { kind: 'process', leader: { pid, startTicks: pid }, group: false },
  registeredMs: 0,
  ...changes,
});

test('what is found is registered once, with the settings of the configuration', (t) => {
  const steps = [{ at: 'grace', signal: 'SIGTERM' }] as const;
  const { proc, look, specs } = bench(t, [match(/^\/opt\/worker --a b$/u, { graceMs: 5_000, steps })]);
  proc.put({ pid: 10, command: ['/opt/worker', '--a', 'b'] }, { pid: 11, command: ['/opt/worker', '--a'] });
  assert.deepEqual(look(), [10]);
  assert.deepEqual(specs, [
    {
      id: 'p0',
      registeredMs: 0,
      name: 'worker',
      origin: 'worker',
      uid: 1000,
      target: { kind: 'process', leader: { pid: 10, startTicks: 10 }, group: false },
      graceMs: 5_000,
      steps,
    },
  ]);
  assert.deepEqual(look(), []);
});

test('only the topmost of a tree, also where a parent in between does not match', (t) => {
  const { proc, look } = bench(t, [match(/worker/u)]);
  proc.put(
    { pid: 10, command: ['shell'] },
    { pid: 11, ppid: 10, command: ['worker'] },
    { pid: 12, ppid: 11, command: ['helper'] },
    { pid: 13, ppid: 12, command: ['worker', 'child'] },
    { pid: 20, command: ['worker', 'two'] },
  );
  assert.deepEqual(look(), [11, 20]);
  assert.deepEqual(look(), []);
});

test('another user, mixed users, pid 1, the agent and its children, threads of the kernel and zombies are none', (t) => {
  const { proc, look } = bench(t, [
    match(/worker|^$/u),
    match(/./u, { name: 'root', find: { by: 'match', user: '0', command: /worker|init|agent/u } }),
  ]);
  proc.put(
    { pid: 10, uid: 1001, command: ['worker'] },
    { pid: 11, uid: 1000, command: ['worker'], state: 'Z' },
    { pid: 12, uid: 0, ppid: 2, command: [], comm: 'worker', flags: KERNEL_THREAD },
    { pid: 13, uid: 1000, ppid: AGENT, command: ['worker'] },
    { pid: 14, uid: 0, ppid: AGENT, command: ['worker'] },
  );
  assert.deepEqual(look(), []);
  proc.put({ pid: 15, uid: 1000, command: ['worker'] }, { pid: 16, uid: 0, command: ['worker'] });
  assert.deepEqual(look(), [15, 16]);
});

test('a program that runs as more than one user is not taken: no signal could reach it', (t) => {
  const { proc, look } = bench(t, [match(/worker/u)]);
  proc.put({ pid: 10, command: ['worker'], uids: [1000, 0, 0, 0] }, { pid: 11, ppid: 10, command: ['worker'] });
  assert.deepEqual(look(), [11]);
});

test('nothing inside of a registered payload, nor that payload itself', (t) => {
  const { proc, look } = bench(t, [match(/worker/u)]);
  proc.put(
    { pid: 10, command: ['pilot'] },
    { pid: 11, ppid: 10, command: ['worker'] },
    { pid: 20, command: ['worker'] },
  );
  assert.deepEqual(look([specOf(10), specOf(20)]), []);
});

test('a payload of another user contains only what it may signal', (t) => {
  const { proc, look } = bench(t, [match(/worker/u)]);
  proc.put({ pid: 10, uid: 1001, command: ['sudo'] }, { pid: 11, ppid: 10, command: ['worker'] });
  assert.deepEqual(look([specOf(10, { uid: 1001 })]), [11]);
});

test('a pid that was given away again is another process', (t) => {
  const { proc, look, specs } = bench(t, [match(/worker/u)]);
  proc.put({ pid: 10, command: ['worker'] });
  assert.deepEqual(look(), [10]);
  proc.put({ pid: 10, command: ['worker'], startTicks: 77 });
  assert.deepEqual(look(), [10]);
  assert.deepEqual(specs[1]?.target, { kind: 'process', leader: { pid: 10, startTicks: 77 }, group: false });
});

test('a child that has not executed its program yet is found a second later', (t) => {
  const { proc, look, clock } = bench(t, [match(/^worker/u)]);
  proc.put({ pid: 10, command: ['shell'], comm: 'shell' });
  assert.deepEqual(look(), []);
  proc.put({ pid: 10, command: ['worker'], comm: 'worker' });
  assert.deepEqual(look(), [10]);
  // Also one that is long known, under the same name, where addresses are shown or not.
  proc.put(
    { pid: 20, command: ['sh', 'wait'], comm: 'sh' },
    { pid: 30, command: ['sh', 'wait'], comm: 'sh', arguments: 0 },
  );
  assert.deepEqual(look(), []);
  clock.mono += 15_000;
  assert.deepEqual(look(), []);
  proc.put(
    { pid: 20, command: ['worker'], comm: 'sh', arguments: 8 },
    { pid: 30, command: ['worker'], comm: 'sh', arguments: 0, size: 2 },
  );
  assert.deepEqual(look(), [20, 30]);
});

test('one that changes its user or its title only is found: at once while it is young, within half a minute later', (t) => {
  const { proc, look, clock } = bench(t, [match(/^worker/u)]);
  proc.put(
    { pid: 10, uid: 0, command: ['worker'] },
    { pid: 20, command: ['server'] },
    { pid: 30, command: ['server'] },
  );
  assert.deepEqual(look(), []);
  proc.put({ pid: 10, uid: 1000, command: ['worker'] }, { pid: 20, command: ['worker: busy'] });
  assert.deepEqual(look(), [10, 20]);
  clock.mono += 15_000;
  assert.deepEqual(look(), []);
  proc.put({ pid: 30, command: ['worker: busy'] });
  clock.mono += 30_000;
  assert.deepEqual(look(), [30]);
});

test('what was orphaned by the end of a payload is looked at again', (t) => {
  const { proc, look, specs } = bench(t, [match(/worker/u)]);
  proc.put({ pid: 10, command: ['worker'] }, { pid: 11, ppid: 10, command: ['worker', 'child'] });
  assert.deepEqual(look(), [10]);
  proc.end(10);
  specs.length = 0;
  proc.put({ pid: 11, ppid: 1, command: ['worker', 'child'] });
  assert.deepEqual(look(), [11]);
});

test('orphaned below a payload that adopts orphans, it stays inside', (t) => {
  const { proc, look } = bench(t, [match(/worker/u)]);
  proc.put(
    { pid: 10, command: ['worker'] },
    { pid: 11, ppid: 10, command: ['helper'] },
    { pid: 12, ppid: 11, command: ['worker', 'child'] },
  );
  assert.deepEqual(look(), [10]);
  proc.end(11);
  proc.put({ pid: 12, ppid: 10, command: ['worker', 'child'] });
  assert.deepEqual(look(), []);
});

test('so do more orphans than are read again at one look', (t) => {
  const { proc, look } = bench(t, [match(/worker/u)]);
  const children = (ppid: number) =>
    Array.from({ length: 560 }, (_, i) => ({ pid: 2_000 + i, ppid, command: ['worker', 'child'] }));
  proc.put({ pid: 10, command: ['worker'] }, { pid: 11, ppid: 10, command: ['helper'] }, ...children(11));
  assert.deepEqual(look(), [10]);
  proc.end(11);
  proc.put(...children(10));
  assert.deepEqual(look(), []);
});

test('an exec of ours gets time to register itself; its own registration wins', (t) => {
  for (const words of [
    ['node', '/usr/bin/mjf-agent', 'exec', '--', 'worker'],
    ['node', '--x', '/opt/agent/own.ts', 'exec', 'worker'],
  ]) {
    const { proc, look, clock } = bench(t, [match(/worker/u)]);
    proc.put({ pid: 10, command: words });
    assert.deepEqual(look(), []);
    proc.put({ pid: 11, ppid: 10, command: ['worker'] });
    assert.deepEqual(look([specOf(11, { deliverer: { pid: 10, startTicks: 10 } })]), []);
    clock.mono += 60_000;
    assert.deepEqual(look([specOf(11, { deliverer: { pid: 10, startTicks: 10 } })]), [], 'the deliverer is no payload');
  }
  const { proc, look, clock } = bench(t, [match(/worker/u)]);
  proc.put(
    { pid: 10, command: ['mjf-agent', 'exec', 'worker'] },
    { pid: 20, command: ['worker', 'mjf-agent', 'status'] },
  );
  assert.deepEqual(look(), [20]);
  clock.mono += 10_000;
  assert.deepEqual(look(), [10], 'one that never does is a process like any other');
});

test('what runs in a unit or control group that is a payload is stopped with it', (t) => {
  const { proc, look } = bench(t, [match(/worker/u)]);
  const unit = { kind: 'unit', unit: 'a.service', cgroup: '/system.slice/a.service' } as const;
  const cgroup = { kind: 'cgroup', path: '/jobs', inode: 5 } as const;
  const groups = [specOf(1, { id: 'u', uid: 0, target: unit }), specOf(1, { id: 'c', uid: 1001, target: cgroup })];
  proc.put(
    { pid: 10, command: ['worker'], cgroup: '/system.slice/a.service/part' },
    { pid: 11, command: ['worker'], cgroup: '/system.slice/a.service-not' },
    { pid: 12, command: ['worker'], cgroup: '/jobs' },
  );
  assert.deepEqual(look(groups), [11, 12], 'the group of user 1001 does not contain what it may not signal');
});

test('more than 256 are the first 256, told once; who ends makes room', (t) => {
  const { proc, look, specs, lines } = bench(t, [match(/worker/u)]);
  proc.put(...Array.from({ length: 260 }, (_, i) => ({ pid: 1_000 + i, startTicks: 2_000 - i, command: ['worker'] })));
  const found = look();
  assert.equal(found.length, 256);
  assert.equal(found[0], 1_259, 'the oldest first');
  assert.deepEqual(
    lines().map(({ event }) => event),
    ['match_too_many'],
  );
  assert.deepEqual([look(), lines()], [[], []]);
  proc.end(1_259);
  specs.shift();
  assert.deepEqual(look(), [1_003]);
});

test('of two payloads that match one process the first has it', (t) => {
  const { proc, look, specs } = bench(t, [match(/worker/u), match(/work/u, { name: 'wide' })]);
  proc.put({ pid: 10, command: ['worker'] }, { pid: 20, command: ['working'] });
  assert.deepEqual(look(), [10, 20]);
  assert.deepEqual(
    specs.map(({ origin }) => origin),
    ['worker', 'wide'],
  );
});

test('an expression that a command line keeps busy is broken off, told, and the others are found', (t) => {
  const { proc, look, lines } = bench(t, [match(/^(a+)+$/u, { name: 'evil' }), match(/worker/u)]);
  proc.put({ pid: 10, command: [`${'a'.repeat(60)}b`] }, { pid: 20, command: ['worker'] });
  assert.deepEqual(look(), [20]);
  assert.deepEqual(lines(), [], 'once may be the machine');
  proc.put({ pid: 30, command: ['worker'] });
  assert.deepEqual(look(), [30]);
  assert.deepEqual(
    lines().map(({ event, payload }) => [event, payload]),
    [['match_too_slow', 'evil']],
  );
});

test('a machine larger than what is read at one look: everything new is found at once, the rest in turn', (t) => {
  const { proc, look, clock } = bench(t, [match(/^worker/u)]);
  const many = Array.from({ length: 600 }, (_, i) => 2_000 + i);
  proc.put(...many.map((pid) => ({ pid, uid: pid % 2 === 0 ? 1000 : 1001, command: ['other'] })));
  assert.deepEqual(look(), []);
  proc.put({ pid: 4_000, command: ['worker'] });
  assert.deepEqual(look(), [4_000]);
  clock.mono += 60_000;
  for (let i = 0; i < 2; i += 1) look();
  // One of the watched user's, and one of another user's that becomes his.
  proc.put({ pid: 2_300, command: ['worker'], comm: 'worker' }, { pid: 2_301, command: ['worker'], comm: 'worker' });
  const found: number[] = [];
  for (let i = 0; i < 8; i += 1) found.push(...look());
  assert.deepEqual(found.sort(), [2_300, 2_301]);
});

test('a re-read configuration: another expression is tried on what is known', (t) => {
  const { proc, look, finder } = bench(t, [match(/^worker/u)]);
  proc.put({ pid: 10, command: ['other'] });
  assert.deepEqual(look(), []);
  finder.configure([match(/^other/u)]);
  assert.deepEqual(look(), [10]);
});

test('nothing is read where nothing is wanted, nor after the stop', (t) => {
  const { proc, look, finder } = bench(t, []);
  proc.put({ pid: 10, command: ['worker'] });
  assert.deepEqual(look(), []);
  finder.configure([match(/worker/u)]);
  finder.stop();
  assert.deepEqual(look(), []);
});
