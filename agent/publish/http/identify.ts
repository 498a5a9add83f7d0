/** From a pid that somebody names to a process that is certainly theirs (SYSTEMS.md, "Signals"; promise 7). */
import type { ProcessRef } from '../../lifetime/types.ts';
import {
  isKernelThread,
  isZombie,
  type ProcessInfo,
  ProcessUnreadableError,
  readProcess,
} from '../../payloads/process.ts';
import type { Caller, Registration } from '../../ports.ts';
import type { HttpContext } from './context.ts';
import type { CreateBody } from './payload-schema.ts';
import { ProblemError, refusal } from './problem.ts';

export type Identified = Pick<Registration, 'uid' | 'target' | 'deliverer'>;

/** The parent of all kernel threads. */
const KTHREADD_PID = 2;

/** Throws 422 for what cannot be a payload, 403 for what is not the caller's. */
export function createIdentifier({ procRoot }: HttpContext): (caller: Caller, body: CreateBody) => Identified {
  return (caller, { target, deliverer_pid: delivererPid }) => {
    if (target.unit !== undefined || target.cgroup !== undefined) {
      throw new ProblemError(
        422,
        'unsupported_target',
        'This version stops processes only: give target.pid, not a unit or a cgroup.',
      );
    }
    if (target.pid === undefined) throw new ProblemError(422, 'no_target', 'target.pid is missing.');
    const leader = lookUp(target.pid, caller);
    const group = target.group ?? false;
    if (group) checkGroup(leader);
    const [uid] = leader.uids;
    const identified: Identified = { uid, target: { kind: 'process', leader: ref(leader), group } };
    if (delivererPid === undefined) return identified;
    if (delivererPid === target.pid)
      throw new ProblemError(422, 'bad_deliverer', 'A process cannot deliver the signals that stop itself.');
    return { ...identified, deliverer: ref(lookUp(delivererPid, caller)) };
  };

  function lookUp(pid: number, caller: Caller): ProcessInfo {
    const uid = caller.kind === 'user' ? { uid: caller.uid } : {};
    const refuse = (code: string, detail: string) => refusal(403, code, detail, uid);
    if (pid <= 1 || pid === process.pid) throw refuse('foreign_process', `Process ${pid} is no payload.`);
    const found = readable(pid, procRoot);
    if (found === undefined || found === null || isZombie(found)) {
      throw new ProblemError(
        422,
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
    const trusted = caller.kind === 'operator' || (caller.kind === 'user' && caller.uid === 0);
    if (!trusted && (caller.kind !== 'user' || caller.uid !== first)) {
      throw refuse('foreign_process', `Process ${pid} belongs to another user.`);
    }
    return found;
  }

  function checkGroup(leader: ProcessInfo): void {
    if (leader.pgrp !== leader.pid) {
      throw new ProblemError(
        422,
        'not_group_leader',
        `Process ${leader.pid} does not lead a process group: its group would be another's.`,
      );
    }
    if (leader.pgrp === readable(process.pid, procRoot)?.pgrp) {
      throw refusal(403, 'foreign_process', 'The agent itself is in that process group.');
    }
  }
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
