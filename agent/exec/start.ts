/** The start of the payload's process. */
import type { ChildProcess } from 'node:child_process';
import type { ProcessRef } from '../lifetime/types.ts';
import { readProcess } from '../payloads/process.ts';
import { spawnClean } from '../spawn-clean.ts';

/** Shells' own numbers for a command that is not there, or not to be executed. */
const NOT_FOUND = 127;
const NOT_EXECUTABLE = 126;

export type Started =
  | { readonly child: ChildProcess; readonly leader: ProcessRef }
  /** `code` is what a shell would end with. */
  | { readonly code: number; readonly reason: string };

/** In a session and group of its own; who it is is read before anything else could have its number. */
export async function startCommand(command: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<Started> {
  const spawned = spawnClean(command, args, { env, stdio: 'inherit', detached: true });
  if ('error' in spawned) {
    if (spawned.error === 'not_found') return { code: NOT_FOUND, reason: `${command}: command not found` };
    const why =
      spawned.error === 'not_executable' ? 'it is no program, or this user may not execute it' : spawned.error;
    return { code: NOT_EXECUTABLE, reason: `${command}: cannot be executed (${why})` };
  }
  const { child } = spawned;
  const failed = new Promise<Error>((resolve) => child.once('error', resolve));
  const info = child.pid === undefined ? null : readProcess(child.pid);
  if (child.pid !== undefined && info !== null)
    return { child, leader: { pid: child.pid, startTicks: info.startTicks } };
  return { code: NOT_EXECUTABLE, reason: `${command}: cannot be started (${(await failed).message})` };
}
