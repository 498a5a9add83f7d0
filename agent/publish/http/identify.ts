/** From what a registration names to something that is certainly its caller's to have stopped (SYSTEMS.md; promise 7). */
import { isReservation } from '../../lifetime/target.ts';
import type { PayloadSpec, ProcessTarget } from '../../lifetime/types.ts';
import type { Caller, CgroupLookUp, Registration } from '../../ports.ts';
import { maySee } from './caller.ts';
import type { HttpContext } from './context.ts';
import { createProcessIdentifier, type NamedProcess, refuserOf } from './identify-process.ts';
import type { CreateBody } from './payload-schema.ts';
import { ProblemError } from './problem.ts';
import { createTurns } from './turns.ts';

export type Identified = Pick<Registration, 'uid' | 'target' | 'deliverer'>;
type Named = CreateBody['target'];

export interface Identifier {
  /** Throws 422 for what cannot be a payload, 403 for what is not the caller's. */
  payload(caller: Caller, body: Pick<CreateBody, 'target' | 'deliverer_pid'>): Promise<Identified>;
  /** The process that takes the place of a reservation; throws 409 besides. */
  successor(caller: Caller, named: NamedProcess, spec: PayloadSpec): Promise<ProcessTarget>;
}

/** All groups below one are looked through, in one go, and a user may have made thousands: a tenth of the time at the most. */
const CGROUP_REST = 9;

/** Root stops whatever it likes, and so does whoever may open admin.sock. */
const isTrusted = (caller: Caller): boolean => maySee(caller, 0);

export function createIdentifier({ port, procRoot }: HttpContext): Identifier {
  const processes = createProcessIdentifier(procRoot);
  const turn = createTurns(CGROUP_REST);
  return { payload, successor };

  async function payload(
    caller: Caller,
    { target, deliverer_pid: deliverer }: Pick<CreateBody, 'target' | 'deliverer_pid'>,
  ): Promise<Identified> {
    const { pid, unit, cgroup } = onlyOne(target);
    if (pid === undefined) {
      if (target.group !== undefined || target.marker !== undefined)
        throw new ProblemError('bad_target', 'target.group and target.marker go with target.pid.');
      if (deliverer !== undefined)
        throw new ProblemError('bad_deliverer', 'Only a process can have a deliverer of its own.');
      return unit === undefined ? cgroupOf(caller, cgroup ?? '') : unitOf(caller, unit);
    }
    // Its place, kept by who will deliver, until there is a process to name: its view must stand before that begins.
    const reserves = deliverer === pid;
    if (reserves && target.group === true)
      throw new ProblemError('bad_deliverer', 'A process cannot deliver the signals that stop its own group.');
    const found = await processes.target(caller, { ...target, pid }, reserves);
    if (deliverer === undefined) return found;
    return { ...found, deliverer: reserves ? found.target.leader : processes.deliverer(caller, deliverer) };
  }

  async function successor(caller: Caller, named: NamedProcess, spec: PayloadSpec): Promise<ProcessTarget> {
    if (!isReservation(spec)) {
      throw new ProblemError('not_a_reservation', 'This payload names its process already. Register another one.');
    }
    if (named.pid === spec.deliverer?.pid)
      throw new ProblemError('bad_deliverer', 'A process cannot deliver the signals that stop itself.');
    const { uid, target } = await processes.target(caller, named);
    if (uid !== spec.uid)
      throw refuserOf(caller)('foreign_process', `Process ${named.pid} is not of the user whose payload this is.`);
    return target;
  }

  async function unitOf(caller: Caller, unit: string): Promise<Identified> {
    if (!isTrusted(caller)) throw refuserOf(caller)('foreign_unit', 'Only root may have units stopped.');
    const info = await port.describeUnit(unit);
    if (info === null)
      throw new ProblemError('no_unit', 'There is no such unit here, or it is none that may be stopped.');
    if (!info.active) throw new ProblemError('inactive_unit', `${info.unit} is not running.`);
    const { stopTimeoutMs } = info;
    const target = { kind: 'unit', unit: info.unit, cgroup: info.cgroup } as const;
    return { uid: 0, target: stopTimeoutMs === null ? target : { ...target, stopTimeoutMs } };
  }

  async function cgroupOf(caller: Caller, text: string): Promise<Identified> {
    const lookUp = (): CgroupLookUp => port.lookUpCgroup(text);
    const found = isTrusted(caller) ? lookUp() : await turn(lookUp);
    const refuse = refuserOf(caller);
    if (found.is !== 'found') {
      throw found.is === 'refused'
        ? refuse('foreign_cgroup', found.detail)
        : new ProblemError('no_cgroup', found.detail);
    }
    if (!maySee(caller, found.uid)) throw refuse('foreign_cgroup', 'That control group belongs to another user.');
    return { uid: found.uid, target: { kind: 'cgroup', path: found.path, inode: found.inode } };
  }
}

function onlyOne(target: Named): Named {
  const named = [target.pid, target.unit, target.cgroup].filter((each) => each !== undefined);
  if (named.length === 0) throw new ProblemError('no_target', 'Give target.pid, target.unit or target.cgroup.');
  if (named.length > 1) throw new ProblemError('bad_target', 'Give one of target.pid, .unit and .cgroup only.');
  return target;
}
