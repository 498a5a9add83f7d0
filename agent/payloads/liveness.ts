/** Who is gone: payloads that ended without a word, and `exec` processes that died before their payload (SEMANTICS S3.8). */
import type { PayloadSpec, ProcessRef } from '../lifetime/types.ts';
import { groupMembers, groupOf, type ProcessTable, readLeader, readProcessTable } from './members.ts';
import { isZombie, type ProcessStat, ProcessUnreadableError, readProcess, readProcessStat } from './process.ts';

export interface Gone {
  /** Ids of payloads of which no process is left. */
  readonly gone: readonly string[];
  /** Ids of payloads that live while their deliverer does not. */
  readonly delivererGone: readonly string[];
}

/**
 * Looks at every payload; never throws. A group is gone only when no member is left (same owner, started not before the
 * leader); zombies count as gone. What cannot be read counts as alive. /proc is scanned only if a group has lost its leader.
 */
export function findGone(specs: readonly PayloadSpec[], procRoot = '/proc'): Gone {
  const gone: string[] = [];
  const delivererGone: string[] = [];
  let table: ProcessTable | null = null;
  for (const spec of specs) {
    if (!payloadLives(spec)) gone.push(spec.id);
    else if (spec.deliverer !== undefined && !processLives(spec.deliverer, procRoot)) delivererGone.push(spec.id);
  }
  return { gone, delivererGone };

  function payloadLives(spec: PayloadSpec): boolean {
    if (processLives(spec.target.leader, procRoot)) return true;
    if (!spec.target.group) return false;
    const leader = readLeader(spec, procRoot);
    if (leader.is === 'unreadable') return true;
    if (leader.is === 'reused') return false;
    try {
      table ??= readProcessTable(procRoot);
    } catch {
      return true;
    }
    const pgrp = groupOf(spec, leader);
    return groupMembers(spec, pgrp, table).some((stat) => !isZombie(stat) && isOwnedBy(stat, spec.uid));
  }

  function isOwnedBy(stat: ProcessStat, uid: number): boolean {
    try {
      const info = readProcess(stat.pid, procRoot);
      return info !== null && info.startTicks === stat.startTicks && info.uids.every((one) => one === uid);
    } catch (error) {
      if (error instanceof ProcessUnreadableError) return true;
      throw error;
    }
  }
}

function processLives(ref: ProcessRef, procRoot: string): boolean {
  try {
    const stat = readProcessStat(ref.pid, procRoot);
    return stat !== null && stat.startTicks === ref.startTicks && !isZombie(stat);
  } catch (error) {
    if (error instanceof ProcessUnreadableError) return true;
    throw error;
  }
}
