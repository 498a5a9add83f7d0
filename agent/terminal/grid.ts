/** Rows in columns, and labels with what they say, in the width that there is. Pure. Every text is escaped here. */
import { escapeLine } from '../escape.ts';
import { ellipsisOf, type Look, painted, type Tone } from './look.ts';
import { cut, cutInside, padded, widthOf, wrapped } from './width.ts';

/** A text from anywhere, and what it means. */
export type Cell =
  | string
  | {
      readonly text: string;
      readonly tone: Tone | undefined;
      /** An address or a path: cut in its middle. */
      readonly isPlace?: boolean;
    };
export type Row = readonly Cell[];

const GAP = '  ';
/** In a pipe: the longest cell that is aligned; a longer one only pushes its own row. */
const WIDEST_IN_PIPE = 40;
/** On a terminal no column but the last one takes more than this part of a line, so that one long value does not part all others. */
const WIDEST_SHARE = 0.45;
/** A column up to this wide is a word, a name or a distance in time: cut through it would say nothing. */
const WIDEST_RIGID = 18;
/** What any other column keeps when room is short: a few characters and the ellipsis. */
const NARROWEST = 8;

/** Lines without line feeds. On a terminal none is wider than it is. */
export function grid(rows: readonly Row[], look: Look, indent = ''): readonly string[] {
  const cells = rows.map((row) =>
    row.map((cell) => (typeof cell === 'string' ? { text: cell, tone: undefined } : cell)),
  );
  const texts = cells.map((row) => row.map(({ text }) => escapeLine(text)));
  const widths = fitted(naturalWidths(texts, look), look, indent.length);
  return texts.map((row, y) => {
    const last = row.findLastIndex((text, x) => text !== '' && x < widths.length);
    const line = row.slice(0, last + 1).map((text, x) => {
      const width = widths[x] ?? 0;
      const cell = cells[y]?.[x];
      const shorten = cell?.isPlace ? cutInside : cut;
      const shown = look.columns === null ? text : shorten(text, width, ellipsisOf(look));
      const blanks = x === last ? '' : ' '.repeat(Math.max(0, width - widthOf(shown)));
      return painted(shown, cell?.tone, look) + blanks;
    });
    return indent + line.join(GAP);
  });
}

function naturalWidths(texts: readonly (readonly string[])[], { columns }: Look): readonly number[] {
  const count = Math.max(0, ...texts.map((row) => row.length));
  const most = columns === null ? WIDEST_IN_PIPE : Number.POSITIVE_INFINITY;
  return Array.from({ length: count }, (_, x) =>
    Math.max(...texts.map((row) => Math.min(widthOf(row[x] ?? ''), most))),
  );
}

/**
 * Widths that fit: the widest column gives way first; where that is not enough, the last columns are left out, since the first ones
 * name what a row is about.
 */
function fitted(natural: readonly number[], look: Look, indent: number): readonly number[] {
  if (look.columns === null) return natural;
  const cap = Math.floor(look.columns * WIDEST_SHARE);
  const widths = natural.map((width, x) => (x === natural.length - 1 ? width : Math.min(width, cap)));
  const gaps = GAP.length * Math.max(0, widths.length - 1);
  const least = natural.map((width) => (width <= WIDEST_RIGID ? width : NARROWEST));
  for (let over = indent + gaps + sum(widths) - look.columns; over > 0; over -= 1) {
    const spare = widths.map((width, x) => (width > (least[x] ?? 0) ? width : 0));
    const widest = spare.indexOf(Math.max(...spare));
    if ((spare[widest] ?? 0) === 0) {
      if (natural.length > 1) return fitted(natural.slice(0, -1), look, indent);
      return [Math.max(0, look.columns - indent)];
    }
    widths[widest] = (widths[widest] ?? 0) - 1;
  }
  return widths;
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0);

/** Lines that a fact may take on a terminal: a reason from outside may be a page long. */
const MOST_LINES = 3;

/** Less room beside the labels than this, and what they say goes below them. */
const NARROWEST_FACT = 22;

/** `label  what it says`, broken into lines where it is longer than a line of the terminal. */
export function facts(
  rows: readonly (readonly [label: string, cell: Cell])[],
  look: Look,
  indent = '',
): readonly string[] {
  const labels = Math.max(0, ...rows.map(([label]) => label.length));
  const isNarrow = look.columns !== null && look.columns - indent.length - labels - GAP.length < NARROWEST_FACT;
  const begin = indent + GAP + (isNarrow ? '' : ' '.repeat(labels));
  return rows.flatMap(([label, cell]) => {
    const { text, tone } = typeof cell === 'string' ? { text: cell, tone: undefined } : cell;
    const lines = brokenUp(escapeLine(text), look, begin.length).map((line) => painted(line, tone, look));
    if (isNarrow) return [...(label === '' ? [] : [indent + label]), ...lines.map((line) => begin + line)];
    return lines.map((line, y) => (y === 0 ? indent + padded(label, labels) + GAP : begin) + line);
  });
}

function brokenUp(text: string, look: Look, begin: number): readonly string[] {
  if (look.columns === null) return [text];
  const width = Math.max(1, look.columns - begin);
  const lines = wrapped(text, width);
  if (lines.length <= MOST_LINES) return lines;
  const rest = lines.slice(MOST_LINES - 1).join(' ');
  return [...lines.slice(0, MOST_LINES - 1), cut(rest, width, ellipsisOf(look))];
}

/** A paragraph, its first line indented so far and the others by two more. In a pipe lines of 80, as documents have them. */
export function paragraph(text: string, { columns }: Look, indent = ''): readonly string[] {
  const width = (columns ?? 80) - indent.length - GAP.length;
  return wrapped(escapeLine(text), Math.max(1, width)).map((line, y) => `${indent}${y === 0 ? '' : GAP}${line}`);
}
