/**
 * Processes by the marker in their environment, which every process inherits however it forked (SYSTEMS.md, "Signals").
 * Only those whose environment we may read: all for root, else our own user's.
 */
import fs from 'node:fs';
import type { ProcessTable } from './members.ts';
import { isKernelThread, isZombie, type ProcessStat } from './process.ts';

/** Large batch environments have some 100 KB. What stands behind this is not found. */
const MOST_BYTES = 256 * 1024;

/** Shared by all readings, which are synchronous; made when the first marker is looked for. */
let buffer: Buffer | null = null;

export interface MarkerReader {
  /** Who carries each of the markers. A process is read once; further scans add what is new in them. */
  find(table: ProcessTable): ReadonlyMap<string, readonly ProcessStat[]>;
}

/** For one delivery or look: a process can change its environment by running another program. */
export function createMarkerReader(markers: ReadonlySet<string>, procRoot: string, selfPid: number): MarkerReader {
  const found = new Map<string, ProcessStat[]>();
  const read = new Map<number, number>();
  return {
    find(table) {
      if (markers.size === 0) return found;
      for (const stat of table.byPid.values()) {
        if (read.get(stat.pid) === stat.startTicks) continue;
        read.set(stat.pid, stat.startTicks);
        if (stat.pid <= 1 || stat.pid === selfPid || isKernelThread(stat) || isZombie(stat)) continue;
        for (const entry of environmentOf(stat.pid, procRoot, markers) ?? []) {
          const row = found.get(entry);
          if (row === undefined) found.set(entry, [stat]);
          else if (row.at(-1) !== stat) row.push(stat);
        }
      }
      return found;
    },
  };
}

/** Whether a process carries the marker; null when that cannot be read. */
export function carries(pid: number, marker: string, procRoot = '/proc'): boolean | null {
  return environmentOf(pid, procRoot, new Set([marker]))?.includes(marker) ?? null;
}

/** Which of `wanted` stand in it; null when they are not for us, or nothing is there any more. */
function environmentOf(pid: number, procRoot: string, wanted: ReadonlySet<string>): readonly string[] | null {
  buffer ??= Buffer.allocUnsafe(MOST_BYTES);
  let fd: number | null = null;
  try {
    fd = fs.openSync(`${procRoot}/${pid}/environ`, 'r');
    let length = 0;
    while (length < MOST_BYTES) {
      const more = fs.readSync(fd, buffer, length, MOST_BYTES - length, length);
      if (more === 0) break;
      length += more;
    }
    // Byte by byte: a process can fill it with a quarter of a million entries, and nobody may wait for as many strings.
    const lengths = new Set([...wanted].map((entry) => entry.length));
    const found: string[] = [];
    for (let at = 0, start = 0; at < length; at += 1) {
      if (buffer[at] !== 0) continue;
      if (at > start && lengths.has(at - start)) {
        const entry = buffer.toString('latin1', start, at);
        if (wanted.has(entry)) found.push(entry);
      }
      start = at + 1;
    }
    return found;
  } catch {
    return null;
  } finally {
    if (fd !== null) fs.closeSync(fd);
  }
}
