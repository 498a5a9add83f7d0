/** Who is remembered as a payload's, by scans of a /proc of our own making. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import type { PayloadSpec } from '../../agent/lifetime/types.ts';
import { createKin } from '../../agent/payloads/kin.ts';
import { createScanner, type ProcessSpec } from '../../agent/payloads/members.ts';
import { mayBeReused, nobodyNew, readPidCursor } from '../../agent/payloads/pid-cursor.ts';
import { isZombie } from '../../agent/payloads/process.ts';
import { procTree } from '../support/proc-tree.ts';

const LEADER = { pid: 500, startTicks: 100 };

function specOf(changes: Partial<ProcessSpec['target']> = {}, others: Partial<PayloadSpec> = {}): ProcessSpec {
  const target = { kind: 'process', leader: LEADER, group: false, ...changes } as const;
  return { id: 'p1', name: 'test', uid: 0, registeredMs: 0, ...others, target };
}

function setUp(t: { after(fn: () => void): void }) {
  const proc = procTree(t);
  const kin = createKin();
  let mono = 0;
  const scanner = createScanner(proc.root, () => mono);
  proc.cursor(1000);
  return {
    ...proc,
    kin,
    scanner,
    later: (ms: number) => {
      mono += ms;
    },
    look: (spec = specOf()) => kin.watch(spec, scanner.recent()),
    pids: (spec = specOf(), marked: readonly number[] = []) => {
      const table = scanner.full();
      const stats = marked.flatMap((pid) => table.byPid.get(pid) ?? []);
      return kin
        .update(spec, table, stats)
        .map(({ pid }) => pid)
        .sort((a, b) => a - b);
    },
  };
}

test('a daemonised grandchild is known although nobody between is left', (t) => {
  const { add, remove, cursor, look, pids } = setUp(t);
  add(500, { session: 400, pgrp: 400 });
  add(510, { ppid: 500, start: 110 });
  cursor(1000);
  look();
  remove(510);
  add(1001, { ppid: 1, pgrp: 1001, session: 510, start: 120 });
  cursor(1001);
  look();
  remove(500);
  add(1002, { ppid: 1, pgrp: 1002, session: 1002, start: 120 });
  add(1003, { ppid: 1001, pgrp: 1003, session: 1003, start: 130 });
  cursor(1003);
  assert.deepEqual(pids(), [1001, 1003], 'and neither a stranger nor the login session');
});

test('what was seen is remembered when it is reparented and has left group and session', (t) => {
  const { add, cursor, look, pids } = setUp(t);
  add(500);
  add(510, { ppid: 500, pgrp: 500, session: 500, start: 110 });
  look();
  add(510, { ppid: 1, start: 110 });
  cursor(1001);
  assert.deepEqual(pids(), [500, 510]);
});

test('a member’s pid that was given away leads nowhere any more', (t) => {
  const { add, remove, cursor, look, pids } = setUp(t);
  add(500);
  add(510, { ppid: 500, start: 110 });
  look();
  // The stranger's own session and child under the old number.
  add(510, { start: 300 });
  add(1001, { ppid: 510, pgrp: 510, session: 510, start: 310 });
  cursor(1001);
  assert.deepEqual(pids(), [500]);
  remove(510);
  add(1002, { ppid: 1, pgrp: 510, session: 510, start: 320 });
  assert.deepEqual(pids(), [500]);
});

test('a session whose leader has ended is the payload’s only if its number cannot have been given anew', (t) => {
  for (const [from, to, space, ms, known] of [
    [1000, 1400, 4_194_304, 1000, true],
    // The kernel came past 510 in between.
    [505, 515, 4_194_304, 1000, false],
    [4_194_000, 600, 4_194_304, 1000, false],
    [4_194_000, 400, 4_194_304, 1000, true],
    // Too long ago, or too few pids to say.
    [1000, 1400, 4_194_304, 4000, false],
    [1000, 1400, 4096, 1000, false],
  ] as const) {
    const { add, remove, cursor, look, pids, later } = setUp(t);
    cursor(from, space);
    add(500);
    add(510, { ppid: 500, start: 110 });
    look();
    remove(510);
    add(1300, { ppid: 1, pgrp: 510, session: 510, start: 400 });
    cursor(to, space);
    later(ms);
    assert.deepEqual(pids(), known ? [500, 1300] : [500], `${from} to ${to} of ${space} in ${ms} ms`);
  }
});

test('while a member that is known lives in it, a session keeps its number, however long ago it was seen', (t) => {
  const { add, remove, cursor, look, pids, later } = setUp(t);
  cursor(505);
  add(500);
  add(510, { ppid: 500, start: 110 });
  add(511, { ppid: 510, pgrp: 511, session: 510, start: 111 });
  look();
  remove(510);
  add(511, { ppid: 1, pgrp: 511, session: 510, start: 111 });
  add(512, { ppid: 1, pgrp: 512, session: 510, start: 200 });
  cursor(515);
  later(60_000);
  assert.deepEqual(pids(), [500, 511, 512]);
});

test('nothing is taken from before the leader, nor from the session it was started in', (t) => {
  const { add, pids } = setUp(t);
  add(400, { start: 50 });
  add(500, { ppid: 400, pgrp: 400, session: 400 });
  add(501, { ppid: 400, pgrp: 400, session: 400, start: 150 });
  add(502, { ppid: 500, pgrp: 400, session: 400, start: 90 });
  assert.deepEqual(pids(), [500]);
  assert.deepEqual(pids(specOf({ group: true })), [500, 501], 'registered with its group, that is its own word');
});

test('who carries the marker belongs to it, with all its descendants', (t) => {
  const { add, remove, pids } = setUp(t);
  add(500);
  add(900, { start: 200 });
  add(901, { ppid: 900, start: 210 });
  assert.deepEqual(pids(specOf(), [900]), [500, 900, 901]);
  remove(900);
  add(901, { ppid: 1, start: 210 });
  assert.deepEqual(pids(), [500, 901]);
});

test('another leader under the same id begins anew; payloads that went are forgotten', (t) => {
  const { add, kin, look, pids } = setUp(t);
  add(500);
  add(510, { ppid: 500, start: 110 });
  add(600, { start: 150 });
  look();
  assert.deepEqual(pids(specOf({ leader: { pid: 600, startTicks: 150 } })), [600]);
  look();
  kin.keep(new Set());
  assert.deepEqual(kin.known(specOf()), [LEADER]);
});

test('memory is bounded, said once; the search itself is not', (t) => {
  const { add, scanner } = setUp(t);
  const full: string[] = [];
  const kin = createKin((id) => full.push(id), 4);
  add(500);
  for (let pid = 1001; pid <= 1006; pid += 1) add(pid, { ppid: 500, start: 110 });
  for (let round = 0; round < 2; round += 1) assert.equal(kin.update(specOf(), scanner.full()).length, 7);
  assert.equal(kin.known(specOf()).length, 4);
  assert.deepEqual(full, ['p1']);
});

test('a look reads new processes only, and those whose pid may be another’s', (t) => {
  const { add, cursor, look, remove, scanner } = setUp(t);
  for (let pid = 500; pid < 600; pid += 1) add(pid);
  look();
  const reads = t.mock.method(fs, 'openSync');
  const listings = t.mock.method(fs, 'readdirSync');
  look();
  assert.equal(listings.mock.callCount(), 0, 'nobody new: not even listed');
  const statsRead = () =>
    reads.mock.calls.map((call) => String(call.arguments[0])).filter((file) => file.endsWith('/stat')).length;
  assert.equal(statsRead(), 0);
  add(1001, { ppid: 500, start: 110 });
  cursor(1001);
  look();
  assert.equal(statsRead(), 1);
  // Came past 550…560.
  remove(555);
  add(556, { start: 999 });
  cursor(549);
  look();
  const before = statsRead();
  cursor(560);
  const table = scanner.recent();
  assert.ok(statsRead() - before <= 11);
  assert.equal(table.byPid.get(556)?.startTicks, 999);
  assert.equal(table.byPid.has(555), false);
  assert.equal(table.byParent.get(500)?.size, 1);
});

test('a scan that fails leaves nothing half-read behind', (t) => {
  const { add, root, scanner, cursor } = setUp(t);
  add(500);
  scanner.recent();
  const fails = t.mock.method(fs, 'readdirSync', () => {
    throw new Error('EMFILE');
  });
  cursor(1001);
  assert.throws(() => scanner.recent(), { name: 'ProcessUnreadableError' });
  assert.throws(() => scanner.full(), { name: 'ProcessUnreadableError' });
  fails.mock.restore();
  assert.ok(fs.existsSync(root));
  assert.deepEqual([...scanner.recent().byPid.keys()], [500]);
});

test('the pid given last: read whole or not at all', (t) => {
  const { root, write, cursor } = procTree(t);
  assert.equal(readPidCursor(root, 1), null);
  cursor(77, 4096);
  assert.deepEqual(readPidCursor(root, 1), { last: 77, space: 4096, mono: 1 });
  write('loadavg', 'garbage\n');
  assert.equal(readPidCursor(root, 1), null);
  const at = (last: number, mono = 0) => ({ last, space: 65_536, mono });
  assert.equal(mayBeReused(5, null, at(9)), true);
  assert.equal(mayBeReused(5, at(5), at(9)), false);
  assert.equal(mayBeReused(9, at(5), at(9)), true);
  assert.equal(nobodyNew(at(5), at(5)), true);
  assert.equal(nobodyNew(at(5), at(6)), false);
  assert.equal(nobodyNew(at(5), at(5, 60_000)), false);
  assert.equal(nobodyNew(null, null), false);
});

test('a zombie whose other threads live has not ended', (t) => {
  const { add, scanner } = setUp(t);
  add(500, { state: 'Z', threads: 3 });
  add(501, { state: 'Z' });
  const { byPid } = scanner.full();
  assert.deepEqual(
    [500, 501].map((pid) => {
      const stat = byPid.get(pid);
      return stat !== undefined && isZombie(stat);
    }),
    [false, true],
  );
});
