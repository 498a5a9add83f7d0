/**
 * What the site has not taken yet, on disk: it survives a crash and a reboot. One file for each name below a directory of the
 * agent's own, written whole or not at all. One thing at a time and never in the main loop's way: a disk that hangs holds up
 * one thread and whoever waits for his own file, nothing else.
 */
import fs from 'node:fs';
import path from 'node:path';
import type { MachineIdentity } from '../machine-identity.ts';
import type { ReporterEnvironment } from './reporter.ts';
import { codeOf, isFit, prepareDir, syncDir, writeSynced } from './spool-disk.ts';
import { encodeEntry, type Header, type Lane, readEntry } from './spool-file.ts';

export type { Lane } from './spool-file.ts';

/** A local disk that has not taken a small file by then is treated as one that refuses; the file may still get there. */
const DISK_BOUND_MS = 5_000;
/** Some times what there can be of ours (joboutputs.ts); more is not looked at, and not taken into memory. */
const MOST_ENTRIES = 512;
/** So many wait for a disk that hangs, each with its content in memory; beyond it nothing more is given to it. */
const MOST_WAITING = 32;
const MOST_BYTES = 16 * 1024 * 1024;

/** `count`: `mjf_report_spool_errors_total`. */
export interface SpoolOptions extends Pick<ReporterEnvironment, 'log' | 'count'> {
  /** null: nothing is kept. */
  readonly dir: string | null;
  /** Entries of another machine (a cloned image) are not ours to send (S4.1). */
  readonly identity: Pick<MachineIdentity, 'machineId' | 'bootId'>;
}

export interface SpoolEntry {
  readonly lane: Lane;
  readonly name: string;
  readonly body: Buffer;
  /** Whether it was written in this very boot. */
  readonly sameBoot: boolean;
  /** Whose file it is, where that is known. */
  readonly uid: number | undefined;
}

type Entry = Header & { readonly body: Buffer };

/** Nothing here rejects; what the disk refuses is logged once an outage and counted each time. */
export interface Spool {
  /** What former runs left, in the order in which it was saved. Empty after DISK_BOUND_MS of silence. */
  readonly restored: Promise<readonly SpoolEntry[]>;
  /** The same array however late it is, and the true one where `restored` gave up: a boot keeps its disk busy for long. */
  readonly found: Promise<readonly SpoolEntry[]>;
  /** Replaces what is kept under this name. Fulfils with whether it is on disk, after DISK_BOUND_MS at the latest. */
  save(lane: Lane, name: string, body: Buffer, uid?: number): Promise<boolean>;
  remove(lane: Lane, name: string): void;
  /** Whether this is on disk, as far as is known now. */
  holds(lane: Lane, name: string): boolean;
  /** Fulfils when all that was asked so far has been done or refused. */
  idle(): Promise<void>;
}

export function openSpool(options: SpoolOptions): Spool {
  const { identity, log } = options;
  if (options.dir === null) return NO_SPOOL;
  // Resolved: with a slash at the end, lstat would look through a link.
  const dir = path.resolve(options.dir);
  const { machineId: machine, bootId: boot } = identity;
  let serial = 0;
  let fault: string | null = null;
  /** Files that are there, or may be: what was never given to the disk need not be taken from it. */
  const given = new Set<string>();
  const written = new Set<string>();
  let saving = 0;
  let last: Promise<unknown> = Promise.resolve();

  /** One after the other, in the order of the calls. */
  function inTurn<T>(work: () => Promise<T>, otherwise: T): Promise<T> {
    const done = last.then(work).catch((error: unknown) => {
      failed(codeOf(error));
      return otherwise;
    });
    last = done;
    return done;
  }

  function failed(code: string): void {
    options.count('mjf_report_spool_errors_total', {});
    const first = fault === null;
    fault = code;
    if (first)
      log.warn({ event: 'spool_failed', dir, error: code }, `reports cannot be kept on disk (${code}), only in memory`);
  }

  function recovered(): void {
    if (fault !== null) log.info({ event: 'spool_recovered', dir }, 'reports are kept on disk again');
    fault = null;
  }

  async function restore(): Promise<readonly SpoolEntry[]> {
    const found: Entry[] = [];
    let bytes = 0;
    for (const file of await entriesOf(dir)) {
      const entry = file === TEMPORARY ? { why: 'unfinished' } : await readEntry(path.join(dir, file));
      const why = 'why' in entry ? entry.why : refusalOf(file, entry, bytes);
      if ('why' in entry || why !== null) {
        await discard(file, why ?? 'damaged');
        continue;
      }
      found.push(entry);
      bytes += entry.body.length;
    }
    found.sort((a, b) => a.serial - b.serial);
    serial = found.at(-1)?.serial ?? 0;
    for (const { lane, name } of found) {
      given.add(fileOf(lane, name));
      written.add(fileOf(lane, name));
    }
    recovered();
    return found.map(({ lane, name, body, uid, boot: of }) => ({ lane, name, body, uid, sameBoot: of === boot }));
  }

  function refusalOf(
    file: string,
    { lane, name, machine: of, boot: during, body }: Entry,
    bytes: number,
  ): string | null {
    if (file !== fileOf(lane, name)) return 'damaged';
    if (of !== machine && during !== boot) return 'other_machine';
    return bytes + body.length > MOST_BYTES ? 'too_many' : null;
  }

  /** What cannot be used must not stay: it would fill the place, and be told of at each start. */
  async function discard(file: string, why: string): Promise<void> {
    // What could only not be read may be read the next time.
    const [refusal] =
      why === 'unreadable'
        ? [why]
        : await fs.promises.unlink(path.join(dir, file)).then(
            () => [],
            (error: unknown) => [codeOf(error)],
          );
    const what = refusal === undefined ? 'removed' : `left there (${refusal})`;
    // A half-written file of a crash is nothing to tell.
    if (refusal === undefined && why === 'unfinished') return;
    log.warn({ event: 'spool_damaged', file, why }, `a kept report that cannot be used (${why}) is ${what}`);
  }

  async function write(lane: Lane, name: string, body: Buffer, uid: number | undefined): Promise<boolean> {
    await prepareDir(dir);
    serial += 1;
    const bytes = encodeEntry({ lane, name, machine, boot, serial, ...(uid !== undefined && { uid }) }, body);
    const temporary = path.join(dir, TEMPORARY);
    try {
      // What stands there is a leftover, or nothing that we follow.
      await fs.promises.rm(temporary, { recursive: true, force: true });
      await writeSynced(temporary, bytes);
      await fs.promises.rename(temporary, path.join(dir, fileOf(lane, name)));
    } catch (error) {
      await fs.promises.unlink(temporary).catch(() => undefined);
      throw error;
    }
    await syncDir(dir);
    written.add(fileOf(lane, name));
    recovered();
    return true;
  }

  async function unlink(file: string): Promise<void> {
    await fs.promises.unlink(path.join(dir, file)).catch((error: unknown) => {
      if (codeOf(error) !== 'enoent') throw error;
    });
    written.delete(file);
  }

  async function save(lane: Lane, name: string, body: Buffer, uid?: number): Promise<boolean> {
    if (saving >= MOST_WAITING) {
      written.delete(fileOf(lane, name));
      failed('timeout');
      return false;
    }
    saving += 1;
    given.add(fileOf(lane, name));
    written.delete(fileOf(lane, name));
    const done = inTurn(() => write(lane, name, body, uid), false);
    void done.then(() => {
      saving -= 1;
    });
    return orAfterBound(done, false, () => failed('timeout'));
  }

  const found = inTurn<readonly SpoolEntry[]>(restore, []);
  return {
    restored: orAfterBound(found, [], () => failed('timeout')),
    found,
    save,
    remove(lane, name) {
      if (given.delete(fileOf(lane, name))) void inTurn(() => unlink(fileOf(lane, name)), undefined);
    },
    holds: (lane, name) => written.has(fileOf(lane, name)),
    async idle() {
      await last;
    },
  };
}

const NOTHING: readonly SpoolEntry[] = [];
const NO_SPOOL: Spool = {
  restored: Promise.resolve(NOTHING),
  found: Promise.resolve(NOTHING),
  save: async () => false,
  remove: () => {},
  holds: () => false,
  idle: async () => {},
};

/** No name of an entry: those begin with a lane. */
const TEMPORARY = '.new';

/** `files.pilot.log`: no separator can come through, and no two names share a file. */
const fileOf = (lane: Lane, name: string): string => `${lane}.${encodeURIComponent(name)}`;

async function entriesOf(dir: string): Promise<readonly string[]> {
  const names: string[] = [];
  if (!(await isFit(dir))) return names;
  const opened = await fs.promises.opendir(dir);
  for await (const { name } of opened) {
    names.push(name);
    if (names.length >= MOST_ENTRIES) break;
  }
  return names;
}

function orAfterBound<T>(work: Promise<T>, otherwise: T, onBound: () => void): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const bound = new Promise<T>((resolve) => {
    timer = setTimeout(() => {
      onBound();
      resolve(otherwise);
    }, DISK_BOUND_MS).unref();
  });
  return Promise.race([work, bound]).finally(() => clearTimeout(timer));
}
