/** All notices in one list, and the one deadline that counts (SEMANTICS S1). */
import { SHUTDOWN_KEYS } from './features.ts';
import { type Held, isRemembered, type KnownNotice, liveValue } from './held.ts';
import { clockOffsetMs } from './observe.ts';
import type { SourceRecord, State } from './state.ts';
import { DEADLINE_KINDS, type Instant, type SnapshotNotice } from './types.ts';

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

/** One that has a time. */
export type TimedNotice = NoticeInForce & { readonly planMs: number };

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
    for (const { key, held, ms, reckoned } of keyDeadlines(state, record)) {
      const promiseMs = promiseFor(record, key);
      const late =
        held.witnessed &&
        promiseMs !== undefined &&
        ms - context.offsetMs - held.sinceMs < promiseMs - PROMISE_TOLERANCE_MS - record.info.pollMs;
      const value: KnownNotice = {
        kind: 'shutdown',
        deadlineMs: ms,
        reason: key,
        ...(reckoned && { reckoned }),
      };
      add(list, context, key, { ...held, value }, late);
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
  held: Held<KnownNotice>,
  brokenPromise = false,
): void {
  if (held.goneMs !== null) return;
  const { state, source } = context;
  const { value } = held;
  const kind = state.policy.kindOverrides[value.kind] ?? value.kind;
  const id = `${source}/${key}`;
  // What was counted on our clock must not be moved by how far the host's differs.
  const offsetMs = value.reckoned ? 0 : context.offsetMs;
  const planMs = value.deadlineMs === null ? null : value.deadlineMs - offsetMs;
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
    // From another boot, and its source has just begun to say that it is gone: no reason to signal anybody.
    confirmed: context.confirmed && held.unheard !== true,
    expired: held.dismissed === true || (DEADLINE_KINDS.has(kind) && planMs !== null && planMs < state.bootWallMs),
    ignored: state.operator.ignored.includes(id),
    brokenPromise,
    ...(value.awaits && { awaits: value.awaits }),
  });
}

/** S3.2: what the source promises for its own shutdown time; each side has its key. */
function promiseFor({ keys: { machine, job } }: SourceRecord, key: string): number | undefined {
  if (key === WALL_LIMIT) return undefined;
  const ofMachine = liveValue(machine['grace_secs']);
  const ofJob = liveValue(job['grace_secs_job']);
  const secs = key === SHUTDOWN_KEYS.job ? (ofJob ?? ofMachine) : (ofMachine ?? ofJob);
  return secs === undefined ? undefined : Number(secs) * 1000;
}

interface KeyDeadline {
  readonly key: string;
  readonly held: Held<string>;
  readonly ms: number;
  /** Counted from what this machine's clock said. */
  readonly reckoned?: true;
}

/** The notice that `wall_limit_secs` means; `jobstart_secs` has its part in it, so the key's own name would mislead. */
const WALL_LIMIT = 'wall_limit';

/** The times that a source's keys mean (S1.2). */
function keyDeadlines(state: State, record: SourceRecord): readonly KeyDeadline[] {
  const { machine, job } = record.keys;
  const result: KeyDeadline[] = [];
  const shutdowntime = machine[SHUTDOWN_KEYS.machine];
  if (shutdowntime?.goneMs === null)
    result.push({ key: SHUTDOWN_KEYS.machine, held: shutdowntime, ms: Number(shutdowntime.value) * 1000 });
  const shutdowntimeJob = job[SHUTDOWN_KEYS.job];
  if (shutdowntimeJob?.goneMs === null)
    result.push({ key: SHUTDOWN_KEYS.job, held: shutdowntimeJob, ms: Number(shutdowntimeJob.value) * 1000 });
  const limit = job['wall_limit_secs'];
  if (limit?.goneMs === null) {
    const limitMs = Number(limit.value) * 1000;
    // The same source's start of the job; else the first boot of this machine, which is what the host started.
    const start = liveValue(job['jobstart_secs']);
    if (start !== undefined) result.push({ key: WALL_LIMIT, held: limit, ms: Number(start) * 1000 + limitMs });
    else {
      const ms = Math.floor(state.firstBootMs / 1000) * 1000 + limitMs;
      result.push({ key: WALL_LIMIT, held: limit, ms, reckoned: true });
    }
  }
  return result;
}

/** Ids of what is in force or was until so recently that its return would be the same notice (S1.6). */
export function rememberedIds(state: State, now: Instant): ReadonlySet<string> {
  const ids = new Set<string>();
  const remember = (source: string, held: Readonly<Record<string, Held<unknown>>>): void => {
    for (const [id, each] of Object.entries(held)) if (isRemembered(each, now)) ids.add(`${source}/${id}`);
  };
  for (const record of Object.values(state.sources)) {
    const { name } = record.info;
    remember(name, record.keys.machine);
    remember(name, record.keys.job);
    remember(name, record.notices);
    if (ids.has(`${name}/wall_limit_secs`)) ids.add(`${name}/${WALL_LIMIT}`);
  }
  remember('operator', state.operator.notices);
  return ids;
}

/** Whether a notice counts at all: neither expired nor overridden. */
export const counts = (notice: SnapshotNotice): boolean => !notice.expired && !notice.ignored;

/** The notices that may set the deadline, earliest first. */
export function deadlineNotices(notices: readonly NoticeInForce[]): readonly TimedNotice[] {
  return notices.filter(
    (notice): notice is TimedNotice => counts(notice) && notice.planMs !== null && DEADLINE_KINDS.has(notice.kind),
  );
}

/** The notice whose time is the deadline (earliest wins, S1.2), or undefined when none is in force. */
export function decisiveNotice(notices: readonly NoticeInForce[]): TimedNotice | undefined {
  return deadlineNotices(notices)[0];
}

/** Notices that make the machine drain without a deadline (S1.1). */
export function drainNotices(notices: readonly NoticeInForce[]): readonly NoticeInForce[] {
  return notices.filter((notice) => counts(notice) && notice.kind === 'drain');
}
