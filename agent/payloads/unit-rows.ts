/** What `systemctl show` and `list-jobs` say, as plain data. */

/** A unit as the manager knows it now. */
export interface UnitRow {
  readonly id: string;
  /** The name it was asked by, and all of its others. */
  readonly names: readonly string[];
  /** `loaded`, `not-found`, `masked`, `error`, … */
  readonly load: string;
  /** `active`, `reloading`, `inactive`, `failed`, `activating`, `deactivating`. */
  readonly active: string;
  /** Why it ended: `success`, `timeout`, `signal`, `start-limit-hit`, …; empty for what has none. */
  readonly result: string;
  /** Empty while it has none. */
  readonly cgroup: string;
  readonly slice: string;
  /** null = infinity, or it has none. */
  readonly stopTimeoutMs: number | null;
  readonly canStop: boolean;
  readonly canStart: boolean;
  /** Made at run time: once stopped it is forgotten. */
  readonly transient: boolean;
  /** What waits or runs for it in the manager's queue; null = nothing. */
  readonly job: string | null;
  /** Units that systemd stops when it stops this one. */
  readonly takesDown: readonly string[];
}

/** All by which a stop goes from one unit to another (systemd.unit(5)); the last came with 249, before it was RequiredBy. */
const DOWNWARDS = ['RequiredBy', 'RequisiteOf', 'BoundBy', 'ConsistsOf', 'PropagatesStopTo', 'SliceOf'] as const;
const PROPERTIES = [
  'Id,Names,LoadState,ActiveState,Result,ControlGroup,Slice,TimeoutStopUSec,CanStop,CanStart,Transient,Job',
  ...DOWNWARDS,
].join(',');
export const SHOW_ARGS = ['show', '-p', PROPERTIES, '--'] as const;

/** The answer of `systemctl show` by every name that a unit has; what is not understood is left out. */
export function parseShow(text: string): ReadonlyMap<string, UnitRow> {
  const rows = new Map<string, UnitRow>();
  for (const block of text.split(/\n{2,}/)) {
    const row = rowOf(new Map([...block.matchAll(/^(\w+)=(.*)$/gm)].map(([, name = '', value = '']) => [name, value])));
    for (const name of row?.names ?? []) if (row !== null) rows.set(name, row);
  }
  return rows;
}

function rowOf(values: ReadonlyMap<string, string>): UnitRow | null {
  const text = (name: string): string => values.get(name) ?? '';
  const id = text('Id');
  if (id === '') return null;
  const job = text('Job');
  return {
    id,
    names: [...new Set([id, ...words(text('Names'))])],
    load: text('LoadState'),
    active: text('ActiveState'),
    result: text('Result'),
    cgroup: text('ControlGroup'),
    slice: text('Slice'),
    stopTimeoutMs: parseTimespan(text('TimeoutStopUSec')),
    canStop: text('CanStop') !== 'no',
    canStart: text('CanStart') !== 'no' && text('LoadState') === 'loaded',
    transient: text('Transient') === 'yes',
    job: job === '' || job === '0' ? null : job,
    takesDown: [...new Set(DOWNWARDS.flatMap((name) => words(text(name))))],
  };
}

/** The answer of `systemctl list-jobs`: `start`, `stop`, `restart`, … by the job's number. */
export function parseJobs(text: string): ReadonlyMap<string, string> {
  return new Map([...text.matchAll(/^\s*(\d+)\s+\S+\s+(\S+)\s+\S+\s*$/gm)].map(([, id = '', type = '']) => [id, type]));
}
export const JOBS_ARGS = ['list-jobs', '--no-legend', '--full', '--plain'] as const;

/** systemd.time(7), "Displaying Time Spans", in milliseconds. null: `infinity`, or no time span. */
export function parseTimespan(text: string): number | null {
  let ms = 0;
  for (const word of words(text)) {
    const [, number, unit] = /^(\d+(?:\.\d+)?)([a-z]+)$/.exec(word) ?? [];
    const factor = unit === undefined ? undefined : UNIT_MS.get(unit);
    if (factor === undefined) return word === '0' ? 0 : null;
    ms += Number(number) * factor;
  }
  return text === '' ? null : Math.ceil(ms);
}

const DAY_MS = 86_400_000;
const UNIT_MS: ReadonlyMap<string, number> = new Map([
  // Of 365.25 and 30.44 days, as systemd counts them.
  ['y', 365.25 * DAY_MS],
  ['month', 30.4375 * DAY_MS],
  ['w', 7 * DAY_MS],
  ['d', DAY_MS],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1_000],
  ['ms', 1],
  ['us', 0.001],
]);

const words = (text: string): readonly string[] => text.split(' ').filter((word) => word !== '');
