/** The one truth as JSON, the seconds left, and how the sources fare. */
import type { FastifyInstance } from 'fastify';
import type { LiveSource } from '../../ports.ts';
import { matchesEtag } from '../etag.ts';
import type { HttpContext } from './context.ts';
import { lifetimeDoc, remainingDoc, sourcesDoc } from './docs/lifetime.ts';
import { waitForChange } from './hub.ts';
import { sendAbsent } from './problem.ts';
import { type WaitQuery, waitingMs, waitQuerySchema } from './wait-query.ts';

export function addLifetimeRoutes(app: FastifyInstance, context: HttpContext): void {
  const { port, hub } = context;

  app.get<{ Querystring: WaitQuery }>(
    '/v1/lifetime',
    {
      config: { access: 'read', doc: lifetimeDoc },
      schema: { querystring: waitQuerySchema },
    },
    async (request, reply) => {
      const { etag } = port.publication();
      const timeoutMs = waitingMs(request.query, etag);
      if (timeoutMs !== null) {
        const changed = () => port.publication().etag !== etag;
        const ended = await waitForChange({ hub, response: reply.raw, changed, timeoutMs });
        if (ended === 'gone') return reply.hijack();
        if (ended === 'closing') reply.header('connection', 'close');
      }
      const now = port.publication();
      reply.header('etag', now.etag).header('cache-control', 'no-cache');
      if (
        timeoutMs === null &&
        request.query.wait_for_change !== 'true' &&
        matchesEtag(request.headers['if-none-match'], now.etag)
      ) {
        return reply.code(304).send();
      }
      return reply.type('application/json').send(now.lifetimeJson);
    },
  );

  app.get('/v1/remaining_secs', { config: { access: 'read', doc: remainingDoc } }, (_request, reply) => {
    // On this machine's clock: a host whose clock is off must not shorten or lengthen what is left (S4.3).
    const { localDeadlineMs } = port.publication().snapshot;
    reply.header('cache-control', 'no-store');
    if (localDeadlineMs === null) return sendAbsent(reply);
    const secs = Math.max(0, Math.floor((localDeadlineMs - port.nowMs()) / 1000));
    return reply.type('text/plain; charset=utf-8').send(`${secs}\n`);
  });

  app.get('/v1/sources', { config: { access: 'read', doc: sourcesDoc } }, (_request, reply) =>
    reply.header('cache-control', 'no-store').send(port.sources().map(sourceRow)),
  );
}

/** Seconds with millisecond decimals, as numbers; null where there is nothing to say. */
function sourceRow(source: LiveSource) {
  const { lastError } = source;
  return {
    name: source.name,
    state: source.state,
    last_success: secs(source.lastSuccessMs),
    last_error: lastError && { code: lastError.code, detail: lastError.detail, at: secs(lastError.atMs) },
    latency_ms: source.latencyMs,
    reads: source.reads,
    failures: source.failures,
    poll_secs: secs(source.pollMs),
    faults: source.faults ?? {},
    history: (source.history ?? []).map(({ atMs, latencyMs, outcome, error }) => ({
      at: secs(atMs),
      latency_ms: Math.round(latencyMs * 1000) / 1000,
      outcome,
      error,
    })),
  };
}

/** UNIX or other milliseconds as seconds with at most three decimals. */
export function secs(ms: number | null): number | null {
  return ms === null ? null : Math.round(ms) / 1000;
}
