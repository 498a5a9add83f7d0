/** Answers that a client may keep, and ask about with their ETag. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { matchesEtag } from '../etag.ts';

export interface Tagged {
  /** Media type, with its charset where it has one. */
  readonly type: string;
  readonly body: string;
  /** Of the body (etag.ts). */
  readonly etag: string;
}

/** The body, or 304 where the client has it already (RFC 9110, 13.1.2). */
export function sendTagged(request: FastifyRequest, reply: FastifyReply, { type, body, etag }: Tagged): FastifyReply {
  reply.header('etag', etag).header('cache-control', 'no-cache');
  if (matchesEtag(request.headers['if-none-match'], etag)) return reply.code(304).send();
  return reply.type(type).send(body);
}
