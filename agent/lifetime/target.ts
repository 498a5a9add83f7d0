/** What a payload is, compared: one thing to stop, one payload. */
import type { PayloadSpec, PayloadTarget } from './types.ts';

/** Whether both name the same process, unit or control group. Paths and pids are given away again, inodes and start times tell. */
export function isSameTarget(a: PayloadTarget, b: PayloadTarget): boolean {
  switch (a.kind) {
    case 'process':
      return b.kind === 'process' && a.leader.pid === b.leader.pid && a.leader.startTicks === b.leader.startTicks;
    case 'unit':
      return b.kind === 'unit' && a.unit === b.unit;
    case 'cgroup':
      return b.kind === 'cgroup' && a.path === b.path && a.inode === b.inode;
  }
}

/**
 * A row that `exec` has taken before it has a child: it names `exec` itself. Nobody is signalled for it, and it becomes a
 * payload when its target is changed.
 */
export const isReservation = ({ target, deliverer }: Pick<PayloadSpec, 'target' | 'deliverer'>): boolean =>
  deliverer !== undefined &&
  target.kind === 'process' &&
  target.leader.pid === deliverer.pid &&
  target.leader.startTicks === deliverer.startTicks;

/**
 * Whether both stand for the same thing in the world. A reservation stands for nothing but its own row: an `exec` within a
 * payload may be the very process that the payload is.
 */
export const isSamePayload = (
  a: Pick<PayloadSpec, 'target' | 'deliverer'>,
  b: Pick<PayloadSpec, 'target' | 'deliverer'>,
): boolean => isReservation(a) === isReservation(b) && isSameTarget(a.target, b.target);

/** The process that stands for it in hooks' environment; null: in a unit or control group there is no such one. */
export const pidOf = ({ target }: PayloadSpec): number | null => (target.kind === 'process' ? target.leader.pid : null);
