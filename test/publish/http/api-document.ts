/** The API document as a judge: what an answer must look like, and which requests it shows as examples. */
import assert from 'node:assert/strict';
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import type { Answer, Ask } from './harness.ts';

type Json = Readonly<Record<string, unknown>>;
const isJson = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value);
const json = (value: unknown): Json => (isJson(value) ? value : {});

export interface Operation {
  readonly id: string;
  readonly method: string;
  readonly path: string;
  readonly access: string;
  /** As documented, the references in it followed. */
  readonly responses: Readonly<Record<string, Json>>;
  readonly hasBody: boolean;
  readonly isJsonBody: boolean;
  readonly examples: readonly Example[];
}
export interface Example {
  readonly name: string;
  readonly status: number;
  readonly type: string | null;
  readonly answer: unknown;
  readonly target: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: unknown;
}

export interface ApiDocument {
  readonly document: Json;
  readonly operations: ReadonlyMap<string, Operation>;
  /** Throws where an answer is not what is documented: status, type, headers, body, code. */
  check(operation: Operation, answer: Pick<Answer, 'status' | 'headers' | 'body'>): void;
  /** Of a named schema, with nothing in it that is not documented. */
  validate(name: string, value: unknown): void;
}

const BASE = 'https://test.invalid/openapi';
/** Headers that say something about an answer, besides those of HTTP itself: each is documented, or must not be there. */
const SPEAKING = ['etag', 'cache-control', 'last-modified', 'location', 'retry-after', 'mjf-agent-instance'];
/** Given only sometimes. */
const SOMETIMES = new Set(['last-modified']);

export function apiDocument(document: Json): ApiDocument {
  const ajv = new Ajv2020({ strict: false, allErrors: true, validateFormats: false });
  ajv.addSchema({ $id: BASE, components: closed(document['components']) });
  const compiled = new Map<string, ValidateFunction>();
  const operations = new Map(operationsOf(document).map((operation) => [operation.id, operation]));

  function valid(schema: unknown, value: unknown, where: string): void {
    const key = JSON.stringify(schema);
    let validate = compiled.get(key);
    if (validate === undefined) {
      validate = ajv.compile(json(rebased(closed(schema))));
      compiled.set(key, validate);
    }
    assert.ok(validate(value), `${where}: ${ajv.errorsText(validate.errors)}\n${JSON.stringify(value)}`);
  }

  return {
    document,
    operations,
    validate: (name, value) => valid({ $ref: `#/components/schemas/${name}` }, value, name),
    check({ id, responses }, { status, headers, body }) {
      const where = `${id} ${status}`;
      const response = responses[String(status)] ?? responses['default'];
      assert.ok(response, `${where} is not documented`);
      const named = Object.keys(json(response['headers'])).map((name) => name.toLowerCase());
      const isProblem = headers['content-type']?.startsWith('application/problem+json') === true;
      for (const name of SPEAKING) {
        if (headers[name] !== undefined) assert.ok(named.includes(name), `${where}: ${name} is not documented`);
        // A status that stands for an answer and a problem names the headers of both.
        else if (!isProblem && !SOMETIMES.has(name) && !(status === 503 && name === 'retry-after'))
          assert.ok(!named.includes(name), `${where}: ${name} is missing`);
      }
      if (isProblem && (status === 429 || status === 503)) assert.match(headers['retry-after'] ?? '', /^\d+$/, where);
      const type = headers['content-type']?.split(';', 1)[0];
      const content = json(response['content']);
      if (Object.keys(content).length === 0) {
        assert.deepEqual([type, body], [undefined, ''], where);
        return;
      }
      assert.ok(type !== undefined && type in content, `${where}: ${type} is not documented`);
      if (type.startsWith('text/')) {
        if (status === 404) assert.equal(body, '', where);
        return;
      }
      assert.ok(body.endsWith('\n'), `${where}: no newline at the end`);
      const value: unknown = JSON.parse(body);
      valid(json(content[type])['schema'], value, where);
      if (isProblem && isJson(value)) checkProblem(value, status, response, where);
    },
  };

  function checkProblem(problem: Json, status: number, response: Json, where: string): void {
    const { code, title } = problem;
    const codes = response['x-codes'];
    assert.ok(Array.isArray(codes) && codes.includes(code), `${where}: ${code} is not documented`);
    const [, pointer = ''] = /^\/openapi\.json#\/(.*)$/.exec(String(problem['type'])) ?? [];
    const kind = pointer.split('/').reduce<unknown>((at, key) => json(at)[key], document);
    assert.deepEqual([json(kind)['title'], json(kind)['status']], [title, status], `${where}: type leads to its code`);
    assert.equal(problem['status'], status, where);
  }
}

function operationsOf(document: Json): readonly Operation[] {
  const responses = json(json(document['components'])['responses']);
  return Object.entries(json(document['paths'])).flatMap(([path, methods]) =>
    Object.entries(json(methods)).map(([method, value]): Operation => {
      const operation = json(value);
      const followed = Object.entries(json(operation['responses'])).map(([status, one]) => {
        const name = String(json(one)['$ref'] ?? '').replace('#/components/responses/', '');
        return [status, name === '' ? json(one) : json(responses[name])] as const;
      });
      const body = json(json(operation['requestBody'])['content']);
      return {
        id: String(operation['operationId']),
        method: method.toUpperCase(),
        path,
        access: String(operation['x-access']),
        responses: Object.fromEntries(followed),
        hasBody: Object.keys(body).length > 0,
        isJsonBody: 'application/json' in body,
        examples: followed.flatMap(([status, response]) => examplesOf(operation, path, Number(status), response)),
      };
    }),
  );
}

function examplesOf(operation: Json, path: string, status: number, response: Json): readonly Example[] {
  const [bodies] = Object.values(json(json(operation['requestBody'])['content']));
  const withBody = Object.entries(json(response['content'])).flatMap(([type, media]) =>
    Object.entries(json(json(media)['examples'])).map(([name, one]) => ({ name, type, answer: json(one)['value'] })),
  );
  const without = Object.keys(json(response['x-examples'])).map((name) => ({ name, type: null, answer: undefined }));
  return [...withBody, ...without].map(({ name, type, answer }) => {
    const parameters: readonly unknown[] = Array.isArray(operation['parameters']) ? operation['parameters'] : [];
    const given = parameters.flatMap((parameter) => {
      const { name: of, in: place, examples } = json(parameter);
      const value = json(json(examples)[name])['value'];
      return value === undefined ? [] : [{ of: String(of), place, value: String(value) }];
    });
    const filled = given
      .filter(({ place }) => place === 'path')
      .reduce((text, { of, value }) => text.replace(`{${of}}`, encodeURIComponent(value)), path);
    const query = new URLSearchParams(
      given.filter(({ place }) => place === 'query').map(({ of, value }): [string, string] => [of, value]),
    ).toString();
    return {
      name,
      status,
      type,
      answer,
      target: `${filled}${query === '' ? '' : `?${query}`}`,
      headers: Object.fromEntries(given.filter(({ place }) => place === 'header').map(({ of, value }) => [of, value])),
      body: json(json(json(bodies)['examples'])[name])['value'],
    };
  });
}

/** Sends what an example shows. A body of text goes as it stands. */
export const askOf = (
  { method, isJsonBody }: Operation,
  { headers, body }: Pick<Example, 'headers' | 'body'>,
): Ask => ({
  method,
  headers: { ...headers, ...(isJsonBody && { 'content-type': 'application/json' }) },
  ...(body !== undefined && { body: isJsonBody ? JSON.stringify(body) : body }),
});

/** No property that is not named, in every object that names some. */
function closed(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(closed);
  if (!isJson(schema)) return schema;
  const inner = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, closed(value)]));
  const names = isJson(schema['properties']) && schema['type'] !== undefined;
  return names && !('additionalProperties' in schema) ? { ...inner, additionalProperties: false } : inner;
}

function rebased(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(rebased);
  if (!isJson(schema)) return schema;
  return Object.fromEntries(
    Object.entries(schema).map(([key, value]) => [
      key,
      key === '$ref' && typeof value === 'string' ? `${BASE}${value}` : rebased(value),
    ]),
  );
}
