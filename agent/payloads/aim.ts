/** Whom a step of a payload's escalation means (SEMANTICS S3.4), found anew for each round of a delivery. */
import type { Logger } from 'pino';
import type { PayloadSpec, ProcessRef, StepReceiver } from '../lifetime/types.ts';
import { isWithin, protectedWithin } from './cgroup.ts';
import { type GroupDoor, type GroupTarget, groupPath } from './cgroup-target.ts';
import type { Kin } from './kin.ts';
import type { MarkerReader } from './marker.ts';
import { groupMembers, groupOf, isProcessSpec, type ProcessSpec, type ProcessTable, readLeader } from './members.ts';
import { isZombie, type ProcessStat, ProcessUnreadableError, readCgroup, readProcessStat } from './process.ts';
import { pidsBelow, type Subtree, thaw, type WriteOutcome } from './subtree.ts';

export interface Aim {
  /** Struck before anybody is searched for. */
  readonly first: ProcessRef | null;
  /** Who is meant, as far as can be seen now. null: nobody but `first`. Throws ProcessUnreadableError. */
  readonly find: (() => readonly ProcessRef[]) | null;
  /** Struck after the first search, if it was not found. */
  readonly last: ProcessRef | null;
  /** Asked right before each kill. Throws ProcessUnreadableError. */
  belongs(pid: number): boolean;
  /** PayloadSpec.uid: whether the processes may be anybody's. */
  readonly anyOwner: boolean;
  /** Kills all at once, where the kernel can and lets us: how many those were, or null. Throws ProcessUnreadableError. */
  readonly killAtOnce: (() => number | null) | null;
  /**
   * Before a SIGKILL that goes from one to the next: holds all still, so that nobody forks away meanwhile. Gives what lets
   * those go on that are left out, or null where it cannot be done. Throws ProcessUnreadableError.
   */
  readonly hold: (() => (() => void) | null) | null;
  /** After a SIGTERM: lets what is frozen hear it. */
  readonly wake: (() => WriteOutcome | null) | null;
}

/** Why nobody may be signalled. */
export interface Refusal {
  readonly refusal: string;
}

export interface AimContext {
  readonly procRoot: string;
  readonly selfPid: number;
  readonly log: Logger;
  readonly kin: Kin;
  readonly door: GroupDoor;
  readonly markers: MarkerReader;
  /** The scan of this round. Throws ProcessUnreadableError. */
  table(): ProcessTable;
}

/** Never a process that is pid 1, ours, or no pid at all. */
export function isOrdinaryPid(pid: number, selfPid: number): boolean {
  return Number.isSafeInteger(pid) && pid > 1 && pid !== selfPid;
}

/**
 * Signals that mean "end". Where they find nobody alive by their receiver, they go to all that is left of the payload: it would
 * else hear nothing before its SIGKILL (S3.4). A warning is for those alone whom the operator named: others may not know it.
 */
const STOP_SIGNALS: ReadonlySet<string> = new Set(['SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGKILL']);

/** Whether a signal that found nobody is to be aimed anew, to all. */
export const goesToTheRest = ({ target }: PayloadSpec, to: StepReceiver, signal: string): boolean =>
  target.kind === 'process' && to !== 'all' && STOP_SIGNALS.has(signal);

/** Never throws. A payload of which nothing is left has an aim that finds nobody. */
export function aimAt(spec: PayloadSpec, to: StepReceiver, context: AimContext): Aim | Refusal {
  if (isProcessSpec(spec)) return aimAtProcess(spec, to, context);
  return spec.target.kind === 'process' ? NOBODY : aimAtGroup(spec, spec.target, context);
}

function aimAtProcess(spec: ProcessSpec, to: StepReceiver, context: AimContext): Aim | Refusal {
  const { kin, markers, procRoot } = context;
  const { leader: ref, marker } = spec.target;
  if (!isOrdinaryPid(ref.pid, context.selfPid)) return { refusal: 'not_a_payload' };
  if (to === 'leader') return { ...NOBODY, first: ref };
  const leader = readLeader(spec, procRoot);
  if (leader.is === 'unreadable') return { refusal: 'unreadable' };
  if (to === 'group') {
    // A number that was given away again names no group of the payload any more (see groupOf).
    if (leader.is === 'reused') return NOBODY;
    const pgrp = groupOf(spec, leader);
    // The leader of a group need not wait for the scan. With `all`, its end would orphan the descendants before they are seen.
    const first = leader.is === 'there' ? ref : null;
    return { ...NOBODY, first, find: () => groupMembers(spec, pgrp, context.table()) };
  }
  return {
    ...NOBODY,
    find() {
      const table = context.table();
      return kin.update(spec, table, marker === undefined ? [] : markers.find(table).get(marker));
    },
    // Where /proc cannot be listed, the leader at least gets its signal.
    last: leader.is === 'there' ? ref : null,
  };
}

/** A control group is signalled whole: it has no leader. */
function aimAtGroup(spec: PayloadSpec, target: GroupTarget, context: AimContext): Aim {
  const { procRoot, selfPid, log } = context;
  const path = groupPath(target);
  const anyOwner = target.kind === 'unit' || spec.uid === 0;
  const inside = <T>(read: (subtree: Subtree) => T, otherwise: T): T => {
    const opened = context.door.open(target);
    if (opened.is === 'gone') return otherwise;
    if (opened.is === 'unreadable') throw new ProcessUnreadableError(0, `control group ${path}: ${opened.code}`);
    try {
      return read(opened.subtree);
    } catch (error) {
      throw error instanceof ProcessUnreadableError ? error : new ProcessUnreadableError(0, error);
    } finally {
      opened.subtree.close();
    }
  };
  return {
    ...NOBODY,
    anyOwner,
    find: () => inside(list, []),
    belongs(pid) {
      const own = readCgroup(pid, procRoot);
      return own !== null && isWithin(own, path);
    },
    // The kernel asks no owner here, so it is for those alone who may stop anybody's processes.
    killAtOnce: anyOwner ? () => inside(killAll, null) : null,
    hold: () => inside(freeze, null),
    wake: () => inside(thaw, null),
  };

  function list(subtree: Subtree): readonly ProcessRef[] {
    const { pids, complete } = pidsBelow(subtree);
    if (!complete) log.warn({ event: 'cgroup_too_large', payload: spec.id, path }, 'a control group is not read whole');
    return pids.flatMap((pid) => {
      const stat = startOf(pid);
      return stat !== null && isZombie(stat) ? [] : [stat ?? { pid, startTicks: NO_START }];
    });
  }

  /** null also where it cannot be read: the kill will find that too, and refuse it. Who has just gone may have a child. */
  function startOf(pid: number): ProcessStat | null {
    try {
      return readProcessStat(pid, procRoot);
    } catch {
      return null;
    }
  }

  /** Nobody waits until all stand still: who is just forking has a child that is born frozen, and the next round sees it. */
  function freeze(subtree: Subtree): (() => void) | null {
    // Were the agent itself in it, it would never wake again.
    if (protectedWithin(path, procRoot, selfPid) !== null) return null;
    // Frozen by somebody else already, it stays so.
    if (subtree.read('', 'cgroup.freeze')?.trim() !== '0') return null;
    if (subtree.write('', 'cgroup.freeze', '1') !== 'done') return null;
    return () => void inside((held) => held.write('', 'cgroup.freeze', '0'), 'absent' as const);
  }

  function killAll(subtree: Subtree): number | null {
    if (!subtree.populated()) return 0;
    if (protectedWithin(path, procRoot, selfPid) !== null) return null;
    const { pids } = pidsBelow(subtree);
    // At least one: those of another pid name space have no number here.
    return subtree.write('', 'cgroup.kill', '1') === 'done' ? Math.max(1, pids.length) : null;
  }
}

/** No process has it. */
const NO_START = -1;

/** For a payload of which nothing is left. */
export const NOBODY: Aim = {
  first: null,
  find: null,
  last: null,
  belongs: () => true,
  anyOwner: false,
  killAtOnce: null,
  hold: null,
  wake: null,
};
