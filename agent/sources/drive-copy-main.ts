/**
 * The copying child: `mjf-agent __copy-drive LABEL TARGET [DEVICE]`, run by root in a mount namespace of its own
 * (`unshare -m`, or a unit with `PrivateMounts=yes`). It mounts the drive where nobody else sees it, copies the files of the
 * allow-list to TARGET (0700, replaced as a whole), and ends; the mount goes with it.
 */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { spawnClean } from '../spawn-clean.ts';
import { errorText } from './directory/errno.ts';
import { mountTableReader } from './directory/mounts.ts';
import { type DriveFiles, driveLabelOf, placeInCopy, readDriveFiles } from './drive-files.ts';

/** What such drives are made with: OpenStack writes ISO 9660 or VFAT, OpenNebula ISO 9660, other tools a small ext4. */
const FS_TYPES = 'iso9660,vfat,ext4';
const MOUNT_OPTIONS = 'ro,nosuid,nodev,noexec';
const MOUNTINFO = '/proc/self/mountinfo';
/** Where mount(8) and umount(8) live; the caller's PATH is not asked. */
const TOOL_PATH = '/usr/sbin:/usr/bin:/sbin:/bin';

/** Returns the exit code; one line on stderr says what went wrong. 2: wrong call, 1: it cannot be done. */
export async function copyDriveMain(argv: readonly string[]): Promise<number> {
  const [labelText = '', target = '', device = `/dev/disk/by-label/${labelText}`] = argv;
  const label = driveLabelOf(labelText);
  if (label === undefined || !path.isAbsolute(target) || !path.isAbsolute(device))
    return failed(2, 'usage: __copy-drive config-2|CONTEXT TARGET [DEVICE], absolute paths');
  if (rootIsShared()) return failed(2, 'not in a mount namespace of its own: run by unshare -m');
  const staging = `${target}.${randomBytes(6).toString('hex')}`;
  try {
    // A regular file would be put on a loop device, which stays when we are gone.
    if (!fs.statSync(device).isBlockDevice()) return failed(1, `${device} is no block device`);
    fs.mkdirSync(staging, { mode: 0o700 });
    await run('mount', ['-t', FS_TYPES, '-o', MOUNT_OPTIONS, '--', device, staging]);
    let files: DriveFiles;
    try {
      files = readDriveFiles(staging, label, { table: mountTableReader(MOUNTINFO)(), mayTouch: () => true });
    } finally {
      await run('umount', [staging]);
    }
    for (const [name, content] of files) {
      if (!Buffer.isBuffer(content)) {
        process.stderr.write(`${name}: ${content.error}\n`);
        continue;
      }
      const file = path.join(staging, placeInCopy(label, name));
      fs.mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
      fs.writeFileSync(file, content, { mode: 0o600, flag: 'wx' });
    }
    replace(target, staging);
    return 0;
  } catch (error) {
    return failed(1, errorText(error));
  } finally {
    // Never recursively into what may still be mounted there.
    if (!isMounted(staging)) fs.rmSync(staging, { recursive: true, force: true });
  }
}

function failed(code: number, why: string): number {
  process.stderr.write(`${why}\n`);
  return code;
}

/** What is mounted below a shared `/` would be mounted for everybody. */
function rootIsShared(): boolean {
  const lines = fs.readFileSync(MOUNTINFO, 'utf8').split('\n');
  return lines.some((line) => {
    const fields = line.split(' ');
    const tags = fields.slice(6, fields.indexOf('-', 6));
    return fields[4] === '/' && tags.some((tag) => tag.startsWith('shared:'));
  });
}

const isMounted = (dir: string): boolean =>
  mountTableReader(MOUNTINFO)().mounts.some(({ mountPoint }) => mountPoint === dir);

/** Two renames, since a directory is not replaced by one. A reader between them finds nothing and asks again. */
function replace(target: string, staging: string): void {
  const old = `${staging}.old`;
  fs.rmSync(old, { recursive: true, force: true });
  if (fs.existsSync(target)) fs.renameSync(target, old);
  fs.renameSync(staging, target);
  fs.rmSync(old, { recursive: true, force: true });
}

function run(command: string, args: readonly string[]): Promise<void> {
  const spawned = spawnClean(command, args, {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { PATH: TOOL_PATH, LC_ALL: 'C' },
  });
  if ('error' in spawned) return Promise.reject(new Error(`${command}: ${spawned.error}`));
  return new Promise((resolve, reject) => {
    spawned.child.once('error', reject);
    spawned.child.once('exit', (code, signal) =>
      code === 0 ? resolve() : reject(new Error(`${command} ended with ${signal ?? code}`)),
    );
  });
}
