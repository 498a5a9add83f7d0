/** The agent's own HTTP address, so that it never reads its own output as a source (DESIGN.md, Interfaces). */
import fs from 'node:fs';
import path from 'node:path';

/** A URL is shorter; whatever else lies there is not read. */
const URL_FILE_LIMIT_BYTES = 1024;

/**
 * Whether `url` leads to this agent: a loopback address with host and port of `runtimeDir/url`. Read anew on each call,
 * since at the start of the agent the file is that of the last run, or not there yet. Unreadable counts as "no".
 */
export function isOwnUrl(url: string, runtimeDir: string): boolean {
  const theirs = loopbackEndpoint(url);
  if (theirs === undefined) return false;
  return theirs === loopbackEndpoint(readUrlFile(path.join(runtimeDir, 'url')));
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

/** `host:port` with the three spellings of "this machine" made one; undefined for anything not on loopback. */
function loopbackEndpoint(text: string): string | undefined {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    return undefined;
  }
  const port = url.port === '' ? (url.protocol === 'https:' ? '443' : '80') : url.port;
  if (['localhost', '127.0.0.1', '[::1]', '[::ffff:7f00:1]'].includes(url.hostname)) return `loopback:${port}`;
  return url.hostname.startsWith('127.') ? `${url.hostname}:${port}` : undefined;
}
