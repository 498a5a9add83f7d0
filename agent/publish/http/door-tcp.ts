/** TCP listeners: those configured, and those that systemd holds over a restart of ours (SYSTEMS.md, "systemd"). */
import { readFileSync, readlinkSync } from 'node:fs';
import type http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import type { Logger } from 'pino';
import { isLoopback } from './channel.ts';
import { type Door, listening, type Opened } from './listeners.ts';

/** Codes that say: this machine has no IPv6. */
const NO_IPV6: ReadonlySet<string> = new Set(['EADDRNOTAVAIL', 'EAFNOSUPPORT', 'EINVAL']);
/** Connections that may wait while the main loop is busy. */
const BACKLOG = 511;

export function tcpDoor({ host, port }: { readonly host: string; readonly port: number }): Door {
  return {
    name: addressText(host, port),
    advice: 'Stop that program, or give another address with "listen" in the configuration or --listen ADDR:PORT.',
    // Only the loopback that comes by default; an IPv6 address that an operator wrote must be heard of.
    ...(host === '::1' && { optional: (code: string) => NO_IPV6.has(code) }),
    async open(server) {
      // Without ipv6Only, "::" would take the IPv4 port too and make a second listener there fail.
      await listening(server, () => server.listen({ host, port, backlog: BACKLOG, ipv6Only: host.includes(':') }));
      return tcpOpened(server, host);
    },
  };
}

export function inheritedDoors(
  fds: readonly number[],
  { procRoot, runtimeDir, log }: { readonly procRoot: string; readonly runtimeDir: string; readonly log: Logger },
): readonly Door[] {
  return fds.map((fd) => ({
    name: `descriptor ${fd}`,
    advice: 'Look at mjf-agent.socket: it must pass listening stream sockets.',
    once: true,
    async open(server) {
      await listening(server, () => server.listen({ fd }));
      if (typeof server.address() === 'object' && server.address() !== null) return tcpOpened(server);
      // Node does not tell the path of an inherited Unix socket; the kernel does. An unknown one is a reader: it can do the least.
      const name = unixPath(fd, procRoot);
      const operator = name === path.join(runtimeDir, 'admin.sock');
      if (name === undefined)
        log.warn({ event: 'http_listener_unknown', fd }, `descriptor ${fd} has no name; it is served read-only`);
      return { name: name ?? `descriptor ${fd}`, channel: { kind: operator ? 'operator' : 'reader' } };
    },
  }));
}

function tcpOpened(server: http.Server, asked?: string): Opened {
  const address = server.address();
  if (!isAddressInfo(address)) throw new Error('not a TCP socket');
  const { address: host, port } = address;
  const reachable = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
  const channel = { kind: 'tcp', loopback: isLoopback(host) } as const;
  return { name: addressText(asked ?? host, port), channel, url: `http://${addressText(reachable, port)}` };
}

function isAddressInfo(address: AddressInfo | string | null): address is AddressInfo {
  return typeof address === 'object' && address !== null && typeof address.port === 'number';
}

function addressText(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** `Num RefCount Protocol Flags Type St Inode Path` of /proc/net/unix. */
function unixPath(fd: number, procRoot: string): string | undefined {
  try {
    const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(path.join(procRoot, 'self/fd', String(fd))))?.[1];
    for (const line of readFileSync(path.join(procRoot, 'self/net/unix'), 'utf8').split('\n')) {
      const columns = line.trim().split(/\s+/);
      if (inode !== undefined && columns[6] === inode) return columns.slice(7).join(' ') || undefined;
    }
  } catch {
    // Not readable means not known.
  }
  return undefined;
}
