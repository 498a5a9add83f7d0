/**
 * `/etc/machinefeatures` and `/etc/jobfeatures` for readers that look nowhere else. They are first of all where a host
 * mounts its directory, and a mount on a link would end on our own output; so they are linked only where nothing is and
 * nothing is planned (DESIGN.md, "Interfaces"; SYSTEMS.md, "systemd").
 */
import fs from 'node:fs';
import path from 'node:path';
import type { Logger } from 'pino';
import { mountPoints } from './mount-points.ts';

const NAMES = ['machinefeatures', 'jobfeatures'] as const;
/** A test or a second agent must not touch the machine's /etc. */
const DEFAULT_RUNTIME_DIR = '/run/mjf-agent';
const UNIT_DIRS = [
  'etc/systemd/system',
  'run/systemd/system',
  'run/systemd/generator',
  'usr/lib/systemd/system',
  'usr/local/lib/systemd/system',
];

/** Sets the links that may be set and gives the function that takes them away again. Never throws. */
export function linkEtc(options: {
  readonly enabled: boolean;
  readonly runtimeDir: string;
  readonly root: string;
  readonly log: Logger;
}): () => void {
  const { root, runtimeDir, log } = options;
  const made: string[] = [];
  const mounts = mountPoints(root);
  if (options.enabled && runtimeDir === DEFAULT_RUNTIME_DIR) {
    for (const name of NAMES) {
      // Asked of the mount table first: even an lstat of a mount point blocks when its server hangs. No table, no touch.
      if (mounts === null || mounts.has(`/etc/${name}`)) continue;
      const link = path.join(root, 'etc', name);
      try {
        if (ours(link, runtimeDir)) made.push(link);
        else if (!exists(link) && !planned(root, `/etc/${name}`)) {
          fs.symlinkSync(path.join(runtimeDir, name), link);
          made.push(link);
        }
      } catch (error) {
        log.debug({ event: 'etc_link', code: (error as NodeJS.ErrnoException).code }, `${link} is not linked`);
      }
    }
  }
  return () => {
    for (const link of made) {
      try {
        if (ours(link, runtimeDir)) fs.unlinkSync(link);
      } catch {
        // Somebody else put something there: it is theirs.
      }
    }
  };
}

function exists(file: string): boolean {
  return fs.lstatSync(file, { throwIfNoEntry: false }) !== undefined;
}

/** A link of ours, also one that an agent left which was killed. */
function ours(link: string, runtimeDir: string): boolean {
  const status = fs.lstatSync(link, { throwIfNoEntry: false });
  return status?.isSymbolicLink() === true && fs.readlinkSync(link) === path.join(runtimeDir, path.basename(link));
}

/** Whether a mount is to come there: named in fstab or by a mount or automount unit. */
function planned(root: string, where: string): boolean {
  const unit = where.slice(1).replaceAll('/', '-');
  const units = UNIT_DIRS.flatMap((dir) =>
    [`${unit}.mount`, `${unit}.automount`].map((file) => path.join(root, dir, file)),
  );
  if (units.some(exists)) return true;
  try {
    const fstab = fs.readFileSync(path.join(root, 'etc/fstab'), 'utf8');
    return fstab.split('\n').some((line) => !line.trim().startsWith('#') && line.trim().split(/\s+/)[1] === where);
  } catch {
    return false;
  }
}
