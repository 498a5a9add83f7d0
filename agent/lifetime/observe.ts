/** One observation entered into what is held of its source (SEMANTICS S1.4–S1.6, S4.3). Nothing good is ever lost here. */
import { boundFaults, boundNotices, type Judging } from './bounds.ts';
import { SHUTDOWN_KEYS, translate } from './features.ts';
import { applyReading, type Held, isLive, type KnownNotice, own, pruneGone } from './held.ts';
import { mapValues, type SourceRecord } from './state.ts';
import {
  type Answer,
  type Effect,
  type FeatureReading,
  type Instant,
  type Observation,
  POINTER_NAMES,
  type Reading,
  type Side,
  type SourceRank,
  type StatedNotice,
} from './types.ts';

/** S4.3: a difference below this is jitter and latency. */
export const CLOCK_TOLERANCE_MS = 30_000;
/** S4.3: one strange Date may be a cache's; two running are a clock. */
const CLOCK_RUNS = 2;
/** S1.6: a server or directory that gave so many and suddenly gives none has more likely lost its content than cleared it. */
const ALL_GONE_FROM = 2;

const SIDES: readonly Side[] = ['machine', 'job'];

/**
 * The record after the observation, with what is worth a log line. `confirming` tells that something is missing but not
 * yet cleared, so that the source should be asked again soon.
 */
export function observe(
  record: SourceRecord,
  observation: Observation,
  now: Instant,
  judging: Judging,
): {
  readonly record: SourceRecord;
  readonly effects: readonly Effect[];
  readonly confirming: boolean;
  readonly good: boolean;
} {
  if (observation.outcome === 'answer') return answered(record, observation.answer, now, judging);
  if (observation.outcome === 'no_channel' || observation.partial === undefined)
    return unanswered(record, observation, now);
  return answered(record, observation.partial, now, judging, observation.error);
}

/** `failure`: what matters most in this channel failed; what else was heard counts, but makes it neither fresh nor well. */
function answered(
  record: SourceRecord,
  answer: Answer,
  now: Instant,
  judging: Judging,
  failure?: string,
): ReturnType<typeof observe> {
  const found: Record<string, string> = {};
  const keys = { ...record.keys };
  const channels = { ...record.channels };
  const lost = sourceGone(record, answer);
  const told: boolean[] = [];
  for (const side of SIDES) {
    const reading = answer[side];
    if (reading === undefined) {
      Object.assign(
        found,
        unseenFaults(record, side, () => false),
      );
      continue;
    }
    const read = readSide(record, side, reading, now, lost);
    keys[side] = read.keys;
    if (read.channel !== undefined) channels[side] = read.channel;
    Object.assign(found, read.faults);
    told.push(read.told);
  }
  const { notices: heard, told: toldNotices } = readNotices(record, answer, now, found);
  const { notices, isRefused } = boundNotices(heard, judging);
  const derived = readDerived(record, answer, now);
  if (answer.notices !== undefined) told.push(toldNotices);
  const faults = boundFaults(found, record.faults, (path) => isInForce(path, keys, notices), {
    count: Object.keys(notices).length,
    isRefused,
  });
  // S1.6, "good": an answer of which nothing could be taken keeps a source neither fresh nor confirmed.
  const good = failure === undefined && (told.length === 0 || told.includes(true));
  const state = good ? 'ok' : 'failed';
  const error = good ? null : (failure ?? Object.values(faults)[0] ?? null);
  // Restored in this boot and well as before: a restart of the agent is no news, and the document is what it was.
  const resumed = good && record.state === 'failed' && record.error === null && record.confirmed;
  const next: SourceRecord = {
    ...record,
    state,
    error,
    sinceMs: (record.state === state && record.error === error) || resumed ? record.sinceMs : now.wall,
    everGood: record.everGood || good,
    confirmed: record.confirmed || good,
    channels,
    keys,
    derived,
    ...readPointers(record, answer),
    notices,
    faults: sameFlat(record.faults, faults) ? record.faults : faults,
    clock: readClock(record, answer, now),
  };
  const held = [keys.machine, keys.job, derived.machine, derived.job, notices].flatMap((each) => Object.values(each));
  const confirming = held.some(({ misses }) => misses !== null);
  return { record: keep(record, next), effects: faultLogs(record, next), confirming, good };
}

function unanswered(record: SourceRecord, observation: Exclude<Observation, { outcome: 'answer' }>, now: Instant) {
  // A channel that once answered and is not there any more has failed; only one that never was is absent.
  const state = observation.outcome === 'no_channel' && !record.everGood ? 'absent' : 'failed';
  const error = observation.outcome === 'failed' ? observation.error : record.everGood ? 'no_channel' : null;
  const next: SourceRecord = {
    ...record,
    state,
    error,
    sinceMs: record.state === state && record.error === error ? record.sinceMs : now.wall,
    keys: { machine: mapSame(record.keys.machine, unbroken), job: mapSame(record.keys.job, unbroken) },
    derived: { machine: mapSame(record.derived.machine, unbroken), job: mapSame(record.derived.job, unbroken) },
    notices: mapSame(record.notices, unbroken),
  };
  return { record: keep(record, next), effects: [], confirming: false, good: false };
}

function readSide(record: SourceRecord, side: Side, reading: FeatureReading, now: Instant, lost: boolean) {
  const rank = reading.pointed ? 'platform' : record.info.rank;
  const translated = translate(side, rank, reading.keys);
  const before = record.keys[side];
  const live = Object.keys(before).filter((key) => isLive(before[key]));
  const isSpared = sparing(side, rank, reading);
  for (const key of live) if (!translated.has(key) && !isSpared(key)) translated.set(key, { is: 'absent' });
  const nothing = Object.values(reading.keys).every((value) => value.is === 'absent');
  const allAbsent = live.every((key) => translated.get(key)?.is === 'absent');
  const otherChannel = record.channels[side] !== undefined && record.channels[side] !== reading.channel;
  const allGone = lost || (mayBeLost(record) && live.length >= ALL_GONE_FROM && allAbsent);
  // Another file system stands there now. What it has is taken; what it lacks proves nothing yet, and if it is empty it
  // is most likely the bare mount point.
  if (nothing && live.length > 0 && (otherChannel || allGone)) {
    const code = otherChannel ? 'other_channel' : 'all_gone';
    return {
      keys: mapSame(before, unbroken),
      faults: Object.fromEntries(live.map((key) => [`${side}/${key}`, code])),
      channel: undefined,
      told: false,
    };
  }
  const keys: Record<string, Held<string>> = { ...before };
  const faults = reading.complete ? {} : unseenFaults(record, side, (key) => translated.has(key));
  // The mount that gave the times is gone and the directory beneath has come to light: what lies there is a stray, and as
  // long as it has no earlier time the vanished mount stays the one to compare with.
  const uncovered = otherChannel && live.some(isTimeKey) && isUncovered(record.channels[side] ?? '', reading.channel);
  for (const [key, value] of translated) {
    const held = own(before, key);
    if (uncovered && isTimeKey(key) && isLive(held) && !isEarlier(value, held)) {
      faults[`${side}/${key}`] = 'other_channel';
      if (held !== undefined) keys[key] = unbroken(held);
      continue;
    }
    // Neither a proof of absence nor one of the good answers running that such a proof takes.
    const proof: Reading<string> = otherChannel && value.is === 'absent' ? { is: 'unknown', error: '' } : value;
    const next = applyReading(held, proof, now, { witnessed: wasHeard(record), same: Object.is });
    if (next !== undefined) keys[key] = next;
    if (value.is === 'unknown') faults[`${side}/${key}`] = value.error;
  }
  // Another channel tells something only by what it has: what it lacks proves nothing yet.
  const tells = ({ is }: Reading<string>): boolean => (otherChannel ? is === 'present' : is !== 'unknown');
  const told = translated.size === 0 || [...translated.values()].some(tells);
  return {
    keys: pruneGone(sameFlat(before, keys) ? before : keys, now),
    faults,
    channel: told && !uncovered ? reading.channel : undefined,
    told,
  };
}

/** Of which keys (by today's names) a reading says nothing where it does not mention them. */
function sparing(side: Side, rank: SourceRank, { complete, rest, keys }: FeatureReading): (key: string) => boolean {
  if (complete) return () => false;
  if (rest === undefined) return () => true;
  const names = rest.except.filter((name) => !Object.hasOwn(keys, name));
  const spared = translate(side, rank, Object.fromEntries(names.map((name) => [name, { is: 'unknown', error: '' }])));
  return (key) => spared.has(key);
}

/** From `dev:40@/etc/machinefeatures` to a mount further up: that is what unmounting leaves. A remount has the same place. */
function isUncovered(before: string, now: string): boolean {
  const [from, to] = [before, now].map((channel) => (channel.startsWith('dev:') ? channel.split('@')[1] : undefined));
  if (from === undefined || to === undefined || from === to) return false;
  return from.startsWith(to.endsWith('/') ? to : `${to}/`);
}

/** An earlier time is believed from anybody (S1.2): what is still unclear may only shorten. */
const isEarlier = (value: Reading<string>, held: Held<string> | undefined): boolean =>
  value.is === 'present' && held !== undefined && Number(value.value) <= Number(held.value);

const isTimeKey = (key: string): boolean =>
  key === SHUTDOWN_KEYS.machine || key === SHUTDOWN_KEYS.job || key === 'wall_limit_secs';

/** What an answer did not speak of was not looked at: what was wrong with it still is. */
function unseenFaults(
  record: SourceRecord,
  part: Side | 'notice',
  seen: (key: string) => boolean,
): Record<string, string> {
  const faults = Object.entries(record.faults);
  return Object.fromEntries(
    faults.filter(([path]) => path.startsWith(`${part}/`) && !seen(path.slice(part.length + 1))),
  );
}

/** Whether a fault is of something that is in force, or of a whole part of the source (`notice/@PART`). */
function isInForce(path: string, keys: SourceRecord['keys'], notices: SourceRecord['notices']): boolean {
  const part = path.slice(0, path.indexOf('/'));
  const name = path.slice(part.length + 1);
  if (part === 'notice') return name.startsWith('@') || isLive(own(notices, name));
  return SIDES.some((side) => side === part && isLive(own<Held<unknown>>(keys[side], name)));
}

/** S1.6 speaks of MJF servers and directories; a platform's answers say of each key by itself whether it is there. */
const mayBeLost = (record: SourceRecord): boolean => record.info.rank === 'directory' || record.info.rank === 'mjf';

/** What is new in this answer was not there in one before it, in this boot: it is announced just now. */
const wasHeard = (record: SourceRecord): boolean => record.everGood && record.confirmed;

/** Only good answers *running* may clear. */
const unbroken = <T>(held: Held<T>): Held<T> => (held.misses === null ? held : { ...held, misses: null });

/** Over both sides together: two or more were held, every one was asked for, and none is there. */
function sourceGone(record: SourceRecord, answer: Answer): boolean {
  if (!mayBeLost(record)) return false;
  let held = 0;
  for (const side of SIDES) {
    const live = Object.keys(record.keys[side]).filter((key) => isLive(record.keys[side][key]));
    held += live.length;
    const reading = answer[side];
    if (live.length > 0 && reading === undefined) return false;
    if (reading && Object.values(reading.keys).some((value) => value.is !== 'absent')) return false;
  }
  return held >= ALL_GONE_FROM;
}

function readNotices(record: SourceRecord, answer: Answer, now: Instant, faults: Record<string, string>) {
  const before = record.notices;
  if (answer.notices === undefined) {
    Object.assign(
      faults,
      unseenFaults(record, 'notice', () => false),
    );
    return { notices: before, told: false };
  }
  // Maps: the ids are the host's, and `__proto__` is a fine id.
  const readings = new Map<string, Reading<StatedNotice>>(Object.entries(answer.notices.byId));
  const { complete, rest } = answer.notices;
  for (const id of Object.keys(before))
    if (!readings.has(id) && (complete || (rest && !rest.except.includes(id)))) readings.set(id, { is: 'absent' });
  if (!complete)
    Object.assign(
      faults,
      unseenFaults(record, 'notice', (id) => readings.has(id)),
    );
  const after = new Map(Object.entries(before));
  for (const [id, reading] of readings) {
    const held = applyReading<KnownNotice>(after.get(id), reading, now, {
      witnessed: wasHeard(record),
      same: sameNotice,
      update: (old, next, wasGone) => updateNotice(old, next, wasGone, now),
    });
    if (held !== undefined) after.set(id, withTime(held));
    if (reading.is === 'unknown') faults[`notice/${id}`] = reading.error;
  }
  const notices = Object.fromEntries(after);
  const told = readings.size === 0 || [...readings.values()].some((reading) => reading.is !== 'unknown');
  return { notices: pruneGone(sameFlat(before, notices) ? before : notices, now), told };
}

/** S2.1: kept apart from what the host states, so that neither can hide the other's coming and going. */
function readDerived(record: SourceRecord, { derived }: Answer, now: Instant): SourceRecord['derived'] {
  if (derived === undefined) return record.derived;
  const next = { ...record.derived };
  for (const side of SIDES) {
    const keys: Record<string, Held<string>> = { ...record.derived[side] };
    for (const [key, reading] of translate(side, record.info.rank, derived[side] ?? {})) {
      const held = applyReading(own(keys, key), reading, now, { witnessed: wasHeard(record), same: Object.is });
      if (held !== undefined) keys[key] = held;
    }
    next[side] = pruneGone(sameFlat(record.derived[side], keys) ? record.derived[side] : keys, now);
  }
  return next;
}

/**
 * mjf.md, "Locations": the metadata keys count as they were first read; after a reboot, as they are read again. Each for
 * itself: they may come one by one, and long after the source's first answer.
 */
function readPointers(
  record: SourceRecord,
  { pointers = {} }: Answer,
): Pick<SourceRecord, 'pointers' | 'pointersBefore'> {
  const { pointers: known, pointersBefore: before } = record;
  const heard = POINTER_NAMES.filter((name) => pointers[name] !== undefined);
  const taken = heard.filter((name) => known[name] === undefined || before.includes(name));
  if (taken.length === 0) return { pointers: known, pointersBefore: before };
  const next = { ...known, ...Object.fromEntries(taken.map((name) => [name, pointers[name]])) };
  return {
    pointers: sameFlat(known, next) ? known : next,
    pointersBefore: before.filter((name) => !taken.includes(name)),
  };
}

function withTime(held: Held<KnownNotice>): Held<KnownNotice> {
  const value = timed(held.value, held.firstSeenMs);
  return value === held.value ? held : { ...held, value };
}

/** S1.3: certain but without a time → first seen + what the platform guarantees. */
function timed(notice: KnownNotice, firstSeenMs: number): KnownNotice {
  if (notice.deadlineMs !== null || notice.minimumNoticeMs === undefined) return notice;
  return { ...notice, deadlineMs: firstSeenMs + notice.minimumNoticeMs, reckoned: true };
}

function updateNotice(old: KnownNotice, next: StatedNotice, wasGone: boolean, now: Instant): KnownNotice {
  // A notice that was really cleared, whose old time has passed meanwhile, would kill at once if the old time ruled.
  const forgotten = wasGone && old.deadlineMs !== null && old.deadlineMs <= now.wall;
  if (forgotten || old.deadlineMs === null) return timed(next, now.wall);
  const asBefore = { ...next, deadlineMs: old.deadlineMs, ...(old.reckoned && { reckoned: old.reckoned }) };
  if (next.deadlineMs === null) return asBefore;
  // S1.4, "within one boot": what is restored from another one has lost the flag.
  return next.onlyEarlier && old.onlyEarlier && old.deadlineMs <= next.deadlineMs ? asBefore : next;
}

const sameNotice = (a: KnownNotice, b: KnownNotice): boolean =>
  a.kind === b.kind &&
  a.deadlineMs === b.deadlineMs &&
  a.reason === b.reason &&
  a.onlyEarlier === b.onlyEarlier &&
  a.awaits === b.awaits;

function readClock(record: SourceRecord, answer: Answer, now: Instant): SourceRecord['clock'] {
  if (answer.hostNowMs === undefined) return record.clock;
  const offsetMs = answer.hostNowMs - now.wall;
  if (Math.abs(offsetMs) <= CLOCK_TOLERANCE_MS) return null;
  // Date has whole seconds and answers take time: a wobble is not a new offset, else the plan would move with each poll.
  const before = record.clock;
  if (before !== null && Math.abs(before.offsetMs - offsetMs) < CLOCK_TOLERANCE_MS / 10) {
    return before.runs >= CLOCK_RUNS ? before : { ...before, runs: before.runs + 1 };
  }
  return { offsetMs, runs: before === null ? 1 : Math.min(CLOCK_RUNS, before.runs + 1) };
}

/** By how much the host's clock is ahead of ours, once it is certain; else 0. */
export const clockOffsetMs = (record: SourceRecord): number =>
  record.clock !== null && record.clock.runs >= CLOCK_RUNS ? record.clock.offsetMs : 0;

/** One line when a key goes bad or its fault changes, one when it is well again. The driver tells of whole failures. */
function faultLogs(before: SourceRecord, after: SourceRecord): Effect[] {
  const effects: Effect[] = [];
  const source = after.info.name;
  for (const [key, error] of Object.entries(after.faults)) {
    if (before.faults[key] === error) continue;
    effects.push({
      type: 'log',
      level: 'warn',
      event: 'feature_rejected',
      fields: { source, key, error },
      message: faultText(source, key, error),
    });
  }
  for (const key of Object.keys(before.faults)) {
    if (after.faults[key] === undefined)
      effects.push({
        type: 'log',
        level: 'info',
        event: 'feature_recovered',
        fields: { source, key },
        message: `${source}: ${nameOf(key)} is ${isEndpoint(key) ? 'well' : 'acceptable'} again`,
      });
  }
  return effects;
}

/** `notice/@PATH` stands for an endpoint of the source (parts-ledger.ts), not for a notice. */
const isEndpoint = (key: string): boolean => key.startsWith('notice/@');
const nameOf = (key: string): string => (isEndpoint(key) ? key.slice('notice/@'.length) : key);

function faultText(source: string, key: string, error: string): string {
  if (isEndpoint(key)) return `${source}: ${nameOf(key)} gives no proper answer (${error}), what it said before stands`;
  if (error === 'too_many') return `${source}: more than can be kept, the rest of ${key} is left out`;
  return `${source}: ${key} is not acceptable (${error}), the last good value stands`;
}

/** The old object where nothing changed, so that "changed" can be seen by reference and nothing is written needlessly. */
function keep(before: SourceRecord, after: SourceRecord): SourceRecord {
  const same =
    before.state === after.state &&
    before.sinceMs === after.sinceMs &&
    before.error === after.error &&
    before.everGood === after.everGood &&
    before.confirmed === after.confirmed &&
    sameFlat(before.channels, after.channels) &&
    sameFlat(before.keys.machine, after.keys.machine) &&
    sameFlat(before.keys.job, after.keys.job) &&
    sameFlat(before.derived.machine, after.derived.machine) &&
    sameFlat(before.derived.job, after.derived.job) &&
    before.pointers === after.pointers &&
    before.pointersBefore.length === after.pointersBefore.length &&
    sameFlat(before.notices, after.notices) &&
    sameFlat(before.faults, after.faults) &&
    before.clock === after.clock;
  return same ? before : after;
}

function sameFlat(a: Readonly<Record<string, unknown>>, b: Readonly<Record<string, unknown>>): boolean {
  if (a === b) return true;
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && Object.is(a[key], b[key]))
  );
}

function mapSame<T>(record: Readonly<Record<string, T>>, map: (value: T) => T): Readonly<Record<string, T>> {
  const mapped = mapValues(record, map);
  return sameFlat(record, mapped) ? record : mapped;
}
