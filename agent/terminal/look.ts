/** What may be shown where the output goes: how wide, in colour or not, with which characters. */

/** What a screen is laid out for. Plain data, so that layout is a pure function of it. */
export interface Look {
  /** Cells of a line; null: a pipe or a file, where nothing is shortened and nothing is left out. */
  readonly columns: number | null;
  readonly colour: boolean;
  /** Block characters and the ellipsis; else ASCII alone. */
  readonly unicode: boolean;
}

/** A pipe or a file. */
export const PLAIN_LOOK: Look = { columns: null, colour: false, unicode: false };

/** When nobody knows how wide the terminal is: a serial console says 0. */
const USUAL_COLUMNS = 80;
const USUAL_ROWS = 24;
/** Below this nothing can be laid out; a terminal that narrow has its lines broken by itself. */
const FEWEST_COLUMNS = 20;

interface OutStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  readonly rows?: number;
  hasColors?(env?: object): boolean;
}
type Env = Readonly<Record<string, string | undefined>>;

export function lookOf(stream: OutStream, env: Env): Look {
  const isTerminal = stream.isTTY === true;
  const columns = isTerminal ? sizeOf(stream, env).columns : null;
  return { columns, colour: hasColour(stream, env), unicode: isTerminal && !isDumb(env) && isUtf8(env) };
}

/** Of a terminal. `COLUMNS` and `LINES` count only where the terminal itself does not know: a shell's may be of another time. */
export function sizeOf({ columns, rows }: OutStream, env: Env): { readonly columns: number; readonly rows: number } {
  const known = columns || wholeNumber(env['COLUMNS']) || USUAL_COLUMNS;
  return { columns: Math.max(FEWEST_COLUMNS, known), rows: rows || wholeNumber(env['LINES']) || USUAL_ROWS };
}

/** Whether the cursor can be moved there: a live view needs that. */
export const canDraw = (stream: OutStream, env: Env): boolean => stream.isTTY === true && !isDumb(env);

/** As Node has it: FORCE_COLOR over NO_COLOR (https://no-color.org) over what the terminal can do. Also in a pipe, when forced. */
function hasColour(stream: OutStream, env: Env): boolean {
  const forced = env['FORCE_COLOR'];
  if (forced !== undefined) return forced !== '0' && forced !== 'false';
  if ((env['NO_COLOR'] ?? '') !== '' || stream.isTTY !== true || isDumb(env)) return false;
  return stream.hasColors?.(env) !== false;
}

const isDumb = (env: Env): boolean => (env['TERM'] ?? '') === '' || env['TERM'] === 'dumb';

/** By the variables of locale(7), the first that is set. */
const isUtf8 = (env: Env): boolean => /utf-?8/i.test(env['LC_ALL'] || env['LC_CTYPE'] || env['LANG'] || '');

const wholeNumber = (text: string | undefined): number => (/^\d{1,4}$/.test(text ?? '') ? Number(text) : 0);

export const ellipsisOf = ({ unicode }: Look): string => (unicode ? '…' : '...');

/** What a piece of text means; every one of them is also said in words. */
export type Tone = 'strong' | 'quiet' | 'good' | 'warning' | 'bad';

/** The sixteen colours alone: each terminal's own, readable on its own background. */
const CODES: Readonly<Record<Tone, string>> = { strong: '1', quiet: '2', good: '32', warning: '33', bad: '1;31' };

/** Around text that is laid out already. */
export function painted(text: string, tone: Tone | undefined, { colour }: Look): string {
  return !colour || tone === undefined || text === '' ? text : `\u001b[${CODES[tone]}m${text}\u001b[0m`;
}
