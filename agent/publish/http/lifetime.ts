/** The one truth as JSON, the seconds left, and how the sources fare. */
import type { FastifyInstance } from 'fastify';
import type { LiveSource } from '../../ports.ts';
import { matchesEtag } from '../etag.ts';
import type { HttpContext } from './context.ts';
import { waitForChange } from './hub.ts';
import { sendAbsent } from './problem.ts';
import { type WaitQuery, waitingMs, waitQuerySchema } from './wait-query.ts';

export function addLifetimeRoutes(app: FastifyInstance, context: HttpContext): void {
  const { port, hub } = context;

  app.get<{ Querystring: WaitQuery }>(
    '/v1/lifetime',
    {
      config: {
        access: 'read',
        doc: { summary: 'The lifetime of this machine; can hang until it changes', conditional: true },
      },
      schema: { querystring: waitQuerySchema, response: { 200: lifetimeSchema } },
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

  app.get(
    '/v1/remaining_secs',
    {
      config: {
        access: 'read',
        doc: { summary: 'Whole seconds to the deadline; 0 when it has passed', text: 'Seconds', absent: true },
      },
    },
    (_request, reply) => {
      // On this machine's clock: a host whose clock is off must not shorten or lengthen what is left (S4.3).
      const { localDeadlineMs } = port.publication().snapshot;
      reply.header('cache-control', 'no-store');
      if (localDeadlineMs === null) return sendAbsent(reply);
      const secs = Math.max(0, Math.floor((localDeadlineMs - port.nowMs()) / 1000));
      return reply.type('text/plain; charset=utf-8').send(`${secs}\n`);
    },
  );

  app.get(
    '/v1/sources',
    {
      config: { access: 'read', doc: { summary: 'How each source fares; changes with each poll' } },
      schema: { response: { 200: sourcesSchema } },
    },
    (_request, reply) => reply.header('cache-control', 'no-store').send(port.sources().map(sourceRow)),
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
  };
}

/** UNIX or other milliseconds as seconds with at most three decimals. */
export function secs(ms: number | null): number | null {
  return ms === null ? null : Math.round(ms) / 1000;
}

const time = { type: ['number', 'null'], description: 'UNIX seconds' } as const;
const features = {
  type: 'object',
  additionalProperties: {
    type: 'object',
    properties: {
      value: { type: 'string' },
      source: { type: 'string' },
      since: { type: 'number' },
      stale: { type: 'boolean' },
    },
  },
} as const;
const count = { type: 'integer', minimum: 0 } as const;

/** DESIGN.md, "Interfaces". More fields may be added. */
const lifetimeSchema = {
  type: 'object',
  required: ['phase', 'deadline', 'overdue', 'notices', 'machinefeatures', 'jobfeatures', 'sources', 'payloads'],
  properties: {
    phase: { type: 'string', enum: ['running', 'draining', 'stopping', 'stopped'] },
    deadline: {
      ...time,
      description: 'UNIX seconds by which all processing must have ended; null when none is foreseen',
    },
    grace_secs: { type: ['number', 'null'], description: "The host's promise of notice" },
    drain_at: time,
    stop_at: time,
    reason: { type: ['string', 'null'] },
    overdue: { type: 'boolean', description: 'The deadline has passed and the machine still lives' },
    termination_allowed: {
      type: ['boolean', 'null'],
      description: 'Host to machine: the site may terminate at any time',
    },
    can_terminate: {
      type: ['object', 'null'],
      description:
        'Machine to site: whether it can be terminated without losing work; null where no payload has ever lived',
      properties: {
        now: { type: 'boolean' },
        at: {
          ...time,
          description: 'UNIX seconds from which on it can; null where not every payload has named a time',
        },
        must_not_until: {
          ...time,
          description: 'UNIX seconds before which work is lost; null where no payload has said how long it still needs',
        },
        progress: {
          type: ['number', 'null'],
          description: 'Mean of the payloads that have said how far they are, 0 to 1 in steps of 0.01',
        },
      },
    },
    notices: {
      type: 'array',
      items: {
        type: 'object',
        properties: {
          id: { type: 'string' },
          source: { type: 'string' },
          kind: { type: 'string' },
          deadline: time,
          reason: { type: 'string' },
          first_seen: { type: 'number' },
        },
      },
    },
    machinefeatures: features,
    jobfeatures: features,
    sources: {
      type: 'array',
      items: {
        type: 'object',
        properties: {
          name: { type: 'string' },
          state: { type: 'string', enum: ['ok', 'stale', 'failed', 'absent'] },
          since: { type: 'number' },
        },
      },
    },
    payloads: { type: 'object', properties: { running: count, stopping: count, stopped: count } },
  },
} as const;

const sourcesSchema = {
  type: 'array',
  items: {
    type: 'object',
    properties: {
      name: { type: 'string' },
      state: { type: 'string', enum: ['ok', 'stale', 'failed', 'absent'] },
      last_success: time,
      last_error: {
        type: ['object', 'null'],
        properties: { code: { type: 'string' }, detail: { type: 'string' }, at: time },
      },
      latency_ms: { type: ['number', 'null'] },
      reads: count,
      failures: count,
      poll_secs: { type: 'number' },
      faults: {
        type: 'object',
        additionalProperties: { type: 'string' },
        description: 'What is wrong with single keys (`machine/KEY`, `notice/ID`) and endpoints (`notice/@PATH`)',
      },
    },
  },
} as const;
