/** `PUT /joboutputs/NAME`: the payload's word to the site (Vacuum Platform, HSF-TN-2016-04). */
import type { FastifyInstance } from 'fastify';
import { MAX_OUTPUT_BYTES } from './bounds.ts';
import type { HttpContext } from './context.ts';
import { ProblemError, refusal } from './problem.ts';

/** A flat place: no separator, no hidden name, nothing that a file name cannot hold. */
const NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$/;
const params = {
  type: 'object',
  properties: { name: { type: 'string', description: '[A-Za-z0-9._-]{1,128}, no leading dot' } },
} as const;

export function addJobOutputRoutes(app: FastifyInstance, context: HttpContext): void {
  const { port, callers, reservedOutputs } = context;

  // A scope of its own: here a body is bytes whatever its type says, JSON too.
  app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser('*', { parseAs: 'buffer', bodyLimit: MAX_OUTPUT_BYTES }, (_request, body, done) =>
      done(null, body),
    );
    scope.put<{ Params: { name: string } }>(
      '/joboutputs/:name',
      {
        bodyLimit: MAX_OUTPUT_BYTES,
        config: {
          access: 'write',
          anyBody: true,
          doc: { summary: 'A file for the site, at most 1 MiB of any type', status: 201, empty: true },
        },
        schema: { params },
      },
      async (request, reply) => {
        const { name } = request.params;
        if (!NAME.test(name))
          throw new ProblemError(400, 'bad_name', 'A name is 1 to 128 of A-Z a-z 0-9 . _ -, without a leading dot.');
        if (reservedOutputs.has(name)) throw refusal(403, 'reserved_name', "This name is the agent's own.");
        const caller = callers.of(request.raw);
        const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
        const stored = await port.jobOutput(name, body, caller.kind === 'user' ? caller.uid : 0);
        if (stored === 'no_channel')
          throw new ProblemError(404, 'no_channel', 'The site has named no place for job outputs.');
        if (stored === 'full')
          throw new ProblemError(507, 'full', 'What the site has not taken yet fills the place there is.');
        return reply.code(201).send();
      },
    );
  });
}
