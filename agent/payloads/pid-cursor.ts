/**
 * Whether a pid can have been given away again. The kernel gives pids in a circle and tells how far it has come, so for a
 * number that it has not passed since we looked last the answer is a certain no.
 */
import fs from 'node:fs';

/** Below this many pids (a small name space) some hundred new processes go once around: nothing is certain then. */
const LEAST_SPACE = 32_768;

/** Twice the pace at which payloads are looked at, and one for a busy machine: longer, and a fast forker may come around. */
const LONGEST_GAP_MS = 3_000;

export interface PidCursor {
  /** The pid given last. */
  readonly last: number;
  /** Above the highest pid there can be. */
  readonly space: number;
  /** When it was read, on the monotonic clock. */
  readonly mono: number;
}

/** Where the kernel is now in this pid name space; null when that cannot be read. */
export function readPidCursor(procRoot: string, mono: number): PidCursor | null {
  try {
    // proc(5): `0.20 0.18 0.12 1/80 11206`.
    const last = Number(fs.readFileSync(`${procRoot}/loadavg`, 'latin1').trim().split(' ')[4]);
    const space = Number(fs.readFileSync(`${procRoot}/sys/kernel/pid_max`, 'latin1'));
    return Number.isSafeInteger(last) && last > 0 && space > 0 ? { last, space, mono } : null;
  } catch {
    return null;
  }
}

/** false is certain: a process that bore `pid` at `since` is the last that bore it until `until`. */
export function mayBeReused(pid: number, since: PidCursor | null, until: PidCursor | null): boolean {
  if (since === null || until === null || since.space !== until.space) return true;
  if (until.space < LEAST_SPACE || until.mono - since.mono > LONGEST_GAP_MS) return true;
  return until.last >= since.last ? pid > since.last && pid <= until.last : pid > since.last || pid <= until.last;
}

/** Whether no process at all has come in between. */
export function nobodyNew(since: PidCursor | null, until: PidCursor | null): boolean {
  return since !== null && until !== null && !mayBeReused(since.last, since, until) && since.last === until.last;
}
