/** Whose row it is (S5.5): to look at, to change, to speak for. */
import type { FastifyRequest } from 'fastify';
import type { SnapshotPayload } from '../../lifetime/types.ts';
import { maySee } from './caller.ts';
import type { HttpContext } from './context.ts';
import { ProblemError, refusal } from './problem.ts';

export const ROOT = 0;

/**
 * The row if it is the caller's, by the request's method to look at or to change; else it throws. `word`: its owner speaks
 * for it, which is also his where the configuration says how it is stopped.
 */
export type OwnRows = (request: FastifyRequest, id: string, why?: 'word') => SnapshotPayload;

export const ownRows =
  ({ port, callers }: Pick<HttpContext, 'port' | 'callers'>): OwnRows =>
  (request, id, why) => {
    const payload = port.payload(id);
    const detail = 'There is no such payload of yours.';
    if (payload === undefined) throw new ProblemError('no_payload', detail);
    const caller = callers.of(request.raw);
    const { uid, origin } = payload.spec;
    const changes = request.method !== 'GET' && request.method !== 'HEAD';
    // To look at, another's row is no row at all: ids tell nothing. Who tries to change it is told, and so is the log.
    if (!maySee(caller, uid)) {
      if (changes) throw refusal('foreign_payload', 'This payload belongs to another user.');
      throw refusal('no_payload', detail, { reason: 'foreign_payload' });
    }
    if (changes && why !== 'word' && origin !== undefined && !maySee(caller, ROOT))
      throw refusal('configured_payload', 'The configuration says how this payload is stopped: ask the operator.');
    return payload;
  };
