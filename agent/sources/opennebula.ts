/**
 * OpenNebula: the context that the machine was started with (read as data, never executed) and, where the context names it,
 * OneGate, which tells what the front-end is doing with this machine and what its user template says now.
 */
import type { Static } from 'typebox';
import { durationMs } from '../duration.ts';
import {
  createDrive,
  DRIVE_TIMEOUT_MS,
  type DriveContent,
  type DriveFile,
  type DriveOptions,
  isDriveLikely,
} from './drive.ts';
import type { MachineFacts } from './facts.ts';
import { parseContext } from './opennebula-context.ts';
import { createOneGate, type OneGateCredentials } from './opennebula-onegate.ts';
import { templateLines } from './opennebula-template.ts';
import { readVirtualMachine } from './opennebula-vm.ts';
import { type PartReport, sourceOfParts } from './parts.ts';
import { ENABLED } from './platform-schema.ts';
import { pollOf } from './poll.ts';
import { siteKeys } from './site-keys.ts';
import {
  type ReadContext,
  type Source,
  type SourceDefinition,
  type SourceEnvironment,
  SourceError,
  type WayBack,
} from './source.ts';

const schema = {
  type: 'object',
  additionalProperties: false,
  description: 'OpenNebula: the context (ISO image or directory) and OneGate.',
  properties: {
    ...ENABLED,
    context: {
      type: 'string',
      format: 'absolute-path',
      description: 'context.sh, or the directory that holds it and token.txt. Default: the drive labelled CONTEXT.',
      examples: ['/mnt/context'],
    },
    base_url: {
      type: 'string',
      pattern: '^https?://',
      description: 'Where OneGate is. Default: ONEGATE_ENDPOINT of the context.',
      examples: ['http://169.254.16.9:5030'],
    },
    ca: {
      type: 'string',
      format: 'absolute-path',
      description: 'PEM file of the authorities to trust for https, in place of the built-in ones.',
      examples: ['/etc/ssl/certs/site-ca.pem'],
    },
    poll: { type: 'string', format: 'poll', description: 'How often to ask OneGate.', default: '30s' },
    timeout: {
      type: 'string',
      format: 'duration',
      description: 'Longest that one answer may take.',
      default: '5s',
    },
    minimum_notice: {
      type: 'string',
      format: 'duration',
      description:
        'How long a machine that OneGate shows as shutting down still has. Less than SHUTDOWN_TIMEOUT of the hosts.',
      default: '60s',
    },
  },
} as const;

export type OpennebulaConfig = Static<typeof schema>;

const DRIVE_LABEL = 'CONTEXT';
const CONTEXT = 'context.sh';
const TOKEN = 'token.txt';
const NOTICE = 'lcm-state';

/** One source; its notice has the id `lcm-state`. */
export const opennebulaSource: SourceDefinition<OpennebulaConfig> = {
  name: 'opennebula',
  schema,
  explicitKeys: ['base_url', 'context'],
  detect,
  create: (config, environment) => [createSource(config, environment)],
};

function detect({ dmi, labels, cloudId }: MachineFacts): string | undefined {
  for (const field of ['sys_vendor', 'product_name', 'chassis_vendor', 'chassis_asset_tag'] as const)
    if (dmi[field]?.toLowerCase().includes('opennebula')) return `${field} is "${dmi[field]}"`;
  const label = labels.find((each) => each.toUpperCase() === DRIVE_LABEL);
  if (label !== undefined) return `a device is labelled "${label}"`;
  return cloudId !== undefined && /^(open)?nebula$/.test(cloudId) ? `cloud-init says "${cloudId}"` : undefined;
}

/** What the drive said last. */
interface Context {
  readonly variables: ReadonlyMap<string, string>;
  readonly token: string | undefined;
}

function createSource(config: OpennebulaConfig, environment: SourceEnvironment): Source {
  const { properties } = schema;
  const poll = pollOf(config.poll ?? properties.poll.default);
  const timeoutMs = durationMs(config.timeout ?? properties.timeout.default);
  const minimumNoticeMs = durationMs(config.minimum_notice ?? properties.minimum_notice.default);
  const place: DriveOptions = {
    source: 'opennebula',
    label: DRIVE_LABEL,
    ...(config.context === undefined ? {} : { configured: config.context }),
  };
  const drive = createDrive(place, environment);
  const hasContext = isDriveLikely(place, environment);
  const gate = createOneGate({ timeoutMs, ...(config.ca === undefined ? {} : { ca: config.ca }) }, environment);
  let context: Context | undefined;
  /** Of which the context's own part has told. */
  let said: Context | undefined;
  let reading: Promise<Context | undefined> | undefined;

  /** One reading at a time: both parts wait for the same. */
  function readContext(signal: AbortSignal, fresh = false): Promise<Context | undefined> {
    reading ??= drive
      .read(signal, fresh)
      .then((content) => {
        if (content !== undefined) context = contextOf(content);
        return context;
      })
      .finally(() => {
        reading = undefined;
      });
    return reading;
  }

  const endpointOf = (known: Context | undefined): string | undefined =>
    config.base_url ?? (known?.variables.get('ONEGATE_ENDPOINT')?.trim() || undefined);

  const renewing = (signal: AbortSignal) => ({
    signal,
    renew: async () => credentialsOf(await readContext(signal, true)),
  });

  async function readContextPart({ signal }: ReadContext): Promise<PartReport> {
    const read = context ?? (await readContext(signal));
    if (read === undefined) return { unasked: true };
    // The other part may have read it first: what was never told of is news.
    const isSaid = said === read;
    said = read;
    const vmId = vmIdOf(read);
    return {
      ...siteKeys(read.variables),
      // Where there is a OneGate, only that tells whether the platform lives.
      ...(isSaid && endpointOf(read) !== undefined && { unasked: true }),
      // What OpenNebula itself calls the machine on its host; the bare number would be any number.
      ...(vmId === undefined ? {} : { derived: { job: { job_id: { is: 'present', value: `one-${vmId}` } } } }),
    };
  }

  async function readGatePart({ signal }: ReadContext): Promise<PartReport> {
    // The context's own part tells what is wrong with it.
    const known = context ?? (await readContext(signal).catch(() => undefined));
    const endpoint = endpointOf(known);
    // A site without OneGate: the context is all there is.
    if (endpoint === undefined && (hasContext || known !== undefined)) return { unasked: true };
    if (endpoint === undefined) throw noContext();
    const { text, hostNowMs } = await gate.vm(endpoint, credentialsOf(known), renewing(signal));
    const vm = readVirtualMachine(text, credentialsOf(known).vmId, minimumNoticeMs);
    return {
      ...vm.keys,
      others: 'absent',
      notices: { [NOTICE]: vm.lcmState },
      ...(hostNowMs === undefined ? {} : { hostNowMs }),
    };
  }

  const back: WayBack = {
    async tell(values, signal) {
      const lines = templateLines(values);
      if (lines === '') return;
      const known = context ?? (await readContext(signal));
      const endpoint = endpointOf(known);
      if (endpoint === undefined) throw new SourceError('no_channel', 'the context names no OneGate');
      await gate.update(endpoint, credentialsOf(known), { ...renewing(signal), lines });
    },
  };

  const everyMs = typeof poll === 'number' ? poll : 0;
  return sourceOfParts({
    name: 'opennebula',
    rank: 'platform',
    poll,
    timeoutMs: Math.max(timeoutMs, DRIVE_TIMEOUT_MS),
    // The user template can be changed while the machine runs: it counts before the context, which is read once.
    parts: [
      { name: 'onegate', everyMs, speaksFor: [NOTICE], read: readGatePart },
      // Without a sign of one, too: udev may come to the drive after us.
      { name: 'context', everyMs, read: readContextPart },
    ],
    back,
    close: () => gate.close(),
  });
}

/** @throws SourceError `bad_context`, or the code of what is wrong with the file */
function contextOf({ where, files }: DriveContent): Context {
  const text = textOf(files[CONTEXT], `${where}: ${CONTEXT}`);
  const variables = parseContext(text ?? '');
  const token = files[TOKEN] === undefined ? undefined : textOf(files[TOKEN], `${where}: ${TOKEN}`)?.trim();
  // Without a drive to put it on (vCenter) the token stands among the variables.
  return { variables, token: token || variables.get('ONEGATE_TOKEN') };
}

function textOf(file: DriveFile | undefined, what: string): string | undefined {
  if (file === undefined) return undefined;
  if ('error' in file) throw new SourceError(file.error, `${what} cannot be used (${file.error})`);
  return file.text;
}

function vmIdOf({ variables }: Context): string | undefined {
  const id = variables.get('VMID')?.trim();
  return id !== undefined && /^\d{1,10}$/.test(id) ? id : undefined;
}

const noContext = (): SourceError =>
  new SourceError(
    'no_context',
    'no context was found, which has VMID and token: configure [source.opennebula] context',
  );

/** @throws SourceError `no_context`, `no_vmid`, `no_token` */
function credentialsOf(context: Context | undefined): OneGateCredentials {
  if (context === undefined) throw noContext();
  const vmId = vmIdOf(context);
  if (vmId === undefined) throw new SourceError('no_vmid', 'the context has no VMID');
  // Anything else would be no header; it is not shown, since it is a secret.
  if (context.token === undefined || !/^[\x21-\x7e]{1,4096}$/.test(context.token))
    throw new SourceError('no_token', 'the context has no usable token.txt (TOKEN="YES" in the template)');
  return { vmId, token: context.token };
}
