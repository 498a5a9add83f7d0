/**
 * A payload that says how far it is in every turn of its loop must not use up what the look-ups of callers leave for all
 * others: its changes are counted before the second look, on a kept connection before any.
 */
import type { FastifyRequest } from 'fastify';
import { maySee } from './caller.ts';
import type { HttpContext } from './context.ts';
import { refusal } from './problem.ts';
import { type TokenBucket, tokenBucket } from './token-bucket.ts';

/** An `onRequest` hook for a route by which a payload speaks. */
export function payloadRate({ port, callers, bounds }: Pick<HttpContext, 'port' | 'callers' | 'bounds'>) {
  const buckets = new Map<string, TokenBucket>();

  function bucketOf(id: string): TokenBucket {
    const known = buckets.get(id);
    if (known !== undefined) return known;
    if (buckets.size >= bounds.maxPayloads)
      for (const old of buckets.keys()) if (port.payload(old) === undefined) buckets.delete(old);
    const bucket = tokenBucket(bounds.changeBurst, bounds.changesPerSec);
    buckets.set(id, bucket);
    return bucket;
  }

  return async (request: FastifyRequest<{ Params: { readonly id: string } }>): Promise<void> => {
    const { id } = request.params;
    const spec = port.payload(id)?.spec;
    // Nobody uses up what is another's; that he is refused anyway is for his route to say.
    if (spec === undefined || !maySee(callers.presumed(request.raw), spec.uid)) return;
    if (bucketOf(id).take()) return;
    throw refusal(
      'too_many_changes',
      `A payload may say ${bounds.changesPerSec} things a second. Say the latest again.`,
      { headers: { 'retry-after': '1' } },
    );
  };
}
