/** A payload as its owner and the operator see it (S5.5), and the heart's words made from what they send. */
import path from 'node:path';
import { durationMs, durationText, isDuration } from '../../duration.ts';
import { anchorIndex, defaultReceiver } from '../../lifetime/steps.ts';
import {
  type EscalationStep,
  hookOf,
  type PayloadChange,
  type PayloadSpec,
  type ProcessRef,
  type SnapshotPayload,
  type StepReceiver,
} from '../../lifetime/types.ts';
import { etagOf } from '../etag.ts';
import type { HttpContext } from './context.ts';
import { readable } from './identify-process.ts';
import { secs } from './lifetime.ts';
import { answerAfter, answerRow } from './payload-answer.ts';
import type { ChangeBody } from './payload-schema.ts';

/**
 * The row and its ETag. The command's name and the containment are read now and stand outside the tag: a process may rename
 * itself or leave its group at any time.
 */
export function payloadRow(payload: SnapshotPayload, context: HttpContext) {
  const { spec } = payload;
  const { target } = spec;
  const process = target.kind === 'process' ? target : null;
  const stable = {
    id: spec.id,
    name: spec.name,
    uid: spec.uid,
    target: target.kind,
    pid: process?.leader.pid ?? null,
    group: process?.group ?? false,
    unit: target.kind === 'unit' ? target.unit : null,
    cgroup: target.kind === 'unit' ? target.cgroup : target.kind === 'cgroup' ? target.path : null,
    origin: spec.origin ?? null,
    deliverer_pid: spec.deliverer?.pid ?? null,
    state: payload.state,
    deadline: secs(payload.deadlineMs),
    stop_at: secs(payload.stopAtMs),
    grace_secs: leadSecs(spec, context.port.publication().snapshot.stopGraceSecs),
    steps: stepRows(payload),
    registered: secs(spec.registeredMs),
    ...answerRow(spec.canTerminate),
    final_word: spec.word ?? null,
    limits: spec.limits ?? {},
    episode: payload.episode,
    view: view(spec.token, context),
  };
  return {
    etag: etagOf(JSON.stringify(stable)),
    row: () => ({
      ...stable,
      command: process === null ? null : commandOf(process.leader, context.procRoot),
      containment: context.port.containment(spec.id),
    }),
  };
}

function commandOf(leader: ProcessRef, procRoot: string): string | null {
  const process = readable(leader.pid, procRoot);
  return process?.startTicks === leader.startTicks ? process.comm : null;
}

/** As the heart counts it: a unit that may take longer to stop than others get has that time. */
function leadSecs({ graceMs, target }: PayloadSpec, stopGraceSecs: number): number {
  if (graceMs !== undefined) return graceMs / 1000;
  return target.kind === 'unit' ? Math.max(stopGraceSecs, (target.stopTimeoutMs ?? 0) / 1000) : stopGraceSecs;
}

/** What is planned; without a deadline there are no instants yet, only the steps as they are configured. */
function stepRows({ spec, plan, steps }: SnapshotPayload) {
  if (plan.length > 0) {
    return plan.map(({ step, to, at, dueMs, state }) => ({
      index: step.index,
      at: atText(at),
      ...actionOf(step.signal, to),
      due: secs(dueMs),
      state,
    }));
  }
  return steps.map(({ at, signal, to }, index) => ({
    index,
    at: atText(at),
    ...actionOf(signal, to ?? defaultReceiver(spec, signal, index === anchorIndex(steps))),
    due: null,
    state: 'planned',
  }));
}

function actionOf(signal: string, to: StepReceiver) {
  const hook = hookOf(signal);
  return hook === null ? { signal, hook, to } : { signal: null, hook, to: null };
}

function view(token: string | undefined, { runtimeDir, baseUrl }: HttpContext) {
  if (token === undefined) return null;
  const files = path.join(runtimeDir, 'views', token);
  const base = baseUrl();
  const url = (side: string) => (base === null ? null : `${base}/p/${token}/${side}`);
  return {
    machinefeatures_path: path.join(files, 'machinefeatures'),
    jobfeatures_path: path.join(files, 'jobfeatures'),
    machinefeatures_url: url('machinefeatures'),
    jobfeatures_url: url('jobfeatures'),
  };
}

function atText(at: EscalationStep['at']): string {
  return at === 'grace' ? at : durationText(at);
}

/** The changeable part of a registration but its target, in the heart's units. `before`: what it has said of its own end. */
export function changeOf(
  body: Omit<ChangeBody, 'target'>,
  before: PayloadSpec['canTerminate'],
  nowMs: number,
): Omit<PayloadChange, 'target'> {
  const canTerminate = answerAfter(before, body, nowMs);
  return {
    ...(body.name !== undefined && { name: body.name }),
    ...(body.grace_secs !== undefined && { graceMs: body.grace_secs * 1000 }),
    ...(body.steps !== undefined && { steps: body.steps.map(stepOf) }),
    ...(body.deadline !== undefined && { deadlineMs: Math.round(body.deadline * 1000) }),
    ...(body.limits !== undefined && { limits: limitsOf(body.limits) }),
    ...(canTerminate !== undefined && { canTerminate }),
  };
}

function stepOf({ at, signal = '', to }: NonNullable<ChangeBody['steps']>[number]): EscalationStep {
  // The pattern of the schema let only durations through, `checkSteps` only signals.
  const when = at === 'grace' ? at : isDuration(at) ? durationMs(at) : 'grace';
  return to === undefined ? { at: when, signal } : { at: when, signal, to };
}

function limitsOf(limits: NonNullable<ChangeBody['limits']>): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(limits).map(([key, value]) => [key, String(value)]));
}
