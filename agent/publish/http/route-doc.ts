/** What the API document says of a route besides its schemas: stands in the route's own options, as `config.doc`. */
import type { FastifyInstance } from 'fastify';
import type { Access } from './caller.ts';
import type { ProblemCode } from './problem-catalogue.ts';

export type Json = Readonly<Record<string, unknown>>;

export const TAGS = {
  features: 'Machine/Job Features as key files over HTTP (HSF-TN-2016-02).',
  lifetime: 'How long this machine still lives, and why.',
  payloads: 'What is stopped before the deadline. Rows of one’s own only; root and the operator see all.',
  site: 'The word of payloads and machine to the site.',
  operator: "The operator's own word, through `admin.sock`.",
  agent: 'The agent itself: for supervisors and monitors.',
} as const;
export type Tag = keyof typeof TAGS;

/** Headers of answers besides those that all have. */
export type AnswerHeader = 'ETag' | 'Cache-Control' | 'Last-Modified' | 'Location' | 'Vary' | 'Content-Security-Policy';
/** Headers of requests that the program reads without a schema. */
export type RequestHeader = 'Accept' | 'If-None-Match' | 'If-Modified-Since' | 'Last-Event-ID';

export interface AnswerDoc {
  readonly says: string;
  /** None: an answer without a body. */
  readonly type?: string;
  readonly schema?: Json;
  readonly headers?: readonly AnswerHeader[];
  /** Another form of the same, by `Accept`; its headers are those that only it has. */
  readonly or?: { readonly type: string; readonly headers: readonly AnswerHeader[] };
}

/** A request that can be sent as it stands (ids and pids aside), and what comes back. */
export interface ExampleDoc {
  readonly name: string;
  readonly summary: string;
  /** Parameters by name, wherever they stand. */
  readonly with?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  readonly status: number;
  /** None: an answer without a body. */
  readonly answer?: unknown;
}

export interface RouteDoc {
  /** The name of the method in clients made from the document: never changes. */
  readonly id: string;
  readonly tag: Tag;
  /** One line, also in the list at `/`. */
  readonly summary: string;
  readonly description?: string;
  readonly requestHeaders?: readonly RequestHeader[];
  /** What a body that is no JSON holds. */
  readonly anyBody?: string;
  readonly answers: Readonly<Record<number, AnswerDoc>>;
  /** Besides those that every route of its kind answers (openapi-problems.ts). */
  readonly problems?: readonly ProblemCode[];
  readonly examples: readonly ExampleDoc[];
}

declare module 'fastify' {
  interface FastifyContextConfig {
    readonly doc?: RouteDoc;
  }
}

export interface RouteRecord {
  readonly method: string;
  readonly url: string;
  readonly access: Access | undefined;
  readonly doc: RouteDoc | undefined;
  readonly schema: Json;
}

/** Filled as routes are added; HEAD goes without saying. */
export function collectRoutes(app: FastifyInstance): readonly RouteRecord[] {
  const routes: RouteRecord[] = [];
  app.addHook('onRoute', ({ method, url, schema, config }) => {
    for (const one of [method].flat()) {
      if (one !== 'HEAD')
        routes.push({ method: one, url, access: config?.access, doc: config?.doc, schema: { ...schema } });
    }
  });
  return routes;
}
