/**
 * Machine/Job Features in places where a site writes its own names: tags, attributes, OpenStack `meta`, contexts, guestinfo
 * (SEMANTICS S2.2, mjf.md "Locations"). Known keys pass, `mjf_…` passes, the three pointers are told apart; everything else
 * is the tenant's own business and goes nowhere.
 */
import { KNOWN_INPUT_KEYS } from '../lifetime/features.ts';
import { POINTER_NAMES, type PointerName, type Pointers, type Reading, type Side } from '../lifetime/types.ts';
import { parseTarget } from './link-local-target.ts';

export interface SiteKeys {
  readonly machine: Readonly<Record<string, Reading<string>>>;
  readonly job: Readonly<Record<string, Reading<string>>>;
  readonly pointers: Pointers;
}

/** Flat values of older OpenStack sites: `mjf@machinefeatures@total_cpu`. */
const FLAT = /^mjf@(machinefeatures|jobfeatures)@(.+)$/;
const PREFIX = 'mjf_';
/** Of names that nobody knows. A site has a dozen; a machine with thousands of tags has them for something else. */
export const MAX_UNKNOWN_KEYS = 128;
/** No place is longer. */
const MAX_PLACE = 2_048;

/**
 * From all names and values that a site gave, in its own spelling but for case: contexts write `SHUTDOWNTIME`. Pointers are
 * places that can be used: http(s) URLs or absolute paths, without slashes at the end.
 */
export function siteKeys(given: Iterable<readonly [name: string, value: string]>): SiteKeys {
  const machine = new Map<string, Reading<string>>();
  const job = new Map<string, Reading<string>>();
  const pointers: Partial<Record<PointerName, string>> = {};
  const known = new Map<string, { readonly side: Side; readonly key: string; readonly value: string }>();
  const unknown: typeof known = new Map();
  for (const [spelt, value] of given) {
    const pointer = pointerOf(spelt);
    if (pointer !== undefined) {
      const place = placeOf(value);
      if (place !== undefined) pointers[pointer] = place;
      continue;
    }
    const book = isUnknown(spelt) ? unknown : known;
    for (const [side, key] of placesOf(spelt)) book.set(`${side}/${key}`, { side, key, value });
  }
  // By name: where a listing comes in another order, it is the same ones that are cut and none of them seems to be gone.
  const marked = [...unknown].sort(byName).slice(0, MAX_UNKNOWN_KEYS);
  for (const [, { side, key, value }] of [...known, ...marked])
    (side === 'machine' ? machine : job).set(key, { is: 'present', value });
  return { machine: Object.fromEntries(machine), job: Object.fromEntries(job), pointers };
}

/** Whether it is worth asking for the value under this name at all. */
export const isSiteKey = (name: string): boolean => pointerOf(name) !== undefined || placesOf(name).length > 0;

/**
 * Of a listing the names that are worth asking for one by one: all that are known, pointers too, and after them at most
 * `mostUnknown` others, by name.
 */
export function wantedNames(names: Iterable<string>, mostUnknown: number = MAX_UNKNOWN_KEYS): readonly string[] {
  const wanted = [...new Set(names)].filter(isSiteKey);
  const unknown = wanted.filter(isUnknown).sort();
  return [...wanted.filter((name) => !isUnknown(name)), ...unknown.slice(0, mostUnknown)];
}

/** Passes as marked by the site, but neither the specification nor this project gives it a meaning. */
export const isUnknown = (spelt: string): boolean =>
  placesOf(spelt).some(([, key]) => key.startsWith(PREFIX) && sidesOf(key.slice(PREFIX.length)).length === 0);

const byName = ([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number => (a < b ? -1 : 1);

const pointerOf = (spelt: string): PointerName | undefined =>
  POINTER_NAMES.find((name) => name === spelt.toLowerCase());

/** Where a name belongs. Old names keep their capitals (`mem_limit_MB`); all others are told apart without. */
function placesOf(spelt: string): readonly (readonly [Side, string])[] {
  const flat = FLAT.exec(spelt);
  if (flat) {
    const [, folder, key = ''] = flat;
    const side: Side = folder === 'machinefeatures' ? 'machine' : 'job';
    // Whoever wrote the side in front means it for the payloads: like a prefixed name.
    return [[side, knownAs(side, key) ?? PREFIX + key.toLowerCase()]];
  }
  const known = sidesOf(spelt);
  if (known.length > 0 || !spelt.toLowerCase().startsWith(PREFIX)) return known;
  const bare = spelt.slice(PREFIX.length);
  if (bare === '') return [];
  const sides = sidesOf(bare).map(([side]) => side);
  const name = PREFIX + bare.toLowerCase();
  // An unknown name says by its ending whose it is, as those of the specification do.
  return sides.length > 0 ? sides.map((side) => [side, name]) : [[/_job$/i.test(bare) ? 'job' : 'machine', name]];
}

function sidesOf(spelt: string): readonly (readonly [Side, string])[] {
  return (['machine', 'job'] as const).flatMap((side) => {
    const key = knownAs(side, spelt);
    return key === undefined ? [] : [[side, key] as const];
  });
}

const knownAs = (side: Side, spelt: string): string | undefined =>
  KNOWN_INPUT_KEYS[side].find((key) => key === spelt) ??
  KNOWN_INPUT_KEYS[side].find((key) => key.toLowerCase() === spelt.toLowerCase());

/** What could never be asked is not a place: in this boot it would stand in the way of the right one. */
function placeOf(value: string): string | undefined {
  const place = value.trim().replace(/\/+$/, '');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are exactly what is looked for
  if (place.length > MAX_PLACE || /[\s\u0000-\u001f\u007f]/.test(place)) return undefined;
  if (place.startsWith('/')) return place;
  return /^https?:\/\/[^/]/i.test(place) && typeof parseTarget(place) === 'object' ? place : undefined;
}
