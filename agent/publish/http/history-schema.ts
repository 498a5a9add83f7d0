/** `/v1/history` for the API document. */
import { HISTORY_KINDS } from '../history.ts';

export const eventSchema = {
  type: 'object',
  description: 'Something that has happened on this machine.',
  required: ['at', 'kind', 'text'],
  properties: {
    at: { type: 'number', description: 'UNIX seconds' },
    kind: { type: 'string', enum: HISTORY_KINDS },
    text: { type: 'string', description: 'For people; payloads are counted, not named.' },
    deadline: { type: 'number', description: 'UNIX seconds; where the deadline was set or moved.' },
  },
} as const;

export const historySchema = {
  type: 'object',
  required: ['since', 'events'],
  properties: {
    since: { type: 'number', description: 'UNIX seconds; what was before is not remembered.' },
    events: { type: 'array', items: eventSchema },
  },
} as const;
