/** One key of a Machine/Job Features server: what an answer says of it, and how long that may be believed (RFC 9111). */
import { isUtf8 } from 'node:buffer';
import type { IncomingHttpHeaders } from 'node:http';
import type { Reading } from '../lifetime/types.ts';
import type { HttpResponse } from './link-local.ts';

/** What is kept of the last proper answer about a key. */
export interface KeptValue {
  readonly reading: Reading<string>;
  /** Headers that make the next question conditional. */
  readonly validators: Readonly<Record<string, string>>;
  /** On the monotonic clock, ms: not to be asked again before. Undefined where the server said nothing. */
  readonly freshUntilMs: number | undefined;
}

/** How one answer reads: `kept: undefined` with a good reading means that nothing is remembered (404, no-store). */
export interface Judged {
  readonly reading: Reading<string>;
  readonly kept: KeptValue | undefined;
  /** See `KeptValue.freshUntilMs`; stated for absent keys as well. */
  readonly freshUntilMs: number | undefined;
}

/** Asking more often than this helps nobody, whatever a server says. */
const MIN_FRESH_MS = 1_000;
/** A static value may still change (processors given back): look once an hour. */
const MAX_FRESH_MS = 3_600_000;
/** A shutdown time may be brought forward at any moment; a longer max-age on it is a server's general default. */
const MAX_FRESH_TIME_KEY_MS = 60_000;

/**
 * An HTTP answer about a key → its reading. 200 = present as raw text, 404 = absent, 304 = as before; everything else,
 * and a body that is no text or is a web page, is unknown with a code (`http_503`, `not_text`, `html`).
 */
export function judgeAnswer(
  response: HttpResponse,
  before: KeptValue | undefined,
  isTimeKey: boolean,
  nowMs: number,
): Judged {
  const freshUntilMs = freshUntil(response.headers, isTimeKey, nowMs);
  switch (response.status) {
    case 200: {
      const reading = readBody(response);
      const stored = !directives(response.headers).has('no-store');
      const kept = stored ? { reading, validators: validatorsOf(response.headers), freshUntilMs } : undefined;
      return { reading, kept, freshUntilMs };
    }
    case 304:
      // Only an answer to a conditional question says anything.
      if (before === undefined || Object.keys(before.validators).length === 0) break;
      return {
        reading: before.reading,
        kept: { ...before, validators: { ...before.validators, ...validatorsOf(response.headers) }, freshUntilMs },
        freshUntilMs,
      };
    case 404: {
      const reading: Reading<string> = { is: 'absent' };
      return { reading, kept: { reading, validators: {}, freshUntilMs }, freshUntilMs };
    }
  }
  return { reading: { is: 'unknown', error: `http_${response.status}` }, kept: before, freshUntilMs: undefined };
}

function readBody(response: HttpResponse): Reading<string> {
  if (response.body.includes(0) || !isUtf8(response.body)) return { is: 'unknown', error: 'not_text' };
  const text = response.body.toString('utf8');
  // Error pages come with 200 too (captive portals, front pages). Vac's values may well come as text/html: look inside.
  const claimsHtml = /^text\/html\b/i.test(response.headers['content-type'] ?? '');
  if (/^\s*<(?:!doctype\s+html|html)\b/i.test(text) || (claimsHtml && /^\s*</.test(text))) {
    return { is: 'unknown', error: 'html' };
  }
  return { is: 'present', value: text };
}

function validatorsOf(headers: IncomingHttpHeaders): Readonly<Record<string, string>> {
  if (headers.etag !== undefined) return { 'if-none-match': headers.etag };
  const modified = headers['last-modified'];
  // Whole seconds: what was changed in the second of the answer may change again within it under the same date, and
  // that change would be answered with 304 for ever (RFC 9110, 8.8.2.2).
  const age = Date.parse(headers.date ?? '') - Date.parse(modified ?? '');
  return modified !== undefined && age >= 1_000 ? { 'if-modified-since': modified } : {};
}

function freshUntil(headers: IncomingHttpHeaders, isTimeKey: boolean, nowMs: number): number | undefined {
  const said = directives(headers);
  if (said.has('no-store') || said.has('no-cache')) return undefined;
  const maxAge = said.get('max-age') ?? '';
  if (!/^\d{1,10}$/.test(maxAge)) return undefined;
  const ageMs = /^\d{1,10}$/.test(headers.age ?? '') ? Number(headers.age) * 1000 : 0;
  const leftMs = Number(maxAge) * 1000 - ageMs;
  if (leftMs <= 0) return undefined;
  return nowMs + Math.min(Math.max(leftMs, MIN_FRESH_MS), isTimeKey ? MAX_FRESH_TIME_KEY_MS : MAX_FRESH_MS);
}

function directives(headers: IncomingHttpHeaders): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const part of (headers['cache-control'] ?? '').split(',')) {
    const [name = '', value = ''] = part.split('=', 2);
    found.set(name.trim().toLowerCase(), value.trim().replace(/^"|"$/g, ''));
  }
  return found;
}
