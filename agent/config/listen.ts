/** Where the HTTP interface listens: texts such as `127.0.0.1:8653`, `[::1]:8653`, `localhost:8653`. */
import net from 'node:net';

export interface ListenAddress {
  readonly host: string;
  /** 0 = the kernel picks one. */
  readonly port: number;
}

const IPV4_LOOPBACK = '127.0.0.1';
const IPV6_LOOPBACK = '::1';

/**
 * The addresses that one text means; undefined when it is none. `localhost` means both loopback addresses, but with
 * port 0 only the first: two listeners cannot share a port that the kernel picks. Host names are refused: resolving
 * them at start would let a name server decide what is exposed.
 */
export function parseListenAddress(text: string): readonly ListenAddress[] | undefined {
  const match = /^(?:\[([0-9a-fA-F:.%\w]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text.trim());
  const port = Number(match?.[3]);
  if (!match || port > 65_535) return undefined;
  const [, bracketed, plain] = match;
  if (bracketed !== undefined) return net.isIPv6(bracketed) ? [{ host: bracketed, port }] : undefined;
  if (plain === 'localhost') {
    const ipv4 = { host: IPV4_LOOPBACK, port };
    return port === 0 ? [ipv4] : [ipv4, { host: IPV6_LOOPBACK, port }];
  }
  return plain !== undefined && net.isIPv4(plain) ? [{ host: plain, port }] : undefined;
}

/** Whether only this machine itself can reach the address. */
export function isLoopback(address: ListenAddress): boolean {
  return address.host.startsWith('127.') || address.host === IPV6_LOOPBACK;
}
