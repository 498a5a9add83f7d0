/** `/v1/payloads`: register something to stop, follow its plan, say that it can go or is gone. Rows of one's own only (S5.5). */
import os from 'node:os';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { SnapshotPayload, StepResultReport } from '../../lifetime/types.ts';
import { isZombie } from '../../payloads/process.ts';
import type { Registration } from '../../ports.ts';
import { matchesEtag } from '../etag.ts';
import { maySee } from './caller.ts';
import type { HttpContext } from './context.ts';
import { waitForChange } from './hub.ts';
import { createIdentifier, type Identified, readable } from './identify.ts';
import { changeOf, payloadRow } from './payload-row.ts';
import {
  type ChangeBody,
  type CreateBody,
  changeSchema,
  createSchema,
  idParams,
  rowSchema,
  type StepsDoneBody,
  stepsDoneSchema,
} from './payload-schema.ts';
import { ProblemError, refusal } from './problem.ts';
import { type WaitQuery, waitingMs, waitQuerySchema } from './wait-query.ts';

interface WithId {
  readonly Params: { readonly id: string };
}
/** An acknowledgement may come late (the daemon was being restarted), but not from another day. */
const MAX_ACK_AGE_MS = 3_600_000;

export function addPayloadRoutes(app: FastifyInstance, context: HttpContext): void {
  const { port, hub, callers, bounds, clock } = context;
  const identify = createIdentifier(context);
  const rows = { 200: rowSchema } as const;

  app.get(
    '/v1/payloads',
    {
      config: { access: 'own', doc: { summary: "The caller's payloads; all for root" } },
      schema: { response: { 200: { type: 'array', items: rowSchema } } },
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
      config: { access: 'write', doc: { summary: 'Register a payload' } },
      schema: { body: createSchema, response: { 201: rowSchema } },
    },
    (request, reply) => {
      const { body } = request;
      checkSignals(body);
      const found = identify(callers.of(request.raw), body);
      const { payloads } = port.publication();
      refuseTwice(payloads, found);
      if (payloads.length >= bounds.maxPayloads) {
        throw new ProblemError(503, 'too_many_payloads', `No more than ${bounds.maxPayloads} payloads.`, {
          headers: { 'retry-after': '60' },
        });
      }
      const ofUser = payloads.filter(({ spec }) => spec.uid === found.uid).length;
      if (found.uid !== 0 && ofUser >= bounds.maxPayloadsOfUser) {
        throw new ProblemError(
          503,
          'too_many_payloads',
          `No more than ${bounds.maxPayloadsOfUser} payloads of one user.`,
          {
            headers: { 'retry-after': '60' },
          },
        );
      }
      const { name = body.name, ...change } = changeOf(settings(body));
      const registration: Registration = { ...change, ...found, name };
      const { row, etag } = payloadRow(port.register(registration), context);
      hub.poke();
      const answer = row();
      return reply
        .code(201)
        .header('location', `/v1/payloads/${encodeURIComponent(answer.id)}`)
        .header('etag', etag)
        .send(answer);
    },
  );

  app.get<WithId & { Querystring: WaitQuery }>(
    '/v1/payloads/:id',
    {
      config: {
        access: 'own',
        doc: { summary: 'One payload and its plan; can hang until it changes', conditional: true },
      },
      schema: { params: idParams, querystring: waitQuerySchema, response: rows },
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
      config: { access: 'write', doc: { summary: 'Change a payload: lead, deadline, steps, limits, can_terminate' } },
      schema: { params: idParams, body: changeSchema, response: rows },
    },
    (request, reply) => {
      const { id } = owned(request, request.params.id).spec;
      checkSignals(request.body);
      port.submit({ type: 'payload_updated', id, change: changeOf(request.body) });
      hub.poke();
      const { row, etag } = payloadRow(owned(request, id), context);
      return reply.header('etag', etag).send(row());
    },
  );

  app.delete<WithId>(
    '/v1/payloads/:id',
    {
      config: {
        access: 'write',
        doc: { summary: 'The payload has ended, or shall no longer be stopped', empty: true },
      },
      schema: { params: idParams },
    },
    (request, reply) => {
      const { id, target } = owned(request, request.params.id).spec;
      const process = readable(target.leader.pid, context.procRoot);
      const ended =
        process === null ||
        (process !== undefined && (process.startTicks !== target.leader.startTicks || isZombie(process)));
      port.submit({ type: 'payload_gone', id, why: ended ? 'exited' : 'deregistered' });
      hub.poke();
      return reply.code(204).send();
    },
  );

  app.post<WithId & { Body: StepsDoneBody }>(
    '/v1/payloads/:id/steps_done',
    {
      config: { access: 'write', doc: { summary: 'exec acknowledges the steps that it delivered' } },
      schema: { params: idParams, body: stepsDoneSchema, response: rows },
    },
    (request, reply) => {
      const { id, deliverer } = owned(request, request.params.id).spec;
      if (deliverer === undefined) {
        throw new ProblemError(409, 'not_the_deliverer', 'The daemon itself delivers the steps of this payload.');
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

  /** Another's row looks like no row at all: ids tell nothing. */
  function owned(request: FastifyRequest, id: string): SnapshotPayload {
    const payload = port.payload(id);
    if (payload === undefined || !maySee(callers.of(request.raw), payload.spec.uid)) {
      throw new ProblemError(404, 'no_payload', 'There is no such payload of yours.');
    }
    return payload;
  }
}

function settings(body: CreateBody): ChangeBody {
  const { target: _target, deliverer_pid: _deliverer, ...rest } = body;
  return rest;
}

/** A client that did not hear our answer asks again: it learns where its row is, and no process is signalled twice. */
function refuseTwice(payloads: readonly SnapshotPayload[], { target: { leader } }: Identified): void {
  const same = payloads.find(({ spec, state }) => {
    const other = spec.target.leader;
    return state !== 'stopped' && other.pid === leader.pid && other.startTicks === leader.startTicks;
  });
  if (same !== undefined) {
    throw new ProblemError(409, 'registered_already', `Process ${leader.pid} is registered already.`, {
      headers: { location: `/v1/payloads/${encodeURIComponent(same.spec.id)}` },
    });
  }
}

function checkSignals({ steps }: ChangeBody): void {
  const wrong = steps?.find(({ signal }) => !Object.hasOwn(os.constants.signals, signal));
  if (wrong !== undefined) throw refusal(400, 'invalid', `There is no signal ${wrong.signal} on this system.`);
}
