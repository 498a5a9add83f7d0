/**
 * Which file system a path lies on, told by the mount table alone, and how to follow a path without touching a foreign
 * one. Even `lstat` on a share whose host is gone never returns and takes the process with it (SYSTEMS.md, "Hung shares").
 */
import fs from 'node:fs';
import path from 'node:path';
import { errnoCode, errorText } from './errno.ts';

export interface Mount {
  readonly id: number;
  readonly parentId: number;
  readonly mountPoint: string;
  readonly fsType: string;
}

/** The mounts of one moment, indexed by what they are mounted on. */
export interface MountTable {
  readonly mounts: readonly Mount[];
  readonly byPlace: ReadonlyMap<string, Mount>;
}

/** Types whose reads cannot hang on another machine; everything else (overlay, autofs, unknown ones too) is foreign. */
const LOCAL_TYPES: ReadonlySet<string> = new Set(
  'tmpfs devtmpfs ramfs ext2 ext3 ext4 xfs btrfs iso9660 vfat squashfs f2fs'.split(' '),
);

/** The kernel's own limit on links in one path (MAXSYMLINKS). */
const MAX_LINKS = 40;

/** Stands for "the parent is not in the table": the root, or what a chroot hides. */
const NO_PARENT = -1;

export function isLocalType(fsType: string): boolean {
  return LOCAL_TYPES.has(fsType);
}

/** Parses `/proc/self/mountinfo` (proc_pid_mountinfo(5)). Lines of another shape are left out. */
export function parseMountInfo(text: string): MountTable {
  const mounts: Mount[] = [];
  for (const line of text.split('\n')) {
    const fields = line.split(' ');
    // Optional fields of any number end with a lone dash; the type follows it.
    const dash = fields.indexOf('-', 6);
    const [id, parentId, , , mountPoint] = fields;
    const fsType = dash < 0 ? undefined : fields[dash + 1];
    if (id === undefined || parentId === undefined || mountPoint === undefined || fsType === undefined) continue;
    mounts.push({
      id: Number(id),
      parentId: Number(parentId),
      mountPoint: unescapeOctal(mountPoint),
      fsType: unescapeOctal(fsType),
    });
  }
  const ids = new Set(mounts.map((mount) => mount.id));
  const byPlace = new Map<string, Mount>();
  for (const mount of mounts) {
    const parent = ids.has(mount.parentId) && mount.parentId !== mount.id ? mount.parentId : NO_PARENT;
    byPlace.set(place(parent, mount.mountPoint), mount);
  }
  return { mounts, byPlace };
}

/**
 * A reader of the table at the first of `files` that can be read; parses only when the text changed. None readable: an
 * empty table, so that all is foreign.
 */
export function mountTableReader(...files: readonly string[]): () => MountTable {
  let text = '';
  let table = parseMountInfo(text);
  return () => {
    const next = readFirst(files);
    if (next !== text) {
      text = next;
      table = parseMountInfo(next);
    }
    return table;
  };
}

function readFirst(files: readonly string[]): string {
  for (const file of files) {
    try {
      return fs.readFileSync(file, 'utf8');
    } catch {
      // The next one, or the careful answer.
    }
  }
  return '';
}

/**
 * The mount that the absolute, link-free `file` lies on: the deepest mount point above it, later mounts over earlier ones.
 * Walks by parent ids, because the table's order is not the order of mounting once an initramfs has moved mounts, and
 * a mount over a directory also hides what was mounted below it.
 */
export function mountAt(file: string, table: MountTable): Mount | undefined {
  let current = topOf(undefined, '/', table);
  let prefix = '';
  for (const part of file.split('/')) {
    if (part === '') continue;
    prefix += `/${part}`;
    current = topOf(current, prefix, table) ?? current;
  }
  return current;
}

/** The type of the file system at `file`; `unknown` when the table does not say. */
export function fsTypeAt(file: string, table: MountTable): string {
  return mountAt(file, table)?.fsType ?? 'unknown';
}

/** Where a path leads, as far as it could be followed. `path` of the others is what was known when the walk ended. */
export type Resolved =
  | { readonly kind: 'local'; readonly realPath: string; readonly mount: Mount | undefined; readonly stats: fs.Stats }
  | { readonly kind: 'foreign'; readonly path: string; readonly mountPoint: string; readonly fsType: string }
  | { readonly kind: 'missing'; readonly path: string }
  | { readonly kind: 'own_output'; readonly path: string }
  | { readonly kind: 'error'; readonly path: string; readonly code: string; readonly detail: string };

export interface ResolveOptions {
  readonly table: MountTable;
  /** Real paths of the agent's own output (`ownOutputPaths`). */
  readonly ownOutput: readonly string[];
  /** What this process may touch; the reader child may touch everything. Default: local types. */
  readonly mayTouch?: (mount: Mount | undefined) => boolean;
}

/**
 * Follows an absolute path component by component, asking the mount table before each touch. The file system of `/` is
 * walked through whatever its type (this very program runs from it), but is a result only if it may be touched.
 * Never throws; `local` means "on a file system that this process may touch".
 */
export function safeResolve(file: string, options: ResolveOptions): Resolved {
  const { table } = options;
  const mayTouch = options.mayTouch ?? ((mount) => mount !== undefined && isLocalType(mount.fsType));
  const root = mountAt('/', table);
  const rest = file.split('/').reverse();
  let current = '/';
  let links = 0;
  let mount = root;
  const foreign = (at: string): Resolved =>
    ownOr(options, {
      kind: 'foreign',
      path: joined(at, rest),
      mountPoint: mount?.mountPoint ?? '/',
      fsType: mount?.fsType ?? 'unknown',
    });
  try {
    for (let part = rest.pop(); part !== undefined; part = rest.pop()) {
      if (part === '' || part === '.') continue;
      const next = part === '..' ? path.dirname(current) : path.join(current, part);
      mount = mountAt(next, table);
      if (!mayTouch(mount) && (mount === undefined || mount !== root)) return foreign(next);
      const stats = fs.lstatSync(next, { throwIfNoEntry: false });
      if (stats === undefined) return ownOr(options, { kind: 'missing', path: joined(next, rest) });
      if (!stats.isSymbolicLink()) {
        current = next;
        continue;
      }
      links += 1;
      if (links > MAX_LINKS) return { kind: 'error', path: next, code: 'link_loop', detail: `too many links: ${file}` };
      const target = fs.readlinkSync(next);
      if (target.startsWith('/')) current = '/';
      rest.push(...target.split('/').reverse());
    }
    mount = mountAt(current, table);
    if (!mayTouch(mount)) return foreign(current);
    return ownOr(options, { kind: 'local', realPath: current, mount, stats: fs.lstatSync(current) });
  } catch (error) {
    return { kind: 'error', path: current, code: errnoCode(error), detail: errorText(error) };
  }
}

/** The runtime directory as configured and as it really lies (`/var/run` is a link to `/run`). It need not exist yet. */
export function ownOutputPaths(runtimeDir: string, table: MountTable): readonly string[] {
  const resolved = safeResolve(runtimeDir, { table, ownOutput: [] });
  const real = resolved.kind === 'local' ? resolved.realPath : resolved.path;
  return [...new Set([path.resolve(runtimeDir), real])];
}

function ownOr(options: ResolveOptions, resolved: Exclude<Resolved, { kind: 'error' | 'own_output' }>): Resolved {
  const at = resolved.kind === 'local' ? resolved.realPath : resolved.path;
  const mount = mountAt(at, options.table)?.mountPoint ?? '/';
  // A host's mount that followed a link of ours onto the output directory covers our output: it is the host's.
  const own = options.ownOutput.some((dir) => (at === dir || at.startsWith(`${dir}/`)) && !mount.startsWith(`${dir}/`));
  return own ? { kind: 'own_output', path: at } : resolved;
}

/** What is on top at `where`, seen from the mount below; a parent that is missing in the table must not hide its child. */
function topOf(below: Mount | undefined, where: string, table: MountTable): Mount | undefined {
  let top =
    table.byPlace.get(place(below?.id ?? NO_PARENT, where)) ??
    (where === '/' ? undefined : table.byPlace.get(place(NO_PARENT, where)));
  // As many steps as there are mounts: a table that names itself in a circle must not hold us.
  for (let steps = table.mounts.length; top !== undefined && steps > 0; steps -= 1) {
    const above = table.byPlace.get(place(top.id, where));
    if (above === undefined) break;
    top = above;
  }
  return top;
}

/** Not `path.join`: it would cancel `link/..`, which may lead elsewhere. */
function joined(at: string, reversedRest: readonly string[]): string {
  return [at, ...reversedRest.toReversed()].join('/');
}

function place(parentId: number, mountPoint: string): string {
  return `${parentId} ${mountPoint}`;
}

/** Blank, tab, newline and backslash stand as `\040` and so on. */
function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_whole, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
