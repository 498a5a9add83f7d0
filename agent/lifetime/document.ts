/**
 * The Snapshot as documented JSON (DESIGN.md, "Interfaces"): whole UNIX seconds, absolute instants only. One function, so
 * that file, GET and stream cannot disagree. Times are rounded down: nobody is told to have time that is not there.
 */
import type { MachineAnswer, Snapshot, SnapshotFeature } from './types.ts';

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
    can_terminate: canTerminate === null ? null : answer(canTerminate),
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

/** The same answer as keys of a directory (like HSF-TN-2016-02: bare numbers, absent is absent); none where there is no answer. */
export function jobStatus({ canTerminate }: Snapshot): Readonly<Record<string, string>> {
  if (canTerminate === null) return {};
  const { now, at, must_not_until: until, progress } = answer(canTerminate);
  const numbers = { can_terminate_at: at, must_not_terminate_until: until, progress };
  const known = Object.entries(numbers).flatMap(([key, value]) => (value === null ? [] : [[key, String(value)]]));
  return { can_terminate: now ? '1' : '0', ...Object.fromEntries(known) };
}

/** Rounded up, unlike everything else here: nobody is told that work is safe before it is. */
function answer({ now, atMs, mustNotUntilMs, progress }: MachineAnswer) {
  const up = (ms: number | null): number | null => (ms === null ? null : Math.ceil(ms / 1000));
  return { now, at: up(atMs), must_not_until: up(mustNotUntilMs), progress };
}

function features(side: Readonly<Record<string, SnapshotFeature>>): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    Object.entries(side).map(([key, { value, source, sinceMs, stale }]) => [
      key,
      { value, source, since: secs(sinceMs), stale },
    ]),
  );
}
