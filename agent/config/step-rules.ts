/** Whether the steps of an escalation do what their author probably means (SEMANTICS S3.4, S3.5). Pure. */
import { formatDuration } from '../duration.ts';
import type { RuleReport } from './rules.ts';
import type { Config } from './types.ts';

/** Only warnings: an operator may have reasons, and a stop in an odd order is better than no stop. */
export function checkSteps(stop: Config['stop'], report: RuleReport): void {
  const leads = stop.steps.map((step) => (step.at === 'grace' ? stop.graceMs : step.at));
  const leadsOf = (signal: string) => leads.filter((_, i) => stop.steps[i]?.signal === signal);
  const firstTerm = Math.max(...leadsOf('SIGTERM'), Number.NEGATIVE_INFINITY);
  stop.steps.forEach((step, i) => {
    const lead = leads[i] ?? 0;
    if (step.signal === 'SIGKILL' && lead >= firstTerm) {
      report.warning(['stop', 'steps', i], 'SIGKILL comes before any SIGTERM: payloads cannot save their work');
    }
    if (step.at !== 'grace' && lead > stop.graceMs) {
      const message = `is earlier than stop.grace (${formatDuration(stop.graceMs)}), when stopping begins`;
      report.warning(['stop', 'steps', i, 'at'], message);
    }
  });
  if (stop.graceMs > stop.drainMs) {
    report.warning(['stop', 'drain'], 'is shorter than stop.grace: draining and stopping begin together');
  }
}
