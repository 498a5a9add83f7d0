/**
 * The Snapshot as documented JSON (DESIGN.md, "Interfaces"): whole UNIX seconds, absolute instants only. One function, so
 * that file, GET and stream cannot disagree. Times are rounded down: nobody is told to have time that is not there.
 */
import type { Snapshot, SnapshotFeature } from './types.ts';

const secs = (ms: number | null): number | null => (ms === null ? null : Math.floor(ms / 1000));

export function lifetimeDocument(snapshot: Snapshot): Readonly<Record<string, unknown>> {
  const { canTerminate } = snapshot;
  return {
    phase: snapshot.phase,
    deadline: secs(snapshot.deadlineMs),
    grace_secs: snapshot.graceSecs,
    drain_at: secs(snapshot.drainAtMs),
    stop_at: secs(snapshot.stopAtMs),
    stop_grace_secs: snapshot.stopGraceSecs,
    reason: snapshot.reason,
    overdue: snapshot.overdue,
    next_change: secs(snapshot.nextChangeMs),
    termination_allowed: snapshot.terminationAllowed,
    can_terminate: canTerminate === null ? null : { now: canTerminate.now, at: secs(canTerminate.atMs) },
    notices: snapshot.notices.map((notice) => ({
      id: notice.id,
      source: notice.source,
      kind: notice.kind,
      deadline: secs(notice.deadlineMs),
      reason: notice.reason,
      first_seen: secs(notice.firstSeenMs),
      stale: notice.stale,
      ...(notice.expired && { expired: true }),
      ...(notice.ignored && { ignored: true }),
      ...(notice.brokenPromise && { broken_promise: true }),
    })),
    machinefeatures: features(snapshot.machine),
    jobfeatures: features(snapshot.job),
    sources: snapshot.sources.map((source) => ({
      name: source.name,
      state: source.state,
      since: secs(source.sinceMs),
      ...(source.error !== null && { error: source.error }),
      ...(source.clockOffsetSecs !== null && { clock_offset_secs: source.clockOffsetSecs }),
      ...(Object.keys(source.faults).length > 0 && { faults: source.faults }),
    })),
    payloads: snapshot.payloads,
  };
}

function features(side: Readonly<Record<string, SnapshotFeature>>): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    Object.entries(side).map(([key, { value, source, sinceMs, stale }]) => [
      key,
      { value, source, since: secs(sinceMs), stale },
    ]),
  );
}
