/** Units and control groups of the configuration: found when their first process is there. */
import fs from 'node:fs';
import type { ConfiguredPayload } from '../config/types.ts';
import { type CgroupMount, cgroupDirectory, cgroupMounts, resolveCgroup } from './cgroup.ts';
import type { Report } from './finder.ts';
import type { Known } from './finder-known.ts';
import type { Told } from './finder-told.ts';
import { openSubtree } from './subtree.ts';
import type { UnitInfo } from './units.ts';

/** How soon systemd is asked again about a unit that it does not know. */
const UNKNOWN_AGAIN_MS = 30_000;
/** A unit at rest: a drop-in may have moved it to another slice, where nobody would see it start. */
const RESTING_AGAIN_MS = 600_000;
/** Its group is there and systemd says that it is not active: just starting or ending, so it is asked again soon. */
const BETWEEN_AGAIN_MS = 2_000;
/** Reported, and no payload all the same: whoever refused it said why. */
const REPORTED_AGAIN_MS = 30_000;
/** Longer than any answer of systemd's is waited for (units.ts). */
const GIVE_UP_MS = 60_000;
const JITTER = 0.25;

/** What is needed of units.ts. */
export interface UnitLookUp {
  /** Bounded in time. A unit that does not exist, or that may be no payload, is null. */
  describe(names: readonly string[]): Promise<ReadonlyMap<string, UnitInfo | null>>;
  /** Whether systemd runs here. */
  available(): boolean;
}

export interface GroupContext {
  readonly procRoot: string;
  readonly told: Told;
  nowMono(): number;
  known(): Known;
  readonly found: Report;
}

export interface UnitWatch {
  configure(payloads: readonly ConfiguredPayload[]): void;
  look(): void;
}

interface Watched {
  readonly payload: ConfiguredPayload;
  readonly unit: string;
  info: UnitInfo | null;
  askAtMono: number;
  /** Asked since its first process was there; what came of that is waited for. */
  asked: boolean;
}

/** One child for all units that have to be asked about, at most one at a time; none while nothing has changed. */
export function openUnitWatch({
  units,
  procRoot,
  told,
  nowMono,
  known,
  found,
}: GroupContext & { readonly units: UnitLookUp }): UnitWatch {
  let watched: readonly Watched[] = [];
  let askedMono: number | null = null;

  const again = (ms: number): number => nowMono() + ms * (1 + JITTER * Math.random());

  function isDue(watch: Watched, mounts: readonly CgroupMount[]): boolean {
    const { info } = watch;
    const isPayload = known().hasUnit(info?.unit ?? watch.unit);
    const lives = info !== null && !isPayload && isPopulated(info.cgroup, mounts);
    if (!lives) watch.asked = false;
    return !isPayload && ((lives && !watch.asked) || nowMono() >= watch.askAtMono);
  }

  function tellAll(asked: readonly Watched[], event: string | null, why: string): void {
    for (const { payload, unit } of asked) {
      const message = `payload ${payload.name} is not found: ${why}`;
      told(`${payload.name}/unit`, event, 'warn', { payload: payload.name, unit, message });
    }
  }

  function learn(watch: Watched, info: UnitInfo | null): void {
    // Where it was known before, systemd may just not have answered: its group is watched on.
    watch.info = info ?? watch.info;
    const lives = watch.info !== null && isPopulated(watch.info.cgroup, cgroupMounts(procRoot));
    watch.asked = lives;
    if (info === null) {
      watch.askAtMono = again(lives ? BETWEEN_AGAIN_MS : UNKNOWN_AGAIN_MS);
      tellAll([watch], 'unit_unknown', `systemd does not say that it has a unit ${watch.unit} that can be a payload`);
      return;
    }
    tellAll([watch], null, '');
    watch.askAtMono = again(!lives ? RESTING_AGAIN_MS : info.active ? REPORTED_AGAIN_MS : BETWEEN_AGAIN_MS);
    if (!lives || !info.active || known().hasUnit(info.unit)) return;
    const { unit, cgroup, stopTimeoutMs } = info;
    const target = { kind: 'unit', unit, cgroup, ...(stopTimeoutMs === null ? {} : { stopTimeoutMs }) } as const;
    found(watch.payload, 0, target);
  }

  async function ask(asked: readonly Watched[]): Promise<void> {
    const mine = nowMono();
    askedMono = mine;
    try {
      const answers = await units.describe(asked.map(({ unit }) => unit));
      for (const watch of asked) if (watched.includes(watch)) learn(watch, answers.get(watch.unit) ?? null);
    } catch (error) {
      for (const watch of asked) watch.askAtMono = again(UNKNOWN_AGAIN_MS);
      tellAll(
        asked,
        'unit_failed',
        `systemd does not say what it is (${error instanceof Error ? error.message : error})`,
      );
    } finally {
      if (askedMono === mine) askedMono = null;
    }
  }

  return {
    configure(payloads) {
      watched = payloads.flatMap((payload) => {
        if (payload.find.by !== 'unit') return [];
        const { unit } = payload.find;
        const before = watched.find((watch) => watch.unit === unit && watch.payload.name === payload.name);
        return [{ info: null, askAtMono: 0, asked: false, ...before, payload, unit }];
      });
    },
    look() {
      if (watched.length === 0 || (askedMono !== null && nowMono() - askedMono < GIVE_UP_MS)) return;
      if (!units.available()) return tellAll(watched, 'unit_no_systemd', 'this machine does not run systemd');
      const mounts = cgroupMounts(procRoot);
      const due = watched.filter((watch) => isDue(watch, mounts));
      if (due.length > 0) void ask(due);
    },
  };
}

export interface CgroupWatch {
  configure(payloads: readonly ConfiguredPayload[]): void;
  /** Reports the control groups in which there is a process now, unless they are payloads already. */
  look(): void;
}

export function openCgroupWatch({
  procRoot,
  selfPid,
  told,
  known,
  found,
}: Omit<GroupContext, 'nowMono'> & { readonly selfPid: number }): CgroupWatch {
  let wanted: readonly { readonly payload: ConfiguredPayload; readonly text: string }[] = [];
  /** What each name led to: to look through a large group again each second would cost too much. */
  const before = new Map<string, { readonly path: string; readonly inode: number }>();

  function lookFor(payload: ConfiguredPayload, text: string, mounts: readonly CgroupMount[]): void {
    const { name } = payload;
    const last = before.get(text);
    if (last !== undefined && known().hasCgroup(last.path, last.inode) && inodeOf(last.path, mounts) === last.inode)
      return;
    const look = resolveCgroup(text, { procRoot, selfPid });
    if (look.is !== 'found') {
      const level = look.is === 'refused' ? 'warn' : 'debug';
      const message = `payload ${name} is not found: ${look.detail}`;
      told(`${name}/cgroup`, `cgroup_${look.code}`, level, { payload: name, cgroup: text, message });
      return;
    }
    told(`${name}/cgroup`, null, 'debug', { message: '' });
    const { path, inode, uid } = look;
    before.set(text, { path, inode });
    if (isPopulated(path, mounts) && !known().hasCgroup(path, inode))
      found(payload, uid, { kind: 'cgroup', path, inode });
  }

  return {
    configure(payloads) {
      wanted = payloads.flatMap((payload) =>
        payload.find.by === 'cgroup' ? [{ payload, text: payload.find.path }] : [],
      );
      before.clear();
    },
    look() {
      if (wanted.length === 0) return;
      const mounts = cgroupMounts(procRoot);
      for (const { payload, text } of wanted) lookFor(payload, text, mounts);
    },
  };
}

/** Whether there is a process in it. Where that cannot be read, there may be. */
function isPopulated(group: string, mounts: readonly CgroupMount[]): boolean {
  const directory = cgroupDirectory(group, mounts);
  if (directory === null) return false;
  try {
    const subtree = openSubtree(directory);
    if (subtree === null) return false;
    try {
      return subtree.populated();
    } finally {
      subtree.close();
    }
  } catch {
    return true;
  }
}

function inodeOf(group: string, mounts: readonly CgroupMount[]): number | null {
  try {
    return fs.statSync(cgroupDirectory(group, mounts) ?? '').ino;
  } catch {
    return null;
  }
}
