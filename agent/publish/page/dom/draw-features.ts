/** The features of machine and job. */
import type { Features, Lifetime } from '../documents.ts';
import { distance, instant, isoInstant, meaning, shown } from '../texts.ts';
import { aside, byId, type Child, draw, h, quoted, several, table, tag } from './build.ts';
import { more, none } from './pieces.ts';
import { minute, nowMs } from './state.ts';

/** More rows than anybody reads; the rest is found by the filter, or by a program. */
const MOST_FEATURES = 200;
/** A search among less is in the way. */
const FEW_FEATURES = 20;

export function drawFeatures({ machinefeatures, jobfeatures }: Lifetime, filter: string): void {
  const all = Object.keys(machinefeatures).length + Object.keys(jobfeatures).length;
  byId('filter-row').hidden = all <= FEW_FEATURES;
  draw('features', `${minute()} ${filter}`, () => [
    ...featureTable('of the machine', machinefeatures, filter),
    ...featureTable('of the job', jobfeatures, filter),
  ]);
}

function featureTable(whose: string, features: Features, filter: string): readonly Child[] {
  const all = Object.entries(features);
  const found = all.filter(([key]) => key.includes(filter)).sort(([one], [other]) => (one < other ? -1 : 1));
  if (found.length === 0)
    return [none(all.length === 0 ? `None ${whose}.` : `None ${whose} with “${shown(filter, 40)}” in its name.`)];
  const now = nowMs();
  const rows = found.slice(0, MOST_FEATURES).map(([key, { value, source, since, stale }]): readonly Child[] => {
    const means = meaning(key, value, now);
    return [
      quoted(shown(key)),
      several(h('bdi', { class: 'code' }, shown(value)), means !== null && aside(means)),
      several(quoted(shown(source)), stale && ' ', stale && tag('stale: its source is silent', 'warn')),
      h(
        'time',
        { datetime: isoInstant(since), title: instant(since, now) },
        distance(Math.min(since, now / 1000), now).replace(/ ago$/, ''),
      ),
    ];
  });
  const caption = `${whose.replace(/^of the /, '').replace(/^./, (letter) => letter.toUpperCase())} features (${found.length})`;
  return [
    table(caption, ['Key', 'Value', 'Source', 'For'], rows),
    more(found.length - rows.length, 'search for a key, or ask /v1/lifetime.'),
  ];
}
