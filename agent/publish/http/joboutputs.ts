/** `PUT /joboutputs/NAME`: the payload's word to the site (Vacuum Platform, HSF-TN-2016-04). */
import type { IncomingMessage } from 'node:http';
import type { FastifyInstance } from 'fastify';
import { MAX_OUTPUT_BYTES } from './bounds.ts';
import type { HttpContext } from './context.ts';
import { ProblemError, refusal } from './problem.ts';

/** Files that are being received, and as many that are being written to the disk: each is a megabyte of memory at the most. */
const MOST_AT_ONCE = 16;
/** On loopback a megabyte takes some milliseconds. Who is slower gives way, so that he cannot keep the others out. */
const SLOW_MS = 2_000;
/** A disk that is well takes some milliseconds a file. */
const RETRY_AFTER_SECS = 1;

/** A flat place: no separator, no hidden name, nothing that a file name cannot hold. */
const NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$/;
const params = {
  type: 'object',
  properties: { name: { type: 'string', description: '[A-Za-z0-9._-]{1,128}, no leading dot' } },
} as const;

export function addJobOutputRoutes(app: FastifyInstance, context: HttpContext): void {
  const { port, callers, reservedOutputs } = context;
  /** Since when; performance.now(). */
  const receiving = new Map<IncomingMessage, number>();
  let spooling = 0;

  function admit(request: IncomingMessage): void {
    const [slowest, since = 0] = [...receiving][0] ?? [];
    const isFull = receiving.size >= MOST_AT_ONCE;
    if (isFull && (slowest === undefined || performance.now() - since < SLOW_MS)) throw busy();
    if (isFull && slowest !== undefined) {
      receiving.delete(slowest);
      slowest.destroy();
    }
    receiving.set(request, performance.now());
  }

  // A scope of its own: here a body is bytes whatever its type says, JSON too.
  app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser('*', { parseAs: 'buffer', bodyLimit: MAX_OUTPUT_BYTES }, (_request, body, done) =>
      done(null, body),
    );
    // Before the body is read: what is turned away must not take the memory first.
    scope.addHook('onRequest', async ({ raw }, reply) => {
      admit(raw);
      reply.raw.once('close', () => receiving.delete(raw));
    });
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
        receiving.delete(request.raw);
        const { name } = request.params;
        if (!NAME.test(name))
          throw new ProblemError(400, 'bad_name', 'A name is 1 to 128 of A-Z a-z 0-9 . _ -, without a leading dot.');
        if (reservedOutputs.has(name)) throw refusal(403, 'reserved_name', "This name is the agent's own.");
        const caller = callers.of(request.raw);
        const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
        // Also of those who have hung up since: a disk that hangs holds their files all the same.
        if (spooling >= MOST_AT_ONCE) throw busy();
        spooling += 1;
        const uid = caller.kind === 'user' ? caller.uid : 0;
        const stored = await port.jobOutput(name, body, uid).finally(() => {
          spooling -= 1;
        });
        if (stored === 'no_channel')
          throw new ProblemError(404, 'no_channel', 'The site has named no place for job outputs.');
        if (stored === 'full')
          throw new ProblemError(507, 'full', 'What the site has not taken yet fills the place there is.');
        return reply.code(201).send();
      },
    );
  });
}

const busy = (): ProblemError =>
  new ProblemError(503, 'busy', 'Too many files are being taken at this moment. Send it again.', {
    headers: { 'retry-after': String(RETRY_AFTER_SECS) },
  });
