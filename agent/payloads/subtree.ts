/**
 * One control group with all below it, held by an open directory: whatever is made later under the same path is another.
 * Everything is read and written through that descriptor.
 */
import fs from 'node:fs';

/**
 * A user to whom a subtree was given can fill it with groups. Ours is read within some 0.1 s, and what lies beyond the bound
 * is reached by `cgroup.kill` alone.
 */
const MAX_GROUPS = 4096;

/** A list of some hundred thousand pids; beyond it something is wrong, and nobody may wait for it. */
const MAX_LIST_BYTES = 2 * 1024 * 1024;

/** A kernel's file is read in pages; most lists fit into one. */
const CHUNK_BYTES = 4096;

/** `refused`: not ours to write. `absent`: this kernel has no such file, or the group has gone. */
export type WriteOutcome = 'done' | 'refused' | 'absent';

export interface Subtree {
  readonly inode: number;
  /** cgroup.type; `domain` on the kernels before it. */
  type(): string;
  /** cgroup.events: whether a process is in it or below it. Throws what `read` throws. */
  populated(): boolean;
  /** Names of this group and all below it, relative to it (`''`, `/a`, `/a/b`), and whether those were all. */
  groups(): { readonly names: readonly string[]; readonly complete: boolean };
  /** Text of a file of one of its groups; null when the group has gone. Throws what `read` throws. */
  read(name: string, file: string): string | null;
  write(name: string, file: string, text: string): WriteOutcome;
  close(): void;
}

/** Opens the directory of a control group; null when there is none. Throws what `open` throws otherwise. Close it. */
export function openSubtree(directory: string): Subtree | null {
  const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = fs.constants;
  let fd: number;
  try {
    fd = fs.openSync(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  } catch (error) {
    if (isAbsence(error)) return null;
    throw error;
  }
  // The descriptor is this process's own, so /proc here is the real one whatever the tests put in its place.
  const at = `/proc/self/fd/${fd}`;
  return {
    inode: fs.fstatSync(fd).ino,
    type: () => read('', 'cgroup.type')?.trim() ?? 'domain',
    populated: () => /^populated 1$/m.test(read('', 'cgroup.events') ?? ''),
    groups,
    read,
    write,
    close: () => fs.closeSync(fd),
  };

  function groups(): { readonly names: readonly string[]; readonly complete: boolean } {
    const names = [''];
    for (let next = 0; next < names.length; next += 1) {
      const name = names[next] ?? '';
      for (const below of directoriesIn(`${at}${name}`)) {
        if (names.length >= MAX_GROUPS) return { names, complete: false };
        names.push(`${name}/${below}`);
      }
    }
    return { names, complete: true };
  }

  function read(name: string, file: string): string | null {
    try {
      return readBounded(`${at}${name}/${file}`);
    } catch (error) {
      if (isAbsence(error)) return null;
      throw error;
    }
  }

  function write(name: string, file: string, text: string): WriteOutcome {
    let own: number | null = null;
    try {
      // No O_CREAT: an older kernel's missing file must not become a complaint about permissions.
      own = fs.openSync(`${at}${name}/${file}`, fs.constants.O_WRONLY);
      fs.writeSync(own, text);
      return 'done';
    } catch (error) {
      return isAbsence(error) ? 'absent' : 'refused';
    } finally {
      if (own !== null) fs.closeSync(own);
    }
  }
}

/**
 * Pids of all its processes. A threaded group has no list of its own: its processes stand in that of the domain it belongs
 * to. `complete: false`: there is more than could be read. Throws what `read` throws.
 */
export function pidsBelow(subtree: Subtree): { readonly pids: readonly number[]; readonly complete: boolean } {
  const pids = new Set<number>();
  const { names, complete } = subtree.groups();
  for (const name of names) {
    for (const line of listOf(subtree, name).split('\n')) {
      // 0 stands for a process outside of our pid name space, which has no number here.
      if (/^[1-9]\d*$/.test(line)) pids.add(Number(line));
    }
  }
  return { pids: [...pids], complete };
}

function listOf(subtree: Subtree, name: string): string {
  try {
    return subtree.read(name, 'cgroup.procs') ?? '';
  } catch (error) {
    // EOPNOTSUPP, under libuv's name. The group itself may become threaded after it was registered; then it has processes and no list of them.
    if (name !== '' && errorCode(error) === 'ENOTSUP') return '';
    throw error;
  }
}

/**
 * Lets a frozen group go on: what is frozen hears nothing but SIGKILL. Null where nothing in it is frozen; `refused` where
 * it is not ours to thaw, or the freeze comes from above it.
 */
export function thaw(subtree: Subtree): WriteOutcome | null {
  const says = (name: string, file: string, pattern: RegExp): boolean => pattern.test(subtree.read(name, file) ?? '');
  const frozen = subtree.groups().names.filter((name) => says(name, 'cgroup.freeze', /^1$/m));
  if (frozen.length === 0) return says('', 'cgroup.events', /^frozen 1$/m) ? 'refused' : null;
  const outcomes = frozen.map((name) => subtree.write(name, 'cgroup.freeze', '0'));
  return outcomes.includes('refused') ? 'refused' : 'done';
}

function directoriesIn(directory: string): readonly string[] {
  try {
    return fs
      .readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
  } catch (error) {
    if (isAbsence(error)) return [];
    throw error;
  }
}

function readBounded(file: string): string {
  const fd = fs.openSync(file, fs.constants.O_RDONLY);
  try {
    const chunks: Buffer[] = [];
    let total = 0;
    for (;;) {
      const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
      const length = fs.readSync(fd, chunk, 0, CHUNK_BYTES, null);
      if (length === 0) return Buffer.concat(chunks).toString('latin1');
      chunks.push(chunk.subarray(0, length));
      total += length;
      if (total > MAX_LIST_BYTES) throw Object.assign(new Error('too long'), { code: 'E2BIG' });
    }
  } finally {
    fs.closeSync(fd);
  }
}

/** ENODEV: the group was removed while its file was open. */
function isAbsence(error: unknown): boolean {
  return /^(?:ENOENT|ENODEV|ENOTDIR)$/.test(errorCode(error));
}

function errorCode(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}
