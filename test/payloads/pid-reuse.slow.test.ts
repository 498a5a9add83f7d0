/** Pids that come again, in a pid name space of our own: a stranger never gets a payload's signal (promise 3). */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import os from 'node:os';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

/** Some hundred real processes on a loaded machine. */
const TIMEOUT_MS = 120_000;

const INSIDE = fileURLToPath(new URL('pid-reuse.inside.ts', import.meta.url));
/** The name space ends with its first process, and all in it with that. */
const UNSHARE = ['--pid', '--fork', '--mount-proc', '--kill-child'] as const;

const noNamespace: string | false = (() => {
  const script = 'echo 100 > /proc/sys/kernel/ns_last_pid && exit 7';
  const { status } = spawnSync('unshare', [...UNSHARE, 'sh', '-c', script], { stdio: 'ignore', timeout: 10_000 });
  return status === 7 ? false : 'no pid name space with a settable last pid can be made here';
})();
/** Before 6.14 it is the whole machine's. */
const ownPidMax = os.release().localeCompare('6.14', undefined, { numeric: true }) >= 0;

async function inside(t: { after(fn: () => void): void }, story: string): Promise<Record<string, unknown>> {
  // A shell as the first process, which reaps whom nobody waits for.
  const node = ['sh', '-c', '"$@"; exit $?', 'sh', process.execPath, '--import', 'tsx', INSIDE, story];
  const child = spawn('unshare', [...UNSHARE, ...node], { stdio: ['ignore', 'pipe', 'inherit'], timeout: TIMEOUT_MS });
  t.after(() => void child.kill('SIGKILL'));
  let text = '';
  child.stdout.on('data', (data) => {
    text += data;
  });
  const code = await new Promise((resolve) => child.once('close', resolve));
  assert.equal(code, 0, `ended before it had told anything: ${text}`);
  return JSON.parse(text) as Record<string, unknown>;
}

test('a leader’s pid is another’s now: no receiver reaches it, and the payload is gone', {
  skip: noNamespace,
}, async (t) => {
  assert.deepEqual(await inside(t, 'leader'), {
    story: 'leader',
    same: true,
    outcomes: ['no_process', 'no_process', 'no_process'],
    killed: [],
    gone: 1,
  });
});

test('the number of a member’s session is another’s now: who is in that is let alone', {
  skip: noNamespace,
}, async (t) => {
  const { same, known, stranger, killed } = await inside(t, 'session');
  assert.deepEqual({ same, known, killed }, { same: true, known: true, killed: [] }, `the stranger is ${stranger}`);
});

test('pids that come around by the hundred: payloads are reached, strangers never', {
  skip: noNamespace || (ownPidMax ? false : 'before Linux 6.14 pid_max is the whole machine’s'),
}, async (t) => {
  const { wrong, reached, reused } = await inside(t, 'storm');
  assert.equal(wrong, 0);
  assert.ok(Number(reached) >= 60, `${reached} signals to what payloads have left behind`);
  assert.ok(Number(reused) > 20, `${reused} pids were given more than once`);
});
