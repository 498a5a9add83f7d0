/** The three clocks of Linux as Node shows them (SYSTEMS.md, "Time"), behind one door so that tests can turn them. */
import os from 'node:os';
import type { Instant } from './lifetime/types.ts';

export interface Clock {
  now(): Instant;
  /** Seconds-resolution CLOCK_BOOTTIME in ms: goes on while the machine is suspended, unlike `mono`. */
  bootMs(): number;
}

export const systemClock: Clock = {
  now: () => ({ wall: Date.now(), mono: Number(process.hrtime.bigint() / 1000n) / 1000 }),
  bootMs: () => os.uptime() * 1000,
};
