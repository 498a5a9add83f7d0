/** Which payloads there are, by what tells whether something that was found is one of them already. */
import type { PayloadSpec, ProcessRef } from '../lifetime/types.ts';
import type { Registration } from '../ports.ts';
import { isWithin } from './cgroup.ts';

export interface Known {
  /** Whose payload this process leads; undefined = it leads none. */
  leaderOf(process: ProcessRef): number | undefined;
  /** Whether it is an `exec` that looks after a payload. */
  delivers(process: ProcessRef): boolean;
  hasUnit(unit: string): boolean;
  hasCgroup(path: string, inode: number): boolean;
  /** Whether there is a unit or control group among them. */
  readonly hasGroups: boolean;
  /** Whether a unit or control group among them holds processes in `group` that it may signal. */
  covers(group: string, uid: number): boolean;
  /** How many were found for this `[[payload]]`. */
  count(origin: string): number;
  add(spec: Registration): void;
}

export function knownOf(specs: readonly PayloadSpec[]): Known {
  const leaders = new Map<string, number>();
  const deliverers = new Set<string>();
  const units = new Set<string>();
  const groups: { readonly path: string; readonly uid: number }[] = [];
  const cgroups = new Set<string>();
  const counts = new Map<string, number>();

  function add({ target, uid, origin, deliverer }: Registration): void {
    if (deliverer !== undefined) deliverers.add(nameOf(deliverer));
    if (origin !== undefined) counts.set(origin, (counts.get(origin) ?? 0) + 1);
    if (target.kind === 'process') leaders.set(nameOf(target.leader), uid);
    else if (target.kind === 'unit') {
      units.add(target.unit);
      groups.push({ path: target.cgroup, uid });
    } else {
      cgroups.add(`${target.inode} ${target.path}`);
      groups.push({ path: target.path, uid });
    }
  }
  specs.forEach(add);

  return {
    leaderOf: (process) => leaders.get(nameOf(process)),
    delivers: (process) => deliverers.has(nameOf(process)),
    hasUnit: (unit) => units.has(unit),
    hasCgroup: (path, inode) => cgroups.has(`${inode} ${path}`),
    get hasGroups() {
      return groups.length > 0;
    },
    // As PayloadSpec.uid has it: in a group of root's the processes may be anybody's.
    covers: (group, uid) => groups.some((one) => (one.uid === 0 || one.uid === uid) && isWithin(group, one.path)),
    count: (origin) => counts.get(origin) ?? 0,
    add,
  };
}

const nameOf = ({ pid, startTicks }: ProcessRef): string => `${pid}/${startTicks}`;
