/** The lines of the journal that still count: what a compaction writes. Kept as text, so that compacting needs no encoding. */
import type { JournalRecord } from './journal-format.ts';

/**
 * Steps of 1,000 payloads several times over. A `done` is superseded by the next `put` of its payload, so more than this
 * only gathers where nobody puts any more; the oldest payload's are given up then.
 */
const MAX_DONE_LINES = 16_384;

export interface LiveRecords {
  apply(record: JournalRecord): void;
  /** All lines, each `put` before the `done` records that came after it. */
  text(): string;
  bytes(): number;
}

export function createLiveRecords(): LiveRecords {
  const puts = new Map<string, string>();
  /** By the payload's key, in order. */
  const dones = new Map<string, string[]>();
  let doneCount = 0;
  let liveBytes = 0;

  function forgetDones(key: string): void {
    const lines = dones.get(key) ?? [];
    doneCount -= lines.length;
    for (const line of lines) liveBytes -= Buffer.byteLength(line);
    dones.delete(key);
  }

  function apply(record: JournalRecord): void {
    if (record.is === 'done') {
      const key = `payload/${record.report.id}`;
      const lines = dones.get(key);
      if (lines === undefined) dones.set(key, [record.line]);
      else lines.push(record.line);
      doneCount += 1;
      liveBytes += Buffer.byteLength(record.line);
      const oldest = doneCount > MAX_DONE_LINES ? dones.keys().next().value : undefined;
      if (oldest !== undefined) forgetDones(oldest);
      return;
    }
    forgetDones(record.key);
    liveBytes -= Buffer.byteLength(puts.get(record.key) ?? '');
    puts.delete(record.key);
    if (record.value === null) return;
    puts.set(record.key, record.line);
    liveBytes += Buffer.byteLength(record.line);
  }

  return {
    apply,
    text: () => [...puts.values(), ...[...dones.values()].flat()].join(''),
    bytes: () => liveBytes,
  };
}
