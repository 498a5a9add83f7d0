/** What reporters may have a source tell its host: names and lines that no platform's own syntax can be broken with. */
import { SourceError } from './source.ts';

const NAME = /^[a-z0-9_]{1,64}$/;
/** They would end a line early, or be obeyed by a terminal of the site. */
const NOT_PRINTABLE = /[\p{Cc}\p{Zl}\p{Zp}]/u;
/** A line for a person. The narrowest platform takes eight times as much. */
const MAX_VALUE_BYTES = 16 * 1024;

export const isPrintableLine = (value: string): boolean => !NOT_PRINTABLE.test(value);

/** @throws SourceError `bad_name`, `bad_value`: nothing at all is told then. */
export function toldValues(
  values: Readonly<Record<string, string | null>>,
): readonly (readonly [name: string, value: string | null])[] {
  const told = Object.entries(values);
  for (const [name, value] of told) {
    if (!NAME.test(name)) throw new SourceError('bad_name', 'a name that cannot be told to the host');
    if (value === null) continue;
    if (!isPrintableLine(value)) throw new SourceError('bad_value', `${name} is not one printable line`);
    if (Buffer.byteLength(value) > MAX_VALUE_BYTES)
      throw new SourceError('bad_value', `${name} has more than ${MAX_VALUE_BYTES} bytes`);
  }
  return told;
}
