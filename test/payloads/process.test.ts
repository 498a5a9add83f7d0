import assert from 'node:assert/strict';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import {
  isKernelThread,
  isZombie,
  listProcesses,
  ProcessUnreadableError,
  readProcess,
} from '../../agent/payloads/process.ts';
import { SCRIPTS, startPayload } from '../support/processes.ts';

const isRoot = process.getuid?.() === 0;

test('a process with blanks and parentheses in its name is read right', async (t) => {
  const payload = await startPayload(t, SCRIPTS.oddName);
  const info = readProcess(payload.pid);
  const uid = process.getuid?.() ?? -1;
  assert.deepEqual(
    { ...info, state: null, flags: null, threads: null },
    {
      pid: payload.pid,
      startTicks: payload.ref.startTicks,
      ppid: process.pid,
      pgrp: payload.pid,
      session: payload.pid,
      state: null,
      flags: null,
      threads: null,
      comm: 'a) R 1 (b c',
      uids: [uid, uid, uid, uid],
    },
  );
});

test('identity is pid and start time; gone is null; a zombie is there and known as one', async (t) => {
  const payload = await startPayload(t, SCRIPTS.plain);
  assert.equal(readProcess(payload.pid)?.startTicks, payload.ref.startTicks);
  assert.ok(listProcesses().includes(payload.pid));
  process.kill(payload.pid, 'SIGKILL');
  // Not reaped before the loop turns, so for this moment it is a zombie.
  let info = readProcess(payload.pid);
  while (info !== null && !isZombie(info)) info = readProcess(payload.pid);
  assert.equal(info?.startTicks, payload.ref.startTicks);
  await payload.ended;
  assert.equal(readProcess(payload.pid), null);
});

test('all four uids are read', {
  skip: isRoot ? false : 'not root: no process of mixed uids can be made',
}, async (t) => {
  const payload = await startPayload(t, `process.seteuid(65534); say('ready');`);
  assert.deepEqual(readProcess(payload.pid)?.uids, [0, 65534, 0, 65534]);
});

test('kernel threads are told apart', (t) => {
  assert.equal(isKernelThread({ ...fakeStat, flags: 0x00208040 }), true);
  const self = readProcess(process.pid);
  assert.ok(self !== null && !isKernelThread(self));
  const kthreadd = readProcess(2);
  if (kthreadd?.comm === 'kthreadd') assert.equal(isKernelThread(kthreadd), true);
  else t.diagnostic('no kernel threads are visible here (a container)');
});

test('what is hidden or malformed is unreadable, never gone and never another error', (t) => {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-proc-'));
  t.after(() => fs.rmSync(root, { recursive: true, force: true }));
  assert.equal(readProcess(5, root), null);
  // A directory in place of `stat` gives EISDIR: as any error but "no such process", it proves nothing.
  fs.mkdirSync(path.join(root, '5/stat'), { recursive: true });
  assertUnreadable(() => readProcess(5, root));
  fs.mkdirSync(path.join(root, '6'));
  for (const text of ['', '6 (x', '6 (x) R 1 2', ')(']) {
    fs.writeFileSync(path.join(root, '6/stat'), text);
    assertUnreadable(() => readProcess(6, root));
  }
  fs.writeFileSync(path.join(root, '6/stat'), fs.readFileSync('/proc/self/stat'));
  assert.equal(readProcess(6, root), null, 'status gone between the two reads');
  fs.writeFileSync(path.join(root, '6/status'), 'Name:\tx\n');
  assertUnreadable(() => readProcess(6, root));
  assert.deepEqual(listProcesses(root), [5, 6]);
  assertUnreadable(() => listProcesses(path.join(root, 'missing')));
});

test('hidepid=1 and 2: a process of another user is unreadable, not gone', { skip: hidepidSkip() }, async (t) => {
  const payload = await startPayload(t, SCRIPTS.plain);
  for (const hidepid of ['1', '2']) {
    // Mounted in a mount namespace of its own; what reads there is another user.
    const reader = await startPayload(t, '', { command: hiddenReader(t, hidepid, payload.pid) });
    const [, outcome] = await reader.line(/^outcome (.*)$/);
    assert.equal(outcome, 'unreadable', `hidepid=${hidepid}`);
  }
});

const fakeStat = {
  pid: 9,
  startTicks: 1,
  ppid: 2,
  pgrp: 0,
  session: 0,
  state: 'S',
  flags: 0,
  threads: 1,
  comm: 'kworker/0:1',
};

function assertUnreadable(read: () => unknown): void {
  assert.throws(read, (error) => error instanceof ProcessUnreadableError && error.code === 'unreadable');
}

function hidepidSkip(): string | false {
  return isRoot ? false : 'not root: /proc cannot be mounted with hidepid';
}

function hiddenReader(t: TestContext, hidepid: string, pid: number): [string, ...string[]] {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-hidepid-'));
  t.after(() => fs.rmSync(dir, { recursive: true, force: true }));
  fs.chmodSync(dir, 0o755);
  const program = path.join(dir, 'program.mjs');
  const module = new URL('../../agent/payloads/process.ts', import.meta.url).href;
  fs.writeFileSync(
    program,
    `import { execFileSync } from 'node:child_process';
     import fs from 'node:fs';
     const say = (text) => fs.writeSync(1, text + '\\n');
     const { readProcess } = await import(${JSON.stringify(module)});
     execFileSync('mount', ['-t', 'proc', '-o', 'hidepid=${hidepid}', 'proc', '/proc']);
     process.setgroups([]);
     process.setgid(65534);
     process.setuid(65534);
     say('ready');
     try { say('outcome ' + JSON.stringify(readProcess(${pid}))); } catch (error) { say('outcome ' + error.code); }`,
  );
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
  return ['unshare', '--mount', process.execPath, '--import', tsx, program];
}
