/**
 * Drives that a host attaches to say who the machine is: OpenStack's config drive and OpenNebula's context ISO. Found in a
 * configured directory, where a root helper has put a copy, where somebody has mounted it, or, by root, mounted in private.
 */
import { isUtf8 } from 'node:buffer';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { isLocalType, type MountTable, mountAt, mountTableReader, safeResolve } from './directory/mounts.ts';
import { COPY_TIMEOUT_MS, createCopier } from './drive-copy.ts';
import {
  type DriveFiles,
  type DriveLabel,
  driveLabelOf,
  isFile,
  type Reach,
  readDriveFile,
  readDriveFiles,
} from './drive-files.ts';
import { COPIED_DRIVES } from './facts.ts';
import { type SourceEnvironment, SourceError } from './source.ts';

export type { DriveLabel } from './drive-files.ts';

/** A file of the allow-list: its text, or the code of what is wrong with it. */
export type DriveFile = { readonly text: string } | { readonly error: string };

export interface DriveContent {
  /** A directory or device, for people. */
  readonly where: string;
  /** By lower-case name without folders: `meta_data.json`, `context.sh`. At least one. */
  readonly files: Readonly<Partial<Record<string, DriveFile>>>;
}

export interface Drive {
  /**
   * Undefined where this machine has no such drive. `fresh`: from the drive itself rather than from a copy made earlier.
   * @throws SourceError `drive_unreadable`, `drive_empty`, `not_trusted`, `foreign_file_system`, `hung`, or errno in lower case.
   */
  read(signal: AbortSignal, fresh?: boolean): Promise<DriveContent | undefined>;
}

export interface DriveOptions {
  readonly source: string;
  readonly label: DriveLabel;
  /** Absolute path of a directory, or of the one file that matters; then nothing else is looked at. */
  readonly configured?: string;
}

/** Longest that one `read` may take: whoever reads a drive must give it so long. */
export const DRIVE_TIMEOUT_MS = COPY_TIMEOUT_MS + 1_000;

/** Types of which a drive is made; only mounts of these are looked at. */
const DRIVE_FS_TYPES: ReadonlySet<string> = new Set('iso9660 vfat ext2 ext3 ext4 xfs squashfs'.split(' '));
/** A program is started for each copy: a source that asks for a fresh one again and again gets the last one. */
const COPY_AGAIN_AFTER_MS = 300_000;

type Way = () => Promise<DriveContent | undefined> | DriveContent | undefined;

/**
 * Whether there is any sign of such a drive: configured, or a label, be it of a copy. Where there is none, none is waited for.
 */
export const isDriveLikely = ({ label, configured }: DriveOptions, { facts }: SourceEnvironment): boolean =>
  configured !== undefined || facts.labels.some((each) => driveLabelOf(each) === label);

/** Nothing is looked at before `read`. */
export function createDrive(options: DriveOptions, environment: SourceEnvironment): Drive {
  const { label, configured, source } = options;
  const { root, trace } = environment;
  const mounts = mountTableReader(path.join(root, 'proc/self/mountinfo'), '/proc/self/mountinfo');
  const dropDir = path.join(root, COPIED_DRIVES, label);
  const uid = process.getuid?.() ?? -1;
  const copy = createCopier(environment);
  let copiedMs = Number.NEGATIVE_INFINITY;

  function fromConfigured(place: string): DriveContent {
    const table = mounts();
    const base = mountAt('/', table);
    // This very program runs from the root file system, whatever its type.
    const reach: Reach = {
      table,
      mayTouch: (mount) => mount !== undefined && (mount === base || isLocalType(mount.fsType)),
    };
    const one = label === 'CONTEXT' && isFile(place, reach);
    return contentOf(place, one ? readDriveFile(place, label, reach) : readDriveFiles(place, label, reach));
  }

  function fromDropDir(): DriveContent | undefined {
    const reach: Reach = { table: mounts(), owners: [0, uid] };
    if (!isThere(dropDir, reach.table)) return undefined;
    // Whoever may write to the directory above could exchange this one.
    for (const dir of [path.dirname(dropDir), dropDir]) assertOwn(dir, [0, uid]);
    return contentOf(dropDir, readDriveFiles(dropDir, label, reach));
  }

  function fromMounted(device: Device): Promise<DriveContent | undefined> {
    const table = mounts();
    const places = table.mounts.filter(({ mountPoint, fsType }) => {
      const place = DRIVE_FS_TYPES.has(fsType) ? safeResolve(mountPoint, { table, ownOutput: [] }) : undefined;
      return place?.kind === 'local' && place.stats.dev === device.number;
    });
    // A part of it may be bound elsewhere.
    return firstOf(
      places.map(
        ({ mountPoint }) =>
          () =>
            contentOf(mountPoint, readDriveFiles(mountPoint, label, { table })),
      ),
    );
  }

  async function fromDevice({ file }: Device, signal: AbortSignal): Promise<DriveContent | undefined> {
    if (uid !== 0)
      throw new SourceError('drive_unreadable', `${file} is neither mounted nor copied, and only root could do so`);
    if (performance.now() - copiedMs < COPY_AGAIN_AFTER_MS)
      throw new SourceError('drive_unreadable', `${file} was copied a moment ago`);
    if (environment.leavesNothing === true) return fromOwnCopy(file, signal);
    fs.mkdirSync(path.dirname(dropDir), { recursive: true, mode: 0o755 });
    await copy({ label, device: file, target: dropDir }, signal);
    copiedMs = performance.now();
    return fromDropDir();
  }

  /** Read and thrown away. */
  async function fromOwnCopy(file: string, signal: AbortSignal): Promise<DriveContent> {
    const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-agent-drive-'));
    try {
      const target = path.join(dir, label);
      await copy({ label, device: file, target }, signal);
      return contentOf(file, readDriveFiles(target, label, { table: mounts(), owners: [uid] }));
    } finally {
      fs.rmSync(dir, { recursive: true, force: true });
    }
  }

  function waysFor(fresh: boolean, signal: AbortSignal): readonly Way[] {
    if (configured !== undefined) return [() => fromConfigured(configured)];
    const device = findDevice(root, label);
    const direct: readonly Way[] =
      device === undefined ? [] : [() => fromMounted(device), () => fromDevice(device, signal)];
    return fresh ? [...direct, fromDropDir] : [fromDropDir, ...direct];
  }

  return {
    async read(signal, fresh = false) {
      const startedMs = performance.now();
      const told = (answered: string): void =>
        trace?.({ source, asked: `drive ${configured ?? label}`, answered, tookMs: performance.now() - startedMs });
      try {
        const content = await firstOf(waysFor(fresh, signal));
        told(content === undefined ? 'absent' : 'present');
        return content;
      } catch (error) {
        told(asSourceError(error).code);
        throw error;
      }
    },
  };
}

/** Of places that fail, what was wrong with the best is told, if no other has it. */
async function firstOf(ways: readonly Way[]): Promise<DriveContent | undefined> {
  let failure: SourceError | undefined;
  for (const way of ways) {
    try {
      const content = await way();
      if (content !== undefined) return content;
    } catch (error) {
      failure ??= asSourceError(error);
    }
  }
  if (failure !== undefined) throw failure;
  return undefined;
}

interface Device {
  readonly file: string;
  /** As `st_dev` of what is mounted from it. */
  readonly number: number;
}

/** By udev's link alone: looking for labels on devices would take the group `disk`. */
function findDevice(root: string, label: DriveLabel): Device | undefined {
  const dir = path.join(root, 'dev/disk/by-label');
  try {
    for (const name of fs.readdirSync(dir)) {
      if (driveLabelOf(name) !== label) continue;
      const file = path.join(dir, name);
      const stats = fs.statSync(file);
      if (stats.isBlockDevice()) return { file, number: stats.rdev };
    }
  } catch {
    // No udev, no labels; or the device went away just now.
  }
  return undefined;
}

/** @throws SourceError `drive_empty` */
function contentOf(where: string, files: DriveFiles): DriveContent {
  if (files.size === 0) throw new SourceError('drive_empty', `${where} has none of the files that are looked for`);
  const read = [...files].map(([name, content]): [string, DriveFile] => {
    if (!Buffer.isBuffer(content)) return [name, content];
    const text = isUtf8(content) && !content.includes(0);
    return [name, text ? { text: content.toString('utf8') } : { error: 'not_text' }];
  });
  return { where, files: Object.fromEntries(read) };
}

const isThere = (dir: string, table: MountTable): boolean =>
  safeResolve(dir, { table, ownOutput: [] }).kind !== 'missing';

function assertOwn(dir: string, owners: readonly number[]): void {
  const { uid, mode } = fs.lstatSync(dir);
  if (!owners.includes(uid) || (mode & 0o022) !== 0 || (mode & fs.constants.S_IFMT) !== fs.constants.S_IFDIR)
    throw new SourceError(
      'not_trusted',
      `${dir} is not a directory of root or our own that only its owner may write to`,
    );
}

function asSourceError(error: unknown): SourceError {
  if (error instanceof SourceError) return error;
  return new SourceError('drive_unreadable', error instanceof Error ? error.message : String(error));
}
