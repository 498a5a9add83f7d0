/** `exec`'s own heart under a wall clock that is set (SEMANTICS S4.2), with a real child and a clock of its own. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import test, { type TestContext } from 'node:test';
import type { Clock } from '../../agent/clock.ts';
import { systemClock } from '../../agent/clock.ts';
import { newMarker } from '../../agent/exec/environment.ts';
import { DAEMON_SOURCE, type Supervision, supervise } from '../../agent/exec/supervise.ts';
import { initialState } from '../../agent/lifetime/state.ts';
import type { Observation, StepResultReport } from '../../agent/lifetime/types.ts';
import { logLines } from '../support/log-lines.ts';
import { startTicksOf } from '../support/processes.ts';

const HOUR_MS = 3_600_000;

interface Scene {
  readonly supervision: Supervision;
  readonly reports: StepResultReport[];
  /** Sets the wall clock so much ahead. */
  set(byMs: number): void;
  /** Resolves when the jump was noticed and is over. */
  readonly jumped: Promise<void>;
  readonly takeLog: ReturnType<typeof logLines>['take'];
  now(): number;
}

function scene(t: TestContext, wallSecs: number): Scene {
  let aheadMs = 0;
  const clock: Clock = {
    now: () => ({ ...systemClock.now(), wall: systemClock.now().wall + aheadMs }),
    bootMs: systemClock.bootMs,
  };
  const child = spawn('sleep', ['600'], { detached: true, stdio: 'ignore' });
  const pid = child.pid ?? 0;
  const { log, take } = logLines();
  const reports: StepResultReport[] = [];
  let tell: () => void = () => {};
  const jumped = new Promise<void>((resolve) => {
    tell = resolve;
  });
  const supervision = supervise({
    child,
    leader: { pid, startTicks: startTicksOf(pid) },
    marker: newMarker(),
    name: 'payload',
    uid: process.getuid?.() ?? 0,
    graceMs: 5_000,
    steps: undefined,
    wallSecs,
    policy: initialState(0, 0).policy,
    clock,
    log,
    onStep: (report) => reports.push(report),
    // What was held back is entered right after it.
    onJump: async () => void setImmediate(() => setImmediate(tell)),
  });
  t.after(async () => {
    child.kill('SIGKILL');
    await supervision.ended;
  });
  return {
    supervision,
    reports,
    set: (byMs) => {
      aheadMs = byMs;
    },
    jumped,
    takeLog: take,
    now: () => clock.now().wall,
  };
}

const plan = (deadlineMs: number | null): Observation => ({
  source: DAEMON_SOURCE.name,
  outcome: 'answer',
  answer: {
    notices: {
      complete: false,
      byId: {
        machine:
          deadlineMs === null
            ? { is: 'negative' }
            : { is: 'present', value: { kind: 'shutdown', deadlineMs, reason: 'test' } },
      },
    },
  },
});

test('S4.2 a wall limit outlives the setting of the clock, also where a word comes before that is noticed', async (t) => {
  const { supervision, reports, set, jumped } = scene(t, 1800);
  set(HOUR_MS);
  // Judged at once, half an hour would be over.
  supervision.observe(plan(null));
  assert.deepEqual(reports, []);
  await jumped;
  supervision.observe(plan(null));
  assert.deepEqual([reports, supervision.stopping()], [[], false]);
});

test('a wall limit that is over is over', async (t) => {
  const { supervision, reports } = scene(t, 1);
  assert.equal((await supervision.ended).stopped, true);
  assert.equal(reports[0]?.step.signal, 'SIGTERM');
});

test('what the host’s own channels have named is known by its notice; going with the daemon’s return it makes no noise', (t) => {
  const { supervision, takeLog, now } = scene(t, 1800);
  const policy = initialState(0, 0).policy;
  const mjf = { name: 'mjf', rank: 'mjf', pollMs: 30_000 } as const;
  supervision.configure(policy, [DAEMON_SOURCE, mjf]);
  supervision.observe(plan(now() + HOUR_MS));
  assert.deepEqual(supervision.known(), []);
  const keys = { shutdowntime: { is: 'present', value: String(Math.ceil(now() / 1000) + 7_200) } } as const;
  supervision.observe({
    source: 'mjf',
    outcome: 'answer',
    answer: { machine: { channel: 'http://host', complete: true, keys } },
  });
  assert.deepEqual(
    supervision.known().map(({ id, source }) => [id, source]),
    [['mjf/shutdowntime', 'mjf']],
  );
  supervision.configure(policy, [DAEMON_SOURCE]);
  assert.deepEqual(supervision.known(), []);
  assert.deepEqual(
    takeLog().filter(({ event }) => event === 'source_removed'),
    [],
  );
});
