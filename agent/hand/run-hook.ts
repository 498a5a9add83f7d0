/** A hook file, from its name to its end: checked, given its user and environment, run. The same on both sides of the socket. */
import path from 'node:path';
import type { HooksConfig } from '../config/types.ts';
import type { HookOutcome, HookRequest } from './hand.ts';
import { checkHook } from './hook-files.ts';
import { runProgram } from './program.ts';
import { SAFE_PATH } from './safe-path.ts';
import type { UserEntry } from './user.ts';

/** Beyond this Node's timers fire at once (SYSTEMS.md, "Time"); 24 days are no bound for a hook anyway. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export interface RunHookOptions {
  readonly hooks: HooksConfig;
  /** Whose files may be run. */
  readonly owners: ReadonlySet<number>;
  /** As whom; null = as we are. */
  readonly user: UserEntry | null;
  /** Home, where we run it as we are. */
  readonly home: string;
  readonly scratchDir: string;
  readonly procRoot: string;
}

/** Runs one file below `hooks.dir`. Never rejects. */
export async function runHook(request: HookRequest, options: RunHookOptions): Promise<HookOutcome> {
  const found = checkHook(options.hooks.dir, request.directory, request.file, options.owners);
  if (!found.ok) return { is: 'not_run', code: found.code, detail: found.detail };
  const { user } = options;
  return runProgram(found.path, {
    ...(user === null ? {} : { user }),
    env: { ...request.env, ...accountEnvironment(user, options.home) },
    stdin: request.stdin,
    timeoutMs: Math.min(request.timeoutMs, options.hooks.timeoutMs, MAX_TIMER_MS),
    scratchDir: path.resolve(options.scratchDir),
    procRoot: options.procRoot,
    onLine: request.onLine,
    ...(request.signal === undefined ? {} : { signal: request.signal }),
    ...(request.onStarted === undefined ? {} : { onStarted: request.onStarted }),
  });
}

/** What a login would set, and a search path that nobody else chose. */
function accountEnvironment(user: UserEntry | null, home: string): Readonly<Record<string, string>> {
  const account: Readonly<Record<string, string>> =
    user === null ? { HOME: home } : { HOME: user.home, USER: user.name, LOGNAME: user.name };
  return { PATH: SAFE_PATH, ...account };
}
