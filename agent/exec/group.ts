/** Whether anybody of a payload's process group still runs; a zombie that nobody reaps does not. */
import fs from 'node:fs';
import type { ProcessRef } from '../lifetime/types.ts';
import { readProcess } from '../payloads/process.ts';

export function groupAlive(leader: ProcessRef): boolean {
  try {
    process.kill(-leader.pid, 0);
  } catch (error) {
    // EPERM: members there are, only not ours to signal.
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  // Signal 0 finds zombies too. In a container without a reaper they would stay for ever.
  for (const entry of fs.readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const info = readProcess(Number(entry));
      if (info?.pgrp === leader.pid && info.state !== 'Z' && info.state !== 'X') return true;
    } catch {
      // Somebody else's, and hidden from us: not of our group.
    }
  }
  return false;
}
