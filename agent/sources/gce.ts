/**
 * Google Compute Engine (facts "platforms", GCE): the metadata service is asked by hanging GETs for what comes suddenly, each
 * key by itself, and now and then for the rest. Ids of its notices: `preempted`, `maintenance-event`,
 * `upcoming-maintenance`, `stop-state`.
 */
import type { Static } from 'typebox';
import { durationMs } from '../duration.ts';
import type { MachineFacts } from './facts.ts';
import { createGceClient, gceBases, NAMED_URL } from './gce-client.ts';
import { guestAttributes } from './gce-guest-attributes.ts';
import { gceParts } from './gce-parts.ts';
import { sourceOfParts } from './parts.ts';
import { platformKeys } from './platform-schema.ts';
import { pollOf } from './poll.ts';
import type { SourceDefinition } from './source.ts';

const schema = {
  type: 'object',
  additionalProperties: false,
  description: 'Google Compute Engine: preemption, maintenance, graceful stops, and the attributes of the instance.',
  properties: {
    ...platformKeys(
      NAMED_URL,
      '60s',
      'for upcoming maintenance. What comes suddenly is announced by hanging GETs: this is also how long one of them waits, 20 s at most',
    ),
    graceful_shutdown: {
      type: 'string',
      format: 'duration',
      description:
        'How long the graceful shutdown of this instance was made to last, for platforms that do not tell the guest. Without it, 30 s are reckoned with.',
      examples: ['10m'],
    },
  },
} as const;

export type GceConfig = Static<typeof schema>;

const DEFAULT_POLL = schema.properties.poll.default;
const DEFAULT_TIMEOUT = schema.properties.timeout.default;
/** A connection that died in silence is found out after one hang: that must be well within the shortest notice, 30 s. */
const LONGEST_HANG_MS = 20_000;
/** One connection for each hanging GET, and one for each key that a reading asks: none waits for a dead one. */
const MAX_SOCKETS = 12;

export const gceSource: SourceDefinition<GceConfig> = {
  name: 'gce',
  schema,
  explicitKeys: ['base_url'],
  detect: ({ dmi, cloudId }: MachineFacts) => {
    if (dmi.product_name === 'Google Compute Engine') return 'product_name is "Google Compute Engine"';
    // Google makes laptops too: those have names.
    if (dmi.sys_vendor === 'Google' && /^(Google.*)?$/.test(dmi.product_name ?? '')) return 'sys_vendor is "Google"';
    return cloudId === 'gce' ? 'cloud-id is "gce"' : undefined;
  },
  create(config, environment) {
    const poll = pollOf(config.poll ?? DEFAULT_POLL);
    const timeoutMs = durationMs(config.timeout ?? DEFAULT_TIMEOUT);
    const client = createGceClient(gceBases(config.base_url), { timeoutMs, maxSockets: MAX_SOCKETS }, environment);
    const timing = {
      // By a cron expression only what is polled is asked at set times.
      everyMs: typeof poll === 'number' ? poll : 0,
      hangMs: Math.min(LONGEST_HANG_MS, typeof poll === 'number' ? poll : durationMs(DEFAULT_POLL)),
      timeoutMs,
      ...(config.graceful_shutdown === undefined ? {} : { gracefulMs: durationMs(config.graceful_shutdown) }),
    };
    return [
      sourceOfParts({
        name: 'gce',
        rank: 'platform',
        poll,
        timeoutMs,
        parts: gceParts(client, timing, environment),
        back: guestAttributes(client),
        close: () => client.close(),
      }),
    ];
  },
};
