/** What a stop of a unit would do, judged from what systemd says of it and of all that depends on it. Pure. */
import { cgroupOfUnit, isStartable, startOrder, unitNameProblem } from './unit-names.ts';
import type { UnitRow } from './unit-rows.ts';
import type { UnitInfo } from './units.ts';

/** What a stop would do, judged before it. */
export type StopForecast =
  /** Stopping it would take the machine or the agent with it: never done. */
  | { readonly is: 'refused'; readonly reason: string }
  /** systemd does not know it, or it is not running. */
  | { readonly is: 'idle' }
  | {
      readonly is: 'running';
      /** False: systemd would refuse (RefuseManualStop). */
      readonly canStop: boolean;
      /** What runs now, goes down with it, and can be started again; in the order for that. */
      readonly startAgain: readonly string[];
      /** What goes down with it and cannot be started again: scopes, and services made at run time. */
      readonly lost: readonly string[];
    };

/** Tells where systemd's part of the hierarchy begins. */
export const ROOT_SLICE = '-.slice';

/** The rows of the units asked for, of all that a stop of them takes down, and of the root slice; by every name. */
export interface Survey {
  readonly rows: ReadonlyMap<string, UnitRow>;
  /** Units and slices that the agent itself runs in. */
  readonly own: ReadonlySet<string>;
}

/** Nothing is known of it. `masked` and `error` may still run from before. */
const isUnknown = (row: UnitRow): boolean => row.load === 'not-found' && row.active === 'inactive';
const isActive = (row: UnitRow): boolean => row.active !== 'inactive' && row.active !== 'failed';

/** null: unknown to systemd, or not to be stopped. */
export function infoOf(name: string, seen: Survey): UnitInfo | null {
  const row = seen.rows.get(name);
  if (row === undefined || isUnknown(row) || hindrance(row, seen) !== null) return null;
  const cgroup =
    row.cgroup !== '' ? row.cgroup : cgroupOfUnit(row.id, row.slice, seen.rows.get(ROOT_SLICE)?.cgroup ?? '/');
  return { unit: row.id, active: isActive(row), cgroup, stopTimeoutMs: row.stopTimeoutMs };
}

/** `queue`: the types of the manager's jobs by their numbers. */
export function forecast(name: string, seen: Survey, queue: ReadonlyMap<string, string>): StopForecast {
  const row = seen.rows.get(name);
  const problem = unitNameProblem(name, seen.own);
  if (problem !== null) return { is: 'refused', reason: problem };
  if (row === undefined || isUnknown(row)) return { is: 'idle' };
  const reason = hindrance(row, seen);
  if (reason !== null) return { is: 'refused', reason };
  if (!isActive(row) && row.job === null) return { is: 'idle' };
  const wanted = reach(row, seen).filter((each) => isWanted(each, queue));
  const again = wanted.filter((each) => isStartable(each.id) && !each.transient);
  const lost = wanted.filter((each) => each.transient || each.id.endsWith('.scope'));
  return {
    is: 'running',
    canStop: row.canStop,
    startAgain: startOrder(again.map(({ id }) => id)),
    lost: lost.map(({ id }) => id),
  };
}

/** Why it must not be stopped; an alias may hide who it is, and a dependence who goes down with it. */
function hindrance(row: UnitRow, seen: Survey): string | null {
  for (const name of row.names) {
    const problem = unitNameProblem(name, seen.own);
    if (problem !== null) return problem;
  }
  for (const { id } of reach(row, seen)) {
    if (!/\.(service|scope|slice)$/.test(id)) continue;
    const problem = unitNameProblem(id, seen.own);
    if (problem !== null) return `it takes ${id} down with it: ${problem}`;
  }
  return null;
}

/** The unit and all that systemd stops with it, each once. */
function reach(from: UnitRow, { rows }: Survey): readonly UnitRow[] {
  const found = new Map([[from.id, from]]);
  for (const row of found.values()) {
    for (const name of row.takesDown) {
      const next = rows.get(name);
      if (next !== undefined && !found.has(next.id)) found.set(next.id, next);
    }
  }
  return [...found.values()];
}

/**
 * Whether its operator wants it to run: what is being stopped by somebody is not ours to start, what is on its way up is
 * (our stop takes the place of the start in the manager's queue).
 */
function isWanted(row: UnitRow, queue: ReadonlyMap<string, string>): boolean {
  const job = row.job === null ? undefined : queue.get(row.job);
  if (job !== undefined) return job !== 'stop';
  return isActive(row) && row.active !== 'deactivating';
}
