/** Bodies of `/v1/payloads` as JSON Schema: types, validation and API document in one. */
import type { Static } from 'typebox';
import { DURATION_PATTERN } from '../../duration.ts';
import { answerProperties } from './payload-answer.ts';
import { MAX_SECS, TEXT_PATTERN, unixSecs } from './schema-parts.ts';

/** More steps than anybody can plan by hand. */
const MAX_STEPS = 16;
/** PATH_MAX of the kernel, for the path of a control group. */
const MAX_PATH_CHARS = 4096;
/** systemd's own bound of a unit's name. */
const MAX_UNIT_CHARS = 255;

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
export const wishedStepSchema = {
  type: 'object',
  description: 'A step of stopping it.',
  additionalProperties: false,
  required: ['at'],
  properties: {
    at: {
      type: 'string',
      pattern: `^grace$|${DURATION_PATTERN}`,
      description: '"grace" or how long before the deadline: "30s", "2m"',
    },
    // A hook passes here, so that its refusal can say why.
    signal: {
      type: 'string',
      pattern: '^(?:SIG[A-Z0-9+-]{1,12}|hook:.{0,128})$',
      description: 'Required: SIGTERM …',
    },
    hook: { type: 'string', maxLength: 128, description: 'Refused: only the configuration names programs' },
    to: { type: 'string', enum: ['leader', 'group', 'all'] },
  },
} as const;
const steps = { type: 'array', minItems: 1, maxItems: MAX_STEPS, items: wishedStepSchema } as const;
export const limitsSchema = {
  type: 'object',
  additionalProperties: false,
  description: "Own job features, each no more generous than the machine's",
  properties: {
    allocated_cpu: size,
    wall_limit_secs: { ...size, maximum: MAX_SECS, description: 'Sets a deadline, from the registration on' },
    cpu_limit_secs: size,
    max_rss_bytes: size,
    scratch_limit_bytes: size,
    job_id: { type: 'string', pattern: '^[!-~]{1,256}$' },
  },
} as const;
const group = { type: 'boolean', description: 'The whole process group that pid leads' } as const;
/** Long enough not to be what every process carries (`LANG=C`); visible, since it is compared with bytes of /proc. */
const marker = {
  type: 'string',
  minLength: 16,
  maxLength: 256,
  pattern: '^[A-Za-z_][A-Za-z0-9_]*=[!-~]+$',
  description:
    "NAME=VALUE in the environment of all its processes, its leader's own first of all, and of nobody else's, for those that leave the group",
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
      description: 'Exactly one of pid, unit and cgroup',
      properties: {
        pid,
        group,
        marker,
        unit: {
          type: 'string',
          minLength: 1,
          maxLength: MAX_UNIT_CHARS,
          description: 'systemd service, scope or slice; root and operator only',
        },
        cgroup: {
          type: 'string',
          minLength: 1,
          maxLength: MAX_PATH_CHARS,
          description: "cgroup v2 subtree: a directory of the caller's",
        },
      },
    },
    deliverer_pid: {
      ...pid,
      description:
        'The exec process that sends the signals itself while it lives; the same as target.pid: a reservation, named later',
    },
    view: {
      type: 'string',
      pattern: '^[0-9a-f]{32}$',
      description: 'Secret name of its view, proposed by the client, so that a later registration keeps its paths',
    },
    grace_secs: graceSecs,
    steps,
    deadline: { ...unixSecs, description: "The payload's own, UNIX seconds; never later than the machine's counts" },
    running_since: {
      ...unixSecs,
      description:
        'UNIX seconds: its wall limit counts from then on, and moves if the clock is set; absent or later = now',
    },
    limits: limitsSchema,
    ...answerProperties,
  },
} as const;
export type CreateBody = Static<typeof createSchema>;

export const changeSchema = {
  type: 'object',
  additionalProperties: false,
  minProperties: 1,
  properties: {
    name,
    target: {
      type: 'object',
      additionalProperties: false,
      required: ['pid'],
      description: 'Of a reservation only: the process that was meant',
      properties: { pid, group, marker },
    },
    grace_secs: graceSecs,
    steps,
    deadline: createSchema.properties.deadline,
    limits: limitsSchema,
    ...answerProperties,
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

export const goodbyeSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    started: {
      type: 'string',
      enum: ['true', 'false'],
      description: 'Of a reservation: its process has run, though it was never named',
    },
  },
} as const;

export const idParams = {
  type: 'object',
  properties: { id: { type: 'string', description: '`id` of the row' } },
} as const;
