/** `poll` of a source as a site writes it: an interval (`"30s"`) or a cron expression (`"0,30 * * * *"`) (DESIGN.md). */
import { durationMs, isDuration } from '../duration.ts';
import { isCronShaped } from './cron.ts';

/** S7: a guest must not hurt its site. */
const SHORTEST_POLL_MS = 200;

/** What stands in the fields of an expression is judged when the configuration is (config/rules.ts). */
export const isPoll = (text: string): boolean => isDuration(text) || isCronShaped(text);

/** Ms, never below 200, or the expression for the driver. Throws RangeError for what is neither. */
export function pollOf(text: string): number | { readonly cron: string } {
  if (!isDuration(text) && isCronShaped(text)) return { cron: text.trim() };
  return Math.max(SHORTEST_POLL_MS, durationMs(text));
}
