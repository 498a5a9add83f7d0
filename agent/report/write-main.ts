/**
 * The child side of a report into a directory, `DIRECTORY NAME LENGTH PARENT [no-links]`: standard input becomes
 * DIRECTORY/NAME, by rename, and is on the host's disk before this ends (the machine may go down next); with `remove` for the
 * length DIRECTORY/NAME goes away. Exit code 0, or 1 and an errno in lower case on standard error. With `no-links` DIRECTORY
 * is that very place, or nothing is done.
 */
import fs from 'node:fs';
import path from 'node:path';

/** No child lives so long (deliver.ts); by the clock of the directory's own file system. */
const LEFTOVER_AGE_MS = 60_000;
/** A directory of the site's may hold any number of files; ours are found by the way or another time. */
const MOST_ENTRIES_LOOKED_AT = 1_000;
/** What file systems say that have no fsync: then the rename is all there is. */
const NO_FSYNC: ReadonlySet<string> = new Set(['EINVAL', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP']);

/** Linux, on every architecture that Node has; Node does not name it. A place that we may not read can be opened so, too. */
const O_PATH = 0o10000000;

export async function writeMain(argv: readonly string[]): Promise<number> {
  const [named = '', name = '', size = '', parent = '', links = ''] = argv;
  const isWanted = (): void => {
    if (process.ppid !== Number(parent)) throw new Unwanted();
  };
  try {
    const directory = links === 'no-links' ? heldPlace(named) : named;
    if (size === 'remove') {
      removeReport(directory, name, isWanted);
    } else {
      const body = fs.readFileSync(0);
      // Its end is also what a parent that is killed leaves of a file.
      if (body.length !== Number(size)) throw new Unwanted();
      writeReport(directory, name, body, isWanted);
    }
    return 0;
  } catch (error) {
    process.stderr.write(`${((error as NodeJS.ErrnoException).code ?? 'failed').toLowerCase()}\n`);
    return 1;
  }
}

/**
 * Whoever sent this child has died. Perhaps a share has hung in between, and another agent has long said something newer
 * there, or will: it has what was to be said from its memory.
 */
class Unwanted extends Error {
  readonly code = 'ECANCELED';
}

/**
 * The directory as long as this process lives, whatever becomes of its name. Who can write to a share could otherwise have us
 * write to any place of this machine, by a link that he puts on the way there, and payloads choose names and contents.
 */
export function heldPlace(directory: string): string {
  const place = `/proc/self/fd/${fs.openSync(directory, O_PATH | fs.constants.O_DIRECTORY)}`;
  if (fs.readlinkSync(place) !== path.resolve(directory)) throw Object.assign(new Error('a link'), { code: 'ELOOP' });
  return place;
}

/** Throws the errno; nothing half-written stays behind. `isWanted` throws where it is not to be done after all. */
export function writeReport(directory: string, name: string, body: Buffer, isWanted = (): void => {}): void {
  const temporary = path.join(directory, `.${name}.${process.pid}`);
  let nowMs: number;
  try {
    const fd = fs.openSync(temporary, 'wx', 0o644);
    try {
      fs.writeFileSync(fd, body);
      sync(fd);
      nowMs = fs.fstatSync(fd).mtimeMs;
    } finally {
      fs.closeSync(fd);
    }
    isWanted();
    fs.renameSync(temporary, path.join(directory, name));
  } catch (error) {
    removeQuietly(temporary);
    throw error;
  }
  syncDirectory(directory);
  sweep(directory, name, nowMs);
}

/** What is not there need not go; throws the errno of anything else. */
export function removeReport(directory: string, name: string, isWanted = (): void => {}): void {
  // Without it, a directory that is not there (an unmounted share) would look like one without the file.
  fs.statSync(directory);
  isWanted();
  try {
    fs.unlinkSync(path.join(directory, name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  syncDirectory(directory);
}

/** Children of ours that were killed between beginning and rename. Nothing of this can fail the report. */
function sweep(directory: string, name: string, nowMs: number): void {
  try {
    const opened = fs.opendirSync(directory);
    try {
      for (let seen = 0; seen < MOST_ENTRIES_LOOKED_AT; seen += 1) {
        const entry = opened.readSync();
        if (entry === null) return;
        const pid = entry.name.startsWith(`.${name}.`) ? entry.name.slice(name.length + 2) : '';
        if (!/^\d{1,10}$/.test(pid) || fs.existsSync(`/proc/${pid}`)) continue;
        // The pid may be of another machine that shares the directory: only what nobody can be writing any more.
        const file = path.join(directory, entry.name);
        const found = fs.lstatSync(file);
        if (found.isFile() && nowMs - found.mtimeMs > LEFTOVER_AGE_MS) removeQuietly(file);
      }
    } finally {
      opened.closeSync();
    }
  } catch {
    // Another time.
  }
}

function sync(fd: number): void {
  try {
    fs.fsyncSync(fd);
  } catch (error) {
    if (!NO_FSYNC.has((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}

function syncDirectory(directory: string): void {
  let fd: number | null = null;
  try {
    // Not readable for us, perhaps: a place that only takes files.
    fd = fs.openSync(directory, 'r');
    sync(fd);
  } catch {
    // The file is there under its name; more cannot be had.
  } finally {
    if (fd !== null) fs.closeSync(fd);
  }
}

function removeQuietly(file: string): void {
  try {
    fs.rmSync(file, { force: true });
  } catch {
    // The directory is gone or unreadable: there is nothing to tidy.
  }
}
