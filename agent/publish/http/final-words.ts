/** The last word to the site (S5.3; mjf.md, "VM to site"): of a payload by its owner, of the machine by its operator. */
import type { FastifyInstance } from 'fastify';
import type { Static } from 'typebox';
import { maySee } from './caller.ts';
import type { HttpContext } from './context.ts';
import { payloadRate } from './payload-rate.ts';
import { ownRows, ROOT } from './payload-rights.ts';
import { payloadRow } from './payload-row.ts';
import { rowSchema } from './payload-row-schema.ts';
import { idParams } from './payload-schema.ts';
import { refusal } from './problem.ts';

/** One line of a file that sites show in tables: a sentence, no report. */
const MAX_TEXT_CHARS = 200;
const code = {
  type: 'integer',
  minimum: 100,
  maximum: 999,
  description:
    '100 stopped by the host, 200 work done, 300 no work, 400 disabled, 500 the site, 600 the application, 700 passing trouble; from 300 on sites back off',
} as const;
const text = {
  type: 'string',
  maxLength: MAX_TEXT_CHARS,
  // Neither what moves a cursor or breaks a line, nor what turns its order round, nor half a character.
  pattern: '^[^\\p{Cc}\\p{Cf}\\p{Zl}\\p{Zp}\\p{Cs}]*$',
  description: 'One printable line, best in ASCII',
} as const;
const ofPayloadSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['code'],
  properties: {
    code,
    text,
    by: {
      type: 'string',
      enum: ['payload', 'exit'],
      description: 'exit: read from its exit code, and nothing beside what it has said itself; default payload',
    },
  },
} as const;
const ofMachineSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['code'],
  properties: { code, text },
} as const;

export function addFinalWordRoutes(app: FastifyInstance, context: HttpContext): void {
  const { port, hub, callers } = context;
  const owned = ownRows(context);

  app.post<{ readonly Params: { readonly id: string }; Body: Static<typeof ofPayloadSchema> }>(
    '/v1/payloads/:id/final_word',
    {
      config: {
        access: 'write',
        doc: { summary: "The payload's last word to the site, kept until it ends; the latest counts" },
      },
      schema: { params: idParams, body: ofPayloadSchema, response: { 200: rowSchema } },
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

  app.post<{ Body: Static<typeof ofMachineSchema> }>(
    '/v1/final_word',
    {
      config: {
        access: 'write',
        doc: { summary: "The machine's last word to the site; root and operator only", empty: true },
      },
      schema: { body: ofMachineSchema },
    },
    (request, reply) => {
      if (!maySee(callers.of(request.raw), ROOT)) {
        throw refusal(
          403,
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
