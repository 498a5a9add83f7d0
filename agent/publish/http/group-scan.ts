/** Who is in a process group, so that nobody has a group stopped in which somebody else is too. */
import { setImmediate as othersFirst } from 'node:timers/promises';
import { listProcesses, ProcessUnreadableError, readProcessStat } from '../../payloads/process.ts';
import { createTurns } from './turns.ts';

/** Processes looked at in one go: some 2 ms, which no signal and no request notices. */
const SLICE = 128;

export type GroupScan = (pgrp: number) => Promise<readonly number[]>;

/**
 * The pids of a group. The kernel has no index of groups, so all of /proc is read: in slices, once for everybody who asks
 * meanwhile, and with a rest as long as the reading was. Whoever registers and deregisters without end must not be able to
 * keep the agent from its work. Rejects with ProcessUnreadableError when /proc cannot be read.
 */
export function createGroupScan(procRoot: string): GroupScan {
  const turn = createTurns(1);
  /** The scan that has not begun yet: one that runs may already have passed what is asked for. */
  let next: Promise<ReadonlyMap<number, readonly number[]>> | null = null;
  return async (pgrp) => {
    next ??= turn(() => {
      next = null;
      return readGroups(procRoot);
    });
    return (await next).get(pgrp) ?? [];
  };
}

async function readGroups(procRoot: string): Promise<ReadonlyMap<number, readonly number[]>> {
  const groups = new Map<number, number[]>();
  const pids = listProcesses(procRoot);
  for (let at = 0; at < pids.length; at += SLICE) {
    if (at > 0) await othersFirst();
    for (const pid of pids.slice(at, at + SLICE)) {
      const pgrp = groupOf(pid, procRoot);
      if (pgrp === null) continue;
      const members = groups.get(pgrp);
      if (members === undefined) groups.set(pgrp, [pid]);
      else members.push(pid);
    }
  }
  return groups;
}

function groupOf(pid: number, procRoot: string): number | null {
  try {
    return readProcessStat(pid, procRoot)?.pgrp ?? null;
  } catch (error) {
    // Hidden from us: nobody could have it signalled through us either.
    if (error instanceof ProcessUnreadableError) return null;
    throw error;
  }
}
