/**
 * The tables of sources.md: what a platform can tell is written down here, for people; names, intervals and what is common to
 * all come from the sources themselves. test/packaging/sources.test.ts holds both against the code and the stand-ins.
 */
import type { SchemaNode } from '../../agent/config/schema.ts';
import { sourceDefinitions } from '../../agent/sources/index.ts';
import { markdownTable } from './blocks.ts';

export interface SourceFacts {
  /** What it is to people. */
  readonly title: string;
  /** Kinds of notice of its own, by their names (SEMANTICS S1.1); those that a key makes are `shutdown`. */
  readonly notices: string;
  readonly ahead: string;
  /** How `termination_allowed` is known; empty: it is not. */
  readonly terminationAllowed: string;
  readonly keys: string;
  readonly pointers: boolean;
  /** The way back for the machine's answer; empty: none of its own. `tell`, `acknowledge` as in WayBack. */
  readonly back: string;
  readonly backIs: readonly ('tell' | 'acknowledge')[];
  readonly foundBy: string;
  /** Where the schema has no `poll`. */
  readonly asked?: string;
  readonly notified: string;
  /** What the site has to do; empty: nothing. */
  readonly enable: string;
}

const SITE_KEYS = 'known keys, and `mjf_NAME` as `NAME`';
const NONE = '';

export const SOURCE_FACTS: Readonly<Record<string, SourceFacts>> = {
  static: {
    title: 'the configuration',
    notices: '`shutdown` (`max_lifetime`)',
    ahead: 'from the first boot on',
    terminationAllowed: 'as a key',
    keys: 'every key of legal name; they win over all others',
    pointers: false,
    back: NONE,
    backIs: [],
    foundBy: 'a key in its table',
    asked: 'once',
    notified: NONE,
    enable: NONE,
  },
  directory: {
    title: 'a directory of the host',
    notices: '`shutdown` (the keys of the shutdown times)',
    ahead: 'as the host writes; it promises `grace_secs`',
    terminationAllowed: 'as a key',
    keys: 'every key of legal name',
    pointers: false,
    back: '`[report.directory]`, `[report.joboutputs]`: a directory beside it',
    backIs: [],
    foundBy: 'configuration, `$MACHINEFEATURES`, `$JOBFEATURES`, `/etc/…`, `/run/mjf-host/…`, metadata',
    notified: 'inotify, on local file systems',
    enable: 'mount the directory into the machine',
  },
  mjf: {
    title: 'Machine/Job Features over HTTP(S)',
    notices: '`shutdown` (the keys of the shutdown times)',
    ahead: 'as the site says; it promises `grace_secs`',
    terminationAllowed: 'as a key',
    keys: 'every key of legal name',
    pointers: false,
    back: '`[report.joboutputs]`: PUT to `$JOBOUTPUTS`',
    backIs: [],
    foundBy: 'configuration, `$MACHINEFEATURES`, `$JOBFEATURES` as URLs, metadata',
    notified: NONE,
    enable: 'serve the keys, 404 for those that are not there',
  },
  ec2: {
    title: 'Amazon EC2',
    notices: '`terminate` `stop` `reboot`; `drain` (scaling group); `hibernate` `freeze` `rebalance`',
    ahead: 'spot: 2 min; scheduled events: days; scaling group and rebalance: no time',
    terminationAllowed: 'spot machines: 1; as a key',
    keys: SITE_KEYS,
    pointers: true,
    back: NONE,
    backIs: [],
    foundBy: 'DMI; Xen guests by `/sys/hypervisor/uuid`; cloud-init',
    notified: NONE,
    enable: 'instance tags in the metadata (`InstanceMetadataTags=enabled`); in containers a hop limit of 2',
  },
  gce: {
    title: 'Google Compute Engine',
    notices: '`terminate` (preempted, maintenance), `stop`; `migrate`',
    ahead: 'preempted: 30 s; maintenance: 60 s, announced windows: as written; graceful stop: 1 s to 1 h',
    terminationAllowed: 'spot and preemptible machines: 1; as a key',
    keys: SITE_KEYS,
    pointers: true,
    back: 'guest attributes `jobstatus/…`',
    backIs: ['tell'],
    foundBy: 'DMI; cloud-init',
    notified: 'hanging GETs, renewed every 20 s',
    enable: 'for the answer `enable-guest-attributes=TRUE`',
  },
  azure: {
    title: 'Azure',
    notices: '`terminate` `reboot` `redeploy`; `freeze`',
    ahead: 'eviction: 30 s; terminate: 5 to 15 min; others: as written',
    terminationAllowed: 'spot machines: 1; as a key',
    keys: SITE_KEYS,
    pointers: true,
    back: 'acknowledges the event (`StartRequests`)',
    backIs: ['acknowledge'],
    foundBy: 'DMI; cloud-init',
    notified: NONE,
    enable: 'for `terminate` the notification of the scale set',
  },
  openstack: {
    title: 'OpenStack',
    notices: 'none of its own; `shutdown` by the key `shutdowntime`',
    ahead: 'as the site writes',
    terminationAllowed: 'as a key',
    keys: SITE_KEYS,
    pointers: true,
    back: '`joboutputs` in the metadata',
    backIs: [],
    foundBy: 'DMI; a drive labelled `config-2`; cloud-init',
    notified: NONE,
    enable: 'properties of the server, or vendor data',
  },
  opennebula: {
    title: 'OpenNebula',
    notices: '`shutdown` (the machine is being shut down)',
    ahead: '`minimum_notice`, 60 s, from when it is seen; as a key: as written',
    terminationAllowed: 'as a key',
    keys: SITE_KEYS,
    pointers: true,
    back: 'OneGate: `JOBSTATUS_…` in the user template',
    backIs: ['tell'],
    foundBy: 'DMI; a drive labelled `CONTEXT`; cloud-init',
    notified: NONE,
    enable: '`TOKEN="YES"` in the template, OneGate reachable from the machine',
  },
  alibaba: {
    title: 'Alibaba Cloud',
    notices: '`terminate` (spot)',
    ahead: '5 min',
    terminationAllowed: NONE,
    keys: 'none',
    pointers: false,
    back: NONE,
    backIs: [],
    foundBy: 'DMI; cloud-init',
    notified: NONE,
    enable: NONE,
  },
  tencent: {
    title: 'Tencent Cloud',
    notices: '`terminate` (spot)',
    ahead: 'as soon as the platform writes it',
    terminationAllowed: 'spot machines: 1',
    keys: 'none',
    pointers: false,
    back: NONE,
    backIs: [],
    foundBy: 'DMI; cloud-init',
    notified: NONE,
    enable: NONE,
  },
  oracle: {
    title: 'Oracle Cloud',
    notices: 'none of its own; `shutdown` by the key `shutdowntime`',
    ahead: 'as the site writes',
    terminationAllowed: 'as a key',
    keys: SITE_KEYS,
    pointers: true,
    back: NONE,
    backIs: [],
    foundBy: 'DMI; cloud-init',
    notified: NONE,
    enable: 'write free-form tags or metadata of the instance',
  },
  vmware: {
    title: 'VMware',
    notices: 'none of its own; `shutdown` by the key `shutdowntime`',
    ahead: 'as the site writes',
    terminationAllowed: 'as a key',
    keys: 'known keys, `keys` of its table, all of `guestinfo.mjf`',
    pointers: true,
    back: '`guestinfo.jobstatus.…`',
    backIs: ['tell'],
    foundBy: 'DMI',
    notified: NONE,
    enable: 'open-vm-tools in the image; the right to set `guestinfo.*` of the machine',
  },
  qemu: {
    title: 'QEMU, libvirt',
    notices: 'none of its own; `shutdown` by the key `shutdowntime`',
    ahead: 'what was written when the machine was made',
    terminationAllowed: 'as a key',
    keys: 'every key of legal name',
    pointers: true,
    back: NONE,
    backIs: [],
    foundBy: '`/sys/firmware/qemu_fw_cfg`, OEM strings, DMI',
    asked: 'once',
    notified: NONE,
    enable: '`-fw_cfg` or `-smbios type=11` on the command line of QEMU',
  },
  logind: {
    title: 'systemd-logind',
    notices: '`shutdown` `reboot`',
    ahead: '`shutdown +10`: 10 min; power button: `InhibitDelayMaxSec` and the guard’s time',
    terminationAllowed: NONE,
    keys: 'none',
    pointers: false,
    back: NONE,
    backIs: [],
    foundBy: 'the system bus',
    notified: 'D-Bus signals',
    enable: 'an ACPI power button that the guest sees',
  },
  schedule: {
    title: 'maintenance windows',
    notices: '`shutdown` or `drain`',
    ahead: '`announce`, 24 h',
    terminationAllowed: NONE,
    keys: 'none',
    pointers: false,
    back: NONE,
    backIs: [],
    foundBy: 'a table `[[source.schedule]]`',
    asked: 'every 30 s',
    notified: 'a timer at each edge',
    enable: NONE,
  },
  self: {
    title: 'the agent itself',
    notices: 'none',
    ahead: NONE,
    terminationAllowed: NONE,
    keys: '`total_cpu` `allocated_cpu` `max_rss_bytes` `max_swap_bytes` `job_id` `jobstart_secs`',
    pointers: false,
    back: NONE,
    backIs: [],
    foundBy: 'always',
    asked: 'every 60 s',
    notified: NONE,
    enable: NONE,
  },
};

/** In the order of sources/index.ts, which is that of precedence. Throws for a source that nobody has described. */
export function sourceTables(): Readonly<Record<'tell' | 'ask', string>> {
  const rows = sourceDefinitions.map(({ name, schema }) => {
    const facts = SOURCE_FACTS[name];
    if (facts === undefined) throw new Error(`packaging/generate/source-facts.ts does not know the source ${name}`);
    return { name, facts, schema: schema as SchemaNode };
  });
  const or = (text: string): string => (text === NONE ? '–' : text);
  return {
    tell: markdownTable(
      ['source', 'notices', 'how long ahead', '`termination_allowed`', 'keys', 'names other places', 'way back'],
      rows.map(({ name, facts }) => [
        `[\`${name}\`](#${name})`,
        facts.notices,
        or(facts.ahead),
        or(facts.terminationAllowed),
        facts.keys,
        facts.pointers ? 'yes' : 'no',
        or(facts.back),
      ]),
    ),
    ask: markdownTable(
      ['source', 'is', 'found by', 'asked', 'told of changes by', 'on the site’s side'],
      rows.map(({ name, facts, schema }) => [
        `[\`${name}\`](#${name})`,
        facts.title,
        facts.foundBy,
        facts.asked ?? intervals(schema),
        or(facts.notified),
        or(facts.enable),
      ]),
    ),
  };
}

function intervals({ properties = {} }: SchemaNode): string {
  const of = (key: string): string | undefined => properties[key]?.default as string | undefined;
  const [poll, slow] = [of('poll'), of('slow_poll')];
  if (poll === undefined) throw new Error('a source without poll must say how it is asked');
  return slow === undefined ? `every ${poll}` : `every ${poll}, the rest every ${slow}`;
}
