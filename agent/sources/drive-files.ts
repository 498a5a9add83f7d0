/**
 * What a labelled drive holds for us, found below a directory: an allow-list of small files, nothing else is ever opened.
 * The same code reads a mounted drive in the agent and the freshly mounted one in the copying child. No own ISO parser:
 * the kernel reads the file system, we read files (SYSTEMS.md, "systemd").
 */
import fs from 'node:fs';
import path from 'node:path';
import { errnoCode, errorText } from './directory/errno.ts';
import { type Mount, type MountTable, safeResolve } from './directory/mounts.ts';
import { SourceError } from './source.ts';

/** Labels as OpenStack's config drive and OpenNebula's context ISO have them. */
export const DRIVE_LABELS = ['config-2', 'CONTEXT'] as const;
export type DriveLabel = (typeof DRIVE_LABELS)[number];

/** Bytes of each file that is there, or the code of what is wrong with it. Keys are names of the allow-list. */
export type DriveFiles = ReadonlyMap<string, Buffer | { readonly error: string }>;

export interface Reach {
  readonly table: MountTable;
  /** Default: local file systems only. */
  readonly mayTouch?: (mount: Mount | undefined) => boolean;
  /** Everything must belong to one of these users and be writable by nobody else. Default: whoever. */
  readonly owners?: readonly number[];
}

/** Documents of this kind have a few kilobytes; user data, which may be large, is not among them. */
export const MAX_FILE_BYTES = 256 * 1024;
/** A drive has a dozen entries a folder; a configured directory may be anything. */
const MAX_ENTRIES = 1024;
/** OpenStack made eight dated versions in as many years. */
const MAX_VERSIONS = 32;

/** `tree`: the files lie in `TREE/latest/`, or in the newest dated folder beside it. */
const SHAPES: Readonly<Record<DriveLabel, { readonly tree?: string; readonly names: readonly string[] }>> = {
  'config-2': {
    tree: 'openstack',
    names: ['meta_data.json', 'meta-data.json', 'vendor_data.json', 'vendor_data2.json'],
  },
  CONTEXT: { names: ['context.sh', 'token.txt'] },
};

/** The label in our spelling; file systems with short names keep it in capitals. */
export const driveLabelOf = (text: string): DriveLabel | undefined =>
  DRIVE_LABELS.find((label) => label.toLowerCase() === text.toLowerCase());

/** Where a file of the allow-list stands in a copy. */
export const placeInCopy = (label: DriveLabel, name: string): string =>
  path.join(...(SHAPES[label].tree === undefined ? [] : [SHAPES[label].tree, 'latest']), name);

/**
 * The files below `dir`, which may be empty. Synchronous and bounded. Names are compared without case: ISO 9660 without
 * extensions knows capitals only.
 * @throws SourceError `enoent`, `permission`, `not_a_directory`, `foreign_file_system`, `not_trusted`, … for what hides all of them.
 */
export function readDriveFiles(dir: string, label: DriveLabel, reach: Reach): DriveFiles {
  return rethrown(dir, () => {
    const top = resolved(dir, reach);
    if (!top.stats.isDirectory()) throw new SourceError('not_a_directory', `${dir} is not a directory`);
    for (const folder of foldersOf(top.realPath, label, reach)) {
      const files = filesIn(folder, SHAPES[label].names, top.realPath, reach);
      if (files.size > 0) return files;
    }
    return new Map();
  });
}

/** A single configured file and what lies beside it; its own name does not matter, it stands for the first of the list. */
export function readDriveFile(file: string, label: DriveLabel, reach: Reach): DriveFiles {
  return rethrown(file, () => {
    const [first = '', ...others] = SHAPES[label].names;
    const { realPath, stats } = resolved(file, reach);
    const dir = path.dirname(realPath);
    return new Map([...filesIn(dir, others, dir, reach), [first, readBounded(realPath, stats)]]);
  });
}

/** Whether a configured path is a file, for those who may name either. */
export const isFile = (file: string, reach: Reach): boolean =>
  rethrown(file, () => resolved(file, reach).stats.isFile());

function rethrown<T>(file: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof SourceError) throw error;
    throw new SourceError(errnoCode(error), `${file}: ${errorText(error)}`);
  }
}

interface Place {
  readonly realPath: string;
  readonly stats: fs.Stats;
}

/** The best folder first. */
function foldersOf(top: string, label: DriveLabel, reach: Reach): readonly string[] {
  const { tree } = SHAPES[label];
  if (tree === undefined) return [top];
  const below = inside(top, tree, top, reach);
  if (below === undefined || !below.stats.isDirectory()) return [];
  const dated = namesIn(below.realPath)
    .filter((name) => /^\d{4}[-_]\d{2}[-_]\d{2}$/.test(name))
    .sort()
    .reverse()
    .slice(0, MAX_VERSIONS);
  return ['latest', ...dated].flatMap((name) => {
    const place = inside(below.realPath, name, top, reach);
    return place?.stats.isDirectory() ? [place.realPath] : [];
  });
}

function filesIn(folder: string, names: readonly string[], top: string, reach: Reach): DriveFiles {
  const files = new Map<string, Buffer | { readonly error: string }>();
  for (const name of names) {
    try {
      const place = inside(folder, name, top, reach);
      if (place !== undefined) files.set(name, readBounded(place.realPath, place.stats));
    } catch (error) {
      files.set(name, { error: error instanceof SourceError ? error.code : errnoCode(error) });
    }
  }
  return files;
}

/** The entry of this name, wherever a link within the drive leads; nothing where there is none. */
function inside(folder: string, name: string, top: string, reach: Reach): Place | undefined {
  const spelt = namesIn(folder).filter((each) => plain(each) === name);
  const [found] = spelt.includes(name) ? [name] : spelt;
  if (found === undefined) return undefined;
  const place = resolved(path.join(folder, found), reach);
  if (!place.realPath.startsWith(top === '/' ? '/' : `${top}/`))
    throw new SourceError('link_out', `${name} is a link that leads out of the drive`);
  return place;
}

/** `META_DATA.JSON;1`, as plain ISO 9660 writes it. */
const plain = (name: string): string => name.toLowerCase().replace(/;\d+$/, '').replace(/\.$/, '');

function namesIn(dir: string): readonly string[] {
  const names: string[] = [];
  const handle = fs.opendirSync(dir);
  try {
    for (let entry = handle.readSync(); entry !== null && names.length < MAX_ENTRIES; entry = handle.readSync())
      names.push(entry.name);
  } finally {
    handle.closeSync();
  }
  return names;
}

function resolved(file: string, { table, mayTouch, owners }: Reach): Place {
  const found = safeResolve(file, { table, ownOutput: [], ...(mayTouch === undefined ? {} : { mayTouch }) });
  switch (found.kind) {
    case 'local':
      if (owners !== undefined && (!owners.includes(found.stats.uid) || (found.stats.mode & 0o022) !== 0))
        throw new SourceError('not_trusted', `${file} belongs to uid ${found.stats.uid} or others may write to it`);
      return found;
    case 'foreign':
      throw new SourceError('foreign_file_system', `${file} lies on ${found.fsType}, which may hang: not read`);
    case 'error':
      throw new SourceError(found.code, `${file}: ${found.detail}`);
    default:
      throw new SourceError('enoent', `${file} is not there`);
  }
}

/** @throws SourceError `not_a_file`, `too_large`; system errors as they come. */
function readBounded(file: string, stats: fs.Stats): Buffer {
  // Before opening: opening a FIFO or a device already does something.
  if (!stats.isFile()) throw new SourceError('not_a_file', `${file} is not a regular file`);
  const { O_RDONLY, O_NONBLOCK, O_NOFOLLOW } = fs.constants;
  const fd = fs.openSync(file, O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
  try {
    // Again on what was opened: it may have been exchanged since.
    const opened = fs.fstatSync(fd);
    if (!opened.isFile()) throw new SourceError('not_a_file', `${file} is not a regular file`);
    if (opened.size > MAX_FILE_BYTES) throw new SourceError('too_large', `${file} has ${opened.size} bytes`);
    // One byte more than allowed shows that there is more, whatever the size says.
    const buffer = Buffer.alloc(Math.min(opened.size, MAX_FILE_BYTES) + 1);
    let length = 0;
    for (let count = -1; count !== 0 && length < buffer.length; length += count)
      count = fs.readSync(fd, buffer, length, buffer.length - length, null);
    if (length === buffer.length) throw new SourceError('file_changing', `${file} grows while it is read`);
    return buffer.subarray(0, length);
  } finally {
    fs.closeSync(fd);
  }
}
