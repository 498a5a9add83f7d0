/** A log whose lines a test reads. */
import pino, { type Logger } from 'pino';

export interface LogLine {
  readonly level: number;
  readonly event: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

/** `events` gives the lines since it was last asked. */
export function logLines(): { readonly log: Logger; take(): readonly LogLine[] } {
  let lines: LogLine[] = [];
  const log = pino({ level: 'trace' }, { write: (text: string) => void lines.push(JSON.parse(text)) });
  return {
    log,
    take() {
      const taken = lines;
      lines = [];
      return taken;
    },
  };
}
