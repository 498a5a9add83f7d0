/** Whether what the page shows is still true. Pure. */

export interface Link {
  /** The last good answer, on the browser's clock; null before the first. */
  readonly heardMs: number | null;
  /** The last question was not answered. */
  readonly failed: boolean;
}
export type LinkState = 'connecting' | 'live' | 'lost';

/** The agent is asked every 5 s; four of these without an answer, and what is shown is old (a suspended laptop, a dead tunnel). */
export const SILENT_MS = 20_000;

export function linkState({ heardMs, failed }: Link, nowMs: number): LinkState {
  if (heardMs === null) return failed ? 'lost' : 'connecting';
  return failed || nowMs - heardMs > SILENT_MS || nowMs < heardMs - SILENT_MS ? 'lost' : 'live';
}
