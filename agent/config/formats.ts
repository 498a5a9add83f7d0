/**
 * The kinds of text that configuration knows, each with its test and with what a person is told when it fails.
 * The schema names them as `format`; layers that skip the schema (flags) use the same tests.
 */
import os from 'node:os';
import path from 'node:path';
import { isDuration } from '../duration.ts';
import { isCronShaped } from '../sources/cron.ts';
import { isPoll } from '../sources/poll.ts';
import { isTimeZone } from '../sources/schedule-zone.ts';
import { parseListenAddress } from './listen.ts';

/** uid_t without -1, which means "nobody in particular". */
export const LARGEST_UID = 4_294_967_294;

/** As the kernel's own bound of a login name (LOGIN_NAME_MAX). */
const LONGEST_USER = 256;

export interface TextFormat {
  readonly test: (text: string) => boolean;
  /** Continues "expected …". */
  readonly expected: string;
}

export const TEXT_FORMATS = {
  duration: { test: isDuration, expected: 'a duration such as "2m"' },
  poll: { test: isPoll, expected: 'a duration such as "2m" or a cron expression' },
  // The fields are judged later (rules.ts, schedule-rules.ts): what knows them is large and loaded only where there are any.
  cron: { test: isCronShaped, expected: 'a cron expression of five or six fields such as "0 6 * * 2"' },
  'time-zone': { test: isTimeZone, expected: 'an IANA time zone such as "Europe/Zurich"' },
  'step-time': { test: (text) => text === 'grace' || isDuration(text), expected: '"grace" or a duration such as "5s"' },
  'absolute-path': { test: isAbsolutePath, expected: 'an absolute path such as "/run/mjf-agent"' },
  'http-url': {
    test: isHttpUrl,
    expected: 'a URL without user or password such as "https://site.example/joboutputs/vm-17"',
  },
  listen: {
    test: (text) => text === 'off' || parseListenAddress(text) !== undefined,
    expected: '"off" or an address and port such as "127.0.0.1:8653"',
  },
  signal: { test: (text) => Object.hasOwn(os.constants.signals, text), expected: 'a signal name such as "SIGTERM"' },
  'hook-name': { test: isHookName, expected: 'the name of a program in hooks.d/steps such as "save-state"' },
  'payload-name': {
    test: (text) => /^[A-Za-z0-9][A-Za-z0-9._@:+-]{0,63}$/.test(text),
    expected: 'a name of letters, digits and ._@:+- such as "condor"',
  },
  // Which of them may be stopped is judged later, with the reason (payload-rules.ts).
  unit: {
    test: (text) => /.\.(service|scope|slice)$/.test(text),
    expected: 'a systemd service, scope or slice such as "condor.service"',
  },
  cgroup: { test: isCgroupPath, expected: 'a control group below the root such as "/batch.slice/job-17"' },
  user: { test: isUser, expected: 'a user\'s name or number such as "condor" or 1001' },
  'flat-name': {
    test: (text) =>
      /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$/.test(text) && text !== 'shutdown_message' && text !== 'can_terminate.json',
    expected: 'a plain file name such as "heartbeat" (and not "shutdown_message" or "can_terminate.json")',
  },
  'final-word': { test: isFinalWord, expected: 'a code from 100 to 999 and a text, as in "300 no more work"' },
} as const satisfies Readonly<Record<string, TextFormat>>;

/** A last word to the site is a line, not a log; as the daemon takes it from payloads. */
const MAX_WORD_TEXT_CHARS = 200;

/** `NNN text` or `NNN` (mjf.md, "VM to site"); nothing in it moves a cursor or ends the line. */
function isFinalWord(text: string): boolean {
  return (
    /^[1-9]\d\d( .*)?$/.test(text) &&
    [...text.slice(3).trim()].length <= MAX_WORD_TEXT_CHARS &&
    !/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u.test(text)
  );
}

/** As run-parts(8) knows programs from what a package manager or editor left beside them. */
function isHookName(text: string): boolean {
  return (
    /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/.test(text) &&
    !/\.(rpmsave|rpmnew|rpmorig|dpkg-[a-z-]+|bak|orig|swp)$/.test(text)
  );
}

/** Absolute, canonical, and not the root: everything is in that. */
function isCgroupPath(text: string): boolean {
  if (!isAbsolutePath(text)) return false;
  const parts = text.split('/').filter((part) => part !== '');
  return parts.length > 0 && !parts.includes('.') && !parts.includes('..');
}

/** A number, or a name as useradd(8) takes it, or with a domain. Whether the user exists is asked when it is needed. */
function isUser(text: string): boolean {
  if (/^\d+$/.test(text)) return Number(text) <= LARGEST_UID;
  return text.length <= LONGEST_USER && /^[A-Za-z0-9_.][A-Za-z0-9_.@\\-]*\$?$/.test(text);
}

/** Absolute, without control characters. Configured paths are never relative: a daemon has no meaningful directory. */
export function isAbsolutePath(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: exactly these must not stand in a path
  return path.isAbsolute(text) && !/[\u0000-\u001f\u007f]/.test(text);
}

/**
 * http or https, with a host and without credentials, which would end up in logs. An IPv6 zone (`[fe80::1%25eth0]`), which
 * link-local servers need and Node's URL refuses, is allowed.
 */
export function isHttpUrl(text: string): boolean {
  try {
    const url = new URL(text.replace(/%25[\w.-]+(?=\])/, ''));
    return /^https?:$/.test(url.protocol) && url.username === '' && url.password === '';
  } catch {
    return false;
  }
}

/** MJF's variables carry no trailing slash (mjf.md, Locations). */
export function withoutTrailingSlash(text: string): string {
  return text.length > 1 ? text.replace(/\/+$/, '') || '/' : text;
}
