/** So many at once, so many a second on end. */

export interface TokenBucket {
  /** False: not now. */
  take(): boolean;
}

export function tokenBucket(capacity: number, perSec: number): TokenBucket {
  let tokens = capacity;
  let filledMs = performance.now();
  return {
    take() {
      const nowMs = performance.now();
      tokens = Math.min(capacity, tokens + ((nowMs - filledMs) / 1000) * perSec);
      filledMs = nowMs;
      if (tokens < 1) return false;
      tokens -= 1;
      return true;
    },
  };
}
