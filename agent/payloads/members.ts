/** Which processes belong to a payload besides its leader. */
import type { PayloadSpec } from '../lifetime/types.ts';
import { type ProcessStat, ProcessUnreadableError, readProcess, scanProcesses } from './process.ts';

/** One scan of /proc, found by each number that ties processes together: 1,000 payloads ask it in one tick. */
export interface ProcessTable {
  readonly byPid: ReadonlyMap<number, readonly ProcessStat[]>;
  readonly byParent: ReadonlyMap<number, readonly ProcessStat[]>;
  readonly byGroup: ReadonlyMap<number, readonly ProcessStat[]>;
  readonly bySession: ReadonlyMap<number, readonly ProcessStat[]>;
}

/** Throws ProcessUnreadableError when /proc itself cannot be read. */
export function readProcessTable(procRoot: string): ProcessTable {
  const scan = scanProcesses(procRoot);
  return {
    byPid: indexBy(scan, (stat) => stat.pid),
    byParent: indexBy(scan, (stat) => stat.ppid),
    byGroup: indexBy(scan, (stat) => stat.pgrp),
    bySession: indexBy(scan, (stat) => stat.session),
  };
}

/** The leader as it stands now. `reused`: its pid belongs to another process. */
export type LeaderState =
  | { readonly is: 'there'; readonly stat: ProcessStat }
  | { readonly is: 'gone' | 'reused' | 'unreadable' };

/** Reads the leader; never throws. */
export function readLeader(spec: PayloadSpec, procRoot: string): LeaderState {
  const { pid, startTicks } = spec.target.leader;
  try {
    const stat = readProcess(pid, procRoot);
    if (stat === null) return { is: 'gone' };
    return stat.startTicks === startTicks ? { is: 'there', stat } : { is: 'reused' };
  } catch (error) {
    if (error instanceof ProcessUnreadableError) return { is: 'unreadable' };
    throw error;
  }
}

/**
 * The process group of the payload. Once the leader is gone, its pid is the only name that the group can still have; the
 * kernel gives no pid away that still names a group or session, so while members live, no stranger can bear that number.
 */
export function groupOf(spec: PayloadSpec, leader: LeaderState): number {
  return leader.is === 'there' ? leader.stat.pgrp : spec.target.leader.pid;
}

/** Members that started before the leader (the shell that started it, say) are not the payload's. */
export function groupMembers(spec: PayloadSpec, pgrp: number, table: ProcessTable): readonly ProcessStat[] {
  if (pgrp <= 1) return [];
  return (table.byGroup.get(pgrp) ?? []).filter((stat) => stat.startTicks >= spec.target.leader.startTicks);
}

/**
 * All that the leader has started, as far as /proc still shows it: descendants, and whoever is in a group or session that
 * one of them leads (a daemon's child whose parent has ended). The leader's own group and session count only where it leads
 * them or was registered with its group: the session of a pid registered from a login shell is the user's whole login.
 * `known` are the members found earlier, perhaps ended since: start time by pid.
 */
export function allMembers(
  spec: PayloadSpec,
  pgrp: number,
  table: ProcessTable,
  known: ReadonlyMap<number, number>,
): readonly ProcessStat[] {
  const { leader, group } = spec.target;
  const found = new Map<number, ProcessStat>();
  const seeds = new Map([...known, [leader.pid, leader.startTicks]]);
  const queue = [...seeds.keys()];
  const add = (stat: ProcessStat): void => {
    if (found.has(stat.pid) || stat.startTicks < leader.startTicks) return;
    found.set(stat.pid, stat);
    if (!seeds.has(stat.pid)) queue.push(stat.pid);
  };
  for (const [pid, startTicks] of seeds) {
    for (const stat of table.byPid.get(pid) ?? []) if (stat.startTicks === startTicks) add(stat);
  }
  if (group) groupMembers(spec, pgrp, table).forEach(add);
  for (let at = 0; at < queue.length; at += 1) {
    const pid = queue[at] ?? 0;
    for (const index of [table.byParent, table.byGroup, table.bySession]) (index.get(pid) ?? []).forEach(add);
  }
  return [...found.values()];
}

function indexBy(scan: readonly ProcessStat[], number: (stat: ProcessStat) => number): Map<number, ProcessStat[]> {
  const index = new Map<number, ProcessStat[]>();
  for (const stat of scan) {
    const row = index.get(number(stat));
    if (row === undefined) index.set(number(stat), [stat]);
    else row.push(stat);
  }
  return index;
}
