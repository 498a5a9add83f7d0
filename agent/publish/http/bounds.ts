/** Every bound of the HTTP side in one place, each with its reason; options may replace them (tests, small machines). */
import { readFileSync } from 'node:fs';

export interface HttpBounds {
  /** Streams and hanging GETs together: each holds a socket and a little memory (SYSTEMS.md, "HTTP and streams"). */
  readonly maxStreams: number;
  /** A reader that has not taken what was sent for this long is cut off, ms. */
  readonly undrainedMs: number;
  /** Comment on a quiet stream, ms: below the 30–60 s after which proxies and NAT forget a connection. */
  readonly heartbeatMs: number;
  /** A listener that could not be opened is tried again after this long, ms (± jitter). */
  readonly retryMs: number;
  /** Registered payloads: each costs a plan in the heart and files in the tree. */
  readonly maxPayloads: number;
  /** Of one user who is not root: nobody may use up the places of the others. */
  readonly maxPayloadsOfUser: number;
  /** How many look-ups of one user may come at once … */
  readonly lookupBurst: number;
  /** … and how many a second on end: one costs up to 10 ms of processor on a machine with a large socket table. */
  readonly lookupsPerSec: number;
  /** What one payload may say at once of its end and of how far it is … */
  readonly changeBurst: number;
  /** … and a second on end: more than any site reads, and it leaves most of the look-ups to the others. */
  readonly changesPerSec: number;
  /** While somebody hangs on a payload's row, it is compared this often besides each publication, ms. */
  readonly rowRecheckMs: number;
}

export const DEFAULT_BOUNDS: HttpBounds = {
  maxStreams: 1024,
  undrainedMs: 10_000,
  heartbeatMs: 15_000,
  retryMs: 5_000,
  maxPayloads: 1024,
  maxPayloadsOfUser: 256,
  lookupBurst: 256,
  lookupsPerSec: 30,
  changeBurst: 20,
  changesPerSec: 5,
  rowRecheckMs: 1_000,
};

/** JSON of a registration: a few hundred bytes; 64 KiB leaves room for many steps. */
export const MAX_BODY_BYTES = 64 * 1024;
/** One file for the site. */
export const MAX_OUTPUT_BYTES = 1024 * 1024;
/** Longest hanging GET; a client asks again. */
export const MAX_TIMEOUT_SECS = 300;
export const DEFAULT_TIMEOUT_SECS = 60;
/** A client that has not sent its headers by then is not a local program that means well. */
export const HEADERS_TIMEOUT_MS = 10_000;
/** The whole request, 1 MiB of body included, on loopback. */
export const REQUEST_TIMEOUT_MS = 30_000;
/** Between two requests; longer than a heartbeat so that clients keep their identified connection. */
export const KEEP_ALIVE_MS = 75_000;
/** Connections of one listener at the most: the streams and as many short requests again. */
const MAX_CONNECTIONS = 2048;
/** Loopback IPv4 and IPv6 and two sockets. */
const LISTENERS = 4;
/** Descriptors for everything else: host directories, /proc reads before each kill, journal, children. */
const RESERVED_DESCRIPTORS = 256;
const LEAST_CONNECTIONS = 32;

/** Connections of one listener, so that all of them together leave descriptors for the agent's own work: nobody must be able to stop the stopping. */
export function maxConnections(procRoot: string): number {
  let soft = 1024;
  try {
    const limits = readFileSync(`${procRoot}/self/limits`, 'latin1');
    soft = Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? soft);
  } catch {
    // The smallest limit that systems give.
  }
  return Math.max(LEAST_CONNECTIONS, Math.min(MAX_CONNECTIONS, Math.floor((soft - RESERVED_DESCRIPTORS) / LISTENERS)));
}
/** After this long at close, whatever still hangs is cut; with `CLOSE_MS` the end comes within 1 s. */
export const CUT_MS = 300;
export const CLOSE_MS = 900;
