/** `/v1/history`: what has happened since the agent started (publish/history.ts). */
import type { FastifyInstance } from 'fastify';
import { etagOf } from '../etag.ts';
import { createHistory } from '../history.ts';
import type { HttpContext } from './context.ts';
import { historyDoc } from './docs/history.ts';
import { secs } from './lifetime.ts';
import { sendTagged } from './tagged.ts';

export function addHistoryRoute(app: FastifyInstance, { port }: HttpContext): void {
  const sinceMs = port.nowMs();
  const history = createHistory(port.publication(), sinceMs);
  // Not through the hub, which is poked without a change.
  const unsubscribe = port.subscribe((publication) => history.heard(publication, port.nowMs()));
  app.addHook('preClose', async () => {
    unsubscribe();
  });

  app.get<{ Querystring: unknown }>(
    '/v1/history',
    { config: { access: 'read', doc: historyDoc } },
    (request, reply) => {
      const events = history.events().map(({ atMs, kind, text, deadlineMs }) => ({
        at: secs(atMs),
        kind,
        text,
        ...(deadlineMs !== undefined && { deadline: Math.floor(deadlineMs / 1000) }),
      }));
      const body = `${JSON.stringify({ since: secs(sinceMs), events })}\n`;
      return sendTagged(request, reply, { type: 'application/json', body, etag: etagOf(body) });
    },
  );
}
