/**
 * Every key of the configuration with description and default, as JSON Schema: it validates, gives the type, and is what
 * `packaging/config.toml` and the manual are made from. `source.NAME` is composed from the sources' own schemas.
 *
 * `default` is what holds when the key is absent; `examples` is shown where there is no default. `format` names a row of
 * formats.ts. What stops payloads stands in schema-payload.ts, what the site is told in schema-report.ts.
 */
import type { Static } from 'typebox';
import { NOTICE_KINDS } from '../lifetime/types.ts';
import { LOG_LEVEL_NAMES } from './log-levels.ts';
import { hooks, payload, steps, webhook } from './schema-payload.ts';
import { report } from './schema-report.ts';

const kindOf = <const Kind extends string>(kind: Kind) =>
  ({
    enum: NOTICE_KINDS,
    description: `What a notice of the kind ${kind} counts as. Default: as what it is.`,
  }) as const;

export const baseSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    listen: {
      description:
        'Where the HTTP interface listens: ADDRESS:PORT, a list of them, or "off". localhost = 127.0.0.1 and [::1].\nAddresses beyond loopback are read-only.',
      default: 'localhost:8653',
      anyOf: [
        { type: 'string', format: 'listen' },
        { type: 'array', minItems: 1, maxItems: 16, items: { type: 'string', format: 'listen' } },
      ],
    },
    runtime_dir: {
      type: 'string',
      format: 'absolute-path',
      description: 'What is published, and the sockets. On a tmpfs.',
      default: '/run/mjf-agent',
    },
    state_dir: {
      type: 'string',
      format: 'absolute-path',
      description: 'What outlives a boot.',
      default: '/var/lib/mjf-agent',
    },
    journal_dir: {
      type: 'string',
      format: 'absolute-path',
      description:
        'What a restarted agent must know within one boot. On a tmpfs. Default: runtime_dir with "-state" added.',
      examples: ['/run/mjf-agent-state'],
    },
    admin_group: {
      type: 'string',
      minLength: 1,
      description: 'Members of this group may use the operator commands; otherwise root alone.',
      examples: ['operator'],
    },
    hand_socket: {
      type: 'string',
      format: 'absolute-path',
      description: 'Where the helper listens that does what needs root, for an agent that is not root itself.',
      default: '/run/mjf-agent-hand.sock',
    },
    sources: {
      description:
        'Channels to ask: "auto" (what this machine shows to have, and what is configured) or a list such as ["directory", "ec2"].',
      default: 'auto',
      anyOf: [{ const: 'auto' }, { type: 'array', minItems: 1, maxItems: 64, items: { type: 'string', minLength: 1 } }],
    },
    source: { type: 'object' },
    stop: {
      type: 'object',
      additionalProperties: false,
      description: 'When and how payloads are stopped before the deadline.',
      properties: {
        drain: {
          type: 'string',
          format: 'duration',
          description: 'So long before the deadline no new work is taken.',
          default: '30m',
        },
        grace: {
          type: 'string',
          format: 'duration',
          description: 'Lead of a payload that states none: stopping begins so long before the deadline.',
          default: '2m',
        },
        steps: {
          ...steps,
          description:
            'What a payload gets and when: at = "grace" or how long before the deadline; signal, to = "leader", "group" or "all";\nor hook = "NAME", a program in hooks.d/steps.',
          default: [
            { at: 'grace', signal: 'SIGTERM' },
            { at: '5s', signal: 'SIGKILL' },
          ],
        },
        at_deadline: {
          enum: ['nothing', 'poweroff'],
          description: 'What becomes of the machine at the deadline.',
          default: 'nothing',
        },
        when_done: {
          enum: ['nothing', 'poweroff'],
          description: 'What becomes of the machine when payloads have lived on it and all have ended.',
          default: 'nothing',
        },
        idle: {
          type: 'string',
          format: 'duration',
          description: 'For when_done: how long there must have been no payload.',
          default: '5m',
        },
      },
    },
    notice: {
      type: 'object',
      additionalProperties: false,
      description:
        'What a kind of notice counts as, KIND = "KIND". Kinds: terminate stop shutdown reboot redeploy (set a deadline),\ndrain, freeze hibernate migrate rebalance (only inform).',
      properties: {
        terminate: kindOf('terminate'),
        stop: kindOf('stop'),
        shutdown: kindOf('shutdown'),
        reboot: kindOf('reboot'),
        redeploy: kindOf('redeploy'),
        drain: kindOf('drain'),
        freeze: { ...kindOf('freeze'), examples: ['stop'] },
        hibernate: kindOf('hibernate'),
        migrate: kindOf('migrate'),
        rebalance: kindOf('rebalance'),
      },
    },
    publish: {
      type: 'object',
      additionalProperties: false,
      description: 'How the truth is shown to payloads.',
      properties: {
        shutdown_keys: {
          enum: ['always', 'draining'],
          description:
            'When shutdowntime and shutdowntime_job are published; "draining" is for readers that drain on mere presence.',
          default: 'always',
        },
        shutdown_time_file: {
          type: 'string',
          format: 'absolute-path',
          description: 'Also write the deadline (UNIX seconds) to this file.',
          examples: ['/run/shutdown_time'],
        },
        link_etc: {
          type: 'boolean',
          description:
            'Link /etc/machinefeatures and /etc/jobfeatures to the output where the host mounts nothing there.',
          default: true,
        },
      },
    },
    payload,
    hooks,
    webhook,
    report,
    log: {
      type: 'object',
      additionalProperties: false,
      description: 'What the agent writes on its standard output, which under systemd is the journal.',
      properties: {
        level: { enum: LOG_LEVEL_NAMES, description: 'How much is logged.', default: 'info' },
      },
    },
  },
} as const;

/** The configuration as written, once it is valid. Unknown tables below `source` are the sources' own matter. */
export type RawConfig = Omit<Static<typeof baseSchema>, 'source'> & {
  readonly source?: Readonly<Record<string, unknown>>;
};

/** A JSON Schema as this program reads it for messages, environment and the example file. */
export interface SchemaNode {
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly default?: unknown;
  readonly examples?: readonly unknown[];
  readonly format?: string;
  /** Writing it turns a channel on, even with its default: shown as an example, so that uncommenting changes nothing. */
  readonly namesChannel?: boolean;
  /** A duration below this is refused (rules.ts). */
  readonly atLeast?: string;
  /** Keys that must be given. */
  readonly required?: readonly string[];
  /** Of these keys a table has one and only one. */
  readonly exactlyOne?: readonly string[];
  readonly pattern?: string;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly additionalProperties?: boolean | SchemaNode;
  readonly items?: SchemaNode;
  readonly anyOf?: readonly SchemaNode[];
  readonly oneOf?: readonly SchemaNode[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly maxLength?: number;
}

/** The whole schema: the base, and for each source its own table. */
export function composeSchema(sources: readonly { readonly name: string; readonly schema: SchemaNode }[]): SchemaNode {
  const known = sources.map(({ name, schema }) => [name, schema] as const);
  return {
    ...baseSchema,
    properties: {
      ...baseSchema.properties,
      source: { type: 'object', additionalProperties: false, properties: Object.fromEntries(known) },
    },
  };
}
