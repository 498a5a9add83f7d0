/** Who this machine is, in which boot, and since when (SEMANTICS S4.1). */
import fs from 'node:fs';
import path from 'node:path';

/** What `machineId` says where nothing tells. */
export const UNKNOWN_MACHINE = 'unknown';

const DMI_UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
/** What firmware without a UUID of its own gives to every machine. */
const PLACEHOLDER_UUID = /^(0[0-]*|f[f-]*)$/;
const MACHINE_ID = /^[0-9a-f]{32}$/;
/** Pid 1 of a machine starts within its first minute; user space counts 100 ticks a second everywhere. */
const FIRST_MINUTE_TICKS = 6_000;

export interface MachineIdentity {
  /** DMI product UUID, else /etc/machine-id, in lower case; else `unknown`. */
  readonly machineId: string;
  /** Random by boot; in a container with the start of its pid 1 in ticks behind it; `unknown` where the kernel does not tell. */
  readonly bootId: string;
  /** Start of this boot, UNIX ms, on the wall clock as it stands now: asked again after a clock step, it has moved along. */
  bootWallMs(nowWallMs: number): number;
}

/**
 * Reads the identity below `root` (`/` outside tests). The DMI UUID is readable by root only, so a unit hands it over as
 * credential `dmi` (SYSTEMS.md, "Root-only inputs"); the credential's fallback text is no UUID and is passed over.
 */
export function readMachineIdentity(root: string, env: Readonly<Record<string, string | undefined>>): MachineIdentity {
  const credentials = env['CREDENTIALS_DIRECTORY'];
  const dmi = [
    ...(credentials === undefined || credentials === '' ? [] : [path.join(credentials, 'dmi')]),
    path.join(root, 'sys/class/dmi/id/product_uuid'),
  ]
    .map(readText)
    .find((text) => DMI_UUID.test(text) && !PLACEHOLDER_UUID.test(text));
  // `uninitialized` on the first boot of an image, and absent in some: neither is an identity.
  const etc = readText(path.join(root, 'etc/machine-id'));
  return {
    machineId: dmi ?? (MACHINE_ID.test(etc) ? etc : UNKNOWN_MACHINE),
    bootId: bootId(root),
    bootWallMs: (nowWallMs) => bootWallMs(root, nowWallMs),
  };
}

/**
 * A container that is started again still has the boot id of its machine (nspawn lays one of its own over it, and a unit's
 * private /proc/sys takes that away again): what was said of the end of its last run would stand in the new one. Its pid 1 is
 * another one each time, and starts long after the machine. For a machine itself the kernel's word alone counts: it is the
 * same also for who may not see pid 1 (hidepid).
 */
function bootId(root: string): string {
  const id = readText(path.join(root, 'proc/sys/kernel/random/boot_id'));
  if (id === '') return 'unknown';
  const stat = readText(path.join(root, 'proc/1/stat'));
  // Behind the command's name, in which anything may stand: the third field is the first one.
  const startTicks = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);
  return startTicks > FIRST_MINUTE_TICKS ? `${id}+${startTicks}` : id;
}

function bootWallMs(root: string, nowWallMs: number): number {
  const btimeSecs = /^btime (\d+)$/m.exec(readText(path.join(root, 'proc/stat')))?.[1];
  if (btimeSecs !== undefined) return Number(btimeSecs) * 1000;
  const uptimeSecs = Number.parseFloat(readText(path.join(root, 'proc/uptime')));
  return Number.isFinite(uptimeSecs) ? Math.round(nowWallMs - uptimeSecs * 1000) : nowWallMs;
}

/** Trimmed, lower case; empty where it cannot be read. Local files of the kernel and the image only, never a share. */
function readText(file: string): string {
  try {
    return fs.readFileSync(file, 'utf8').trim().toLowerCase();
  } catch {
    return '';
  }
}
