/** One agent per runtime directory and per journal: two would overwrite each other's files and signal twice. */
import fs from 'node:fs';
import path from 'node:path';
import { makeDir } from './make-dir.ts';
import { readProcess } from './payloads/process.ts';

/** Two numbers and a blank. */
const CLAIM_BYTES = 64;

/** Another agent lives here already; the message says which. */
export class ClaimError extends Error {}

/**
 * Claims the directory for this process and gives the release. A claim of a process that is gone (its pid may be another's
 * by now, its start time not) is taken over. Where the directory cannot be written, the journal will say so; no claim then.
 */
export function claim(dir: string, mode: number): () => void {
  const file = path.join(dir, 'agent.pid');
  const me = readProcess(process.pid);
  const mine = `${process.pid} ${me?.startTicks ?? 0}\n`;
  try {
    const [pid, startTicks] = readSmall(file).trim().split(' ').map(Number);
    if (pid !== undefined && pid > 1 && pid !== process.pid && readProcess(pid)?.startTicks === startTicks) {
      throw new ClaimError(
        `another mjf-agent (pid ${pid}) already serves this runtime directory; stop it first or give --runtime-dir`,
      );
    }
  } catch (error) {
    if (error instanceof ClaimError) throw error;
  }
  try {
    makeDir(dir, mode);
    fs.rmSync(`${file}.new`, { force: true });
    // `wx` follows no link that somebody laid there.
    fs.writeFileSync(`${file}.new`, mine, { mode: 0o600, flag: 'wx' });
    fs.renameSync(`${file}.new`, file);
  } catch {
    return () => {};
  }
  return () => {
    try {
      if (readSmall(file) === mine) fs.unlinkSync(file);
    } catch {
      // Gone already: nothing to release.
    }
  };
}

/** Never waits, whatever somebody put there: a FIFO would hold the start for ever. Throws what `open` and `read` throw. */
function readSmall(file: string): string {
  const fd = fs.openSync(file, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK | fs.constants.O_NOFOLLOW);
  try {
    const buffer = Buffer.alloc(CLAIM_BYTES);
    return buffer.toString('utf8', 0, fs.readSync(fd, buffer, 0, buffer.length, 0));
  } finally {
    fs.closeSync(fd);
  }
}
