/**
 * The agent's own HTTP address by the ports that it is to listen on. They are known before anybody listens there; the file
 * `url` is not, and a source that is quicker than the listener would take our own words for the host's.
 */
import type { Config } from './config/types.ts';

/** Whether `url` leads to one of these ports on this machine's loopback. Port 0 is nobody's yet. */
export function isOwnEndpoint(url: string, ownPorts: readonly number[]): boolean {
  if (!URL.canParse(url)) return false;
  const { protocol, hostname, port } = new URL(url);
  if (!/^(?:localhost|127(?:\.\d+){3}|\[::1\]|\[::ffff:7f\w*:\w+\])$/.test(hostname)) return false;
  return ownPorts.includes(Number(port) || (protocol === 'https:' ? 443 : 80));
}

const VARIABLES = ['MACHINEFEATURES', 'JOBFEATURES'] as const;
const KEYS = ['machinefeatures', 'jobfeatures'] as const;

export interface Channels {
  readonly config: Config;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** Configuration and environment without the URLs that lead to ourselves; `dropped` names where they stood. */
export function withoutOwnEndpoints(
  { config, env }: Channels,
  ownPorts: readonly number[],
): Channels & { readonly dropped: readonly string[] } {
  const isOwn = (value: unknown): boolean => typeof value === 'string' && isOwnEndpoint(value, ownPorts);
  const table = (config.source['mjf'] ?? {}) as Readonly<Record<string, unknown>>;
  const keys = KEYS.filter((key) => isOwn(table[key]));
  const variables = VARIABLES.filter((name) => isOwn(env[name]));
  const without = <T extends object>(from: T, names: readonly string[]): T =>
    Object.fromEntries(Object.entries(from).filter(([name]) => !names.includes(name))) as T;
  return {
    config: keys.length === 0 ? config : { ...config, source: { ...config.source, mjf: without(table, keys) } },
    env: variables.length === 0 ? env : without(env, variables),
    dropped: [...keys.map((key) => `source.mjf.${key}`), ...variables],
  };
}
