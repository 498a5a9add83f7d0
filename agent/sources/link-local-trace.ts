/** What `probe` hears of a source that asks over HTTP: every single request, tokens and second attempts included. */
import type { LinkLocalClient } from './link-local.ts';
import { parseTarget } from './link-local-target.ts';
import type { SourceEnvironment } from './source.ts';

/** The client, telling of each request that was answered or failed; the client itself where nobody listens. */
export function traced(
  client: LinkLocalClient,
  source: string,
  { trace }: Pick<SourceEnvironment, 'trace'>,
): LinkLocalClient {
  if (trace === undefined) return client;
  return {
    async request(request) {
      const startedMs = performance.now();
      const outcome = await client.request(request);
      const target = parseTarget(request.url);
      trace({
        source,
        asked: `${request.method ?? 'GET'} ${typeof target === 'string' ? '(unusable URL)' : target.shown}`,
        answered: outcome.kind === 'response' ? String(outcome.status) : outcome.code,
        tookMs: performance.now() - startedMs,
      });
      return outcome;
    },
    close: () => client.close(),
  };
}
