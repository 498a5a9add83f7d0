/**
 * Everybody who waits for a change: hanging GETs and event streams share one bound, one subscription and one end. fastify's
 * `close()` waits for them for ever, so they are told to end in `preClose` (SYSTEMS.md, "HTTP and streams").
 */
import { setMaxListeners } from 'node:events';
import type { ServerResponse } from 'node:http';
import type { AgentPort, Publication } from '../../ports.ts';
import { ProblemError } from './problem.ts';

export type Ended = 'changed' | 'timeout' | 'gone' | 'closing';

export interface Hub {
  /** Takes a place and gives its release; throws 503 when all are taken. */
  admit(): () => void;
  /** On every publication, and after `poke`. Returns the unsubscribe. */
  onChange(listener: (publication: Publication) => void): () => void;
  /** Something changed that is no publication (a row was patched). */
  poke(): void;
  /** Aborted when the server closes. */
  readonly closing: AbortSignal;
  close(): void;
}

/** Seconds after which a caller that found no place may try again. */
const RETRY_AFTER_SECS = 10;

export function createHub(port: AgentPort, maxStreams: number): Hub {
  const closing = new AbortController();
  // One listener a waiter is no leak.
  setMaxListeners(0, closing.signal);
  const listeners = new Set<(publication: Publication) => void>();
  let taken = 0;
  const tell = (publication: Publication): void => {
    for (const listener of [...listeners]) listener(publication);
  };
  const unsubscribe = port.subscribe(tell);
  return {
    admit() {
      if (taken >= maxStreams) {
        port.count('mjf_http_streams_dropped_total', { reason: 'full' });
        throw new ProblemError(
          'too_many_streams',
          `All ${maxStreams} places of those who wait for a change are taken.`,
          {
            headers: { 'retry-after': String(RETRY_AFTER_SECS) },
          },
        );
      }
      taken += 1;
      let released = false;
      return () => {
        if (!released) taken -= 1;
        released = true;
      };
    },
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    poke: () => tell(port.publication()),
    closing: closing.signal,
    close() {
      unsubscribe();
      closing.abort();
    },
  };
}

/**
 * Waits until `changed()` says so, asked at every change and, with `recheckMs`, that often besides. Ends with the timeout,
 * with the client, and with the server.
 */
export function waitForChange(options: {
  readonly hub: Hub;
  readonly response: ServerResponse;
  readonly changed: () => boolean;
  readonly timeoutMs: number;
  readonly recheckMs?: number;
}): Promise<Ended> {
  const { hub, response, changed, timeoutMs, recheckMs } = options;
  if (hub.closing.aborted) return Promise.resolve('closing');
  const release = hub.admit();
  return new Promise((resolve) => {
    const end = (how: Ended): void => {
      clearTimeout(timer);
      clearInterval(recheck);
      unsubscribe();
      response.off('close', gone);
      hub.closing.removeEventListener('abort', closed);
      release();
      resolve(how);
    };
    const look = (): void => {
      if (changed()) end('changed');
    };
    const gone = (): void => end('gone');
    const closed = (): void => end('closing');
    const timer = setTimeout(() => end('timeout'), timeoutMs);
    const recheck = recheckMs === undefined ? undefined : setInterval(look, recheckMs);
    const unsubscribe = hub.onChange(look);
    response.on('close', gone);
    hub.closing.addEventListener('abort', closed);
    // Between the caller's look and our subscription nothing runs, but the client may have gone while it was identified.
    if (response.destroyed) gone();
    else look();
  });
}
