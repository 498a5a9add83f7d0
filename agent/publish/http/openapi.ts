/** OpenAPI 3.1 from the routes themselves: what validates a request is what describes it. No plugin, since this is all it takes. */
import type { Access } from './caller.ts';
import { ANSWER_HEADERS, isJson, REQUEST_HEADERS, referring, SCHEMAS } from './openapi-components.ts';
import { withAnswer, withRequest } from './openapi-examples.ts';
import { problemCatalogue, problemResponses, refusedResponse } from './openapi-problems.ts';
import { DESCRIPTION, SERVERS } from './openapi-words.ts';
import { type AnswerDoc, type Json, type RouteDoc, type RouteRecord, TAGS } from './route-doc.ts';

/** Of the interface, not of the program: what is compatible keeps it. The program's own is `x-agent-version` of what it serves. */
const INTERFACE_VERSION = 'v1';

/** Routes without words of their own are left out: a test sees that there are none. */
export function openApi(routes: readonly RouteRecord[]): Json {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of routes) {
    if (route.doc === undefined) continue;
    const path = pathOf(route.url);
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operation(route, route.doc, path) };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'mjf-agent',
      version: INTERFACE_VERSION,
      summary: 'Lifetime and limits of this virtual machine.',
      description: DESCRIPTION,
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: SERVERS,
    tags: Object.entries(TAGS).map(([name, description]) => ({ name, description })),
    paths,
    components: {
      schemas: Object.fromEntries(Object.entries(SCHEMAS).map(([name, schema]) => [name, referring(schema, name)])),
      headers: ANSWER_HEADERS,
      responses: { refused: refusedResponse() },
    },
    'x-problems': problemCatalogue(),
  };
}

/** The router's `:id` and `*` as OpenAPI writes them. */
export const pathOf = (url: string): string => url.replace(/:([a-z_]+)/g, '{$1}').replace('*', '{id}');

function operation(route: RouteRecord, doc: RouteDoc, path: string): Json {
  const { access, schema } = route;
  const body = requestBody(doc, schema['body']);
  return {
    operationId: doc.id,
    tags: [doc.tag],
    summary: doc.summary,
    description: [doc.description, ACCESS_WORDS[access ?? 'write']].filter(Boolean).join('\n\n'),
    'x-access': access ?? 'write',
    parameters: withRequest(doc.examples, parameters(doc, schema, path)),
    ...(body !== undefined && { requestBody: body }),
    responses: responses(route, doc),
  };
}

const ACCESS_WORDS: Readonly<Record<Access, string>> = {
  read: 'For everyone.',
  own: 'For users of this machine over the loopback, who see what is theirs; for root and the operator.',
  write: 'For users of this machine over the loopback, for root and the operator.',
  operator: 'For the operator, through `admin.sock`.',
};

function parameters(doc: RouteDoc, schema: Json, path: string): readonly Json[] {
  const inPath = propertiesOf(schema['params']);
  return [
    ...[...path.matchAll(/\{([a-z_]+)\}/g)].map(([, name = '']) =>
      parameter('path', name, true, inPath[name] ?? { type: 'string' }),
    ),
    ...Object.entries(propertiesOf(schema['querystring'])).map(([name, one]) => parameter('query', name, false, one)),
    ...(doc.requestHeaders ?? []).map((name) => ({ name, in: 'header', required: false, ...REQUEST_HEADERS[name] })),
  ];
}

function parameter(place: string, name: string, required: boolean, schema: unknown): Json {
  const { description, ...rest } = isJson(schema) ? schema : {};
  return { name, in: place, required, ...(description !== undefined && { description }), schema: rest };
}

function requestBody(doc: RouteDoc, schema: unknown): Json | undefined {
  const examples = doc.examples.flatMap(({ name, summary, body }) =>
    body === undefined ? [] : [[name, { summary, value: body }]],
  );
  const named = { examples: Object.fromEntries(examples) };
  if (doc.anyBody !== undefined) return { description: doc.anyBody, required: false, content: { '*/*': { ...named } } };
  if (!isJson(schema)) return undefined;
  return { required: true, content: { 'application/json': { schema: referring(schema), ...named } } };
}

function responses(route: RouteRecord, doc: RouteDoc): Json {
  const plain = Object.fromEntries(Object.entries(doc.answers).map(([status, answer]) => [status, answered(answer)]));
  const failed = problemResponses(route);
  const all: Record<string, Json> = { ...plain };
  for (const [status, response] of Object.entries(failed)) all[status] = both(all[status], response);
  return { ...withAnswer(doc.examples, all), default: { $ref: '#/components/responses/refused' } };
}

function answered({ says, type, schema, headers = [], or }: AnswerDoc): Json {
  const names = ['mjf-agent-instance', ...headers, ...(or?.headers ?? [])];
  return {
    description: says,
    headers: Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }])),
    ...(type !== undefined && {
      content: {
        [type]: { schema: schema === undefined ? { type: 'string' } : referring(schema) },
        ...(or !== undefined && { [or.type]: { schema: { type: 'string' } } }),
      },
    }),
  };
}

/** One status may be an answer and a problem: its media type tells which. */
function both(answer: Json | undefined, problem: Json): Json {
  if (answer === undefined) return problem;
  const join = (key: string) => ({
    ...(isJson(answer[key]) ? answer[key] : {}),
    ...(isJson(problem[key]) ? problem[key] : {}),
  });
  return {
    ...problem,
    description: `${answer['description']}. ${problem['description']}`,
    headers: join('headers'),
    content: join('content'),
  };
}

function propertiesOf(schema: unknown): Json {
  const properties = isJson(schema) ? schema['properties'] : undefined;
  return isJson(properties) ? properties : {};
}
