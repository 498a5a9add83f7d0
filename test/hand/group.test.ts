/** Whom a signal to a hook's group reaches, where pids are given away: in a /proc of files. Real processes: program.test.ts. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { type TestContext, test } from 'node:test';
import { type GroupOptions, openGroup } from '../../agent/hand/group.ts';
import { type FakeProcess, fakeProc } from '../support/fake-proc.ts';

const UID = 1000;
const PROGRAM = { pid: 500, startTicks: 50 };

type Member = FakeProcess & { readonly group?: number };

function stage(t: TestContext, changes: Partial<GroupOptions> = {}) {
  const proc = fakeProc(t);
  const hit: string[] = [];
  const group = openGroup(PROGRAM, {
    procRoot: proc.root,
    uid: UID,
    child: null,
    kill: (pid, signal) => void hit.push(`${signal} ${pid}`),
    ...changes,
  });
  return {
    group,
    end: proc.end,
    put(...members: readonly Member[]) {
      proc.put(...members);
      for (const { pid, group } of members) {
        const file = `${proc.root}/${pid}/stat`;
        // proc(5): pid, name, state, parent, group. The stand-in has everybody lead a group of his own.
        const text = fs.readFileSync(file, 'utf8');
        fs.writeFileSync(file, text.replace(/^(\d+ \(.*\) \S+ \d+) \d+/, `$1 ${group ?? PROGRAM.pid}`));
      }
    },
    /** Since it was last asked. */
    hit: () => hit.splice(0),
  };
}

const program: Member = { ...PROGRAM, uid: UID };

test('the program first, then its group, and nobody beside it', (t) => {
  const { group, put, hit } = stage(t);
  put(program, { pid: 400, startTicks: 60 }, { pid: 600, startTicks: 50 }, { pid: 601, group: 601 });
  group.strike('SIGTERM');
  assert.deepEqual(hit(), ['SIGTERM 500', 'SIGTERM 400', 'SIGTERM 600']);
});

test('members of other users are left alone, but where the program is root’s; the program itself never is', (t) => {
  const mixed = [UID, 0, 0, 0] as const;
  const members: readonly Member[] = [
    { ...program, uids: mixed },
    { pid: 600, uids: mixed },
    { pid: 601, uid: 7 },
  ];
  const own = stage(t);
  own.put(...members);
  own.group.strike('SIGTERM');
  assert.deepEqual(own.hit(), ['SIGTERM 500']);
  const roots = stage(t, { uid: 0 });
  roots.put(...members);
  roots.group.strike('SIGTERM');
  assert.deepEqual(roots.hit(), ['SIGTERM 500', 'SIGTERM 600', 'SIGTERM 601']);
});

test('neither zombies nor kernel threads, nor who was there before the program', (t) => {
  const { group, put, hit } = stage(t);
  put(program, { pid: 600, state: 'Z' }, { pid: 601, flags: 0x0020_0000 }, { pid: 602, startTicks: 49 });
  group.strike('SIGKILL');
  assert.deepEqual(hit(), ['SIGKILL 500']);
});

test('a pid that was given away: neither its new owner nor the group of that number', (t) => {
  const { group, put, hit } = stage(t);
  put({ ...program, startTicks: 51 }, { pid: 600 });
  group.strike('SIGTERM');
  assert.deepEqual(hit(), []);
});

test('a group whose leader is gone and of which nobody was ever seen is a stranger’s', (t) => {
  const { group, put, end, hit } = stage(t);
  put({ pid: 600 });
  group.strike('SIGTERM');
  assert.deepEqual(hit(), []);
  put(program);
  group.strike('SIGTERM');
  assert.deepEqual(hit(), ['SIGTERM 500', 'SIGTERM 600']);
  // All that was seen has ended, and the number belongs to somebody else's group.
  for (const pid of [500, 600]) end(pid);
  put({ pid: 700 });
  group.strike('SIGKILL');
  assert.deepEqual(hit(), []);
});

test('who was seen in the group holds its number, over each look', (t) => {
  const { group, put, end, hit } = stage(t);
  put(program, { pid: 600 });
  group.strike('SIGTERM');
  hit();
  end(500);
  put({ pid: 700 });
  group.look();
  end(600);
  group.strike('SIGKILL');
  assert.deepEqual(hit(), ['SIGKILL 700']);
  // The same pid, another process.
  end(700);
  put({ pid: 700, startTicks: 701 });
  group.strike('SIGKILL');
  assert.deepEqual(hit(), []);
});

test('nobody is searched for before there was a signal: a look at every process once in a while adds up', (t) => {
  const { group, put, end, hit } = stage(t);
  put(program, { pid: 600 });
  group.look();
  end(500);
  group.strike('SIGKILL');
  assert.deepEqual(hit(), []);
});

test('our own child: its group is known without a look, and it is reached where /proc shows nothing', (t) => {
  const struck: unknown[] = [];
  const child = { kill: (signal?: NodeJS.Signals | number) => struck.push(signal) > 0 };
  const { group, put, hit } = stage(t, { child });
  group.strike('SIGTERM');
  assert.deepEqual([hit(), struck], [[], ['SIGTERM']]);
  put({ pid: 600 });
  group.strike('SIGKILL');
  assert.deepEqual([hit(), struck], [['SIGKILL 600'], ['SIGTERM']]);
});

test('our own child that has ended, and whose number was given away since: nobody', (t) => {
  const { group, put, hit } = stage(t, { child: { kill: () => false } });
  put({ ...program, startTicks: 51 }, { pid: 600 });
  group.strike('SIGKILL');
  assert.deepEqual(hit(), []);
});

test('one who cannot be signalled costs the others nothing', (t) => {
  const hit: number[] = [];
  const { group, put } = stage(t, {
    kill(pid) {
      if (pid === 500) throw Object.assign(new Error('kill EPERM'), { code: 'EPERM' });
      hit.push(pid);
    },
  });
  put(program, { pid: 600 });
  group.strike('SIGKILL');
  assert.deepEqual(hit, [600]);
});
