/** Errors as RFC 9457 `application/problem+json`, with a stable `code` besides the prose. */
import type { FastifyReply } from 'fastify';
import { PROBLEMS, type ProblemCode } from './problem-catalogue.ts';

/** Where in the request something is wrong: in the body by JSON pointer (RFC 6901, as a URI fragment), else the parameter. */
export interface FieldError {
  readonly detail: string;
  readonly pointer?: string;
  readonly parameter?: string;
}

export interface ProblemOptions {
  readonly headers?: Readonly<Record<string, string>>;
  /** Somebody was refused: logged once a minute and counted under `code` (guard.ts). */
  readonly refused?: boolean;
  /** Code in the log and the counter, where the caller is not to learn it. */
  readonly reason?: string;
  /** Whose request it was, where known; for the log only. */
  readonly uid?: number;
  /** The field of the body that is wrong, as a pointer: `#/steps/0/signal`. */
  readonly pointer?: string;
}

/** Thrown anywhere in a request; the error handler of `guard.ts` answers with it. `message` is shown to the caller. */
export class ProblemError extends Error {
  readonly code: ProblemCode;
  readonly options: ProblemOptions;
  constructor(code: ProblemCode, detail: string, options: ProblemOptions = {}) {
    super(detail);
    this.name = 'ProblemError';
    this.code = code;
    this.options = options;
  }
}

export function refusal(code: ProblemCode, detail: string, options: ProblemOptions = {}): ProblemError {
  return new ProblemError(code, detail, { ...options, refused: true });
}

/**
 * `type` leads into the API document that this very agent serves: it is there without a network, and it is about this version.
 * It is relative, so programs compare `code`.
 */
export const problemType = (code: ProblemCode): string => `/openapi.json#/x-problems/${code}`;

/** The body, newline at the end. */
export function problemText(code: ProblemCode, detail: string, errors: readonly FieldError[] = []): string {
  const { status, title } = PROBLEMS[code];
  const fields = errors.length > 0 && { errors };
  return `${JSON.stringify({ type: problemType(code), title, status, code, detail, ...fields })}\n`;
}

export function sendProblem(
  reply: FastifyReply,
  code: ProblemCode,
  detail: string,
  errors?: readonly FieldError[],
): FastifyReply {
  return reply
    .code(PROBLEMS[code].status)
    .type('application/problem+json')
    .send(problemText(code, detail, errors));
}

/** "Not known" of a feature or a time: an empty text, since MJF readers take any body for a value (mjf.md). */
export function sendAbsent(reply: FastifyReply): FastifyReply {
  if (!reply.hasHeader('cache-control')) reply.header('cache-control', 'no-cache');
  return reply.code(404).type('text/plain; charset=utf-8').send('');
}

/** JSON Schema of the body, for the API document. */
export const problemSchema = {
  type: 'object',
  description: 'What went wrong (RFC 9457). More codes may be added.',
  required: ['type', 'title', 'status', 'code', 'detail'],
  properties: {
    type: { type: 'string', format: 'uri-reference', description: 'Where this document explains the code.' },
    title: { type: 'string', description: 'What happened, the same for each occurrence of the code.' },
    status: { type: 'integer', description: 'The HTTP status once more.' },
    code: { type: 'string', pattern: '^[a-z_]+$', description: 'Stable, for programs; a key of `x-problems`.' },
    detail: { type: 'string', description: 'For people; not for decisions.' },
    errors: {
      type: 'array',
      description: 'With `invalid`: the fields that are wrong.',
      items: {
        type: 'object',
        required: ['detail'],
        properties: {
          detail: { type: 'string', description: 'What it must be.' },
          pointer: { type: 'string', description: 'JSON pointer into the body: `#/target/pid`.' },
          parameter: { type: 'string', description: 'Name of the parameter of path, query or header.' },
        },
      },
    },
  },
} as const;
