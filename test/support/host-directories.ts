/** The two directories that a host shares with its guest. */
import fs from 'node:fs';
import path from 'node:path';

export type Side = 'machine' | 'job';
export const FOLDERS = { machine: 'machinefeatures', job: 'jobfeatures' } as const;

/** What stands in them at first. */
export interface HostValues {
  readonly machine?: Readonly<Record<string, string | number>>;
  readonly job?: Readonly<Record<string, string | number>>;
}

/** The host's directories, written as a careful host does: beside, then renamed. */
export interface HostDirectories {
  readonly machine: string;
  readonly job: string;
  /** The value and a line feed. */
  set(side: Side, key: string, value: string | number): void;
  /** Exactly these bytes, also in place of something that is no file. */
  write(side: Side, key: string, content: string | Buffer): void;
  remove(side: Side, key: string): void;
}

/** Makes both below `root` with these values in them. */
export function hostDirectories(root: string, { machine = {}, job = {} }: HostValues): HostDirectories {
  const dirs = { machine: path.join(root, FOLDERS.machine), job: path.join(root, FOLDERS.job) };
  const host: HostDirectories = {
    ...dirs,
    set: (side, key, value) => host.write(side, key, `${value}\n`),
    write(side, key, content) {
      const born = path.join(root, `${side}.${key}`);
      const file = path.join(dirs[side], key);
      fs.writeFileSync(born, content);
      // A directory is the one thing that a rename does not replace.
      if (fs.lstatSync(file, { throwIfNoEntry: false })?.isDirectory()) fs.rmdirSync(file);
      fs.renameSync(born, file);
    },
    remove: (side, key) => fs.rmSync(path.join(dirs[side], key), { recursive: true, force: true }),
  };
  for (const [side, values] of [
    ['machine', machine],
    ['job', job],
  ] as const) {
    fs.mkdirSync(dirs[side], { recursive: true });
    for (const [key, value] of Object.entries(values)) host.set(side, key, value);
  }
  return host;
}
