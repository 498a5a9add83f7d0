/**
 * Signals to the process group of a hook program, member by member (SYSTEMS.md, "Signals"): `kill(-pgid)` would also hit what
 * runs as somebody else, and whoever bears the number by now, should the group be gone.
 *
 * The program was started in a session of its own, so that only its descendants can be in its group. The kernel gives no number
 * away that still names a group: while the program, or somebody who was seen in its group before, is in it, it is its group.
 */
import type { ChildProcess } from 'node:child_process';
import {
  isKernelThread,
  isZombie,
  type ProcessStat,
  ProcessUnreadableError,
  readProcess,
  scanProcesses,
} from '../payloads/process.ts';
import type { HookProgram } from './hand.ts';

/** A group that forks faster than /proc can be read is caught by its SIGKILL, or not at all. */
const MAX_ROUNDS = 10;

export interface GroupOptions {
  readonly procRoot: string;
  /** As whom the program was started. Members that became somebody else are left alone, unless it is root. */
  readonly uid: number;
  /** Our own child, whose number nobody can get before we have heard of its end; null: it was started by another. */
  readonly child: (Pick<ChildProcess, 'kill'> & Partial<Pick<ChildProcess, 'exitCode' | 'signalCode'>>) | null;
  /** Throws as process.kill does; that is the default. */
  readonly kill?: (pid: number, signal: NodeJS.Signals) => void;
}

export interface Group {
  /** To everybody in it, the program first, until nobody new appears. Never throws. */
  strike(signal: NodeJS.Signals): void;
  /** After the first strike: remembers who is in it now, for when the program itself is gone. Never throws. */
  look(): void;
}

export function openGroup(program: Pick<HookProgram, 'pid' | 'startTicks'>, options: GroupOptions): Group {
  const { pid: number, startTicks } = program;
  const { procRoot, uid, child } = options;
  const kill = options.kill ?? ((pid: number, signal: NodeJS.Signals) => process.kill(pid, signal));
  /** Start time by pid of who was seen in the group. */
  let known = new Map<number, number>();
  let struck = false;

  const isProgram = (stat: ProcessStat): boolean => stat.pid === number && stat.startTicks === startTicks;

  /** Empty where the group cannot be shown to be the program's. */
  function members(): readonly ProcessStat[] {
    if (number <= 1 || number === process.pid) return [];
    const all = scanned(procRoot);
    // Another process of that number: then the group is another one too.
    if (all.some((stat) => stat.pid === number && stat.startTicks !== startTicks)) return [];
    const group = all.filter((stat) => stat.pgrp === number && stat.startTicks >= startTicks);
    const isLed = child !== null && (child.exitCode ?? null) === null && (child.signalCode ?? null) === null;
    const isOurs = isLed || group.some((stat) => isProgram(stat) || known.get(stat.pid) === stat.startTicks);
    const found = isOurs ? group : [];
    known = new Map(found.map((stat) => [stat.pid, stat.startTicks]));
    return found.filter((stat) => !isZombie(stat)).sort((a, b) => Number(isProgram(b)) - Number(isProgram(a)));
  }

  /** Identity and kill, nothing in between: see payloads/delivery.ts. */
  function strikeOne(stat: ProcessStat, signal: NodeJS.Signals): void {
    try {
      const info = readProcess(stat.pid, procRoot);
      if (info === null || info.startTicks !== stat.startTicks || isZombie(info) || isKernelThread(info)) return;
      // The program itself is ours whoever it is: it may not have become its user yet.
      if (uid !== 0 && !isProgram(info) && info.uids.some((each) => each !== uid)) return;
      kill(stat.pid, signal);
    } catch {
      // It ended by itself, cannot be identified, or only the root hand may signal it: that one keeps the time.
    }
  }

  return {
    strike(signal) {
      struck = true;
      const seen = new Map<number, number>();
      for (let round = 0; round < MAX_ROUNDS; round += 1) {
        const fresh = members().filter((stat) => seen.get(stat.pid) !== stat.startTicks);
        // Where /proc does not show it, at least our child. Node signals none that has ended.
        if (fresh.length === 0 && round === 0) child?.kill(signal);
        if (fresh.length === 0) return;
        for (const stat of fresh) {
          seen.set(stat.pid, stat.startTicks);
          strikeOne(stat, signal);
        }
      }
    },
    look() {
      if (struck) members();
    },
  };
}

/** Nobody where /proc itself cannot be read. */
function scanned(procRoot: string): readonly ProcessStat[] {
  try {
    return scanProcesses(procRoot);
  } catch (error) {
    if (error instanceof ProcessUnreadableError) return [];
    throw error;
  }
}
