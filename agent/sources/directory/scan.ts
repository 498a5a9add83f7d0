/**
 * Reads one directory of keys, synchronously and bounded. The same code runs in the agent for local file systems and in
 * the reader child for all others (SYSTEMS.md, "Hung shares").
 */
import { isUtf8 } from 'node:buffer';
import fs from 'node:fs';
import path from 'node:path';
import { KNOWN_INPUT_KEYS, SHUTDOWN_KEYS } from '../../lifetime/features.ts';
import type { Reading } from '../../lifetime/types.ts';
import { errnoCode, errorText } from './errno.ts';
import { isLocalType, type MountTable, mountAt, ownOutputPaths, safeResolve } from './mounts.ts';

/** The longest value looked at, bytes: keys are one short line, and garbage must not fill the memory. */
export const MAX_VALUE_BYTES = 4096;
/** Directory entries looked at: a real one has some twenty. */
export const MAX_ENTRIES = 1024;
/** All values of one reading together, bytes: keeps the child's answer and the journal small. */
export const MAX_TOTAL_BYTES = 256 * 1024;
/** Entries fetched from the kernel at once. */
const LISTING_BATCH = 128;

/**
 * The keys that must be found even in an overfull directory: those of the heart's own table, the shutdown times first, and
 * one that is only passed on. Of both sides, since a directory does not say which it is.
 */
const KNOWN_KEYS: readonly string[] = [
  ...new Set([
    ...Object.values(SHUTDOWN_KEYS),
    ...KNOWN_INPUT_KEYS.machine,
    ...KNOWN_INPUT_KEYS.job,
    'shutdown_command',
  ]),
];

/** What one directory said, or why it could not be read. Plain data: it also travels as JSON from the reader child. */
export type DirectoryReading =
  | {
      readonly kind: 'read';
      /** `dev:<st_dev>@<mount point>`, S1.6: what is read, and whether the mount that it came from is still there. */
      readonly channel: string;
      readonly complete: boolean;
      readonly keys: Readonly<Record<string, Reading<string>>>;
      /** Entries whose name cannot be a key. */
      readonly ignored: number;
    }
  | { readonly kind: 'missing'; readonly path: string }
  | { readonly kind: 'own_output'; readonly path: string }
  /** Only where the process may not touch it: nothing was read, ask the child of this mount. */
  | { readonly kind: 'foreign'; readonly path: string; readonly mountPoint: string; readonly fsType: string }
  | { readonly kind: 'failed'; readonly code: string; readonly detail: string };

export interface ReadOptions {
  readonly table: MountTable;
  readonly runtimeDir: string;
  /** The reader child: touch every file system. */
  readonly anywhere: boolean;
  /** Called with the real path and `dev:ino` before anything is read, so that a watch set up here misses nothing. */
  readonly onDirectory?: (realPath: string, identity: string) => void;
}

/** Legal key names, the old ones with capitals included. `__proto__` would not survive as a property of an object. */
export function isKeyName(name: string): boolean {
  return /^[A-Za-z0-9_]{1,64}$/.test(name) && name !== '__proto__';
}

/** Reads the directory at an absolute path; never throws. Reads a second time when it changed underneath. */
export function readDirectory(file: string, options: ReadOptions): DirectoryReading {
  try {
    const context = contextOf(options);
    const resolved = safeResolve(file, context.resolve);
    if (resolved.kind === 'error') return { kind: 'failed', code: resolved.code, detail: resolved.detail };
    if (resolved.kind !== 'local') return resolved;
    const { realPath } = resolved;
    if (!resolved.stats.isDirectory()) {
      return { kind: 'failed', code: 'not_a_directory', detail: `${realPath} is not a directory` };
    }
    const below = options.anywhere ? undefined : foreignBelow(realPath, options.table);
    if (below !== undefined) return { kind: 'foreign', path: realPath, ...below };
    const before = look(realPath, options.table);
    if (context.ownIdentities.has(before.identity)) return { kind: 'own_output', path: realPath };
    options.onDirectory?.(realPath, before.identity);
    const first = scan(realPath, before.channel, context);
    const between = look(realPath, options.table);
    if (between.version === before.version) return first;
    const second = scan(realPath, between.channel, context);
    const after = look(realPath, options.table);
    // Another directory each time: neither reading is known to be of one directory. Changing content is settled by the poll.
    if (after.identity === between.identity) return second;
    return { kind: 'failed', code: 'directory_changing', detail: `${realPath} was replaced while it was read` };
  } catch (error) {
    const code = errnoCode(error);
    if (code === 'enoent') return { kind: 'missing', path: file };
    return { kind: 'failed', code, detail: errorText(error) };
  }
}

interface ScanContext {
  readonly options: ReadOptions;
  readonly resolve: { readonly table: MountTable; readonly ownOutput: readonly string[]; mayTouch?: () => boolean };
  readonly ownIdentities: ReadonlySet<string>;
}

function contextOf(options: ReadOptions): ScanContext {
  const ownOutput = ownOutputPaths(options.runtimeDir, options.table);
  const resolve = { table: options.table, ownOutput, ...(options.anywhere ? { mayTouch: () => true } : {}) };
  return { options, resolve, ownIdentities: ownIdentities(ownOutput, options.table) };
}

/** A bind mount of our own output has another path, but the same device and inode: it must not feed us back to ourselves. */
function ownIdentities(ownOutput: readonly string[], table: MountTable): ReadonlySet<string> {
  const identities = new Set<string>();
  for (const dir of ownOutput) {
    for (const own of [dir, path.join(dir, 'machinefeatures'), path.join(dir, 'jobfeatures')]) {
      // Mounted over: what is seen there is the host's.
      if (own !== dir && mountAt(own, table)?.mountPoint === own) continue;
      const resolved = safeResolve(own, { table, ownOutput: [] });
      if (resolved.kind !== 'local') continue;
      // Without throwing: the runtime directory may vanish, which says nothing of the host's directory.
      const stats = fs.statSync(resolved.realPath, { bigint: true, throwIfNoEntry: false });
      if (stats !== undefined) identities.add(`${stats.dev}:${stats.ino}`);
    }
  }
  return identities;
}

/** A foreign file system mounted on one of the keys: then the child reads the whole directory. */
function foreignBelow(dir: string, table: MountTable): { mountPoint: string; fsType: string } | undefined {
  for (const { mountPoint, fsType } of table.mounts) {
    if (path.dirname(mountPoint) === dir && mountPoint !== dir && !isLocalType(fsType)) return { mountPoint, fsType };
  }
  return undefined;
}

function look(dir: string, table: MountTable): { channel: string; identity: string; version: string } {
  // As bigint: inode numbers go beyond 2^53, and milliseconds would hide a quick second change.
  const { dev, ino, mtimeNs, ctimeNs } = fs.statSync(dir, { bigint: true });
  return {
    channel: `dev:${dev}@${mountAt(dir, table)?.mountPoint ?? '/'}`,
    identity: `${dev}:${ino}`,
    version: `${dev}:${ino}:${mtimeNs}:${ctimeNs}`,
  };
}

function scan(dir: string, channel: string, context: ScanContext): DirectoryReading {
  const { names, ignored, overfull } = list(dir);
  // Known keys first: neither a crowd of files nor the budget may cost us the shutdown time.
  const listed = new Set(names);
  const known = overfull ? KNOWN_KEYS : KNOWN_KEYS.filter((name) => listed.has(name));
  for (const name of known) listed.delete(name);
  const order = [...known, ...listed].slice(0, MAX_ENTRIES);
  const keys: Record<string, Reading<string>> = {};
  const dirMount = mountAt(dir, context.options.table);
  let budgetBytes = MAX_TOTAL_BYTES;
  for (const name of order) {
    const reading = readKey(path.join(dir, name), dirMount?.id, context);
    if (reading === undefined) continue;
    if (reading.is === 'present') budgetBytes -= Buffer.byteLength(reading.value);
    keys[name] = reading.is === 'present' && budgetBytes < 0 ? unknown('too_large') : reading;
  }
  return { kind: 'read', channel, complete: !overfull, keys, ignored };
}

function list(dir: string): { names: readonly string[]; ignored: number; overfull: boolean } {
  const names: string[] = [];
  let ignored = 0;
  // Not readdir: that would hold all names of a directory with a million files.
  const handle = fs.opendirSync(dir, { bufferSize: LISTING_BATCH });
  try {
    for (let seen = 0; ; seen += 1) {
      const entry = handle.readSync();
      if (entry === null) return { names, ignored, overfull: false };
      if (seen === MAX_ENTRIES) return { names, ignored, overfull: true };
      if (isKeyName(entry.name)) names.push(entry.name);
      else ignored += 1;
    }
  } finally {
    handle.closeSync();
  }
}

/** One key, or nothing when it is our own output. */
function readKey(file: string, dirMountId: number | undefined, context: ScanContext): Reading<string> | undefined {
  try {
    const stats = fs.lstatSync(file, { throwIfNoEntry: false });
    if (stats === undefined) return { is: 'absent' };
    if (!stats.isSymbolicLink()) return readFile(file, stats);
    const target = safeResolve(file, {
      ...context.resolve,
      // Also in the child: a link to a third file system could hang on a share that nobody counts.
      mayTouch: (mount) =>
        mount !== undefined && (isLocalType(mount.fsType) || (context.options.anywhere && mount.id === dirMountId)),
    });
    switch (target.kind) {
      case 'local':
        return readFile(target.realPath, target.stats);
      case 'own_output':
        return undefined;
      case 'foreign':
        return unknown('foreign_link');
      // The name is still there, so this is no "looked, is not there": a target that comes late must not clear a deadline.
      case 'missing':
        return unknown('dangling_link');
      case 'error':
        return unknown(target.code);
    }
  } catch (error) {
    const code = errnoCode(error);
    return code === 'enoent' ? { is: 'absent' } : unknown(code);
  }
}

const buffer = Buffer.alloc(MAX_VALUE_BYTES + 1);

function readFile(file: string, stats: fs.Stats): Reading<string> {
  // Before opening: opening a FIFO or a device already does something.
  if (!stats.isFile()) return unknown('not_a_file');
  if (stats.size > MAX_VALUE_BYTES) return unknown('too_large');
  const { O_RDONLY, O_NONBLOCK, O_NOFOLLOW } = fs.constants;
  const fd = fs.openSync(file, O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
  try {
    // Again on what was opened: it may have been exchanged since.
    if (!fs.fstatSync(fd).isFile()) return unknown('not_a_file');
    let length = 0;
    // One byte more than allowed shows that there is more, whatever the size in stat says.
    while (length < buffer.length) {
      const count = fs.readSync(fd, buffer, length, buffer.length - length, null);
      if (count === 0) break;
      length += count;
    }
    if (length > MAX_VALUE_BYTES) return unknown('too_large');
    const content = buffer.subarray(0, length);
    if (content.includes(0) || !isUtf8(content)) return unknown('not_text');
    return { is: 'present', value: content.toString('utf8') };
  } finally {
    fs.closeSync(fd);
  }
}

function unknown(error: string): Reading<string> {
  return { is: 'unknown', error };
}
