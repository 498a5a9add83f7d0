/** The search for payloads on real processes of other users, real pidfiles and real control groups; systemd is played. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import type { ConfiguredPayload } from '../../agent/config/types.ts';
import type { PayloadSpec } from '../../agent/lifetime/types.ts';
import { cgroupMounts } from '../../agent/payloads/cgroup.ts';
import { openFinder } from '../../agent/payloads/finder.ts';
import type { UnitInfo } from '../../agent/payloads/units.ts';
import type { Registration } from '../../agent/ports.ts';
import { logLines } from '../support/log-lines.ts';
import { type Ending, SCRIPTS, specOf, startPayload, startTicksOf } from '../support/processes.ts';

const UID = 4_211;
const OTHER = 4_212;
const asRoot = { skip: process.getuid?.() === 0 ? false : 'only root can start processes of others' };

const payload = (name: string, find: ConfiguredPayload['find'], changes: Partial<ConfiguredPayload> = {}) => ({
  ...{ name, find, group: false, graceMs: null, steps: null, restartOnCancel: true },
  ...changes,
});

function place(t: Ending): string {
  const dir = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), 'mjf-finder-'));
  fs.chmodSync(dir, 0o755);
  t.after(() => fs.rmSync(dir, { recursive: true }));
  return dir;
}

interface Played {
  readonly units?: Map<string, UnitInfo>;
  readonly passwdFile?: string;
  readonly fails?: () => boolean;
}

function bench(payloads: readonly ConfiguredPayload[], played: Played = {}) {
  const clock = { mono: 1_000 };
  const { log, take } = logLines();
  const fresh: Registration[] = [];
  const asked: (readonly string[])[] = [];
  const finder = openFinder({
    selfPid: process.pid,
    units: {
      available: () => played.units !== undefined,
      async describe(names) {
        asked.push(names);
        if (played.fails?.() === true) throw new Error('timeout');
        return new Map(names.map((name) => [name, played.units?.get(name) ?? null]));
      },
    },
    log,
    register: (registration) => void fresh.push(registration),
    nowMono: () => clock.mono,
    ...(played.passwdFile === undefined ? {} : { passwdFile: played.passwdFile }),
  });
  finder.configure(payloads);
  return {
    clock,
    asked,
    finder,
    /** A look a second later, and what it finds at once or by asking. */
    async look(specs: readonly PayloadSpec[] = []): Promise<readonly Registration[]> {
      // Whoever was asked before has answered.
      await new Promise(setImmediate);
      clock.mono += 1_000;
      finder.look(specs);
      await new Promise(setImmediate);
      return fresh.splice(0);
    },
    events: () =>
      take()
        .filter(({ level }) => level > 20)
        .map(({ event }) => event),
  };
}

const specFrom = (registration: Registration): PayloadSpec => ({ ...registration, id: 'p', registeredMs: 0 });

test("match: another user's processes, each topmost one, and not those of a third", asRoot, async (t) => {
  const marker = `mjf-${randomBytes(6).toString('hex')}`;
  const script = `/* ${marker} */ ${SCRIPTS.plain}`;
  const nested = `const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 9e6) /* ${marker} */'], { stdio: 'ignore' }); say('pid ' + child.pid); say('ready');`;
  const [mine, parent, theirs] = await Promise.all([
    startPayload(t, script, { uid: UID }),
    startPayload(t, nested, { uid: UID }),
    startPayload(t, script, { uid: OTHER }),
  ]);
  // This test itself started them and must not count as the agent.
  const command = new RegExp(marker, 'u');
  const { log } = logLines();
  const found: Registration[] = [];
  const finder = openFinder({
    selfPid: 2 ** 22 + 1,
    units: { available: () => false, describe: async () => new Map() },
    log,
    register: (registration) => void found.push(registration),
  });
  finder.configure([payload('worker', { by: 'match', user: String(UID), command })]);
  finder.look([]);
  const pids = found.map(({ target }) => (target.kind === 'process' ? target.leader.pid : 0)).sort();
  assert.deepEqual(pids, [mine.pid, parent.pid].sort());
  assert.ok(!pids.includes(theirs.pid));
  assert.deepEqual(found[0]?.uid, UID);
  const ref = found
    .map(({ target }) => target)
    .find((target) => target.kind === 'process' && target.leader.pid === mine.pid);
  assert.deepEqual(ref, {
    kind: 'process',
    leader: { pid: mine.pid, startTicks: startTicksOf(mine.pid) },
    group: false,
  });
});

test('pidfile: its process is found, then the next one; what is registered already is not', asRoot, async (t) => {
  const dir = place(t);
  const file = path.join(dir, 'p.pid');
  const [first, second] = await Promise.all([
    startPayload(t, SCRIPTS.plain, { uid: UID }),
    startPayload(t, SCRIPTS.plain, { uid: UID }),
  ]);
  const { look, events } = bench([
    payload('pilot', { by: 'pidfile', file, user: String(UID) }, { group: true, graceMs: 5_000 }),
  ]);
  assert.deepEqual([await look(), events()], [[], []], 'absent is no news');
  fs.writeFileSync(file, `${first.pid}\n`);
  const [found] = await look();
  assert.deepEqual(found, {
    name: 'pilot',
    uid: UID,
    origin: 'pilot',
    graceMs: 5_000,
    target: { kind: 'process', leader: first.ref, group: true },
  });
  assert.ok(found);
  assert.deepEqual(await look([specFrom(found)]), []);
  fs.writeFileSync(file, `${second.pid}\n`);
  assert.deepEqual(
    (await look([specFrom(found)])).map(({ target }) => target),
    [{ kind: 'process', leader: second.ref, group: true }],
  );
  assert.deepEqual(await look([specOf(second)]), [], 'registered by somebody else');
  assert.deepEqual(events(), []);
});

test(
  'pidfile: a stale one, one of another user, of pid 1, of the agent: told once, and nothing is registered',
  asRoot,
  async (t) => {
    const dir = place(t);
    const theirs = await startPayload(t, SCRIPTS.plain, { uid: OTHER });
    const gone = await startPayload(t, SCRIPTS.plain, { uid: UID });
    gone.child.kill('SIGKILL');
    await gone.ended;
    const file = path.join(dir, 'p.pid');
    const { look, events } = bench([
      payload('pilot', { by: 'pidfile', file, user: String(UID) }),
      payload('root', { by: 'pidfile', file: `${dir}/root.pid`, user: '0' }),
    ]);
    for (const [text, event] of [
      [String(theirs.pid), 'pidfile_other_owner'],
      [String(gone.pid), 'pidfile_stale'],
      ['hello', 'pidfile_no_pid'],
    ] as const) {
      fs.writeFileSync(file, text);
      assert.deepEqual([await look(), await look(), events()], [[], [], [event]]);
    }
    fs.writeFileSync(`${dir}/root.pid`, '1');
    assert.deepEqual([await look(), events()], [[], ['pidfile_not_a_payload']]);
    fs.writeFileSync(`${dir}/root.pid`, String(process.pid));
    assert.deepEqual([await look(), events()], [[], []], 'the same condition is not told again');
  },
);

test('pidfile: conditions that come and go are told once a minute', asRoot, async (t) => {
  const file = path.join(place(t), 'p.pid');
  const { look, events, clock } = bench([payload('pilot', { by: 'pidfile', file, user: String(UID) })]);
  const flap = async (): Promise<void> => {
    fs.writeFileSync(file, 'x');
    await look();
    fs.rmSync(file);
    await look();
  };
  for (let i = 0; i < 5; i += 1) await flap();
  assert.deepEqual(events(), ['pidfile_no_pid']);
  clock.mono += 60_000;
  await flap();
  assert.deepEqual(events(), ['pidfile_no_pid']);
});

test(
  'a user by name: from passwd; an unknown one is told once, asked again after a minute and found',
  asRoot,
  async (t) => {
    const dir = place(t);
    const passwdFile = path.join(dir, 'passwd');
    const name = `mjf${randomBytes(4).toString('hex')}`;
    fs.writeFileSync(passwdFile, 'root:x:0:0::/:/bin/sh\n');
    const file = path.join(dir, 'p.pid');
    const mine = await startPayload(t, SCRIPTS.plain, { uid: UID });
    fs.writeFileSync(file, String(mine.pid));
    const { finder, clock, look, events } = bench([payload('pilot', { by: 'pidfile', file, user: name })], {
      passwdFile,
    });
    // The system's other sources are asked too; the answer comes with a child's end.
    while (events().length === 0) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      finder.look([]);
    }
    assert.deepEqual([await look(), events()], [[], []]);
    fs.appendFileSync(passwdFile, `${name}:x:${UID}:${UID}::/:/bin/sh\n`);
    assert.deepEqual(await look(), [], 'not within the minute');
    clock.mono += 75_000;
    await look();
    assert.equal((await look())[0]?.uid, UID);
  },
);

const unitInfo = (changes: Partial<UnitInfo> = {}): UnitInfo => ({
  unit: 'a.service',
  active: true,
  cgroup: '/nowhere.slice/a.service',
  stopTimeoutMs: 90_000,
  ...changes,
});

/** A control group of ours, below where v2 is mounted; null where none may be made. */
function controlGroup(t: Ending): { readonly path: string; readonly dir: string } | null {
  const mount = cgroupMounts()[0];
  if (mount === undefined) return null;
  const name = `mjf-test-${randomBytes(6).toString('hex')}`;
  const dir = path.join(mount.point, name);
  try {
    fs.mkdirSync(dir);
  } catch {
    return null;
  }
  t.after(async () => {
    // Processes leave a group when they are reaped.
    for (let i = 0; i < 1_000; i += 1) {
      try {
        for (const pid of fs.readFileSync(path.join(dir, 'cgroup.procs'), 'utf8').trim().split('\n')) {
          if (pid !== '') process.kill(Number(pid), 'SIGKILL');
        }
        fs.rmdirSync(dir);
        return;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }
  });
  return { path: path.posix.join(mount.root, name), dir };
}

test('unit: asked about when its first process is there, registered when it is active, not while it is a payload', async (t) => {
  const group = controlGroup(t);
  if (group === null) return t.skip('no control group (v2) may be made here');
  const info = unitInfo({ cgroup: group.path });
  const units = new Map([['a.service', info]]);
  const { look, asked, clock } = bench(
    [payload('condor', { by: 'unit', unit: 'a.service' }, { restartOnCancel: false })],
    { units },
  );
  assert.deepEqual(await look(), [], 'known, and at rest');
  for (let i = 0; i < 5; i += 1) await look();
  assert.equal(asked.length, 1, 'at rest systemd is left alone');

  const member = await startPayload(t, SCRIPTS.plain);
  fs.writeFileSync(path.join(group.dir, 'cgroup.procs'), String(member.pid));
  units.set('a.service', { ...info, active: false });
  assert.deepEqual(await look(), [], 'just starting');
  units.set('a.service', info);
  clock.mono += 2_500;
  const [found] = await look();
  assert.deepEqual(found, {
    name: 'condor',
    uid: 0,
    origin: 'condor',
    restartOnCancel: false,
    target: { kind: 'unit', unit: 'a.service', cgroup: group.path, stopTimeoutMs: 90_000 },
  });
  assert.ok(found);
  const before = asked.length;
  assert.deepEqual(await look([specFrom(found)]), []);
  assert.equal((await look()).length, 1, 'ended and running again between two looks: it is found at once');
  clock.mono += 700_000;
  assert.deepEqual(await look([specFrom(found)]), []);
  assert.equal(asked.length, before + 1, 'a payload is not asked about');
});

test('unit: while systemd does not answer, its group is watched on', async (t) => {
  const group = controlGroup(t);
  if (group === null) return t.skip('no control group (v2) may be made here');
  const info = unitInfo({ cgroup: group.path });
  const units = new Map([['a.service', info]]);
  const { look, clock, events } = bench([payload('condor', { by: 'unit', unit: 'a.service' })], { units });
  await look();
  units.clear();
  clock.mono += 800_000;
  await look();
  assert.deepEqual(events(), ['unit_unknown']);
  units.set('a.service', info);
  const member = await startPayload(t, SCRIPTS.plain);
  fs.writeFileSync(path.join(group.dir, 'cgroup.procs'), String(member.pid));
  assert.equal((await look()).length, 1);
});

test('unit: an alias, and no stop timeout', async (t) => {
  const group = controlGroup(t);
  if (group === null) return t.skip('no control group (v2) may be made here');
  const member = await startPayload(t, SCRIPTS.plain);
  fs.writeFileSync(path.join(group.dir, 'cgroup.procs'), String(member.pid));
  const info = unitInfo({ unit: 'real.service', cgroup: group.path, stopTimeoutMs: null });
  const { look } = bench([payload('x', { by: 'unit', unit: 'alias.service' })], {
    units: new Map([['alias.service', info]]),
  });
  const [found] = await look();
  assert.deepEqual(found?.target, { kind: 'unit', unit: 'real.service', cgroup: group.path });
  assert.ok(found);
  assert.deepEqual(await look([specFrom(found)]), []);
});

test('unit: unknown to systemd is told once and asked again after half a minute; all are asked at once', async () => {
  const units = new Map<string, UnitInfo>();
  const { look, asked, events, clock } = bench(
    [payload('a', { by: 'unit', unit: 'a.service' }), payload('b', { by: 'unit', unit: 'b.service' })],
    { units },
  );
  await look();
  await look();
  assert.deepEqual([asked, events()], [[['a.service', 'b.service']], ['unit_unknown', 'unit_unknown']]);
  clock.mono += 40_000;
  await look();
  assert.deepEqual([asked.length, events()], [2, []]);
});

test('unit: no systemd, or one that does not answer, is told once', async () => {
  const configured = [payload('a', { by: 'unit', unit: 'a.service' })];
  const without = bench(configured);
  await without.look();
  await without.look();
  assert.deepEqual([without.asked, without.events()], [[], ['unit_no_systemd']]);
  const failing = bench(configured, { units: new Map(), fails: () => true });
  await failing.look();
  await failing.look();
  assert.deepEqual([failing.asked.length, failing.events()], [1, ['unit_failed']]);
});

test('unit: what is answered after it was taken out of the configuration is not registered', async (t) => {
  const group = controlGroup(t);
  if (group === null) return t.skip('no control group (v2) may be made here');
  const member = await startPayload(t, SCRIPTS.plain);
  fs.writeFileSync(path.join(group.dir, 'cgroup.procs'), String(member.pid));
  const { finder, look } = bench([payload('a', { by: 'unit', unit: 'a.service' })], {
    units: new Map([['a.service', unitInfo({ cgroup: group.path })]]),
  });
  finder.look([]);
  finder.configure([]);
  assert.deepEqual(await look(), []);
});

test('cgroup: found when a process is in it, as its owner’s; made anew it is another one', asRoot, async (t) => {
  const group = controlGroup(t);
  if (group === null) return t.skip('no control group (v2) may be made here');
  fs.chownSync(group.dir, UID, UID);
  const { look, events } = bench([
    payload('batch', { by: 'cgroup', path: group.dir }),
    payload('no', { by: 'cgroup', path: '/init.scope' }),
  ]);
  assert.deepEqual(await look(), [], 'empty');
  assert.deepEqual(events(), ['cgroup_protected']);
  const member = await startPayload(t, SCRIPTS.plain, { uid: UID });
  fs.writeFileSync(path.join(group.dir, 'cgroup.procs'), String(member.pid));
  const inode = fs.statSync(group.dir).ino;
  const [found] = await look();
  assert.deepEqual(found, {
    name: 'batch',
    uid: UID,
    origin: 'batch',
    target: { kind: 'cgroup', path: group.path, inode },
  });
  assert.ok(found);
  assert.deepEqual(await look([specFrom(found)]), []);
  const stale = { ...specFrom(found), target: { kind: 'cgroup', path: group.path, inode: inode + 1 } } as const;
  assert.equal((await look([stale])).length, 1);
  assert.deepEqual(events(), []);
});

test('a fault while looking is told once and hides nothing of the other kinds', asRoot, async (t) => {
  const file = path.join(place(t), 'p.pid');
  const mine = await startPayload(t, SCRIPTS.plain, { uid: UID });
  fs.writeFileSync(file, String(mine.pid));
  const { log, take } = logLines();
  const found: Registration[] = [];
  const finder = openFinder({
    selfPid: process.pid,
    units: {
      available: () => {
        throw new Error('broken');
      },
      describe: async () => new Map(),
    },
    log,
    register: (registration) => void found.push(registration),
  });
  finder.configure([
    payload('u', { by: 'unit', unit: 'a.service' }),
    payload('p', { by: 'pidfile', file, user: String(UID) }),
  ]);
  finder.look([]);
  finder.look([]);
  assert.equal(found[0]?.name, 'p');
  assert.deepEqual(
    take().map(({ event }) => event),
    ['finder_failed'],
  );
});
