/** `?wait_for_change=true&last_etag=…&timeout_sec=…`, as Google's metadata server spells it. */
import type { Static } from 'typebox';
import { bareEtag } from '../etag.ts';
import { DEFAULT_TIMEOUT_SECS, MAX_TIMEOUT_SECS } from './bounds.ts';

export const waitQuerySchema = {
  type: 'object',
  properties: {
    wait_for_change: {
      type: 'string',
      enum: ['true', 'false'],
      description: 'Answer only when the ETag is no longer last_etag.',
    },
    last_etag: {
      type: 'string',
      maxLength: 200,
      description:
        'The ETag of the last answer, with or without quotes. Any other value answers at once; none waits for the next change.',
    },
    timeout_sec: {
      type: 'string',
      pattern: '^[0-9]{1,9}$',
      description: `Seconds after which the unchanged document is the answer: ${DEFAULT_TIMEOUT_SECS} if absent, at most ${MAX_TIMEOUT_SECS}.`,
    },
  },
} as const;

export type WaitQuery = Static<typeof waitQuerySchema>;

/** Null when the answer is due at once, else how long to wait at most, ms. `etag` is the current one. */
export function waitingMs(query: WaitQuery, etag: string): number | null {
  if (query.wait_for_change !== 'true') return null;
  if (query.last_etag !== undefined && bareEtag(query.last_etag) !== bareEtag(etag)) return null;
  return Math.min(Number(query.timeout_sec ?? DEFAULT_TIMEOUT_SECS), MAX_TIMEOUT_SECS) * 1000;
}
