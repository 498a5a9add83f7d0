/** Errors as RFC 9457 `application/problem+json`, with a stable `code` besides the prose. */
import { STATUS_CODES } from 'node:http';
import type { FastifyReply } from 'fastify';

export interface ProblemOptions {
  readonly headers?: Readonly<Record<string, string>>;
  /** Somebody was refused: logged once a minute and counted under `code` (guard.ts). */
  readonly refused?: boolean;
  /** Code in the log and the counter, where the caller is not to learn it. */
  readonly reason?: string;
  /** Whose request it was, where known; for the log only. */
  readonly uid?: number;
}

/** Thrown anywhere in a request; the error handler of `guard.ts` answers with it. `message` is shown to the caller. */
export class ProblemError extends Error {
  readonly statusCode: number;
  readonly code: string;
  readonly options: ProblemOptions;
  constructor(statusCode: number, code: string, detail: string, options: ProblemOptions = {}) {
    super(detail);
    this.name = 'ProblemError';
    this.statusCode = statusCode;
    this.code = code;
    this.options = options;
  }
}

export function refusal(statusCode: number, code: string, detail: string, options: ProblemOptions = {}): ProblemError {
  return new ProblemError(statusCode, code, detail, { ...options, refused: true });
}

export function sendProblem(reply: FastifyReply, status: number, code: string, detail: string): FastifyReply {
  const body = { type: 'about:blank', title: STATUS_CODES[status] ?? 'Error', status, code, detail };
  return reply
    .code(status)
    .type('application/problem+json')
    .send(`${JSON.stringify(body)}\n`);
}

/** "Not known" of a feature or a time: an empty text, since MJF readers take any body for a value (mjf.md). */
export function sendAbsent(reply: FastifyReply): FastifyReply {
  if (!reply.hasHeader('cache-control')) reply.header('cache-control', 'no-cache');
  return reply.code(404).type('text/plain; charset=utf-8').send('');
}

/** JSON Schema of the body, for the API document. */
export const problemSchema = {
  type: 'object',
  required: ['type', 'title', 'status', 'code', 'detail'],
  properties: {
    type: { type: 'string' },
    title: { type: 'string' },
    status: { type: 'integer' },
    code: { type: 'string', description: 'Stable, for programs.' },
    detail: { type: 'string', description: 'For people.' },
  },
} as const;
