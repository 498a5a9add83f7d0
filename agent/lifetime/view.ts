/** A payload's own job features: derived from the machine's and never more generous (DESIGN.md, "views"). */
import { SHUTDOWN_KEYS } from './features.ts';
import { ownDeadline } from './steps.ts';
import type { Snapshot, SnapshotPayload } from './types.ts';

/** Keys that a registration may bring; of numeric ones the smaller counts, an identifier is the payload's own. */
export const LIMIT_KEYS = [
  'allocated_cpu',
  'wall_limit_secs',
  'cpu_limit_secs',
  'max_rss_bytes',
  'scratch_limit_bytes',
  'job_id',
] as const;

/** Ratings of all the job's processors together: a payload with fewer of them has less. */
const RATING_KEYS = ['hs06_job', 'hepscore23_job'] as const;

export function viewOf(snapshot: Snapshot, payload: SnapshotPayload): Readonly<Record<string, string>> {
  const view: Record<string, string> = {};
  for (const [key, feature] of Object.entries(snapshot.job)) view[key] = feature.value;
  const limits = payload.spec.limits ?? {};
  scaleRatings(view, limits['allocated_cpu']);
  for (const key of LIMIT_KEYS) {
    const own = limits[key];
    if (own === undefined) continue;
    const machine = view[key];
    view[key] = key === 'job_id' || machine === undefined || Number(own) < Number(machine) ? own : machine;
  }
  // Its wall limit counts from its own start, not from the machine's.
  if (limits['wall_limit_secs'] !== undefined)
    view['jobstart_secs'] = String(Math.floor(payload.spec.registeredMs / 1000));
  const own = ownDeadline(payload.spec);
  if (own !== undefined) {
    // Also where the machine's time is not published yet (`[publish] shutdown_keys`): nobody is promised more than there is.
    const earliest = Math.min(own, snapshot.deadlineMs ?? Number.POSITIVE_INFINITY);
    view[SHUTDOWN_KEYS.job] = String(Math.floor(earliest / 1000));
  }
  return view;
}

/** In proportion to the processors; without knowing of how many the rating speaks it would promise too much and is left out. */
function scaleRatings(view: Record<string, string>, ownCpu: string | undefined): void {
  if (ownCpu === undefined) return;
  const share = Number(ownCpu) / Number(view['allocated_cpu']);
  for (const key of RATING_KEYS) {
    const rating = Number(view[key]);
    if (view[key] === undefined || share >= 1) continue;
    if (Number.isFinite(share) && Number.isFinite(rating)) view[key] = String(Number((rating * share).toFixed(2)));
    else delete view[key];
  }
}
