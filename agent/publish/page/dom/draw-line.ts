/** The timeline as a picture, and as a list for whoever cannot see it. */
import { type Chosen, type Mark, marksOf } from '../marks.ts';
import { counted, distance, instant, isoInstant } from '../texts.ts';
import { type Band, type Layout, layHorizontally, layVertically, type Placed } from '../timeline.ts';
import { byId, draw, h, svg } from './build.ts';
import { deadline, nowMs, state } from './state.ts';

/** Below this a label for each mark fits only under each other. */
const NARROW = 620;
/** Height of a row of labels, and of the axis with its marks. */
const ROW = 36;
const AXIS = 30;

/** Once a second; drawn only where a pixel or a word has changed. */
export function drawLine(): void {
  const { lifetime, payloads, history } = state;
  if (lifetime === null) return;
  const now = nowMs();
  const chosen = marksOf({ lifetime, deadline: deadline(), payloads: payloads ?? [], history }, now);
  const width = Math.floor(byId('line').clientWidth);
  const upright = width < NARROW;
  const under = (mark: Mark): string => underOf(mark, now);
  const layout = upright ? layVertically(chosen.marks) : layHorizontally(chosen.marks, width, under);
  const looks = layout.placed.map((place) => [
    Math.round(place.along),
    place.row,
    place.mark.label,
    place.mark.state,
    under(place.mark),
  ]);
  draw('line', `${width} ${lifetime.phase} ${JSON.stringify(looks)}`, () => [
    upright ? tall(layout, width, under) : wide(layout, under),
  ]);
  drawWords(chosen, now);
}

function underOf({ kind, at, state: progress }: Mark, now: number): string {
  if (kind === 'now') return instant(at, now);
  const word = kind === 'step' && progress !== 'planned' && progress !== undefined ? `, ${progress}` : '';
  const far = distance(at, now);
  return `${far === 'now' ? instant(at, now) : far}${word}`;
}

function wide(layout: Layout, under: (mark: Mark) => string): Element {
  const axis = 8 + layout.rowsAbove * ROW + AXIS / 2;
  const height = axis + AXIS / 2 + layout.rowsBelow * ROW + 6;
  const rowAt = (row: number): number =>
    row > 0 ? axis - AXIS / 2 - (row - 1) * ROW - 20 : axis + AXIS / 2 - (row + 1) * ROW + 10;
  return picture(
    layout.length,
    height,
    ...layout.placed.flatMap(({ row, along }) =>
      row === 0
        ? []
        : [svg('path', { class: 'lead', d: `M${along} ${axis}V${row > 0 ? rowAt(row) + 18 : rowAt(row) - 12}` })],
    ),
    ...layout.bands.map((band) => line(band, `M${band.from} ${axis}H${band.to}`)),
    ...layout.placed.flatMap((place) => [
      markAt(place, place.along, axis, true),
      ...(place.row === 0 ? [] : label(place, place.labelAt, rowAt(place.row), 'middle', under)),
    ]),
  );
}

/** Where the axis stands, and where its labels begin. */
const LEFT = 14;
const TEXTS = 36;

function tall(layout: Layout, width: number, under: (mark: Mark) => string): Element {
  return picture(
    width,
    layout.length,
    ...layout.bands.map((band) => line(band, `M${LEFT} ${band.from}V${band.to}`)),
    ...layout.placed.flatMap((place) => [
      markAt(place, LEFT, place.along, false),
      ...label(place, TEXTS, place.along - 2, 'start', under),
    ]),
  );
}

const picture = (width: number, height: number, ...content: readonly Element[]): Element =>
  svg(
    'svg',
    {
      viewBox: `0 0 ${width} ${height}`,
      height,
      role: 'img',
      'aria-labelledby': 'line-title',
      'aria-describedby': 'line-list',
    },
    ...content,
  );

const line = ({ phase, past }: Band, d: string): Element =>
  svg('g', { 'data-phase': phase }, svg('path', { class: past ? 'band past' : 'band', d }));

/** A line for now, a diamond for the deadline, squares for steps (filled when taken), circles for all else. */
function markAt({ mark }: Placed, x: number, y: number, across: boolean): Element {
  const { kind, state: progress } = mark;
  if (kind === 'now') {
    const d = across ? `M${x} ${y - AXIS / 2}V${y + AXIS / 2}` : `M${x - 12} ${y}H${x + 14}`;
    return svg('path', { class: 'at-now', d });
  }
  const attributes = { class: `mark ${kind} ${progress ?? ''}` };
  if (kind === 'deadline') return svg('path', { ...attributes, d: `M${x} ${y - 8}l8 8l-8 8l-8-8z` });
  if (kind === 'step') return svg('rect', { ...attributes, x: x - 4.5, y: y - 4.5, width: 9, height: 9 });
  return svg('circle', { ...attributes, cx: x, cy: y, r: kind === 'past' ? 4 : 6 });
}

function label(
  { mark }: Placed,
  x: number,
  y: number,
  anchor: string,
  under: (mark: Mark) => string,
): readonly Element[] {
  return [
    svg(
      'text',
      { x, y, 'text-anchor': anchor, class: mark.kind },
      mark.label,
      svg('title', {}, mark.detail ?? mark.label),
    ),
    svg('text', { x, y: y + 14, 'text-anchor': anchor, class: 'under' }, under(mark)),
  ];
}

function drawWords({ marks, earlier }: Chosen, now: number): void {
  const hidden = (state.payloads ?? []).length === 0 && (state.lifetime?.payloads['running'] ?? 0) > 0;
  const notes = [
    'The wider the gap, the longer the time, but not in proportion: a second and a day both find room.',
    ...(earlier > 0 ? [`${counted(earlier, 'other past event is', 'other past events are')} listed below.`] : []),
    ...(hidden ? ['Steps of payloads are shown to their owners and root only.'] : []),
  ].join(' ');
  draw('line-note', notes, () => [notes]);
  const far = (at: number): string =>
    Math.abs(at * 1000 - now) < 60_000 ? '' : distance(Math.round(at / 60) * 60, Math.floor(now / 60_000) * 60_000);
  const rows = marks.map((mark) => ({ mark, far: mark.kind === 'now' ? '' : far(mark.at) }));
  const key = rows
    .map(({ mark, far: how }) => (mark.kind === 'now' ? 'now' : `${mark.at} ${mark.label} ${mark.state} ${how}`))
    .join();
  draw('line-list', key, () =>
    rows.map(({ mark, far: how }) =>
      mark.kind === 'now'
        ? h('li', {}, h('strong', {}, 'now'))
        : h(
            'li',
            {},
            h('time', { datetime: isoInstant(mark.at) }, instant(mark.at, now)),
            ` ${mark.detail ?? mark.label}`,
            mark.state === undefined ? '' : `, ${mark.state}`,
            how === '' ? '' : h('span', { class: 'muted' }, ` (${how})`),
          ),
    ),
  );
}
