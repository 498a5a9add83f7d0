/** The spool's directory: the agent's own alone, and what is in it is on the disk. All of it away from the main loop. */
import fs from 'node:fs';
import path from 'node:path';

/** False where there is none yet. Whoever could put a link or a directory of his own there would choose what the site is told. */
export async function isFit(dir: string): Promise<boolean> {
  const found = await fs.promises.lstat(dir).catch((error: unknown) => {
    if (codeOf(error) === 'enoent') return null;
    throw error;
  });
  if (found === null) return false;
  if (found.isSymbolicLink()) throw new Refused('dir_symlink');
  if (!found.isDirectory()) throw new Refused('dir_not_directory');
  if (found.uid !== process.geteuid?.()) throw new Refused('dir_not_owned');
  if ((found.mode & 0o077) !== 0) await fs.promises.chmod(dir, 0o700);
  return true;
}

/** Makes it where it is missing. */
export async function prepareDir(dir: string): Promise<void> {
  if (await isFit(dir)) return;
  await makeDir(dir);
  await isFit(dir);
}

/** Like make-dir.ts, which waits for the disk. */
async function makeDir(dir: string): Promise<void> {
  const made = await fs.promises.mkdir(dir, { mode: 0o700 }).then(() => '', codeOf);
  if (made === '' || made === 'eexist') return;
  if (made !== 'enoent' || dir === path.dirname(dir)) throw new Refused(made);
  await makeDir(path.dirname(dir));
  await fs.promises.mkdir(dir, { mode: 0o700 });
}

export async function writeSynced(file: string, bytes: Buffer): Promise<void> {
  const handle = await fs.promises.open(file, 'wx', 0o600);
  try {
    await handle.writeFile(bytes);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** So that the names in it outlive the machine's crash. */
export async function syncDir(dir: string): Promise<void> {
  const handle = await fs.promises.open(dir, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

class Refused extends Error {
  readonly code: string;
  constructor(code: string) {
    super(`not fit for reports: ${code}`);
    this.name = 'Refused';
    this.code = code;
  }
}

/** The errno in lower case, `dir_symlink`, `dir_not_directory`, `dir_not_owned`, or `internal`. */
export const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code.toLowerCase() : 'internal';
