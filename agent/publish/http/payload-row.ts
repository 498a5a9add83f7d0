/** A payload as its owner and the operator see it (S5.5), and the heart's words made from what they send. */
import path from 'node:path';
import { durationMs, durationText, isDuration } from '../../duration.ts';
import type { CanTerminate, EscalationStep, PayloadChange, SnapshotPayload } from '../../lifetime/types.ts';
import { etagOf } from '../etag.ts';
import type { HttpContext } from './context.ts';
import { readable } from './identify.ts';
import { secs } from './lifetime.ts';
import type { ChangeBody } from './payload-schema.ts';

/** The row and its ETag. The command name is read now and stands outside the tag: a process may rename itself at any time. */
export function payloadRow(payload: SnapshotPayload, context: HttpContext) {
  const { spec } = payload;
  const { leader } = spec.target;
  const stable = {
    id: spec.id,
    name: spec.name,
    uid: spec.uid,
    pid: leader.pid,
    group: spec.target.group,
    deliverer_pid: spec.deliverer?.pid ?? null,
    state: payload.state,
    deadline: secs(payload.deadlineMs),
    stop_at: secs(payload.stopAtMs),
    grace_secs: secs(spec.graceMs ?? null) ?? context.port.publication().snapshot.stopGraceSecs,
    steps: stepRows(payload),
    registered: secs(spec.registeredMs),
    can_terminate: spec.canTerminate ? { now: spec.canTerminate.now, at: secs(spec.canTerminate.atMs) } : null,
    limits: spec.limits ?? {},
    episode: payload.episode,
    view: view(spec.token, context),
  };
  return {
    etag: etagOf(JSON.stringify(stable)),
    row: () => {
      const process = readable(leader.pid, context.procRoot);
      return { ...stable, command: process?.startTicks === leader.startTicks ? process.comm : null };
    },
  };
}

/** What is planned; without a deadline there are no instants yet, only the steps as they are configured. */
function stepRows({ spec, plan, steps }: SnapshotPayload) {
  if (plan.length > 0) {
    return plan.map(({ step, to, at, dueMs, state }) => ({
      index: step.index,
      at: atText(at),
      signal: step.signal,
      to,
      due: secs(dueMs),
      state,
    }));
  }
  const fallback = spec.target.group ? 'group' : 'leader';
  return steps.map(({ at, signal, to }, index) => ({
    index,
    at: atText(at),
    signal,
    to: to ?? (signal === 'SIGKILL' ? 'all' : fallback),
    due: null,
    state: 'planned',
  }));
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

/** The changeable part of a registration, in the heart's units. */
export function changeOf(body: ChangeBody): PayloadChange {
  return {
    ...(body.name !== undefined && { name: body.name }),
    ...(body.grace_secs !== undefined && { graceMs: body.grace_secs * 1000 }),
    ...(body.steps !== undefined && { steps: body.steps.map(stepOf) }),
    ...(body.deadline !== undefined && { deadlineMs: Math.round(body.deadline * 1000) }),
    ...(body.limits !== undefined && { limits: limitsOf(body.limits) }),
    ...(body.can_terminate !== undefined && { canTerminate: canTerminateOf(body.can_terminate) }),
  };
}

function stepOf({ at, signal, to }: NonNullable<ChangeBody['steps']>[number]): EscalationStep {
  // The pattern of the schema let only durations through.
  const when = at === 'grace' ? at : isDuration(at) ? durationMs(at) : 'grace';
  return to === undefined ? { at: when, signal } : { at: when, signal, to };
}

function limitsOf(limits: NonNullable<ChangeBody['limits']>): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(limits).map(([key, value]) => [key, String(value)]));
}

function canTerminateOf({ now, at }: NonNullable<ChangeBody['can_terminate']>): CanTerminate {
  return { now, atMs: at === undefined ? null : Math.round(at * 1000) };
}
