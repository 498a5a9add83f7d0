/** Bodies of `/v1/notices`. */
import { MAX_SECS, TEXT_PATTERN, unixSecs } from './schema-parts.ts';

export const announceSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['kind'],
  properties: {
    kind: {
      type: 'string',
      enum: ['shutdown', 'drain'],
      description: '`shutdown` sets a deadline and needs `at` or `in_secs`; `drain`: no new work',
    },
    at: { ...unixSecs, description: 'UNIX seconds of the shutdown' },
    in_secs: { type: 'number', minimum: 0, maximum: MAX_SECS, description: 'The same, from now on' },
    reason: { type: 'string', maxLength: 256, pattern: TEXT_PATTERN, description: 'Shown to everyone' },
    this_boot: { type: 'boolean', description: 'It is about the end of this boot: forgotten in the next one' },
  },
} as const;
export const ignoreSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['id'],
  properties: { id: { type: 'string', minLength: 1, maxLength: 256, description: 'As `/v1/lifetime` shows it' } },
} as const;
export const noticeParams = {
  type: 'object',
  properties: {
    id: {
      type: 'string',
      description:
        'As `/v1/lifetime` shows it (`operator/3`), or the number alone (`3`); the `/` of an id may stand as it is',
    },
  },
} as const;
export const announcedSchema = {
  type: 'object',
  required: ['id'],
  properties: { id: { type: 'string', description: 'To take it back' } },
} as const;
