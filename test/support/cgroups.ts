/** Real control groups for tests, under a name of their own and surely removed. */
import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';

/** Killed processes leave their group within some ms; a loaded machine needs longer. */
const EMPTY_TIMEOUT_MS = 60_000;

/** Where v2 is mounted whole, by the plainest possible reading; null = nowhere. */
function cgroupRoot(): string | null {
  try {
    const lines = fs.readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
    const fields = lines.filter((line) => line.includes(' - cgroup2 ')).map((line) => line.split(' '));
    return fields.find((field) => field[3] === '/')?.[4] ?? null;
  } catch {
    return null;
  }
}

/** For node:test's `skip`: why no control groups can be made here, or false. */
export const noCgroups: string | false = (() => {
  const root = cgroupRoot();
  if (root === null) return 'cgroup v2 is not mounted here';
  const probe = path.join(root, `mjf-test-${randomUUID()}`);
  try {
    fs.mkdirSync(probe);
    fs.rmdirSync(probe);
    return false;
  } catch {
    return 'no control groups can be made here';
  }
})();

export interface TestCgroup {
  /** Below the root of v2. */
  readonly path: string;
  readonly directory: string;
  readonly inode: number;
  /** Another group below it. */
  below(name: string): TestCgroup;
  /** Moves a process in. */
  take(pid: number): void;
  write(file: string, text: string): void;
  read(file: string): string;
  /** Every process of it and below it. */
  pids(): readonly number[];
}

/** Makes a group; at the end of the test everything in it is killed and it is removed with all below it. */
export function makeCgroup(t: { after(fn: () => void | Promise<void>): void }): TestCgroup {
  const name = `/mjf-test-${randomUUID()}`;
  const directory = path.join(cgroupRoot() ?? '', name);
  fs.mkdirSync(directory);
  t.after(() => removeTree(directory));
  return open(name, directory);
}

/** Lets it go on, kills whatever is in it and removes it. */
export async function removeTree(directory: string): Promise<void> {
  const giveUpAt = Date.now() + EMPTY_TIMEOUT_MS;
  while (fs.existsSync(directory)) {
    for (const each of treeOf(directory).reverse()) {
      quietly(() => fs.writeFileSync(path.join(each, 'cgroup.freeze'), '0'));
      for (const pid of pidsIn(each)) quietly(() => process.kill(pid, 'SIGKILL'));
      quietly(() => fs.rmdirSync(each));
    }
    if (Date.now() > giveUpAt) throw new Error(`${directory} cannot be removed`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function open(name: string, directory: string): TestCgroup {
  return {
    path: name,
    directory,
    inode: fs.statSync(directory).ino,
    below(child) {
      fs.mkdirSync(path.join(directory, child));
      return open(`${name}/${child}`, path.join(directory, child));
    },
    take: (pid) => fs.writeFileSync(path.join(directory, 'cgroup.procs'), String(pid)),
    write: (file, text) => fs.writeFileSync(path.join(directory, file), text),
    read: (file) => fs.readFileSync(path.join(directory, file), 'utf8'),
    pids: () => treeOf(directory).flatMap(pidsIn),
  };
}

function treeOf(directory: string): string[] {
  const below = fs.existsSync(directory) ? fs.readdirSync(directory, { withFileTypes: true }) : [];
  return [
    directory,
    ...below.filter((entry) => entry.isDirectory()).flatMap((entry) => treeOf(path.join(directory, entry.name))),
  ];
}

function pidsIn(directory: string): readonly number[] {
  try {
    const text = fs.readFileSync(path.join(directory, 'cgroup.procs'), 'utf8');
    return text.split('\n').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

function quietly(act: () => void): void {
  try {
    act();
  } catch {
    // Gone already, or the next round will tell.
  }
}
