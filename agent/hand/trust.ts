/**
 * Whether a file that is to be run or believed as root can have been put there by root alone: the file, every directory on
 * the way to it and every link on that way. What only trusted users can change cannot be exchanged between this look and the
 * use of the file either.
 */
import fs from 'node:fs';
import path from 'node:path';

/** Linux itself follows no more (path_resolution(7)). */
const MAX_LINKS = 40;
const STICKY = 0o1000;
const WRITABLE_BY_OTHERS = 0o022;

export type Trust =
  | { readonly ok: true; readonly path: string; readonly stat: fs.Stats }
  /** `not_found`, or `refused` with the reason. */
  | { readonly ok: false; readonly code: 'not_found' | 'refused'; readonly detail: string };

/**
 * Follows an absolute path as the kernel does. Everything on the way must belong to one of `owners` and be writable by nobody
 * else. Above, a sticky directory of theirs will do (`/tmp`): there nobody can exchange what belongs to them. The directory
 * that holds the file must be closed, for whoever writes there chooses what is found. `path` is the resolved one. Never throws.
 */
export function trusted(file: string, owners: ReadonlySet<number>): Trust {
  if (!path.isAbsolute(file)) return refused(`${file} is not an absolute path`);
  let at = '/';
  const ahead = file.split('/').filter((part) => part !== '' && part !== '.');
  try {
    let stat = fs.lstatSync(at);
    for (let links = 0; ; ) {
      const why = judge(at, stat, owners, ahead.length > 1);
      if (why !== null) return refused(why);
      if (ahead.length === 0) return { ok: true, path: at, stat };
      const part = ahead.shift() ?? '';
      if (part === '..') at = path.dirname(at);
      else {
        const next = path.join(at, part);
        const found = fs.lstatSync(next);
        if (found.isSymbolicLink()) {
          if (!owners.has(found.uid)) return refused(`the link ${next} belongs to user ${found.uid}`);
          links += 1;
          if (links > MAX_LINKS) return refused(`${file} leads through too many links`);
          const target = fs.readlinkSync(next);
          if (target.startsWith('/')) at = '/';
          ahead.unshift(...target.split('/').filter((each) => each !== '' && each !== '.'));
        } else at = next;
      }
      stat = fs.lstatSync(at);
    }
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
    if (code === 'ENOENT' || code === 'ENOTDIR') return { ok: false, code: 'not_found', detail: `there is no ${file}` };
    return refused(`${file} cannot be examined (${code})`);
  }
}

/** What is wrong with it; null when nothing is. `wayOnly`: a directory that does not hold the file itself. */
function judge(at: string, stat: fs.Stats, owners: ReadonlySet<number>, wayOnly: boolean): string | null {
  if (!owners.has(stat.uid)) return `${at} belongs to user ${stat.uid}`;
  if ((stat.mode & WRITABLE_BY_OTHERS) === 0) return null;
  if (wayOnly && stat.isDirectory() && (stat.mode & STICKY) !== 0) return null;
  return `${at} is writable by ${(stat.mode & 0o002) === 0 ? 'its group' : 'everybody'}`;
}

const refused = (detail: string): Trust => ({ ok: false, code: 'refused', detail });
