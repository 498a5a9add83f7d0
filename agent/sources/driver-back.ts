/** A word to the host over the channel of one source (`WayBack`): surely bounded, and one code for whatever became of it. */
import type { Clock } from '../clock.ts';
import { type Source, SourceError, type WayBack } from './source.ts';
import { startTimer } from './timer.ts';

/** Undefined where this channel has no such way. */
export type Say = (back: WayBack, signal: AbortSignal) => Promise<void> | undefined;

export interface SpeakOptions {
  readonly clock: Clock;
  /** Either ends it. */
  readonly wanted: AbortSignal;
  readonly stopping: AbortSignal;
  /** Told of what a source did not foresee. */
  onUnforeseen(error: unknown): void;
}

/** Beyond the source's own bound, so that its own code tells what it was. */
const MARGIN_MS = 500;

/**
 * Null: the host has taken it. Else the code of the source's `SourceError`, or `no_channel`, `timeout`, `aborted`, `internal`.
 * Never rejects, and ends at the bound also where the source goes on regardless.
 */
export function speak(
  source: Pick<Source, 'back' | 'timeoutMs'>,
  say: Say,
  { clock, wanted, stopping, onUnforeseen }: SpeakOptions,
): Promise<string | null> {
  const { back } = source;
  if (back === undefined) return Promise.resolve('no_channel');
  return new Promise((resolve) => {
    const end = new AbortController();
    let settled = false;
    const settle = (code: string | null): void => {
      if (settled) return;
      settled = true;
      bound.cancel();
      for (const signal of [wanted, stopping]) signal.removeEventListener('abort', onAbort);
      resolve(code);
      end.abort();
    };
    const onAbort = (): void => settle('aborted');
    const bound = startTimer(clock, clock.now().mono + source.timeoutMs + MARGIN_MS, () => settle('timeout'));
    for (const signal of [wanted, stopping]) signal.addEventListener('abort', onAbort, { once: true });
    if (wanted.aborted || stopping.aborted) return onAbort();
    const said = async (): Promise<string | null> => {
      const going = say(back, end.signal);
      if (going === undefined) return 'no_channel';
      await going;
      return null;
    };
    said().then(settle, (error: unknown) => {
      if (!(error instanceof SourceError) && !settled) onUnforeseen(error);
      settle(error instanceof SourceError ? error.code : 'internal');
    });
  });
}
