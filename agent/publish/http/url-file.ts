/** `runtimeDir/url`: where clients of the machine find the HTTP base URL, whatever port it is. */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Logger } from 'pino';
import { makeDir } from '../../make-dir.ts';

export interface UrlFile {
  /** Null removes it: absent is absent. */
  write(url: string | null): void;
  /** Writes it again if somebody removed or changed it. */
  mend(): void;
  remove(): void;
}

/** Makes the runtime directory and `.tmp` in it, where everything is born that is then renamed. Throws if it cannot. */
export function createUrlFile(runtimeDir: string, log: Logger): UrlFile {
  const temporary = path.join(runtimeDir, '.tmp');
  makeDir(runtimeDir, 0o755);
  makeDir(temporary, 0o700);
  const file = path.join(runtimeDir, 'url');
  let written: string | null = null;

  function write(url: string | null): void {
    if (url === written) return;
    try {
      if (url === null) rmSync(file, { force: true });
      else {
        const born = path.join(temporary, `url.${process.pid}`);
        // A left-over of a killed process would keep its mode.
        rmSync(born, { force: true });
        writeFileSync(born, `${url}\n`, { mode: 0o644, flag: 'wx' });
        renameSync(born, file);
      }
      written = url;
    } catch (err) {
      log.error({ event: 'url_file_failed', err, file }, `cannot write ${file}: clients will not find the agent by it`);
    }
  }
  function mend(): void {
    const wanted = written;
    if (wanted === null) return;
    try {
      if (readFileSync(file, 'utf8') === `${wanted}\n`) return;
    } catch {
      // Gone, or not a file any more.
    }
    written = null;
    write(wanted);
  }

  return { write, mend, remove: () => write(null) };
}
