/** SMBIOS structures as Linux shows them (DSP0134 3.x, 6.1): the OEM strings (type 11), which a host may write. */
import { SourceError } from './source.ts';

const OEM_STRINGS = 11;
const END_OF_TABLE = 127;
/** Type, length and handle. */
const HEADER_BYTES = 4;
/** Ends a structure's texts, and is all there is where it has none. */
const DOUBLE_NUL = Buffer.from([0, 0]);
/** As many as the count byte of a structure can say. */
const MAX_STRINGS = 255;

/**
 * The OEM strings of one or more structures that follow one another, in order. What is no UTF-8 is left out.
 * @throws SourceError `bad_smbios` for what is cut off or contradicts itself; nothing of it is believed then.
 */
export function oemStrings(structures: Buffer): readonly string[] {
  const found: string[] = [];
  let at = 0;
  while (at < structures.length) {
    const type = structures[at];
    const length = structures[at + 1];
    if (length === undefined || length < HEADER_BYTES || at + length > structures.length)
      throw new SourceError('bad_smbios', `a structure of ${length ?? 'no'} bytes at ${at} of ${structures.length}`);
    const textsEnd = structures.indexOf(DOUBLE_NUL, at + length);
    if (textsEnd < 0) throw new SourceError('bad_smbios', `the texts of the structure at ${at} have no end`);
    if (type === OEM_STRINGS) found.push(...textsOf(structures.subarray(at + length, textsEnd)));
    if (type === END_OF_TABLE) break;
    at = textsEnd + DOUBLE_NUL.length;
  }
  return found;
}

/** Each ends with a NUL; the last one's was cut off with the end of the structure. */
function textsOf(bytes: Buffer): readonly string[] {
  const texts: string[] = [];
  let at = 0;
  while (at < bytes.length && texts.length < MAX_STRINGS) {
    const nul = bytes.indexOf(0, at);
    const end = nul < 0 ? bytes.length : nul;
    texts.push(...textOf(bytes.subarray(at, end)));
    at = end + 1;
  }
  return texts;
}

function textOf(bytes: Buffer): readonly string[] {
  try {
    return [new TextDecoder('utf-8', { fatal: true }).decode(bytes)];
  } catch {
    return [];
  }
}
