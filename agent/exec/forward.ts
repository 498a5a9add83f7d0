/** Ctrl-C on the terminal and the batch system's SIGTERM reach `exec` alone, since the payload has a session of its own. */

/** What a batch system, a terminal or an operator may send us for the payload. */
const FORWARDED = [
  'SIGINT',
  'SIGTERM',
  'SIGHUP',
  'SIGQUIT',
  'SIGUSR1',
  'SIGUSR2',
  'SIGCONT',
  'SIGWINCH',
  'SIGXCPU',
  'SIGALRM',
] as const;

/** Signals that we get go to the process group of `pid` from now on, as long as that number is the payload's. */
export function forwardSignals(pid: number, isOurs: () => boolean): void {
  // Ctrl-Z: a group without a terminal ignores SIGTSTP, so it is stopped outright, and goes on when we do (SIGCONT below).
  process.on('SIGTSTP', () => {
    if (isOurs()) send(-pid, 'SIGSTOP');
    process.kill(process.pid, 'SIGSTOP');
  });
  for (const signal of FORWARDED) process.on(signal, () => isOurs() && send(-pid, signal));
}

function send(pid: number, signal: string): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has just ended; its exit code is on the way.
  }
}
