/**
 * The agent's own HTTP addresses by name. They are known before anybody listens there, so that what leads to ourselves is
 * not even asked; what no name tells (another name, a forwarded port) is known by its answer (instance.ts).
 */
import type { Config } from './config/types.ts';

/** Where the agent listens, or is to. Port 0 is nobody's yet. */
export interface OwnAddress {
  /** Without brackets. */
  readonly host: string;
  readonly port: number;
}

/**
 * Whether `url` leads to one of these addresses. All names of "this machine" are one: somebody may listen on each of them,
 * and a listener on all addresses is told by its loopback one. Zones are not compared.
 */
export function isOwnEndpoint(url: string, own: readonly OwnAddress[]): boolean {
  const theirs = endpointOf(url);
  return (
    theirs !== undefined &&
    theirs.port > 0 &&
    own.some(({ host, port }) => port === theirs.port && hostOf(host) === theirs.host)
  );
}

/** Host and port that a URL names; undefined where it is none of http or https. Zones are allowed, and left out. */
export function endpointOf(url: string): OwnAddress | undefined {
  const text = url.replace(/^(https?:\/\/(?:[^/?#]*@)?\[[^\]/?#%]*)%[^\]/?#]*(?=\])/i, '$1');
  if (!URL.canParse(text)) return undefined;
  const { protocol, hostname, port } = new URL(text);
  if (protocol !== 'http:' && protocol !== 'https:') return undefined;
  return { host: hostOf(hostname), port: port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port) };
}

const THIS_MACHINE = 'localhost';
/** RFC 6761 gives every name below `localhost` to this machine; the others stand in the /etc/hosts of distributions. */
const NAMES = /^(?:(?:.+\.)?localhost|localhost\.localdomain|localhost[46]|ip6-(?:localhost|loopback))$/;

/** One spelling for each host: `localhost` for every name of this machine, else a name or an address as `URL` writes it. */
function hostOf(text: string): string {
  const bare = text.replace(/^\[|\]$/g, '').replace(/%.*$/, '');
  const literal = bare.includes(':') ? `http://[${bare}]/` : `http://${bare}/`;
  const host = (URL.canParse(literal) ? new URL(literal).hostname : bare.toLowerCase())
    .replace(/^\[|\]$/g, '')
    .replace(/\.$/, '');
  const [, high, low] = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(host) ?? [];
  if (high !== undefined && low !== undefined) return hostOf(mappedAddress(high, low));
  const isHere = NAMES.test(host) || /^127(?:\.\d+){3}$/.test(host) || ['::1', '::', '0.0.0.0'].includes(host);
  return isHere ? THIS_MACHINE : host;
}

/** `c000`, `201` → `192.0.2.1`. */
function mappedAddress(high: string, low: string): string {
  const parts = [high, low].map((part) => Number.parseInt(part, 16));
  return parts.map((part) => `${part >> 8}.${part & 255}`).join('.');
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
  own: readonly OwnAddress[],
): Channels & { readonly dropped: readonly string[] } {
  const isOwn = (value: unknown): boolean => typeof value === 'string' && isOwnEndpoint(value, own);
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
