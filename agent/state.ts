/**
 * What outlives a boot (SEMANTICS S4.1): notices, the queue of reports, the first boot. On disk, with fsync; written
 * seldom and never waited for.
 */
import fs from 'node:fs';
import path from 'node:path';
import type { Logger } from 'pino';
import { crc32Hex } from './checksum.ts';
import { UNKNOWN_MACHINE } from './machine-identity.ts';
import { makeDir } from './make-dir.ts';

/** Raised when an older agent could misread what a newer one wrote. */
const FORMAT_VERSION = 1;

/** Notices and a bounded queue are some KB; more than this is not our file, and must not fill the memory. */
const READ_LIMIT_BYTES = 16 * 1024 * 1024;

/** The last bytes of each file: the checksum of all before them. Fixed in form, so that one missing byte is seen. */
const CHECKSUM_TAIL = /,"checksum":"([0-9a-f]{8})"\}\n$/;

export interface StateFileOptions {
  readonly dir: string;
  readonly machineId: string;
  readonly bootId: string;
  readonly log: Logger;
  /** Once an outage: a lower-case errno (`erofs`, `enospc`, `eacces`) or `not_json`. */
  onError(code: string): void;
  readonly nowMs: number;
  /** Start of this boot, UNIX ms: the first boot, if no state says otherwise. */
  readonly bootWallMs: number;
}

export interface StateFile {
  readonly restored: {
    /** Whether the entries were written in this very boot. */
    readonly sameBoot: boolean;
    readonly entries: ReadonlyMap<string, unknown>;
    /** First boot of this machine, UNIX ms. */
    readonly firstBootMs: number;
  };
  /** `truncated`, `damaged`, `unknown_version`, `unreadable`, `not_a_file`, `too_large`; the file was set aside. */
  readonly damage: string | null;
  /** Replaces the whole content. Returns at once, never throws; of several waiting, the latest is written. */
  save(entries: ReadonlyMap<string, unknown>, firstBootMs?: number): void;
  /** Resolves, never rejects, when everything saved so far has been written or could not be. */
  flush(): Promise<void>;
}

interface StoredState {
  readonly machine: string;
  readonly boot: string;
  readonly firstBootMs: number;
  readonly entries: ReadonlyMap<string, unknown>;
}

/**
 * Reads `dir/state.json`; never throws. Damage of any kind is set aside as `state.json.damaged`; the state of another
 * machine (a cloned image) as `state.json.other-machine`. The first start writes the first boot at once.
 */
export function openStateFile(options: StateFileOptions): StateFile {
  const { dir, machineId, bootId, log } = options;
  const file = path.join(dir, 'state.json');
  let fault: string | null = null;
  let wanted: ReadonlyMap<string, unknown> | null = null;
  let running: Promise<void> | null = null;
  let writtenText: string | null = null;

  const { stored, damage } = load();
  let firstBootMs = stored?.firstBootMs ?? options.bootWallMs;
  const restored = {
    sameBoot: stored?.boot === bootId,
    entries: stored?.entries ?? new Map<string, unknown>(),
    firstBootMs,
  };
  if (stored === null) save(new Map());
  return { restored, damage, save, flush };

  function load(): { readonly stored: StoredState | null; readonly damage: string | null } {
    const content = readState(file);
    if (content.damage !== null) {
      log.warn({ event: 'state_damaged', file, damage: content.damage }, 'the state is damaged and set aside');
      setAside('damaged');
      return { stored: null, damage: content.damage };
    }
    if (content.stored !== null && !isSameMachine(content.stored, machineId, bootId)) {
      log.warn(
        { event: 'state_of_other_machine', file },
        'the state is of another machine (cloned image?) and set aside',
      );
      setAside('other-machine');
      return { stored: null, damage: null };
    }
    return { stored: content.stored, damage: null };
  }

  function setAside(why: string): void {
    const aside = `${file}.${why}`;
    try {
      fs.rmSync(aside, { recursive: true, force: true });
      fs.renameSync(file, aside);
    } catch (error) {
      failed(error);
    }
  }

  function save(entries: ReadonlyMap<string, unknown>, corrected = firstBootMs): void {
    firstBootMs = corrected;
    wanted = new Map(entries);
    if (running === null) running = drain();
  }

  async function flush(): Promise<void> {
    while (running !== null) await running;
  }

  async function drain(): Promise<void> {
    // The signals of this tick come first: encoding and writing begin after them.
    await new Promise((resolve) => setImmediate(resolve));
    while (wanted !== null) {
      const entries = wanted;
      wanted = null;
      await write(entries);
    }
    running = null;
  }

  async function write(entries: ReadonlyMap<string, unknown>): Promise<void> {
    try {
      const text = encode(entries);
      if (text === writtenText) return;
      await replaceFile(dir, file, text);
      writtenText = text;
      if (fault !== null) log.info({ event: 'state_recovered', file }, 'the state is written again');
      fault = null;
    } catch (error) {
      failed(error);
    }
  }

  function encode(entries: ReadonlyMap<string, unknown>): string {
    const body = JSON.stringify({
      version: FORMAT_VERSION,
      machine: machineId,
      boot: bootId,
      first_boot_ms: firstBootMs,
      entries: Object.fromEntries(entries),
    }).slice(0, -1);
    return `${body},"checksum":"${crc32Hex(Buffer.from(body))}"}\n`;
  }

  function failed(error: unknown): void {
    // What stands on the disk is no longer known: the next save writes, also the same content.
    writtenText = null;
    const first = fault === null;
    fault = codeOf(error);
    if (!first) return;
    log.error({ event: 'state_write_failed', file, code: fault, err: error }, 'the state cannot be written');
    options.onError(fault);
  }
}

/** First boot of this machine by its state, UNIX ms, for who only looks: nothing is written or set aside. */
export function readFirstBootMs({
  dir,
  machineId,
  bootId,
}: Pick<StateFileOptions, 'dir' | 'machineId' | 'bootId'>): number | undefined {
  const { stored } = readState(path.join(dir, 'state.json'));
  return stored !== null && isSameMachine(stored, machineId, bootId) ? stored.firstBootMs : undefined;
}

/**
 * Within one boot the machine is the same, even where the two starts could read different identities (root reads the
 * DMI UUID, another user perhaps only /etc/machine-id). Two identities of one kind that differ are two machines.
 */
function isSameMachine(stored: StoredState, machineId: string, bootId: string): boolean {
  if (stored.machine === machineId) return true;
  return stored.boot === bootId && identityKind(stored.machine) !== identityKind(machineId);
}

function identityKind(machineId: string): string {
  if (machineId === UNKNOWN_MACHINE) return 'unknown';
  return machineId.includes('-') ? 'dmi' : 'machine-id';
}

function readState(file: string): { readonly stored: StoredState | null; readonly damage: string | null } {
  let fd: number | null = null;
  try {
    fd = fs.openSync(file, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
    const found = fs.fstatSync(fd);
    if (!found.isFile()) return { stored: null, damage: 'not_a_file' };
    if (found.size > READ_LIMIT_BYTES) return { stored: null, damage: 'too_large' };
    return decode(fs.readFileSync(fd));
  } catch (error) {
    return { stored: null, damage: codeOf(error) === 'enoent' ? null : 'unreadable' };
  } finally {
    if (fd !== null) fs.closeSync(fd);
  }
}

function decode(bytes: Buffer): { readonly stored: StoredState | null; readonly damage: string | null } {
  const text = bytes.toString('latin1');
  const tail = CHECKSUM_TAIL.exec(text);
  const document = parse(bytes);
  if (typeof document?.['version'] === 'number' && document['version'] !== FORMAT_VERSION) {
    return { stored: null, damage: 'unknown_version' };
  }
  if (tail === null) return { stored: null, damage: 'truncated' };
  if (tail[1] !== crc32Hex(bytes.subarray(0, tail.index))) return { stored: null, damage: 'damaged' };
  const { machine, boot, first_boot_ms: firstBootMs, entries } = document ?? {};
  if (typeof machine !== 'string' || typeof boot !== 'string' || !isObject(entries)) {
    return { stored: null, damage: 'damaged' };
  }
  if (typeof firstBootMs !== 'number' || !Number.isFinite(firstBootMs)) return { stored: null, damage: 'damaged' };
  return { stored: { machine, boot, firstBootMs, entries: new Map(Object.entries(entries)) }, damage: null };
}

function parse(bytes: Buffer): Readonly<Record<string, unknown>> | null {
  try {
    const parsed: unknown = JSON.parse(bytes.toString());
    return isObject(parsed) ? parsed : null;
  } catch {
    return null;
  }
}

/** Temporary file in the same directory, fsync, rename, fsync of the directory: a crash of the machine leaves old or new. */
async function replaceFile(dir: string, file: string, text: string): Promise<void> {
  makeDir(dir, 0o700);
  const temporary = `${file}.tmp`;
  try {
    const handle = await fs.promises.open(temporary, 'w', 0o600);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await fs.promises.rename(temporary, file);
  } catch (error) {
    await fs.promises.unlink(temporary).catch(() => undefined);
    throw error;
  }
  const directory = await fs.promises.open(dir, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function codeOf(error: unknown): string {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code.toLowerCase();
  return error instanceof TypeError ? 'not_json' : 'internal';
}
