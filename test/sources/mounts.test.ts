import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import {
  fsTypeAt,
  isLocalType,
  type MountTable,
  mountAt,
  mountTableReader,
  ownOutputPaths,
  parseMountInfo,
  safeResolve,
} from '../../agent/sources/directory/mounts.ts';

const line = (id: number, parent: number, where: string, type: string) =>
  `${id} ${parent} 0:${id} / ${where} rw,relatime shared:${id} - ${type} dev rw`;
const table = (...lines: readonly string[]): MountTable => parseMountInfo(`${lines.join('\n')}\n`);

describe('the mount table', () => {
  it('reads octal escapes, several optional fields and none', () => {
    const { mounts } = parseMountInfo(
      [
        '36 35 98:0 / /mnt/a\\040b\\134c rw master:1 propagate_from:2 - ext4 /dev/root rw',
        '37 36 98:1 / /mnt/tab\\011nl\\012 rw - fuse.sshfs host:/x rw',
        'garbage',
        '',
      ].join('\n'),
    );
    assert.deepEqual(
      mounts.map(({ mountPoint, fsType }) => [mountPoint, fsType]),
      [
        ['/mnt/a b\\c', 'ext4'],
        ['/mnt/tab\tnl\n', 'fuse.sshfs'],
      ],
    );
  });

  it('gives the type by the longest mount point, whole components only', () => {
    const mounts = table(line(1, 0, '/', 'ext4'), line(2, 1, '/etc/mf', '9p'), line(3, 2, '/etc/mf/deep', 'tmpfs'));
    assert.equal(fsTypeAt('/etc/mf/x', mounts), '9p');
    assert.equal(fsTypeAt('/etc/mf', mounts), '9p');
    assert.equal(fsTypeAt('/etc/mfx', mounts), 'ext4');
    assert.equal(fsTypeAt('/etc/mf/deep/er', mounts), 'tmpfs');
    assert.equal(fsTypeAt('/', mounts), 'ext4');
  });

  it('lets a later mount shadow an earlier one at the same place, and what was mounted below it', () => {
    const same = table(line(1, 0, '/', 'ext4'), line(2, 1, '/mf', 'nfs4'), line(3, 2, '/mf', 'tmpfs'));
    assert.equal(fsTypeAt('/mf/x', same), 'tmpfs');
    const hidden = table(
      line(1, 0, '/', 'ext4'),
      line(2, 1, '/srv', 'ext4'),
      line(3, 2, '/srv/mf', 'nfs4'),
      line(4, 2, '/srv', 'tmpfs'),
    );
    assert.equal(fsTypeAt('/srv/mf/x', hidden), 'tmpfs');
  });

  it('is not misled by the order of lines: an initramfs moves mounts that are older than the root', () => {
    const mounts = table(line(22, 27, '/run', 'tmpfs'), line(27, 1, '/', 'overlay'));
    assert.equal(fsTypeAt('/run/x', mounts), 'tmpfs');
    assert.equal(fsTypeAt('/x', mounts), 'overlay');
  });

  it('finds the covering root, a mount whose parent is hidden by a chroot, and says unknown without a root', () => {
    assert.equal(fsTypeAt('/x', table(line(1, 1, '/', 'rootfs'), line(9, 1, '/', 'xfs'))), 'xfs');
    const chroot = table(line(40, 39, '/mf', 'virtiofs'));
    assert.equal(fsTypeAt('/mf/x', chroot), 'virtiofs');
    assert.equal(fsTypeAt('/etc', chroot), 'unknown');
  });

  it('survives a table that goes round in a circle', () => {
    assert.equal(typeof fsTypeAt('/a/b', table(line(1, 2, '/a', 'nfs'), line(2, 1, '/a', 'nfs'))), 'string');
  });

  it('counts overlay, autofs, network and unknown types as foreign', () => {
    for (const type of ['tmpfs', 'ext4', 'xfs', 'btrfs', 'iso9660', 'vfat']) assert.ok(isLocalType(type), type);
    for (const type of ['overlay', 'autofs', '9p', 'virtiofs', 'nfs4', 'cifs', 'fuse.x', 'unknown', 'proc']) {
      assert.ok(!isLocalType(type), type);
    }
  });

  it('is read anew at each call, from the first file that there is, and is empty when none can be read', () => {
    const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-mounts-'));
    try {
      const file = path.join(dir, 'mountinfo');
      const reader = mountTableReader(file);
      assert.equal(fsTypeAt('/', reader()), 'unknown');
      fs.writeFileSync(file, line(1, 0, '/', 'ext4'));
      assert.equal(fsTypeAt('/', reader()), 'ext4');
      fs.writeFileSync(file, line(1, 0, '/', 'nfs4'));
      assert.equal(fsTypeAt('/', reader()), 'nfs4');
      assert.equal(fsTypeAt('/', mountTableReader(`${file}.none`, file)()), 'nfs4');
    } finally {
      fs.rmSync(dir, { recursive: true });
    }
  });
});

describe('the safe resolve', () => {
  const dir = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-resolve-')));
  after(() => fs.rmSync(dir, { recursive: true }));
  const at = (...parts: readonly string[]) => path.join(dir, ...parts);
  fs.mkdirSync(at('real/inner'), { recursive: true });
  fs.mkdirSync(at('share'));
  fs.mkdirSync(at('run/agent/machinefeatures'), { recursive: true });
  fs.writeFileSync(at('real/file'), '1');
  fs.symlinkSync('real', at('link'));
  fs.symlinkSync(at('link/inner'), at('absolute'));
  fs.symlinkSync('round', at('round'));
  fs.symlinkSync('share/below', at('to-share'));
  fs.symlinkSync('run/agent/machinefeatures', at('to-own'));
  fs.symlinkSync('run', at('var-run'));
  const mounts = table(line(1, 0, '/', 'ext4'), line(2, 1, at('share'), 'virtiofs'));
  const resolve = (file: string) => safeResolve(file, { table: mounts, ownOutput: [at('run/agent')] });

  it('follows relative and absolute links and dots to the real path', () => {
    for (const name of ['real/inner', 'link/inner', 'absolute', 'link/../link/./inner/', 'absolute/../inner']) {
      // Not `at`: it would cancel the dots before the walk sees them.
      const resolved = resolve(`${dir}/${name}`);
      assert.equal(resolved.kind === 'local' && resolved.realPath, at('real/inner'), name);
    }
  });

  it('stops before a foreign file system, also behind a link, and says as much of the path as is known', () => {
    // The directory below the pretended mount exists: only the table can have stopped the walk.
    for (const name of ['share/below/x', 'to-share/x', 'link/../share/below/x']) {
      assert.deepEqual(
        resolve(`${dir}/${name}`),
        { kind: 'foreign', path: at('share/below/x'), mountPoint: at('share'), fsType: 'virtiofs' },
        name,
      );
    }
    assert.equal(resolve(at('share')).kind, 'foreign');
  });

  it('touches nothing on the foreign side: no system call with its path', (t) => {
    const touched: string[] = [];
    for (const name of ['lstatSync', 'readlinkSync'] as const) {
      const real = fs[name] as (...args: readonly unknown[]) => unknown;
      t.mock.method(fs, name, (...args: readonly unknown[]) => {
        touched.push(String(args[0]));
        return real(...args);
      });
    }
    resolve(at('to-share/x'));
    assert.ok(touched.includes(at('to-share')));
    assert.deepEqual(
      touched.filter((file) => file.startsWith(at('share'))),
      [],
    );
  });

  it('gives up on a circle of links, names what is missing, and sees its own output behind any link', () => {
    const loop = resolve(at('round'));
    assert.equal(loop.kind === 'error' && loop.code, 'link_loop');
    assert.deepEqual(resolve(at('link/none/x')), { kind: 'missing', path: at('real/none/x') });
    const through = resolve(at('real/file/x'));
    assert.equal(through.kind === 'error' && through.code, 'enotdir');
    assert.equal(resolve(at('to-own')).kind, 'own_output');
    assert.equal(resolve(at('run/agent')).kind, 'own_output');
    assert.equal(resolve(at('run/agent/none/yet')).kind, 'own_output');
    assert.equal(resolve(`${dir}/run/agent/../../real`).kind, 'local');
  });

  it('knows its own output by its real path too, before it exists', () => {
    assert.deepEqual(ownOutputPaths(at('var-run/agent'), mounts), [at('var-run/agent'), at('run/agent')]);
    assert.deepEqual(ownOutputPaths(at('var-run/later'), mounts), [at('var-run/later'), at('run/later')]);
  });

  it('walks through a root of a foreign type, but does not offer it as local', () => {
    const container = table(line(1, 0, '/', 'overlay'), line(2, 1, at('real'), 'ext4'));
    const look = (file: string) => safeResolve(file, { table: container, ownOutput: [] });
    const local = look(at('link/inner'));
    assert.equal(local.kind === 'local' && local.realPath, at('real/inner'));
    assert.deepEqual(look(at('share')), { kind: 'foreign', path: at('share'), mountPoint: '/', fsType: 'overlay' });
    assert.equal(look(at('none')).kind, 'missing');
  });

  it('calls everything foreign when there is no table', () => {
    const empty = table();
    assert.equal(mountAt('/', empty), undefined);
    const resolved = safeResolve(at('real'), { table: empty, ownOutput: [] });
    assert.equal(resolved.kind === 'foreign' && resolved.path, at('real'));
  });
});
