/** One picture of `mjf-agent watch` on a terminal. Pure. */

import { escapeLine } from '../escape.ts';
import { paragraph } from '../terminal/grid.ts';
import { ellipsisOf, type Look, painted } from '../terminal/look.ts';
import { cut, padded, widthOf } from '../terminal/width.ts';
import type { LifetimeDocument } from './lifetime-document.ts';
import type { PayloadRow } from './own-payloads.ts';
import { statusHead } from './status-head.ts';
import { statusSections } from './status-screen.ts';
import { clockText, instantText } from './times.ts';

export interface WatchState {
  readonly lifetime: LifetimeDocument;
  readonly payloads: readonly PayloadRow[];
  /** Lines as a pipe gets them, the newest last. */
  readonly changes: readonly string[];
  /** Since when nobody answers; null while the daemon does. */
  readonly lostSinceMs: number | null;
}

/** Of the changes, so many are shown at the least when there are as many: they are what one watches for. */
const FEWEST_CHANGES = 4;
const TITLE = 'mjf-agent watch';
const KEYS_TEXT = 'q ends';

/** At most `rows` lines, none wider than `look.columns`. */
export function watchFrame(state: WatchState, nowMs: number, look: Look, rows: number): readonly string[] {
  const { lifetime, lostSinceMs } = state;
  const isOld = lostSinceMs !== null;
  const head = [
    titleLine(nowMs, look),
    ...(lostSinceMs === null ? [] : lostLines(lostSinceMs, nowMs, look)),
    ...statusHead(lifetime, nowMs, look, { isLive: true, isOld }),
  ];
  const fewest = Math.min(FEWEST_CHANGES, state.changes.length) + 2;
  const sections = statusSections(lifetime, state.payloads, nowMs, look);
  const body = shortened(sections, rows - head.length - fewest, look);
  const changes = changeLines(state.changes, rows - head.length - body.length, look);
  return [...head, ...body, ...changes].slice(0, rows);
}

function titleLine(nowMs: number, look: Look): string {
  const width = look.columns ?? 80;
  const ellipsis = ellipsisOf(look);
  const right = cut(`${KEYS_TEXT}  ${instantText(Math.floor(nowMs / 1000))}`, width, ellipsis);
  const room = Math.max(0, width - widthOf(right) - 1);
  const left = room < TITLE.length ? '' : TITLE;
  return painted(padded(left, width - widthOf(right)) + right, 'quiet', look);
}

function lostLines(lostSinceMs: number, nowMs: number, look: Look): readonly string[] {
  const ago = clockText(nowMs - lostSinceMs);
  const text = `CONNECTION LOST ${ago} ago, waiting for the daemon: what follows is old (see "systemctl status mjf-agent")`;
  return paragraph(text, look).map((line) => painted(line, 'bad', look));
}

/** Sections are cut from below: the most important ones come first. */
function shortened(lines: readonly string[], room: number, look: Look): readonly string[] {
  if (lines.length <= room) return lines;
  if (room < 3) return [];
  const shown = lines.slice(0, room - 1);
  const rest = `and ${lines.length - shown.length} more lines ("mjf-agent status" shows them)`;
  return [...shown, cut(rest, look.columns ?? 80, ellipsisOf(look))];
}

function changeLines(changes: readonly string[], room: number, look: Look): readonly string[] {
  if (room < 3 || changes.length === 0) return [];
  const shown = changes.slice(-(room - 2));
  const lines = shown.map((line) => cut(escapeLine(line), look.columns ?? 80, ellipsisOf(look)));
  return ['', painted('Changes', 'strong', look), ...lines];
}
