/** `guestinfo.mjf`: all that a site has to say in one value, as a JSON object or as lines `KEY=VALUE`. */
import type { Pointers, Reading, Side } from '../lifetime/types.ts';
import { asRecord, asText, parseJson } from './json.ts';
import { isSiteKey, siteKeys } from './site-keys.ts';
import { SourceError } from './source.ts';

export interface GuestDocument {
  readonly keys: Readonly<Record<Side, Readonly<Record<string, Reading<string>>>>>;
  readonly pointers: Pointers;
}

const SIDES = [
  ['machinefeatures', 'machine'],
  ['jobfeatures', 'job'],
] as const;
const LEGAL_NAME = /^[A-Za-z0-9_]{1,64}$/;

/**
 * Names at the top or below `machinefeatures` and `jobfeatures`; those that are URLs or paths are pointers. This value is
 * the site's word to the payloads and holds nothing else, so its unknown names pass as if prefixed (S2.2). JSON's `null`
 * says "there is none"; other values that are no text, number or yes/no are faults of their key.
 * @throws SourceError `bad_json`, `bad_lines`.
 */
export function parseGuestDocument(text: string): GuestDocument {
  const given = text.trimStart().startsWith('{') ? fromJson(text) : fromLines(text);
  const keys = { machine: new Map<string, Reading<string>>(), job: new Map<string, Reading<string>>() };
  const pointers: { -readonly [K in keyof Pointers]: Pointers[K] } = {};
  for (const [name, value] of given) {
    const reading = readingOf(value);
    const found = siteKeys([[name, reading.is === 'present' ? reading.value : '']]);
    for (const [, side] of SIDES) for (const key of Object.keys(found[side])) keys[side].set(key, reading);
    Object.assign(pointers, found.pointers);
  }
  return { keys: { machine: Object.fromEntries(keys.machine), job: Object.fromEntries(keys.job) }, pointers };
}

type Given = readonly (readonly [name: string, value: unknown])[];

function readingOf(value: unknown): Reading<string> {
  if (value === null) return { is: 'negative' };
  const text = asText(value);
  return text === undefined ? { is: 'unknown', error: 'not_text' } : { is: 'present', value: text };
}

function fromJson(text: string): Given {
  const document = asRecord(parseJson(text, 'guestinfo.mjf'));
  if (document === undefined) throw new SourceError('bad_json', 'guestinfo.mjf is no JSON object');
  return Object.entries(document).flatMap(([name, value]): Given => {
    const folder = SIDES.find(([folderName]) => folderName === name)?.[0];
    const below = asRecord(value);
    if (folder === undefined || below === undefined) return [[meant(name), value]];
    // The form in which a name says its side (site-keys.ts).
    return Object.entries(below).map(([key, each]) => [`mjf@${folder}@${key}`, each] as const);
  });
}

/** Blank lines and those that begin with `#` are nobody's. */
function fromLines(text: string): Given {
  const lines = text.split(/\r\n|[\n\r]/).filter((line) => line.trim() !== '' && !line.trimStart().startsWith('#'));
  return lines.map((line) => {
    const at = line.indexOf('=');
    const name = line.slice(0, Math.max(0, at)).trim();
    // A text that is cut off or something else altogether must not clear what its other lines would say.
    if (!/^[\w@/]+$/.test(name))
      throw new SourceError('bad_lines', 'guestinfo.mjf is neither JSON nor lines KEY=VALUE');
    const [folder, key] = name.split('/', 2);
    const side = SIDES.find(([folderName]) => folderName === folder);
    const value = line.slice(at + 1).trim();
    return [side !== undefined && key !== undefined ? `mjf@${folder}@${key}` : meant(name), value] as const;
  });
}

const meant = (name: string): string => (isSiteKey(name) || !LEGAL_NAME.test(name) ? name : `mjf_${name}`);
