/** `PUT /joboutputs/NAME`: the payload's word to the site (Vacuum Platform, HSF-TN-2016-04). */
import type { IncomingMessage } from 'node:http';
import type { FastifyInstance } from 'fastify';
import type { Caller } from '../../ports.ts';
import { MAX_OUTPUT_BYTES } from './bounds.ts';
import type { HttpContext } from './context.ts';
import { jobOutputDoc } from './docs/site.ts';
import { ROOT } from './payload-rights.ts';
import { ProblemError, refusal } from './problem.ts';

/** Files that are being received, and as many that are being written to the disk: each is a megabyte of memory at the most. */
const MOST_AT_ONCE = 16;
/** Of one user who is not root: nobody may use up the places of the others. */
const MOST_OF_USER = 8;
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
  /** Since when (performance.now()), and from whom; the oldest first. */
  const receiving = new Map<IncomingMessage, { readonly since: number; readonly uid: number }>();
  /** By user. */
  const spooling = new Map<number, number>();
  const reserved = new Set([...reservedOutputs].map(plain));

  function admit(request: IncomingMessage): void {
    const uid = uidOf(callers.presumed(request));
    const all = [...receiving];
    const his = all.filter(([, sender]) => sender.uid === uid);
    const isHisFull = uid !== ROOT && his.length >= MOST_OF_USER;
    if (isHisFull || all.length >= MOST_AT_ONCE) {
      const [slowest, { since } = { since: 0 }] = (isHisFull ? his : all)[0] ?? [];
      if (slowest === undefined || performance.now() - since < SLOW_MS) throw busy();
      receiving.delete(slowest);
      slowest.destroy();
    }
    receiving.set(request, { since: performance.now(), uid });
  }

  function hasPlace(uid: number): boolean {
    const all = [...spooling.values()].reduce((sum, count) => sum + count, 0);
    return all < MOST_AT_ONCE && (uid === ROOT || (spooling.get(uid) ?? 0) < MOST_OF_USER);
  }

  function spools(uid: number, more: 1 | -1): void {
    const count = (spooling.get(uid) ?? 0) + more;
    if (count > 0) spooling.set(uid, count);
    else spooling.delete(uid);
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
          doc: jobOutputDoc,
        },
        schema: { params },
      },
      async (request, reply) => {
        receiving.delete(request.raw);
        const { name } = request.params;
        if (!NAME.test(name))
          throw new ProblemError('bad_name', 'A name is 1 to 128 of A-Z a-z 0-9 . _ -, without a leading dot.');
        if (reserved.has(plain(name))) throw refusal('reserved_name', "This name is the agent's own.");
        const uid = uidOf(callers.of(request.raw));
        const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
        // Also of those who have hung up since: a disk that hangs holds their files all the same.
        if (!hasPlace(uid)) throw busy();
        spools(uid, 1);
        const stored = await port.jobOutput(name, body, uid).finally(() => spools(uid, -1));
        if (stored === 'no_channel')
          throw new ProblemError('no_channel', 'The site has named no place for job outputs.');
        if (stored === 'taken') throw refusal('name_taken', 'Another user has files of this name at the site.');
        if (stored === 'full')
          throw new ProblemError('full', 'What the site has not taken yet fills the place there is.');
        return reply.code(201).send();
      },
    );
  });
}

const uidOf = (caller: Caller): number => (caller.kind === 'user' ? caller.uid : ROOT);

/** Shares and sites that know no capitals, or no dot at the end, take these for one name. */
const plain = (name: string): string => name.toLowerCase().replace(/\.+$/, '');

const busy = (): ProblemError =>
  new ProblemError('busy', 'Too many files are being taken at this moment. Send it again.', {
    headers: { 'retry-after': String(RETRY_AFTER_SECS) },
  });
