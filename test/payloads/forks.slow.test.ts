/** Payloads that hop from pid to pid, each process living for a millisecond: caught whole by one SIGKILL. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { pino } from 'pino';
import type { PayloadSpec } from '../../agent/lifetime/types.ts';
import { openPayloads } from '../../agent/payloads/payloads.ts';
import { makeCgroup, noCgroups } from '../support/cgroups.ts';
import { isAlive, specOf, startPayload } from '../support/processes.ts';

const TIMES = 8;
const CHAINS = 4;
const isRoot = process.getuid?.() === 0;

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

/** Whoever of these is left once the killed have gone: a hopper has another pid each time. */
async function leftOf(list: () => readonly number[]): Promise<number> {
  for (let look = 0; look < 50; look += 1) {
    if (list().length === 0) return 0;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return list().length;
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
      assert.equal(await leftOf(group.pids), 0, `the ${time}th time`);
      end();
    }
  });
}

test('a process group that hops is killed whole', { skip: isRoot ? false : 'not root' }, async (t) => {
  for (let time = 0; time < TIMES; time += 1) {
    const { payload, end } = await hoppers(t);
    const members = () =>
      fs
        .readdirSync('/proc')
        .filter((name) => groupOf(name) === payload.pid && isAlive(Number(name)))
        .map(Number);
    payload.child.stdin?.write('go\n');
    while (members().length < 2) await new Promise((resolve) => setTimeout(resolve, 1));
    assert.equal(kill(specOf(payload)), 'delivered');
    assert.equal(await leftOf(members), 0, `the ${time}th time`);
    end();
  }
});

function groupOf(name: string): number | null {
  try {
    const text = fs.readFileSync(`/proc/${Number(name)}/stat`, 'latin1');
    return Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[2]);
  } catch {
    return null;
  }
}
