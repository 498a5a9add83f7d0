/** The built program as a command, and who may run it. */
import { type ChildProcess, execFile, spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const PROGRAM = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../dist/mjf-agent.cjs');
/** Far beyond anything that is waited for, so that only what never comes runs into it. */
export const WAIT_MS = 60_000;
/** Nobody's: one below `nobody`, whom the daemon refuses as a caller. */
const PLAIN_UID = 65_533;

export interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs any command of the program to its end; killed after a while, since each of them must end by itself. */
export function runProgram(
  args: readonly string[],
  options: { readonly env?: Readonly<Record<string, string>>; readonly uid?: number; readonly program?: string } = {},
): Promise<Ran> {
  const { uid } = options;
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [options.program ?? PROGRAM, ...args],
      {
        cwd: '/',
        env: { PATH: process.env['PATH'], ...options.env },
        timeout: WAIT_MS,
        killSignal: 'SIGKILL',
        ...(uid !== undefined && { uid, gid: uid }),
      },
      (error, out, err) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : null;
        resolve({ code, out, err });
      },
    );
  });
}

/** A user to whom file permissions apply: ourselves, or another one where we are root; else why there is none. */
export function plainUser(): { readonly uid: number; readonly own: boolean } | { readonly reason: string } {
  const own = process.getuid?.() ?? 0;
  if (own !== 0) return { uid: own, own: true };
  const probe = spawnSync(process.execPath, ['-e', '0'], { uid: PLAIN_UID, gid: PLAIN_UID, cwd: '/' });
  return probe.status === 0
    ? { uid: PLAIN_UID, own: false }
    : { reason: `${process.execPath} cannot be run by uid ${PLAIN_UID}` };
}

const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** Also where a test file ends before its tests do. */
export function killAtExit(child: ChildProcess): void {
  running.add(child);
  child.once('exit', () => running.delete(child));
}
