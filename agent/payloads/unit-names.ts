/** Which units may be payloads, by their names alone, and where systemd puts their processes. Pure. */

/** systemd's own bound (UNIT_NAME_MAX of unit-name.h, without its NUL). */
const MAX_NAME = 255;
/** What can be stopped together with its processes. Sockets, timers and targets have none of their own. */
const PAYLOAD_NAME = /^[A-Za-z0-9_][A-Za-z0-9:_.\\@-]*\.(service|scope|slice)$/;

/** Stopped with one of these, the machine or the way to systemd would go. */
const SYSTEM_UNITS: ReadonlySet<string> = new Set(['-.slice', 'system.slice', 'init.scope']);
const SYSTEM_NAMES = /^(dbus[.-]|systemd-)/;
/** A container, in spite of its name: what a site may well run as a payload. */
const NOT_SYSTEM = /^systemd-nspawn@/;
const AGENT_NAMES = /^mjf-agent/;

/** Files of a control group that a unit may bear the name of; systemd puts `_` before such a unit's directory. */
const KERNEL_FILES: ReadonlySet<string> = new Set(['notify_on_release', 'release_agent', 'tasks']);
/** The controllers that systemd knows, and `cgroup.*` itself: `memory.service` lies in `_memory.service`. */
const KERNEL_PREFIX =
  /^(_|\.|(cgroup|cpu|cpuacct|cpuset|io|blkio|memory|devices|pids|bpf-firewall|bpf-devices|bpf-foreign|bpf-socket-bind|bpf-restrict-network-interfaces)\.)/;

/**
 * Why a unit of this name cannot be a payload, for people; null where its name is no hindrance. `own` are the units and
 * slices that the agent itself runs in.
 */
export function unitNameProblem(name: string, own: ReadonlySet<string> = new Set()): string | null {
  if (SYSTEM_UNITS.has(name)) return `stopping ${name} would stop the machine`;
  if (name.length > MAX_NAME || !PAYLOAD_NAME.test(name))
    return 'not the name of a systemd service, scope or slice (NAME.service, NAME@INSTANCE.service, NAME.slice)';
  if (name.includes('@.') || name.startsWith('@')) return `${name} is a template: name an instance of it`;
  if (name.endsWith('.slice') && /(--|-\.slice$|@)/.test(name)) return `${name} is not a legal name of a slice`;
  if (own.has(name)) return `the agent itself runs in ${name}`;
  if (AGENT_NAMES.test(name)) return `${name} belongs to the agent`;
  if (SYSTEM_NAMES.test(name) && !NOT_SYSTEM.test(name)) return `${name} is a part of the system`;
  return null;
}

/** Units and slices above a process, by its `/proc/PID/cgroup`; in pure and hybrid hierarchies alike. */
export function unitsAbove(procCgroup: string): ReadonlySet<string> {
  const paths = [...procCgroup.matchAll(/^(?:0:|\d+:name=systemd):(\/.*)$/gm)].map(([, line]) => line ?? '');
  const units = paths.flatMap((line) => line.split('/').map((part) => part.replace(/^_/, '')));
  return new Set(units.filter((part) => /\.(service|scope|slice)$/.test(part)));
}

/**
 * The control group that systemd gives to a unit when it starts, below the root of the hierarchy (systemd.slice(5)):
 * `a-b.slice` lies in `a.slice`. `slice` is the unit's own slice, empty for a slice; `root` is systemd's (`/`, or a container's).
 */
export function cgroupOfUnit(unit: string, slice: string, root: string): string {
  const parts = unit.endsWith('.slice') ? slicePath(unit) : [...slicePath(slice), escaped(unit)];
  return [root === '/' ? '' : root, ...parts].join('/') || '/';
}

function slicePath(slice: string): readonly string[] {
  if (slice === '' || slice === '-.slice') return [];
  const words = slice.slice(0, -'.slice'.length).split('-');
  return words.map((_, index) => escaped(`${words.slice(0, index + 1).join('-')}.slice`));
}

const escaped = (unit: string): string => (KERNEL_FILES.has(unit) || KERNEL_PREFIX.test(unit) ? `_${unit}` : unit);

/** Before what they start: a socket cannot begin to listen while its service runs. */
const FIRST = /\.(socket|path|timer|mount|automount|swap)$/;

/** Whether `systemctl start` brings back what was stopped; a target would also pull in what its operator had stopped. */
export const isStartable = (unit: string): boolean => FIRST.test(unit) || unit.endsWith('.service');

/** In the order in which they have to be started again; systemd knows the rest. */
export function startOrder(units: readonly string[]): readonly string[] {
  return [...units.filter((unit) => FIRST.test(unit)), ...units.filter((unit) => !FIRST.test(unit))];
}
