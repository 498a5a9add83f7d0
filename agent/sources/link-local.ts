/**
 * The one careful HTTP client of all sources (facts "platforms", general rules): no proxy, no redirects, bounded bodies,
 * connect and total timeouts, and a value instead of an exception for everything that can go wrong. On node:http with a
 * private keep-alive agent: global `fetch` costs 28 MB, honours proxy settings and refuses IPv6 zones.
 */
import http from 'node:http';
import type https from 'node:https';
import { instanceId } from '../instance.ts';
import { pause } from '../pause.ts';
import { exchange } from './link-local-exchange.ts';
import { parseTarget, type Target } from './link-local-target.ts';

/**
 * Stable codes of what went wrong. `reset`: the connection broke; `protocol`: what came is not one whole HTTP response
 * (cut body, chunked garbage, headers too large); `network`: no route, no address, not permitted; `own_output`: the answer is
 * this very agent's, which is never a source.
 */
export type FailureCode =
  | 'refused'
  | 'reset'
  | 'timeout'
  | 'dns'
  | 'tls'
  | 'too_large'
  | 'aborted'
  | 'bad_url'
  | 'network'
  | 'protocol'
  | 'own_output';

export interface HttpResponse {
  readonly kind: 'response';
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  /** Complete: a cut body is a failure, never a shorter body. */
  readonly body: Buffer;
  /** The server's clock (`Date`), UNIX ms, for S4.3; absent where missing, unreadable or passed on by a cache (`Age`). */
  readonly dateMs?: number;
  /** From the call to the last byte, retries included. */
  readonly durationMs: number;
}

export interface HttpFailure {
  readonly kind: 'failure';
  readonly code: FailureCode;
  /** For people; holds host and path, never a query string or a header. */
  readonly detail: string;
  /** Whether a connection (for https: a secured one) stood. If not, other requests to this server are in vain now. */
  readonly connected: boolean;
}

export type HttpOutcome = HttpResponse | HttpFailure;

export interface LinkLocalRequest {
  /** http or https. IPv6 zones are allowed, as `%eth0` or `%25eth0`; credentials in the URL are not. */
  readonly url: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
  /** Over all attempts, DNS and connecting included. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /**
   * Ask again on failures that pass by themselves and on 429 and 5xx: at most `attempts` in all, waiting about
   * `baseMs`, twice that, … with ±50 % jitter, and never beyond `timeoutMs`. Only for requests that may be repeated.
   */
  readonly retry?: { readonly attempts: number; readonly baseMs: number };
}

export interface LinkLocalOptions {
  /** PEM, for https. */
  readonly ca?: string | Buffer;
  readonly cert?: string | Buffer;
  readonly key?: string | Buffer;
  readonly connectTimeoutMs?: number;
  /** Default of `LinkLocalRequest.timeoutMs`. */
  readonly timeoutMs?: number;
  readonly bodyLimitBytes?: number;
  /** Connections to one server at a time. */
  readonly maxSockets?: number;
  /** The id of this agent, whose own answers are refused (instance.ts). For tests. */
  readonly ownInstance?: string;
  readonly random?: () => number;
}

export interface LinkLocalClient {
  /** Never rejects. */
  request(request: LinkLocalRequest): Promise<HttpOutcome>;
  /** Ends what is in flight (`aborted`) and all sockets; afterwards nothing of this client keeps the process alive. */
  close(): void;
}

/** A neighbour on the link answers in milliseconds; three seconds survive two lost SYN packets (1 s, 2 s). */
const CONNECT_TIMEOUT_MS = 3_000;
/** Slow metadata services take seconds, and notices are short: longer waits belong to the caller. */
const TOTAL_TIMEOUT_MS = 5_000;
/** The largest metadata documents known are a tenth of this. */
const BODY_LIMIT_BYTES = 64 * 1024;
/** Enough to hide latency, few enough for ten thousand guests on one server. */
const MAX_SOCKETS = 4;
/** Covers polls each few seconds on one connection; slower ones should not hold a socket of a shared server. */
const IDLE_SOCKET_MS = 15_000;

interface Agents {
  readonly kept: http.Agent;
  /** For the one retry after a stale socket: with several of those in the pool, the next one is as dead as the first. */
  readonly fresh: http.Agent;
  readonly start: typeof http.request;
}

/** A client with its own sockets. One per source; `close` it. */
export function createLinkLocalClient(options: LinkLocalOptions = {}): LinkLocalClient {
  const random = options.random ?? Math.random;
  const inFlight = new Set<AbortController>();
  const agents = new Map<string, Agents>();
  let closed = false;

  async function agentsFor(target: Target): Promise<Agents> {
    const known = agents.get(target.protocol);
    if (known) return known;
    const common = { maxSockets: options.maxSockets ?? MAX_SOCKETS, timeout: IDLE_SOCKET_MS };
    let made: Agents;
    if (target.protocol === 'https:') {
      // Loaded on demand: TLS costs memory that most guests (plain http on the link) need not pay.
      const secure = await import('node:https');
      const tls: https.AgentOptions = { ...common, ...pick(options), rejectUnauthorized: true };
      made = {
        kept: new secure.Agent({ ...tls, keepAlive: true }),
        fresh: new secure.Agent(tls),
        start: secure.request,
      };
    } else {
      made = {
        kept: new http.Agent({ ...common, keepAlive: true }),
        fresh: new http.Agent(common),
        start: http.request,
      };
    }
    const raced = agents.get(target.protocol);
    if (raced) return raced;
    agents.set(target.protocol, made);
    return made;
  }

  async function attempt(target: Target, request: LinkLocalRequest, remainingMs: () => number, signal: AbortSignal) {
    const { kept, fresh, start } = await agentsFor(target);
    const once = (agent: http.Agent) =>
      exchange({
        target,
        start,
        agent,
        method: request.method ?? 'GET',
        headers: request.headers ?? {},
        ...(request.body === undefined ? {} : { body: request.body }),
        connectTimeoutMs: options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
        timeoutMs: remainingMs(),
        bodyLimitBytes: options.bodyLimitBytes ?? BODY_LIMIT_BYTES,
        ownInstance: options.ownInstance ?? instanceId,
        signal,
      });
    const first = await once(kept);
    // The server closed an idle connection just as it was used again: that says nothing about the server.
    if (first.staleSocket && (request.method ?? 'GET') === 'GET') return (await once(fresh)).outcome;
    return first.outcome;
  }

  async function attempts(target: Target, request: LinkLocalRequest, signal: AbortSignal): Promise<HttpOutcome> {
    const startedMs = performance.now();
    const timeoutMs = request.timeoutMs ?? options.timeoutMs ?? TOTAL_TIMEOUT_MS;
    const remainingMs = () => timeoutMs - (performance.now() - startedMs);
    for (let made = 1; ; made += 1) {
      const outcome = await attempt(target, request, remainingMs, signal);
      const whole = outcome.kind === 'response' ? { ...outcome, durationMs: performance.now() - startedMs } : outcome;
      if (request.retry === undefined || made >= request.retry.attempts || !passes(whole)) return whole;
      const waitMs = request.retry.baseMs * 2 ** (made - 1) * (0.5 + random());
      if (waitMs >= remainingMs()) return whole;
      await pause(waitMs, signal, true);
      if (signal.aborted) return aborted(target, false);
    }
  }

  return {
    async request(request) {
      const target = parseTarget(request.url);
      if (typeof target === 'string') return { kind: 'failure', code: 'bad_url', detail: target, connected: false };
      if (closed || request.signal?.aborted) return aborted(target, false);
      const cancel = new AbortController();
      const onAbort = () => cancel.abort();
      request.signal?.addEventListener('abort', onAbort, { once: true });
      inFlight.add(cancel);
      try {
        return await attempts(target, request, cancel.signal);
      } finally {
        inFlight.delete(cancel);
        request.signal?.removeEventListener('abort', onAbort);
      }
    },
    close() {
      closed = true;
      for (const cancel of inFlight) cancel.abort();
      for (const { kept, fresh } of agents.values()) {
        kept.destroy();
        fresh.destroy();
      }
    },
  };
}

const aborted = (target: Target, connected: boolean): HttpFailure => ({
  kind: 'failure',
  code: 'aborted',
  detail: `${target.shown}: given up by the caller`,
  connected,
});

/** What a moment's patience can cure. A wrong URL, certificate or size stays wrong. */
function passes(outcome: HttpOutcome): boolean {
  if (outcome.kind === 'response') return outcome.status === 429 || outcome.status >= 500;
  return !['aborted', 'bad_url', 'tls', 'too_large', 'own_output'].includes(outcome.code);
}

function pick(options: LinkLocalOptions): https.AgentOptions {
  return {
    ...(options.ca === undefined ? {} : { ca: options.ca }),
    ...(options.cert === undefined ? {} : { cert: options.cert }),
    ...(options.key === undefined ? {} : { key: options.key }),
  };
}
