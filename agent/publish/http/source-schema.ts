/** A row of `/v1/sources` for the API document. */
import { count, instantOrNull } from './schema-parts.ts';

export const readingSchema = {
  type: 'object',
  description: 'How one reading of a source went.',
  required: ['at', 'latency_ms', 'outcome', 'error'],
  properties: {
    at: { type: 'number', description: 'UNIX seconds' },
    latency_ms: { type: 'number', description: 'How long it took.' },
    outcome: { type: 'string', enum: ['ok', 'failed', 'absent'] },
    error: { type: ['string', 'null'], description: 'Code of what was wrong.' },
  },
} as const;

export const sourceSchema = {
  type: 'object',
  description: 'A channel from the host and how it fares.',
  required: [
    'name',
    'state',
    'last_success',
    'last_error',
    'latency_ms',
    'reads',
    'failures',
    'poll_secs',
    'faults',
    'history',
  ],
  properties: {
    name: { type: 'string' },
    state: { type: 'string', enum: ['ok', 'stale', 'failed', 'absent'], description: 'As in `/v1/lifetime`.' },
    last_success: { ...instantOrNull, description: 'UNIX seconds of the last good answer; null: none yet.' },
    last_error: {
      type: ['object', 'null'],
      description: 'What went wrong last, also where it is well again.',
      required: ['code', 'detail', 'at'],
      properties: {
        code: { type: 'string', description: 'Stable.' },
        detail: { type: 'string', description: 'For people.' },
        at: { type: 'number', description: 'UNIX seconds' },
      },
    },
    latency_ms: { type: ['number', 'null'], description: 'How long the last reading took.' },
    reads: { ...count, description: 'Readings since the start of the agent.' },
    failures: { ...count, description: 'Those that failed.' },
    poll_secs: { type: 'number', description: 'Seconds between two readings.' },
    faults: {
      type: 'object',
      additionalProperties: { type: 'string' },
      description: 'What is wrong with single keys (`machine/KEY`, `notice/ID`) and endpoints (`notice/@PATH`).',
    },
    history: { type: 'array', items: readingSchema, description: 'The last readings, at most 60, the oldest first.' },
  },
} as const;

export const sourcesSchema = { type: 'array', items: sourceSchema } as const;
