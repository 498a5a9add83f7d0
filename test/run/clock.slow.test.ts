/**
 * The wall clock steps by an hour under the built daemon (libfaketime with a timestamp file; monotonic and boot time go on as
 * they are, as on a real machine): deadlines are wall-clock truths and still met, and what lies between SIGTERM and SIGKILL
 * is counted monotonically (SEMANTICS S3.5, S4.2).
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import test, { describe } from 'node:test';
import { startAgent, type TestAgent } from '../support/agent.ts';
import type { Ending } from '../support/processes.ts';
import { startZoo, whyNoZoo, type Zoo } from '../support/zoo.ts';

const HOUR_SECS = 3_600;
const GRACE_SECS = 6;
const KILL_SECS = 1;
const CONFIG = `[stop]\ndrain = "8s"\ngrace = "${GRACE_SECS}s"\nsteps = [ { at = "grace", signal = "SIGTERM" }, { at = "${KILL_SECS}s", signal = "SIGKILL" } ]\n`;
/** From SIGTERM to SIGKILL as planned. */
const SPACING_MS = (GRACE_SECS - KILL_SECS) * 1000;
/** Of the spacing as the payload sees it: its SIGTERM may have been on its way for a while. */
const ON_ITS_WAY_MS = 1_500;
/** Everything is over by then. */
const LATEST_MS = 60_000;

const library = ['/usr/lib', '/usr/lib64']
  .flatMap((place) => [place, ...list(place).map((name) => path.join(place, name))])
  .map((place) => path.join(place, 'faketime/libfaketimeMT.so.1'))
  .find((file) => fs.existsSync(file));
const skip =
  process.getuid?.() !== 0
    ? 'registering goes through admin.sock: needs root'
    : library === undefined
      ? 'libfaketime is not installed'
      : spawnSync('unshare', ['--mount', 'true']).status !== 0
        ? 'needs unshare (util-linux) and mount namespaces'
        : (whyNoZoo() ?? false);

/**
 * Each process that the library is loaded into leaves two files in /dev/shm if it is killed: there it is one of its own. Only
 * what is run in there has the library.
 */
const PRIVATE_SHM = 'mount -t tmpfs none /dev/shm && exec env LD_PRELOAD="$0" "$@"';
const WITHIN = ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', PRIVATE_SHM, library ?? ''] as const;

interface Scene {
  readonly agent: TestAgent;
  readonly zoo: Zoo;
  /** UNIX ms on the agent's clock of a record's instant. */
  shown(atMs: number): number;
  now(): number;
  /** Lets the agent's wall clock step to so many seconds beside the true one. */
  step(bySecs: number): Promise<void>;
  announce(deadlineSecs: number): Promise<void>;
}

/** The agent under a clock that can be stepped, and one payload that ignores its SIGTERM. */
async function startScene(t: Ending): Promise<Scene> {
  let bySecs = 0;
  let clockFile = '';
  const write = (): void => {
    fs.writeFileSync(`${clockFile}.new`, `${bySecs < 0 ? '' : '+'}${bySecs}\n`);
    fs.renameSync(`${clockFile}.new`, clockFile);
  };
  const agent = await startAgent(t, {
    config: CONFIG,
    machine: { total_cpu: 8 },
    within: WITHIN,
    env: (dir) => {
      clockFile = path.join(dir, 'clock');
      write();
      return {
        FAKETIME_TIMESTAMP_FILE: clockFile,
        FAKETIME_DONT_FAKE_MONOTONIC: '1',
        FAKETIME_NO_CACHE: '1',
      };
    },
  });
  const zoo = await startZoo(t, path.join(agent.dir, 'records'));
  const pid = (await zoo.start([{ name: 'payload', manner: 'ignores' }])).get('payload')?.get('leader');
  const body = { name: 'payload', target: { pid } };
  const { status } = await agent.request('/v1/payloads', { method: 'POST', body, socket: 'admin.sock' });
  assert.equal(status, 201);
  return {
    agent,
    zoo,
    shown: (atMs) => atMs + bySecs * 1000,
    now: () => Date.now() + bySecs * 1000,
    async step(to) {
      bySecs = to;
      write();
      const line = await agent.log('time_jumped');
      assert.equal(line['kind'], 'clock_step');
    },
    async announce(deadline) {
      agent.hostDirs.set('machine', 'shutdowntime', deadline);
      await agent.until('announced', (lifetime) => lifetime.deadline === deadline);
    },
  };
}

const signals = ({ zoo }: Scene): readonly string[] => zoo.recordsOf('payload').map(({ what }) => what);

/** What the payload got, each by its time on the agent's clock at the end. */
async function stopped(scene: Scene): Promise<{ readonly termMs: number; readonly killMs: number }> {
  const records = await scene.zoo.untilEnded('payload', ['leader'], LATEST_MS);
  const [term, kill] = records.slice(-2);
  assert.deepEqual([term?.what, kill?.what], ['SIGTERM', 'died:SIGKILL']);
  return { termMs: scene.shown(term?.atMs ?? 0), killMs: scene.shown(kill?.atMs ?? 0) };
}

function assertInTime({ termMs, killMs }: Awaited<ReturnType<typeof stopped>>, deadline: number): void {
  const [termDue, killDue] = [(deadline - GRACE_SECS) * 1000, (deadline - KILL_SECS) * 1000];
  // Records are read from another clock than the agent's by a hair.
  assert.ok(termMs >= termDue - 2 && termMs < killDue, `SIGTERM ${termMs - termDue} ms after it was due`);
  assert.ok(killMs >= killDue - 2, `SIGKILL ${killMs - killDue} ms after it was due`);
}

describe('a wall clock that steps', { skip, concurrency: 4 }, () => {
  test('forward by an hour in the middle of the window: the steps come at the new clock’s time', async (t) => {
    const scene = await startScene(t);
    const deadline = Math.ceil(Date.now() / 1000) + HOUR_SECS + GRACE_SECS + 4;
    await scene.announce(deadline);
    assert.equal((await scene.agent.lifetime()).phase, 'running');
    await scene.step(HOUR_SECS);
    assertInTime(await stopped(scene), deadline);
    assert.deepEqual(signals(scene), ['SIGTERM', 'died:SIGKILL']);
  });

  test('back by an hour in the middle of the window: nothing is sent at the old clock’s time, all at the new one’s', async (t) => {
    const scene = await startScene(t);
    const deadline = Math.ceil(Date.now() / 1000) + GRACE_SECS + 3;
    await scene.announce(deadline);
    await scene.step(-HOUR_SECS);
    await new Promise((resolve) => setTimeout(resolve, (deadline + 1) * 1000 - Date.now()));
    assert.deepEqual(signals(scene), []);
    assert.equal((await scene.agent.lifetime()).phase, 'running');
    await scene.step(deadline - GRACE_SECS - 2 - Math.ceil(Date.now() / 1000));
    assertInTime(await stopped(scene), deadline);
    assert.deepEqual(signals(scene), ['SIGTERM', 'died:SIGKILL']);
  });

  test('forward by an hour after SIGTERM: SIGKILL keeps its distance', async (t) => {
    const scene = await startScene(t);
    const deadline = Math.ceil(Date.now() / 1000) + GRACE_SECS + 2;
    await scene.announce(deadline);
    await until(() => signals(scene).includes('SIGTERM'));
    await scene.step(HOUR_SECS);
    const { termMs, killMs } = await stopped(scene);
    assert.ok(killMs - termMs >= SPACING_MS - ON_ITS_WAY_MS, `SIGKILL came ${killMs - termMs} ms after SIGTERM`);
    assert.deepEqual(signals(scene), ['SIGTERM', 'died:SIGKILL']);
    assert.ok((await scene.agent.lifetime()).overdue);
  });

  test('back by an hour after SIGTERM: the deadline is an hour away, and stopping begins anew when it comes', async (t) => {
    const scene = await startScene(t);
    const deadline = Math.ceil(Date.now() / 1000) + GRACE_SECS + 2;
    await scene.announce(deadline);
    await until(() => signals(scene).includes('SIGTERM'));
    await scene.step(-HOUR_SECS);
    await new Promise((resolve) => setTimeout(resolve, (deadline + 1) * 1000 - Date.now()));
    assert.deepEqual(signals(scene), ['SIGTERM'], 'nobody is killed by a clock that was wrong');
    assert.equal((await scene.agent.log('episode_ended'))['by'], 'postponed');
    await scene.step(deadline - GRACE_SECS - 2 - Math.ceil(Date.now() / 1000));
    assertInTime(await stopped(scene), deadline);
    assert.deepEqual(signals(scene), ['SIGTERM', 'SIGTERM', 'died:SIGKILL']);
  });
});

async function until(holds: () => boolean): Promise<void> {
  const giveUpAt = Date.now() + LATEST_MS;
  while (!holds()) {
    if (Date.now() > giveUpAt) throw new Error('never');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function list(place: string): readonly string[] {
  try {
    return fs.readdirSync(place);
  } catch {
    return [];
  }
}
