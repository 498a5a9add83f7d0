/**
 * One more file with the deadline, for the reader that looks at `/run/shutdown_time` (`[publish] shutdown_time_file`;
 * mjf.md, DIRAC). It lies outside our own directory, so nothing but a plain file is ever replaced or removed there, and
 * that it cannot be written holds up nothing else.
 */
import fs from 'node:fs';
import type { Logger } from 'pino';

/** Gives the function that makes the file show `value`, or takes it away for `undefined`. It never throws; a failure is logged once. */
export function shutdownTimeFile(file: string | null, log: Logger): (value: string | undefined) => void {
  if (file === null) return () => {};
  let broken: string | null = null;
  return (value) => {
    try {
      show(file, value);
      if (broken !== null) log.info({ event: 'shutdown_time_file_recovered' }, `${file} is written again`);
      broken = null;
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
      if (broken !== code) log.warn({ event: 'shutdown_time_file_failed', code }, (error as Error).message);
      broken = code;
    }
  };
}

function show(file: string, value: string | undefined): void {
  const status = fs.lstatSync(file, { throwIfNoEntry: false });
  if (status !== undefined && !status.isFile()) {
    throw Object.assign(new Error(`${file} is not a plain file: it is left alone`), { code: 'not_a_file' });
  }
  if (value === undefined) {
    fs.rmSync(file, { force: true });
    return;
  }
  const content = `${value}\n`;
  if (status !== undefined && status.size === content.length && fs.readFileSync(file, 'utf8') === content) return;
  // Somebody may have laid a link there for us: `wx` follows none.
  const temporary = `${file}.mjf-agent-tmp`;
  fs.rmSync(temporary, { force: true });
  fs.writeFileSync(temporary, content, { mode: 0o644, flag: 'wx' });
  fs.renameSync(temporary, file);
}
