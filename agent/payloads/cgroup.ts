/**
 * Control groups (cgroup v2) as payloads: where they are mounted, and what a text names among them. Alone or beside v1
 * ("hybrid"), whole or only a part of the tree mounted: the kernel's table of mounts tells, never a habit.
 *
 * A path here is always the kernel's own, below the root of v2, as /proc/PID/cgroup has it; the directory follows from it.
 */
import fs from 'node:fs';
import path from 'node:path';
import { isKernelThread, ProcessUnreadableError, readCgroup, readProcessStat } from './process.ts';
import { openSubtree, pidsBelow } from './subtree.ts';

/** PATH_MAX: nothing longer can be opened. */
const MAX_TEXT = 4096;

/** The manager itself (systemd.special(7)); pid 1 lives there. */
const MANAGER = '/init.scope';

/** Where a system has its control groups by convention; what stands there and is no v2 is v1. */
const CONVENTIONAL = '/sys/fs/cgroup';

export interface CgroupMount {
  /** Which part of the tree is mounted: `/`, or a path below it in a container. */
  readonly root: string;
  /** The directory it stands in. */
  readonly point: string;
}

/** `not_found`: there is no such group. `refused`: it is there, and stopping it would hit the system. Codes are stable. */
export type CgroupResolution =
  | { readonly is: 'found'; readonly path: string; readonly inode: number; readonly uid: number }
  | {
      readonly is: 'not_found';
      readonly code: 'bad_path' | 'no_cgroup2' | 'not_cgroup2' | 'not_found';
      readonly detail: string;
    }
  | {
      readonly is: 'refused';
      readonly code: 'root' | 'protected' | 'threaded' | 'unreadable';
      readonly detail: string;
    };

export interface ResolveOptions {
  readonly procRoot?: string;
  /** The agent, which is never to be stopped. Default: this process. */
  readonly selfPid?: number;
}

/** The mounts of v2 that this process sees, the whole tree first. An unreadable table is an empty one. */
export function cgroupMounts(procRoot = '/proc'): readonly CgroupMount[] {
  let lines: readonly string[];
  try {
    lines = fs.readFileSync(`${procRoot}/self/mountinfo`, 'utf8').split('\n');
  } catch {
    return [];
  }
  // proc(5): … ID, parent, device, root, mount point, options, optional fields, a lone hyphen, type.
  const mounts = lines.flatMap((line) => {
    const [fields = '', type = ''] = line.split(' - ');
    const [, , , root = '', point = ''] = fields.split(' ');
    // A root outside of our cgroup name space (`/../x`) has no path that /proc/PID/cgroup could be compared with.
    return type.startsWith('cgroup2 ') && root.startsWith('/') && !root.startsWith('/..')
      ? [{ root: unescaped(root), point: unescaped(point) }]
      : [];
  });
  return mounts.sort((a, b) => a.root.length - b.root.length);
}

/** The directory of a group; null where no mount shows it. */
export function cgroupDirectory(group: string, mounts: readonly CgroupMount[]): string | null {
  for (const { root, point } of mounts) {
    if (isWithin(group, root)) return path.posix.join(point, root === '/' ? group : group.slice(root.length));
  }
  return null;
}

/** Whether a group is another one or lies below it. */
export function isWithin(group: string, other: string): boolean {
  return other === '/' || group === other || group.startsWith(`${other}/`);
}

/**
 * What `text` names: `/sys/fs/cgroup/x` (wherever v2 is mounted), or `/x` below the root of v2. Refused is what holds pid 1,
 * the agent or a thread of the kernel, in it or below it. `uid` owns the directory. Never throws.
 */
export function resolveCgroup(text: string, options: ResolveOptions = {}): CgroupResolution {
  const procRoot = options.procRoot ?? '/proc';
  const trimmed = text.length > 1 ? text.replace(/\/$/, '') : text;
  const parts = trimmed.split('/').slice(1);
  if (!trimmed.startsWith('/') || trimmed.length > MAX_TEXT || trimmed.includes('\0'))
    return missing('bad_path', 'A control group is given as an absolute path.');
  if (trimmed !== '/' && parts.some((part) => part === '' || part === '.' || part === '..'))
    return missing('bad_path', 'The path of a control group has no empty part, no "." and no "..".');
  const mounts = cgroupMounts(procRoot);
  const [first] = mounts;
  if (first === undefined) return missing('no_cgroup2', 'Control groups of version 2 are not mounted here.');
  const mount = mounts.find(({ point }) => isWithin(trimmed, point));
  if (mount === undefined && isWithin(trimmed, CONVENTIONAL))
    return missing('not_cgroup2', `${trimmed} is no control group of version 2: those are below ${first.point}.`);
  const group = mount === undefined ? trimmed : path.posix.join(mount.root, trimmed.slice(mount.point.length));
  return examine(group, mounts, procRoot, options.selfPid ?? process.pid);
}

function examine(group: string, mounts: readonly CgroupMount[], procRoot: string, selfPid: number): CgroupResolution {
  if (group === '/' || mounts.some(({ root }) => root === group))
    return refused('root', 'The root of all control groups is the machine itself.');
  if (isWithin(group, MANAGER)) return refused('protected', `${MANAGER} is the system’s manager.`);
  const directory = cgroupDirectory(group, mounts);
  const mount = mounts.find(({ root }) => isWithin(group, root));
  if (directory === null || mount === undefined) return missing('not_found', `${group} is not mounted here.`);
  const identity = identityOf(directory, mount.point);
  if (identity === null) return missing('not_found', `There is no control group ${group}.`);
  try {
    const subtree = openSubtree(directory);
    if (subtree === null) return missing('not_found', `There is no control group ${group}.`);
    try {
      if (subtree.inode !== identity.inode) return missing('not_found', `${group} is just being made anew.`);
      if (/^(?:threaded|domain invalid)$/.test(subtree.type()))
        return refused('threaded', `${group} holds threads, not processes.`);
      const holds = protectedWithin(group, procRoot, selfPid) ?? kernelThreadIn(pidsBelow(subtree).pids, procRoot);
      if (holds !== null) return refused('protected', `${group} holds ${holds}.`);
    } finally {
      subtree.close();
    }
  } catch (error) {
    return refused('unreadable', `${group} cannot be read: ${error instanceof Error ? error.message : String(error)}.`);
  }
  return { is: 'found', path: group, ...identity };
}

/**
 * Who of those that must never be signalled is in the group or below it; null = neither. Read anew each time: processes are
 * moved between groups. Throws ProcessUnreadableError.
 */
export function protectedWithin(group: string, procRoot: string, selfPid: number): string | null {
  for (const [pid, name] of [
    [1, 'pid 1'],
    [selfPid, 'the agent itself'],
  ] as const) {
    const own = readCgroup(pid, procRoot);
    if (own === null) throw new ProcessUnreadableError(pid, 'its control group cannot be read');
    if (isWithin(own, group)) return name;
  }
  return null;
}

function kernelThreadIn(pids: readonly number[], procRoot: string): string | null {
  for (const pid of pids) {
    const stat = readProcessStat(pid, procRoot);
    if (stat !== null && isKernelThread(stat)) return `a thread of the kernel (${stat.comm})`;
  }
  return null;
}

/** Each part must be a directory of the very file system that is mounted: no link, and nothing mounted over it. */
function identityOf(directory: string, point: string): { readonly inode: number; readonly uid: number } | null {
  try {
    const { dev } = fs.lstatSync(point);
    let at = point;
    let last: fs.Stats | null = null;
    for (const part of path.posix.relative(point, directory).split('/')) {
      at = path.posix.join(at, part);
      last = fs.lstatSync(at);
      if (!last.isDirectory() || last.dev !== dev) return null;
    }
    return last === null ? null : { inode: last.ino, uid: last.uid };
  } catch {
    return null;
  }
}

/** proc(5): blank, tab, newline and backslash are written in octal. */
function unescaped(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

const missing = (code: Extract<CgroupResolution, { is: 'not_found' }>['code'], detail: string): CgroupResolution => ({
  is: 'not_found',
  code,
  detail,
});
const refused = (code: Extract<CgroupResolution, { is: 'refused' }>['code'], detail: string): CgroupResolution => ({
  is: 'refused',
  code,
  detail,
});
