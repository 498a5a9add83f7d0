/**
 * The machine "sleeps" for minutes in the middle of an escalation: wall and boot time go on, monotonic time does not, and
 * everything else is the real thing: the whole agent in this process, a host's directory, and a payload that ignores its
 * SIGTERM (SEMANTICS S3.5, S4.2).
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test, { describe } from 'node:test';
import { startAgent } from '../../agent/agent.ts';
import { type Clock, systemClock } from '../../agent/clock.ts';
import { createLog } from '../../agent/log.ts';
import { exchange } from '../support/exchange.ts';
import { hostDirectories } from '../support/host-directories.ts';
import { loadGood } from '../support/load-config.ts';
import type { Ending } from '../support/processes.ts';
import { PROGRAM } from '../support/program.ts';
import { startZoo, whyNoZoo } from '../support/zoo.ts';

const MINUTE_MS = 60_000;
const GRACE_MS = 5_000;
const KILL_MS = 1_000;
/** Once an hour: only what is asked because time jumped learns anything. */
const CONFIG = `[stop]
drain = "6s"
grace = "${GRACE_MS}ms"
steps = [ { at = "grace", signal = "SIGTERM" }, { at = "${KILL_MS}ms", signal = "SIGKILL" } ]
[source.directory]
reader = "child"
poll = "1h"
`;
/** S3.5: what a payload gets that has its SIGTERM only after the deadline. */
const AFTER_DEADLINE_MS = 30_000;
/** Of the spacing as the payload sees it: its SIGTERM may have been on its way for a while. */
const ON_ITS_WAY_MS = 1_500;
const LATEST_MS = 90_000;
const LOOK_MS = 10;

const skip = process.getuid?.() !== 0 ? 'registering goes through admin.sock: needs root' : (whyNoZoo() ?? false);

/** One agent with one payload, told of a deadline; `leftMs` from now on its clock. */
async function startScene(t: Ending, leftMs: number) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-suspend-'));
  t.after(() => fs.rmSync(dir, { recursive: true, force: true }));
  let sleptMs = 0;
  const clock: Clock = {
    now: () => ({ ...systemClock.now(), wall: Date.now() + sleptMs }),
    bootMs: () => systemClock.bootMs() + sleptMs,
  };
  const deadline = Math.ceil((Date.now() + leftMs) / 1000);
  const host = hostDirectories(path.join(dir, 'host'), { machine: { total_cpu: 8, shutdowntime: deadline } });
  const config = await loadGood({
    files: { 'config.toml': CONFIG },
    env: { MJF_AGENT_PUBLISH__LINK_ETC: 'false' },
    flags: {
      machinefeatures: host.machine,
      jobfeatures: host.job,
      runtimeDir: path.join(dir, 'run'),
      stateDir: path.join(dir, 'state'),
      listen: 'off',
    },
  });
  const events: Readonly<Record<string, unknown>>[] = [];
  const { log } = createLog({
    level: 'info',
    tty: false,
    stream: {
      write: (text) =>
        void events.push(
          ...text
            .trimEnd()
            .split('\n')
            .map((line) => JSON.parse(line)),
        ),
    },
  });
  const self = { command: process.execPath, args: [PROGRAM] };
  const agent = startAgent({
    config,
    clock,
    log,
    env: { PATH: process.env['PATH'] },
    root: '/',
    self,
    onLogDrops: () => {},
  });
  t.after(() => agent.stop());
  await agent.ready();
  const zoo = await startZoo(t, path.join(dir, 'records'));
  const pid = (await zoo.start([{ name: 'payload', manner: 'ignores' }])).get('payload')?.get('leader');
  const body = { name: 'payload', target: { pid } };
  const ask = (target: string, wish = {}) => exchange('', path.join(dir, 'run/admin.sock'), target, wish);
  assert.equal((await ask('/v1/payloads', { method: 'POST', body })).status, 201);
  const lifetime = async () => JSON.parse((await ask('/v1/lifetime')).body.toString());
  assert.equal((await lifetime()).deadline, deadline);

  const history = (): readonly string[] => zoo.recordsOf('payload').map(({ what }) => what);
  return {
    deadlineMs: deadline * 1000,
    host,
    history,
    lifetime,
    /** From one moment to the next. Resolves when the agent has noticed. */
    async sleep(ms: number): Promise<void> {
      sleptMs += ms;
      const jumps = () => events.filter(({ event, kind }) => event === 'time_jumped' && kind === 'suspend').length;
      const before = jumps();
      await until('the sleep was noticed', () => jumps() > before);
    },
    wallMs: () => Date.now() + sleptMs,
    told: () => until('SIGTERM', () => history().includes('SIGTERM')),
    /** Its two signals on the agent's clock as it is now. */
    async stopped() {
      const records = await zoo.untilEnded('payload', ['leader'], LATEST_MS);
      assert.deepEqual(history(), ['SIGTERM', 'died:SIGKILL']);
      const [termMs = 0, killMs = 0] = records.map(({ atMs }) => atMs + sleptMs);
      return { termMs, killMs };
    },
  };
}

describe('a machine that sleeps for minutes', { skip, concurrency: 4 }, () => {
  test('before the stop time: the steps come at their wall-clock times', async (t) => {
    const scene = await startScene(t, 10 * MINUTE_MS + GRACE_MS + 4_000);
    assert.equal((await scene.lifetime()).phase, 'running');
    await scene.sleep(10 * MINUTE_MS);
    const { termMs, killMs } = await scene.stopped();
    // Read from another clock than the agent's by a hair.
    assert.ok(termMs >= scene.deadlineMs - GRACE_MS - 2 && termMs < scene.deadlineMs - KILL_MS);
    assert.ok(killMs >= scene.deadlineMs - KILL_MS - 2);
  });

  test('through its deadline: SIGTERM as soon as it wakes, and SIGKILL half a minute later', async (t) => {
    const scene = await startScene(t, 5 * MINUTE_MS);
    await scene.sleep(10 * MINUTE_MS);
    const wokeMs = scene.wallMs();
    const { termMs, killMs } = await scene.stopped();
    assert.ok(termMs < wokeMs + AFTER_DEADLINE_MS, 'it did not wait for anything');
    assert.ok(killMs - termMs >= AFTER_DEADLINE_MS - ON_ITS_WAY_MS, `${killMs - termMs} ms between the two`);
    assert.equal((await scene.lifetime()).overdue, true);
  });

  test('after SIGTERM: SIGKILL keeps its distance, since the payload slept too', async (t) => {
    const scene = await startScene(t, GRACE_MS + 3_000);
    await scene.told();
    await scene.sleep(10 * MINUTE_MS);
    const { termMs, killMs } = await scene.stopped();
    // `stopped` reads the SIGTERM on the clock of now: the time asleep is in neither.
    assert.ok(killMs - termMs >= GRACE_MS - KILL_MS - ON_ITS_WAY_MS, `${killMs - termMs} ms between the two`);
  });

  test('postponed meanwhile: every source is asked before anything is done', async (t) => {
    const scene = await startScene(t, 5 * MINUTE_MS);
    const later = Math.ceil(scene.wallMs() / 1000) + 3_600;
    scene.host.set('machine', 'shutdowntime', later);
    await scene.sleep(10 * MINUTE_MS);
    await until('the new deadline', async () => (await scene.lifetime()).deadline === later);
    assert.equal((await scene.lifetime()).phase, 'running');
    assert.deepEqual(scene.history(), []);
  });
});

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const giveUpAt = Date.now() + LATEST_MS;
  while (!(await holds())) {
    if (Date.now() > giveUpAt) throw new Error(`never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}
