/** Whom the agent takes for a reader that was left behind in a share. /proc of files: nobody else's environment can be read. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { it, type TestContext } from 'node:test';
import { processIdentity, strayReaders } from '../../agent/sources/directory/strays.ts';
import { type FakeProc, type FakeProcess, fakeProc } from '../support/fake-proc.ts';

const SHARE = '/etc/machinefeatures';
const AGENT = 100;
const UID = 990;

/** This agent, another program of ours that reads the same share (`mjf-agent exec` of a pilot, say), and its reader. */
function twoPrograms(t: TestContext): { readonly proc: FakeProc; readonly strays: () => readonly number[] } {
  const proc = fakeProc(t);
  proc.put({ pid: AGENT, comm: 'mjf-agent', uid: UID }, { pid: 200, comm: 'mjf-agent', uid: UID });
  putReader(proc, 201, processIdentity(proc.root, 200));
  const self = processIdentity(proc.root, AGENT) ?? '';
  return { proc, strays: () => strayReaders(proc.root, SHARE, self, new Set([101]), UID) };
}

function putReader(proc: FakeProc, pid: number, parent = '', share = SHARE, uids?: FakeProcess['uids']): void {
  const command = ['mjf-agent', '__read-directory', share, parent];
  proc.put({ pid, uid: UID, command, ...(uids && { uids }) });
  fs.writeFileSync(path.join(proc.root, String(pid), 'comm'), 'mjf-reader\n');
}

it('the reader of another program that lives is no stray', (t) => {
  const { strays } = twoPrograms(t);
  assert.deepEqual(strays(), []);
});

it('it is one when its parent has gone, or when another process has its number', (t) => {
  const { proc, strays } = twoPrograms(t);
  proc.end(200);
  assert.deepEqual(strays(), [201]);
  proc.put({ pid: 200, startTicks: 5_000 });
  assert.deepEqual(strays(), [201]);
});

it('of our own only those that are not in use, and none of another share', (t) => {
  const { proc, strays } = twoPrograms(t);
  const self = processIdentity(proc.root, AGENT);
  putReader(proc, 101, self);
  putReader(proc, 102, self);
  putReader(proc, 103, self, '/run/mjf-host/machinefeatures');
  assert.deepEqual(strays(), [102]);
});

it('nor is what only calls itself so, or becomes somebody else on the way: it would make the agent deaf to its host', (t) => {
  const { proc, strays } = twoPrograms(t);
  putReader(proc, 301, '5:100', SHARE, [UID + 1, UID + 1, UID + 1, UID + 1]);
  putReader(proc, 302, '5:100', SHARE, [UID + 1, UID, UID, UID]);
  assert.deepEqual(strays(), []);
  putReader(proc, 303, '5:100');
  assert.deepEqual(strays(), [303]);
});
