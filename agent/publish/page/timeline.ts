/**
 * Where the marks of the timeline stand. Pure. Between two marks there is room by the logarithm of the time between them: a
 * KILL five seconds before a deadline that is days away can still be told from it, and nothing is ever at the wrong side of
 * something else.
 */
import type { Mark } from './marks.ts';

export interface Placed {
  readonly mark: Mark;
  /** Along the axis, px from its start. */
  readonly along: number;
  /** Row of its label: 1, 2, … above the axis, -1, -2, … below; 0: no room for a label. */
  readonly row: number;
  /** Middle of the label, so that it stays within the picture. */
  readonly labelAt: number;
}
export interface Band {
  readonly phase: 'running' | 'draining' | 'stopping' | 'stopped';
  readonly from: number;
  readonly to: number;
  readonly past: boolean;
}
export interface Layout {
  readonly placed: readonly Placed[];
  readonly bands: readonly Band[];
  readonly length: number;
  readonly rowsAbove: number;
  readonly rowsBelow: number;
}

/** Room before the first and behind the last mark. */
const MARGIN = 28;
/** Two dots of different times can be told apart. */
const LEAST_GAP = 14;
/** A line of text and the air around it. */
const ROW_GAP = 44;
const MOST_ROWS = 4;
/** Of the fonts that systems have at this size: what the widest needs, so that labels rather stand too far apart. */
const LETTER = 6.9;
const LABEL_AIR = 14;

const weight = (secs: number): number => Math.log2(1 + Math.max(0, secs));

/** Left to right, within `length` px; labels in rows. `under`: the second line of each label. */
export function layHorizontally(marks: readonly Mark[], length: number, under: (mark: Mark) => string): Layout {
  const along = positions(marks, Math.max(0, length - 2 * MARGIN), (secs) => (secs === 0 ? 0 : LEAST_GAP));
  /** Right end of the last label in each row. */
  const ends = new Map<number, number>();
  const placed = marks.map((mark, index): Placed => {
    const at = MARGIN + (along[index] ?? 0);
    const width = Math.max(mark.label.length, under(mark).length) * LETTER + LABEL_AIR;
    const labelAt = width >= length ? length / 2 : Math.min(Math.max(at, width / 2), length - width / 2);
    const side = mark.kind === 'step' || mark.kind === 'past' ? -1 : 1;
    for (let level = 1; level <= MOST_ROWS; level++) {
      if ((ends.get(side * level) ?? 0) > labelAt - width / 2) continue;
      ends.set(side * level, labelAt + width / 2);
      return { mark, along: at, row: side * level, labelAt };
    }
    return { mark, along: at, row: 0, labelAt };
  });
  return finished(placed, length);
}

/** Top to bottom, as long as it takes: on a narrow screen every label has a line of its own. */
export function layVertically(marks: readonly Mark[]): Layout {
  const gaps = Math.max(0, marks.length - 1);
  const length = 2 * MARGIN + gaps * (ROW_GAP + 6);
  const along = positions(marks, length - 2 * MARGIN, () => ROW_GAP);
  const placed = marks.map((mark, index): Placed => {
    const at = MARGIN + (along[index] ?? 0);
    return { mark, along: at, row: 1, labelAt: at };
  });
  return finished(placed, length);
}

/** `least`: what a gap gets at the least; where that is too much for all, it shrinks alike. */
function positions(marks: readonly Mark[], room: number, least: (secs: number) => number): readonly number[] {
  const gaps = marks.slice(1).map((mark, index) => Math.max(0, mark.at - (marks[index]?.at ?? mark.at)));
  const wanted = gaps.map(least);
  const sum = (numbers: readonly number[]): number => numbers.reduce((total, one) => total + one, 0);
  const shrink = Math.min(1, room / Math.max(1, sum(wanted)));
  const rest = Math.max(0, room - sum(wanted) * shrink);
  const weights = gaps.map(weight);
  const total = sum(weights);
  let at = total === 0 && gaps.length === 0 ? room / 2 : 0;
  return [
    at,
    ...gaps.map((_secs, index) => {
      at += (wanted[index] ?? 0) * shrink + (total === 0 ? 0 : (rest * (weights[index] ?? 0)) / total);
      return at;
    }),
  ];
}

function finished(placed: readonly Placed[], length: number): Layout {
  const rows = placed.map(({ row }) => row);
  return {
    placed,
    bands: bandsOf(placed, length),
    length,
    rowsAbove: Math.max(0, ...rows),
    rowsBelow: Math.max(0, ...rows.map((row) => -row)),
  };
}

/** The axis in the colours of the phases, cut at `now`. */
function bandsOf(placed: readonly Placed[], length: number): readonly Band[] {
  const where = (kind: Mark['kind']): number | undefined => placed.find(({ mark }) => mark.kind === kind)?.along;
  const now = where('now') ?? 0;
  const end = where('deadline') ?? length;
  const stop = Math.min(where('stop') ?? end, end);
  const drain = Math.min(where('drain') ?? stop, stop);
  const parts = [
    { phase: 'running', from: 0, to: drain },
    { phase: 'draining', from: drain, to: stop },
    { phase: 'stopping', from: stop, to: end },
    { phase: 'stopped', from: end, to: length },
  ] as const;
  return parts.flatMap((part) =>
    [
      { ...part, to: Math.min(part.to, now), past: true },
      { ...part, from: Math.max(part.from, now), past: false },
    ].filter(({ from, to }) => to > from),
  );
}
