/** A bar of time: how much of a span is over, and where in it things begin. Pure; no colour is needed to read it. */
import type { Look } from './look.ts';

export interface Span {
  readonly fromSecs: number;
  readonly toSecs: number;
  readonly nowSecs: number;
  /** One letter each at its instant: `d` where draining begins. */
  readonly marks: readonly (readonly [letter: string, atSecs: number])[];
}

/** `[#####--d---s-]`, `cells` wide with its brackets. */
export function timeBar({ fromSecs, toSecs, nowSecs, marks }: Span, cells: number, { unicode }: Look): string {
  const room = Math.max(1, cells - 2);
  const [over, left] = unicode ? ['█', '░'] : ['#', '-'];
  const placeOf = (secs: number): number => Math.floor(shareOf(secs, fromSecs, toSecs) * room);
  const passed = placeOf(nowSecs);
  const signs = Array.from({ length: room }, (_, place) => (place < passed ? over : left));
  for (const [letter, atSecs] of marks) if (atSecs > fromSecs && atSecs < toSecs) signs[placeOf(atSecs)] = letter;
  return `[${signs.join('')}]`;
}

/** 0 to 1. A span without length is over. */
export function shareOf(secs: number, fromSecs: number, toSecs: number): number {
  if (toSecs <= fromSecs) return 1;
  return Math.max(0, Math.min(1, (secs - fromSecs) / (toSecs - fromSecs)));
}
