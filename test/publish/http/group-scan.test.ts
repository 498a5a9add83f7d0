import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { ProcessUnreadableError } from '../../../agent/payloads/process.ts';
import { createGroupScan } from '../../../agent/publish/http/group-scan.ts';
import { createTurns } from '../../../agent/publish/http/turns.ts';
import { waitingProcess } from './harness.ts';

test('a group’s members, however many processes there are: fewer and more than one slice', async (t) => {
  const procRoot = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-proc-'));
  t.after(() => fs.rmSync(procRoot, { recursive: true, force: true }));
  const add = (pid: number, pgrp: number): void => {
    fs.mkdirSync(path.join(procRoot, String(pid)));
    const zeros = new Array(12).fill('0').join(' ');
    fs.writeFileSync(path.join(procRoot, `${pid}/stat`), `${pid} (a) b) S 1 ${pgrp} ${pgrp} 0 -1 0 ${zeros} 4711 0\n`);
  };
  const scan = createGroupScan(procRoot);
  for (let pid = 1000; pid < 1100; pid += 1) add(pid, pid % 2 === 0 ? 1000 : pid);
  assert.equal((await scan(1000)).length, 50);
  for (let pid = 1100; pid < 1400; pid += 1) add(pid, 1000);
  const [large, small, none] = await Promise.all([scan(1000), scan(1001), scan(7)]);
  assert.deepEqual([large.length, small, none], [350, [1001], []]);
});

test('in the real /proc, the group that a process leads', async (t) => {
  const leader = waitingProcess(t, { detached: true });
  assert.deepEqual(await createGroupScan('/proc')(leader), [leader]);
});

test('where /proc cannot be read nobody is said to be alone in his group; later it works again', async (t) => {
  const procRoot = path.join(os.tmpdir(), `mjf-proc-none-${process.pid}`);
  t.after(() => fs.rmSync(procRoot, { recursive: true, force: true }));
  const scan = createGroupScan(procRoot);
  await assert.rejects(scan(5), ProcessUnreadableError);
  fs.mkdirSync(procRoot);
  assert.deepEqual(await scan(5), []);
});

test('one after the other, in order, also after one that failed', async (t) => {
  // The rest between two of them keeps no process alive.
  const awake = setInterval(() => undefined, 1000);
  t.after(() => clearInterval(awake));
  const turn = createTurns(1);
  const seen: string[] = [];
  const work = (name: string) => async () => {
    seen.push(`${name} begins`);
    await Promise.resolve();
    if (name === 'b') throw new Error('b');
    seen.push(`${name} ends`);
    return name;
  };
  const [a, b, c] = await Promise.allSettled([turn(work('a')), turn(work('b')), turn(() => 'c')]);
  assert.deepEqual(seen, ['a begins', 'a ends', 'b begins']);
  assert.deepEqual([a.status, b.status, c.status], ['fulfilled', 'rejected', 'fulfilled']);
});
