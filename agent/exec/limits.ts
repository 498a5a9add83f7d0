/** `--cpus --wall --memory --scratch --job-id`: the payload's own job features (HSF-TN-2016-02 names). */
import { UsageError } from '../commands/command.ts';
import { parseDuration } from './options.ts';

/** Names and numbers as `POST /v1/payloads` takes them. */
export type Limits = Readonly<Partial<Record<LimitName, number>>> & { readonly job_id?: string };
type LimitName = 'allocated_cpu' | 'wall_limit_secs' | 'max_rss_bytes' | 'scratch_limit_bytes';

export interface LimitOptions {
  readonly cpus?: string | undefined;
  readonly wall?: string | undefined;
  readonly memory?: string | undefined;
  readonly scratch?: string | undefined;
  readonly 'job-id'?: string | undefined;
}

const UNITS: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };
/** More processors than any machine has: beyond it a number is a mistake. */
const MAX_CPUS = 1_000_000;

/** Throws a UsageError that says what would be right. */
export function limitsOf(options: LimitOptions): Limits {
  const { cpus, wall, memory, scratch, 'job-id': jobId } = options;
  return {
    ...(cpus !== undefined && { allocated_cpu: parseCpus(cpus) }),
    ...(wall !== undefined && { wall_limit_secs: parseWall(wall) }),
    ...(memory !== undefined && { max_rss_bytes: parseSize('--memory', memory) }),
    ...(scratch !== undefined && { scratch_limit_bytes: parseSize('--scratch', scratch) }),
    ...(jobId !== undefined && { job_id: parseJobId(jobId) }),
  };
}

/** `4G`, `512M`, `1.5T`, `4GiB`, `1073741824`: units are powers of 1024, as with every batch system; whole bytes. */
export function parseSize(option: string, text: string): number {
  const match = /^(\d{1,15}(?:\.\d{1,6})?)(?:([KMGT])(?:iB)?)?$/.exec(text);
  const bytes = Math.floor(Number(match?.[1]) * (UNITS[match?.[2] ?? ''] ?? 1));
  if (match === null || bytes < 1 || !Number.isSafeInteger(bytes))
    throw new UsageError(`${option} takes a size such as 4G, 512M or plain bytes (K, M, G, T of 1024), got "${text}"`);
  return bytes;
}

function parseCpus(text: string): number {
  const cpus = /^\d{1,7}$/.test(text) ? Number(text) : 0;
  if (cpus < 1 || cpus > MAX_CPUS) throw new UsageError(`--cpus takes a whole number from 1 on, got "${text}"`);
  return cpus;
}

/** The features know whole seconds only, and the payload must not be told more than it gets. */
function parseWall(text: string): number {
  const secs = Math.floor(parseDuration('--wall', text) / 1000);
  if (secs < 1) throw new UsageError(`--wall takes a duration of at least 1s, got "${text}"`);
  return secs;
}

function parseJobId(text: string): string {
  if (!/^[!-~]{1,256}$/.test(text))
    throw new UsageError('--job-id takes up to 256 visible ASCII characters without blanks');
  return text;
}
