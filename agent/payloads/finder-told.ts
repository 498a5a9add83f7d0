/** What the log was told of each thing that is looked for: once per change, not once per second. */
import type { Logger } from 'pino';

/** Who can make a condition come and go (an owner of a pidfile) must not be able to fill the log with it. */
const REPEAT_MS = 60_000;

export interface Told {
  /** The condition that `key` is in now, by its event name; null = all is well. Logged when it has changed. */
  (
    key: string,
    event: string | null,
    level: 'debug' | 'info' | 'warn' | 'error',
    fields: { readonly message: string } & Readonly<Record<string, unknown>>,
  ): void;
  /** Forgets the other keys. */
  keep(isKept: (key: string) => boolean): void;
}

export function openTold(log: Logger, nowMono: () => number): Told {
  const conditions = new Map<string, { event: string | null; readonly loggedAt: Map<string, number> }>();
  const tell: Told = (key, event, level, { message, ...fields }) => {
    const before = conditions.get(key);
    if ((before?.event ?? null) === event) return;
    const condition = before ?? { event, loggedAt: new Map<string, number>() };
    condition.event = event;
    conditions.set(key, condition);
    if (event === null) return;
    const last = condition.loggedAt.get(event);
    if (last !== undefined && nowMono() - last < REPEAT_MS) return;
    condition.loggedAt.set(event, nowMono());
    log[level]({ event, ...fields }, message);
  };
  tell.keep = (isKept) => {
    for (const key of conditions.keys()) if (!isKept(key)) conditions.delete(key);
  };
  return tell;
}
