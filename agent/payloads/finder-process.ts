/** What the search for payloads reads of each process, beside what process.ts reads. */
import fs from 'node:fs';
import path from 'node:path';
import { type ProcessStat, ProcessUnreadableError } from './process.ts';

/** `stat` is below 600 bytes; of a command line so much is tried. */
const READ_BYTES = 4096;
/** Shared by all readings: they are synchronous. */
const buffer = Buffer.allocUnsafe(READ_BYTES);

/** How the agent is called wherever it is installed. */
const OWN_NAMES = ['mjf-agent', 'mjf-agent.cjs'];
/** `node --flags… mjf-agent exec`: the program's name stands among the first words. */
const WORDS_BEFORE = 8;

export interface MarkedStat extends ProcessStat {
  /** Another one after each execve(2): the name, and where the kernel has put the arguments this time. */
  readonly mark: string;
}

/** null: it is gone, or it is not shown to us. */
export function readMarkedStat(pid: number, procRoot: string): MarkedStat | null {
  const length = readInto(`${procRoot}/${pid}/stat`);
  if (length === null) return null;
  const bytes = buffer.subarray(0, length);
  const open = bytes.indexOf(0x28);
  const close = bytes.lastIndexOf(0x29);
  const comm = bytes.toString('utf8', open + 1, close);
  // proc(5) counts from 1, and the first one here is the third.
  const fields = bytes.toString('latin1', close + 2).split(' ');
  const field = (number: number): string => fields[number - 3] ?? '';
  const startTicks = Number(field(22));
  if (open === -1 || close < open || !Number.isSafeInteger(startTicks)) {
    throw new ProcessUnreadableError(pid, 'stat is not as proc(5) says');
  }
  // Addresses are 0 for whoever may not trace the process; then its size will do, which changes more often.
  const place = field(48) === '0' || field(48) === '' ? field(23) : `${field(48)} ${field(28)}`;
  return {
    pid,
    startTicks,
    ppid: Number(field(4)),
    pgrp: Number(field(5)),
    session: Number(field(6)),
    state: field(3),
    flags: Number(field(9)),
    threads: Number(field(20)),
    comm,
    mark: `${comm} ${place}`,
  };
}

export interface Command {
  /** Its words joined by blanks, as far as they fit into 4 KiB. */
  readonly line: string;
  /** It looks like an `exec` of this program. */
  readonly isExec: boolean;
}

/** null: it is gone, or it is not shown to us. */
export function readCommand(pid: number, procRoot: string, ownFile: string): Command | null {
  const length = readInto(`${procRoot}/${pid}/cmdline`);
  if (length === null) return null;
  const words = buffer.toString('utf8', 0, length).replace(/\0+$/, '').split('\0');
  const program = words.slice(0, WORDS_BEFORE).findIndex((word) => isOwn(path.basename(word), ownFile));
  return { line: words.join(' '), isExec: program !== -1 && words[program + 1] === 'exec' };
}

const isOwn = (name: string, ownFile: string): boolean => OWN_NAMES.includes(name) || name === ownFile;

function readInto(file: string): number | null {
  let fd: number | null = null;
  try {
    fd = fs.openSync(file, 'r');
    return fs.readSync(fd, buffer, 0, READ_BYTES, 0);
  } catch {
    return null;
  } finally {
    if (fd !== null) fs.closeSync(fd);
  }
}
