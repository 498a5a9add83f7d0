/**
 * Memory limits of this whole machine or container: those at the root of the cgroup mount, never those of the agent's own
 * unit. On a real machine the root cgroup has no limit; in a container the mount begins at the container's own cgroup.
 */
import path from 'node:path';
import { readSmallFile } from './small-file.ts';

export interface MemoryLimits {
  /** Decimal text, as the values may exceed what a number holds exactly. */
  readonly rssBytes?: string;
  readonly swapBytes?: string;
}

/** The kernel's "no limit" in cgroup v1 is about 2^63; nothing real reaches 2^60. */
const NO_LIMIT_BYTES = 2n ** 60n;
const KIB = 1024n;

/** Only limits that bind: below the machine's own memory or swap. `root` is where /proc and /sys begin. */
export async function readMemoryLimits(root: string): Promise<MemoryLimits> {
  const below = (...parts: string[]) => readSmallFile(path.join(root, ...parts));
  const [meminfo, initCgroup] = await Promise.all([below('proc/meminfo'), below('proc/1/cgroup')]);
  // With a private cgroup namespace (unit setting ProtectControlGroups=private) the root that we see is our own unit, and
  // init lies outside of it.
  if (/^0::\/\.\./m.test(initCgroup ?? '')) return {};
  const physical = meminfoBytes(meminfo, 'MemTotal');
  const swap = meminfoBytes(meminfo, 'SwapTotal');

  const rssV2 = toBytes(await below('sys/fs/cgroup/memory.max'));
  const swapV2 = toBytes(await below('sys/fs/cgroup/memory.swap.max'));
  const rssV1 = toBytes(await below('sys/fs/cgroup/memory/memory.limit_in_bytes'));
  const bothV1 = toBytes(await below('sys/fs/cgroup/memory/memory.memsw.limit_in_bytes'));
  const swapV1 = bothV1 === undefined || rssV1 === undefined || bothV1 < rssV1 ? undefined : bothV1 - rssV1;

  const rssBytes = binding(rssV2 ?? rssV1, physical);
  const swapBytes = binding(swapV2 ?? swapV1, swap);
  return {
    ...(rssBytes === undefined || rssBytes === '0' ? {} : { rssBytes }),
    ...(swapBytes === undefined ? {} : { swapBytes }),
  };
}

/** A limit at or above what the machine has limits nothing. Unknown size: the limit counts if it is one at all. */
function binding(limit: bigint | undefined, available: bigint | undefined): string | undefined {
  if (limit === undefined || (available !== undefined && limit >= available)) return undefined;
  return limit.toString();
}

/** `max` and the huge numbers of cgroup v1 are no limit. */
function toBytes(text: string | undefined): bigint | undefined {
  const digits = text?.trim() ?? '';
  if (!/^\d{1,20}$/.test(digits)) return undefined;
  const bytes = BigInt(digits);
  return bytes >= NO_LIMIT_BYTES ? undefined : bytes;
}

function meminfoBytes(meminfo: string | undefined, name: string): bigint | undefined {
  const match = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(meminfo ?? '');
  return match?.[1] === undefined ? undefined : BigInt(match[1]) * KIB;
}
