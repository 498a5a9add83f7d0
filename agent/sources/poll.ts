/** `poll` of a source as a site writes it: an interval (`"30s"`) or a cron expression (`"0,30 * * * *"`) (DESIGN.md). */
import { durationMs, isDuration } from '../duration.ts';

/** S7: a guest must not hurt its site. */
const SHORTEST_POLL_MS = 200;
/** Minutes to days of the week, with seconds in front where six are given. */
const CRON_FIELDS = /^\S+(\s+\S+){4,5}$/;

export const isPoll = (text: string): boolean => isDuration(text) || CRON_FIELDS.test(text.trim());

/** Ms, never below 200, or the expression for the driver. Throws RangeError for what is neither. */
export function pollOf(text: string): number | { readonly cron: string } {
  if (!isDuration(text) && CRON_FIELDS.test(text.trim())) return { cron: text.trim() };
  return Math.max(SHORTEST_POLL_MS, durationMs(text));
}
