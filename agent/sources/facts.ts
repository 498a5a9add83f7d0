/**
 * What this machine says of itself without being asked over any wire: firmware strings, labels of block devices, and what
 * cloud-init found before us. Every platform's `detect` judges by these alone (facts "platforms", "Detection").
 */
import fs from 'node:fs';
import path from 'node:path';

export interface MachineFacts {
  /** Strings of `/sys/class/dmi/id`, trimmed; absent where the firmware gives none. */
  readonly dmi: Readonly<Partial<Record<DmiField, string>>>;
  /**
   * Labels of block devices as udev shows them (`config-2`, `CONTEXT`, `cidata`), in their own spelling, and of drives that the
   * root helper has copied for us: a unit that was started before udev's first link has no `/dev/disk` for as long as it runs.
   */
  readonly labels: readonly string[];
  /** The cloud's name by cloud-init (`/run/cloud-init/cloud-id`): `aws`, `gce`, `azure`, `openstack`, …. */
  readonly cloudId?: string;
  /** `/sys/hypervisor/uuid`: on Xen guests of EC2 it begins with `ec2`. */
  readonly hypervisorUuid?: string;
  /** The hypervisor offers `/sys/firmware/qemu_fw_cfg`. */
  readonly hasFwCfg: boolean;
  /** The firmware has OEM strings (SMBIOS type 11), into which any host may have written. */
  readonly hasOemStrings?: true;
}

const DMI_FIELDS = [
  'sys_vendor',
  'product_name',
  'product_version',
  'chassis_vendor',
  'chassis_asset_tag',
  'bios_vendor',
  'bios_version',
  'board_vendor',
] as const;
export type DmiField = (typeof DMI_FIELDS)[number];

/** Firmware strings and ids are short; anything longer is not one. */
const MAX_FACT_BYTES = 256;
/** Below the root: one directory a label, filled by a root helper (mjf-agent-drive@.service), or by ourselves where we are root. */
export const COPIED_DRIVES = 'run/mjf-agent-drive';
/** More block devices with labels than any guest has. */
const MAX_LABELS = 256;

/** Reads the facts below `root` (`/` outside tests). Never throws; what cannot be read is not known. Kernel files only: no wait. */
export function readMachineFacts(root: string): MachineFacts {
  const dmi: Partial<Record<DmiField, string>> = {};
  for (const field of DMI_FIELDS) {
    const text = readShort(path.join(root, 'sys/class/dmi/id', field));
    if (text !== undefined) dmi[field] = text;
  }
  const cloudId = readShort(path.join(root, 'run/cloud-init/cloud-id'));
  const hypervisorUuid = readShort(path.join(root, 'sys/hypervisor/uuid'))?.toLowerCase();
  return {
    dmi,
    labels: [
      ...new Set([
        ...readLabels(path.join(root, 'dev/disk/by-label')),
        // What is being copied has a dot in its name.
        ...readLabels(path.join(root, COPIED_DRIVES)).filter((name) => !name.includes('.')),
      ]),
    ],
    ...(cloudId === undefined ? {} : { cloudId }),
    ...(hypervisorUuid === undefined ? {} : { hypervisorUuid }),
    hasFwCfg: fs.existsSync(path.join(root, 'sys/firmware/qemu_fw_cfg')),
    ...(fs.existsSync(path.join(root, 'sys/firmware/dmi/entries/11-0')) ? { hasOemStrings: true } : {}),
  };
}

/** Facts of a machine that says nothing, for tests and for callers that want no detection. */
export const NO_FACTS: MachineFacts = { dmi: {}, labels: [], hasFwCfg: false };

function readShort(file: string): string | undefined {
  let fd: number | undefined;
  try {
    // Non-blocking: below a test's root, and in a damaged image, it may be a FIFO.
    fd = fs.openSync(file, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
    const buffer = Buffer.alloc(MAX_FACT_BYTES);
    const read = buffer.toString('latin1', 0, fs.readSync(fd, buffer, 0, buffer.length, 0));
    // What stands behind the end of a string is not part of it.
    const text = read.split('\0', 1)[0]?.trim();
    return text === '' ? undefined : text;
  } catch {
    return undefined;
  } finally {
    if (fd !== undefined) fs.closeSync(fd);
  }
}

function readLabels(dir: string): readonly string[] {
  try {
    return fs.readdirSync(dir).slice(0, MAX_LABELS).map(unescapeLabel);
  } catch {
    return [];
  }
}

/** udev writes what a file name cannot hold as `\x20`. */
const unescapeLabel = (name: string): string =>
  name.replace(/\\x([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
