/** Work that every user may ask for, without end, and that costs more than a moment. */

/**
 * One after the other, and after each a rest of `restFactor` times its own duration: whoever asks without end must not keep
 * the agent from its signals. Those who wait are as many as there are connections.
 */
export function createTurns(restFactor: number): <T>(work: () => T | Promise<T>) => Promise<T> {
  let rested: Promise<unknown> = Promise.resolve();
  return (work) => {
    let begunMs = 0;
    const done = rested.then(() => {
      begunMs = performance.now();
      return work();
    });
    const rest = (): Promise<void> => pause((performance.now() - begunMs) * restFactor);
    rested = done.then(rest, rest);
    return done;
  };
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms).unref());
