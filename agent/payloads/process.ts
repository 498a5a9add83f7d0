/** What /proc says of a process, read synchronously: an identity that is read with await in between is no identity. */
import fs from 'node:fs';
import type { ProcessRef } from '../lifetime/types.ts';

/**
 * One read must hold the whole of `stat` (below 600 bytes), of `status` as far as `Uid:` (below 400), and of `cgroup`: in
 * hybrid mode a dozen lines, and nested containers have paths of some hundred bytes.
 */
const READ_BYTES = 16 * 1024;

/** PF_KTHREAD of linux/sched.h. */
const KERNEL_THREAD_FLAG = 0x0020_0000;

/** Shared by all readings: they are synchronous, and 1,000 buffers a tick are work for the collector. */
const buffer = Buffer.allocUnsafe(READ_BYTES);

/** proc(5), `/proc/PID/stat`, as far as it says which process this is. */
export interface ProcessStat {
  readonly pid: number;
  /** Start in clock ticks since boot: pid and this together are never given twice in one boot. */
  readonly startTicks: number;
  readonly ppid: number;
  readonly pgrp: number;
  readonly session: number;
  /** `R S D Z T t X I`. */
  readonly state: string;
  readonly flags: number;
  readonly threads: number;
  readonly comm: string;
}

export interface ProcessInfo extends ProcessStat {
  /** Real, effective, saved, file system. */
  readonly uids: readonly [number, number, number, number];
}

/** The process is there, but who it is cannot be read (hidepid, no descriptors left): nobody may be signalled on a guess. */
export class ProcessUnreadableError extends Error {
  readonly code = 'unreadable';
  readonly pid: number;
  constructor(pid: number, cause: unknown) {
    super(`process ${pid} cannot be identified: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    this.name = 'ProcessUnreadableError';
    this.pid = pid;
  }
}

/** The process as it is now; null when it is gone. A zombie is still there, in state `Z`. Throws ProcessUnreadableError only. */
export function readProcess(pid: number, procRoot = '/proc'): ProcessInfo | null {
  const stat = readProcessStat(pid, procRoot);
  if (stat === null) return null;
  const length = readInto(pid, procRoot, 'status');
  if (length === null) return null;
  // The kernel escapes newlines in `Name:`, so no process can write a `Uid:` line of its own above the true one.
  const match = /\nUid:\t(\d+)\t(\d+)\t(\d+)\t(\d+)\n/.exec(buffer.toString('latin1', 0, length));
  if (match === null) throw new ProcessUnreadableError(pid, 'no Uid line in status');
  return { ...stat, uids: [Number(match[1]), Number(match[2]), Number(match[3]), Number(match[4])] };
}

/** As `readProcess` without the uids, at half its cost; for finding candidates. */
export function readProcessStat(pid: number, procRoot = '/proc'): ProcessStat | null {
  const length = readInto(pid, procRoot, 'stat');
  if (length === null) return null;
  const bytes = buffer.subarray(0, length);
  // The name may contain blanks and parentheses; after the last `)` there are only numbers and one letter.
  const open = bytes.indexOf(0x28);
  const close = bytes.lastIndexOf(0x29);
  const fields = bytes.toString('latin1', close + 2).split(' ');
  const startTicks = Number(fields[19]);
  if (open === -1 || close < open || !Number.isSafeInteger(startTicks)) {
    throw new ProcessUnreadableError(pid, 'stat is not as proc(5) says');
  }
  return {
    pid,
    startTicks,
    ppid: Number(fields[1]),
    pgrp: Number(fields[2]),
    session: Number(fields[3]),
    state: fields[0] ?? '',
    flags: Number(fields[6]),
    threads: Number(fields[17]),
    comm: bytes.toString('utf8', open + 1, close),
  };
}

/** All pids that /proc shows to us. Throws ProcessUnreadableError (pid 0) when /proc itself cannot be read. */
export function listProcesses(procRoot = '/proc'): readonly number[] {
  try {
    const pids: number[] = [];
    for (const name of fs.readdirSync(procRoot)) if (/^[1-9]\d*$/.test(name)) pids.push(Number(name));
    return pids;
  } catch (error) {
    throw new ProcessUnreadableError(0, error);
  }
}

/** Every process that can be read. One that cannot is left out: those of others may be hidden from us rightly. */
export function scanProcesses(procRoot = '/proc'): readonly ProcessStat[] {
  const found: ProcessStat[] = [];
  for (const pid of listProcesses(procRoot)) {
    try {
      const stat = readProcessStat(pid, procRoot);
      if (stat !== null) found.push(stat);
    } catch (error) {
      if (!(error instanceof ProcessUnreadableError)) throw error;
    }
  }
  return found;
}

/**
 * The control group of a process as the kernel names it below the root of cgroup v2; null when the process is gone or there
 * is no v2. Throws ProcessUnreadableError.
 */
export function readCgroup(pid: number, procRoot = '/proc'): string | null {
  const length = readInto(pid, procRoot, 'cgroup');
  if (length === null) return null;
  if (length === READ_BYTES) throw new ProcessUnreadableError(pid, 'more control groups than fit');
  // cgroups(7): hierarchy 0 is v2. The kernel allows no newline in a name, so that no path can look like another line.
  return /^0::(.+)$/m.exec(buffer.toString('utf8', 0, length))?.[1] ?? null;
}

/**
 * A zombie has ended: nothing of it can react to a signal. One whose first thread alone has ended is shown as a zombie too,
 * and lives on in its other threads.
 */
export function isZombie(stat: ProcessStat): boolean {
  return (stat.state === 'Z' && !(stat.threads > 1)) || stat.state === 'X';
}

/** Whether this very process still runs. One that we may not look at counts as running. */
export function processLives(ref: ProcessRef, procRoot = '/proc'): boolean {
  try {
    const stat = readProcessStat(ref.pid, procRoot);
    return stat !== null && stat.startTicks === ref.startTicks && !isZombie(stat);
  } catch (error) {
    if (error instanceof ProcessUnreadableError) return true;
    throw error;
  }
}

export function isKernelThread(stat: ProcessStat): boolean {
  return (stat.flags & KERNEL_THREAD_FLAG) !== 0;
}

function readInto(pid: number, procRoot: string, name: 'stat' | 'status' | 'cgroup'): number | null {
  let fd: number | null = null;
  try {
    fd = fs.openSync(`${procRoot}/${pid}/${name}`, 'r');
    return fs.readSync(fd, buffer, 0, READ_BYTES, 0);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    // ESRCH: it went between open and read.
    if (code === 'ESRCH' || (code === 'ENOENT' && !isHidden(pid, procRoot))) return null;
    throw new ProcessUnreadableError(pid, error);
  } finally {
    if (fd !== null) fs.closeSync(fd);
  }
}

/** With hidepid=2 a living process of another user looks like none. Signal 0 asks the kernel itself. */
function isHidden(pid: number, procRoot: string): boolean {
  if (procRoot !== '/proc') return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
