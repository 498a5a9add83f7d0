/**
 * OpenStack and what imitates it (Vac): Machine/Job Features in `meta_data.json` and vendor data, from the metadata service
 * and from the config drive (facts "platforms", OpenStack). The platform itself announces no shutdown; sites write keys.
 */
import type { Static } from 'typebox';
import { durationMs } from '../duration.ts';
import { createDrive, DRIVE_TIMEOUT_MS, type DriveOptions } from './drive.ts';
import type { MachineFacts } from './facts.ts';
import { createMetadata } from './metadata.ts';
import { META_DATA, readMetaData, readVendorData, VENDOR_DATA } from './openstack-document.ts';
import { createConfigDrive } from './openstack-drive.ts';
import { createServiceWatch } from './openstack-service.ts';
import { createTree } from './openstack-tree.ts';
import { type Part, type PartReport, sourceOfParts } from './parts.ts';
import { platformKeys } from './platform-schema.ts';
import { pollOf } from './poll.ts';
import { type ReadContext, type Source, type SourceDefinition, type SourceEnvironment, SourceError } from './source.ts';

const schema = {
  type: 'object',
  additionalProperties: false,
  description: 'OpenStack: metadata service and config drive. Also for Vac, which cannot be detected: enabled = true.',
  properties: {
    // S7: one GET can cost the site database calls.
    ...platformKeys('http://169.254.169.254', '60s', 'the metadata service'),
    slow_poll: {
      type: 'string',
      format: 'duration',
      description: 'How often to ask for vendor data that so far has held no key of ours.',
      default: '10m',
      atLeast: '200ms',
    },
    config_drive: {
      type: 'string',
      format: 'absolute-path',
      description: 'Directory in which the config drive is mounted or was copied to: the one that holds openstack/.',
      examples: ['/mnt/config'],
    },
  },
} as const;

export type OpenstackConfig = Static<typeof schema>;

/** Products and asset tags by which clouds of this kind are known (as cloud-init knows them). */
const PRODUCTS: readonly string[] = ['OpenStack Nova', 'OpenStack Compute'];
const ASSET_TAGS: readonly string[] = [
  ...PRODUCTS,
  'HUAWEICLOUD',
  'OpenTelekomCloud',
  'SAP CCloud VM',
  'Samsung Cloud Platform',
];
const VENDOR = 'OpenStack Foundation';
const DRIVE_LABEL = 'config-2';
const CLOUD_IDS: readonly string[] = ['openstack', 'configdrive'];

/** One source. Vac's machines are plain KVM and show no sign: there the source is configured. */
export const openstackSource: SourceDefinition<OpenstackConfig> = {
  name: 'openstack',
  schema,
  explicitKeys: ['base_url', 'config_drive'],
  detect,
  create: (config, environment) => [createSource(config, environment)],
};

function detect({ dmi, labels, cloudId }: MachineFacts): string | undefined {
  const { sys_vendor: vendor, product_name: product, chassis_asset_tag: tag } = dmi;
  if (vendor === VENDOR) return `sys_vendor is "${vendor}"`;
  if (product !== undefined && PRODUCTS.includes(product)) return `product_name is "${product}"`;
  if (tag !== undefined && ASSET_TAGS.includes(tag)) return `chassis_asset_tag is "${tag}"`;
  const label = labels.find((each) => each.toLowerCase() === DRIVE_LABEL);
  if (label !== undefined) return `a device is labelled "${label}"`;
  return cloudId !== undefined && CLOUD_IDS.includes(cloudId) ? `cloud-init says "${cloudId}"` : undefined;
}

function createSource(config: OpenstackConfig, environment: SourceEnvironment): Source {
  const { properties } = schema;
  const poll = pollOf(config.poll ?? properties.poll.default);
  const timeoutMs = durationMs(config.timeout ?? properties.timeout.default);
  const slowMs = durationMs(config.slow_poll ?? properties.slow_poll.default);
  const baseUrl = config.base_url ?? properties.base_url.default;
  const metadata = createMetadata({ source: 'openstack', baseUrl, timeoutMs }, environment);
  const tree = createTree(metadata);
  const place: DriveOptions = {
    source: 'openstack',
    label: DRIVE_LABEL,
    ...(config.config_drive === undefined ? {} : { configured: config.config_drive }),
  };
  const readDrive = createConfigDrive(createDrive(place, environment), environment.log);
  const service = createServiceWatch(environment.log);
  /** Documents that the service has given. */
  const served = new Set<string>();
  let uuid: string | undefined;
  const vendorAsked = new Map<string, { readonly atMs: number; readonly hasKeys: boolean }>();

  async function readMeta({ signal }: ReadContext): Promise<PartReport> {
    const { text, hostNowMs } = await tree.metaData(signal);
    const meta = readMetaData(text, META_DATA);
    // A document that has lost the machine's name may have lost everything else too: it clears nothing.
    if (uuid !== undefined && meta.uuid === undefined)
      throw new SourceError('bad_document', `${META_DATA} has no uuid any more`);
    uuid = meta.uuid;
    served.add(META_DATA);
    return {
      ...meta.keys,
      others: 'absent',
      ...(uuid === undefined ? {} : { derived: { job: { job_id: { is: 'present', value: uuid } } } }),
      ...(hostNowMs === undefined ? {} : { hostNowMs }),
    };
  }

  async function readVendor(name: string, { signal, fresh }: ReadContext): Promise<PartReport> {
    const last = vendorAsked.get(name);
    // It may be made anew by other services of the site for each question: asked for often only where that is worth it.
    if (!fresh && last?.hasKeys === false && performance.now() - last.atMs < slowMs) return { unasked: true };
    const { is, text, hostNowMs } = await tree.beside(name, signal);
    // Nova says 404 for everything of a machine that it has lost for a moment: that clears nothing.
    if (is === 'absent' && (served.has(name) || service.isFailing(META_DATA)))
      throw new SourceError('http_404', `${name} is not there any more`);
    const keys = readVendorData(text, name);
    const hasKeys = [keys.machine, keys.job, keys.pointers].some((each) => Object.keys(each).length > 0);
    vendorAsked.set(name, { atMs: performance.now(), hasKeys });
    if (is === 'text') served.add(name);
    return { ...keys, others: 'absent', ...(hostNowMs === undefined ? {} : { hostNowMs }) };
  }

  const driveReport = service.watchDrive((signal) => readDrive(signal));
  const everyMs = typeof poll === 'number' ? poll : 0;
  const asked = (name: string, read: (context: ReadContext) => Promise<PartReport>): Part => ({
    name,
    everyMs,
    read: (context) => service.guarded(name, () => read(context), context),
  });
  const drivePart: Part = {
    name: 'config drive',
    everyMs,
    async read({ signal }) {
      const report = await driveReport(signal);
      await service.settled();
      return report?.(served) ?? { unasked: true };
    },
  };
  return sourceOfParts({
    name: 'openstack',
    rank: 'platform',
    poll,
    timeoutMs: Math.max(timeoutMs, DRIVE_TIMEOUT_MS),
    // The strongest first. The drive is read once; each round takes back what the service says by now.
    parts: [
      asked(META_DATA, readMeta),
      ...VENDOR_DATA.map((name) => asked(name, (context) => readVendor(name, context))),
      // Without a sign of a drive, too: udev may come to it after us.
      drivePart,
    ],
    close: () => metadata.close(),
  });
}
