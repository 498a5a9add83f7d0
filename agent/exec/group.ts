/**
 * Who belongs to a payload of `exec`: its process group, and whoever carries its marker in the environment, as those do that
 * left the group by setsid or a double fork. A zombie that nobody reaps does not count.
 */
import fs from 'node:fs';
import type { ProcessRef } from '../lifetime/types.ts';
import { isZombie, listProcesses, type ProcessInfo, readProcess } from '../payloads/process.ts';

export interface Membership {
  readonly leader: ProcessRef;
  /** `NAME=VALUE` in the environment of each of them. */
  readonly marker: string;
}

/** Whether anybody is left. `isGroup`: whether the number of the group is still the payload's. */
export function anybodyAlive({ leader, marker }: Membership, isGroup: boolean): boolean {
  return listProcesses().some((pid) => {
    const info = pid === process.pid ? null : running(pid);
    return info !== null && ((isGroup && info.pgrp === leader.pid) || isMarked(pid, marker));
  });
}

/**
 * Whether the group's number is still the payload's once its leader was reaped: to be asked at once then, and from time to
 * time. It is as long as somebody is in it who was in it at the last look; empty, the number may be anybody's.
 */
export function openGroupHold({ leader }: Pick<Membership, 'leader'>): () => boolean {
  let held: ReadonlySet<string> | null = null;
  return () => {
    const now = new Set<string>();
    for (const pid of listProcesses()) {
      const info = running(pid);
      if (info !== null && info.pgrp === leader.pid) now.add(`${pid} ${info.startTicks}`);
    }
    const before = held;
    held = before === null || [...now].some((one) => before.has(one)) ? now : new Set();
    return held.size > 0;
  };
}

/**
 * Those outside the group, whatever user they have become. Only processes whose environment we may read: our own user's, all
 * for root.
 */
export function marked({ leader, marker }: Membership): readonly ProcessRef[] {
  const found: ProcessRef[] = [];
  for (const pid of listProcesses()) {
    const info = pid === process.pid ? null : running(pid);
    if (info !== null && info.pgrp !== leader.pid && isMarked(pid, marker)) found.push(info);
  }
  return found;
}

/** null: it has ended, or is somebody else's and hidden from us: not of ours. */
function running(pid: number): ProcessInfo | null {
  try {
    const info = readProcess(pid);
    return info === null || isZombie(info) ? null : info;
  } catch {
    return null;
  }
}

function isMarked(pid: number, marker: string): boolean {
  try {
    return fs.readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(marker);
  } catch {
    return false;
  }
}
