/** How long something has run, whatever becomes of the wall clock meanwhile (SYSTEMS.md, "Time"). */
import type { Clock } from '../clock.ts';

/** `bootMs` knows whole seconds only: a smaller difference to the monotonic clock is no sleep. */
const SLEEP_FROM_MS = 2_000;

/** Gives the ms since this call; the time that the machine slept counts. */
export function startStopwatch(clock: Clock): () => number {
  const [began, beganBoot] = [clock.now().mono, clock.bootMs()];
  return () => {
    const awakeMs = clock.now().mono - began;
    const sleptMs = clock.bootMs() - beganBoot - awakeMs;
    return awakeMs + (sleptMs > SLEEP_FROM_MS ? sleptMs : 0);
  };
}
