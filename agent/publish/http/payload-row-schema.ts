/** A row of `/v1/payloads` for the API document. */

const instant = { type: ['number', 'null'], description: 'UNIX seconds' } as const;
const text = { type: 'string' } as const;
const textOrNull = { type: ['string', 'null'] } as const;

export const rowSchema = {
  type: 'object',
  properties: {
    id: text,
    name: text,
    uid: { type: 'integer', description: 'Whose it is: who may see and change it, besides root' },
    target: { type: 'string', enum: ['process', 'unit', 'cgroup'] },
    pid: { type: ['integer', 'null'] },
    group: { type: 'boolean' },
    unit: textOrNull,
    cgroup: { ...textOrNull, description: 'Below the root of cgroup v2; of a unit too' },
    command: { ...textOrNull, description: "The process's own name; null when it is gone or none is named" },
    containment: {
      type: ['string', 'null'],
      enum: ['cgroup', 'marker', 'session', 'descent', null],
      description: 'By what its processes are held together, the surest that applies now',
    },
    origin: { ...textOrNull, description: 'The [[payload]] of the configuration by which it was found' },
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
          signal: { ...textOrNull, description: 'null where a program is run' },
          hook: { ...textOrNull, description: 'File below hooks.d/steps; null where a signal is sent' },
          to: textOrNull,
          due: instant,
          state: { type: 'string', enum: ['planned', 'done', 'refused', 'skipped', 'pending'] },
        },
      },
    },
    registered: { type: 'number' },
    can_terminate: {
      type: ['object', 'null'],
      description: 'What it says of its own end; null where it has said nothing',
      properties: { now: { type: 'boolean' }, at: instant },
    },
    needs_until: {
      ...instant,
      description: 'UNIX seconds, by needs_secs: what it has done is lost if it is ended earlier',
    },
    progress: { type: ['number', 'null'], description: '0 to 1' },
    final_word: {
      type: ['object', 'null'],
      description: 'What it has said last to the site, so far',
      properties: { code: { type: 'integer' }, text, by: { type: 'string', enum: ['payload', 'exit'] } },
    },
    limits: { type: 'object', additionalProperties: text },
    episode: { type: 'integer' },
    view: {
      type: ['object', 'null'],
      properties: {
        machinefeatures_path: text,
        jobfeatures_path: text,
        machinefeatures_url: textOrNull,
        jobfeatures_url: textOrNull,
      },
    },
  },
} as const;
