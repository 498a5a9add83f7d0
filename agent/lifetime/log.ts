/** A log line as an effect: the heart has news, but no log of its own. */
import type { Effect } from './types.ts';

export function log(
  level: 'info' | 'warn',
  event: string,
  fields: Readonly<Record<string, unknown>>,
  message: string,
): Effect {
  return { type: 'log', level, event, fields, message };
}
