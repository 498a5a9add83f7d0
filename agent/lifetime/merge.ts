/** One value per key out of many sources (SEMANTICS S2). */
import { SHUTDOWN_KEYS } from './features.ts';
import { type Held, liveValue } from './held.ts';
import { isStale, type NoticeInForce } from './notice.ts';
import type { SourceRecord, State } from './state.ts';
import { type Instant, type Side, type SnapshotFeature, SOURCE_RANKS, type SourceRank } from './types.ts';

const GRACE_KEYS: Readonly<Record<Side, string>> = { machine: 'grace_secs', job: 'grace_secs_job' };

/**
 * The features of one side as published: the strongest source that has the key wins, however stale (S2.1); the shutdown
 * key is the deadline in force (S2.4) or absent; `grace_secs` is the smallest promise of the host.
 */
export function mergeFeatures(
  state: State,
  side: Side,
  decisive: NoticeInForce | undefined,
  publishShutdown: boolean,
  now: Instant,
): Readonly<Record<string, SnapshotFeature>> {
  const merged = new Map<string, SnapshotFeature>();
  for (const { record, keys } of layers(state, side)) {
    const stale = isStale(state, record, now);
    for (const [key, held] of Object.entries(keys)) {
      if (held.goneMs !== null || merged.has(key) || key === SHUTDOWN_KEYS[side]) continue;
      merged.set(key, { value: held.value, source: record.info.name, sinceMs: held.sinceMs, stale });
    }
  }
  const grace = smallestPromise(state, side, now);
  if (grace) merged.set(GRACE_KEYS[side], grace);
  if (decisive?.deadlineMs != null && publishShutdown) {
    const value = String(Math.floor(decisive.deadlineMs / 1000));
    merged.set(SHUTDOWN_KEYS[side], {
      value,
      source: decisive.source,
      sinceMs: decisive.sinceMs,
      stale: decisive.stale,
    });
  }
  return Object.fromEntries([...merged].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Sources by precedence; among equals the order of the configuration. */
export function byRank(state: State): readonly SourceRecord[] {
  return Object.values(state.sources).sort(
    (a, b) => SOURCE_RANKS.indexOf(a.info.rank) - SOURCE_RANKS.indexOf(b.info.rank),
  );
}

interface Layer {
  readonly rank: SourceRank;
  readonly record: SourceRecord;
  readonly keys: Readonly<Record<string, Held<string>>>;
}

/** What every source states and what follows from what it is, strongest first (S2.1). */
function layers(state: State, side: Side): readonly Layer[] {
  const records = byRank(state);
  const stated = records.map((record): Layer => ({ rank: record.info.rank, record, keys: record.keys[side] }));
  const derived = records.map((record): Layer => ({ rank: 'derived', record, keys: record.derived[side] }));
  return [...stated, ...derived].sort((a, b) => SOURCE_RANKS.indexOf(a.rank) - SOURCE_RANKS.indexOf(b.rank));
}

/** S2.1: a platform's minimum notice (rank `derived`) is no promise and counts only where nobody promises. */
function smallestPromise(state: State, side: Side, now: Instant): SnapshotFeature | undefined {
  let best: SnapshotFeature | undefined;
  for (const { rank, record, keys } of layers(state, side)) {
    const held = keys[GRACE_KEYS[side]];
    const value = liveValue(held);
    if (held === undefined || value === undefined) continue;
    if (best !== undefined && (rank === 'derived' || rank === 'self')) break;
    if (best === undefined || Number(value) < Number(best.value)) {
      best = { value, source: record.info.name, sinceMs: held.sinceMs, stale: isStale(state, record, now) };
    }
  }
  return best;
}
