/** Who belongs to a payload of `exec`, with real processes. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import fs from 'node:fs';
import readline from 'node:readline';
import test, { type TestContext } from 'node:test';
import { newMarker } from '../../agent/exec/environment.ts';
import { anybodyAlive, marked } from '../../agent/exec/group.ts';
import { listProcesses } from '../../agent/payloads/process.ts';
import { startTicksOf } from '../support/processes.ts';

function start(
  t: TestContext,
  command: string,
  args: readonly string[],
  marker = 'A=1',
): ChildProcess & { pid: number } {
  const [name = '', value] = marker.split('=');
  const child = spawn(command, args, { detached: true, env: { [name]: value }, stdio: ['ignore', 'pipe', 'ignore'] });
  t.after(() => child.kill('SIGKILL'));
  assert.ok(child.pid !== undefined);
  return child as ChildProcess & { pid: number };
}

test('a leader of which only the first thread has ended lives: a zombie with threads is none', async (t) => {
  // The main thread ends by itself, which Node cannot do and Python can through libc; another thread goes on.
  const python = ['/usr/bin/python3', '/usr/local/bin/python3'].find((file) => fs.existsSync(file));
  if (python === undefined) {
    t.skip('no python3');
    return;
  }
  const script = `import ctypes, threading, time
def rest():
    while open('/proc/self/stat').read().rsplit(') ', 1)[1][0] != 'Z': time.sleep(0.01)
    print('ended', flush=True)
    time.sleep(600)
threading.Thread(target=rest).start()
ctypes.CDLL(None).pthread_exit(None)`;
  const child = start(t, python, ['-S', '-E', '-c', script]);
  await new Promise((resolve) =>
    readline.createInterface({ input: child.stdout ?? process.stdin }).once('line', resolve),
  );
  const leader = { pid: child.pid, startTicks: startTicksOf(child.pid) };
  assert.equal(anybodyAlive({ leader, marker: newMarker() }, true), true);
});

test('the marker is a whole entry: what only begins or ends like it is a stranger', (t) => {
  const marker = newMarker();
  const others = [`${marker}0`, `X${marker}`, marker.slice(0, -1)];
  const strangers = others.map((other) => start(t, 'sleep', ['600'], other).pid);
  const own = start(t, 'sleep', ['600'], marker).pid;
  // A leader that nobody has been for long: pids of this size are not given.
  const membership = { leader: { pid: 4_194_303, startTicks: 1 }, marker };
  for (const pid of [own, ...strangers]) assert.ok(listProcesses().includes(pid));
  assert.deepEqual(
    marked(membership).map(({ pid }) => pid),
    [own],
  );
});
