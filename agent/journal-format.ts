/**
 * The journal as text: one record a line, `CHECKSUM JSON`. The checksum of every record but the header is seeded with the
 * boot id: a record proves by itself that it is of this boot, also when the header above it is damaged.
 */
import { crc32, crc32Hex } from './checksum.ts';
import type { StepResultReport } from './lifetime/types.ts';

/** Raised when an older agent could misread what a newer one wrote. */
const FORMAT_VERSION = 1;

/** Eight digits and a blank stand before the JSON. */
const PREFIX_BYTES = 9;

const NEWLINE = 0x0a;

/** One good record, with its own line for compaction. `value: null` deletes. */
export type JournalRecord =
  | { readonly is: 'put'; readonly line: string; readonly key: string; readonly value: unknown }
  | { readonly is: 'done'; readonly line: string; readonly report: StepResultReport };

/** What a journal file says. `tailCut`: its last line is torn or damaged; `skipped`: damaged lines before that one. */
export type DecodedJournal =
  | { readonly is: 'other_boot' | 'unknown_version' }
  | {
      readonly is: 'this_boot';
      readonly header: 'good' | 'torn' | 'damaged';
      readonly records: readonly JournalRecord[];
      readonly tailCut: boolean;
      readonly skipped: number;
    };

export interface JournalEncoder {
  readonly header: string;
  /** Throws TypeError where `value` is no JSON (a cycle, a bigint). */
  put(key: string, value: unknown): string;
  done(report: StepResultReport): string;
}

/** Lines for this boot, each with its newline. */
export function journalEncoder(bootId: string): JournalEncoder {
  const seed = seedOf(bootId);
  return {
    header: line(JSON.stringify({ version: FORMAT_VERSION, boot: bootId }), 0),
    put: (key, value) => line(JSON.stringify({ put: key, v: value ?? null }), seed),
    done: (report) => line(JSON.stringify({ done: report }), seed),
  };
}

/** Reads a whole journal. Never throws: what does not check is counted and passed over. */
export function decodeJournal(bytes: Buffer, bootId: string): DecodedJournal {
  const end = bytes.indexOf(NEWLINE);
  const header = end === -1 ? undefined : parseLine(bytes.subarray(0, end), 0);
  if (header !== undefined) {
    if (header['version'] !== FORMAT_VERSION) return { is: 'unknown_version' };
    if (header['boot'] !== bootId) return { is: 'other_boot' };
  }
  const seed = seedOf(bootId);
  const records: JournalRecord[] = [];
  let skipped = 0;
  let lastIsBad = false;
  let start = end === -1 ? bytes.length : end + 1;
  while (start < bytes.length) {
    const newline = bytes.indexOf(NEWLINE, start);
    const stop = newline === -1 ? bytes.length : newline;
    // A last line without its newline is torn even where its checksum holds: the next append would run into it.
    const record = newline === -1 ? undefined : parseRecord(bytes.subarray(start, stop), seed);
    if (lastIsBad) skipped += 1;
    lastIsBad = record === undefined;
    if (record !== undefined) records.push(record);
    start = stop + 1;
  }
  return {
    is: 'this_boot',
    header: header !== undefined ? 'good' : end === -1 ? 'torn' : 'damaged',
    records,
    tailCut: lastIsBad || end === -1,
    skipped,
  };
}

function seedOf(bootId: string): number {
  return crc32(Buffer.from(bootId));
}

function line(json: string, seed: number): string {
  return `${crc32Hex(Buffer.from(json), seed)} ${json}\n`;
}

function parseLine(bytes: Buffer, seed: number): Readonly<Record<string, unknown>> | undefined {
  if (bytes.length <= PREFIX_BYTES || bytes[PREFIX_BYTES - 1] !== 0x20) return undefined;
  const body = bytes.subarray(PREFIX_BYTES);
  if (bytes.toString('latin1', 0, PREFIX_BYTES - 1) !== crc32Hex(body, seed)) return undefined;
  try {
    const parsed: unknown = JSON.parse(body.toString());
    return isObject(parsed) ? parsed : undefined;
  } catch {
    return undefined;
  }
}

function parseRecord(bytes: Buffer, seed: number): JournalRecord | undefined {
  const parsed = parseLine(bytes, seed);
  if (parsed === undefined) return undefined;
  const text = `${bytes.toString()}\n`;
  const key = parsed['put'];
  if (typeof key === 'string') return { is: 'put', line: text, key, value: parsed['v'] ?? null };
  const report = parsed['done'];
  return isReport(report) ? { is: 'done', line: text, report } : undefined;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isReport(value: unknown): value is StepResultReport {
  return (
    isObject(value) &&
    typeof value['id'] === 'string' &&
    typeof value['outcome'] === 'string' &&
    isObject(value['step']) &&
    isObject(value['at'])
  );
}
