/**
 * Who belongs to a payload that is a process, remembered from look to look: a daemonised grandchild has neither parent nor
 * group nor session left that leads to the payload once those in between have ended, unless they were seen before.
 *
 * Members are pinned by start time. Of a member that has ended only its number is left, as the name of a session or group:
 * it counts as long as a living member bears it too, or the kernel cannot have given it to somebody else since it was seen.
 */
import type { ProcessRef } from '../lifetime/types.ts';
import { groupMembers, groupOf, type ProcessSpec, type ProcessTable } from './members.ts';
import { mayBeReused, nobodyNew, type PidCursor } from './pid-cursor.ts';
import type { ProcessStat } from './process.ts';

/** What forks more than this within one payload is stopped by group, session and marker, but not remembered one by one. */
const MOST_REMEMBERED = 4096;

export interface Kin {
  /** Takes in what a scan shows; gives all of the payload that it shows, `marked` and the leader among them. */
  update(spec: ProcessSpec, table: ProcessTable, marked?: Iterable<ProcessStat>): readonly ProcessStat[];
  /** As `update`, for memory's sake alone: costs nothing while no process was started. */
  watch(spec: ProcessSpec, table: ProcessTable): void;
  /** Who was seen, ended since perhaps. The leader is one. */
  known(spec: ProcessSpec): readonly ProcessRef[];
  /** Forgets all payloads but these. */
  keep(ids: ReadonlySet<string>): void;
}

interface Memory {
  readonly leader: ProcessRef;
  /** Start time by pid. */
  readonly members: Map<number, number>;
  /** When they were last looked at; undefined = never. */
  since: PidCursor | null | undefined;
  full: boolean;
}

/** `onFull`: once for a payload that has more processes than are remembered, which are `most`. */
export function createKin(onFull: (id: string) => void = () => {}, most = MOST_REMEMBERED): Kin {
  const memories = new Map<string, Memory>();

  return {
    update,
    watch(spec, table) {
      const { since } = memoryOf(spec);
      if (since === undefined || !nobodyNew(since, table.ended)) update(spec, table);
    },
    known: (spec) => [...memoryOf(spec).members].map(([pid, startTicks]) => ({ pid, startTicks })),
    keep(ids) {
      for (const id of memories.keys()) if (!ids.has(id)) memories.delete(id);
    },
  };

  function update(spec: ProcessSpec, table: ProcessTable, marked: Iterable<ProcessStat> = []): readonly ProcessStat[] {
    const memory = memoryOf(spec);
    const names = trustedNames(memory, table);
    const found = gather(spec, table, names, marked);
    for (const [pid, stat] of found) {
      if (memory.members.size < most || memory.members.has(pid)) memory.members.set(pid, stat.startTicks);
      else if (!memory.full) {
        memory.full = true;
        onFull(spec.id);
      }
    }
    memory.since = table.begun;
    return [...found.values()];
  }

  function memoryOf(spec: ProcessSpec): Memory {
    const { leader } = spec.target;
    const known = memories.get(spec.id);
    // A reservation becomes another process when the payload starts.
    if (known?.leader.pid === leader.pid && known.leader.startTicks === leader.startTicks) return known;
    const fresh: Memory = {
      leader,
      members: new Map([[leader.pid, leader.startTicks]]),
      since: undefined,
      full: false,
    };
    memories.set(spec.id, fresh);
    return fresh;
  }
}

/** Pids that lead to more members, and the end of remembering the others. */
function trustedNames(memory: Memory, table: ProcessTable): ReadonlySet<number> {
  const { members, since } = memory;
  const names = new Set<number>();
  for (const [pid, startTicks] of members) {
    const row = table.byPid.get(pid);
    const keeps = row === undefined ? isStillItsName(pid) : row.startTicks === startTicks;
    if (keeps) names.add(pid);
    else members.delete(pid);
  }
  return names;

  function isStillItsName(pid: number): boolean {
    const bearers = [table.bySession, table.byGroup, table.byParent].flatMap((index) => [...(index.get(pid) ?? [])]);
    if (bearers.length === 0) return false;
    if (since === undefined || !mayBeReused(pid, since, table.ended)) return true;
    return bearers.some((stat) => members.get(stat.pid) === stat.startTicks);
  }
}

/**
 * All that the scan ties to these numbers: descendants, and whoever is in a group or session that one of them leads. The
 * leader's own group and session count only where it leads them or was registered with its group: the session of a pid
 * registered from a login shell is the user's whole login. Nobody older than the leader is the payload's.
 */
function gather(
  spec: ProcessSpec,
  table: ProcessTable,
  names: ReadonlySet<number>,
  marked: Iterable<ProcessStat>,
): ReadonlyMap<number, ProcessStat> {
  const { leader, group } = spec.target;
  const found = new Map<number, ProcessStat>();
  const queue = [...names];
  const add = (stat: ProcessStat): void => {
    if (found.has(stat.pid) || stat.startTicks < leader.startTicks) return;
    found.set(stat.pid, stat);
    if (!names.has(stat.pid)) queue.push(stat.pid);
  };
  for (const pid of names) {
    const stat = table.byPid.get(pid);
    if (stat !== undefined) add(stat);
  }
  const first = found.get(leader.pid);
  if (group && first !== undefined) groupMembers(spec, groupOf(spec, { is: 'there', stat: first }), table).forEach(add);
  for (const stat of marked) add(stat);
  for (let at = 0; at < queue.length; at += 1) {
    const pid = queue[at] ?? 0;
    for (const index of [table.byParent, table.byGroup, table.bySession]) (index.get(pid) ?? []).forEach(add);
  }
  return found;
}
