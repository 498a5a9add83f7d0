/** The tables of the configuration that say what is stopped, how, and who is told. Parts of schema.ts, under its rules. */
import { HOOK_EVENTS } from '../lifetime/types.ts';
import { LARGEST_UID } from './formats.ts';

/** Enough for any plan; a list beyond it is a mistake. */
const MOST_STEPS = 32;
/** Each of them is looked for every second. */
const MOST_PAYLOADS = 256;
/** Each of them is sent to at every change. */
const MOST_WEBHOOKS = 16;

export const step = {
  type: 'object',
  additionalProperties: false,
  required: ['at'],
  exactlyOne: ['signal', 'hook'],
  properties: {
    at: { type: 'string', format: 'step-time', description: 'How long before the deadline; "grace" = the lead.' },
    signal: { type: 'string', format: 'signal', description: 'Signal name.' },
    hook: { type: 'string', format: 'hook-name', description: 'A program in hooks.d/steps.' },
    to: { enum: ['leader', 'group', 'all'], description: 'Who gets the signal.' },
  },
} as const;

export const steps = { type: 'array', minItems: 1, maxItems: MOST_STEPS, items: step } as const;

const user = { type: ['string', 'integer'], format: 'user', minimum: 0, maximum: LARGEST_UID } as const;

export const payload = {
  type: 'array',
  maxItems: MOST_PAYLOADS,
  description:
    'Something to stop that does not register itself: a systemd unit, a process that a pidfile names, a control group (v2),\nor every process of a user whose command line matches.',
  items: {
    type: 'object',
    additionalProperties: false,
    required: ['name'],
    exactlyOne: ['unit', 'pidfile', 'cgroup', 'match'],
    properties: {
      name: { type: 'string', format: 'payload-name', description: 'What it is called, each name once.' },
      unit: { type: 'string', format: 'unit', description: 'A service, scope or slice; stopped through systemd.' },
      pidfile: {
        type: 'string',
        format: 'absolute-path',
        description: 'Names the process in its first line. Belongs to user or root, like the directories around it.',
      },
      cgroup: { type: 'string', format: 'cgroup', description: 'Below the root of the control groups.' },
      match: {
        type: 'object',
        additionalProperties: false,
        required: ['user', 'command'],
        description:
          'user and a regular expression for the command line, words joined by blanks. Of a tree of processes the topmost that\nmatches is the payload; what it starts belongs to it. \'…\' in place of "…" keeps a backslash as it is.',
        properties: {
          user: { ...user, description: 'Whose processes.' },
          command: { type: 'string', minLength: 0, maxLength: 4096, description: 'A regular expression.' },
        },
      },
      user: { ...user, description: 'For pidfile: whose process it must be.' },
      group: { type: 'boolean', description: 'For pidfile: its process group too.', default: false },
      grace: {
        type: 'string',
        format: 'duration',
        description: 'Its lead: stopping begins so long before the deadline. Default: that of [stop].',
      },
      steps: { ...steps, description: 'Instead of the steps of [stop].' },
      restart_on_cancel: {
        type: 'boolean',
        description: 'For unit: started again when the host cancels after the agent has stopped it.',
        default: true,
      },
    },
  },
  // One of each kind for the example file: the ways to find it exclude each other.
  examples: [
    { name: 'condor', unit: 'condor.service', grace: '10m', restart_on_cancel: true },
    {
      name: 'pilot',
      pidfile: '/run/pilot/pilot.pid',
      user: 'pilot',
      group: true,
      steps: [
        { at: 'grace', hook: 'save-state' },
        { at: '1m', signal: 'SIGTERM' },
        { at: '5s', signal: 'SIGKILL' },
      ],
    },
    { name: 'worker', match: { user: 'grid', command: '^/opt/worker/bin/worker( |$)' } },
    { name: 'batch', cgroup: '/batch.slice' },
  ],
} as const;

export const hooks = {
  type: 'object',
  additionalProperties: false,
  description: "Programs that are run when the machine's state changes.",
  properties: {
    dir: {
      type: 'string',
      format: 'absolute-path',
      description:
        'Holds notice/, draining/, stopping/, stopped/, cancelled/ and can_terminate/ (whether the machine can be terminated has\nchanged), each with programs, and steps/ for those that steps name.',
      default: '/etc/mjf-agent/hooks.d',
    },
    user: { ...user, description: 'Who runs them. Default: the user that the agent runs as.', examples: ['operator'] },
    timeout: {
      type: 'string',
      format: 'duration',
      description:
        'The longest that one may run; the deadline may end it earlier. The next program of the same event waits for it.',
      default: '60s',
      atLeast: '1s',
    },
  },
} as const;

/** How a server is known to be the right one, and who we are to it. */
export const tlsFiles = {
  ca: {
    type: 'string',
    format: 'absolute-path',
    description: "Certificates (PEM) that the server is checked against, instead of the system's.",
    examples: ['/etc/mjf-agent/site-ca.pem'],
  },
  cert: {
    type: 'string',
    format: 'absolute-path',
    description: 'Client certificate (PEM).',
    examples: ['/etc/mjf-agent/vm.pem'],
  },
  key: {
    type: 'string',
    format: 'absolute-path',
    description: 'Key of the client certificate (PEM).',
    examples: ['/etc/mjf-agent/vm.key'],
  },
} as const;

export const webhook = {
  type: 'array',
  maxItems: MOST_WEBHOOKS,
  description: "Where the machine's state is POSTed to, as JSON, when it changes.",
  items: {
    type: 'object',
    additionalProperties: false,
    required: ['url'],
    properties: {
      url: {
        type: 'string',
        format: 'http-url',
        description: 'Without user and password.',
        examples: ['https://site.example/hooks/vm'],
      },
      events: {
        type: 'array',
        minItems: 1,
        uniqueItems: true,
        items: { enum: HOOK_EVENTS },
        description:
          'What is told; can_terminate: that the machine can be terminated without loss, or that it cannot any more.',
        default: HOOK_EVENTS,
      },
      authorization_file: {
        type: 'string',
        format: 'absolute-path',
        description: 'File with the value of the Authorization header. Read each time, so that it may be renewed.',
        examples: ['/etc/mjf-agent/webhook-token'],
      },
      ...tlsFiles,
    },
  },
} as const;
