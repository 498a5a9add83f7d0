/** The tab's own picture: whoever watches many machines sees the state of each without opening it. */
import { byId, svg } from './build.ts';

/** Told apart by their form too; each colour stands out from a light and from a dark bar of tabs. */
const FORMS: Readonly<Record<string, readonly [colour: string, d: string]>> = {
  running: ['#1a9d63', 'M8 1a7 7 0 1 1 0 14a7 7 0 1 1 0-14z'],
  draining: ['#c98500', 'M8 1a7 7 0 1 0 0 14zM8 2a6 6 0 1 1 0 12v1a7 7 0 1 0 0-14z'],
  stopping: ['#e0562b', 'M1 2h14l-7 13z'],
  stopped: ['#7a8594', 'M2 2h12v12h-12z'],
  overdue: ['#d8203f', 'M4.5 0h7l-1 10h-5zM5.5 11.5h5V16h-5z'],
  unknown: ['#7a8594', 'M1 3l2-2l5 5l5-5l2 2l-5 5l5 5l-2 2l-5-5l-5 5l-2-2l5-5z'],
};

let shownNow = '';

/** `state`: a phase, `overdue` or `unknown`. */
export function drawIcon(state: string): void {
  if (state === shownNow) return;
  shownNow = state;
  const [fill, d] = FORMS[state] ?? ['#7a8594', ''];
  const text = new XMLSerializer().serializeToString(svg('svg', { viewBox: '0 0 16 16' }, svg('path', { fill, d })));
  byId('icon').setAttribute('href', `data:image/svg+xml,${encodeURIComponent(text)}`);
}
