/** The operator's own word (S6.1), through admin.sock only: announce, take back, override the host. */
import type { FastifyInstance } from 'fastify';
import type { Static } from 'typebox';
import type { SnapshotNotice } from '../../lifetime/types.ts';
import type { HttpContext } from './context.ts';
import { ProblemError } from './problem.ts';
import { TEXT_PATTERN, unixSecs } from './schema-parts.ts';

const SOURCE = 'operator/';
const createSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['kind'],
  properties: {
    kind: { type: 'string', enum: ['shutdown', 'drain'] },
    at: unixSecs,
    in_secs: { type: 'number', minimum: 0, maximum: 315_360_000 },
    reason: { type: 'string', maxLength: 256, pattern: TEXT_PATTERN },
  },
} as const;
const ignoreSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['id'],
  properties: { id: { type: 'string', minLength: 1, maxLength: 256 } },
} as const;
const idSchema = { type: 'object', properties: { id: { type: 'string' } } } as const;

export function addNoticeRoutes(app: FastifyInstance, context: HttpContext): void {
  const { port, hub } = context;
  let lastNumber = 0;

  app.post<{ Body: Static<typeof createSchema> }>(
    '/v1/notices',
    {
      config: {
        access: 'operator',
        doc: { summary: 'Announce a shutdown or a drain; `at` or `in_secs` for a shutdown' },
      },
      schema: { body: createSchema, response: { 201: idSchema } },
    },
    (request, reply) => {
      const { kind, at, in_secs: inSecs, reason } = request.body;
      if (at !== undefined && inSecs !== undefined)
        throw new ProblemError(400, 'invalid', 'Give at or in_secs, not both.');
      const deadlineMs =
        at !== undefined
          ? Math.round(at * 1000)
          : inSecs !== undefined
            ? Math.round(port.nowMs() + inSecs * 1000)
            : null;
      if (kind === 'shutdown' && deadlineMs === null)
        throw new ProblemError(400, 'invalid', 'A shutdown needs at or in_secs.');
      // Not below what stands in the Snapshot, nor what was given out before: a notice taken back keeps its number.
      lastNumber = Math.max(lastNumber, ...numbers()) + 1;
      port.submit({
        type: 'operator_notice',
        id: `${SOURCE}${lastNumber}`,
        notice: { kind, deadlineMs, reason: reason ?? kind },
      });
      hub.poke();
      return reply.code(201).send({ id: `${SOURCE}${lastNumber}` });
    },
  );

  app.delete(
    '/v1/notices',
    { config: { access: 'operator', doc: { summary: "Take back all the operator's notices", empty: true } } },
    (_request, reply) => {
      port.submit({ type: 'operator_cancel' });
      hub.poke();
      return reply.code(204).send();
    },
  );

  app.delete<{ Params: { '*': string } }>(
    '/v1/notices/*',
    {
      config: {
        access: 'operator',
        doc: { summary: "Take back one of the operator's notices (`operator/3`, or `3`)", empty: true },
      },
    },
    (request, reply) => {
      const given = request.params['*'];
      const id = given.startsWith(SOURCE) ? given : `${SOURCE}${given}`;
      known(id);
      port.submit({ type: 'operator_cancel', id });
      hub.poke();
      return reply.code(204).send();
    },
  );

  app.post<{ Body: Static<typeof ignoreSchema> }>(
    '/v1/notices/ignore',
    {
      config: { access: 'operator', doc: { summary: "Override a host's notice by its id", status: 204, empty: true } },
      schema: { body: ignoreSchema },
    },
    (request, reply) => {
      known(request.body.id);
      port.submit({ type: 'ignore', id: request.body.id });
      hub.poke();
      return reply.code(204).send();
    },
  );

  function known(id: string): SnapshotNotice {
    const notice = port.publication().snapshot.notices.find((one) => one.id === id);
    if (notice === undefined)
      throw new ProblemError(404, 'no_notice', 'There is no notice of that id; GET /v1/lifetime lists them.');
    return notice;
  }

  function numbers(): number[] {
    return port.publication().snapshot.notices.flatMap(({ id }) => {
      const number = id.startsWith(SOURCE) ? Number(id.slice(SOURCE.length)) : Number.NaN;
      return Number.isSafeInteger(number) && number >= 0 ? [number] : [];
    });
  }
}
