/** systemd's journal as the reader of our lines: each one says how grave it is, so that `journalctl -p warning` finds it (sd-daemon(3)). */
import fs from 'node:fs';

/** Priorities of syslog(3) by the levels of the log. */
const PRIORITIES: ReadonlyMap<string, number> = new Map([
  ['fatal', 2],
  ['error', 3],
  ['warn', 4],
  ['info', 6],
  ['debug', 7],
  ['trace', 7],
]);
/** As pino writes it: the level is the first field. */
const LEVEL = /^\{"level":"([a-z]+)"/;

/** In front of what is a fault and no line of the log. */
export const FAULT_PREFIX = `<${PRIORITIES.get('error')}>`;

/** Whether the descriptor is the stream that systemd has opened for it; not where output was redirected afterwards (systemd.exec(5)). */
export function isJournal(fd: number, env: Readonly<Record<string, string | undefined>>): boolean {
  const stream = env['JOURNAL_STREAM'];
  if (stream === undefined || stream === '') return false;
  try {
    const { dev, ino } = fs.fstatSync(fd, { bigint: true });
    return stream === `${dev}:${ino}`;
  } catch {
    // Closed.
    return false;
  }
}

/** The JSON line with its priority in front, which the journal takes off again. */
export function withPriority(line: string): string {
  const priority = PRIORITIES.get(LEVEL.exec(line)?.[1] ?? '');
  return priority === undefined ? line : `<${priority}>${line}`;
}
