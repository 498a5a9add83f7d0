/** The last word to the site (S5.3; mjf.md, "VM to site"): of a payload by its owner, of the machine by its operator. */
import type { FastifyInstance } from 'fastify';
import type { Static } from 'typebox';
import { maySee } from './caller.ts';
import type { HttpContext } from './context.ts';
import { wordOfMachineDoc, wordOfPayloadDoc } from './docs/site.ts';
import { payloadRate } from './payload-rate.ts';
import { ownRows, ROOT } from './payload-rights.ts';
import { payloadRow } from './payload-row.ts';
import { idParams } from './payload-schema.ts';
import { refusal } from './problem.ts';
import { finalWordOfMachineSchema, finalWordOfPayloadSchema } from './word-schema.ts';

export function addFinalWordRoutes(app: FastifyInstance, context: HttpContext): void {
  const { port, hub, callers } = context;
  const owned = ownRows(context);

  app.post<{ readonly Params: { readonly id: string }; Body: Static<typeof finalWordOfPayloadSchema> }>(
    '/v1/payloads/:id/final_word',
    {
      config: {
        access: 'write',
        doc: wordOfPayloadDoc,
      },
      schema: { params: idParams, body: finalWordOfPayloadSchema },
      onRequest: payloadRate(context),
    },
    (request, reply) => {
      const { id } = request.params;
      const { code, text = '', by = 'payload' } = request.body;
      owned(request, id, 'word');
      port.submit({ type: 'final_word', id, word: { code, text, by } });
      hub.poke();
      const { row, etag } = payloadRow(owned(request, id, 'word'), context);
      return reply.header('etag', etag).send(row());
    },
  );

  app.post<{ Body: Static<typeof finalWordOfMachineSchema> }>(
    '/v1/final_word',
    {
      config: {
        access: 'write',
        doc: wordOfMachineDoc,
      },
      schema: { body: finalWordOfMachineSchema },
    },
    (request, reply) => {
      if (!maySee(callers.of(request.raw), ROOT)) {
        throw refusal(
          'operator_only',
          'For the machine only its operator speaks: register a payload or run it under mjf-agent exec, and say it of that.',
        );
      }
      const { code, text = '' } = request.body;
      port.submit({ type: 'final_word', word: { code, text, by: 'payload' } });
      hub.poke();
      return reply.code(204).send();
    },
  );
}
