/**
 * Trees of files that take minutes to make and are kept in the user's cache: what containers and virtual machines boot. Also
 * where the tools for that are found.
 */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

/** Of what it is about to be killed for, a script may still take its own things away. */
const KILL_AFTER = '--kill-after=10';

/** `name` counts editions: an older tree is not taken for this one. */
export const cachePlace = (name: string): string =>
  path.join(process.env['XDG_CACHE_HOME'] || path.join(os.homedir(), '.cache'), 'mjf-agent', name);

/** Where Debian has what only root needs. */
const SEARCHED = [...(process.env['PATH'] ?? '').split(':'), '/usr/sbin', '/sbin', '/usr/bin', '/bin'];
export const environment = (): NodeJS.ProcessEnv => ({ ...process.env, PATH: SEARCHED.join(':'), LC_ALL: 'C' });
export const found = (tool: string): string | null =>
  SEARCHED.map((dir) => path.join(dir, tool)).find((file) => fs.existsSync(file)) ?? null;

/**
 * Runs a shell's script with `args` as `$1` and so on; null, or how it ended (null: out of time) and its last words. Locked,
 * since test files run side by side; in a mount name space, since things are mounted for it; out of time with all that it started.
 */
export function make(
  cache: string,
  script: string,
  args: readonly string[],
  timeoutSecs: number,
): { readonly code: number | null; readonly said: string } | null {
  fs.mkdirSync(path.dirname(cache), { recursive: true });
  const locked = ['flock', `${cache}.lock`, 'unshare', '--mount', '--propagation', 'private'];
  const made = spawnSync('timeout', [KILL_AFTER, String(timeoutSecs), ...locked, 'sh', '-c', script, 'sh', ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    env: environment(),
    maxBuffer: 64 * 1024 * 1024,
  });
  if (made.status === 0) return null;
  return { code: made.status, said: `${made.stdout}\n${made.stderr}`.trim().split('\n').slice(-5).join(' | ') };
}
