/** Refused requests: every one is counted; each (uid, reason, words) is logged once a minute, as long as there is room. */
import type { Logger } from 'pino';
import { printable } from './printable.ts';

export interface Refused {
  readonly code: string;
  readonly detail: string;
  readonly method: string;
  /** The route's pattern, never the path: a path may hold a payload's token. */
  readonly route: string;
  readonly uid: number | null;
}
export type RefusalLog = (refused: Refused) => void;

const WINDOW_MS = 60_000;
/** Attempts of one user that are told one by one in that time: on as many processes, say. */
const MAX_OF_USER = 32;
/** All that is remembered; beyond it only the counter counts, so that nobody can fill log or memory. */
const MAX_REMEMBERED = 512;

export function createRefusalLog(log: Logger, count: (reason: string) => void): RefusalLog {
  const seen = new Map<string, { sinceMs: number; suppressed: number }>();
  return ({ code, detail, method, route, uid }) => {
    count(code);
    const nowMs = performance.now();
    const owner = `${uid ?? ''} `;
    const told = [...seen].filter(([key, { sinceMs }]) => key.startsWith(owner) && nowMs - sinceMs < WINDOW_MS);
    const key = told.length < MAX_OF_USER ? `${owner}${code} ${detail}` : `${owner}${code}`;
    const entry = seen.get(key);
    if (entry !== undefined && nowMs - entry.sinceMs < WINDOW_MS) {
      entry.suppressed += 1;
      return;
    }
    for (const [old, { sinceMs }] of seen) {
      if (seen.size < MAX_REMEMBERED) break;
      if (nowMs - sinceMs >= WINDOW_MS) seen.delete(old);
    }
    if (entry === undefined && seen.size >= MAX_REMEMBERED) return;
    seen.set(key, { sinceMs: nowMs, suppressed: 0 });
    // A client that is gone before it is asked for is no intruder: the end of every `exec` may look like that.
    log[code === 'client_gone' ? 'debug' : 'warn'](
      {
        event: 'request_refused',
        reason: code,
        method: printable(method),
        route,
        uid,
        suppressed: entry?.suppressed ?? 0,
      },
      `request refused: ${printable(detail, 240)}`,
    );
  };
}
