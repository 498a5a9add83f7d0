/** The journal's dealings with its directory and files; nothing here knows what stands in them. */
import fs from 'node:fs';
import { makeDir } from './make-dir.ts';

/** No log of ours grows so far (twice the live size, and live is some KB a payload); more is somebody else's file. */
const READ_LIMIT_BYTES = 64 * 1024 * 1024;

const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = fs.constants;

class DirectoryRefused extends Error {
  readonly code: string;
  constructor(code: string, dir: string) {
    super(`${dir} is not fit for the journal: ${code}`);
    this.name = 'DirectoryRefused';
    this.code = code;
  }
}

/**
 * Makes the directory if it is missing; throws with a code where it is not ours alone. Whoever could put a link or a
 * directory of his own there would say which signals have gone out.
 */
export function prepareDirectory(dir: string): void {
  let found = fs.lstatSync(dir, { throwIfNoEntry: false });
  if (found === undefined) {
    makeDir(dir, 0o700);
    found = fs.lstatSync(dir);
  }
  if (found.isSymbolicLink()) throw new DirectoryRefused('dir_symlink', dir);
  if (!found.isDirectory()) throw new DirectoryRefused('dir_not_directory', dir);
  if (found.uid !== process.geteuid?.()) throw new DirectoryRefused('dir_not_owned', dir);
  if ((found.mode & 0o077) !== 0) fs.chmodSync(dir, 0o700);
}

/** The whole file, `null` where there is none or (with `damage`) none that can be used; never throws. */
export function readLog(file: string): { readonly bytes: Buffer | null; readonly damage: string | null } {
  let from: number | null = null;
  try {
    from = fs.openSync(file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    const found = fs.fstatSync(from);
    if (!found.isFile() || found.uid !== process.geteuid?.()) return { bytes: null, damage: 'not_a_file' };
    if (found.size > READ_LIMIT_BYTES) return { bytes: null, damage: 'too_large' };
    return { bytes: fs.readFileSync(from), damage: null };
  } catch (error) {
    const code = codeOf(error);
    if (code === 'enoent') return { bytes: null, damage: null };
    return { bytes: null, damage: code === 'eloop' ? 'not_a_file' : 'unreadable' };
  } finally {
    closeQuietly(from);
  }
}

/** By a second name where possible: were it moved, a crash before the new log would leave none. */
export function setAside(file: string): void {
  const aside = `${file}.damaged`;
  fs.rmSync(aside, { recursive: true, force: true });
  try {
    fs.linkSync(file, aside);
  } catch {
    fs.renameSync(file, aside);
  }
}

/** Whether the file was removed under us: what is appended then is seen by nobody. */
export function isUnlinked(fd: number): boolean {
  return fs.fstatSync(fd).nlink === 0;
}

/** Bytes written: all, over short writes; throws otherwise. */
export function writeAll(fd: number, text: string): number {
  const bytes = Buffer.from(text);
  let written = 0;
  while (written < bytes.length) written += fs.writeSync(fd, bytes, written, bytes.length - written);
  return written;
}

export function closeQuietly(fd: number | null): void {
  if (fd === null) return;
  try {
    fs.closeSync(fd);
  } catch {
    // Nothing can be done about it and nothing depends on it.
  }
}

export function removeQuietly(file: string): void {
  try {
    fs.unlinkSync(file);
  } catch {
    // It is overwritten by the next try.
  }
}

/** The errno in lower case, or the code of a refused directory. */
export function codeOf(error: unknown): string {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code.toLowerCase();
  return 'internal';
}
