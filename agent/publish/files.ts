/**
 * The file face: `machinefeatures/KEY`, `jobfeatures/KEY`, `jobstatus/KEY`, `views/TOKEN/…` and `lifetime.json` below the
 * runtime directory (DESIGN.md, "Interfaces"). Every file is replaced by rename, never rewritten, so that no reader sees half a value; only
 * what changed is written. Temporary files live in a directory of their own: some readers read every file they find.
 */
import fs from 'node:fs';
import path from 'node:path';
import type { Instant } from '../lifetime/types.ts';
import { makeDir } from '../make-dir.ts';
import type { Publication } from '../ports.ts';

/** SYSTEMS.md, "Order of effects": writing may hold back a signal no longer than this; the rest follows in the next round. */
const WRITE_BOUND_MS = 50;

export interface FilePublisher {
  /** Makes the directory show the publication; true when everything is written, false when something is left for `flush`. */
  publish(publication: Publication): boolean;
  /** Tries again what is left over. */
  flush(): boolean;
  /**
   * The output is not where or what it was: a mount has come over a part of it or gone, or somebody has removed or changed
   * something. What stands there is read anew; the publication must be published again.
   */
  disturbed(): boolean;
  /** Sets the modification time of `lifetime.json`: a reader can tell a dead agent from a quiet one. */
  touch(): void;
  /** The last error's code, while there is one. */
  broken(): string | null;
}

export interface FilePublisherOptions {
  readonly dir: string;
  /**
   * Which of `machinefeatures` and `jobfeatures` somebody has mounted over. They are not touched, since the mount may hang;
   * we publish beside it, under `own/` (SYSTEMS.md, "systemd"). Default: none.
   */
  readonly covered?: () => ReadonlySet<string>;
  onError(code: string, detail: string): void;
  onRecovery(): void;
  now(): Instant;
}

const NONE: ReadonlySet<string> = new Set();
/** Where features are published that have lost their own place. */
export const BESIDE = 'own';
const FOLDERS = ['machinefeatures', 'jobfeatures'] as const;
/** What the machine says to its site (S5.1). No host mounts anything there, so it has this one place. */
const STATUS = 'jobstatus';

/** Why the runtime directory cannot be used; the message is for people. */
export class RuntimeDirError extends Error {}

/**
 * Prepares the directory: created where missing (0755), refused where it is a link, somebody else's, or writable by
 * others, since a payload could then feed lies to its neighbours. Leftovers of a former run stay until they are replaced:
 * a reader must not see a deadline vanish because the agent starts. Files get their modes from the umask 022 that `run` sets.
 */
export function openFilePublisher(options: FilePublisherOptions): FilePublisher {
  const { dir } = options;
  let covered = options.covered?.() ?? NONE;
  prepare(dir, covered);
  const shown = readBack(dir, covered);
  let seen = '';
  const left = new Map<string, Buffer | null>();
  let error: string | null = null;

  function flush(): boolean {
    const begun = options.now().mono;
    let failed: string | null = null;
    for (const [file, content] of left) {
      if (options.now().mono - begun > WRITE_BOUND_MS) return false;
      try {
        if (content === null) remove(dir, file);
        else replace(dir, file, content);
        left.delete(file);
        if (content === null) shown.delete(file);
        else shown.set(file, content);
      } catch (cause) {
        // The others are written all the same: one that cannot be must not hide the deadline in the rest.
        const code = (cause as NodeJS.ErrnoException).code ?? 'unknown';
        if (error === null && failed === null)
          options.onError(code, `cannot write ${publicName(file)} in ${dir}: ${code}`);
        failed ??= code;
      }
    }
    if (error !== null && failed === null) options.onRecovery();
    error = failed;
    seen = signature(dir, covered);
    return failed === null;
  }

  function publish(publication: Publication): boolean {
    covered = options.covered?.() ?? NONE;
    // What lies below a mount is out of reach, and must not be touched.
    for (const file of shown.keys()) if (covered.has(file.slice(0, file.indexOf('/')))) shown.delete(file);
    const wanted = filesOf(publication, covered);
    // Whatever was left over from before is overtaken by this publication.
    left.clear();
    for (const file of shown.keys()) if (!wanted.has(file)) left.set(file, null);
    for (const [file, content] of wanted) if (!shown.get(file)?.equals(content)) left.set(file, content);
    return flush();
  }

  return {
    publish,
    flush,
    disturbed() {
      const now = options.covered?.() ?? NONE;
      const moved = now.size !== covered.size || [...now].some((name) => !covered.has(name));
      if (moved || left.size > 0 || signature(dir, covered) === seen) return moved;
      try {
        prepare(dir, covered);
      } catch {
        // Writing will fail as well, and say so.
      }
      shown.clear();
      for (const [file, content] of readBack(dir, covered)) shown.set(file, content);
      return true;
    },
    broken: () => error,
    touch() {
      try {
        const now = options.now().wall / 1000;
        fs.utimesSync(path.join(dir, LIFETIME), now, now);
      } catch {
        // Deleted under us: the next look sees that too, and mends it.
      }
    },
  };
}

/** Undefined for whatever is not there or cannot be looked at: a file in place of the directory is no fault of ours. */
function look(file: string): fs.BigIntStats | undefined {
  try {
    return fs.statSync(file, { bigint: true });
  } catch {
    return undefined;
  }
}

/** Changes when anybody but us makes, removes or replaces a file there; own changes are taken into account after each write. */
function signature(dir: string, covered: ReadonlySet<string>): string {
  const places = ['', LIFETIME, STATUS, ...FOLDERS.filter((name) => !covered.has(name))];
  return places
    .map((place) => {
      const status = look(path.join(dir, place));
      // Sockets and `url` come and go in the directory itself, and the time of lifetime.json is ours to touch.
      return status === undefined ? '-' : `${status.ino}:${place === '' || place === LIFETIME ? '' : status.mtimeNs}`;
    })
    .join(' ');
}

const LIFETIME = 'lifetime.json';
const TEMPORARY = '.tmp';

/**
 * In this order they are written: the keys before `lifetime.json`, so that who sees a new one finds the keys it tells of,
 * and no others; the payloads' own views last, since there may be a thousand of them.
 */
function filesOf(publication: Publication, covered: ReadonlySet<string>): Map<string, Buffer> {
  const files = new Map<string, Buffer>();
  const put = (folder: string, values: Readonly<Record<string, string>>): void => {
    for (const [key, value] of Object.entries(values)) files.set(`${folder}/${key}`, Buffer.from(`${value}\n`));
  };
  put(placeOf('machinefeatures', covered), publication.machine);
  put(placeOf('jobfeatures', covered), publication.job);
  put(STATUS, publication.jobstatus);
  files.set(LIFETIME, publication.lifetimeJson);
  for (const [token, view] of Object.entries(publication.views)) {
    put(`views/${token}/machinefeatures`, publication.machine);
    put(`views/${token}/jobfeatures`, view.job);
  }
  return files;
}

/** A view's name is a secret: it does not go into the log. */
const publicName = (file: string): string => file.replace(/^views\/[^/]+/, 'views/…');

const placeOf = (name: string, covered: ReadonlySet<string>): string =>
  covered.has(name) ? `${BESIDE}/${name}` : name;

function prepare(dir: string, covered: ReadonlySet<string>): void {
  try {
    makeDir(dir, 0o755);
    const status = fs.lstatSync(dir);
    const me = process.geteuid?.() ?? status.uid;
    if (!status.isDirectory())
      throw new RuntimeDirError(`${dir} is not a directory of its own (a link or a file stands there)`);
    if (status.uid !== me)
      throw new RuntimeDirError(`${dir} belongs to uid ${status.uid}, not to this agent (uid ${me})`);
    if ((status.mode & 0o002) !== 0) {
      throw new RuntimeDirError(`${dir} is writable by everybody: the agent needs a directory of its own`);
    }
    for (const [name, mode] of [
      ['machinefeatures', 0o755],
      ['jobfeatures', 0o755],
      [STATUS, 0o755],
      ['views', 0o711],
      [TEMPORARY, 0o700],
    ] as const) {
      if (covered.has(name)) continue;
      makeDir(path.join(dir, name), mode);
      // mkdir is subject to the umask of whoever started us; readers of another user must get in.
      fs.chmodSync(path.join(dir, name), mode);
    }
    for (const leftover of fs.readdirSync(path.join(dir, TEMPORARY)))
      fs.rmSync(path.join(dir, TEMPORARY, leftover), { recursive: true, force: true });
    // Killed between the last file of a view and its directories, a former run left these; no file tells of them any more.
    for (const place of [BESIDE, ...list(path.join(dir, 'views')).map((token) => `views/${token}`)]) {
      for (const name of FOLDERS) removeEmpty(path.join(dir, place, name));
      removeEmpty(path.join(dir, place));
    }
  } catch (cause) {
    if (cause instanceof RuntimeDirError) throw cause;
    throw new RuntimeDirError(`cannot use ${dir} as runtime directory: ${(cause as Error).message}`, { cause });
  }
}

/** What a former run left, so that only differences are written and what is no longer true goes away. */
function readBack(dir: string, covered: ReadonlySet<string>): Map<string, Buffer> {
  const shown = new Map<string, Buffer>();
  const folders = FOLDERS.flatMap((name) => (covered.has(name) ? [`${BESIDE}/${name}`] : [name, `${BESIDE}/${name}`]));
  folders.push(STATUS);
  for (const token of list(path.join(dir, 'views')))
    folders.push(`views/${token}/machinefeatures`, `views/${token}/jobfeatures`);
  for (const folder of folders) {
    for (const key of list(path.join(dir, folder))) shown.set(`${folder}/${key}`, read(path.join(dir, folder, key)));
  }
  return shown;
}

function list(dir: string): string[] {
  try {
    return fs.readdirSync(dir);
  } catch {
    return [];
  }
}

/** Empty where unreadable: it will not equal what is wanted and so be replaced. */
function read(file: string): Buffer {
  try {
    return fs.lstatSync(file).isFile() ? fs.readFileSync(file) : Buffer.alloc(0);
  } catch {
    return Buffer.alloc(0);
  }
}

function replace(dir: string, file: string, content: Buffer): void {
  const target = path.join(dir, file);
  const temporary = path.join(dir, TEMPORARY, file.replaceAll('/', '.'));
  const write = (): void => {
    fs.writeFileSync(temporary, content, { mode: 0o644 });
    fs.renameSync(temporary, target);
  };
  try {
    write();
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') {
      // A view that is written for the first time, or a directory that somebody removed.
      makeDir(path.dirname(target), 0o755);
      makeDir(path.dirname(temporary), 0o700);
    } else if (code === 'EISDIR' || code === 'ENOTEMPTY' || code === 'EEXIST') {
      fs.rmSync(target, { recursive: true, force: true });
    } else {
      throw cause;
    }
    write();
  }
}

function remove(dir: string, file: string): void {
  const target = path.join(dir, file);
  fs.rmSync(target, { recursive: true, force: true });
  // The last file of a view takes the view with it, and the last one beside a mount that is gone.
  if (file.startsWith('views/') || file.startsWith(`${BESIDE}/`))
    removeEmpty(path.dirname(target), path.dirname(path.dirname(target)));
}

/** Those that are empty, in this order, up to the first that is not. */
function removeEmpty(...folders: readonly string[]): void {
  for (const folder of folders) {
    try {
      fs.rmdirSync(folder);
    } catch {
      return;
    }
  }
}
