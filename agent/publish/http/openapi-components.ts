/** What the API document names once and refers to. A schema that stands here is found by its identity, wherever it is used. */
import { eventSchema, historySchema } from './history-schema.ts';
import {
  featureSchema,
  lifetimeSchema,
  machineAnswerSchema,
  noticeSchema,
  sourceStateSchema,
} from './lifetime-schema.ts';
import { announceSchema, ignoreSchema } from './notice-schema.ts';
import { rowSchema, stepSchema, viewSchema } from './payload-row-schema.ts';
import { changeSchema, createSchema, limitsSchema, stepsDoneSchema, wishedStepSchema } from './payload-schema.ts';
import { problemSchema } from './problem.ts';
import type { AnswerHeader, Json, RequestHeader } from './route-doc.ts';
import { readingSchema, sourceSchema } from './source-schema.ts';
import { finalWordOfMachineSchema, finalWordOfPayloadSchema } from './word-schema.ts';

export const SCHEMAS: Readonly<Record<string, Json>> = {
  lifetime: lifetimeSchema,
  feature: featureSchema,
  notice: noticeSchema,
  source_state: sourceStateSchema,
  machine_answer: machineAnswerSchema,
  source: sourceSchema,
  reading: readingSchema,
  history: historySchema,
  event: eventSchema,
  payload: rowSchema,
  step: stepSchema,
  view: viewSchema,
  registration: createSchema,
  change: changeSchema,
  wished_step: wishedStepSchema,
  limits: limitsSchema,
  steps_done: stepsDoneSchema,
  final_word: finalWordOfPayloadSchema,
  final_word_of_machine: finalWordOfMachineSchema,
  announcement: announceSchema,
  override: ignoreSchema,
  problem: problemSchema,
};

const NAMES = new Map(Object.entries(SCHEMAS).map(([name, schema]) => [schema, name]));

/** The same with every named schema in it replaced by a reference; the schema itself is not, when it is what is named. */
export function referring(schema: Json, name?: string): Json {
  const known = NAMES.get(schema);
  if (known !== undefined && known !== name) return { $ref: `#/components/schemas/${known}` };
  return Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, inner(value)]));
}

function inner(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(inner);
  return isJson(value) ? referring(value) : value;
}

export const isJson = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const text = { type: 'string' } as const;

export const ANSWER_HEADERS: Readonly<Record<AnswerHeader | 'mjf-agent-instance' | 'Retry-After' | 'Allow', Json>> = {
  'mjf-agent-instance': {
    description: 'Id of the agent process that answers; on every answer. It changes with each start.',
    required: true,
    schema: text,
  },
  ETag: {
    description:
      'Strong tag of the content: for `If-None-Match`, `last_etag` and `Last-Event-ID`. Valid over restarts.',
    schema: { type: 'string', pattern: '^"[A-Za-z0-9_-]+"$' },
  },
  'Cache-Control': {
    description: '`no-cache`: keep it, and ask with its ETag whether it still holds; `no-store`: changes all the time.',
    schema: { type: 'string', enum: ['no-cache', 'no-store'] },
  },
  'Last-Modified': {
    description:
      'Since when it has this value; only of a feature of the machine or the job itself, and not within its first second.',
    schema: text,
  },
  Vary: { description: 'By what of the request the answer is chosen.', schema: { type: 'string', const: 'Accept' } },
  'Content-Security-Policy': {
    description: 'That the page runs its own script and style, and asks nobody but this agent.',
    schema: text,
  },
  Location: { description: 'Where the payload stands: `/v1/payloads/ID`.', schema: text },
  Allow: { description: 'The methods that there are.', schema: text },
  'Retry-After': { description: 'Seconds after which to ask again.', schema: { type: 'string', pattern: '^[0-9]+$' } },
};

export const REQUEST_HEADERS: Readonly<Record<RequestHeader, Json>> = {
  Accept: { description: 'With `text/html`, liked no less than `text/plain`: the status page.', schema: text },
  'If-None-Match': { description: 'ETags that the client has: 304 if one of them still holds.', schema: text },
  'If-Modified-Since': {
    description: 'An HTTP date: 304 if the value is not newer. Counts only without `If-None-Match`.',
    schema: text,
  },
  'Last-Event-ID': {
    description:
      'The id of the last event that was read: nothing comes until the next change. An unknown one gets all.',
    schema: text,
  },
};
