import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { cgroupDirectory, cgroupMounts, isWithin, resolveCgroup } from '../../agent/payloads/cgroup.ts';
import { openSubtree, pidsBelow, thaw } from '../../agent/payloads/subtree.ts';
import { makeCgroup, noCgroups } from '../support/cgroups.ts';
import { procTree } from '../support/proc-tree.ts';
import { SCRIPTS, startPayload } from '../support/processes.ts';

const PURE = '30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate';
const HYBRID = [
  '31 23 0:29 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755',
  '35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory',
  '41 31 0:38 / /sys/fs/cgroup/unified rw shared:1 master:2 - cgroup2 cgroup2 rw',
].join('\n');

/** A fake v2 tree in an ordinary directory, and a /proc that says it is mounted there. */
function fakeTree(t: { after(fn: () => void): void }, mountRoot = '/') {
  const point = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-cgroup ')));
  t.after(() => fs.rmSync(point, { recursive: true, force: true }));
  const proc = procTree(t);
  proc.write('self/mountinfo', `41 31 0:38 ${mountRoot} ${point.replaceAll(' ', '\\040')} rw - cgroup2 cgroup2 rw\n`);
  proc.add(1, { cgroup: '/init.scope' });
  proc.add(900, { cgroup: '/system.slice/agent.service' });
  return {
    point,
    ...proc,
    make(name: string, pids: readonly number[] = [], type = 'domain') {
      fs.mkdirSync(path.join(point, name), { recursive: true });
      fs.writeFileSync(path.join(point, name, 'cgroup.procs'), pids.map((pid) => `${pid}\n`).join(''));
      fs.writeFileSync(path.join(point, name, 'cgroup.type'), `${type}\n`);
    },
    resolve: (text: string) => resolveCgroup(text, { procRoot: proc.root, selfPid: 900 }),
    codeOf(text: string) {
      const found = resolveCgroup(text, { procRoot: proc.root, selfPid: 900 });
      return found.is === 'found' ? 'found' : found.code;
    },
  };
}

test('the mounts of v2: pure, hybrid, a part of the tree, odd names; none is none', (t) => {
  const { root, write } = procTree(t);
  const mounts = (text: string) => {
    write('self/mountinfo', `${text}\n`);
    return cgroupMounts(root);
  };
  assert.deepEqual(mounts(PURE), [{ root: '/', point: '/sys/fs/cgroup' }]);
  assert.deepEqual(mounts(HYBRID), [{ root: '/', point: '/sys/fs/cgroup/unified' }]);
  assert.deepEqual(mounts('9 1 0:3 /a\\040b /mnt/c\\134d rw - cgroup2 none rw'), [
    { root: '/a b', point: '/mnt/c\\d' },
  ]);
  assert.deepEqual(mounts(`9 1 0:3 /docker/1 /box rw - cgroup2 none rw\n${PURE}`), [
    { root: '/', point: '/sys/fs/cgroup' },
    { root: '/docker/1', point: '/box' },
  ]);
  assert.deepEqual(mounts('9 1 0:3 /../x /sys/fs/cgroup rw - cgroup2 none rw'), []);
  assert.deepEqual(mounts(HYBRID.split('\n').slice(0, 2).join('\n')), []);
  assert.deepEqual(cgroupMounts(path.join(root, 'nowhere')), []);
});

test('a path and its directory; what is not mounted has none', () => {
  const whole = [{ root: '/', point: '/sys/fs/cgroup/unified' }];
  const part = [{ root: '/docker/1', point: '/sys/fs/cgroup' }];
  assert.equal(cgroupDirectory('/a/b', whole), '/sys/fs/cgroup/unified/a/b');
  assert.equal(cgroupDirectory('/docker/1/a', part), '/sys/fs/cgroup/a');
  assert.equal(cgroupDirectory('/docker/12/a', part), null);
  assert.equal(isWithin('/a/b', '/a'), true);
  assert.equal(isWithin('/ab', '/a'), false);
});

test('a text names a group by its directory or by its path, wherever v2 is mounted', (t) => {
  const { point, make, resolve } = fakeTree(t);
  make('batch/job1', []);
  const { ino, uid } = fs.statSync(path.join(point, 'batch/job1'));
  const found = { is: 'found', path: '/batch/job1', inode: ino, uid };
  assert.deepEqual(resolve('/batch/job1'), found);
  assert.deepEqual(resolve('/batch/job1/'), found);
  assert.deepEqual(resolve(path.join(point, 'batch/job1')), found);
});

test('where only a part of the tree is mounted, paths are those of the whole', (t) => {
  const { point, make, resolve, codeOf } = fakeTree(t, '/docker/1');
  make('job', []);
  const { ino, uid } = fs.statSync(path.join(point, 'job'));
  const found = { is: 'found', path: '/docker/1/job', inode: ino, uid };
  assert.deepEqual(resolve('/docker/1/job'), found);
  assert.deepEqual(resolve(path.join(point, 'job')), found);
  assert.equal(codeOf('/job'), 'not_found');
  assert.equal(codeOf('/docker/1'), 'root');
  assert.equal(codeOf(point), 'root');
});

test('what is no path of a group', (t) => {
  const { point, make, codeOf, write } = fakeTree(t);
  make('a/b', []);
  for (const text of ['', 'a', 'a/b', '/a/../a', '/a/..', '/./a', '//a', '/a//b', '/a\0', `/${'a/'.repeat(3000)}`])
    assert.equal(codeOf(text), 'bad_path', JSON.stringify(text.slice(0, 20)));
  assert.equal(codeOf('/'), 'root');
  assert.equal(codeOf('/none'), 'not_found');
  assert.equal(codeOf('/a/cgroup.procs'), 'not_found');
  fs.symlinkSync(path.join(point, 'a/b'), path.join(point, 'link'));
  fs.symlinkSync(path.join(point, 'a'), path.join(point, 'up'));
  assert.equal(codeOf('/link'), 'not_found');
  assert.equal(codeOf('/up/b'), 'not_found');
  assert.equal(codeOf('/sys/fs/cgroup/memory/a'), 'not_cgroup2');
  write('self/mountinfo', '\n');
  assert.equal(codeOf('/a'), 'no_cgroup2');
});

test('never the system’s own: pid 1, the agent, the kernel, in it or below it', (t) => {
  const { make, codeOf, add, remove } = fakeTree(t);
  make('init.scope/below', []);
  make('system.slice/agent.service/below', []);
  make('system.slice/other.service', []);
  assert.equal(codeOf('/init.scope'), 'protected');
  assert.equal(codeOf('/init.scope/below'), 'protected');
  assert.equal(codeOf('/system.slice'), 'protected');
  assert.equal(codeOf('/system.slice/agent.service'), 'protected');
  assert.equal(codeOf('/system.slice/agent.service/below'), 'found');
  assert.equal(codeOf('/system.slice/other.service'), 'found');
  make('box/inner', [33]);
  add(33, { flags: 0x0020_0000, cgroup: '/box/inner' });
  assert.equal(codeOf('/box'), 'protected');
  add(1, { cgroup: '/box' });
  assert.equal(codeOf('/box'), 'protected');
  make('threads', [], 'threaded');
  assert.equal(codeOf('/threads'), 'threaded');
  remove(1);
  assert.equal(codeOf('/system.slice/other.service'), 'unreadable', 'pid 1 could be anywhere');
});

test('a real group: resolved, its owner named, its members found below it', { skip: noCgroups }, async (t) => {
  const group = makeCgroup(t);
  const inner = group.below('a').below('b');
  assert.deepEqual(resolveCgroup(group.directory), { is: 'found', path: group.path, inode: group.inode, uid: 0 });
  fs.chownSync(inner.directory, 65534, 65534);
  assert.deepEqual(resolveCgroup(inner.path), { is: 'found', path: inner.path, inode: inner.inode, uid: 65534 });
  const subtree = openSubtree(group.directory);
  t.after(() => subtree?.close());
  assert.ok(subtree !== null);
  assert.equal(subtree.populated(), false);
  const outer = await startPayload(t, SCRIPTS.plain);
  const deep = await startPayload(t, SCRIPTS.plain);
  inner.take(deep.pid);
  assert.equal(subtree.populated(), true);
  assert.deepEqual(pidsBelow(subtree), { pids: [deep.pid], complete: true });
  assert.deepEqual(resolveCgroup(group.path, { selfPid: deep.pid }), {
    is: 'refused',
    code: 'protected',
    detail: `${group.path} holds the agent itself.`,
  });
  assert.ok(!pidsBelow(subtree).pids.includes(outer.pid));
});

test('a group made anew under the same path is another', { skip: noCgroups }, async (t) => {
  const group = makeCgroup(t);
  const child = group.below('x');
  const subtree = openSubtree(child.directory);
  t.after(() => subtree?.close());
  fs.rmdirSync(child.directory);
  const again = group.below('x');
  const payload = await startPayload(t, SCRIPTS.plain);
  again.take(payload.pid);
  assert.notEqual(again.inode, child.inode);
  assert.ok(subtree !== null);
  assert.deepEqual(pidsBelow(subtree), { pids: [], complete: true });
  assert.equal(subtree.write('', 'cgroup.kill', '1'), 'absent');
  assert.equal(openSubtree(path.join(group.directory, 'none')), null);
});

test('threaded groups have no list; their processes stand in their domain’s', { skip: noCgroups }, async (t) => {
  const group = makeCgroup(t);
  const threads = group.below('threads');
  threads.write('cgroup.type', 'threaded');
  const payload = await startPayload(t, 'unused', { command: ['sh', '-c', 'echo ready; sleep 1000 & wait'] });
  group.take(payload.pid);
  threads.write('cgroup.threads', String(payload.pid));
  assert.match(fs.readFileSync(`/proc/${payload.pid}/cgroup`, 'utf8'), new RegExp(`0::${threads.path}$`, 'm'));
  const subtree = openSubtree(group.directory);
  t.after(() => subtree?.close());
  assert.ok(subtree !== null && pidsBelow(subtree).pids.includes(payload.pid));
  const resolved = resolveCgroup(threads.path);
  assert.equal(resolved.is === 'refused' && resolved.code, 'threaded');
  assert.equal(resolveCgroup(group.path).is, 'found');
});

test('frozen groups are let go on, whichever level was frozen; not the level above', { skip: noCgroups }, (t) => {
  const group = makeCgroup(t);
  const inner = group.below('a');
  const thawAt = (directory: string) => {
    const subtree = openSubtree(directory);
    try {
      return subtree === null ? 'none' : thaw(subtree);
    } finally {
      subtree?.close();
    }
  };
  assert.equal(thawAt(group.directory), null);
  inner.write('cgroup.freeze', '1');
  assert.equal(thawAt(group.directory), 'done');
  assert.equal(inner.read('cgroup.freeze').trim(), '0');
  group.write('cgroup.freeze', '1');
  assert.equal(thawAt(inner.directory), 'refused');
  assert.equal(group.read('cgroup.freeze').trim(), '1');
  assert.equal(thawAt(group.directory), 'done');
});
