/** A stand-in for Alibaba Cloud's instance metadata, with or without tokens ("security hardening mode"). */
import { randomUUID } from 'node:crypto';
import type { AskedRequest, HostAnswer } from './metadata-host.ts';
import { type SpotTimeHost, type SpotTimeHostOptions, spotTimeStandIn, startSpotTimeHost } from './spot-time-host.ts';

export const SPOT_PATH = '/latest/meta-data/instance/spot/termination-time';
export const INSTANCE_ID_PATH = '/latest/meta-data/instance-id';
export const TOKEN_PATH = '/latest/api/token';

/** `none`: an old service that knows no tokens. */
export type TokenMode = 'none' | 'optional' | 'required';

export interface AlibabaHost extends SpotTimeHost {
  setTokens(mode: TokenMode): void;
  /** No token given so far is good any more. */
  forgetTokens(): void;
}

export async function startAlibabaHost(
  options: SpotTimeHostOptions & { readonly tokens?: TokenMode } = {},
): Promise<AlibabaHost> {
  let mode = options.tokens ?? 'optional';
  const tokens = new Map<string, { readonly untilMs: number }>();

  function before(request: AskedRequest): HostAnswer | undefined {
    if (request.path === TOKEN_PATH) {
      if (mode === 'none') return { status: 404 };
      if (request.method !== 'PUT') return { status: 405 };
      if (request.headers['x-forwarded-for'] !== undefined) return { status: 403 };
      const ttlSecs = Number(request.headers['x-aliyun-ecs-metadata-token-ttl-seconds']);
      if (!Number.isInteger(ttlSecs) || ttlSecs < 1 || ttlSecs > 21_600) return { status: 400 };
      const token = `${randomUUID()}==`;
      tokens.set(token, { untilMs: Date.now() + ttlSecs * 1000 });
      return { status: 200, body: token };
    }
    if (mode === 'none') return undefined;
    const token = request.headers['x-aliyun-ecs-metadata-token'];
    if (token === undefined) return mode === 'required' ? { status: 403 } : undefined;
    // Two headers come as one value with a comma: no token.
    const held = tokens.get(token.toString());
    return held !== undefined && Date.now() < held.untilMs ? undefined : { status: 401 };
  }

  const host = await startSpotTimeHost(options, {
    name: 'alibaba',
    spotPath: 'instance/spot/termination-time',
    texts: {
      'instance-id': 'i-bp13znx0m0me8cquu7yx',
      'instance/instance-type': 'ecs.g6e.large',
      'region-id': 'cn-hangzhou',
    },
    write: (ms) => `${new Date(ms).toISOString().slice(0, 19)}Z`,
    before,
  });
  return {
    ...host,
    setTokens(wanted) {
      mode = wanted;
    },
    forgetTokens: () => tokens.clear(),
  };
}

export const standIn = spotTimeStandIn('alibaba', startAlibabaHost, {
  help: '  tokens none|optional|required\n  forget             no token given so far is good any more\n',
  obey(host, verb, word) {
    if (verb === 'forget') host.forgetTokens();
    else if (verb === 'tokens' && (word === 'none' || word === 'optional' || word === 'required')) host.setTokens(word);
    else return false;
    return true;
  },
});
