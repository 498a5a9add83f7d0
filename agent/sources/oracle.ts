/**
 * Oracle Cloud Infrastructure: the keys that a site writes into the tags and the metadata of an instance (facts "platforms",
 * "Others"; Oracle's "Getting Instance Metadata", version 2). The platform itself announces nothing to a guest.
 */
import type { Static } from 'typebox';
import { durationMs } from '../duration.ts';
import type { MachineFacts } from './facts.ts';
import { asRecord, asText, parseJson } from './json.ts';
import { createMetadata, type Metadata } from './metadata.ts';
import { type Part, type PartReport, sourceOfParts } from './parts.ts';
import { platformKeys } from './platform-schema.ts';
import { pollOf } from './poll.ts';
import { siteKeys } from './site-keys.ts';
import { type SourceDefinition, SourceError } from './source.ts';

const schema = {
  type: 'object',
  additionalProperties: false,
  description: 'Oracle Cloud: tags and metadata of the instance as keys, from the instance metadata service.',
  properties: platformKeys('http://169.254.169.254', '30s', 'for the tags and the metadata of the instance'),
} as const;

export type OracleConfig = Static<typeof schema>;

/** Everything of the instance in one document: one request, and no listing of which half is old. */
const PATH = '/opc/v2/instance/';
/** No secret: it keeps out what is only forwarded. Version 2 answers nothing without it. */
const HEADERS = { Authorization: 'Bearer Oracle' };
const ASSET_TAG = 'OracleCloud.com';
const CLOUD_ID = 'oracle';

/** One source. It gives keys and pointers and knows no notices of its own: an end is `shutdowntime` among the tags. */
export const oracleSource: SourceDefinition<OracleConfig> = {
  name: 'oracle',
  schema,
  explicitKeys: ['base_url'],
  detect({ dmi, cloudId }: MachineFacts) {
    if (dmi.chassis_asset_tag === ASSET_TAG) return `chassis_asset_tag is "${ASSET_TAG}"`;
    return cloudId === CLOUD_ID ? `cloud-id is "${CLOUD_ID}"` : undefined;
  },
  create(config, environment) {
    const { properties } = schema;
    const poll = pollOf(config.poll ?? properties.poll.default);
    const timeoutMs = durationMs(config.timeout ?? properties.timeout.default);
    const baseUrl = config.base_url ?? properties.base_url.default;
    const metadata = createMetadata({ source: 'oracle', baseUrl, timeoutMs, headers: () => HEADERS }, environment);
    const parts = [instancePart(metadata, typeof poll === 'number' ? poll : 0)];
    return [sourceOfParts({ name: 'oracle', rank: 'platform', poll, timeoutMs, parts, close: () => metadata.close() })];
  },
};

const instancePart = (metadata: Metadata, everyMs: number): Part => ({
  name: 'instance',
  everyMs,
  async read({ signal }) {
    const { is, text, hostNowMs } = await metadata.ask(PATH, { signal });
    // Every instance has this document: where it is missing, something else answers, and that clears nothing.
    if (is === 'absent') throw new SourceError('http_404', `${PATH}: HTTP status 404`);
    return { ...readInstance(text), ...(hostNowMs === undefined ? {} : { hostNowMs }) };
  },
});

/** @throws SourceError `bad_json`, `bad_document` for what is not the whole description of an instance. */
function readInstance(text: string): PartReport {
  const document = asRecord(parseJson(text, 'instance'));
  const id = asText(document?.['id'])?.trim() ?? '';
  if (document === undefined || id === '') throw new SourceError('bad_document', 'instance is no description of one');
  return {
    // The last one counts. What anybody can change while the machine runs comes after what it was started with.
    ...siteKeys([
      ...Object.values(branch(document, 'definedTags')).flatMap((tags) => textsOf(asRecord(tags) ?? {})),
      ...textsOf(branch(document, 'metadata')),
      ...textsOf(branch(document, 'freeformTags')),
    ]),
    derived: { job: { job_id: { is: 'present', value: id } } },
    // The document is all there is: a key that is not in it any more was taken away.
    others: 'absent',
    whole: ['keys'],
  };
}

/** Missing where nothing was ever written; anything but an object is a damaged document, which must not clear. */
function branch(document: Readonly<Record<string, unknown>>, name: string): Readonly<Record<string, unknown>> {
  const given = document[name] ?? {};
  const found = asRecord(given);
  if (found === undefined) throw new SourceError('bad_document', `${name} of the instance is no object`);
  return found;
}

const textsOf = (record: Readonly<Record<string, unknown>>): readonly (readonly [string, string])[] =>
  Object.entries(record).flatMap(([name, value]) => {
    const text = asText(value);
    return text === undefined ? [] : [[name, text] as const];
  });
