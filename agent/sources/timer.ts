/** Timers on the monotonic clock that hold no process alive. */
import type { Clock } from '../clock.ts';

export interface Timer {
  cancel(): void;
}

/** Beyond 2^31 − 1 ms `setTimeout` fires at once (SYSTEMS.md, "Time"). */
const LONGEST_TIMEOUT_MS = 2 ** 31 - 1;

/** Calls `action` once when the monotonic clock has reached `dueMono`, never before, however far away that is. */
export function startTimer(clock: Clock, dueMono: number, action: () => void): Timer {
  let timeout: NodeJS.Timeout;
  const arm = () => {
    const leftMs = dueMono - clock.now().mono;
    timeout = setTimeout(
      () => {
        // Timeouts are whole milliseconds and may come a fraction early.
        if (clock.now().mono >= dueMono) action();
        else arm();
      },
      Math.min(LONGEST_TIMEOUT_MS, Math.max(0, Math.ceil(leftMs))),
    );
    timeout.unref();
  };
  arm();
  return { cancel: () => clearTimeout(timeout) };
}
