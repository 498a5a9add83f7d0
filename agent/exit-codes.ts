/**
 * Every exit code of the program, after sysexits.h where that has a word for it. They are an interface: batch systems,
 * units and scripts branch on them, so a number never changes its meaning.
 */
export const EXIT = {
  ok: 0,
  failure: 1,
  usage: 64,
  unavailable: 69,
  internal: 70,
  cannotCreate: 73,
  deadline: 75,
  notPermitted: 77,
  configuration: 78,
} as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** What `--help` and the manual page say of them. */
export const EXIT_CODE_TEXTS: Readonly<Record<ExitCode, string>> = {
  0: 'success',
  1: 'failure: the answer is no, or the request was refused',
  64: 'the command line is wrong',
  69: 'the daemon cannot be reached',
  70: 'internal error of mjf-agent',
  73: 'a directory or file cannot be created',
  75: 'exec: the deadline stopped the payload (requeue it)',
  77: 'not permitted',
  78: 'the configuration is wrong',
};
