/** The agent's own HTTP address as it was published, so that it never reads its own output as a source (DESIGN.md, Interfaces). */
import fs from 'node:fs';
import path from 'node:path';
import { endpointOf, isOwnEndpoint } from '../own-endpoint.ts';

/** A URL is shorter; whatever else lies there is not read. */
const URL_FILE_LIMIT_BYTES = 1024;

/**
 * Whether `url` leads to the address in `runtimeDir/url`: a port that the kernel picked and inherited listeners stand only
 * there. Read anew on each call, since at the start of the agent the file is that of the last run, or not there yet.
 * Unreadable counts as "no".
 */
export function isOwnUrl(url: string, runtimeDir: string): boolean {
  const own = endpointOf(readUrlFile(path.join(runtimeDir, 'url')));
  return own !== undefined && isOwnEndpoint(url, [own]);
}

function readUrlFile(file: string): string {
  try {
    // Our own directory, on tmpfs: a synchronous read cannot hang.
    const fd = fs.openSync(file, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
    try {
      const buffer = Buffer.alloc(URL_FILE_LIMIT_BYTES);
      return buffer.toString('utf8', 0, fs.readSync(fd, buffer, 0, buffer.length, 0)).trim();
    } finally {
      fs.closeSync(fd);
    }
  } catch {
    return '';
  }
}
