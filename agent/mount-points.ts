/** What is mounted where, told by the kernel's table alone: even an `lstat` of a mount point can block for ever. */
import fs from 'node:fs';
import path from 'node:path';

/**
 * Mount points of this process's name space; null when the table cannot be read. Names with blanks stay escaped as the
 * kernel writes them (`\\040`): nobody asks for such.
 */
export function mountPoints(root: string): ReadonlySet<string> | null {
  try {
    const lines = fs.readFileSync(path.join(root, 'proc/self/mountinfo'), 'utf8').split('\n');
    return new Set(lines.map((line) => line.split(' ')[4] ?? ''));
  } catch {
    return null;
  }
}
