/**
 * Processes of a user whose command line matches (`[[payload]] match`): of each tree the topmost one, unless a payload
 * contains it already.
 */
import type { ConfiguredPayload } from '../config/types.ts';
import type { Report } from './finder.ts';
import type { Known } from './finder-known.ts';
import { openProcessRows, type Row } from './finder-rows.ts';
import type { Told } from './finder-told.ts';
import { isKernelThread, isZombie, ProcessUnreadableError, readCgroup, readProcess } from './process.ts';

/** More than a site starts side by side on one machine; an expression that finds more of them is too wide. */
const MOST_MATCHES = 256;
/** An `exec` that starts under load has told of itself by then. */
const EXEC_REGISTERS_MS = 10_000;
/** A longer line of parents is a riddle set by somebody. */
const MOST_PARENTS = 1_000;

export interface Wanted {
  readonly payload: ConfiguredPayload;
  readonly uid: number;
  readonly command: RegExp;
}

export interface MatcherOptions {
  readonly procRoot: string;
  readonly selfPid: number;
  readonly self: { readonly command: string; readonly args: readonly string[] } | undefined;
  readonly told: Told;
  nowMono(): number;
}

export interface Matcher {
  /** Reports what is new. Scans /proc unless nothing is wanted. Throws ProcessUnreadableError where /proc cannot be listed. */
  look(wanted: readonly Wanted[], known: Known, found: Report): void;
}

export function openMatcher(options: MatcherOptions): Matcher {
  const { procRoot, selfPid, told, nowMono } = options;
  const rows = openProcessRows(options);

  function parentOf(row: Row): Row | undefined {
    const parent = rows.get(row.ppid);
    if (row.ppid === 0 || (parent !== undefined && parent.startTicks <= row.startTicks)) return parent;
    // It has ended since, or its pid is another's: whose child is it now?
    rows.refresh(row);
    return rows.get(row.ppid);
  }

  /** Whether a payload contains it, or a process above it that is as good a match. */
  function isBelowAnother(row: Row, name: string, known: Known): boolean {
    let above = parentOf(row);
    for (let depth = 0; above !== undefined && depth < MOST_PARENTS; depth += 1) {
      if (above.pid === selfPid || known.leaderOf(above) === row.uid) return true;
      if (above.matches.includes(name)) return true;
      above = parentOf(above);
    }
    return false;
  }

  function isInGroup(row: Row, uid: number, known: Known): boolean {
    if (!known.hasGroups) return false;
    const group = readCgroup(row.pid, procRoot);
    return group !== null && known.covers(group, uid);
  }

  /** The look at it may be old, and who it is decides whom a signal hits. */
  function isStillThere(row: Row, uid: number): boolean {
    const info = readProcess(row.pid, procRoot);
    if (info === null || info.startTicks !== row.startTicks || isZombie(info) || isKernelThread(info)) return false;
    return info.uids.every((one) => one === uid);
  }

  function isCandidate(row: Row, { payload, uid }: Wanted, known: Known): boolean {
    if (!row.matches.includes(payload.name) || row.uid !== uid) return false;
    if (known.leaderOf(row) !== undefined || known.delivers(row)) return false;
    if (row.isExec && nowMono() - row.seenMono < EXEC_REGISTERS_MS) return false;
    try {
      return !isBelowAnother(row, payload.name, known) && isStillThere(row, uid) && !isInGroup(row, uid, known);
    } catch (error) {
      // Not identifiable, so that no signal could reach it either.
      if (error instanceof ProcessUnreadableError) return false;
      throw error;
    }
  }

  return {
    look(wanted, known, found) {
      if (wanted.length === 0) return rows.clear();
      rows.scan(wanted, known);
      // So that the same ones are taken at each look.
      const oldestFirst = [...rows.matching()].sort((a, b) => a.startTicks - b.startTicks || a.pid - b.pid);
      for (const one of wanted) {
        const { payload } = one;
        const room = Math.max(0, MOST_MATCHES - known.count(payload.name));
        const candidates: Row[] = [];
        for (const row of oldestFirst) {
          // One more than there is room for tells that there are more.
          if (candidates.length > room) break;
          if (isCandidate(row, one, known)) candidates.push(row);
        }
        told(`${payload.name}/many`, candidates.length > room ? 'match_too_many' : null, 'warn', {
          payload: payload.name,
          message: `payload ${payload.name} matches more than ${MOST_MATCHES} processes: the others are not stopped`,
        });
        for (const { pid, startTicks } of candidates.slice(0, room)) {
          found(payload, one.uid, { kind: 'process', leader: { pid, startTicks }, group: false });
        }
      }
    },
  };
}
