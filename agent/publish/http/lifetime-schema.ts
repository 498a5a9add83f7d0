/** `/v1/lifetime`, `lifetime.json` and the events as JSON Schema (DESIGN.md, "Interfaces"). More fields may be added. */
import { NOTICE_KINDS } from '../../lifetime/types.ts';
import { count, instantOrNull } from './schema-parts.ts';

const since = { type: 'integer', description: 'UNIX seconds' } as const;

export const featureSchema = {
  type: 'object',
  description: 'A value with where it is from.',
  required: ['value', 'source', 'since', 'stale'],
  properties: {
    value: { type: 'string', description: 'As it is published, without newline.' },
    source: { type: 'string', description: 'The channel that told it: `directory`, `ec2`, `static` …' },
    since: { ...since, description: 'UNIX seconds since when it has this value.' },
    stale: { type: 'boolean', description: 'Its source has not answered for a while; the value still holds.' },
  },
} as const;
const features = { type: 'object', description: 'By key.', additionalProperties: featureSchema } as const;

export const noticeSchema = {
  type: 'object',
  description: 'An announced interruption.',
  required: ['id', 'source', 'kind', 'deadline', 'reason', 'first_seen', 'stale'],
  properties: {
    id: { type: 'string', description: 'Stable: a changed time is an update of the same notice.' },
    source: { type: 'string', description: 'The channel that told it.' },
    kind: {
      type: 'string',
      enum: NOTICE_KINDS,
      description:
        '`terminate`, `stop`, `shutdown`, `reboot`, `redeploy` set a deadline; `drain` means: no new work; the others inform.',
    },
    deadline: { ...instantOrNull, description: 'UNIX seconds; null when it has none.' },
    reason: { type: 'string', description: 'In words of the host; not for decisions.' },
    first_seen: since,
    stale: { type: 'boolean', description: 'Its source has not answered for a while; the notice still holds.' },
    expired: { type: 'boolean', description: 'Given when true: it lies before this boot and is not acted on.' },
    ignored: { type: 'boolean', description: 'Given when true: the operator has overridden it.' },
    broken_promise: { type: 'boolean', description: 'Given when true: it came later than `grace_secs` promises.' },
  },
} as const;

export const sourceStateSchema = {
  type: 'object',
  description: 'How a source fares, as far as that is part of the truth; `/v1/sources` has the rest.',
  required: ['name', 'state', 'since'],
  properties: {
    name: { type: 'string' },
    state: {
      type: 'string',
      enum: ['ok', 'stale', 'failed', 'absent'],
      description:
        '`failed`: its last reading failed; `stale`: no good answer for a while; `absent`: this machine has no such channel.',
    },
    since,
    error: { type: 'string', description: 'Given while something is wrong: a stable code.' },
    clock_offset_secs: {
      type: 'number',
      description: "Given where the host's clock is so far ahead of ours that its notices are planned on it.",
    },
    faults: {
      type: 'object',
      additionalProperties: { type: 'string' },
      description: 'Given while single keys or endpoints of a source that answers are wrong: by name, a stable code.',
    },
  },
} as const;

export const machineAnswerSchema = {
  type: ['object', 'null'],
  description:
    'Machine to site: whether it can be terminated without losing work; null where no payload has ever lived.',
  required: ['now', 'at', 'must_not_until', 'progress'],
  properties: {
    now: { type: 'boolean' },
    at: {
      ...instantOrNull,
      description: 'UNIX seconds from which on it can; null where not every payload has named a time.',
    },
    must_not_until: {
      ...instantOrNull,
      description: 'UNIX seconds before which work is lost; null where no payload has said how long it still needs.',
    },
    progress: {
      type: ['number', 'null'],
      description: 'Mean of the payloads that have said how far they are, 0 to 1 in steps of 0.01.',
    },
  },
} as const;

export const lifetimeSchema = {
  type: 'object',
  description:
    'The one truth about this machine. Absolute instants only, in whole UNIX seconds, so that it changes when the truth changes and not with the clock.',
  required: [
    'phase',
    'deadline',
    'grace_secs',
    'drain_at',
    'stop_at',
    'stop_grace_secs',
    'reason',
    'overdue',
    'next_change',
    'termination_allowed',
    'can_terminate',
    'notices',
    'machinefeatures',
    'jobfeatures',
    'sources',
    'payloads',
  ],
  properties: {
    phase: {
      type: 'string',
      enum: ['running', 'draining', 'stopping', 'stopped'],
      description: '`draining`: take no new work; `stopping`: signals are going out; `stopped`: none is left.',
    },
    deadline: {
      ...instantOrNull,
      description: 'UNIX seconds by which all processing must have ended; null when none is foreseen.',
    },
    grace_secs: { type: ['number', 'null'], description: "The host's promise of notice." },
    drain_at: { ...instantOrNull, description: 'UNIX seconds from which on no new work is taken.' },
    stop_at: { ...instantOrNull, description: 'UNIX seconds at which stopping begins.' },
    stop_grace_secs: { type: 'number', description: 'Lead of a payload that states none.' },
    reason: { type: ['string', 'null'], description: 'Where the deadline comes from; for people.' },
    overdue: { type: 'boolean', description: 'The deadline has passed and the machine still lives.' },
    next_change: { ...instantOrNull, description: 'UNIX seconds at which the phase changes by itself.' },
    termination_allowed: {
      type: ['boolean', 'null'],
      description: 'Host to machine: the site may terminate at any time; null where it has not said.',
    },
    can_terminate: machineAnswerSchema,
    notices: { type: 'array', items: noticeSchema, description: 'Those in force, from all sources.' },
    machinefeatures: features,
    jobfeatures: features,
    sources: { type: 'array', items: sourceStateSchema },
    payloads: {
      type: 'object',
      description: 'How many, by state; who they are is told to their owners alone.',
      required: ['running', 'stopping', 'stopped'],
      properties: { running: count, stopping: count, stopped: count },
    },
  },
} as const;
