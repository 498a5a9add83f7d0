/** A /proc of our own making with all that ties processes together, so that misfortune comes when the test wants it. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

export interface ProcEntry {
  readonly ppid?: number;
  readonly pgrp?: number;
  readonly session?: number;
  readonly start?: number;
  readonly uid?: number;
  readonly flags?: number;
  readonly state?: string;
  readonly threads?: number;
  readonly environ?: readonly string[];
  /** Below the root of v2. */
  readonly cgroup?: string;
}

export function procTree(t: { after(fn: () => void): void }) {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-proc-'));
  t.after(() => fs.rmSync(root, { recursive: true, force: true }));
  const write = (name: string, text: string) => {
    fs.mkdirSync(path.dirname(path.join(root, name)), { recursive: true });
    fs.writeFileSync(path.join(root, name), text);
  };
  return {
    root,
    write,
    remove: (pid: number) => fs.rmSync(path.join(root, String(pid)), { recursive: true, force: true }),
    add(pid: number, of: ProcEntry = {}) {
      const { ppid = 1, pgrp = pid, session = pgrp, start = 100, flags = 0, state = 'S', threads = 1 } = of;
      const middle = `0 -1 ${flags} 0 0 0 0 0 0 0 0 20 0 ${threads} 0 ${start} 0 0`;
      write(`${pid}/stat`, `${pid} (x) ${state} ${ppid} ${pgrp} ${session} ${middle}\n`);
      const owner = of.uid ?? process.getuid?.() ?? 0;
      write(`${pid}/status`, `Name:\tx\nUid:\t${owner}\t${owner}\t${owner}\t${owner}\nGid:\t0\n`);
      if (of.environ !== undefined) write(`${pid}/environ`, of.environ.map((entry) => `${entry}\0`).join(''));
      write(`${pid}/cgroup`, `5:cpu:/elsewhere\n0::${of.cgroup ?? '/'}\n`);
    },
    /** The pid given last, and how many there are. */
    cursor(last: number, space = 4_194_304) {
      write('loadavg', `0.20 0.18 0.12 1/80 ${last}\n`);
      write('sys/kernel/pid_max', `${space}\n`);
    },
  };
}
