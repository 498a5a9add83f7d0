/** What is mounted where, told by the kernel's table alone: even an `lstat` of a mount point can block for ever. */
import fs from 'node:fs';
import path from 'node:path';

/**
 * Mount points of this process's name space; null when the table cannot be read. Names with blanks stay escaped as the
 * kernel writes them (`\\040`): nobody asks for such.
 */
export function mountPoints(root: string): ReadonlySet<string> | null {
  try {
    const lines = fs.readFileSync(path.join(root, 'proc/self/mountinfo'), 'utf8').split('\n');
    return new Set(lines.map((line) => line.split(' ')[4] ?? ''));
  } catch {
    return null;
  }
}

/** File systems by which a host or site shares a directory with a guest; a disk of the guest's own is none of them. */
const SHARED = /^(?:9p|virtiofs|nfs4?|cifs|smb3|ceph|lustre|afs|vboxsf|prl_fs|fuse(?:\..+)?)$/;

/** Mount points of shared file systems; null when the table cannot be read. */
export function sharedMountPoints(root: string): ReadonlySet<string> | null {
  try {
    const lines = fs.readFileSync(path.join(root, 'proc/self/mountinfo'), 'utf8').split('\n');
    // proc(5): the fields after the lone hyphen begin with the type.
    const rows = lines.map((line) => [line.split(' ')[4] ?? '', line.split(' - ')[1]?.split(' ')[0] ?? ''] as const);
    return new Set(rows.filter(([, type]) => SHARED.test(type)).map(([point]) => point));
  } catch {
    return null;
  }
}
