/**
 * What the agent finds out itself when the host is silent: lowest precedence (SEMANTICS S2.1), limits only where a real
 * limit exists (S2.3). Each key can be turned off.
 *
 * `scratch_limit_bytes` is never given: a quota cannot be told cheaply and surely from the size of the file system
 * (project quotas need quotactl, which Node lacks), and the size dressed up as a limit is what S2.3 forbids.
 */
import os from 'node:os';
import path from 'node:path';
import type { Static } from 'typebox';
import type { FeatureReading, Reading } from '../lifetime/types.ts';
import { readMemoryLimits } from './self/memory-limits.ts';
import { readSmallFile } from './self/small-file.ts';
import type { Source, SourceDefinition, SourceEnvironment } from './source.ts';

const schema = {
  type: 'object',
  additionalProperties: false,
  description: 'What the agent finds out itself; every other source wins over it. Each key can be turned off.',
  properties: {
    total_cpu: { type: 'boolean', default: true, description: 'Processors of the machine.' },
    allocated_cpu: { type: 'boolean', default: true, description: "The same, as the job's." },
    max_rss_bytes: { type: 'boolean', default: true, description: 'Memory, where a cgroup limits the whole machine.' },
    max_swap_bytes: { type: 'boolean', default: true, description: 'Swap, where a cgroup limits the whole machine.' },
    job_id: { type: 'boolean', default: true, description: 'UUID of the machine from its firmware.' },
    jobstart_secs: { type: 'boolean', default: true, description: 'First boot of this machine.' },
  },
} as const;

export type SelfConfig = Static<typeof schema>;
type Key = keyof typeof schema.properties;

const MACHINE_KEYS = ['total_cpu'] as const satisfies readonly Key[];
const JOB_KEYS = [
  'allocated_cpu',
  'max_rss_bytes',
  'max_swap_bytes',
  'job_id',
  'jobstart_secs',
] as const satisfies readonly Key[];

/** Processors and limits can be changed while the machine runs, but nobody waits for it. */
const POLL_MS = 60_000;
/** A few small files of /proc and /sys. */
const TIMEOUT_MS = 5000;

/** Always one source; with every key turned off, none. */
export const selfSource: SourceDefinition<SelfConfig | undefined> = {
  name: 'self',
  schema,
  create(config, environment) {
    const isOn = (key: Key) => config?.[key] ?? true;
    if (![...MACHINE_KEYS, ...JOB_KEYS].some(isOn)) return [];
    const source: Source = {
      name: 'self',
      rank: 'self',
      poll: POLL_MS,
      timeoutMs: TIMEOUT_MS,
      async read() {
        const found = await findOut(environment);
        return {
          outcome: 'answer',
          answer: {
            machine: toReading(MACHINE_KEYS.filter(isOn), found),
            job: toReading(JOB_KEYS.filter(isOn), found),
          },
        };
      },
    };
    return [source];
  },
};

type Found = Readonly<Partial<Record<Key, string>>>;

async function findOut(environment: SourceEnvironment): Promise<Found> {
  const [limits, jobId] = await Promise.all([readMemoryLimits(environment.root), readMachineId(environment)]);
  const cpus = String(os.availableParallelism());
  return {
    total_cpu: cpus,
    allocated_cpu: cpus,
    ...(limits.rssBytes === undefined ? {} : { max_rss_bytes: limits.rssBytes }),
    ...(limits.swapBytes === undefined ? {} : { max_swap_bytes: limits.swapBytes }),
    ...(jobId === undefined ? {} : { job_id: jobId }),
    jobstart_secs: String(Math.floor(environment.firstBootMs / 1000)),
  };
}

function toReading(keys: readonly Key[], found: Found): FeatureReading {
  const readings = keys.map((key): [string, Reading<string>] => {
    const value = found[key];
    return [key, value === undefined ? { is: 'absent' } : { is: 'present', value }];
  });
  return { channel: 'self', complete: true, keys: Object.fromEntries(readings) };
}

/**
 * The DMI product UUID, lower case. Readable by root alone, so the unit hands it over as a credential `dmi`
 * (SYSTEMS.md, "Root-only inputs"), whose fallback may be empty.
 */
async function readMachineId(environment: SourceEnvironment): Promise<string | undefined> {
  const credentials = environment.env['CREDENTIALS_DIRECTORY'];
  const places = [
    ...(credentials === undefined || !path.isAbsolute(credentials) ? [] : [path.join(credentials, 'dmi')]),
    '/sys/class/dmi/id/product_uuid',
  ];
  for (const place of places) {
    const text = await readSmallFile(path.join(environment.root, place));
    const uuid = text?.trim().toLowerCase();
    if (uuid !== undefined && isPlausibleUuid(uuid)) return uuid;
  }
  return undefined;
}

/** Boards whose maker set nothing say so in words, or all bits alike; two such machines would share one id. */
function isPlausibleUuid(text: string): boolean {
  if (!/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text)) return false;
  return !/^0+$/.test(text.replaceAll('-', '')) && !/^f+$/.test(text.replaceAll('-', ''));
}
