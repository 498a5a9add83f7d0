/** OpenAPI 3.1 from the routes themselves: what validates a request is what describes it. No plugin, since this is all it takes. */
import type { FastifyInstance } from 'fastify';
import { problemSchema } from './problem.ts';

/** What a schema cannot say of a route. */
export interface RouteDoc {
  readonly summary: string;
  /** The answer is text, and this is what it holds. */
  readonly text?: string;
  /** The answer is a stream of events. */
  readonly stream?: string;
  /** Success has no body. */
  readonly empty?: boolean;
  /** Status of success, where the schema has no response: 200, or 204 when empty. */
  readonly status?: number;
  /** Answers 404 with an empty text when there is no value. */
  readonly absent?: boolean;
  /** Answers 304 to If-None-Match. */
  readonly conditional?: boolean;
}

declare module 'fastify' {
  interface FastifyContextConfig {
    readonly doc?: RouteDoc;
  }
}

export interface RouteRecord {
  readonly method: string;
  readonly url: string;
  readonly doc: RouteDoc | undefined;
  readonly schema: Readonly<Record<string, unknown>>;
}
type Json = Readonly<Record<string, unknown>>;

/** Filled as routes are added; HEAD goes without saying. */
export function collectRoutes(app: FastifyInstance): readonly RouteRecord[] {
  const routes: RouteRecord[] = [];
  app.addHook('onRoute', ({ method, url, schema, config }) => {
    for (const one of [method].flat()) {
      if (one !== 'HEAD') routes.push({ method: one, url, doc: config?.doc, schema: { ...schema } });
    }
  });
  return routes;
}

export function openApi(routes: readonly RouteRecord[], version: string): Json {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of routes) {
    const path = route.url.replace(/:([a-z_]+)/g, '{$1}').replace('*', '{id}');
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operation(route, path) };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'mjf-agent',
      version,
      description:
        'Lifetime and limits of this virtual machine. Reading is for everyone on the machine; writing needs a local user.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    paths,
    components: { schemas: { problem: problemSchema } },
  };
}

function operation({ method, url, doc, schema }: RouteRecord, path: string): Json {
  const body = schema['body'];
  return {
    operationId: `${method.toLowerCase()}${path.replace(/[^a-z0-9]+/gi, '_').replace(/_$/, url.endsWith('/') ? '_list' : '')}`,
    summary: doc?.summary ?? '',
    parameters: [
      ...[...path.matchAll(/\{([a-z_]+)\}/g)].map(([, name]) => ({
        name,
        in: 'path',
        required: true,
        schema: propertiesOf(schema['params'])[name ?? ''] ?? { type: 'string' },
      })),
      ...parametersOf('query', schema['querystring']),
      ...parametersOf('header', schema['headers']),
    ],
    ...(body !== undefined && { requestBody: { required: true, content: { 'application/json': { schema: body } } } }),
    ...(method === 'PUT' && { requestBody: { required: true, content: { '*/*': {} } } }),
    responses: { ...success(doc, schema['response']), ...failures(doc) },
  };
}

function success(doc: RouteDoc | undefined, response: unknown): Json {
  if (isObject(response)) {
    return Object.fromEntries(
      Object.entries(response).map(([status, schema]) => [
        status,
        { description: 'Success', content: { 'application/json': { schema } } },
      ]),
    );
  }
  if (doc?.empty === true) return { [String(doc.status ?? 204)]: { description: 'Done' } };
  const type =
    doc?.stream !== undefined ? 'text/event-stream' : doc?.text !== undefined ? 'text/plain' : 'application/json';
  const schema = type === 'application/json' ? { type: 'object' } : { type: 'string' };
  return {
    [String(doc?.status ?? 200)]: {
      description: doc?.stream ?? doc?.text ?? 'Success',
      content: { [type]: { schema } },
    },
  };
}

function failures(doc: RouteDoc | undefined): Json {
  return {
    ...((doc?.conditional === true || doc?.absent === true) && { 304: { description: 'Unchanged' } }),
    ...(doc?.absent === true && { 404: { description: 'Not known, none foreseen; the body is empty' } }),
    default: {
      description: 'Refused or failed (RFC 9457)',
      content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/problem' } } },
    },
  };
}

function parametersOf(place: 'query' | 'header', schema: unknown): Json[] {
  return Object.entries(propertiesOf(schema)).map(([name, one]) => ({ name, in: place, required: false, schema: one }));
}

function propertiesOf(schema: unknown): Json {
  const properties = isObject(schema) ? schema['properties'] : undefined;
  return isObject(properties) ? properties : {};
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null;
}
