/**
 * What OpenStack's documents hold for us. `meta_data.json`: the pointers and keys in `meta`, the machine's UUID.
 * `vendor_data.json` (whatever the site wrote) and `vendor_data2.json` (`{ SERVICE: { … } }`): the same names at the top,
 * one level down, and under `mjf`.
 */
import { asRecord, asText, parseJson } from './json.ts';
import { type SiteKeys, siteKeys } from './site-keys.ts';
import { SourceError } from './source.ts';

export const META_DATA = 'meta_data.json';
/** The stronger first: what is made for this machine counts before what is the same for all. */
export const VENDOR_DATA = ['vendor_data2.json', 'vendor_data.json'] as const;

export interface MetaData {
  readonly keys: SiteKeys;
  /** May be missing at first and appear late. */
  readonly uuid?: string;
}

type Named = readonly [name: string, value: string];

/** @throws SourceError `bad_json`, `bad_document` */
export function readMetaData(text: string, what: string): MetaData {
  const document = asRecord(parseJson(text, what));
  const given = document?.['meta'];
  const meta = given === undefined || given === null ? {} : asRecord(given);
  if (document === undefined || meta === undefined)
    throw new SourceError('bad_document', `${what} is not what OpenStack writes`);
  const uuid = asText(document['uuid'])?.trim();
  return {
    // What stands in `meta` was written for this machine: it comes last and counts.
    keys: siteKeys([...scalarsOf(document), ...namedIn(meta)]),
    ...(uuid === undefined || uuid === '' ? {} : { uuid }),
  };
}

/** A document of any other shape is the site's own business and has nothing for us. @throws SourceError `bad_json` */
export function readVendorData(text: string, what: string): SiteKeys {
  // Nova answers 200 with nothing where a provider gave nothing.
  if (text.trim() === '') return siteKeys([]);
  return siteKeys(namedIn(asRecord(parseJson(text, what)) ?? {}));
}

/** How deep names are looked for besides below `mjf`: `{ SERVICE: { shutdowntime: … } }`. */
const LEVELS_DOWN = 1;
const OURS = 'mjf';
const SIDES: readonly string[] = ['machinefeatures', 'jobfeatures'];

/** The outermost last, so that it counts. */
function namedIn(record: Readonly<Record<string, unknown>>, levels = LEVELS_DOWN, ours = false): readonly Named[] {
  const deeper = Object.entries(record).flatMap(([name, value]): readonly Named[] => {
    const inner = asRecord(value);
    if (inner === undefined) return [];
    // `{ machinefeatures: { total_cpu: 8 } }` says the side as the flat names do.
    if (SIDES.includes(name)) return scalarsOf(inner).map(([key, text]) => [`mjf@${name}@${key}`, text]);
    if (name === OURS && !ours) return namedIn(inner, 0, true);
    return levels > 0 ? namedIn(inner, levels - 1, ours) : [];
  });
  return [...deeper, ...scalarsOf(record)];
}

function scalarsOf(record: Readonly<Record<string, unknown>>): readonly Named[] {
  return Object.entries(record).flatMap(([name, value]): readonly Named[] => {
    const text = asText(value);
    return text === undefined ? [] : [[name, text]];
  });
}
