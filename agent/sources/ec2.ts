/**
 * Amazon EC2's instance metadata service (facts "platforms", "AWS EC2"): spot interruptions, scheduled events, the target of
 * an Auto Scaling group, and tags as Machine/Job Features. Session tokens where the service gives them (IMDSv2).
 */
import type { Static } from 'typebox';
import { durationMs } from '../duration.ts';
import type { Reading } from '../lifetime/types.ts';
import { type Ask, dated, oneLine, type TellOnce } from './ec2-ask.ts';
import { eventParts } from './ec2-events.ts';
import { SPOT_NOTICE_MS, spotParts } from './ec2-spot.ts';
import { TAGS_IN_FLIGHT, tagsPart } from './ec2-tags.ts';
import type { MachineFacts } from './facts.ts';
import { createMetadata } from './metadata.ts';
import { type Part, sourceOfParts } from './parts.ts';
import { platformKeys } from './platform-schema.ts';
import { pollOf } from './poll.ts';
import { type SourceDefinition, type SourceEnvironment, SourceError } from './source.ts';

const schema = {
  type: 'object',
  additionalProperties: false,
  description:
    'Amazon EC2: spot interruptions, scheduled events, Auto Scaling and instance tags, from its metadata service.',
  properties: {
    ...platformKeys('http://169.254.169.254', '2s', 'whether a spot instance is to be interrupted'),
    slow_poll: {
      type: 'string',
      format: 'duration',
      description: 'How often to ask for all else: scheduled events, rebalance recommendations, Auto Scaling, tags.',
      default: '60s',
      atLeast: '200ms',
    },
  },
} as const;

export type Ec2Config = Static<typeof schema>;

const TOKEN = {
  path: '/latest/api/token',
  ttlHeader: 'X-aws-ec2-metadata-token-ttl-seconds',
  tokenHeader: 'X-aws-ec2-metadata-token',
};
/** Every endpoint has its own connection and one is for the token: those that hang must not make the others wait. */
const ENDPOINTS = 8;
/** More odd things than a service says in a day. */
const MAX_TOLD = 64;

/** Notices: `spot`, `rebalance`, `autoscaling`, and scheduled events by their `EventId`. */
export const ec2Source: SourceDefinition<Ec2Config> = {
  name: 'ec2',
  schema,
  explicitKeys: ['base_url'],
  detect,
  create(config, environment) {
    const { properties } = schema;
    const timeoutMs = durationMs(config.timeout ?? properties.timeout.default);
    const poll = pollOf(config.poll ?? properties.poll.default);
    const slowMs = durationMs(config.slow_poll ?? properties.slow_poll.default);
    const metadata = createMetadata(
      {
        source: 'ec2',
        baseUrl: config.base_url ?? properties.base_url.default,
        timeoutMs,
        token: TOKEN,
        maxSockets: ENDPOINTS + TAGS_IN_FLIGHT,
      },
      environment,
    );
    const ask: Ask = (path, { signal }) => metadata.ask(`/latest/meta-data/${path}`, { signal });
    const tellOnce = createTellOnce(environment);
    // By a cron expression each of its moments counts.
    const pollMs = typeof poll === 'number' ? poll : 0;
    const parts = [
      ...spotParts({ ask, tellOnce, pollMs, slowMs }),
      ...eventParts({ ask, tellOnce, everyMs: slowMs }),
      tagsPart(ask, slowMs),
      lifeCyclePart(ask),
      instanceIdPart(ask),
    ];
    return [sourceOfParts({ name: 'ec2', rank: 'platform', poll, timeoutMs, parts, close: () => metadata.close() })];
  },
};

const VENDOR = 'Amazon EC2';
/** Xen guests of the older generations: the firmware is Xen's own, or there is none at all. */
const XEN = /^xen$/i;

/** Clouds that imitate the interface say their own names as vendor, and have sources of their own. */
function detect({ dmi, cloudId, hypervisorUuid }: MachineFacts): string | undefined {
  for (const field of ['sys_vendor', 'bios_vendor', 'board_vendor', 'chassis_vendor', 'chassis_asset_tag'] as const) {
    if (dmi[field] === VENDOR) return `${field} is "${VENDOR}"`;
    if (field === 'sys_vendor' && dmi.sys_vendor !== undefined && !XEN.test(dmi.sys_vendor)) return undefined;
  }
  if (cloudId !== undefined && cloudId !== 'aws') return undefined;
  if (/amazon/i.test(dmi.bios_version ?? '')) return `bios_version is "${dmi.bios_version}"`;
  if (hypervisorUuid?.startsWith('ec2')) return 'the hypervisor uuid begins with ec2';
  return cloudId === 'aws' ? 'cloud-init says aws' : undefined;
}

/** Static, so asked once. Of machines that are not spot the platform says nothing: the site may still do as it likes. */
const lifeCyclePart = (ask: Ask): Part => ({
  name: 'instance-life-cycle',
  everyMs: 'once',
  async read(context) {
    const answer = await ask('instance-life-cycle', context);
    if (answer.is === 'absent') return dated(answer, {});
    const life = oneLine(answer.text, 'instance-life-cycle').toLowerCase();
    if (!/^[a-z-]+$/.test(life)) throw new SourceError('bad_answer', 'instance-life-cycle is no life cycle');
    const ifSpot = (value: string): Reading<string> =>
      life === 'spot' ? { is: 'present', value } : { is: 'negative' };
    return dated(answer, {
      derived: { machine: { termination_allowed: ifSpot('1'), grace_secs: ifSpot(String(SPOT_NOTICE_MS / 1000)) } },
    });
  },
});

const instanceIdPart = (ask: Ask): Part => ({
  name: 'instance-id',
  everyMs: 'once',
  async read(context) {
    const answer = await ask('instance-id', context);
    if (answer.is === 'absent') return dated(answer, {});
    const id = oneLine(answer.text, 'instance-id');
    if (!/^[\w.:-]+$/.test(id)) throw new SourceError('bad_answer', 'instance-id is no id');
    return dated(answer, { derived: { job: { job_id: { is: 'present', value: id } } } });
  },
});

function createTellOnce({ log }: SourceEnvironment): TellOnce {
  const told = new Set<string>();
  return (event, what, message) => {
    const key = `${event} ${what}`;
    if (told.has(key) || told.size >= MAX_TOLD) return;
    told.add(key);
    log.info({ event, source: 'ec2' }, message);
  };
}
