/**
 * Who belongs to a payload of `exec`: its process group, and whoever carries its marker in the environment, as those do that
 * left the group by setsid or a double fork. A zombie that nobody reaps does not count.
 */
import fs from 'node:fs';
import type { ProcessRef } from '../lifetime/types.ts';
import { listProcesses, readProcess } from '../payloads/process.ts';
import { MARKER } from './environment.ts';

export interface Membership {
  readonly leader: ProcessRef;
  readonly marker: string;
}

/** Whether anybody is left. */
export function anybodyAlive({ leader, marker }: Membership): boolean {
  return listProcesses().some(
    (pid) => pid !== process.pid && isRunning(pid, (pgrp) => pgrp === leader.pid || isMarked(pid, marker)),
  );
}

/** Those outside the group. Only processes whose environment we may read: our own user's, all for root. */
export function marked({ leader, marker }: Membership): readonly number[] {
  return listProcesses().filter(
    (pid) => pid !== process.pid && isRunning(pid, (pgrp) => pgrp !== leader.pid && isMarked(pid, marker)),
  );
}

function isRunning(pid: number, belongs: (pgrp: number) => boolean): boolean {
  try {
    const info = readProcess(pid);
    return info !== null && info.state !== 'Z' && info.state !== 'X' && belongs(info.pgrp);
  } catch {
    // Somebody else's, and hidden from us: not of ours.
    return false;
  }
}

function isMarked(pid: number, marker: string): boolean {
  try {
    return fs.readFileSync(`/proc/${pid}/environ`, 'latin1').includes(`${MARKER}=${marker}`);
  } catch {
    return false;
  }
}
