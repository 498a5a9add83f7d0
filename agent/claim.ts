/** One agent per runtime directory: two would overwrite each other's files and signal twice. */
import fs from 'node:fs';
import path from 'node:path';
import { makeDir } from './make-dir.ts';
import { readProcess } from './payloads/process.ts';

/** Another agent lives here already; the message says which. */
export class ClaimError extends Error {}

/**
 * Claims the directory for this process and gives the release. A claim of a process that is gone (its pid may be another's
 * by now, its start time not) is taken over. Where the directory cannot be written, the journal will say so; no claim then.
 */
export function claim(dir: string): () => void {
  const file = path.join(dir, 'agent.pid');
  const me = readProcess(process.pid);
  const mine = `${process.pid} ${me?.startTicks ?? 0}\n`;
  try {
    const [pid, startTicks] = fs.readFileSync(file, 'utf8').trim().split(' ').map(Number);
    if (pid !== undefined && pid > 1 && pid !== process.pid && readProcess(pid)?.startTicks === startTicks) {
      throw new ClaimError(
        `another mjf-agent (pid ${pid}) already serves this runtime directory; stop it first or give --runtime-dir`,
      );
    }
  } catch (error) {
    if (error instanceof ClaimError) throw error;
  }
  try {
    makeDir(dir, 0o700);
    fs.writeFileSync(`${file}.new`, mine, { mode: 0o600 });
    fs.renameSync(`${file}.new`, file);
  } catch {
    return () => {};
  }
  return () => {
    try {
      if (fs.readFileSync(file, 'utf8') === mine) fs.unlinkSync(file);
    } catch {
      // Gone already: nothing to release.
    }
  };
}
