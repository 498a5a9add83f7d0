/**
 * Session tokens of metadata services (EC2's IMDSv2, Alibaba's copy of it): `PUT` gives one, a header carries it, 401 means
 * that another one is needed. Services without tokens are asked without.
 */
import type { HttpFailure, HttpOutcome, LinkLocalClient, LinkLocalRequest } from './link-local.ts';

export interface TokenOptions {
  readonly url: string;
  /** Header of the PUT that says how long the token shall live, e.g. `X-aws-ec2-metadata-token-ttl-seconds`. */
  readonly ttlHeader: string;
  /** Header of every GET that carries it, e.g. `X-aws-ec2-metadata-token`. */
  readonly tokenHeader: string;
}

export interface TokenKeeper {
  /**
   * Asks with a token where the service gives one: replaced once on 401, never added twice. No request waits for more than
   * one PUT of a token. Never rejects.
   */
  request(request: LinkLocalRequest): Promise<HttpOutcome>;
}

/** EC2's longest; a token costs one PUT, and one that the service forgot is replaced when it says so. */
const TTL_SECS = 21_600;
/** Renewed this long before its end, so that no GET is refused because of it; a short-lived one halfway. */
const RENEW_BEFORE_MS = 60_000;
/** From a container the PUT can hang (hop limit 1) where GETs without token are answered. */
const PUT_TIMEOUT_MS = 1_000;
/** A service that has no tokens is asked for one again so much later: it may have been a moment's trouble. */
const WITHOUT_FOR_MS = 300_000;
/** The same where the PUT hung: not each GET shall wait for it. Where tokens are required, the GET's 401 asks at once. */
const WITHOUT_AFTER_HANG_MS = 60_000;
/** No token that a service gives is longer. */
const MAX_TOKEN = 4096;

type Held = { readonly token: string | null; readonly untilMs: number };

/** `nowMs`: a monotonic clock. */
export function createTokenKeeper(
  client: LinkLocalClient,
  options: TokenOptions,
  nowMs: () => number = () => performance.now(),
): TokenKeeper {
  let held: Held | undefined;
  let asking: Promise<Held | HttpOutcome> | undefined;

  async function fetchToken(): Promise<Held | HttpOutcome> {
    const outcome = await client.request({
      url: options.url,
      method: 'PUT',
      headers: { [options.ttlHeader]: String(TTL_SECS) },
      timeoutMs: PUT_TIMEOUT_MS,
    });
    if (outcome.kind === 'failure') {
      // Nobody there at all: the GET would only wait once more. A PUT that hangs is no such sign.
      if (!outcome.connected && outcome.code !== 'timeout') return outcome;
      return { token: null, untilMs: outcome.code === 'timeout' ? nowMs() + WITHOUT_AFTER_HANG_MS : 0 };
    }
    const token = outcome.body.toString('latin1').trim();
    if (outcome.status === 200 && /^[\x21-\x7e]+$/.test(token) && token.length <= MAX_TOKEN) {
      const ms = lifetimeMs(outcome.headers[options.ttlHeader.toLowerCase()]);
      return { token, untilMs: nowMs() + ms - Math.min(RENEW_BEFORE_MS, ms / 2) };
    }
    // 400, 403, 404, 405: this service has no tokens, or not for us. 429 and 5xx pass: asked again with the next GET.
    const passes = outcome.status === 429 || outcome.status >= 500;
    return { token: null, untilMs: passes ? 0 : nowMs() + WITHOUT_FOR_MS };
  }

  /** One at a time: all GETs that need a token wait for the same PUT. It goes on without those that are given up. */
  async function current(signal: AbortSignal | undefined): Promise<Held | HttpOutcome> {
    if (held !== undefined && nowMs() < held.untilMs) return held;
    asking ??= fetchToken().then((got) => {
      asking = undefined;
      if ('token' in got) held = got;
      return got;
    });
    return await unlessAborted(asking, signal);
  }

  function withToken(request: LinkLocalRequest, { token }: Held): LinkLocalRequest {
    if (token === null) return request;
    const name = options.tokenHeader.toLowerCase();
    const others = Object.entries(request.headers ?? {}).filter(([header]) => header.toLowerCase() !== name);
    return { ...request, headers: { ...Object.fromEntries(others), [options.tokenHeader]: token } };
  }

  return {
    async request(request) {
      const before = held;
      const got = await current(request.signal);
      if (!('token' in got)) return got;
      const first = await client.request(withToken(request, got));
      // A token that came just now is refused for another reason.
      if (first.kind === 'failure' || first.status !== 401 || got !== before) return first;
      // Another GET may have replaced it meanwhile.
      if (held === got) held = undefined;
      const renewed = await current(request.signal);
      if (!('token' in renewed) || renewed.token === null) return first;
      return await client.request(withToken(request, renewed));
    },
  };
}

function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T | HttpFailure> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const onAbort = (): void =>
      resolve({ kind: 'failure', code: 'aborted', detail: 'given up by the caller', connected: false });
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

/** What the service says, within reason. */
function lifetimeMs(header: string | string[] | undefined): number {
  const secs = Number(header);
  return (Number.isInteger(secs) && secs > 0 ? Math.min(secs, TTL_SECS) : TTL_SECS) * 1000;
}
