/**
 * The one door through which every child is started (SYSTEMS.md, "Signals"). What a child would inherit from an agent is
 * taken off it: ambient capabilities (with CAP_KILL every payload could kill every process) and the descriptor limit that
 * Node raised. Both by small programs that exec the command: the pid stays, and there is no shell.
 */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

/** Where util-linux lives. Never $PATH: these run with the agent's capabilities still on. */
const TOOL_DIRS = ['/usr/bin', '/bin', '/usr/sbin', '/sbin'] as const;

/** The kernel's, systemd's and every shell's soft limit of descriptors. */
const DEFAULT_SOFT_NOFILE = 1024;

/** What execvp(3) searches when the environment names no PATH. */
const DEFAULT_PATH = '/usr/local/bin:/usr/bin:/bin';

export interface SpawnCleanOptions {
  readonly cwd?: string;
  /** Whole environment of the child; absent = our own. Its PATH is the one searched. */
  readonly env?: NodeJS.ProcessEnv;
  readonly stdio?: StdioOptions;
  /** In a session and process group of its own. */
  readonly detached?: boolean;
  /** As this user, with all of its groups; only root can. What it is given in the environment is the caller's matter. */
  readonly user?: SpawnUser;
  readonly procRoot?: string;
}

export interface SpawnUser {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

export type SpawnResult =
  | { readonly child: ChildProcess }
  /**
   * `not_found` is 127 for a shell, `not_executable` 126. `no_setpriv`: capabilities or root's rights would leak and the tool
   * that drops them is not installed.
   */
  | { readonly error: 'not_found' | 'not_executable' | 'no_setpriv'; readonly command: string };

/**
 * Starts `command`, searched in PATH as execvp(3) does. What fails later (cwd missing, no memory) comes as the child's
 * `error` event, or as exit code 126 or 127; throws only what `spawn` throws (TypeError for NUL in an argument).
 */
export function spawnClean(command: string, args: readonly string[], options: SpawnCleanOptions = {}): SpawnResult {
  const procRoot = options.procRoot ?? '/proc';
  const env = options.env ?? process.env;
  const resolved = resolveCommand(command, env['PATH'] ?? DEFAULT_PATH, options.cwd ?? process.cwd());
  if ('error' in resolved) return { error: resolved.error, command };
  const prefix: string[] = [];
  const { user } = options;
  if (user !== undefined || hasAmbientCapabilities(procRoot)) {
    const setpriv = findTool('setpriv');
    if (setpriv === null) return { error: 'no_setpriv', command };
    // Not Node's own `uid`: that leaves the groups of root in place.
    const become = user === undefined ? [] : [`--reuid=${user.uid}`, `--regid=${user.gid}`, '--init-groups'];
    prefix.push(setpriv, ...become, '--ambient-caps', '-all', '--inh-caps', '-all', '--');
  }
  const softLimit = limitToRestore(procRoot);
  const prlimit = softLimit === null ? null : findTool('prlimit');
  if (prlimit !== null) prefix.push(prlimit, `--nofile=${softLimit}:`, '--');
  const argv = [...prefix, resolved.path, ...args];
  const child = spawn(argv[0] ?? resolved.path, argv.slice(1), {
    env,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.stdio === undefined ? {} : { stdio: options.stdio }),
    detached: options.detached ?? false,
    shell: false,
  });
  return { child };
}

/** An absolute path of an executable file, searched as execvp(3) does: a match that may not be run does not end the search. */
function resolveCommand(
  command: string,
  searchPath: string,
  cwd: string,
): { readonly path: string } | { readonly error: 'not_found' | 'not_executable' } {
  const candidates = command.includes('/')
    ? [path.resolve(cwd, command)]
    : searchPath.split(':').map((dir) => path.resolve(cwd, dir, command));
  let error: 'not_found' | 'not_executable' = 'not_found';
  for (const candidate of command === '' ? [] : candidates) {
    const found = examine(candidate);
    if (found === 'executable') return { path: candidate };
    if (found === 'not_executable') error = found;
  }
  return { error };
}

function examine(file: string): 'executable' | 'not_executable' | 'not_found' {
  try {
    if (!fs.statSync(file).isFile()) return 'not_executable';
    fs.accessSync(file, fs.constants.X_OK);
    return 'executable';
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EACCES' ? 'not_executable' : 'not_found';
  }
}

function findTool(name: string): string | null {
  return TOOL_DIRS.map((dir) => path.join(dir, name)).find((file) => examine(file) === 'executable') ?? null;
}

function hasAmbientCapabilities(procRoot: string): boolean {
  const set = /^CapAmb:\t([0-9a-f]+)$/m.exec(readText(`${procRoot}/self/status`))?.[1];
  return set !== undefined && /[^0]/.test(set);
}

/**
 * The soft limit to give to a child; null = ours is as it was. Node raises its own to the hard one at start and keeps no
 * record: the parent's tells what it was. Pid 1 is no such parent, systemd raises its own too.
 */
function limitToRestore(procRoot: string): number | null {
  const own = softNofile(`${procRoot}/self/limits`);
  const parent = process.ppid > 1 ? softNofile(`${procRoot}/${process.ppid}/limits`) : null;
  const wanted = parent ?? DEFAULT_SOFT_NOFILE;
  return own !== null && own > wanted ? wanted : null;
}

function softNofile(file: string): number | null {
  const text = /^Max open files\s+(\d+|unlimited)\s/m.exec(readText(file))?.[1];
  if (text === undefined) return null;
  return text === 'unlimited' ? Number.POSITIVE_INFINITY : Number(text);
}

function readText(file: string): string {
  try {
    return fs.readFileSync(file, 'latin1');
  } catch {
    return '';
  }
}
