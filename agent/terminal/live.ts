/**
 * A view that is drawn again and again in its place, and a terminal that is as before when it ends, whatever ends it.
 *
 * On the alternate screen: after a resize the terminal breaks the lines that stand there anew, and nobody can tell any more how
 * many of them to overwrite; there, what has scrolled by before stays untouched as well. Terminals without an alternate screen
 * (the kernel's console) are cleared instead.
 */
import fs from 'node:fs';
import { sizeOf } from './look.ts';

/** Alternate screen, no cursor, no wrapping: a character that is wider than we think must not push a line. */
const ENTER = '\u001b[?1049h\u001b[?25l\u001b[?7l\u001b[2J';
/** Cleared before it is left, for terminals that have only the one. */
const LEAVE = '\u001b[0m\u001b[2J\u001b[H\u001b[?7h\u001b[?25h\u001b[?1049l';
const HOME = '\u001b[H';
const END_OF_LINE = '\u001b[K';
const END_OF_SCREEN = '\u001b[J';
const CLEAR = '\u001b[2J';

const ENDING = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;
/**
 * Whether a stop has come about is told by nobody: a group without a shell is not stopped at all. So the view comes back after
 * this long at the latest; while the process is stopped, its timers are too.
 */
const STOP_MS = 200;

export interface LiveView {
  /** As many lines as the terminal has at the most, none wider than it. Writes nothing when nothing has changed. */
  draw(lines: readonly string[]): void;
  size(): { readonly columns: number; readonly rows: number };
  /** The terminal as it was before. */
  close(): void;
}

export interface LiveOptions {
  readonly stdout: NodeJS.WriteStream & { readonly fd: number };
  readonly stdin: NodeJS.ReadStream;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Another size, or the screen is ours again: to be drawn anew. */
  readonly onRedraw: () => void;
  /** `q`. */
  readonly onQuit: () => void;
}

export function openLive({ stdout, stdin, env, onRedraw, onQuit }: LiveOptions): LiveView {
  let isOpen = false;
  let shown = '';

  const write = (text: string): void => {
    try {
      // At once, also where the process ends in the next moment.
      fs.writeSync(stdout.fd, text);
    } catch {
      // The terminal is gone; its SIGHUP, or the next frame, ends us.
    }
  };
  const enter = (): void => {
    isOpen = true;
    shown = '';
    if (stdin.isTTY) stdin.setRawMode(true);
    write(ENTER);
  };
  const leave = (): void => {
    if (!isOpen) return;
    isOpen = false;
    write(LEAVE);
    if (stdin.isTTY) stdin.setRawMode(false);
  };
  const again = (): void => {
    enter();
    onRedraw();
  };

  /** As if there had been no handler, so that a shell learns how we ended. */
  const endBy = (signal: NodeJS.Signals): void => {
    close();
    process.kill(process.pid, signal);
  };
  /**
   * The terminal is gone. Not an exit of our own: Node puts the modes of its terminals back then, and aborts where that fails.
   */
  const onHangup = (): void => {
    if (!isClosed) endBy('SIGHUP');
  };
  const stop = (pid: number): void => {
    leave();
    process.off('SIGTSTP', onStop);
    process.kill(pid, 'SIGTSTP');
    setTimeout(onContinue, STOP_MS);
  };
  /** From outside: only we are meant. */
  const onStop = (): void => stop(process.pid);
  const onContinue = (): void => {
    if (isClosed) return;
    process.off('SIGTSTP', onStop);
    process.on('SIGTSTP', onStop);
    again();
  };
  const onResize = (): void => {
    if (!isOpen) return;
    shown = '';
    write(CLEAR);
    onRedraw();
  };
  /** Raw, so that `q` needs no Enter; then the terminal makes no signals of keys, and we do. */
  const onKeys = (keys: Buffer): void => {
    for (const key of keys.toString('latin1')) {
      if (key === 'q' || key === 'Q') onQuit();
      else if (key === '\u0003') endBy('SIGINT');
      else if (key === '\u001c') endBy('SIGQUIT');
      // The whole pipeline, as the terminal would.
      else if (key === '\u001a') stop(0);
      else if (key === '\u000c') onResize();
    }
  };
  let isClosed = false;
  const close = (): void => {
    if (isClosed) return;
    isClosed = true;
    leave();
    for (const signal of ENDING) process.off(signal, endBy);
    process.off('SIGTSTP', onStop);
    process.off('SIGCONT', onContinue);
    process.off('uncaughtException', leave);
    process.off('unhandledRejection', leave);
    process.off('exit', leave);
    stdout.off('resize', onResize);
    stdin.off('data', onKeys);
    stdin.off('end', onHangup);
    stdin.pause();
  };

  for (const signal of ENDING) process.on(signal, endBy);
  process.on('SIGTSTP', onStop);
  process.on('SIGCONT', onContinue);
  process.on('exit', leave);
  // Before anybody says what has happened: on the alternate screen nobody would read it.
  process.prependListener('uncaughtException', leave);
  process.prependListener('unhandledRejection', leave);
  stdout.on('error', onHangup);
  stdout.on('resize', onResize);
  // Raw, so the end of the input is no key. The last listener stays: that the modes cannot be put back is said as an error too.
  if (stdin.isTTY) stdin.on('data', onKeys).on('end', onHangup).on('error', onHangup);
  enter();

  return {
    draw(lines) {
      if (!isOpen) return;
      const frame = HOME + lines.map((line) => line + END_OF_LINE).join('\r\n') + END_OF_SCREEN;
      if (frame === shown) return;
      shown = frame;
      stdout.write(frame);
    },
    size: () => sizeOf(stdout, env),
    close,
  };
}
