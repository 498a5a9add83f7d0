/** From a pid that somebody names to a process that is certainly theirs (SYSTEMS.md, "Signals"; promise 7). */
import type { ProcessRef, ProcessTarget } from '../../lifetime/types.ts';
import { carries } from '../../payloads/marker.ts';
import {
  isKernelThread,
  isZombie,
  type ProcessInfo,
  ProcessUnreadableError,
  readProcess,
} from '../../payloads/process.ts';
import type { Caller } from '../../ports.ts';
import { maySee } from './caller.ts';
import { createGroupScan } from './group-scan.ts';
import { ProblemError, refusal } from './problem.ts';
import type { ProblemCode } from './problem-catalogue.ts';

/** The parent of all kernel threads. */
const KTHREADD_PID = 2;

export interface NamedProcess {
  readonly pid: number;
  readonly group?: boolean;
  readonly marker?: string;
}

export interface ProcessIdentifier {
  /**
   * Throws 422 for what cannot be a payload, 403 for what is not the caller's. `reserves`: it only keeps the place of a process
   * that is not there yet, so that nobody can carry the marker.
   */
  target(
    caller: Caller,
    named: NamedProcess,
    reserves?: boolean,
  ): Promise<{ readonly uid: number; readonly target: ProcessTarget }>;
  /** The same for a process that only sends signals. */
  deliverer(caller: Caller, pid: number): ProcessRef;
}

export function createProcessIdentifier(procRoot: string): ProcessIdentifier {
  const scanGroup = createGroupScan(procRoot);
  return {
    async target(caller, { pid, group = false, marker }, reserves = false) {
      const leader = lookUp(pid, caller);
      if (marker !== undefined && !reserves) checkMarker(leader, marker);
      if (group) await checkGroup(leader, caller);
      const [uid] = leader.uids;
      return { uid, target: { kind: 'process', leader: ref(leader), group, ...(marker !== undefined && { marker }) } };
    },
    deliverer: (caller, pid) => ref(lookUp(pid, caller)),
  };

  function lookUp(pid: number, caller: Caller): ProcessInfo {
    const refuse = refuserOf(caller);
    if (pid <= 1 || pid === process.pid) throw refuse('foreign_process', `Process ${pid} is no payload.`);
    const found = readable(pid, procRoot);
    if (found === undefined || found === null || isZombie(found)) {
      throw new ProblemError(
        'no_process',
        `There is no process ${pid} here, or it cannot be read (another pid namespace, hidepid?).`,
      );
    }
    if (pid === KTHREADD_PID || found.ppid === KTHREADD_PID || isKernelThread(found)) {
      throw refuse('foreign_process', `Process ${pid} belongs to the kernel.`);
    }
    const [first, ...others] = found.uids;
    // Signals go out only while all uids are one and the same, so a process that is just changing them could never be stopped.
    if (others.some((other) => other !== first))
      throw refuse('mixed_uids', `Process ${pid} runs under more than one uid.`);
    if (!maySee(caller, first)) throw refuse('foreign_process', `Process ${pid} belongs to another user.`);
    return found;
  }

  /**
   * Everybody who carries it is stopped as part of the payload. Where it cannot be read (another user's, while the daemon is
   * not root) nobody would be found by it either.
   */
  function checkMarker({ pid }: ProcessInfo, marker: string): void {
    if (carries(pid, marker, procRoot) !== false) return;
    throw new ProblemError('bad_marker', `Process ${pid} itself does not have this marker in its environment.`);
  }

  async function checkGroup(leader: ProcessInfo, caller: Caller): Promise<void> {
    const refuse = refuserOf(caller);
    if (leader.pgrp !== leader.pid) {
      throw new ProblemError(
        'not_group_leader',
        `Process ${leader.pid} does not lead a process group: its group would be another's.`,
      );
    }
    if (leader.pgrp === readable(process.pid, procRoot)?.pgrp) {
      throw refuse('foreign_process', 'The agent itself is in that process group.');
    }
    if (maySee(caller, 0)) return;
    for (const pid of await membersOf(leader, refuse)) {
      const member = readable(pid, procRoot);
      if (member === null || (member !== undefined && isZombie(member))) continue;
      if (member === undefined || member.uids.some((uid) => uid !== leader.uids[0])) {
        throw refuse('foreign_group', `Process ${pid} of another user is in that process group.`);
      }
    }
  }

  async function membersOf(leader: ProcessInfo, refuse: ReturnType<typeof refuserOf>): Promise<readonly number[]> {
    try {
      return await scanGroup(leader.pgrp);
    } catch (error) {
      if (!(error instanceof ProcessUnreadableError)) throw error;
      throw refuse('foreign_group', 'Who is in that process group cannot be read.');
    }
  }
}

/** Refusals that name the caller in the log. */
export function refuserOf(caller: Caller): (code: ProblemCode, detail: string) => ProblemError {
  const uid = caller.kind === 'user' ? { uid: caller.uid } : {};
  return (code, detail) => refusal(code, detail, uid);
}

/** `readProcess` for those who only show or refuse: undefined = it is there, but cannot be read (hidepid). */
export function readable(pid: number, procRoot: string): ProcessInfo | null | undefined {
  try {
    return readProcess(pid, procRoot);
  } catch (error) {
    if (error instanceof ProcessUnreadableError) return undefined;
    throw error;
  }
}

function ref({ pid, startTicks }: ProcessInfo): ProcessRef {
  return { pid, startTicks };
}
