/**
 * The log: pino JSON lines on stdout, one stable `event` each; on a terminal a line for people.
 * Fields of a line: `level` as a word, `time` ISO 8601, `pid`, `event`, what the caller adds, `msg`.
 */
import pino, { type Logger } from 'pino';
import type { LogLevel } from './config/log-levels.ts';
import { withPriority } from './log/journal.ts';
import { formatForPeople } from './log/people.ts';
import { createSink, type LineSink } from './log/sink.ts';

const STDOUT_FD = 1;

export interface LogOptions {
  readonly level: LogLevel;
  /** Whether a person reads: own short format instead of JSON. */
  readonly tty: boolean;
  /** Whether systemd's journal reads: the same JSON, with the priority in front for it. */
  readonly journal?: boolean;
  /** Where lines go instead of stdout (tests, `demo`). Gets whole lines with their line feed. */
  readonly stream?: { write(text: string): unknown };
  /** Told how many lines were lost since the last call, because stdout is stuck or gone. */
  readonly onDrop?: (lines: number) => void;
}

export interface Log {
  readonly log: Logger;
  /** Writes out what is still waiting, for at most a tenth of a second: before `process.exit`. Never throws. */
  flush(): void;
}

/**
 * Makes the log. Writing never blocks, never throws and never waits: what a stuck reader does not take is kept up to a
 * bound, then dropped and counted (SYSTEMS.md: a journal that cannot be written never holds back a signal).
 * A line without `event` gets `event: "message"`, so that a filter on the field misses nothing.
 */
export function createLog(options: LogOptions): Log {
  const sink: LineSink = options.stream
    ? passThrough(options.stream)
    : createSink({ fd: STDOUT_FD, onDrop: options.onDrop ?? (() => undefined) });
  const form = options.tty ? formatForPeople : options.journal ? withPriority : undefined;
  const destination = form === undefined ? sink : { write: (line: string) => sink.write(form(line)) };
  const log = pino(
    {
      level: options.level,
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      serializers: { err: withoutNoise },
      formatters: {
        level: (label) => ({ level: label }),
        log: (fields) => ('event' in fields ? fields : { event: 'message', ...fields }),
      },
    },
    destination,
  );
  return { log, flush: () => sink.flush() };
}

/** A stack is for our own faults. What the system refused (a full disk, a missing right) has a code, and says enough by that. */
function withoutNoise(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { message } = error;
  return 'code' in error ? { code: error.code, message } : { message, stack: error.stack };
}

function passThrough(stream: { write(text: string): unknown }): LineSink {
  return {
    write: (line) => {
      stream.write(line);
    },
    flush: () => undefined,
  };
}
