/** Which problems which operation answers with, as responses of the API document. */
import type { Access } from './caller.ts';
import { problemType } from './problem.ts';
import { PROBLEMS, type ProblemCode, statusOf } from './problem-catalogue.ts';
import type { Json, RouteRecord } from './route-doc.ts';

/** Of every route: refused before it was asked, or failed. Unknown paths and methods are in it too. */
const ALWAYS: readonly ProblemCode[] = [
  'bad_request',
  'bad_path',
  'absolute_target',
  'two_hosts',
  'foreign_host',
  'foreign_origin',
  'cross_site',
  'not_found',
  'method_not_allowed',
  'request_timeout',
  'path_too_long',
  'headers_too_large',
  'internal',
  'own_output',
];
const IDENTIFIED: readonly ProblemCode[] = ['unidentified', 'client_gone', 'read_only', 'rate_limited'];
const BY_ACCESS: Readonly<Record<Access, readonly ProblemCode[]>> = {
  read: [],
  own: IDENTIFIED,
  write: IDENTIFIED,
  operator: ['operator_only'],
};
const WITH_BODY: readonly ProblemCode[] = ['bad_json', 'invalid', 'too_large', 'not_json'];
const TYPE = 'application/problem+json';

/** The response that stands for all that may happen before a route is asked. */
export const refusedResponse = (): Json => response('Refused before the route was asked, or failed inside', ALWAYS);

/** By status, and `default` for those of every route. */
export function problemResponses(route: RouteRecord): Readonly<Record<string, Json>> {
  const own = ownCodes(route);
  const statuses = [...new Set(own.map(statusOf))].sort((a, b) => a - b);
  return Object.fromEntries(
    statuses.map((status) => {
      const codes = [...own, ...ALWAYS].filter((code) => statusOf(code) === status);
      return [String(status), response(`${titleOf(status)}: ${codes.map(quoted).join(', ')}`, codes)];
    }),
  );
}

function ownCodes({ method, access, schema, doc }: RouteRecord): readonly ProblemCode[] {
  const writes = access !== 'read' && access !== 'own' && method !== 'GET';
  return [
    ...BY_ACCESS[access ?? 'write'],
    ...(schema['body'] === undefined ? [] : WITH_BODY),
    // What has no body must have no other type, and a file may be too large.
    ...(writes && schema['body'] === undefined ? (['too_large'] as const) : []),
    ...(writes && schema['body'] === undefined && doc?.anyBody === undefined
      ? (['not_json', 'bad_json'] as const)
      : []),
    ...(schema['querystring'] === undefined ? [] : (['invalid'] as const)),
    ...(doc?.problems ?? []),
  ].filter((code, index, all) => all.indexOf(code) === index);
}

function response(description: string, codes: readonly ProblemCode[]): Json {
  return {
    description,
    headers: { 'mjf-agent-instance': { $ref: '#/components/headers/mjf-agent-instance' }, ...headersOf(codes) },
    content: { [TYPE]: { schema: { $ref: '#/components/schemas/problem' } } },
    'x-codes': codes,
  };
}

/** Which problems come with which header. */
const WITH_HEADER: Readonly<Record<string, readonly ProblemCode[]>> = {
  'Retry-After': ['rate_limited', 'too_many_changes', 'too_many_streams', 'too_many_payloads', 'busy'],
  Location: ['registered_already', 'view_taken'],
  Allow: ['method_not_allowed'],
};

const headersOf = (codes: readonly ProblemCode[]): Json => {
  const names = Object.keys(WITH_HEADER).filter((name) => WITH_HEADER[name]?.some((code) => codes.includes(code)));
  return Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]));
};

const TITLES: Readonly<Record<number, string>> = {
  400: 'Wrong request',
  403: 'Not allowed',
  404: 'Not there',
  409: 'Not now',
  413: 'Too large',
  415: 'Wrong type',
  422: 'Nothing that can be stopped',
  429: 'Too often',
  503: 'No place',
  507: 'No room',
};
const titleOf = (status: number): string => TITLES[status] ?? 'Refused';
const quoted = (code: string): string => `\`${code}\``;

/** The catalogue as `x-problems`: `type` of a problem points here. */
export const problemCatalogue = (): Json =>
  Object.fromEntries(
    Object.entries(PROBLEMS)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([code, kind]) => [code, kind]),
  );

/** As it is answered, for the examples. */
export function problemExample(code: ProblemCode, detail: string, errors?: readonly Json[]): Json {
  const { status, title } = PROBLEMS[code];
  return { type: problemType(code), title, status, code, detail, ...(errors !== undefined && { errors }) };
}
