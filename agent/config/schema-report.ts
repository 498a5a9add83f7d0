/** The table of the configuration that says how the machine's answer and last word reach the site. Part of schema.ts, under its rules. */
import { tlsFiles } from './schema-payload.ts';

const enabled = { type: 'boolean', description: 'false: this way is not used.', default: true } as const;

export const report = {
  type: 'object',
  additionalProperties: false,
  description:
    'How the site hears whether this machine can be terminated, and with what last word it goes (shutdown_message).\nEach way is used where this machine has it.',
  properties: {
    codes: {
      type: 'object',
      additionalProperties: { type: 'string', format: 'final-word' },
      description:
        'What the exit code of a payload under "mjf-agent exec" means to the site: EXIT = "NNN text". EXIT is 0 to 255, signal\n(a signal ended it, and not the agent\'s) or other; NNN from 300 on is a fault, and sites back off from it.',
      examples: [{ 3: '300 no more work', other: '600 application failed' }],
    },
    joboutputs: {
      type: 'object',
      additionalProperties: false,
      description: 'Where the site takes files from this machine: url or directory.',
      properties: {
        enabled,
        url: {
          type: 'string',
          format: 'http-url',
          description: 'Files are PUT below this URL.',
          examples: ['https://site.example/joboutputs/vm-17'],
        },
        directory: {
          type: 'string',
          format: 'absolute-path',
          description: 'Files are written to this directory.',
          examples: ['/run/mjf-host/joboutputs'],
        },
        ...tlsFiles,
        heartbeat_file: {
          type: 'string',
          format: 'flat-name',
          description: 'Name of the file that shows the site that this machine lives; none when absent.',
          examples: ['heartbeat'],
        },
        heartbeat: {
          type: 'string',
          format: 'duration',
          description: 'How often it is written.',
          default: '60s',
          atLeast: '1s',
        },
      },
    },
    directory: {
      type: 'object',
      additionalProperties: false,
      description: 'The answer as key files (can_terminate, …) in a directory that the host shares with this machine.',
      properties: {
        enabled,
        path: {
          type: 'string',
          format: 'absolute-path',
          description: 'Used where it exists; that another one than the default is missing is told in the log.',
          default: '/run/mjf-host/jobstatus',
        },
      },
    },
    onegate: {
      type: 'object',
      additionalProperties: false,
      description: 'OpenNebula: the answer in the user template of this machine, over OneGate.',
      properties: { enabled },
    },
    gce: {
      type: 'object',
      additionalProperties: false,
      description: 'Google Compute Engine: the answer as guest attributes, where the instance has them enabled.',
      properties: { enabled },
    },
    vmware: {
      type: 'object',
      additionalProperties: false,
      description: 'VMware: the answer as guestinfo variables.',
      properties: { enabled },
    },
    azure: {
      type: 'object',
      additionalProperties: false,
      description:
        'Azure: once every payload has stopped in order, the scheduled event is acknowledged, so that Azure begins at once\ninstead of waiting for its time. Never where a payload did not stop in order, nor where none was ever registered.',
      properties: {
        enabled,
        ack_shared: {
          type: 'boolean',
          description:
            'Also events that name other machines, too: an acknowledgement lets Azure begin with all of them, whatever they do.',
          default: false,
        },
      },
    },
  },
} as const;
