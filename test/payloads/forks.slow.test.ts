/** Payloads that hop from pid to pid, each process living for a millisecond: caught whole by one SIGKILL. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { pino } from 'pino';
import type { PayloadSpec } from '../../agent/lifetime/types.ts';
import { openPayloads } from '../../agent/payloads/payloads.ts';
import { makeCgroup, noCgroups, type TestCgroup } from '../support/cgroups.ts';
import { startPayload } from '../support/processes.ts';

const TIMES = 12;
const CHAINS = 4;

/** Chains of processes that each start the next and end. They end by themselves once the directory has gone. */
async function hoppers(t: TestContext, uid?: number) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-hop-'));
  const end = () => fs.rmSync(dir, { recursive: true, force: true });
  t.after(end);
  fs.chmodSync(dir, 0o755);
  fs.writeFileSync(path.join(dir, 'hop'), '[ -e "$0" ] || exit\nsh "$0" &\nexit\n');
  const starts = `sh "$1" & `.repeat(CHAINS);
  const payload = await startPayload(t, 'unused', {
    command: ['sh', '-c', `echo ready; read go; ${starts} read end`, 'sh', path.join(dir, 'hop')],
    ...(uid === undefined ? {} : { uid }),
  });
  return { payload, end };
}

function kill(payload: PayloadSpec): string | undefined {
  const payloads = openPayloads({
    selfPid: process.pid,
    log: pino({ level: 'silent' }),
    journal: { done: () => undefined },
    now: () => ({ wall: 0, mono: performance.now() }),
  });
  const step = { episode: 1, index: 0, signal: 'SIGKILL' };
  return payloads.deliver([{ type: 'signal', payload, to: 'all', step }])[0]?.outcome;
}

/** Whether anybody is left once the killed have gone. The kernel's word: in a list of pids a hopper could be missed. */
async function isLeft(group: TestCgroup): Promise<boolean> {
  for (let look = 0; look < 50; look += 1) {
    if (/^populated 0$/m.test(group.read('cgroup.events'))) return false;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return true;
}

for (const [how, uid] of [
  ['by the kernel', undefined],
  ['one by one, of a user', 65534],
] as const) {
  test(`a control group that hops is killed ${how}`, { skip: noCgroups }, async (t) => {
    for (let time = 0; time < TIMES; time += 1) {
      const group = makeCgroup(t);
      const { payload, end } = await hoppers(t, uid);
      group.take(payload.pid);
      payload.child.stdin?.write('go\n');
      while (group.pids().length < 2) await new Promise((resolve) => setTimeout(resolve, 1));
      const target = { kind: 'cgroup', path: group.path, inode: group.inode } as const;
      assert.equal(kill({ id: 'c', name: 'test', uid: uid ?? 0, target, registeredMs: 0 }), 'delivered');
      assert.equal(await isLeft(group), false, `time ${time}`);
      end();
    }
  });
}
