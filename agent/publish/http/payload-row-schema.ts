/** A row of `/v1/payloads` for the API document. */
import { instantOrNull } from './schema-parts.ts';

const text = { type: 'string' } as const;
const textOrNull = { type: ['string', 'null'] } as const;

export const stepSchema = {
  type: 'object',
  description: 'One step of stopping it: a signal, or a program of the configuration.',
  required: ['index', 'at', 'signal', 'hook', 'to', 'due', 'state'],
  properties: {
    index: { type: 'integer' },
    at: { ...text, description: '`grace`, or how long before the deadline.' },
    signal: { ...textOrNull, description: 'null where a program is run.' },
    hook: { ...textOrNull, description: 'File below hooks.d/steps; null where a signal is sent.' },
    to: {
      type: ['string', 'null'],
      enum: ['leader', 'group', 'all', null],
      description: 'Who gets the signal; null where a program is run.',
    },
    due: { ...instantOrNull, description: 'UNIX seconds; null while there is no deadline.' },
    state: {
      type: 'string',
      enum: ['planned', 'done', 'refused', 'skipped', 'pending'],
      description:
        '`pending`: it is going out; `skipped`: a later one stood for it; `refused`: what was to get it was not what had been registered.',
    },
  },
} as const;

export const viewSchema = {
  type: ['object', 'null'],
  description: 'Its own features, behind a name that nobody else knows.',
  required: ['machinefeatures_path', 'jobfeatures_path', 'machinefeatures_url', 'jobfeatures_url'],
  properties: {
    machinefeatures_path: { ...text, description: 'For `$MACHINEFEATURES`.' },
    jobfeatures_path: { ...text, description: 'For `$JOBFEATURES`.' },
    machinefeatures_url: { ...textOrNull, description: 'The same over HTTP; null where TCP is off.' },
    jobfeatures_url: textOrNull,
  },
} as const;

export const rowSchema = {
  type: 'object',
  description: 'A payload as its owner and the operator see it.',
  required: [
    'id',
    'name',
    'uid',
    'target',
    'pid',
    'group',
    'unit',
    'cgroup',
    'origin',
    'deliverer_pid',
    'state',
    'deadline',
    'stop_at',
    'grace_secs',
    'steps',
    'registered',
    'can_terminate',
    'needs_until',
    'progress',
    'final_word',
    'limits',
    'episode',
    'view',
    'command',
    'containment',
  ],
  properties: {
    id: { ...text, description: 'For `/v1/payloads/ID`.' },
    name: text,
    uid: { type: 'integer', description: 'Whose it is: who may see and change it, besides root.' },
    target: { type: 'string', enum: ['process', 'unit', 'cgroup'] },
    pid: { type: ['integer', 'null'], description: 'Of a process: its leader.' },
    group: { type: 'boolean', description: 'Of a process: the whole group that it leads.' },
    unit: textOrNull,
    cgroup: { ...textOrNull, description: 'Below the root of cgroup v2; of a unit too.' },
    command: { ...textOrNull, description: "The process's own name; null when it is gone or none is named." },
    containment: {
      type: ['string', 'null'],
      enum: ['cgroup', 'marker', 'session', 'descent', null],
      description: 'By what its processes are held together, the surest that applies now.',
    },
    origin: { ...textOrNull, description: 'The `[[payload]]` of the configuration by which it was found.' },
    deliverer_pid: { type: ['integer', 'null'], description: 'Who sends the signals itself while it lives.' },
    state: { type: 'string', enum: ['running', 'stopping', 'stopped'] },
    deadline: { ...instantOrNull, description: "UNIX seconds; its own or the machine's, whichever is earlier." },
    stop_at: { ...instantOrNull, description: 'UNIX seconds of its first step.' },
    grace_secs: { type: 'number', description: 'Its lead: how long before the deadline stopping begins.' },
    steps: { type: 'array', items: stepSchema },
    registered: { type: 'number', description: 'UNIX seconds' },
    can_terminate: {
      type: ['object', 'null'],
      description: 'What it says of its own end; null where it has said nothing.',
      required: ['now', 'at'],
      properties: { now: { type: 'boolean' }, at: instantOrNull },
    },
    needs_until: {
      ...instantOrNull,
      description: 'UNIX seconds, by needs_secs: what it has done is lost if it is ended earlier.',
    },
    progress: { type: ['number', 'null'], description: '0 to 1' },
    final_word: {
      type: ['object', 'null'],
      description: 'What it has said last to the site, so far.',
      required: ['code', 'text', 'by'],
      properties: { code: { type: 'integer' }, text, by: { type: 'string', enum: ['payload', 'exit'] } },
    },
    limits: { type: 'object', additionalProperties: text, description: 'Its own job features.' },
    episode: { type: 'integer', description: 'How often its stopping has begun.' },
    view: viewSchema,
  },
} as const;
