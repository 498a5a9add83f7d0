/**
 * Platforms that tell a spot machine nothing but the time of its end: one path that is missing (404) or empty as long as
 * nobody wants the machine back. Alibaba and Tencent, which differ in addresses and in how they write the time.
 */
import { durationMs } from '../duration.ts';
import type { MachineFacts } from './facts.ts';
import { createMetadata, type Metadata, type MetadataAnswer, type MetadataOptions } from './metadata.ts';
import { type Part, type PartReport, sourceOfParts } from './parts.ts';
import { platformKeys } from './platform-schema.ts';
import { pollOf } from './poll.ts';
import { type Source, type SourceDefinition, type SourceEnvironment, SourceError } from './source.ts';
import { parseInstant } from './times.ts';

export interface SpotTimePlatform {
  readonly name: string;
  /** As people call it, and as `sys_vendor` of its machines has it. */
  readonly vendor: string;
  /** Its name by cloud-init. */
  readonly cloudId: RegExp;
  readonly baseUrl: string;
  /** Below the base URL; the time of the end. */
  readonly spotPath: string;
  /** Where times without a zone are, in minutes east of UTC. */
  readonly zoneMinutes: number;
  readonly instanceIdPath: string;
  readonly token?: NonNullable<MetadataOptions['token']>;
  /** How the machine is paid for, and the answer that means "spot". */
  readonly chargeType?: { readonly path: string; readonly spot: string };
}

/** `[source.NAME]` of such a platform. */
export interface SpotTimeConfig {
  readonly enabled?: boolean;
  readonly base_url?: string;
  readonly poll?: string;
  readonly timeout?: string;
}

/** The one notice that there can be (S1.4: source and kind, never the time). */
const NOTICE_ID = 'spot';
/** S7. */
const DEFAULT_POLL = '5s';
/** A token is asked for before the first question, and may hang. */
const TOKEN_SPARE_MS = 1_500;
/** Ids and names of a platform's own making; a web page is none. */
const WORD = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/;

/** Notice `spot` of kind `terminate`, the derived `job_id`, and where the platform tells it, `termination_allowed`. */
export function spotTimeSource(platform: SpotTimePlatform): SourceDefinition<SpotTimeConfig> {
  const { name, vendor, baseUrl } = platform;
  const properties = platformKeys(baseUrl, DEFAULT_POLL, 'when the machine ends');
  return {
    name,
    schema: {
      type: 'object',
      additionalProperties: false,
      description: `${vendor}: the time at which a spot machine is taken back, from the instance metadata service.`,
      properties,
    },
    explicitKeys: ['base_url'],
    detect: (facts) => signOf(platform, facts),
    create: (given, environment) => [
      createSource(
        platform,
        {
          baseUrl: given.base_url ?? baseUrl,
          poll: given.poll ?? DEFAULT_POLL,
          timeout: given.timeout ?? properties.timeout.default,
        },
        environment,
      ),
    ],
  };
}

function signOf({ vendor, cloudId }: SpotTimePlatform, facts: MachineFacts): string | undefined {
  for (const field of ['sys_vendor', 'product_name'] as const)
    if (facts.dmi[field]?.startsWith(vendor)) return `${field} is "${facts.dmi[field]}"`;
  return facts.cloudId !== undefined && cloudId.test(facts.cloudId) ? `cloud-id is "${facts.cloudId}"` : undefined;
}

function createSource(
  platform: SpotTimePlatform,
  config: { readonly baseUrl: string; readonly poll: string; readonly timeout: string },
  environment: SourceEnvironment,
): Source {
  const timeoutMs = durationMs(config.timeout);
  const poll = pollOf(config.poll);
  const { name, token } = platform;
  const metadata = createMetadata(
    { source: name, baseUrl: config.baseUrl, timeoutMs, ...(token === undefined ? {} : { token }) },
    environment,
  );
  return sourceOfParts({
    name,
    rank: 'platform',
    poll,
    timeoutMs: timeoutMs + TOKEN_SPARE_MS,
    parts: partsOf(platform, metadata, typeof poll === 'number' ? poll : 0),
    close: () => metadata.close(),
  });
}

function partsOf(platform: SpotTimePlatform, metadata: Metadata, everyMs: number): readonly Part[] {
  const { spotPath, instanceIdPath, chargeType } = platform;
  const spot: Part = {
    name: nameOf(spotPath),
    everyMs,
    speaksFor: [NOTICE_ID],
    read: async ({ signal }) => readSpot(await metadata.ask(spotPath, { signal }), platform),
  };
  /** What does not change while the machine lives; a platform that does not tell it is not asked again. */
  const once = (path: string, derive: (word: string) => NonNullable<PartReport['derived']>): Part => ({
    name: nameOf(path),
    everyMs: 'once',
    async read({ signal }) {
      const { is, text } = await metadata.ask(path, { signal });
      const word = text.trim();
      if (is === 'absent' || word === '') return {};
      if (!WORD.test(word)) throw new SourceError('bad_value', `${path}: the answer is no single word`);
      return { derived: derive(word) };
    },
  });
  return [
    spot,
    once(instanceIdPath, (id) => ({ job: { job_id: { is: 'present', value: id } } })),
    ...(chargeType === undefined
      ? []
      : [
          once(chargeType.path, (type) => ({
            machine: {
              termination_allowed: type === chargeType.spot ? { is: 'present', value: '1' } : { is: 'absent' },
            },
          })),
        ]),
  ];
}

/** 404 is absence, an empty answer an explicit "no" (S1.6); anything that is no time tells nothing. */
function readSpot({ is, text, hostNowMs }: MetadataAnswer, { spotPath, zoneMinutes }: SpotTimePlatform): PartReport {
  const hostNow = hostNowMs === undefined ? {} : { hostNowMs };
  if (is === 'absent') return { notices: { [NOTICE_ID]: { is: 'absent' } }, ...hostNow };
  if (text.trim() === '') return { notices: { [NOTICE_ID]: { is: 'negative' } }, ...hostNow };
  const deadlineMs = parseInstant(text, zoneMinutes);
  if (deadlineMs === undefined) throw new SourceError('bad_time', `${spotPath}: the answer is no time`);
  const value = { kind: 'terminate', deadlineMs, reason: 'spot terminate', onlyEarlier: true } as const;
  return { notices: { [NOTICE_ID]: { is: 'present', value } }, ...hostNow };
}

const nameOf = (path: string): string => path.replace(/^\/latest\/meta-data\//, '');
