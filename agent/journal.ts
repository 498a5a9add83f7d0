/**
 * What has been done in this boot, so that a crash repeats nothing (SYSTEMS.md, "Signals"; SEMANTICS S3.6). A log in tmpfs
 * without fsync: only crashes of the process matter here, a crash of the machine is another boot.
 */
import fs from 'node:fs';
import path from 'node:path';
import type { Logger } from 'pino';
import {
  closeQuietly,
  codeOf,
  isUnlinked,
  prepareDirectory,
  readLog,
  removeQuietly,
  setAside,
  writeAll,
} from './journal-file.ts';
import { type DecodedJournal, decodeJournal, type JournalRecord, journalEncoder } from './journal-format.ts';
import { createLiveRecords } from './journal-live.ts';
import type { StepResultReport } from './lifetime/types.ts';

/** Beyond this a log is worth compacting; below it the garbage costs less than the writing. */
const DEFAULT_MAX_BYTES = 1024 * 1024;

const { O_APPEND, O_CREAT, O_NOFOLLOW, O_TRUNC, O_WRONLY } = fs.constants;

export interface JournalEntry {
  readonly key: string;
  /** JSON; `null` deletes the key. */
  readonly value: unknown;
}

/** Nothing here throws or waits: a journal that cannot be written never holds back a signal. */
export interface Journal {
  /** One append for all entries. Supersedes the `done` records of each payload named by a key `payload/ID`. */
  put(entries: readonly JournalEntry[]): void;
  /** A step has been taken; written right after its kill. */
  done(report: StepResultReport): void;
  /** Rewrites the log with its live records only. */
  compact(): void;
  close(): void;
  /** Whether what was put last is not in the file; each later `put` tries again to write everything. */
  broken(): boolean;
}

/** `done` holds the steps taken after the last `put` of their payload; earlier ones are contained in the value. */
export interface RestoredJournal {
  readonly entries: ReadonlyMap<string, unknown>;
  readonly done: readonly StepResultReport[];
}

export interface JournalOptions {
  readonly dir: string;
  readonly bootId: string;
  readonly log: Logger;
  /** Once an outage. A lower-case errno (`enospc`), or `dir_symlink`, `dir_not_directory`, `dir_not_owned`, `not_json`. */
  onError(code: string): void;
  readonly maxBytes?: number;
}

export interface OpenedJournal {
  readonly journal: Journal;
  /** null: nothing of this boot is there. */
  readonly restored: RestoredJournal | null;
  /** `torn_tail`, `damaged_records`, `damaged_header`, `unknown_version`, `not_a_file`, `too_large`, `unreadable`. */
  readonly damage: string | null;
}

/**
 * Opens or begins the journal of this boot; never throws. A torn tail is cut off; a file with other damage is set aside as
 * `journal.log.damaged` (the last one only) and its good records are kept. A log of another boot is replaced.
 */
export function openJournal(options: JournalOptions): OpenedJournal {
  const { bootId, log } = options;
  // Resolved: with a slash at the end, lstat would look through a link.
  const dir = path.resolve(options.dir);
  const file = path.join(dir, 'journal.log');
  const maxBytes = options.maxBytes ?? DEFAULT_MAX_BYTES;
  const encoder = journalEncoder(bootId);
  const live = createLiveRecords();
  let fd: number | null = null;
  let sizeBytes = 0;
  let compactAboveBytes = maxBytes;
  let fault: string | null = null;
  let closed = false;

  const loaded = load();
  return { journal: { put, done, compact, close, broken: () => fault !== null }, ...loaded };

  function load(): Pick<OpenedJournal, 'restored' | 'damage'> {
    try {
      prepareDirectory(dir);
    } catch (error) {
      failed(error);
      return { restored: null, damage: null };
    }
    const content = readLog(file);
    const decoded = content.bytes === null ? null : decodeJournal(content.bytes, bootId);
    const damage = content.damage ?? damageOf(decoded);
    const restored = decoded === null ? null : restoredFrom(decoded);
    for (const record of restored === null || decoded?.is !== 'this_boot' ? [] : decoded.records) live.apply(record);
    if (damage !== null) {
      const skipped = decoded?.is === 'this_boot' ? decoded.skipped : null;
      log.warn(
        { event: 'journal_damaged', file, damage, skipped },
        'the journal is damaged; its good records are kept',
      );
    }
    try {
      if (damage !== null && damage !== 'torn_tail') setAside(file);
      if (damage === null && restored !== null && content.bytes !== null) {
        fd = fs.openSync(file, O_WRONLY | O_APPEND | O_NOFOLLOW);
        sizeBytes = content.bytes.length;
      } else {
        rewrite();
      }
    } catch (error) {
      failed(error);
    }
    return { restored, damage };
  }

  function put(entries: readonly JournalEntry[]): void {
    if (closed) return;
    let text = '';
    for (const { key, value } of entries) {
      try {
        const line = encoder.put(key, value);
        live.apply({ is: 'put', line, key, value: value ?? null });
        text += line;
      } catch (error) {
        // A fault of ours, not of the disk: the other entries are written all the same.
        log.error(
          { event: 'journal_not_json', key, err: error },
          'an entry of the journal is not JSON and is left out',
        );
        options.onError('not_json');
      }
    }
    if (text === '') return;
    try {
      if (fault !== null || fd === null || isUnlinked(fd)) rewrite();
      else append(fd, text);
      recovered();
    } catch (error) {
      failed(error);
    }
  }

  function done(report: StepResultReport): void {
    if (closed) return;
    const line = encoder.done(report);
    live.apply({ is: 'done', line, report });
    // In an outage it waits for the next put: rewriting everything between two kills would hold back the second.
    if (fault !== null || fd === null) return;
    try {
      append(fd, line);
    } catch (error) {
      failed(error);
    }
  }

  function compact(): void {
    if (closed) return;
    try {
      rewrite();
      recovered();
    } catch (error) {
      failed(error);
    }
  }

  function close(): void {
    closed = true;
    closeQuietly(fd);
    fd = null;
  }

  function append(to: number, text: string): void {
    sizeBytes += writeAll(to, text);
    if (sizeBytes <= compactAboveBytes || sizeBytes <= 2 * (encoder.header.length + live.bytes())) return;
    try {
      rewrite();
    } catch (error) {
      // The record itself is safely in the old log, so this is no outage; the next try comes when it has doubled.
      compactAboveBytes = 2 * sizeBytes;
      log.warn(
        { event: 'journal_compaction_failed', file, err: error },
        'the journal cannot be compacted, it grows on',
      );
    }
  }

  /** Everything alive into a new file, which takes the place of the old one in one step: a crash leaves old or new. */
  function rewrite(): void {
    prepareDirectory(dir);
    const temporary = `${file}.tmp`;
    const next = fs.openSync(temporary, O_WRONLY | O_APPEND | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600);
    try {
      sizeBytes = writeAll(next, encoder.header + live.text());
      fs.renameSync(temporary, file);
    } catch (error) {
      closeQuietly(next);
      removeQuietly(temporary);
      throw error;
    }
    closeQuietly(fd);
    fd = next;
    compactAboveBytes = maxBytes;
  }

  function failed(error: unknown): void {
    const first = fault === null;
    fault = codeOf(error);
    if (!first) return;
    log.error({ event: 'journal_write_failed', dir, code: fault, err: error }, 'the journal cannot be written');
    options.onError(fault);
  }

  function recovered(): void {
    if (fault === null) return;
    fault = null;
    log.info({ event: 'journal_recovered', dir }, 'the journal is written again');
  }
}

function damageOf(decoded: DecodedJournal | null): string | null {
  if (decoded?.is !== 'this_boot') return decoded?.is === 'unknown_version' ? 'unknown_version' : null;
  if (decoded.header === 'damaged') return 'damaged_header';
  if (decoded.skipped > 0) return 'damaged_records';
  return decoded.tailCut ? 'torn_tail' : null;
}

function restoredFrom(decoded: DecodedJournal): RestoredJournal | null {
  if (decoded.is !== 'this_boot') return null;
  // Without its header and without one record that proves this boot, it may be the log of another one.
  if (decoded.header !== 'good' && decoded.records.length === 0) return null;
  const entries = new Map<string, unknown>();
  const byPayload = new Map<string, StepResultReport[]>();
  for (const record of decoded.records) restore(record, entries, byPayload);
  return { entries, done: [...byPayload.values()].flat() };
}

function restore(
  record: JournalRecord,
  entries: Map<string, unknown>,
  byPayload: Map<string, StepResultReport[]>,
): void {
  if (record.is === 'done') {
    const key = `payload/${record.report.id}`;
    byPayload.set(key, [...(byPayload.get(key) ?? []), record.report]);
    return;
  }
  byPayload.delete(record.key);
  if (record.value === null) entries.delete(record.key);
  else entries.set(record.key, record.value);
}
