/**
 * Where a QEMU host's words lie in the guest: fw_cfg files, SMBIOS OEM strings, and credentials that a unit was handed out
 * of either. All of them are kernel or tmpfs files: nothing here waits. Nothing throws; what cannot be read says so.
 */
import fs from 'node:fs';
import path from 'node:path';
import { oemStrings } from './qemu-smbios.ts';
import { isSiteKey, isUnknown } from './site-keys.ts';
import { SourceError } from './source.ts';

/** One of our names, as fw_cfg spells it: `machinefeatures/shutdowntime`, `machinefeatures`. */
export interface Word {
  readonly name: string;
  /** The path or string that it was found in, for people. */
  readonly from: string;
  /** `absent`: asked of the host, who has not said it. */
  readonly value: { readonly text: string } | { readonly error: string } | 'absent';
}

export interface Place {
  readonly words: readonly Word[];
  /** What only root may read although it may hold our names. */
  readonly denied?: string;
  /** What is wrong with the place as a whole. */
  readonly fault?: SourceError;
  /** There is more than was looked at. */
  readonly cut?: true;
}

/** Host and site names before ours (`opt/org.example/site/machinefeatures/…`), not a whole file system. */
const MAX_DEPTH = 8;
const MAX_ENTRIES = 1024;
/** The heart takes 4,096 characters of a value. */
const MAX_VALUE_BYTES = 16 * 1024;
/** The whole SMBIOS table of the largest servers is half of it. */
const MAX_TABLE_BYTES = 256 * 1024;
const MAX_STRUCTURES = 16;

const OURS = '(?:machinefeatures|jobfeatures)/[A-Za-z0-9_]{1,64}|machinefeatures|jobfeatures|joboutputs';
const PATH_END = new RegExp(`(?:^|/)(${OURS})$`);
/** Credentials have no slashes: `mjf.machinefeatures.shutdowntime`; of a directory systemd makes `mjf_machinefeatures_…_raw`. */
const CREDENTIAL =
  /^mjf(?:\.|_)(?:(machinefeatures|jobfeatures)(?:\.|_)([A-Za-z0-9_]{1,64})|(machinefeatures|jobfeatures|joboutputs))$/;
/** `machinefeatures/shutdowntime=…`, with anything before a colon or a slash in front: whose word it is. */
const OEM = new RegExp(`^(?:[^=]*[:/])?(${OURS})=(.*)$`, 's');
const OEM_CREDENTIAL = /^io\.systemd\.credential:([^=]*)=(.*)$/s;

/** `-fw_cfg name=opt/org.example/machinefeatures/shutdowntime,string=1766440000`. */
export function fwCfgPlace(root: string): Place {
  const byName = path.join(root, 'sys/firmware/qemu_fw_cfg/by_name');
  const words: Word[] = [];
  let entries = 0;
  let denied: string | undefined;
  let cut = false;

  function walk(directory: string, name: string, depth: number): void {
    for (const entry of list(directory)) {
      if (entries >= MAX_ENTRIES) {
        cut = true;
        return;
      }
      entries += 1;
      const below = path.join(directory, entry);
      const full = `${name}/${entry}`;
      if (!isDirectory(below)) continue;
      const raw = path.join(below, 'raw');
      // A file of fw_cfg is a directory with its content in `raw`.
      if (!exists(raw)) {
        if (depth < MAX_DEPTH) walk(below, full, depth + 1);
        else cut = true;
        continue;
      }
      const ours = PATH_END.exec(full)?.[1] ?? credentialName(entry);
      if (ours === undefined) continue;
      const value = readText(raw);
      if ('error' in value && value.error === 'denied') denied ??= raw;
      words.push({ name: ours, from: `fw_cfg ${full}`, value });
    }
  }
  walk(path.join(byName, 'opt'), 'opt', 1);
  return { words, ...(denied === undefined ? {} : { denied }), ...(cut ? { cut } : {}) };
}

/** What systemd hands over to the unit that the agent runs in (`LoadCredential=`, `ImportCredential=`). */
export function credentialPlace(directory: string | undefined): Place {
  if (directory === undefined || !path.isAbsolute(directory)) return { words: [] };
  const words = list(directory).flatMap((entry): readonly Word[] => {
    const name = credentialName(entry);
    if (name === undefined) return [];
    const value = readText(path.join(directory, entry));
    // The unit's fallback where the host has said nothing (`SetCredential=NAME:`).
    const isFallback = 'text' in value && value.text.trim() === '';
    return [{ name, from: `credential ${entry}`, value: isFallback ? 'absent' : value }];
  });
  return { words };
}

/** `-smbios type=11,value=machinefeatures/shutdowntime=1766440000`. */
export function oemStringsPlace(root: string): Place {
  const entries = path.join(root, 'sys/firmware/dmi/entries');
  const structures = list(entries).filter((entry) => /^11-\d+$/.test(entry));
  const raws = structures.slice(0, MAX_STRUCTURES).map((entry) => path.join(entries, entry, 'raw'));
  const cut = structures.length > raws.length;
  // Without the module dmi-sysfs there is only the table as a whole.
  const files = raws.length > 0 ? raws : [path.join(root, 'sys/firmware/dmi/tables/DMI')];
  const words: Word[] = [];
  let denied: string | undefined;
  let fault: SourceError | undefined;
  for (const file of files) {
    const bytes = readBytes(file, MAX_TABLE_BYTES);
    if ('error' in bytes) {
      if (bytes.error === 'denied') denied ??= file;
      else if (bytes.error !== 'absent') fault = new SourceError(bytes.error, `${file}: ${bytes.error}`);
      continue;
    }
    try {
      words.push(...oemStrings(bytes.bytes).flatMap(wordOf));
    } catch (error) {
      if (!(error instanceof SourceError)) throw error;
      fault = new SourceError(error.code, `${file}: ${error.message}`);
    }
  }
  return {
    words,
    ...(denied === undefined ? {} : { denied }),
    ...(fault === undefined ? {} : { fault }),
    ...(cut ? { cut } : {}),
  };
}

function wordOf(text: string): readonly Word[] {
  const [, credential, value = ''] = OEM_CREDENTIAL.exec(text) ?? [];
  const byCredential = credential === undefined ? undefined : credentialName(credential);
  if (byCredential !== undefined) return [{ name: byCredential, from: 'SMBIOS OEM string', value: { text: value } }];
  const [, name, after = ''] = OEM.exec(text) ?? [];
  return name === undefined ? [] : [{ name, from: 'SMBIOS OEM string', value: { text: after } }];
}

function credentialName(entry: string): string | undefined {
  const [, side, key, pointer] = CREDENTIAL.exec(entry.replace(/_raw$/, '')) ?? [];
  return side !== undefined && key !== undefined ? `${side}/${key}` : pointer;
}

/** Ours first: where there is too much, it is the rest that is not looked at. */
const list = (directory: string): readonly string[] => {
  try {
    const entries = fs.readdirSync(directory).sort();
    return [...entries.filter(isOurs), ...entries.filter((entry) => !isOurs(entry))];
  } catch {
    return [];
  }
};
/** One part of a path: a folder of keys, a known key, or a credential of ours that is no unknown key. */
function isOurs(entry: string): boolean {
  const [, key = entry] = credentialName(entry)?.split('/') ?? [];
  return isSiteKey(key) && !isUnknown(key);
}
const exists = (file: string): boolean => fs.existsSync(file);
const isDirectory = (file: string): boolean => {
  try {
    return fs.statSync(file).isDirectory();
  } catch {
    return false;
  }
};

function readText(file: string): Exclude<Word['value'], 'absent'> {
  const read = readBytes(file, MAX_VALUE_BYTES);
  if ('error' in read) return read;
  try {
    // A host that hands over a C string hands over its end.
    return { text: new TextDecoder('utf-8', { fatal: true }).decode(read.bytes).replace(/\0+$/, '') };
  } catch {
    return { error: 'not_text' };
  }
}

/** `denied`, `absent`, `too_long` or `read_failed`. */
function readBytes(file: string, mostBytes: number): { readonly bytes: Buffer } | { readonly error: string } {
  let fd: number | undefined;
  try {
    // Non-blocking: below a test's root, and in a damaged image, it may be a FIFO.
    fd = fs.openSync(file, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
    const buffer = Buffer.alloc(mostBytes + 1);
    let size = 0;
    for (;;) {
      // Kernel files give at most a page at a time.
      const got = fs.readSync(fd, buffer, size, buffer.length - size, null);
      size += got;
      if (size > mostBytes) return { error: 'too_long' };
      if (got === 0) return { bytes: buffer.subarray(0, size) };
    }
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOENT' || code === 'ENOTDIR') return { error: 'absent' };
    return { error: code === 'EACCES' || code === 'EPERM' ? 'denied' : 'read_failed' };
  } finally {
    if (fd !== undefined) fs.closeSync(fd);
  }
}
