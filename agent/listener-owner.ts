/**
 * Whose is the program that listens on a loopback port, on the kernel's word. A port in a file proves nothing: while the
 * daemon restarts any user can bind it and tell lies about deadlines (SYSTEMS.md, "systemd").
 */
import fs from 'node:fs';

/** TCP_LISTEN as the kernel prints it. */
const LISTEN = '0A';
/** 127.0.0.1 and the wildcard, in the byte orders in which /proc prints them; IPv6 loopback and wildcard. */
const V4 = /^(0100007F|7F000001|00000000):/i;
const V6 = /^(0{24}(01000000|00000001)|0{32}):/i;

/**
 * True when every listener that would answer at `host:port` belongs to `uid` or to root (who holds the sockets of a unit).
 * False when there is none, another's, or the table cannot be read.
 */
export function listenerIsOf(uid: number, host: string, port: number, procRoot = '/proc'): boolean {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const [file, addresses] = host.includes(':') ? ['tcp6', V6] : ['tcp', V4];
  try {
    const rows = fs.readFileSync(`${procRoot}/self/net/${file}`, 'latin1').split('\n').slice(1);
    const owners = rows
      .map((row) => row.trim().split(/\s+/))
      .filter(([, local = '', , state]) => state === LISTEN && local.endsWith(wanted) && addresses.test(local))
      .map((fields) => Number(fields[7]));
    return owners.length > 0 && owners.every((owner) => owner === uid || owner === 0);
  } catch {
    return false;
  }
}
