/** Documents of hosts, of which nothing may be taken for granted. */
import { SourceError } from './source.ts';

/** @throws SourceError `bad_json` for what is no JSON; `what` names the document. */
export function parseJson(text: string, what: string): unknown {
  try {
    // A byte order mark is no part of the document.
    return JSON.parse(text.replace(/^\ufeff/, ''));
  } catch {
    throw new SourceError('bad_json', `${what} is not JSON`);
  }
}

/** As a plain object, or undefined for anything else. */
export function asRecord(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : undefined;
}

export const asList = (value: unknown): readonly unknown[] | undefined => (Array.isArray(value) ? value : undefined);

/** Text, or a number or yes/no as text; undefined for anything else. */
export function asText(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : undefined;
}
