/** What `exec` takes for "stopped by the deadline" (SEMANTICS S3.8): exit code 75. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { type TestContext, test } from 'node:test';
import { pino } from 'pino';
import { DAEMON_SOURCE, type Supervision, supervise } from '../../agent/exec/supervise.ts';
import { DEFAULT_POLICY } from '../../agent/lifetime/state.ts';
import type { EscalationStep } from '../../agent/lifetime/types.ts';
import { readProcess } from '../../agent/payloads/process.ts';
import { present } from '../lifetime/history.ts';

/** A payload that returns 7 when its standard input ends, with a deadline half a minute ahead. */
function supervised(
  t: TestContext,
  steps: readonly EscalationStep[],
): { child: ChildProcess; supervision: Supervision } {
  const child = spawn('sh', ['-c', 'read line; exit 7'], { detached: true, stdio: ['pipe', 'ignore', 'ignore'] });
  const pid = child.pid ?? assert.fail('not started');
  t.after(() => child.kill('SIGKILL'));
  const startTicks = readProcess(pid)?.startTicks ?? assert.fail('it has ended');
  const supervision = supervise({
    child,
    leader: { pid, startTicks },
    marker: 'MJF_TEST_MARKER=supervise-end',
    name: 'payload',
    uid: process.getuid?.() ?? 0,
    graceMs: undefined,
    steps: undefined,
    wallSecs: undefined,
    policy: { ...DEFAULT_POLICY, graceMs: 60_000, steps },
    clock: {
      now: () => ({ wall: Date.now(), mono: performance.now() }),
      bootMs: () => performance.now(),
    },
    log: pino({ level: 'silent' }),
    onStep: () => {},
    onJump: async () => {},
  });
  supervision.observe({
    source: DAEMON_SOURCE.name,
    outcome: 'answer',
    answer: { notices: { complete: false, byId: { machine: present('shutdown', Date.now() + 30_000) } } },
  });
  return { child, supervision };
}

test('S3.8 who ends before any signal went out was not stopped, whatever programs were due: his own code counts', async (t) => {
  const { child, supervision } = supervised(t, [
    { at: 'grace', signal: 'hook:checkpoint' },
    { at: 1_000, signal: 'SIGTERM' },
  ]);
  assert.equal(supervision.stopping(), false);
  child.stdin?.end();
  assert.deepEqual(await supervision.ended, { code: 7, signal: null, stopped: false, left: false });
});

test('S3.8 who got one was', async (t) => {
  const { supervision } = supervised(t, [
    { at: 'grace', signal: 'SIGTERM' },
    { at: 1_000, signal: 'SIGKILL' },
  ]);
  assert.deepEqual(await supervision.ended, { code: null, signal: 'SIGTERM', stopped: true, left: false });
});
