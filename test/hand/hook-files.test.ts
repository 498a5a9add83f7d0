import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { checkHook, listHooks } from '../../agent/hand/hook-files.ts';
import { trusted } from '../../agent/hand/trust.ts';
import { isRoot, OWNERS, place, script } from './fixture.ts';

const needsRoot = { skip: isRoot ? false : 'only root can give a file away' };

test('files come in the order of their names, left-over copies and odd names are told of', (t) => {
  const dir = place(t);
  for (const name of ['20-b', '10-a', 'Z', '9', 'a.sh']) script(`${dir}/stopping/${name}`, 'true');
  for (const name of ['x.rpmsave', 'x.rpmnew', 'x.dpkg-dist', 'x.dpkg-old', 'x.bak', 'x~', '.hidden', 'a b', '-n'])
    script(`${dir}/stopping/${name}`, 'true');
  fs.mkdirSync(`${dir}/stopping/sub`);
  script(`${dir}/stopping/plain`, 'true', 0o644);
  const { files, left } = listHooks(dir, 'stopping', OWNERS);
  assert.deepEqual(files, ['10-a', '20-b', '9', 'Z', 'a.sh']);
  const expected = [
    '-n',
    '.hidden',
    'a b',
    'plain',
    'sub',
    'x.bak',
    'x.dpkg-dist',
    'x.dpkg-old',
    'x.rpmnew',
    'x.rpmsave',
    'x~',
  ];
  assert.deepEqual(
    left.map(({ file }) => file),
    expected,
  );
  assert.match(left.find(({ file }) => file === 'plain')?.why ?? '', /not executable/);
});

test('no directory is no news', (t) => {
  const dir = place(t);
  assert.deepEqual(listHooks(dir, 'notice', OWNERS), { files: [], left: [] });
  assert.deepEqual(listHooks(`${dir}/none`, 'notice', OWNERS), { files: [], left: [] });
});

test('what others could have written is not run', (t) => {
  const dir = place(t);
  const file = script(`${dir}/hooks.d/stopping/a`, 'true');
  const why = (): string => {
    const found = checkHook(`${dir}/hooks.d`, 'stopping', 'a', OWNERS);
    return found.ok ? 'ok' : found.code + found.detail.replace(file, ' FILE').replace(dir, ' DIR');
  };
  assert.equal(why(), 'ok');
  for (const [at, mode, expected] of [
    [file, 0o775, 'refused FILE is writable by its group'],
    [file, 0o757, 'refused FILE is writable by everybody'],
    [path.dirname(file), 0o775, 'refused DIR/hooks.d/stopping is writable by its group'],
    [path.dirname(file), 0o1777, 'refused DIR/hooks.d/stopping is writable by everybody'],
    [path.dirname(path.dirname(file)), 0o757, 'refused DIR/hooks.d is writable by everybody'],
    [dir, 0o777, 'refused DIR is writable by everybody'],
  ] as const) {
    fs.chmodSync(at, mode);
    assert.equal(why(), expected, `${at} ${mode.toString(8)}`);
    fs.chmodSync(at, 0o755);
  }
  assert.equal(why(), 'ok');
  fs.chmodSync(dir, 0o1777);
  assert.equal(why(), 'ok', 'above, as in /tmp, nobody can exchange what is not theirs');
});

test('other owners are refused anywhere on the way', needsRoot, (t) => {
  const dir = place(t);
  const file = script(`${dir}/hooks.d/stopping/a`, 'true');
  for (const at of [file, path.dirname(file), dir]) {
    fs.chownSync(at, 12345, 12345);
    const found = checkHook(`${dir}/hooks.d`, 'stopping', 'a', OWNERS);
    assert.ok(!found.ok && found.code === 'refused' && found.detail.includes('12345'), at);
    assert.ok(checkHook(`${dir}/hooks.d`, 'stopping', 'a', new Set([0, 12345])).ok, 'whom one trusts is a parameter');
    fs.chownSync(at, 0, 0);
  }
});

test('links are followed, and held to the same rules at every place they lead through', (t) => {
  const dir = place(t);
  script(`${dir}/lib/good`, 'true');
  script(`${dir}/open/bad`, 'true');
  fs.chmodSync(`${dir}/open`, 0o777);
  fs.mkdirSync(`${dir}/hooks.d/steps`, { recursive: true });
  const link = (name: string, target: string): void => fs.symlinkSync(target, `${dir}/hooks.d/steps/${name}`);
  link('good', '../../lib/good');
  link('absolute', `${dir}/lib/good`);
  link('through', '../../open/../lib/good');
  link('bad', `${dir}/open/bad`);
  link('loop', 'loop');
  link('none', 'nowhere');
  link('directory', '../../lib');
  const codes = ['good', 'absolute', 'through', 'bad', 'loop', 'none', 'directory'].map((name) => {
    const found = checkHook(`${dir}/hooks.d`, 'steps', name, OWNERS);
    return found.ok ? found.path.replace(dir, '') : found.code;
  });
  const own = '/hooks.d/steps';
  assert.deepEqual(codes, [`${own}/good`, `${own}/absolute`, 'refused', 'refused', 'refused', 'not_found', 'refused']);
});

test('a link that somebody else made leads nowhere', needsRoot, (t) => {
  const dir = place(t);
  script(`${dir}/lib/good`, 'true');
  fs.mkdirSync(`${dir}/hooks.d/steps`, { recursive: true });
  fs.symlinkSync(`${dir}/lib/good`, `${dir}/hooks.d/steps/a`);
  fs.lchownSync(`${dir}/hooks.d/steps/a`, 12345, 12345);
  const found = checkHook(`${dir}/hooks.d`, 'steps', 'a', OWNERS);
  assert.ok(!found.ok && found.code === 'refused');
});

test('no name leads out of the directory, and no directory but those of hooks is looked into', (t) => {
  const dir = place(t);
  script(`${dir}/secret`, 'true');
  script(`${dir}/hooks.d/steps/a`, 'true');
  const hooks = `${dir}/hooks.d`;
  for (const file of ['../../secret', '..', '', 'steps/../a', '/bin/sh', 'a\0', 'a\n'])
    assert.equal(checkHook(hooks, 'steps', file, OWNERS).ok, false, JSON.stringify(file));
  for (const directory of ['.', '..', '', '../hooks.d/steps', 'other'])
    assert.equal(checkHook(hooks, directory, 'a', OWNERS).ok, false, directory);
  assert.ok(checkHook(hooks, 'steps', 'a', OWNERS).ok);
});

test('a relative path is never trusted', () => {
  assert.equal(trusted('etc/passwd', OWNERS).ok, false);
  assert.equal(trusted('/', OWNERS).ok, true);
});
