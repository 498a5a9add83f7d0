/** The files below `hooks.d`: which there are, in their order, and which may be run. */
import fs from 'node:fs';
import path from 'node:path';
import { HOOK_EVENTS } from '../lifetime/types.ts';
import { trusted } from './trust.ts';

/** As run-parts(8) has it, with dots: no hidden files, no options, no path. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/;
/** What package managers and editors leave beside a file. */
const LEFT_BEHIND = /(\.rpmsave|\.rpmnew|\.rpmorig|\.dpkg-[a-z]+|\.bak|\.orig|\.swp|~)$/;
/** More is a mistake (a whole package unpacked there); each of them would cost a process. */
const MAX_FILES = 64;

/** Directory below `hooks.d` of the programs that steps of payloads name. */
export const STEP_DIRECTORY = 'steps';
const DIRECTORIES: readonly string[] = [...HOOK_EVENTS, STEP_DIRECTORY];

export interface HookList {
  /** Names, sorted by their bytes. */
  readonly files: readonly string[];
  readonly left: readonly { readonly file: string; readonly why: string }[];
}

/** What is to be run for an event. Empty where there is no such directory. Never throws. */
export function listHooks(dir: string, directory: string, owners: ReadonlySet<number>): HookList {
  const place = path.join(dir, directory);
  const way = trusted(place, owners);
  if (!way.ok) return { files: [], left: way.code === 'not_found' ? [] : [{ file: '', why: way.detail }] };
  let names: string[];
  try {
    names = fs.readdirSync(place);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
    return { files: [], left: code === 'ENOENT' ? [] : [{ file: '', why: `${place} cannot be read (${code})` }] };
  }
  const files: string[] = [];
  const left: { file: string; why: string }[] = [];
  // Not localeCompare: the order must not depend on a language.
  for (const file of names.sort((a, b) => (a < b ? -1 : 1))) {
    const found = checkHook(dir, directory, file, owners);
    if (!found.ok) left.push({ file, why: found.detail });
    else if (files.length < MAX_FILES) files.push(file);
    else left.push({ file, why: `there are more than ${MAX_FILES} files` });
  }
  return { files, left };
}

export type HookFile =
  | { readonly ok: true; readonly path: string }
  /** `not_found`, or `refused` with the reason. */
  | { readonly ok: false; readonly code: 'not_found' | 'refused'; readonly detail: string };

/** The file to run, by the path that was written, so that a script knows its name. `owners`: whom to trust. Never throws. */
export function checkHook(dir: string, directory: string, file: string, owners: ReadonlySet<number>): HookFile {
  if (!DIRECTORIES.includes(directory)) return refused(`${directory} is no directory of hooks`);
  if (!NAME.test(file)) return refused('its name is not made of letters, digits, dots, dashes and underscores');
  if (LEFT_BEHIND.test(file)) return refused('its name is that of a left-over copy');
  const written = path.join(dir, directory, file);
  const found = trusted(written, owners);
  if (!found.ok) return found;
  if (!found.stat.isFile()) return refused(`${written} is not a regular file`);
  if ((found.stat.mode & 0o111) === 0) return refused(`${written} is not executable`);
  return { ok: true, path: written };
}

const refused = (detail: string): HookFile => ({ ok: false, code: 'refused', detail });
