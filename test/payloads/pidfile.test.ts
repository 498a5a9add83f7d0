/** Pidfiles and what may lie in their place. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { readPidfile } from '../../agent/payloads/pidfile.ts';
import type { Ending } from '../support/processes.ts';

const USER = { uid: 4_201, gid: 4_201 };
const OTHER = 4_202;
const NOWHERE: ReadonlySet<string> = new Set();
const asRoot = { skip: process.getuid?.() === 0 ? false : 'only root can give files to others' };

function place(t: Ending): string {
  const dir = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), 'mjf-pidfile-'));
  fs.chmodSync(dir, 0o755);
  t.after(() => fs.rmSync(dir, { recursive: true }));
  return dir;
}

function write(file: string, text: string, { uid = USER.uid, gid = USER.gid, mode = 0o644 } = {}): string {
  fs.writeFileSync(file, text);
  fs.chownSync(file, uid, gid);
  fs.chmodSync(file, mode);
  return file;
}

/** `pid N`, `absent`, or the code and sentence of the refusal, without the directory. */
function read(file: string, dir: string, shared = NOWHERE, owner = USER): string {
  const reading = readPidfile(file, owner, shared);
  if (reading.is === 'pid') return `pid ${reading.pid}`;
  return reading.is === 'absent' ? 'absent' : `${reading.code}: ${reading.detail.replaceAll(`${dir}/`, '')}`;
}

for (const [text, pid] of [
  ['123\n', 123],
  ['123', 123],
  ['  123 \n', 123],
  ['123\r\n', 123],
  ['123\n/var/lib/x\n5432\n', 123],
] as const) {
  test(`${JSON.stringify(text)} is read`, asRoot, (t) => {
    const dir = place(t);
    assert.equal(read(write(`${dir}/p`, text), dir), `pid ${pid}`);
  });
}

for (const text of ['', '\n', 'x', '0', '-1', '12x', '12 13', '0x10', '1e3', '12345678901', '\0\0\0\0']) {
  test(`${JSON.stringify(text)} is no process id, and is not repeated`, asRoot, (t) => {
    const dir = place(t);
    assert.equal(
      read(write(`${dir}/p`, text), dir),
      `no_pid: the first line of ${dir}/p is no process id`.replace(`${dir}/`, ''),
    );
  });
}

test(
  "root's and the user's own files are believed, through links of theirs; the directory may be the user's",
  asRoot,
  (t) => {
    const dir = place(t);
    fs.mkdirSync(`${dir}/own`);
    fs.chownSync(`${dir}/own`, USER.uid, USER.gid);
    write(`${dir}/own/p`, '7');
    assert.equal(read(`${dir}/own/p`, dir), 'pid 7');
    write(`${dir}/own/root`, '8', { uid: 0, gid: 0 });
    assert.equal(read(`${dir}/own/root`, dir), 'pid 8');
    fs.symlinkSync('own', `${dir}/link`);
    fs.symlinkSync(`${dir}/link/p`, `${dir}/absolute`);
    fs.symlinkSync('../own/./p', `${dir}/own/up`);
    fs.lchownSync(`${dir}/own/up`, USER.uid, USER.gid);
    for (const name of ['link/p', 'absolute', 'own/up', 'own/../link/p'])
      assert.equal(read(`${dir}/${name}`, dir), 'pid 7');
  },
);

test('what is not there is absent', asRoot, (t) => {
  const dir = place(t);
  fs.symlinkSync('nothing', `${dir}/dangling`);
  write(`${dir}/file`, '1');
  for (const name of ['none', 'none/p', 'dangling', 'file/p']) assert.equal(read(`${dir}/${name}`, dir), 'absent');
});

test("another user's file, link or directory is refused", asRoot, (t) => {
  const dir = place(t);
  const reason = `belongs to user ${OTHER}, neither to root nor to the payload's user`;
  write(`${dir}/foreign`, '7', { uid: OTHER });
  assert.equal(read(`${dir}/foreign`, dir), `refused: foreign ${reason}`);
  write(`${dir}/good`, '7');
  fs.symlinkSync('good', `${dir}/link`);
  fs.lchownSync(`${dir}/link`, OTHER, OTHER);
  assert.equal(read(`${dir}/link`, dir), `refused: link ${reason}`);
  fs.mkdirSync(`${dir}/theirs`);
  fs.chownSync(`${dir}/theirs`, OTHER, OTHER);
  write(`${dir}/theirs/p`, '7');
  assert.equal(read(`${dir}/theirs/p`, dir), `refused: theirs ${reason}`);
  // A good link into another user's place.
  fs.symlinkSync('theirs/p', `${dir}/into`);
  assert.equal(read(`${dir}/into`, dir), `refused: theirs ${reason}`);
});

test('whatever others may write to is refused, but for sticky directories and the own group', asRoot, (t) => {
  const dir = place(t);
  write(`${dir}/world`, '7', { mode: 0o666 });
  assert.equal(read(`${dir}/world`, dir), 'refused: world is writable by everybody');
  write(`${dir}/group`, '7', { gid: 100, mode: 0o664 });
  assert.equal(read(`${dir}/group`, dir), "refused: group is writable by group 100, which is not the user's own");
  write(`${dir}/own`, '7', { mode: 0o664 });
  assert.equal(read(`${dir}/own`, dir), 'pid 7');
  assert.match(read(`${dir}/own`, dir, NOWHERE, { uid: USER.uid, gid: -1 }), /writable by group 4201/);
  fs.mkdirSync(`${dir}/open`);
  fs.chmodSync(`${dir}/open`, 0o777);
  write(`${dir}/open/p`, '7');
  assert.equal(read(`${dir}/open/p`, dir), 'refused: open is writable by everybody');
  fs.chmodSync(`${dir}/open`, 0o1777);
  assert.equal(read(`${dir}/open/p`, dir), 'pid 7');
});

test('what is no regular file of one name is refused without being opened', { ...asRoot, timeout: 20_000 }, (t) => {
  const dir = place(t);
  execFileSync('mkfifo', [`${dir}/fifo`]);
  assert.equal(read(`${dir}/fifo`, dir), 'refused: fifo is not a regular file');
  assert.equal(read(dir, dir), `refused: ${dir} is not a regular file`);
  assert.equal(read('/dev/zero', dir), 'refused: /dev/zero is not a regular file');
  write(`${dir}/first`, '7');
  fs.linkSync(`${dir}/first`, `${dir}/second`);
  assert.equal(read(`${dir}/second`, dir), 'refused: second is a file with several names');
});

test('a huge file is refused by its size', asRoot, (t) => {
  const dir = place(t);
  write(`${dir}/huge`, '7\n');
  fs.truncateSync(`${dir}/huge`, 2 ** 40);
  assert.equal(read(`${dir}/huge`, dir), 'too_large: huge is larger than 4096 bytes');
});

test('links in a circle come to an end', asRoot, (t) => {
  const dir = place(t);
  fs.symlinkSync('b', `${dir}/a`);
  fs.symlinkSync('a', `${dir}/b`);
  assert.equal(read(`${dir}/a`, dir), 'refused: a leads through too many links');
});

test('a file system that may hang is not touched', asRoot, (t) => {
  const dir = place(t);
  fs.mkdirSync(`${dir}/nfs`);
  write(`${dir}/nfs/p`, '7');
  fs.symlinkSync('nfs', `${dir}/link`);
  const expected = 'shared: link/p lies on a shared file system (nfs), which may hang';
  assert.equal(read(`${dir}/link/p`, dir, new Set([`${dir}/nfs`])), expected);
});
