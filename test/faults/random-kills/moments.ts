/** When the agent is killed, by a seed, and whom it is stopping at that time. */
import type { PayloadPlan } from '../crash-walk/plan.ts';

/** Several steps in a window of three seconds, most of them further apart than an agent takes to start again. */
export const PLANS: readonly PayloadPlan[] = [
  {
    name: 'alone',
    group: false,
    steps: [
      { at: 2_600, signal: 'SIGUSR1' },
      { at: 1_900, signal: 'SIGUSR2' },
      { at: 1_200, signal: 'SIGTERM' },
      { at: 100, signal: 'SIGKILL' },
    ],
  },
  {
    name: 'group',
    group: true,
    steps: [
      { at: 2_600, signal: 'SIGUSR2' },
      { at: 1_500, signal: 'SIGTERM' },
      { at: 200, signal: 'SIGKILL' },
    ],
  },
  // Many that are due at once: something is always half done.
  ...Array.from({ length: 6 }, (_, n) => ({
    name: `batch${n}`,
    group: n % 2 === 1,
    steps: [
      { at: 1_900, signal: 'SIGUSR1' },
      { at: 1_200, signal: 'SIGTERM' },
      { at: 100, signal: 'SIGKILL' },
    ],
  })),
];

/** From the announcement to the deadline at least. */
export const AHEAD_MS = 3_200;
const FEWEST_KILLS = 3;
const MOST_KILLS = 7;
/** After the deadline nothing but SIGKILLs is left to do. */
const LAST_MS = -150;
/** So long after a step is due it may be half done. */
const STEP_LASTS_MS = 12;

/** Moments to die at before the deadline, ms, in their order: half of them anywhere, half just when a step is due. */
export function momentsOf(random: () => number): readonly number[] {
  const due = [...new Set(PLANS.flatMap(({ steps }) => steps.map(({ at }) => at)))];
  const count = FEWEST_KILLS + Math.floor(random() * (MOST_KILLS - FEWEST_KILLS + 1));
  const moments = Array.from({ length: count }, () => {
    if (random() < 0.5) return LAST_MS + random() * (AHEAD_MS - LAST_MS);
    const at = due[Math.floor(random() * due.length)] ?? 0;
    return at - random() * STEP_LASTS_MS;
  });
  return moments.sort((a, b) => b - a);
}

/** Numbers from 0 to 1 that are the same for the same seed (mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
