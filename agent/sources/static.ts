/**
 * `[source.static]`: what the operator writes into the image, for what `/etc/sysconfig/mjf` used to do (SEMANTICS S6.2):
 * fixed keys such as a benchmark rating, and a maximum lifetime.
 */
import type { Static } from 'typebox';
import { durationMs, formatDuration } from '../duration.ts';
import type { Answer, FeatureReading, Reading, StatedNotice } from '../lifetime/types.ts';
import type { Source, SourceDefinition } from './source.ts';

const features = {
  type: 'object',
  // Key names of HSF-TN-2016-02.
  propertyNames: { type: 'string', pattern: '^[a-z0-9_]+$' },
  additionalProperties: { type: ['string', 'number', 'boolean'] },
} as const;

const schema = {
  type: 'object',
  additionalProperties: false,
  description: 'Fixed values; they win over every other source.',
  properties: {
    machinefeatures: {
      ...features,
      description: 'Keys of $MACHINEFEATURES.',
      examples: [{ hs06: '171.04' }],
    },
    jobfeatures: { ...features, description: 'Keys of $JOBFEATURES.', examples: [{ hepscore23_job: '22.5' }] },
    max_lifetime: {
      type: 'string',
      format: 'duration',
      description: 'The machine shuts down at the latest so long after its first boot.',
      examples: ['72h'],
    },
  },
} as const;

export type StaticConfig = Static<typeof schema>;

/** Configuration does not change while a source lives, so a bound is a formality. */
const TIMEOUT_MS = 1000;

/** No source without a setting. Its notice, if any, has the id `max_lifetime` and is of kind `shutdown`. */
export const staticSource: SourceDefinition<StaticConfig | undefined> = {
  name: 'static',
  schema,
  create(config, environment) {
    const { machinefeatures, jobfeatures, max_lifetime: maxLifetime } = config ?? {};
    if (machinefeatures === undefined && jobfeatures === undefined && maxLifetime === undefined) return [];
    const answer: Answer = {
      ...(machinefeatures === undefined ? {} : { machine: toReading(machinefeatures) }),
      ...(jobfeatures === undefined ? {} : { job: toReading(jobfeatures) }),
      ...(maxLifetime === undefined ? {} : { notices: lifetimeNotice(maxLifetime, environment.firstBootMs) }),
    };
    const source: Source = {
      name: 'static',
      rank: 'static',
      poll: 'once',
      timeoutMs: TIMEOUT_MS,
      read: async () => ({ outcome: 'answer', answer }),
    };
    return [source];
  },
};

function toReading(values: Readonly<Record<string, string | number | boolean>>): FeatureReading {
  const keys = Object.entries(values).map(([key, value]): [string, Reading<string>] => [
    key,
    { is: 'present', value: toText(value) },
  ]);
  return { channel: 'configuration', complete: true, keys: Object.fromEntries(keys) };
}

/** As MJF writes it: yes and no are `1` and `0`, numbers are bare decimals without an exponent. */
function toText(value: string | number | boolean): string {
  if (typeof value === 'boolean') return value ? '1' : '0';
  if (typeof value === 'string') return value;
  const text = String(value);
  if (!text.includes('e')) return text;
  return Number.isInteger(value) ? BigInt(value).toString() : value.toFixed(20).replace(/0+$/, '');
}

function lifetimeNotice(maxLifetime: string, firstBootMs: number): NonNullable<Answer['notices']> {
  const lifetimeMs = durationMs(maxLifetime);
  const notice: StatedNotice = {
    kind: 'shutdown',
    deadlineMs: firstBootMs + lifetimeMs,
    reason: `maximum lifetime of ${formatDuration(lifetimeMs)} (configuration)`,
  };
  return { complete: true, byId: { max_lifetime: { is: 'present', value: notice } } };
}
