/** Bodies and rows of `/v1/payloads` as JSON Schema: types, validation and API document in one. */
import type { Static } from 'typebox';
import { DURATION_PATTERN } from '../../duration.ts';

/** Names go to logs and terminals: no control characters. */
export const TEXT_PATTERN = '^[^\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029]*$';
/** Ten years; beyond that a number is a mistake (milliseconds?). */
const MAX_SECS = 315_360_000;
/** Year 2286 in seconds: rejects milliseconds in place of seconds. */
export const MAX_UNIX_SECS = 9_999_999_999;
/** More steps than anybody can plan by hand. */
const MAX_STEPS = 16;

export const unixSecs = {
  type: 'number',
  exclusiveMinimum: 0,
  maximum: MAX_UNIX_SECS,
  description: 'UNIX seconds',
} as const;
const pid = { type: 'integer', minimum: 1, maximum: 4_194_304 } as const;
const size = { type: 'integer', minimum: 1, maximum: Number.MAX_SAFE_INTEGER } as const;

const name = { type: 'string', minLength: 1, maxLength: 128, pattern: TEXT_PATTERN } as const;
const graceSecs = {
  type: 'number',
  minimum: 0,
  maximum: MAX_SECS,
  description: 'Lead: how long before the deadline stopping begins',
} as const;
const signal = { type: 'string', pattern: '^SIG[A-Z0-9+-]{1,12}$' } as const;
const steps = {
  type: 'array',
  minItems: 1,
  maxItems: MAX_STEPS,
  items: {
    type: 'object',
    additionalProperties: false,
    required: ['at', 'signal'],
    properties: {
      at: {
        type: 'string',
        pattern: `^grace$|${DURATION_PATTERN}`,
        description: '"grace" or how long before the deadline: "30s", "2m"',
      },
      signal,
      to: { type: 'string', enum: ['leader', 'group', 'all'] },
    },
  },
} as const;
const limits = {
  type: 'object',
  additionalProperties: false,
  description: "Own job features, each no more generous than the machine's",
  properties: {
    allocated_cpu: size,
    wall_limit_secs: size,
    cpu_limit_secs: size,
    max_rss_bytes: size,
    scratch_limit_bytes: size,
    job_id: { type: 'string', pattern: '^[!-~]{1,256}$' },
  },
} as const;
const canTerminate = {
  type: 'object',
  additionalProperties: false,
  required: ['now'],
  properties: { now: { type: 'boolean' }, at: unixSecs },
} as const;

export const createSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['name', 'target'],
  properties: {
    name,
    target: {
      type: 'object',
      additionalProperties: false,
      properties: {
        pid,
        group: { type: 'boolean', description: 'The whole process group that pid leads' },
        unit: { type: 'string', description: 'Not in this version' },
        cgroup: { type: 'string', description: 'Not in this version' },
      },
    },
    deliverer_pid: { ...pid, description: 'The exec process that sends the signals itself while it lives' },
    grace_secs: graceSecs,
    steps,
    deadline: { ...unixSecs, description: "The payload's own, UNIX seconds; never later than the machine's counts" },
    limits,
    can_terminate: canTerminate,
  },
} as const;
export type CreateBody = Static<typeof createSchema>;

export const changeSchema = {
  type: 'object',
  additionalProperties: false,
  minProperties: 1,
  properties: {
    name,
    grace_secs: graceSecs,
    steps,
    deadline: createSchema.properties.deadline,
    limits,
    can_terminate: canTerminate,
  },
} as const;
export type ChangeBody = Static<typeof changeSchema>;

export const stepsDoneSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['results'],
  properties: {
    results: {
      type: 'array',
      minItems: 1,
      maxItems: 64,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['episode', 'index', 'signal', 'outcome'],
        properties: {
          episode: { type: 'integer', minimum: 0 },
          index: { type: 'integer', minimum: 0, maximum: 255 },
          signal,
          outcome: { type: 'string', enum: ['delivered', 'no_process', 'refused', 'uncertain'] },
          at: { ...unixSecs, description: 'When the signal went out, UNIX seconds; now if absent' },
        },
      },
    },
  },
} as const;
export type StepsDoneBody = Static<typeof stepsDoneSchema>;

export const idParams = { type: 'object', properties: { id: { type: 'string' } } } as const;

const instant = { type: ['number', 'null'], description: 'UNIX seconds' } as const;
const text = { type: 'string' } as const;
export const rowSchema = {
  type: 'object',
  properties: {
    id: text,
    name: text,
    uid: { type: 'integer' },
    command: { type: ['string', 'null'], description: "The process's own name; null when it is gone" },
    pid,
    group: { type: 'boolean' },
    deliverer_pid: { type: ['integer', 'null'] },
    state: { type: 'string', enum: ['running', 'stopping', 'stopped'] },
    deadline: instant,
    stop_at: instant,
    grace_secs: { type: 'number' },
    steps: {
      type: 'array',
      items: {
        type: 'object',
        properties: {
          index: { type: 'integer' },
          at: text,
          signal: text,
          to: text,
          due: instant,
          state: { type: 'string', enum: ['planned', 'done', 'refused', 'skipped', 'pending'] },
        },
      },
    },
    registered: { type: 'number' },
    can_terminate: { type: ['object', 'null'], properties: { now: { type: 'boolean' }, at: instant } },
    limits: { type: 'object', additionalProperties: text },
    episode: { type: 'integer' },
    view: {
      type: ['object', 'null'],
      properties: {
        machinefeatures_path: text,
        jobfeatures_path: text,
        machinefeatures_url: { type: ['string', 'null'] },
        jobfeatures_url: { type: ['string', 'null'] },
      },
    },
  },
} as const;
