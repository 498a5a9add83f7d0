/** How the sources fare, with a plot of the last readings of each. */
import type { Source } from '../documents.ts';
import { sparkOf } from '../spark.ts';
import { latency, shown } from '../texts.ts';
import { aside, type Child, draw, h, quoted, several, svg, table, tag } from './build.ts';
import { more, none, timeOf } from './pieces.ts';
import { state } from './state.ts';

const MOST_SOURCES = 50;
const MOST_FAULTS = 5;
const TONES: Readonly<Record<string, 'good' | 'bad' | 'warn' | ''>> = { ok: 'good', failed: 'bad', stale: 'warn' };
const SIGNS: Readonly<Record<string, string>> = { ok: '✓ ', failed: '✕ ', stale: '◷ ' };

export function drawSources(sources: readonly Source[]): void {
  draw('sources', String(state.round), () => {
    if (sources.length === 0) return [none('No channel of a host was found: "mjf-agent probe" says where it looked.')];
    const here = sources.filter(({ state: how }) => how !== 'absent');
    const away = sources.filter(({ state: how }) => how === 'absent');
    const rows = here.slice(0, MOST_SOURCES).map(sourceRow);
    return [
      rows.length > 0 && table('Where the values come from', ['Source', 'State', 'Last answer', 'Last readings'], rows),
      more(here.length - rows.length, '/v1/sources has them all.'),
      away.length > 0 &&
        h(
          'p',
          { class: 'note' },
          `Not on this machine: ${away
            .slice(0, MOST_SOURCES)
            .map(({ name }) => shown(name))
            .join(', ')}.`,
        ),
    ];
  });
}

function sourceRow(source: Source): readonly Child[] {
  const { name, state: how, last_success: last, last_error: error, latency_ms: took, poll_secs: poll } = source;
  const faults = Object.entries(source.faults);
  const offset = state.lifetime?.sources.find((one) => one.name === name)?.clock_offset_secs;
  return [
    quoted(shown(name)),
    several(
      tag(`${SIGNS[how] ?? ''}${how}`, TONES[how] ?? ''),
      error !== null && aside(`${shown(error.code)}: ${shown(error.detail)}`),
      ...faults.slice(0, MOST_FAULTS).map(([key, code]) => aside(`${shown(key)}: ${shown(code)}`)),
      faults.length > MOST_FAULTS && aside(`and ${faults.length - MOST_FAULTS} more faults`),
      offset !== undefined && aside(`its clock is ${Math.abs(offset)} s ${offset > 0 ? 'ahead' : 'behind'}`),
    ),
    several(
      last === null ? 'none yet' : timeOf(last),
      took !== null && aside(`${latency(took)}, ${poll === 0 ? 'read once' : `every ${poll} s`}`),
    ),
    sparkline(source),
  ];
}

const WIDTH = 150;
const HEIGHT = 30;

function sparkline({ history }: Source): HTMLElement {
  const { lines, failed, text } = sparkOf(history, WIDTH, HEIGHT);
  return several(
    svg(
      'svg',
      { class: 'spark', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': text },
      ...lines.map((points) => svg('polyline', { points })),
      // A cross, and a line through all the height: a failure is seen without its colour.
      ...failed.map((x) => svg('path', { d: `M${x} 8V${HEIGHT}M${x - 2} 2l4 4m0-4l-4 4` })),
    ),
    h('span', { class: 'aside', 'aria-hidden': 'true' }, text),
  );
}
