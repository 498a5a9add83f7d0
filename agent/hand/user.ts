/** The user that hooks run as, by name or number. */
import fs from 'node:fs';
import { type SpawnUser, spawnClean } from '../spawn-clean.ts';
import { SAFE_PATH } from './safe-path.ts';

/** Accounts may stand in a directory service; one that does not answer must not hold a hook up for longer. */
const LOOKUP_TIMEOUT_MS = 5_000;
/** A line of passwd(5); far above the longest. */
const MAX_LINE = 4096;
/** Users do not change often, and each look into a directory service is somebody else's load. */
const REMEMBERED_MS = 60_000;
/** A name as useradd(8) takes it, or with a domain; never an option. */
const NAME = /^[A-Za-z0-9_.][A-Za-z0-9_.@\\-]*\$?$/;

export interface UserEntry extends SpawnUser {
  readonly home: string;
}

export interface FindUserOptions {
  readonly passwdFile?: string;
  readonly nowMs?: () => number;
}

/** Gives a function that finds a user: /etc/passwd first, then the system's other sources; null: there is none. Never throws. */
export function userFinder(options: FindUserOptions = {}): (user: string) => Promise<UserEntry | null> {
  const { passwdFile = '/etc/passwd', nowMs = () => performance.now() } = options;
  let last: { readonly user: string; readonly entry: UserEntry; readonly untilMs: number } | null = null;
  return async (user) => {
    if (last !== null && last.user === user && nowMs() < last.untilMs) return last.entry;
    if (!NAME.test(user)) return null;
    const entry = inFile(passwdFile, user) ?? entryOf(await askSystem(user), user);
    if (entry !== null) last = { user, entry, untilMs: nowMs() + REMEMBERED_MS };
    return entry;
  };
}

function inFile(file: string, user: string): UserEntry | null {
  try {
    for (const line of fs.readFileSync(file, 'utf8').split('\n')) {
      const entry = entryOf(line, user);
      if (entry !== null) return entry;
    }
  } catch {
    // A system without that file has other sources.
  }
  return null;
}

/** From a line of passwd(5), if it is this user's. A name that consists of digits is a number. */
function entryOf(line: string, user: string): UserEntry | null {
  const [name = '', , uid = '', gid = '', , home = ''] = line.trimEnd().split(':');
  if (!/^\d+$/.test(uid) || !/^\d+$/.test(gid) || name === '') return null;
  if (/^\d+$/.test(user) ? Number(uid) !== Number(user) : name !== user) return null;
  return { name, uid: Number(uid), gid: Number(gid), home: home.startsWith('/') ? home : '/' };
}

function askSystem(user: string): Promise<string> {
  const spawned = spawnClean('getent', ['passwd', '--', user], {
    env: { PATH: SAFE_PATH, LC_ALL: 'C' },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  if ('error' in spawned) return Promise.resolve('');
  const { child } = spawned;
  return new Promise((resolve) => {
    let said = '';
    const end = (text: string): void => {
      clearTimeout(timer);
      resolve(text);
    };
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      child.stdout?.destroy();
      child.unref();
      end('');
    }, LOOKUP_TIMEOUT_MS);
    child.on('error', () => end(''));
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(0, MAX_LINE);
    });
    child.once('close', () => end(said.split('\n')[0] ?? ''));
  });
}
