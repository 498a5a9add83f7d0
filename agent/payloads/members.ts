/** Which processes there are, by the numbers that tie them together, and the leader and group of a payload among them. */
import type { PayloadSpec, ProcessTarget } from '../lifetime/types.ts';
import { mayBeReused, nobodyNew, type PidCursor, readPidCursor } from './pid-cursor.ts';
import { listProcesses, type ProcessStat, ProcessUnreadableError, readProcessStat } from './process.ts';

/** A payload that is a process, alone or with its group. */
export type ProcessSpec = PayloadSpec & { readonly target: ProcessTarget };

export function isProcessSpec(spec: PayloadSpec): spec is ProcessSpec {
  return spec.target.kind === 'process';
}

/** One scan of /proc, found by each number that ties processes together: 1,000 payloads ask it in one tick. */
export interface ProcessTable {
  readonly byPid: ReadonlyMap<number, ProcessStat>;
  readonly byParent: Index;
  readonly byGroup: Index;
  readonly bySession: Index;
  /** How far the kernel had come with pids when the scan began and when it had ended. */
  readonly begun: PidCursor | null;
  readonly ended: PidCursor | null;
}
export type Index = ReadonlyMap<number, ReadonlySet<ProcessStat>>;

export interface Scanner {
  /** Every process read anew. Throws ProcessUnreadableError when /proc itself cannot be read. */
  full(): ProcessTable;
  /**
   * Reads only processes that are new since the last scan, and those whose pid may be another's by now: some ten times
   * cheaper. Group, session and parent of the others are those of their first sight; ended ones may still be in it.
   * Throws as `full`.
   */
  recent(): ProcessTable;
}

/** `mono`: the monotonic clock in ms. The table that a scan gave is the next scan's to change. */
export function createScanner(procRoot: string, mono: () => number): Scanner {
  let table: MutableTable | null = null;
  return { full, recent };

  function full(): ProcessTable {
    // Should the listing fail, nothing half-read is left behind.
    table = null;
    const next = emptyTable(readPidCursor(procRoot, mono()));
    for (const pid of listProcesses(procRoot)) take(next, pid);
    next.ended = readPidCursor(procRoot, mono());
    table = next;
    return next;
  }

  function recent(): ProcessTable {
    if (table === null) return full();
    const known = table;
    const begun = readPidCursor(procRoot, mono());
    const since = known.begun;
    if (!nobodyNew(since, begun)) {
      const listed = new Set(listProcesses(procRoot));
      const until = readPidCursor(procRoot, mono());
      for (const row of known.byPid.values()) {
        if (!listed.has(row.pid) || mayBeReused(row.pid, since, until)) remove(known, row);
      }
      for (const pid of listed) if (!known.byPid.has(pid)) take(known, pid);
    }
    known.begun = begun;
    known.ended = readPidCursor(procRoot, mono());
    return known;
  }

  /** One that cannot be read is left out: those of others may be hidden from us rightly. */
  function take(into: MutableTable, pid: number): void {
    try {
      const stat = readProcessStat(pid, procRoot);
      if (stat !== null) add(into, stat);
    } catch (error) {
      if (!(error instanceof ProcessUnreadableError)) throw error;
    }
  }
}

/** The leader as it stands now. `reused`: its pid belongs to another process. */
export type LeaderState =
  | { readonly is: 'there'; readonly stat: ProcessStat }
  | { readonly is: 'gone' | 'reused' | 'unreadable' };

/** Reads the leader; never throws. */
export function readLeader(spec: ProcessSpec, procRoot: string): LeaderState {
  const { pid, startTicks } = spec.target.leader;
  try {
    const stat = readProcessStat(pid, procRoot);
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
export function groupOf(spec: ProcessSpec, leader: LeaderState): number {
  return leader.is === 'there' ? leader.stat.pgrp : spec.target.leader.pid;
}

/** Members that started before the leader (the shell that started it, say) are not the payload's. */
export function groupMembers(spec: ProcessSpec, pgrp: number, table: ProcessTable): readonly ProcessStat[] {
  if (pgrp <= 1) return [];
  return [...(table.byGroup.get(pgrp) ?? [])].filter((stat) => stat.startTicks >= spec.target.leader.startTicks);
}

interface MutableTable extends ProcessTable {
  readonly byPid: Map<number, ProcessStat>;
  readonly byParent: MutableIndex;
  readonly byGroup: MutableIndex;
  readonly bySession: MutableIndex;
  begun: PidCursor | null;
  ended: PidCursor | null;
}
type MutableIndex = Map<number, Set<ProcessStat>>;

const emptyTable = (begun: PidCursor | null): MutableTable => ({
  byPid: new Map(),
  byParent: new Map(),
  byGroup: new Map(),
  bySession: new Map(),
  begun,
  ended: null,
});

const placesOf = (table: MutableTable, stat: ProcessStat): readonly (readonly [MutableIndex, number])[] => [
  [table.byParent, stat.ppid],
  [table.byGroup, stat.pgrp],
  [table.bySession, stat.session],
];

function add(table: MutableTable, stat: ProcessStat): void {
  table.byPid.set(stat.pid, stat);
  for (const [index, number] of placesOf(table, stat)) {
    const row = index.get(number);
    if (row === undefined) index.set(number, new Set([stat]));
    else row.add(stat);
  }
}

function remove(table: MutableTable, stat: ProcessStat): void {
  table.byPid.delete(stat.pid);
  for (const [index, number] of placesOf(table, stat)) {
    const row = index.get(number);
    row?.delete(stat);
    if (row?.size === 0) index.delete(number);
  }
}
