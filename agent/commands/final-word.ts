/** A last word to the site as it stands on a command line (mjf.md, "VM to site"): `NNN` and one line of text. */
import type { FinalWord } from '../lifetime/types.ts';
import { UsageError } from './command.ts';

/** What the hundreds mean. The numbers between them refine; sites back off from 300 on. */
export const CODE_MEANINGS: readonly (readonly [code: number, meaning: string])[] = [
  [100, 'shutdown as requested by the host'],
  [200, 'intended work completed'],
  [300, 'no more work'],
  [400, 'banned or disabled'],
  [500, 'problem with what the site provided'],
  [600, 'grid-wide problem with the application'],
  [700, 'transient problem'],
];

/** As long as the daemon takes it: a line, not a log. */
const MAX_TEXT_CHARS = 200;
/** What moves a cursor, reorders or ends a line, or is no character at all. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u;

/** `what` is what the message begins with: `CODE`, `--code`. Throws a UsageError that says what would be right. */
export function parseFinalWord(what: string, code: string, text: string): FinalWord {
  if (!/^[1-9]\d\d$/.test(code)) throw new UsageError(`${what}: expected a number from 100 to 999, got "${code}"`);
  const line = text.trim();
  if ([...line].length > MAX_TEXT_CHARS || UNPRINTABLE.test(line))
    throw new UsageError(`${what}: the text is one printable line of at most ${MAX_TEXT_CHARS} characters`);
  return { code: Number(code), text: line };
}

/** `200 Intended work completed`, as it stands in shutdown_message. */
export const wordText = ({ code, text }: FinalWord): string => (text === '' ? String(code) : `${code} ${text}`);
