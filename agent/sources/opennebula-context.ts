/**
 * `context.sh` of OpenNebula's context ISO: assignments as a shell would understand them, read as data. Nothing is executed
 * or expanded; `$(…)` and `$NAME` stay the text that they are.
 */
import { SourceError } from './source.ts';

/** OpenNebula writes some fifty; a script full of them is something else. */
const MAX_VARIABLES = 1024;
const ASSIGNMENT = /^[A-Za-z_][A-Za-z0-9_]*=/;
/** What a backslash takes its meaning from within double quotes (POSIX 2.2.3); before anything else it stands for itself. */
const ESCAPABLE = '$`"\\';

/**
 * Variables by name, in the file's own spelling; of several assignments the last. Single quotes (over lines, with `'\''`),
 * double quotes, no quotes, `export`, CRLF and comments are understood; a line that is no assignment is passed over.
 * @throws SourceError `bad_context` with the line: a quote without end, too many variables
 */
export function parseContext(text: string): ReadonlyMap<string, string> {
  const variables = new Map<string, string>();
  const source = text.replace(/^\ufeff/, '').replace(/\r\n?/g, '\n');
  for (let at = 0; at < source.length; ) {
    const statement = readStatement(source, at);
    at = statement.end;
    const words = statement.words[0]?.raw === 'export' ? statement.words.slice(1) : statement.words;
    // `NAME=VALUE command` sets NAME for the command alone.
    if (!words.every(({ raw }) => ASSIGNMENT.test(raw))) continue;
    for (const { value } of words) {
      const equals = value.indexOf('=');
      variables.set(value.slice(0, equals), value.slice(equals + 1));
    }
    if (variables.size > MAX_VARIABLES) throw new SourceError('bad_context', `more than ${MAX_VARIABLES} variables`);
  }
  return variables;
}

interface Word {
  /** Its unquoted beginning, as written: a quoted `=` makes no assignment. */
  readonly raw: string;
  readonly value: string;
}

/** The words up to the end of the line or a semicolon, and where the next statement begins. */
function readStatement(source: string, start: number): { readonly words: readonly Word[]; readonly end: number } {
  const words: Word[] = [];
  for (let at = start; at < source.length; ) {
    const char = source[at];
    if (char === '\n' || char === ';') return { words, end: at + 1 };
    if (char === ' ' || char === '\t') at += 1;
    else if (char === '#') at = endOfLine(source, at);
    else {
      const word = readWord(source, at);
      words.push(word);
      at = word.end;
    }
  }
  return { words, end: source.length };
}

function readWord(source: string, start: number): Word & { readonly end: number } {
  const pieces: string[] = [];
  let raw: string | undefined;
  let at = start;
  for (let piece = nextPiece(source, at); piece !== undefined; piece = nextPiece(source, at)) {
    raw ??= piece.quoted ? '' : piece.text;
    pieces.push(piece.text);
    at = piece.end;
  }
  return { raw: raw ?? '', value: pieces.join(''), end: at };
}

interface Piece {
  readonly text: string;
  readonly quoted: boolean;
  readonly end: number;
}

/** A run of one kind of quoting; undefined where the word ends. */
function nextPiece(source: string, at: number): Piece | undefined {
  const char = source[at];
  if (char === undefined || ' \t\n;'.includes(char)) return undefined;
  if (char === "'") {
    const close = source.indexOf("'", at + 1);
    if (close < 0) throw unended(source, at);
    return { text: source.slice(at + 1, close), quoted: true, end: close + 1 };
  }
  if (char === '"') return doubleQuoted(source, at);
  if (char === '\\') {
    const next = source[at + 1];
    // Before the end of a line it joins two lines.
    return { text: next === '\n' || next === undefined ? '' : next, quoted: true, end: at + 2 };
  }
  PLAIN.lastIndex = at;
  const [text = char] = PLAIN.exec(source) ?? [];
  return { text, quoted: false, end: at + text.length };
}
/** Sticky: a file of one line must not be copied for each of its words. */
const PLAIN = /[^ \t\n;'"\\]+/y;

function doubleQuoted(source: string, start: number): Piece {
  const pieces: string[] = [];
  for (let at = start + 1; at < source.length; ) {
    const char = source[at] ?? '';
    if (char === '"') return { text: pieces.join(''), quoted: true, end: at + 1 };
    const next = source[at + 1] ?? '';
    if (char === '\\' && (next === '\n' || ESCAPABLE.includes(next))) {
      pieces.push(next === '\n' ? '' : next);
      at += 2;
    } else {
      pieces.push(char);
      at += 1;
    }
  }
  throw unended(source, start);
}

function endOfLine(source: string, at: number): number {
  const end = source.indexOf('\n', at);
  return end < 0 ? source.length : end;
}

function unended(source: string, at: number): SourceError {
  const line = source.slice(0, at).split('\n').length;
  return new SourceError('bad_context', `line ${line}: a quote that does not end`);
}
