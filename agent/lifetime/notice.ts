/** All notices in one list, and the one deadline that counts (SEMANTICS S1). */
import { type Held, liveValue } from './held.ts';
import { clockOffsetMs } from './observe.ts';
import type { SourceRecord, State } from './state.ts';
import type { Instant, NoticeKind, SnapshotNotice, StatedNotice } from './types.ts';

const DEADLINE_KINDS: ReadonlySet<NoticeKind> = new Set<NoticeKind>([
  'terminate',
  'stop',
  'shutdown',
  'reboot',
  'redeploy',
]);

/** S1.7: a source is stale when no good answer came for this many polls … */
const STALE_AFTER_POLLS = 3;
/** … and at least for this long. */
const STALE_AT_LEAST_MS = 30_000;
/** A host's announcement reaches us one poll late, and clocks differ a little: below this no promise is called broken. */
const PROMISE_TOLERANCE_MS = 5_000;

/** A notice with what planning needs beyond what is shown. */
export interface NoticeInForce extends SnapshotNotice {
  /** The deadline on this machine's clock (S4.3). */
  readonly planMs: number | null;
  /** Its source was heard in this boot (S4.1); signals wait for that. */
  readonly confirmed: boolean;
  /** Since when this very time stands. */
  readonly sinceMs: number;
}

/** How long after its last good answer a source is stale, ms; Infinity for what is read once per boot. */
export const staleAfterMs = (record: SourceRecord): number =>
  record.info.pollMs === 0
    ? Number.POSITIVE_INFINITY
    : Math.max(STALE_AFTER_POLLS * record.info.pollMs, STALE_AT_LEAST_MS);

/** S1.7: it had something to say once and has not said anything good for too long. Marks values, never times. */
export function isStale(state: State, record: SourceRecord, now: Instant): boolean {
  if (!record.everGood) return false;
  const heard = state.heard[record.info.name];
  // One that was restored and fails from the first moment on is stale too, but gets its time to answer first.
  return heard !== undefined && now.mono - heard >= staleAfterMs(record);
}

/** Every notice that is not cleared, from every source and the operator, earliest deadline first, then by id. */
export function collectNotices(state: State, now: Instant): readonly NoticeInForce[] {
  const list: NoticeInForce[] = [];
  for (const record of Object.values(state.sources)) {
    const { name } = record.info;
    const context: Context = {
      state,
      source: name,
      stale: isStale(state, record, now),
      confirmed: record.confirmed,
      offsetMs: clockOffsetMs(record),
    };
    for (const [id, held] of Object.entries(record.notices)) add(list, context, id, held);
    for (const [key, held, ms] of keyDeadlines(state, record)) {
      const promise =
        Number(
          liveValue(record.keys.machine['grace_secs']) ?? liveValue(record.keys.job['grace_secs_job']) ?? Number.NaN,
        ) * 1000;
      const late =
        held.witnessed &&
        key !== 'wall_limit' &&
        ms - held.sinceMs < promise - PROMISE_TOLERANCE_MS - record.info.pollMs;
      add(list, context, key, { ...held, value: { kind: 'shutdown', deadlineMs: ms, reason: key } }, late);
    }
  }
  const operator: Context = { state, source: 'operator', stale: false, confirmed: true, offsetMs: 0 };
  for (const [id, held] of Object.entries(state.operator.notices)) add(list, operator, id, held);
  return list.sort(
    (a, b) => (a.planMs ?? Number.POSITIVE_INFINITY) - (b.planMs ?? Number.POSITIVE_INFINITY) || (a.id < b.id ? -1 : 1),
  );
}

interface Context {
  readonly state: State;
  readonly source: string;
  readonly stale: boolean;
  readonly confirmed: boolean;
  readonly offsetMs: number;
}

function add(
  list: NoticeInForce[],
  context: Context,
  key: string,
  held: Held<StatedNotice>,
  brokenPromise = false,
): void {
  if (held.goneMs !== null) return;
  const { state, source } = context;
  const { value } = held;
  const kind = state.policy.kindOverrides[value.kind] ?? value.kind;
  const id = `${source}/${key}`;
  const planMs = value.deadlineMs === null ? null : value.deadlineMs - context.offsetMs;
  list.push({
    id,
    source,
    kind,
    deadlineMs: value.deadlineMs,
    planMs,
    reason: value.reason,
    firstSeenMs: held.firstSeenMs,
    sinceMs: held.sinceMs,
    stale: context.stale,
    confirmed: context.confirmed,
    expired: held.dismissed === true || (DEADLINE_KINDS.has(kind) && planMs !== null && planMs < state.bootWallMs),
    ignored: state.operator.ignored.includes(id),
    brokenPromise,
  });
}

/** The times that a source's keys mean (S1.2), as `[name, held, deadline in ms]`. */
function keyDeadlines(state: State, record: SourceRecord): [string, Held<string>, number][] {
  const { machine, job } = record.keys;
  const result: [string, Held<string>, number][] = [];
  const shutdowntime = machine['shutdowntime'];
  if (shutdowntime?.goneMs === null) result.push(['shutdowntime', shutdowntime, Number(shutdowntime.value) * 1000]);
  const shutdowntimeJob = job['shutdowntime_job'];
  if (shutdowntimeJob?.goneMs === null)
    result.push(['shutdowntime_job', shutdowntimeJob, Number(shutdowntimeJob.value) * 1000]);
  const limit = job['wall_limit_secs'];
  if (limit?.goneMs === null) {
    // The same source's start of the job; else the first boot of this machine, which is what the host started.
    const start = liveValue(job['jobstart_secs']);
    const startMs = start === undefined ? Math.floor(state.firstBootMs / 1000) * 1000 : Number(start) * 1000;
    result.push(['wall_limit', limit, startMs + Number(limit.value) * 1000]);
  }
  return result;
}

/** Whether a notice counts at all: neither expired nor overridden. */
export const counts = (notice: SnapshotNotice): boolean => !notice.expired && !notice.ignored;

/** The notice whose time is the deadline (earliest wins, S1.2), or undefined when none is in force. */
export function decisiveNotice(notices: readonly NoticeInForce[]): NoticeInForce | undefined {
  return notices.find((notice) => counts(notice) && notice.planMs !== null && DEADLINE_KINDS.has(notice.kind));
}

/** Notices that make the machine drain without a deadline, by the time from which on they do (null = at once). */
export function drainNotices(notices: readonly NoticeInForce[]): readonly NoticeInForce[] {
  return notices.filter((notice) => counts(notice) && notice.kind === 'drain');
}
