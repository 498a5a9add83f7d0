/**
 * What is measured of the heart's work: how late steps went out, which payloads outlived the deadline, what the log tells of.
 * Reads results and counts; changes nothing.
 */
import { TICK_MS } from './heartbeat.ts';
import type { Effect, Input, SnapshotPayload, StepResult, StepResultReport } from './lifetime/types.ts';
import type { Publication } from './ports.ts';
import type { Metrics } from './publish/metrics.ts';

/** What is worth a counter besides a log line, by the event that tells of it. */
const COUNTED: ReadonlyMap<string, readonly [metric: string, ...labels: readonly string[]]> = new Map([
  ['notice_new', ['mjf_notices_total', 'kind']],
  ['feature_rejected', ['mjf_source_faults_total', 'source', 'error']],
  ['promise_broken', ['mjf_promises_broken_total']],
  // What is done once more because a crash left open whether it had been done.
  ['step_uncertain', ['mjf_steps_uncertain_total']],
  ['start_uncertain', ['mjf_unit_starts_uncertain_total']],
]);

export interface Measures {
  /** Before what the heart wants is carried out; `before` is what was shown until now. */
  stepped(before: Publication | null, result: Pick<StepResult<unknown>, 'snapshot' | 'effects'>, nowMs: number): void;
  told(effect: Extract<Effect, { readonly type: 'log' }>): void;
  /** What the agent itself has carried out comes back to the heart. */
  heard(input: Input): void;
  /** What `exec` has delivered of one payload; `row` as it was until now. It may say so twice, also at once. */
  acknowledged(results: readonly StepResultReport[], row: SnapshotPayload | undefined): void;
  looked(nowMono: number): void;
}

export function openMeasures({ count, observe }: Pick<Metrics, 'count' | 'observe'>): Measures {
  /** When steps that are on their way were due, UNIX ms. */
  const due = new Map<string, number>();
  /** Since when the present deadline is known. */
  let knownMs = 0;
  let lookedMono: number | null = null;

  const late = (report: StepResultReport, dueMs: number): void => {
    if (report.outcome === 'delivered')
      observe('mjf_step_lateness_seconds', Math.max(0, report.at.wall - dueMs) / 1000);
  };

  return {
    stepped(before, { snapshot, effects }, nowMs) {
      if ((before?.snapshot.stopAtMs ?? null) !== snapshot.stopAtMs) knownMs = nowMs;
      const { running, stopping } = snapshot.payloads;
      if (before?.snapshot.overdue === false && snapshot.overdue && running + stopping > 0)
        count('mjf_deadline_missed_total', {}, running + stopping);
      const signals = effects.filter((effect) => effect.type === 'signal');
      if (signals.length === 0) return;
      const rows = new Map(before?.payloads.map((row) => [row.spec.id, row]));
      for (const { payload, step } of signals) {
        const planned = rows.get(payload.id)?.plan.find((each) => each.step.index === step.index);
        // A plan that has only now become known, or nearer, could not be kept sooner.
        const dueMs = planned?.state === 'planned' ? Math.min(planned.dueMs, nowMs) : nowMs;
        due.set(keyOf(payload.id, step), dueMs);
      }
    },
    told({ event, fields }) {
      const counted = COUNTED.get(event);
      if (counted === undefined) return;
      const [metric, ...labels] = counted;
      count(metric, Object.fromEntries(labels.map((label) => [label, String(fields[label])])));
    },
    heard(input) {
      if (input.type !== 'steps_done') return;
      for (const report of input.results) {
        const key = keyOf(report.id, report.step);
        const dueMs = due.get(key);
        due.delete(key);
        if (dueMs !== undefined) late(report, dueMs);
      }
    },
    acknowledged(results, row) {
      const told = new Set<string>();
      for (const report of results) {
        const { signal, index, episode } = report.step;
        const key = keyOf(report.id, report.step);
        if (told.has(key)) continue;
        told.add(key);
        const planned = row?.plan.find(({ step }) => step.index === index && step.episode === episode);
        if (row === undefined || planned?.step.signal !== signal) continue;
        if (planned.state !== 'planned' && planned.state !== 'pending') continue;
        count('mjf_signals_total', { signal, outcome: report.outcome });
        late(report, Math.max(planned.dueMs, knownMs, row.spec.registeredMs));
      }
    },
    looked(nowMono) {
      if (lookedMono !== null) observe('mjf_loop_delay_seconds', Math.max(0, nowMono - lookedMono - TICK_MS) / 1000);
      lookedMono = nowMono;
    },
  };
}

const keyOf = (id: string, { episode, index }: StepResultReport['step']): string => `${id}/${episode}/${index}`;
