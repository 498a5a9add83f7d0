/**
 * VMware guestinfo: what a site writes into the configuration of a virtual machine (`guestinfo.shutdowntime`, with govc or
 * the vSphere client), read and answered through VMware's own tools (facts "platforms", "Others"). Each question is a process, so a site
 * with more than a few keys does well to put them into the one value `guestinfo.mjf` (vmware-document.ts).
 */
import type { Static } from 'typebox';
import { sourceOfParts } from './parts.ts';
import { ENABLED } from './platform-schema.ts';
import { pollOf } from './poll.ts';
import { type Source, type SourceDefinition, type SourceEnvironment, SourceError } from './source.ts';
import { toldValues } from './told-values.ts';
import { guestInfoParts } from './vmware-parts.ts';
import { createGuestInfo } from './vmware-tool.ts';

const schema = {
  type: 'object',
  additionalProperties: false,
  description: 'VMware guestinfo: keys that the site gives to this virtual machine (guestinfo.KEY, guestinfo.mjf).',
  properties: {
    ...ENABLED,
    command: {
      type: 'string',
      format: 'absolute-path',
      description: 'vmtoolsd or vmware-rpctool. Default: the one in PATH. Given, the source is used, detected or not.',
      examples: ['/usr/bin/vmtoolsd'],
    },
    poll: {
      type: 'string',
      format: 'poll',
      description: 'How often to ask for the times; everything else is asked every 10 minutes.',
      default: '10s',
    },
    keys: {
      type: 'array',
      maxItems: 64,
      items: { type: 'string', pattern: '^mjf_[a-z0-9_]{1,60}$' },
      description: "The site's own keys to ask for as well: guestinfo.mjf_KEY is published as KEY.",
      examples: [['mjf_site_name']],
    },
  },
} as const;

export type VmwareConfig = Static<typeof schema>;

/** A tool takes some 20 ms, on a host under load a second. */
const TOOL_TIMEOUT_MS = 5_000;
/** All slow keys, three at a time, on a host that takes a second for each. */
const READ_TIMEOUT_MS = 20_000;
/** Not among the names that are asked for: our own words must not come back as the host's. */
const BACK = 'jobstatus.';

/** One source. It knows no notices of its own: a shutdown is `guestinfo.shutdowntime`. */
export const vmwareSource: SourceDefinition<VmwareConfig | undefined> = {
  name: 'vmware',
  schema,
  explicitKeys: ['command'],
  detect({ dmi }) {
    if (dmi.sys_vendor === 'VMware, Inc.') return 'sys_vendor is "VMware, Inc."';
    return dmi.product_name?.startsWith('VMware') ? `product_name is "${dmi.product_name}"` : undefined;
  },
  create: (config, environment) => [createSource(config ?? {}, environment)],
};

function createSource(config: VmwareConfig, environment: SourceEnvironment): Source {
  const guestInfo = createGuestInfo(
    { timeoutMs: TOOL_TIMEOUT_MS, ...(config.command === undefined ? {} : { command: config.command }) },
    environment,
  );
  const poll = pollOf(config.poll ?? schema.properties.poll.default);
  const source = sourceOfParts({
    name: 'vmware',
    rank: 'platform',
    poll,
    timeoutMs: READ_TIMEOUT_MS,
    parts: guestInfoParts(guestInfo, config.keys ?? [], typeof poll === 'number' ? poll : 0),
    back: {
      // One after the other: a tool that fails or hangs for one value would do so for each.
      async tell(values, signal) {
        for (const [name, value] of toldValues(values)) await guestInfo.set(BACK + name, value ?? '', signal);
      },
    },
    close: () => guestInfo.close(),
  });
  return {
    ...source,
    async read(context) {
      try {
        return await source.read(context);
      } catch (error) {
        if (error instanceof SourceError && error.code === 'no_channel')
          return { outcome: 'no_channel', detail: error.message };
        throw error;
      }
    },
  };
}
