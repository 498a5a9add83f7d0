/**
 * Reads a pidfile that its user, or somebody in a common directory, may have put a trap in place of. Whoever could write the
 * file or choose what is found under its name chooses who is stopped: all on the way must be root's or the user's own.
 */
import fs from 'node:fs';
import path from 'node:path';

/** Some write more than the pid, in further lines; a page is far above all of them. */
const MAX_BYTES = 4096;
/** Linux itself follows no more (path_resolution(7)). */
const MAX_LINKS = 40;
/** fcntl.h of Linux; Node has no name for it. Opens nothing: no device is woken, no FIFO waited for. */
const O_PATH = 0o10000000;
const STICKY = 0o1000;
const BY_GROUP = 0o020;
const BY_OTHERS = 0o002;

export interface PidfileOwner {
  readonly uid: number;
  /** The user's own group, which may write too; null = not known. */
  readonly gid: number | null;
}

export type PidfileReading =
  | { readonly is: 'pid'; readonly pid: number }
  | { readonly is: 'absent' }
  /** `detail` never repeats what the file holds: it may be a link to what nobody may read. */
  | {
      readonly is: 'refused';
      readonly code: 'refused' | 'shared' | 'too_large' | 'no_pid' | 'unreadable';
      readonly detail: string;
    };

class Refusal extends Error {
  readonly code: 'refused' | 'shared' | 'too_large' | 'no_pid';
  constructor(code: Refusal['code'], detail: string) {
    super(detail);
    this.code = code;
  }
}

/** `shared`: mount points that are not touched, since that may never return. Never throws. */
export function readPidfile(file: string, owner: PidfileOwner, shared: ReadonlySet<string>): PidfileReading {
  try {
    const text = readSmall(resolve(file, owner, shared), owner);
    const pid = Number(/^\s*([1-9]\d{0,9})\s*(\n|$)/.exec(text)?.[1]);
    if (!Number.isSafeInteger(pid)) throw new Refusal('no_pid', `the first line of ${file} is no process id`);
    return { is: 'pid', pid };
  } catch (error) {
    if (error instanceof Refusal) return { is: 'refused', code: error.code, detail: error.message };
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
    if (code === 'ENOENT' || code === 'ENOTDIR') return { is: 'absent' };
    return { is: 'refused', code: 'unreadable', detail: `${file} cannot be read (${code})` };
  }
}

/**
 * The path without links, each part of the way judged. Afterwards only root and the user can exchange what stands there. The
 * last part may be anything but a link of somebody else's.
 */
function resolve(file: string, owner: PidfileOwner, shared: ReadonlySet<string>): string {
  const ahead = partsOf(file);
  let at = '/';
  for (let links = 0; ahead.length > 0; ) {
    const part = ahead.shift() ?? '';
    if (part === '..') {
      at = path.dirname(at);
      continue;
    }
    const next = path.join(at, part);
    if (shared.has(next)) throw new Refusal('shared', `${file} lies on a shared file system (${next}), which may hang`);
    const stat = fs.lstatSync(next);
    if (stat.isSymbolicLink()) {
      judgeOwner(next, stat, owner);
      links += 1;
      if (links > MAX_LINKS) throw new Refusal('refused', `${file} leads through too many links`);
      const target = fs.readlinkSync(next);
      if (target.startsWith('/')) at = '/';
      ahead.unshift(...partsOf(target));
    } else {
      if (ahead.length > 0) judge(next, stat, owner);
      at = next;
    }
  }
  return at;
}

/** What is checked is what is read: the descriptor that was looked at is opened again, not the name. */
function readSmall(file: string, owner: PidfileOwner): string {
  const place = fs.openSync(file, O_PATH | fs.constants.O_NOFOLLOW);
  try {
    const stat = fs.fstatSync(place);
    if (!stat.isFile()) throw new Refusal('refused', `${file} is not a regular file`);
    judge(file, stat, owner);
    // Of another file, and of another program perhaps.
    if (stat.nlink > 1) throw new Refusal('refused', `${file} is a file with several names`);
    if (stat.size > MAX_BYTES) throw new Refusal('too_large', `${file} is larger than ${MAX_BYTES} bytes`);
    const fd = fs.openSync(`/proc/self/fd/${place}`, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
    try {
      const buffer = Buffer.alloc(MAX_BYTES);
      return buffer.toString('latin1', 0, fs.readSync(fd, buffer, 0, MAX_BYTES, 0));
    } finally {
      fs.closeSync(fd);
    }
  } finally {
    fs.closeSync(place);
  }
}

function judge(at: string, stat: fs.Stats, owner: PidfileOwner): void {
  judgeOwner(at, stat, owner);
  // In a sticky directory nobody can exchange what is another's, and what is in it is judged by itself.
  if (stat.isDirectory() && (stat.mode & STICKY) !== 0) return;
  if ((stat.mode & BY_OTHERS) !== 0) throw new Refusal('refused', `${at} is writable by everybody`);
  const isOwnGroup = stat.gid === 0 || stat.gid === owner.gid;
  if ((stat.mode & BY_GROUP) !== 0 && !isOwnGroup) {
    throw new Refusal('refused', `${at} is writable by group ${stat.gid}, which is not the user's own`);
  }
}

function judgeOwner(at: string, stat: fs.Stats, owner: PidfileOwner): void {
  if (stat.uid === 0 || stat.uid === owner.uid) return;
  throw new Refusal('refused', `${at} belongs to user ${stat.uid}, neither to root nor to the payload's user`);
}

const partsOf = (text: string): string[] => text.split('/').filter((part) => part !== '' && part !== '.');
