/** One question to one part, surely bounded, and the part's own following kept alive. */

import { pause } from '../pause.ts';
import type { Part, PartReport } from './parts.ts';
import { type ReadContext, SourceError } from './source.ts';

export interface Asked {
  /** Fulfilled within the bound and a little, whatever the part does. */
  readonly answer: Promise<PartReport | SourceError>;
  /** Where that came without the part: fulfilled when it has ended after all. Asked beside it, it would pile up. */
  stuck(): Promise<void> | undefined;
  cancel(): void;
}

/** A part that does not end when it is told to is given up after so long. */
const ABORT_GRACE_MS = 250;

/** Asks; the part's signal is aborted with the reading's, after `timeoutMs`, and by `cancel`. */
export function askPart(part: Part, context: ReadContext, timeoutMs: number): Asked {
  const end = new AbortController();
  const cancel = (): void => end.abort();
  const bound = setTimeout(cancel, timeoutMs);
  bound.unref();
  context.signal.addEventListener('abort', cancel, { once: true });
  if (context.signal.aborted) cancel();
  const timeout = (): SourceError =>
    new SourceError('timeout', `${part.name}: no answer in ${Math.round(timeoutMs)} ms`);

  const reading = (async () => part.read({ ...context, signal: end.signal }))().catch((error: unknown) => {
    const failure = asSourceError(error, part);
    // How a part says that it was told to end is its own affair.
    return end.signal.aborted && failure.code !== 'timeout' ? timeout() : failure;
  });
  let isStuck = false;
  const answer = new Promise<PartReport | SourceError>((resolve) => {
    const giveUp = (): void => {
      isStuck = true;
      resolve(timeout());
    };
    let grace: NodeJS.Timeout | undefined;
    const onEnd = (): void => {
      grace = setTimeout(giveUp, ABORT_GRACE_MS);
      grace.unref();
    };
    end.signal.addEventListener('abort', onEnd, { once: true });
    if (end.signal.aborted) onEnd();
    void reading.then((result) => {
      for (const timer of [bound, grace]) clearTimeout(timer);
      end.signal.removeEventListener('abort', onEnd);
      context.signal.removeEventListener('abort', cancel);
      resolve(result);
    });
  });
  return { answer, stuck: () => (isStuck ? reading.then(() => undefined) : undefined), cancel };
}

/** Runs `follow` until `signal` is aborted or it ends by itself; one that breaks is begun anew, ever more slowly. */
export async function keepFollowing(
  part: Part,
  handOver: (report: PartReport | Error) => void,
  signal: AbortSignal,
  retryMs: (failures: number) => number,
): Promise<void> {
  for (let failures = 1; !signal.aborted; failures += 1) {
    try {
      await part.follow?.(handOver, signal);
      return;
    } catch (error) {
      handOver(asSourceError(error, part));
      await pause(retryMs(failures), signal);
    }
  }
}

function asSourceError(error: unknown, { name }: Part): SourceError {
  if (error instanceof SourceError) return error;
  if (error instanceof Error && (error.name === 'AbortError' || error.name === 'TimeoutError'))
    return new SourceError('timeout', `${name}: no answer in time`);
  return new SourceError('internal', `${name}: ${error instanceof Error ? error.message : String(error)}`);
}
