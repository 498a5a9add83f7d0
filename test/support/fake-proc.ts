/** A /proc of files: processes that a test could not start, kill or give a start time to. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { Ending } from './processes.ts';

export interface FakeProcess {
  readonly pid: number;
  readonly ppid?: number;
  readonly uid?: number;
  /** Real, effective, saved, file system; default: all are `uid`. */
  readonly uids?: readonly [number, number, number, number];
  /** Words of the command line. */
  readonly command?: readonly string[];
  readonly startTicks?: number;
  readonly comm?: string;
  readonly state?: string;
  readonly flags?: number;
  /** Where its arguments begin: another place after each exec; 0 = not shown to us. */
  readonly arguments?: number;
  readonly size?: number;
  readonly cgroup?: string;
}

export interface FakeProc {
  readonly root: string;
  /** Adds or replaces. */
  put(...processes: readonly FakeProcess[]): void;
  end(pid: number): void;
}

/** Thousands of small files are a matter of moments only in memory. */
const inMemory = (): string => (fs.existsSync('/dev/shm') ? '/dev/shm' : os.tmpdir());

export function fakeProc(t: Ending): FakeProc {
  const root = fs.mkdtempSync(path.join(inMemory(), 'mjf-proc-'));
  t.after(() => fs.rmSync(root, { recursive: true }));
  return {
    root,
    put(...processes) {
      for (const one of processes) {
        const { pid, ppid = 1, uid = 1000, command = ['sleep'], comm = 'x', cgroup = '/' } = one;
        const { uids = [uid, uid, uid, uid] } = one;
        const dir = path.join(root, String(pid));
        fs.mkdirSync(dir, { recursive: true });
        fs.writeFileSync(path.join(dir, 'stat'), statOf({ ...one, ppid, comm }));
        fs.writeFileSync(path.join(dir, 'status'), `Name:\t${comm}\nUid:\t${uids.join('\t')}\nGid:\t0\n`);
        fs.writeFileSync(path.join(dir, 'cmdline'), command.map((word) => `${word}\0`).join(''));
        fs.writeFileSync(path.join(dir, 'cgroup'), `0::${cgroup}\n`);
      }
    },
    end: (pid) => fs.rmSync(path.join(root, String(pid)), { recursive: true }),
  };
}

/** proc(5), `/proc/PID/stat`: 52 fields, of which most are 0 here. */
function statOf({ pid, ppid, comm, state = 'S', flags = 0, startTicks = pid, size = 1, ...rest }: FakeProcess): string {
  const fields = new Map<number, number | string>([
    [1, pid],
    [2, `(${comm})`],
    [3, state],
    [4, ppid ?? 1],
    [5, pid],
    [6, pid],
    [9, flags],
    [20, 1],
    [22, startTicks],
    [23, size],
    [48, rest.arguments ?? 7],
  ]);
  return `${Array.from({ length: 52 }, (_, i) => fields.get(i + 1) ?? 0).join(' ')}\n`;
}
