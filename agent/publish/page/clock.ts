/**
 * What time it is for the agent, by a browser whose own clock may be wrong: each answer's `Date` header narrows down by how
 * much. Pure.
 */

/** The agent's clock is ahead of the browser's by at least `lowMs` and at most `highMs`. */
export interface Offset {
  readonly lowMs: number;
  readonly highMs: number;
}

/** `Date` is cut to whole seconds. */
const DATE_STEP_MS = 1_000;

/**
 * `sentMs` and `receivedMs` on the browser's clock, `dateMs` from the header. An answer that contradicts what was known
 * begins anew: one of the clocks was set, or they drift apart.
 */
export function narrowed(known: Offset | null, sentMs: number, receivedMs: number, dateMs: number): Offset {
  const said = { lowMs: dateMs - receivedMs, highMs: dateMs + DATE_STEP_MS - sentMs };
  if (known === null) return said;
  const both = { lowMs: Math.max(known.lowMs, said.lowMs), highMs: Math.min(known.highMs, said.highMs) };
  return both.lowMs <= both.highMs ? both : said;
}

export const agentTimeMs = (offset: Offset, browserMs: number): number =>
  browserMs + (offset.lowMs + offset.highMs) / 2;

/** What whole seconds and a request on the way leave open. */
const NO_SHIFT_SECS = 3;

/**
 * By how much the host's deadline is later than the same moment on this machine's clock, seconds (S4.3): `remainingSecs` is
 * the agent's own word, rounded down.
 */
export function hostShiftSecs(deadline: number, remainingSecs: number, agentMs: number): number {
  const shift = Math.round(deadline - (agentMs / 1000 + remainingSecs));
  // A deadline that has passed is 0 seconds away however long ago it was.
  return remainingSecs === 0 || Math.abs(shift) < NO_SHIFT_SECS ? 0 : shift;
}
