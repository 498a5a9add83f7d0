/** The process around a command: stdout and stderr, broken pipes, uncaught errors, and an end that is never held up. */
import { escapeLine, escapeLines } from '../escape.ts';
import { EXIT } from '../exit-codes.ts';
import type { Output } from './command.ts';
import { dispatch } from './dispatch.ts';

/** A reader that does not take the last words within this time does not get them: exit must not hang on a stuck pipe. */
const LAST_WORDS_MS = 2000;

/** Runs the command line and ends the process with the command's exit code. */
export function runProcess(argv: readonly string[]): void {
  let printed = false;
  const output: Output = {
    out(text) {
      if (!printed) process.stdout.on('error', endQuietly);
      printed = true;
      process.stdout.write(text);
    },
    complain(sentence) {
      printError(sentence);
    },
  };
  process.on('uncaughtException', crash);
  process.on('unhandledRejection', crash);
  dispatch(argv, output, process.env).then((code) => end(code, printed), crash);
}

function end(code: number, printed: boolean): void {
  if (!printed) process.exit(code);
  process.stdout.write('', () => process.exit(code));
  setTimeout(() => process.exit(code), LAST_WORDS_MS);
}

/** `mjf-agent watch | head -1`: the reader has what it wants. */
function endQuietly(error: Error): void {
  process.exit('code' in error && error.code === 'EPIPE' ? EXIT.ok : EXIT.failure);
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
    process.stderr.write(`mjf-agent: ${escapeLine(text)}\n`);
  } catch {
    // stderr is closed: there is nobody left to tell.
  }
}
