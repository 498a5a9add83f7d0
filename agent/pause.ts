/** A wait that ends early when it is no longer wanted. */

/**
 * Fulfilled after `ms`, or when `signal` is aborted, whichever comes first. It keeps the process alive only where somebody
 * waits for its end (`holdsProcess`).
 */
export function pause(ms: number, signal: AbortSignal, holdsProcess = false): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    if (!holdsProcess) timer.unref();
    signal.addEventListener('abort', done, { once: true });
    if (ms <= 0 || signal.aborted) done();
  });
}
