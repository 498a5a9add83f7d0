/** The operator's own word (S6.1), through admin.sock only: announce, take back, override the host. */
import type { FastifyInstance } from 'fastify';
import type { Static } from 'typebox';
import type { SnapshotNotice } from '../../lifetime/types.ts';
import type { HttpContext } from './context.ts';
import { announceDoc, overrideDoc, takeBackAllDoc, takeBackDoc } from './docs/notices.ts';
import { announceSchema, ignoreSchema, noticeParams } from './notice-schema.ts';
import { ProblemError } from './problem.ts';

const SOURCE = 'operator/';

export function addNoticeRoutes(app: FastifyInstance, context: HttpContext): void {
  const { port, hub } = context;
  let lastNumber = 0;

  app.post<{ Body: Static<typeof announceSchema> }>(
    '/v1/notices',
    {
      config: {
        access: 'operator',
        doc: announceDoc,
      },
      schema: { body: announceSchema },
    },
    (request, reply) => {
      const { kind, at, in_secs: inSecs, reason, this_boot: thisBoot } = request.body;
      if (at !== undefined && inSecs !== undefined)
        throw new ProblemError('invalid', 'Give at or in_secs, not both.', { pointer: '#/at' });
      const deadlineMs =
        at !== undefined
          ? Math.round(at * 1000)
          : inSecs !== undefined
            ? Math.round(port.nowMs() + inSecs * 1000)
            : null;
      if (kind === 'shutdown' && deadlineMs === null)
        throw new ProblemError('invalid', 'A shutdown needs at or in_secs.', { pointer: '#/at' });
      // Not below what stands in the Snapshot, nor what was given out before: a notice taken back keeps its number.
      lastNumber = Math.max(lastNumber, ...numbers()) + 1;
      port.submit({
        type: 'operator_notice',
        id: `${SOURCE}${lastNumber}`,
        notice: { kind, deadlineMs, reason: reason ?? kind, ...(thisBoot === true && { thisBoot }) },
      });
      hub.poke();
      return reply.code(201).send({ id: `${SOURCE}${lastNumber}` });
    },
  );

  app.delete('/v1/notices', { config: { access: 'operator', doc: takeBackAllDoc } }, (_request, reply) => {
    port.submit({ type: 'operator_cancel' });
    hub.poke();
    return reply.code(204).send();
  });

  app.delete<{ Params: { '*': string } }>(
    '/v1/notices/*',
    {
      config: { access: 'operator', doc: takeBackDoc },
      schema: { params: noticeParams },
    },
    (request, reply) => {
      const given = request.params['*'];
      const hosts = given.startsWith(SOURCE) ? undefined : find(given);
      const id = hosts?.id ?? (given.startsWith(SOURCE) ? given : `${SOURCE}${given}`);
      known(id);
      if (hosts?.ignored === false)
        throw new ProblemError('not_overridden', "This is the host's own word: only the host takes it back.");
      port.submit({ type: 'operator_cancel', id });
      hub.poke();
      return reply.code(204).send();
    },
  );

  app.post<{ Body: Static<typeof ignoreSchema> }>(
    '/v1/notices/ignore',
    {
      config: { access: 'operator', doc: overrideDoc },
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
    const notice = find(id);
    if (notice === undefined)
      throw new ProblemError('no_notice', 'There is no notice of that id; GET /v1/lifetime lists them.');
    return notice;
  }

  function find(id: string): SnapshotNotice | undefined {
    return port.publication().snapshot.notices.find((one) => one.id === id);
  }

  function numbers(): number[] {
    return port.publication().snapshot.notices.flatMap(({ id }) => {
      const number = id.startsWith(SOURCE) ? Number(id.slice(SOURCE.length)) : Number.NaN;
      return Number.isSafeInteger(number) && number >= 0 ? [number] : [];
    });
  }
}
