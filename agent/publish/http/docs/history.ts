/** `/v1/history`, for the API document. */
import { historySchema } from '../history-schema.ts';
import type { RouteDoc } from '../route-doc.ts';

export const historyDoc: RouteDoc = {
  id: 'getHistory',
  tag: 'lifetime',
  summary: 'What has happened since the agent started, the oldest first',
  description:
    'For people, as the status page shows it: the last 128 events of the machine, and as many of sources, payloads, steps and what the machine answers the site. In memory only; the log has it all.',
  requestHeaders: ['If-None-Match'],
  answers: {
    200: {
      says: 'Events, the oldest first',
      type: 'application/json',
      schema: historySchema,
      headers: ['ETag', 'Cache-Control'],
    },
    304: { says: 'Unchanged', headers: ['ETag', 'Cache-Control'] },
  },
  examples: [
    {
      name: 'events',
      summary: 'The agent has just started',
      status: 200,
      answer: {
        since: 1766430000.022,
        events: [{ at: 1766430000.022, kind: 'agent', text: 'agent started, running' }],
      },
    },
  ],
};
