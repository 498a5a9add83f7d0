import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, afterEach, beforeEach, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import {
  createDrive,
  type DriveContent,
  type DriveLabel,
  type DriveOptions,
  isDriveLikely,
} from '../../agent/sources/drive.ts';
import { MAX_FILE_BYTES } from '../../agent/sources/drive-files.ts';
import { readMachineFacts } from '../../agent/sources/facts.ts';
import type { SourceEnvironment, TraceEntry } from '../../agent/sources/source.ts';
import { codeOf } from './answers.ts';
import { sourceEnvironment } from './environment.ts';

const MAIN = fileURLToPath(new URL('../../agent/main.ts', import.meta.url));
const SELF = { command: process.execPath, args: ['--import', 'tsx', MAIN] };
const IS_ROOT = process.getuid?.() === 0;
const ROOT_ONLY = IS_ROOT ? false : 'needs root';

/** Of all tests: after a skipped one Node 20 runs no `afterEach`. */
const base = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-drive-'));
after(() => fs.rmSync(base, { recursive: true, force: true }));
let cleanups: (() => unknown)[] = [];
/** Stands for `/`: has nothing but what the test puts there. */
let root = '';
beforeEach(() => {
  root = fs.mkdtempSync(path.join(base, 'root-'));
  cleanups = [];
});
afterEach(() => {
  for (const cleanup of cleanups.reverse()) cleanup();
});

/** Writes files below the root; returns the path of `dir`. */
function put(dir: string, files: Readonly<Record<string, string | Buffer>>): string {
  const top = path.join(root, dir);
  fs.mkdirSync(top, { recursive: true });
  for (const [name, content] of Object.entries(files)) {
    fs.mkdirSync(path.dirname(path.join(top, name)), { recursive: true });
    fs.writeFileSync(path.join(top, name), content);
  }
  return top;
}

function drive(label: DriveLabel, options: Partial<DriveOptions> = {}, environment: Partial<SourceEnvironment> = {}) {
  return createDrive({ source: 'test', label, ...options }, sourceEnvironment({ root, self: SELF, ...environment }));
}

const signal = () => new AbortController().signal;

async function contentOf(label: DriveLabel, options: Partial<DriveOptions> = {}): Promise<DriveContent> {
  return (await drive(label, options).read(signal())) ?? assert.fail('no drive');
}

/** Text by name, or the code of what is wrong in angle brackets. */
const shown = ({ files }: DriveContent): Readonly<Record<string, string>> =>
  Object.fromEntries(
    Object.entries(files).map(([name, file]) => [
      name,
      file === undefined ? '' : 'text' in file ? file.text : `<${file.error}>`,
    ]),
  );

describe('a configured directory', () => {
  it('gives the documents of latest/, and nothing that is not on the list', async () => {
    const configured = put('drive', {
      'openstack/latest/meta_data.json': '{"uuid":"a"}',
      'openstack/latest/vendor_data.json': '{}',
      'openstack/latest/user_data': 'secret',
      'openstack/2018-08-27/meta_data.json': 'old',
      'ec2/latest/meta-data.json': '{}',
    });
    const content = await contentOf('config-2', { configured });
    assert.deepEqual(shown(content), { 'meta_data.json': '{"uuid":"a"}', 'vendor_data.json': '{}' });
    assert.equal(content.where, configured);
  });

  it('gives the newest dated version where latest/ is missing or has nothing', async () => {
    const configured = put('drive', {
      'openstack/2012-08-10/meta_data.json': 'oldest',
      'openstack/2018-08-27/meta_data.json': 'newest',
      'openstack/2016-10-06/meta_data.json': 'older',
      'openstack/content/0000': '',
      'openstack/latest/user_data': '',
    });
    assert.deepEqual(shown(await contentOf('config-2', { configured })), { 'meta_data.json': 'newest' });
  });

  it('finds names in capitals and with version numbers, as plain ISO 9660 has them', async () => {
    const openstack = put('drive', { 'OPENSTACK/LATEST/META_DATA.JSON;1': 'meta' });
    assert.deepEqual(shown(await contentOf('config-2', { configured: openstack })), { 'meta_data.json': 'meta' });
    const context = put('context', { 'CONTEXT.SH': "A='1'", 'TOKEN.TXT;1': 't' });
    assert.deepEqual(shown(await contentOf('CONTEXT', { configured: context })), {
      'context.sh': "A='1'",
      'token.txt': 't',
    });
  });

  it('may be the file itself for a context, by any name, with the token beside it', async () => {
    const dir = put('context', { 'site.env': "A='1'", 'token.txt': 't', 'context.sh': 'another' });
    const content = await contentOf('CONTEXT', { configured: path.join(dir, 'site.env') });
    assert.deepEqual(shown(content), { 'context.sh': "A='1'", 'token.txt': 't' });
  });

  it('follows links within the drive and none that leads out', async () => {
    const configured = put('drive', { 'openstack/2018-08-27/meta_data.json': 'meta' });
    const outside = put('', { secret: 'secret' });
    fs.symlinkSync('2018-08-27', path.join(configured, 'openstack/latest'));
    fs.symlinkSync(path.join(outside, 'secret'), path.join(configured, 'openstack/2018-08-27/vendor_data.json'));
    fs.symlinkSync('../../../secret', path.join(configured, 'openstack/2018-08-27/vendor_data2.json'));
    assert.deepEqual(shown(await contentOf('config-2', { configured })), {
      'meta_data.json': 'meta',
      'vendor_data.json': '<link_out>',
      'vendor_data2.json': '<link_out>',
    });
  });

  it('reads no FIFO, no directory, nothing too large and nothing that is no text, and the rest all the same', async () => {
    const configured = put('drive', {
      'openstack/latest/meta_data.json': 'x'.repeat(MAX_FILE_BYTES),
      'openstack/latest/meta-data.json': 'x'.repeat(MAX_FILE_BYTES + 1),
      'openstack/latest/vendor_data.json': Buffer.from([0xff, 0xfe, 0x7b]),
    });
    execFileSync('mkfifo', [path.join(configured, 'openstack/latest/vendor_data2.json')]);
    const { 'meta_data.json': meta, ...others } = shown(await contentOf('config-2', { configured }));
    assert.equal(meta?.length, MAX_FILE_BYTES);
    assert.deepEqual(others, {
      'meta-data.json': '<too_large>',
      'vendor_data.json': '<not_text>',
      'vendor_data2.json': '<not_a_file>',
    });
  });

  it('that is not there, no directory or without any file of the list is an error, and is read when it has come', async () => {
    const configured = path.join(root, 'late');
    const late = drive('config-2', { configured });
    assert.equal(await codeOf(late.read(signal())), 'enoent');
    put('', { late: '' });
    assert.equal(await codeOf(late.read(signal())), 'not_a_directory');
    fs.rmSync(configured);
    put('late', { 'openstack/latest/user_data': '' });
    assert.equal(await codeOf(late.read(signal())), 'drive_empty');
    put('late', { 'openstack/latest/meta_data.json': 'meta' });
    assert.deepEqual(shown((await late.read(signal())) ?? assert.fail()), { 'meta_data.json': 'meta' });
  });

  it('on a file system that may hang is not touched', async () => {
    put('proc/self', {
      mountinfo: `1 0 8:1 / / rw - ext4 /dev/root rw\n2 1 0:50 / ${root}/share rw - nfs4 server:/x rw\n`,
    });
    assert.equal(
      await codeOf(drive('config-2', { configured: `${root}/share/drive` }).read(signal())),
      'foreign_file_system',
    );
  });

  it('counts alone: no other place is looked at', async () => {
    put('run/mjf-agent-drive/config-2', { 'openstack/latest/meta_data.json': 'copy' });
    assert.equal(await codeOf(drive('config-2', { configured: `${root}/none` }).read(signal())), 'enoent');
  });
});

describe('a copy that a root helper left', () => {
  const COPY = 'run/mjf-agent-drive/CONTEXT';

  it('is read, and tells that there is a drive', async () => {
    const dir = put(COPY, { 'context.sh': "VMID='17'", 'token.txt': 't' });
    assert.deepEqual(await contentOf('CONTEXT'), {
      where: dir,
      files: { 'context.sh': { text: "VMID='17'" }, 'token.txt': { text: 't' } },
    });
    const environment = sourceEnvironment({ root, facts: readMachineFacts(root) });
    assert.equal(isDriveLikely({ source: 'test', label: 'CONTEXT' }, environment), true);
    assert.equal(isDriveLikely({ source: 'test', label: 'config-2' }, environment), false);
  });

  for (const dir of ['run/mjf-agent-drive', COPY])
    it(`is not believed where others may write to ${dir}`, async () => {
      put(COPY, { 'context.sh': "VMID='17'" });
      fs.chmodSync(path.join(root, dir), 0o777);
      assert.equal(await codeOf(drive('CONTEXT').read(signal())), 'not_trusted');
      fs.chmodSync(path.join(root, dir), 0o755);
      assert.ok(await drive('CONTEXT').read(signal()));
    });

  it('a file of it that others may write to is not believed', async () => {
    const dir = put(COPY, { 'context.sh': "VMID='17'", 'token.txt': 't' });
    fs.chmodSync(path.join(dir, 'token.txt'), 0o660);
    assert.deepEqual(shown(await contentOf('CONTEXT')), { 'context.sh': "VMID='17'", 'token.txt': '<not_trusted>' });
  });

  it('is not believed where another user owns the directory or a file', { skip: ROOT_ONLY }, async () => {
    const dir = put(COPY, { 'context.sh': "VMID='17'", 'token.txt': 't' });
    fs.chownSync(path.join(dir, 'token.txt'), 4242, 4242);
    assert.deepEqual(shown(await contentOf('CONTEXT')), { 'context.sh': "VMID='17'", 'token.txt': '<not_trusted>' });
    fs.chownSync(dir, 4242, 4242);
    assert.equal(await codeOf(drive('CONTEXT').read(signal())), 'not_trusted');
  });

  it('is not there, nor any device: there is no drive, which is no error', async () => {
    const entries: TraceEntry[] = [];
    const none = drive('CONTEXT', {}, { trace: (entry) => entries.push(entry) });
    assert.equal(await none.read(signal()), undefined);
    assert.deepEqual(
      entries.map(({ source, asked, answered }) => [source, asked, answered]),
      [['test', 'drive CONTEXT', 'absent']],
    );
  });
});

describe('a labelled device', { skip: ROOT_ONLY }, () => {
  const mountsAre = (...lines: readonly string[]) =>
    put('proc/self', { mountinfo: ['1 0 0:1 / / rw - overlay none rw', ...lines, ''].join('\n') });

  /** A device node as udev names it; a node alone does nothing. */
  function label(name: string, device: number): void {
    const [major, minor] = [(device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00)];
    fs.mkdirSync(path.join(root, 'dev/disk/by-label'), { recursive: true });
    const node = path.join(root, 'dev', `node-${minor}`);
    execFileSync('mknod', [node, 'b', String(major), String(minor)]);
    fs.symlinkSync(node, path.join(root, 'dev/disk/by-label', name));
  }

  it('is read where it is mounted, whatever the case of its label, and wherever parts of it are bound', async () => {
    const mounted = put('media/cd', { 'openstack/latest/meta_data.json': 'mounted' });
    const bound = put('bound', { 'what is bound here': 'is another part of the drive' });
    label('CONFIG-2', fs.statSync(mounted).dev);
    mountsAre(`2 1 8:2 / ${bound} ro - iso9660 /dev/sr0 ro`, `3 1 8:2 / ${mounted} ro - iso9660 /dev/sr0 ro`);
    const content = await contentOf('config-2');
    assert.deepEqual([content.where, shown(content)], [mounted, { 'meta_data.json': 'mounted' }]);
  });

  it('is not touched where it is mounted on a type that may hang', async () => {
    const mounted = put('media/cd', { 'openstack/latest/meta_data.json': 'mounted' });
    label('config-2', fs.statSync(mounted).dev);
    mountsAre(`2 1 8:2 / ${mounted} ro - fuse.iso /dev/sr0 ro`);
    const unmountable = drive('config-2', {}, { self: { command: '/bin/false', args: [] } });
    assert.equal(await codeOf(unmountable.read(signal())), 'drive_unreadable');
  });

  it('that is no block device is none', async () => {
    put('dev/disk/by-label', { 'config-2': 'a file' });
    assert.equal(await drive('config-2').read(signal()), undefined);
  });

  it('a copier that hangs is left behind when it is no longer wanted, and killed with its children', async () => {
    label('config-2', 0);
    const pidFile = path.join(root, 'pid');
    const script = `sleep 600 & echo $! > ${pidFile}.new; mv ${pidFile}.new ${pidFile}; wait`;
    const stuck = drive('config-2', {}, { self: { command: '/bin/sh', args: ['-c', script] } });
    const abort = new AbortController();
    const reading = codeOf(stuck.read(abort.signal));
    while (!fs.existsSync(pidFile)) await sleep(5);
    abort.abort();
    assert.equal(await reading, 'aborted');
    const isAlive = () => /^State:\t[^ZX]/m.test(readOr(`/proc/${fs.readFileSync(pidFile, 'utf8').trim()}/status`));
    while (isAlive()) await sleep(5);
  });
});

function readOr(file: string): string {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

describe('a real image on a loop device', () => {
  const TREE = {
    'openstack/latest/meta_data.json': '{"uuid":"a"}',
    'openstack/latest/vendor_data2.json': '{}',
    'openstack/latest/user_data': 'secret',
  };
  const IMAGES: Readonly<Record<string, (image: string, tree: string) => void>> = {
    'iso9660 with Joliet and Rock Ridge': (image, tree) =>
      void execFileSync('genisoimage', ['-quiet', '-V', 'config-2', '-J', '-R', '-o', image, tree]),
    'iso9660 without extensions': (image, tree) =>
      void execFileSync('genisoimage', ['-quiet', '-V', 'config-2', '-iso-level', '3', '-o', image, tree]),
    ext4: (image, tree) =>
      void execFileSync('mkfs.ext4', ['-q', '-L', 'config-2', '-d', tree, image, '4M'], { stdio: 'pipe' }),
  };

  /** A private copy of the image at a loop device with udev's link, or why there is none. */
  function attach(kind: string, make: (image: string, tree: string) => void): string | { readonly device: string } {
    if (!IS_ROOT) return 'needs root';
    const type = kind.split(' ')[0] ?? '';
    if (type === 'iso9660') spawnSync('modprobe', ['isofs'], { stdio: 'ignore' });
    if (!new RegExp(`\\s${type}$`, 'm').test(readOr('/proc/filesystems'))) return `this kernel has no ${type}`;
    const tree = put('tree', TREE);
    const image = path.join(root, 'image');
    try {
      make(image, tree);
    } catch (error) {
      return `no image: ${error instanceof Error ? error.message.split('\n')[0] : String(error)}`;
    }
    const made = spawnSync('losetup', ['--find', '--show', '--read-only', image], { encoding: 'utf8' });
    if (made.status !== 0) return `no loop device: ${made.stderr}`;
    const device = made.stdout.trim();
    cleanups.push(() => execFileSync('losetup', ['--detach', device]));
    fs.mkdirSync(path.join(root, 'dev/disk/by-label'), { recursive: true });
    fs.symlinkSync(device, path.join(root, 'dev/disk/by-label/config-2'));
    return { device };
  }

  for (const [kind, make] of Object.entries(IMAGES))
    it(`${kind}: root mounts it in private, copies what is on the list, and leaves no mount`, async (t) => {
      const attached = attach(kind, make);
      if (typeof attached === 'string') return t.skip(attached);
      const content = await contentOf('config-2');
      assert.deepEqual(shown(content), { 'meta_data.json': '{"uuid":"a"}', 'vendor_data2.json': '{}' });
      const copy = path.join(root, 'run/mjf-agent-drive/config-2');
      assert.equal(content.where, copy);
      assert.equal(fs.statSync(copy).mode & 0o777, 0o700);
      assert.deepEqual(fs.readdirSync(copy, { recursive: true }).sort(), [
        'openstack',
        'openstack/latest',
        'openstack/latest/meta_data.json',
        'openstack/latest/vendor_data2.json',
      ]);
      assert.deepEqual(fs.readdirSync(path.dirname(copy)), ['config-2'], 'nothing else is left there');
      assert.doesNotMatch(readOr('/proc/self/mountinfo'), new RegExp(` ${attached.device} `));
      // The copy serves from now on: no program is started again.
      const again = drive('config-2', {}, { self: { command: '/bin/false', args: [] } });
      assert.deepEqual(await again.read(signal()), content);
    });

  it('a fresh reading replaces the copy, but not more than once in a while', async (t) => {
    const attached = attach('ext4', IMAGES['ext4'] ?? assert.fail());
    if (typeof attached === 'string') return t.skip(attached);
    const stale = put('run/mjf-agent-drive/config-2', {
      'openstack/latest/meta_data.json': 'stale',
      'openstack/x': '',
    });
    const one = drive('config-2');
    assert.equal(shown((await one.read(signal())) ?? assert.fail())['meta_data.json'], 'stale');
    assert.equal(shown((await one.read(signal(), true)) ?? assert.fail())['meta_data.json'], '{"uuid":"a"}');
    assert.equal(fs.existsSync(path.join(stale, 'openstack/x')), false);
    fs.writeFileSync(path.join(stale, 'openstack/latest/meta_data.json'), 'by hand');
    assert.equal(shown((await one.read(signal(), true)) ?? assert.fail())['meta_data.json'], 'by hand');
  });

  it('who must leave nothing behind reads a copy of its own, of which nothing stays', async (t) => {
    const attached = attach('ext4', IMAGES['ext4'] ?? assert.fail());
    if (typeof attached === 'string') return t.skip(attached);
    const own = path.join(root, 'tmp');
    fs.mkdirSync(own);
    const { TMPDIR: before } = process.env;
    process.env['TMPDIR'] = own;
    try {
      const content = await drive('config-2', {}, { leavesNothing: true }).read(signal());
      assert.equal(shown(content ?? assert.fail())['meta_data.json'], '{"uuid":"a"}');
    } finally {
      if (before === undefined) delete process.env['TMPDIR'];
      else process.env['TMPDIR'] = before;
    }
    assert.deepEqual(fs.readdirSync(own), []);
    assert.equal(fs.existsSync(path.join(root, 'run')), false);
  });

  it('an image that is no file system is an error that says so, and leaves nothing', async (t) => {
    const attached = attach('ext4', (image) => fs.writeFileSync(image, Buffer.alloc(1024 * 1024)));
    if (typeof attached === 'string') return t.skip(attached);
    assert.equal(await codeOf(drive('config-2').read(signal())), 'drive_unreadable');
    assert.deepEqual(fs.readdirSync(path.join(root, 'run/mjf-agent-drive')), []);
  });
});

describe('__copy-drive', () => {
  const run = (prefix: readonly string[], ...args: readonly string[]) => {
    const [command = '', ...rest] = [...prefix, SELF.command, ...SELF.args, '__copy-drive', ...args];
    return spawnSync(command, rest, { encoding: 'utf8', timeout: 60_000 });
  };

  it('takes known labels and absolute paths only', () => {
    for (const args of [['cidata', '/run/x'], ['config-2', 'x'], ['config-2'], []]) {
      const { status, stderr } = run([], ...args);
      assert.equal(status, 2, stderr);
      assert.match(stderr, /usage/);
    }
  });

  it('refuses where its mounts would be seen by others', { skip: ROOT_ONLY }, () => {
    const { status, stderr } = run(
      ['unshare', '--mount', '--propagation', 'shared'],
      'config-2',
      `${root}/copy`,
      '/dev/null',
    );
    assert.deepEqual([status, stderr.trim()], [2, 'not in a mount namespace of its own: run by unshare -m']);
  });

  it('takes no file for a device, which would leave a loop device behind', { skip: ROOT_ONLY }, () => {
    const file = path.join(put('', { image: '' }), 'image');
    const { status, stderr } = run(['unshare', '--mount'], 'config-2', `${root}/copy`, file);
    assert.deepEqual([status, stderr.trim()], [1, `${file} is no block device`]);
    assert.equal(fs.existsSync(`${root}/copy`), false);
  });
});
