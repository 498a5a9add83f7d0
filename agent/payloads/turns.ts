/**
 * Signals by turns of their owners: somebody with ten thousand processes in a hundred payloads holds up nobody else's
 * (SEMANTICS S3.4, DESIGN.md, promise 4). What can be done in one go, nearly always all of it, is done at once.
 */
import type { Instant, StepResultReport } from '../lifetime/types.ts';
import type { SignalEffect } from './delivery.ts';

/** Of one owner's payloads in one go while others wait: less than anybody would notice. */
const SLICE_MS = 50;
/**
 * While nobody else waits. Each go has its own look at all processes and its own entry in the books, so goes that are too
 * short cost a busy machine more than they save: at 50 ms a thousand payloads took seconds. Who comes in the midst of it waits
 * no longer than this.
 */
const ALONE_MS = 500;

export interface Turns {
  /** Begins at once, with whoever does not wait already; what is left goes on as soon as the loop has seen to other things. */
  take(signals: readonly SignalEffect[]): void;
}

export function openTurns(options: {
  /** Reports on the first of them in order: on all, or on as many as were begun before `untilMono`, one at least. */
  deliver(signals: readonly SignalEffect[], untilMono: number): readonly StepResultReport[];
  now(): Instant;
  done(results: readonly StepResultReport[], signals: readonly SignalEffect[]): void;
}): Turns {
  /** By owner. */
  const waiting = new Map<number, readonly SignalEffect[]>();
  let pumping = false;

  function turn(uid: number): void {
    const batch = waiting.get(uid) ?? [];
    waiting.delete(uid);
    const results = options.deliver(batch, options.now().mono + (waiting.size === 0 ? ALONE_MS : SLICE_MS));
    const left = batch.slice(Math.max(1, results.length));
    if (left.length > 0) waiting.set(uid, left);
    options.done(results, batch);
  }

  function goOn(): void {
    if (pumping || waiting.size === 0) return;
    pumping = true;
    setImmediate(() => {
      pumping = false;
      for (const uid of [...waiting.keys()]) turn(uid);
      goOn();
    });
  }

  return {
    take(signals) {
      const waits = new Set(waiting.keys());
      for (const effect of signals) {
        const { uid } = effect.payload;
        waiting.set(uid, [...(waiting.get(uid) ?? []), effect]);
      }
      for (const uid of [...waiting.keys()]) if (!waits.has(uid)) turn(uid);
      goOn();
    },
  };
}
