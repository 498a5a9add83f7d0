/** Whether the steps of an escalation do what their author probably means (SEMANTICS S3.4, S3.5). Pure. */
import { formatDuration } from '../duration.ts';
import { type EscalationStep, hookOf } from '../lifetime/types.ts';
import type { KeyPath } from './merge.ts';
import type { RuleReport } from './rules.ts';
import type { RawConfig } from './schema.ts';
import type { RawStep } from './typed-payload.ts';
import type { Config } from './types.ts';

/** Steps with the lead that they are measured by, and where they are written. */
export interface StepsGiven {
  readonly steps: readonly EscalationStep[];
  readonly graceMs: number;
  /** What the lead is called in the configuration. */
  readonly graceName: string;
  /** A unit's own stop timeout may be longer than `graceMs`. */
  readonly graceMayGrow: boolean;
  readonly path: KeyPath;
}

/** `[stop]`. Of orders only warnings: an operator may have reasons, and a stop in an odd order is better than no stop. */
export function checkStop(raw: RawConfig, { stop }: Config, report: RuleReport): void {
  const path: KeyPath = ['stop', 'steps'];
  checkHookSteps(raw.stop?.steps ?? [], path, report);
  checkOrder({ ...stop, graceName: 'stop.grace', graceMayGrow: false, path }, report);
  if (stop.graceMs > stop.drainMs) {
    report.warning(['stop', 'drain'], 'is shorter than stop.grace: draining and stopping begin together');
  }
  if (stop.whenDone === 'nothing' && raw.stop?.idle !== undefined) {
    report.warning(['stop', 'idle'], 'has no effect without when_done = "poweroff"');
  }
}

/** A program is run once: nobody receives it. */
export function checkHookSteps(steps: readonly RawStep[], path: KeyPath, report: RuleReport): void {
  steps.forEach((step, i) => {
    if (step.hook === undefined || step.to === undefined) return;
    report.problem([...path, i, 'to'], 'goes with a signal: a hook is run once, whoever the payload consists of');
  });
}

export function checkOrder(given: StepsGiven, report: RuleReport): void {
  const { steps, graceMs, graceName, path } = given;
  const leads = steps.map((step) => (step.at === 'grace' ? graceMs : step.at));
  const leadsOf = (signal: string) => leads.filter((_, i) => steps[i]?.signal === signal);
  const firstTerm = Math.max(...leadsOf('SIGTERM'), Number.NEGATIVE_INFINITY);
  if (steps.length > 0 && steps.every(({ signal }) => hookOf(signal) !== null)) {
    report.warning(path, 'no step sends a signal: hooks alone must end the payload');
  }
  steps.forEach((step, i) => {
    const lead = leads[i] ?? 0;
    if (step.signal === 'SIGKILL' && lead >= firstTerm) {
      report.warning([...path, i], 'SIGKILL comes before any SIGTERM: payloads cannot save their work');
    }
    // A program may well prepare the payload before it is stopped.
    if (step.at !== 'grace' && lead > graceMs && !given.graceMayGrow && hookOf(step.signal) === null) {
      const message = `is earlier than ${graceName} (${formatDuration(graceMs)}), when stopping begins`;
      report.warning([...path, i, 'at'], message);
    }
  });
}
