/** `/v1/payloads`: register something to stop, follow its plan, say that it can go or is gone. Rows of one's own only (S5.5). */
import type { FastifyInstance } from 'fastify';
import { isReservation } from '../../lifetime/target.ts';
import type { ProcessRef, StepResultReport } from '../../lifetime/types.ts';
import { isZombie } from '../../payloads/process.ts';
import type { Registration } from '../../ports.ts';
import { matchesEtag } from '../etag.ts';
import { maySee } from './caller.ts';
import type { HttpContext } from './context.ts';
import {
  changePayloadDoc,
  getPayloadDoc,
  listPayloadsDoc,
  registerPayloadDoc,
  removePayloadDoc,
  stepsDoneDoc,
} from './docs/payloads.ts';
import { waitForChange } from './hub.ts';
import { createIdentifier } from './identify.ts';
import { readable } from './identify-process.ts';
import { checkSteps, locationOf, refuseMany, refuseTwice, refuseView } from './payload-checks.ts';
import { payloadRate } from './payload-rate.ts';
import { ownRows } from './payload-rights.ts';
import { changeOf, payloadRow } from './payload-row.ts';
import {
  type ChangeBody,
  type CreateBody,
  changeSchema,
  createSchema,
  goodbyeSchema,
  idParams,
  type StepsDoneBody,
  stepsDoneSchema,
} from './payload-schema.ts';
import { ProblemError } from './problem.ts';
import { type WaitQuery, waitingMs, waitQuerySchema } from './wait-query.ts';

interface WithId {
  readonly Params: { readonly id: string };
}
/** An acknowledgement may come late (the daemon was being restarted), but not from another day. */
const MAX_ACK_AGE_MS = 3_600_000;

export function addPayloadRoutes(app: FastifyInstance, context: HttpContext): void {
  const { port, hub, callers, bounds, clock } = context;
  const identify = createIdentifier(context);
  const owned = ownRows(context);

  app.get(
    '/v1/payloads',
    {
      config: { access: 'own', doc: listPayloadsDoc },
    },
    (request, reply) => {
      const caller = callers.of(request.raw);
      const mine = port.publication().payloads.filter(({ spec }) => maySee(caller, spec.uid));
      return reply.header('cache-control', 'no-store').send(mine.map((payload) => payloadRow(payload, context).row()));
    },
  );

  app.post<{ Body: CreateBody }>(
    '/v1/payloads',
    {
      config: { access: 'write', doc: registerPayloadDoc },
      schema: { body: createSchema },
    },
    async (request, reply) => {
      const { view, running_since: since, ...body } = request.body;
      const caller = callers.of(request.raw);
      checkSteps(body);
      const found = await identify.payload(caller, body);
      // From here to the registration in one go: two at once must not both find room.
      const { payloads } = port.publication();
      refuseTwice(payloads, found);
      refuseView(payloads, view, caller);
      refuseMany(payloads, found.uid, bounds);
      const { name = body.name, ...change } = changeOf(body, undefined, port.nowMs());
      const registration: Registration = {
        ...change,
        ...found,
        name,
        ...(view !== undefined && { token: view }),
        ...(since !== undefined && { registeredMs: Math.min(since * 1000, clock.now().wall) }),
      };
      const payload = port.register(registration);
      const { row, etag } = payloadRow(payload, context);
      hub.poke();
      // The answer names the view: from here on its reader may be started.
      await port.filesWritten();
      return reply.code(201).headers(locationOf(payload)).header('etag', etag).send(row());
    },
  );

  app.get<WithId & { Querystring: WaitQuery }>(
    '/v1/payloads/:id',
    {
      config: {
        access: 'own',
        doc: getPayloadDoc,
      },
      schema: { params: idParams, querystring: waitQuerySchema },
    },
    async (request, reply) => {
      const { id } = request.params;
      const { etag } = payloadRow(owned(request, id), context);
      const timeoutMs = waitingMs(request.query, etag);
      if (timeoutMs !== null) {
        const changed = () => {
          const payload = port.payload(id);
          return payload === undefined || payloadRow(payload, context).etag !== etag;
        };
        const ended = await waitForChange({
          hub,
          response: reply.raw,
          changed,
          timeoutMs,
          recheckMs: bounds.rowRecheckMs,
        });
        if (ended === 'gone') return reply.hijack();
        if (ended === 'closing') reply.header('connection', 'close');
      }
      const now = payloadRow(owned(request, id), context);
      reply.header('etag', now.etag).header('cache-control', 'no-cache');
      if (request.query.wait_for_change !== 'true' && matchesEtag(request.headers['if-none-match'], now.etag)) {
        return reply.code(304).send();
      }
      return reply.send(now.row());
    },
  );

  app.patch<WithId & { Body: ChangeBody }>(
    '/v1/payloads/:id',
    {
      config: {
        access: 'write',
        doc: changePayloadDoc,
      },
      schema: { params: idParams, body: changeSchema },
      onRequest: payloadRate(context),
    },
    async (request, reply) => {
      const { target: named, ...body } = request.body;
      const { id } = request.params;
      checkSteps(body);
      const { spec } = owned(request, id);
      const target = named && (await identify.successor(callers.of(request.raw), named, spec));
      // Again, since time has passed: it may be gone, or have been named by somebody else.
      const now = owned(request, id).spec;
      if (target !== undefined) {
        if (!isReservation(now)) throw new ProblemError('not_a_reservation', 'It has been named meanwhile.');
        refuseTwice(port.publication().payloads, { target, ...(now.deliverer && { deliverer: now.deliverer }) });
      }
      const said = changeOf(body, now.canTerminate, port.nowMs());
      const change = { ...said, ...(target !== undefined && { target }) };
      port.submit({ type: 'payload_updated', id, change });
      hub.poke();
      const { row, etag } = payloadRow(owned(request, id), context);
      return reply.header('etag', etag).send(row());
    },
  );

  app.delete<WithId & { Querystring: { readonly started?: 'true' | 'false' } }>(
    '/v1/payloads/:id',
    {
      config: {
        access: 'write',
        doc: removePayloadDoc,
      },
      schema: { params: idParams, querystring: goodbyeSchema },
    },
    (request, reply) => {
      const { spec } = owned(request, request.params.id);
      const { id, target } = spec;
      // Of a unit or a control group somebody takes his word back; that they have ended is seen by the agent itself.
      const ended = target.kind === 'process' && hasEnded(target.leader);
      // It was over sooner than its row could name it: only who had reserved the row knows that it has lived.
      const lived = request.query.started === 'true' && isReservation(spec);
      port.submit({
        type: 'payload_gone',
        id,
        why: ended || lived ? 'exited' : 'deregistered',
        ...(lived && { lived }),
      });
      hub.poke();
      return reply.code(204).send();
    },
  );

  app.post<WithId & { Body: StepsDoneBody }>(
    '/v1/payloads/:id/steps_done',
    {
      config: { access: 'write', doc: stepsDoneDoc },
      schema: { params: idParams, body: stepsDoneSchema },
    },
    (request, reply) => {
      const { id, deliverer } = owned(request, request.params.id).spec;
      if (deliverer === undefined) {
        throw new ProblemError('not_the_deliverer', 'The daemon itself delivers the steps of this payload.');
      }
      const now = clock.now();
      const results = request.body.results.map(({ episode, index, signal, outcome, at }): StepResultReport => {
        const ageMs = at === undefined ? 0 : Math.min(Math.max(0, now.wall - at * 1000), MAX_ACK_AGE_MS);
        return {
          id,
          step: { episode, index, signal },
          outcome,
          at: { wall: now.wall - ageMs, mono: now.mono - ageMs },
        };
      });
      port.submit({ type: 'steps_done', results });
      hub.poke();
      const { row, etag } = payloadRow(owned(request, id), context);
      return reply.header('etag', etag).send(row());
    },
  );

  function hasEnded({ pid, startTicks }: ProcessRef): boolean {
    const process = readable(pid, context.procRoot);
    return process === null || (process !== undefined && (process.startTicks !== startTicks || isZombie(process)));
  }
}
