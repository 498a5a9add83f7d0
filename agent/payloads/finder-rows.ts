/**
 * What is remembered of each process, so that a machine with thousands of them costs little: one listing of /proc each
 * second, everything new is read at once, and of the rest a bounded number in turn. That is needed at all because a process
 * becomes another without a new pid: between fork and exec it still bears its parent's command line, and servers change
 * their user and their title later.
 */
import path from 'node:path';
import type { Known } from './finder-known.ts';
import type { MatcherOptions, Wanted } from './finder-match.ts';
import { readCommand, readMarkedStat } from './finder-process.ts';
import { openTrials } from './finder-trials.ts';
import { isKernelThread, isZombie, listProcesses, ProcessUnreadableError, readProcess } from './process.ts';

/** Looked at again each second while they may still become what they are to be. */
const YOUNG_MS = 10_000;
/** Of known processes at most so many are read again at one look: some 10 ms. Smaller machines are read whole. */
const READ_AGAIN = 512;
/** Of these, for processes of users that nobody asks for: one may change its user. */
const READ_OTHERS = 128;
/** A change of user or title that shows in nothing else is seen so late, or when it is its turn. */
const JUDGE_AGAIN_MS = 30_000;
/** Far beyond a working machine; the rest goes unseen, and the log says so. */
const MOST_ROWS = 65_536;

export interface Row {
  readonly pid: number;
  readonly startTicks: number;
  ppid: number;
  /** Changes when it executes another program. */
  mark: string;
  /** Its user where all four uids agree; else null. */
  uid: number | null;
  /** Names of the payloads that it matches. */
  matches: readonly string[];
  /** It looks like an `exec` of ours, which registers itself. */
  isExec: boolean;
  readonly isKernel: boolean;
  readonly seenMono: number;
  judgeAtMono: number;
}

export interface ProcessRows {
  /** One look. Throws ProcessUnreadableError where /proc cannot be listed. */
  scan(wanted: readonly Wanted[], known: Known): void;
  get(pid: number): Row | undefined;
  /** Reads its parent anew. */
  refresh(row: Row): void;
  /** All that match anything. */
  matching(): Iterable<Row>;
  clear(): void;
}

const NONE: readonly string[] = [];

export function openProcessRows({ procRoot, selfPid, self, told, nowMono }: MatcherOptions): ProcessRows {
  /** In the order in which they were last read: a row that is read goes to the end. */
  const rows = new Map<number, Row>();
  const matching = new Map<number, Row>();
  const trials = openTrials(told);
  const ownFile = path.basename(self?.args.at(-1) ?? self?.command ?? '');
  let asked = '';

  function read(pid: number): void {
    const before = rows.get(pid);
    rows.delete(pid);
    matching.delete(pid);
    const status = quietly(() => readMarkedStat(pid, procRoot));
    if (status === null) return;
    const isSame = before !== undefined && before.startTicks === status.startTicks;
    const row: Row = isSame
      ? before
      : {
          pid,
          startTicks: status.startTicks,
          ppid: status.ppid,
          mark: '',
          uid: null,
          matches: NONE,
          isExec: false,
          isKernel: isKernelThread(status),
          seenMono: nowMono(),
          judgeAtMono: 0,
        };
    rows.set(pid, row);
    row.ppid = status.ppid;
    if (isZombie(status)) row.matches = NONE;
    else if (!row.isKernel && (row.mark !== status.mark || nowMono() >= row.judgeAtMono)) judge(row, status.mark);
    if (row.matches.length > 0) matching.set(pid, row);
  }

  function judge(row: Row, mark: string): void {
    row.mark = mark;
    row.judgeAtMono = isYoung(row) ? 0 : nowMono() + JUDGE_AGAIN_MS;
    row.matches = NONE;
    const info = quietly(() => readProcess(row.pid, procRoot));
    const [uid] = info?.startTicks === row.startTicks ? info.uids : [];
    row.uid = uid !== undefined && info?.uids.every((one) => one === uid) ? uid : null;
    if (row.pid === 1 || row.pid === selfPid || !trials.wantsUser(row.uid)) return;
    const command = readCommand(row.pid, procRoot, ownFile);
    if (command === null) return;
    row.isExec = command.isExec;
    trials.add(row.uid, command.line, (matches) => {
      if (matches === null) row.judgeAtMono = 0;
      row.matches = matches ?? NONE;
      if (row.matches.length > 0) matching.set(row.pid, row);
      else matching.delete(row.pid);
    });
  }

  const isYoung = (row: Row): boolean => nowMono() - row.seenMono < YOUNG_MS;

  /** Inside of a payload nothing is looked for; what leaves it is in its turn soon enough. */
  function isInside(row: Row, known: Known): boolean {
    let above: Row | undefined = row;
    for (let depth = 0; above !== undefined && depth < MOST_ROWS; depth += 1) {
      if (known.leaderOf(above) === row.uid) return true;
      above = rows.get(above.ppid);
    }
    return false;
  }

  /** Those whose turn it is. */
  function chooseAgain(known: Known): readonly number[] {
    const first: number[] = [];
    const others: number[] = [];
    for (const row of rows.values()) {
      if (row.isKernel) continue;
      const isFirst = isYoung(row) || (trials.wantsUser(row.uid) && !isInside(row, known));
      if (isFirst) {
        if (first.length < READ_AGAIN) first.push(row.pid);
      } else if (others.length < READ_AGAIN) others.push(row.pid);
    }
    const share = Math.max(READ_OTHERS, READ_AGAIN - first.length);
    return [...first.slice(0, READ_AGAIN - Math.min(READ_OTHERS, others.length)), ...others.slice(0, share)];
  }

  function forgetEnded(pids: readonly number[]): void {
    const living = new Set(pids);
    for (const pid of rows.keys()) {
      if (living.has(pid)) continue;
      rows.delete(pid);
      matching.delete(pid);
    }
  }

  return {
    scan(wanted, known) {
      const question = wanted.map(({ payload, uid, command }) => `${payload.name} ${uid} ${command.source}`).join('\n');
      if (question !== asked) {
        rows.clear();
        matching.clear();
      }
      asked = question;
      trials.begin(wanted);
      const pids = listProcesses(procRoot);
      forgetEnded(pids);
      const again = chooseAgain(known);
      const fresh = pids.filter((pid) => !rows.has(pid)).slice(0, Math.max(0, MOST_ROWS - rows.size));
      told('/rows', pids.length > MOST_ROWS ? 'processes_too_many' : null, 'warn', {
        message: `there are more than ${MOST_ROWS} processes: payloads among the others are not found`,
      });
      for (const pid of fresh) read(pid);
      for (const pid of again) read(pid);
      trials.run();
    },
    get: (pid) => rows.get(pid),
    refresh(row) {
      const status = quietly(() => readMarkedStat(row.pid, procRoot));
      row.ppid = status?.startTicks === row.startTicks ? status.ppid : 0;
    },
    matching: () => matching.values(),
    clear() {
      rows.clear();
      matching.clear();
      asked = '';
    },
  };
}

/** What may not be read is not there for us: others' processes may be hidden rightly. */
function quietly<T>(read: () => T | null): T | null {
  try {
    return read();
  } catch (error) {
    if (error instanceof ProcessUnreadableError) return null;
    throw error;
  }
}
