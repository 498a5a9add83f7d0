/** Reads of /proc and /sys: present or not, bounded, never an error. */
import { open } from 'node:fs/promises';

/** Everything read here is a line or, like meminfo's first lines, comes early. */
const MOST_BYTES = 4096;

/** The beginning of a file, or undefined when it is not there, not readable or not a file. */
export async function readSmallFile(file: string): Promise<string | undefined> {
  try {
    const handle = await open(file, 'r');
    try {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(MOST_BYTES), 0, MOST_BYTES, 0);
      return buffer.toString('utf8', 0, bytesRead);
    } finally {
      await handle.close();
    }
  } catch {
    return undefined;
  }
}
