/** The control group of a payload: a unit's while it runs, or a registered one with its very inode. */
import fs from 'node:fs';
import type { CgroupTarget, UnitTarget } from '../lifetime/types.ts';
import { type CgroupMount, cgroupDirectory, cgroupMounts } from './cgroup.ts';
import { openSubtree, type Subtree } from './subtree.ts';

export type GroupTarget = UnitTarget | CgroupTarget;

/** Close what is open. `gone`: no such group, or another one under its path. `unreadable`: `code` says why. */
export type OpenedGroup =
  | { readonly is: 'open'; readonly subtree: Subtree }
  | { readonly is: 'gone' }
  | { readonly is: 'unreadable'; readonly code: string };

export interface GroupDoor {
  /** Never throws. */
  open(target: GroupTarget): OpenedGroup;
  /** Whether processes are in it; `unknown` where that cannot be read. Never throws. */
  state(target: GroupTarget): 'populated' | 'empty' | 'gone' | 'unknown';
}

/** Reads the table of mounts once, and again when what it said is no longer so. */
export function createGroupDoor(procRoot: string): GroupDoor {
  let mounts: readonly (CgroupMount & { readonly dev: number })[] = [];
  return { open, state };

  function open(target: GroupTarget): OpenedGroup {
    const group = groupPath(target);
    // Written down by an earlier run, or told by systemd: a slip there must not become the whole machine.
    if (!/^(?:\/[^/]+)+$/.test(group) || /\/\.\.?(?:\/|$)/.test(group)) return { is: 'unreadable', code: 'bad_path' };
    try {
      if (!mounts.some(isStillThere)) mounts = cgroupMounts(procRoot).flatMap(withDevice);
      const directory = cgroupDirectory(group, mounts);
      if (directory === null) return { is: 'unreadable', code: 'no_cgroup2' };
      const subtree = openSubtree(directory);
      if (subtree === null) return { is: 'gone' };
      if (target.kind === 'unit' || subtree.inode === target.inode) return { is: 'open', subtree };
      subtree.close();
      return { is: 'gone' };
    } catch {
      return { is: 'unreadable', code: 'unreadable' };
    }
  }

  function state(target: GroupTarget): 'populated' | 'empty' | 'gone' | 'unknown' {
    const opened = open(target);
    if (opened.is !== 'open') return opened.is === 'gone' ? 'gone' : 'unknown';
    try {
      return opened.subtree.populated() ? 'populated' : 'empty';
    } catch {
      return 'unknown';
    } finally {
      opened.subtree.close();
    }
  }
}

export function groupPath(target: GroupTarget): string {
  return target.kind === 'unit' ? target.cgroup : target.path;
}

/** A file system that was unmounted would make every group look gone. */
function isStillThere({ point, dev }: CgroupMount & { readonly dev: number }): boolean {
  return deviceOf(point) === dev;
}

function withDevice(mount: CgroupMount): readonly (CgroupMount & { readonly dev: number })[] {
  const dev = deviceOf(mount.point);
  return dev === null ? [] : [{ ...mount, dev }];
}

function deviceOf(directory: string): number | null {
  try {
    return fs.statSync(directory).dev;
  } catch {
    return null;
  }
}
