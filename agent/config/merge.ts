/** Several layers of settings into one table that still knows where each value came from. Pure. */

export type Table = { [key: string]: unknown };
export type KeyPath = readonly (string | number)[];

/** One file, one environment variable or one flag. */
export interface Layer {
  /** What a person is pointed to: `/etc/mjf-agent/config.toml`, `MJF_AGENT_LISTEN`, `--listen`. */
  readonly origin: string;
  readonly kind: 'file' | 'environment' | 'flag';
  readonly table: Table;
  /** The values have passed every test of their schema already, so nobody needs to load Ajv for them. */
  readonly checked: boolean;
}

export interface Merged {
  readonly table: Table;
  /** Where the value at this path, or the closest table around it, was last set. */
  originOf(path: KeyPath): string | null;
}

/** Lists of tables that several files may add to: each file brings its own payload. All other lists are replaced. */
const APPENDED_LISTS = new Set(['payload', 'webhook', 'source.schedule']);

/** Of these only one counts: the later layer's choice takes the earlier one's away. */
const EITHER_OR = { table: ['report', 'joboutputs'], keys: ['url', 'directory'] } as const;

/** Later layers win; tables are merged deeply. The layers themselves stay untouched. */
export function mergeLayers(layers: readonly Layer[]): Merged {
  const table = emptyTable();
  const origins = new Map<string, string>();
  for (const layer of layers) {
    dropOtherChoice(table, layer.table);
    mergeInto(table, layer, layer.table, [], origins);
  }
  return {
    table,
    originOf(path) {
      for (let length = path.length; length > 0; length -= 1) {
        const origin = origins.get(path.slice(0, length).join('\0'));
        if (origin !== undefined) return origin;
      }
      return layers.length === 1 ? (layers[0]?.origin ?? null) : null;
    },
  };
}

/** The value at a path, undefined when something on the way is no table. */
export function valueAt(table: Table, path: readonly string[]): unknown {
  return path.reduce<unknown>((value, key) => (isTable(value) ? value[key] : undefined), table);
}

export function isTable(value: unknown): value is Table {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

/** Without a prototype: a key `__proto__` in a file is a key like any other (and unknown). */
export function emptyTable(): Table {
  return Object.create(null);
}

/** `['stop', 'grace'], '5m'` → `{ stop: { grace: '5m' } }`. */
export function tableOf(path: readonly string[], value: unknown): Table {
  const [first = '', ...rest] = path;
  const table = emptyTable();
  table[first] = rest.length === 0 ? value : tableOf(rest, value);
  return table;
}

function mergeInto(
  target: Table,
  layer: Layer,
  from: Table,
  path: readonly string[],
  origins: Map<string, string>,
): void {
  for (const [key, value] of Object.entries(from)) {
    const here = [...path, key];
    const present = target[key];
    if (isTable(value)) {
      const inner = isTable(present) ? present : emptyTable();
      target[key] = inner;
      if (!isTable(present)) origins.set(here.join('\0'), layer.origin);
      mergeInto(inner, layer, value, here, origins);
      continue;
    }
    const appended = Array.isArray(value) && Array.isArray(present) && layer.kind === 'file';
    if (appended && APPENDED_LISTS.has(here.join('.'))) {
      for (let i = 0; i < value.length; i += 1) origins.set([...here, present.length + i].join('\0'), layer.origin);
      target[key] = [...present, ...value];
    } else {
      for (const known of [...origins.keys()]) if (known.startsWith(`${here.join('\0')}\0`)) origins.delete(known);
      origins.set(here.join('\0'), layer.origin);
      target[key] = value;
    }
  }
}

function dropOtherChoice(target: Table, from: Table): void {
  const before = valueAt(target, EITHER_OR.table);
  const now = valueAt(from, EITHER_OR.table);
  if (!isTable(before) || !isTable(now)) return;
  if (EITHER_OR.keys.some((key) => key in now)) for (const key of EITHER_OR.keys) delete before[key];
}
