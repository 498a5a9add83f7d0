/** What the daemon says of a payload's end, read from a row of `/v1/payloads` or from `/v1/lifetime`. */
import { durationMs, isDuration } from '../duration.ts';
import type { EscalationStep, StatedNotice } from '../lifetime/types.ts';

/** The daemon's plan for this payload. */
export interface DaemonPlan {
  /** UNIX ms; null = no deadline that is to be acted on. */
  readonly deadlineMs: number | null;
  readonly reason: string;
  /** The daemon's `[stop]` as far as the payload states none of its own. */
  readonly graceMs: number | null;
  /** Signals only: the programs among them are run by the daemon, who may. */
  readonly steps: readonly EscalationStep[] | null;
}

/** The deadline as a notice for `exec`'s own heart. */
export const noticeOf = (plan: DaemonPlan): StatedNotice => ({
  kind: 'shutdown',
  deadlineMs: plan.deadlineMs,
  reason: plan.reason,
});

/**
 * null: this is no row. `wallSecs`: the wall limit that `exec` counts itself. Where the row's deadline is nothing but that, it
 * is none here: on the wall clock it is right only until that is set, and a daemon that has died does not move it.
 */
export function planOfRow(body: Buffer, wallSecs?: number): DaemonPlan | null {
  const row = parseObject(body);
  if (typeof row['state'] !== 'string') return null;
  const deadlineMs = milliseconds(row['deadline']);
  const steps = Array.isArray(row['steps']) ? row['steps'].map(stepOf).filter((step) => step !== null) : [];
  return {
    deadlineMs: deadlineMs !== null && deadlineMs === wallLimitEnd(row, wallSecs) ? null : deadlineMs,
    reason: textOf(row['reason']) ?? 'deadline',
    graceMs: milliseconds(row['grace_secs']),
    steps: steps.length > 0 ? steps : null,
  };
}

/** Only while the row has the very limit that we count: its owner may have given it a shorter one since. */
function wallLimitEnd({ limits, registered }: Record<string, unknown>, wallSecs: number | undefined): number | null {
  const limit = (limits as { readonly wall_limit_secs?: unknown } | null | undefined)?.wall_limit_secs;
  const registeredMs = milliseconds(registered);
  if (wallSecs === undefined || Number(limit) !== wallSecs || registeredMs === null) return null;
  return Math.round(registeredMs + wallSecs * 1000);
}

/** null: this is no lifetime document. */
export function planOfLifetime(body: Buffer): DaemonPlan | null {
  const document = parseObject(body);
  if (typeof document['phase'] !== 'string') return null;
  return {
    deadlineMs: milliseconds(document['deadline']),
    reason: textOf(document['reason']) ?? 'deadline',
    graceMs: milliseconds(document['stop_grace_secs']),
    steps: null,
  };
}

/** The members of a JSON object; none for anything else. */
export function parseObject(body: Buffer): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(body.toString());
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

export const textOf = (value: unknown): string | null => (typeof value === 'string' ? value : null);

/** null for what is no step, and for hooks: they are none of `exec`'s. */
function stepOf(value: unknown): EscalationStep | null {
  if (typeof value !== 'object' || value === null) return null;
  const { at, signal, to } = value as Record<string, unknown>;
  if (typeof signal !== 'string' || !signal.startsWith('SIG') || typeof at !== 'string') return null;
  if (at !== 'grace' && !isDuration(at)) return null;
  return {
    at: at === 'grace' ? 'grace' : durationMs(at),
    signal,
    ...((to === 'leader' || to === 'group' || to === 'all') && { to }),
  };
}

const milliseconds = (secs: unknown): number | null => (typeof secs === 'number' ? Math.round(secs * 1000) : null);
