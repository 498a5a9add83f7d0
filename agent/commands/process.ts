/** The process around a command: stdout and stderr, broken pipes, uncaught errors, and an end that is never held up. */
import { escapeLine, escapeLines } from '../escape.ts';
import { EXIT } from '../exit-codes.ts';
import { FAULT_PREFIX, isJournal } from '../log/journal.ts';
import type { Output } from './command.ts';
import { dispatch } from './dispatch.ts';

const STDERR_FD = 2;
/** A reader that does not take the last words within this time does not get them: exit must not hang on a stuck pipe. */
const LAST_WORDS_MS = 2000;

/** Runs the command line and ends the process with the command's exit code. */
export function runProcess(argv: readonly string[]): void {
  let printed = false;
  const output: Output = {
    out(text) {
      if (!printed) process.stdout.on('error', endQuietly);
      printed = true;
      process.stdout.write(text, noteFailure);
    },
    complain(sentence) {
      printError(sentence);
    },
  };
  process.on('uncaughtException', crash);
  process.on('unhandledRejection', crash);
  dispatch(argv, output, process.env).then((code) => end(code, printed), crash);
}

/** The first one; those that follow only say that the stream is closed. */
let failure: Error | undefined;
function noteFailure(error?: Error | null): void {
  failure ??= error ?? undefined;
}

function end(code: number, printed: boolean): void {
  if (!printed) process.exit(code);
  // A full disk is told here at the latest: the stream's own event may come after this.
  process.stdout.write('', (error) => (error ? endQuietly(failure ?? error) : process.exit(code)));
  setTimeout(() => process.exit(code), LAST_WORDS_MS);
}

/** `mjf-agent watch | head -1`: the reader has what it wants. */
function endQuietly(error: Error): void {
  const code = 'code' in error ? error.code : undefined;
  if (code === 'EPIPE') process.exit(EXIT.ok);
  printError(`the output cannot be written: ${error.message}`);
  process.exit(EXIT.failure);
}

/** One line for the journal; the stack only for who asks, since it says nothing to an operator. */
function crash(error: unknown): void {
  const message = error instanceof Error ? error.message : String(error);
  printError(`internal error: ${message} (MJF_AGENT_DEBUG=1 shows where)`);
  if (process.env['MJF_AGENT_DEBUG'] === '1' && error instanceof Error)
    process.stderr.write(`${escapeLines(error.stack ?? '')}\n`);
  process.exit(EXIT.internal);
}

function printError(text: string): void {
  try {
    const prefix = isJournal(STDERR_FD, process.env) ? FAULT_PREFIX : '';
    process.stderr.write(`${prefix}mjf-agent: ${escapeLine(text)}\n`);
  } catch {
    // stderr is closed: there is nobody left to tell.
  }
}
