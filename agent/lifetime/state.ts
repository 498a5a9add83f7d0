/** The whole memory of the heart: plain data, so that it can be written down part by part and read back exactly. */
import type { Held, KnownNotice } from './held.ts';
import { NOTHING_SAID, type WordsRecord, wordsOfAnotherBoot } from './said.ts';
import { type HooksRecord, NOTHING_TOLD, restoredHooks } from './told.ts';
import {
  DEADLINE_KINDS,
  type EscalationStep,
  hookOf,
  type Instant,
  type PayloadSpec,
  POINTER_NAMES,
  type PointerName,
  type Pointers,
  type Policy,
  type Side,
  type SourceInfo,
  type StepRef,
  type StepResultReport,
} from './types.ts';

/** More than any time zone, or its summer time, makes a clock wrong by. */
const LONG_PAST_MS = 86_400_000;

export interface SourceRecord {
  readonly info: SourceInfo;
  /** As last heard; `stale` is a matter of time and not stored. */
  readonly state: 'absent' | 'ok' | 'failed';
  readonly sinceMs: number;
  readonly error: string | null;
  /** It has given at least one good answer since the agent first knew it. */
  readonly everGood: boolean;
  /** False for what was restored from another boot and not yet heard again (S4.1). */
  readonly confirmed: boolean;
  readonly channels: Readonly<Partial<Record<Side, string>>>;
  readonly keys: Readonly<Record<Side, Readonly<Record<string, Held<string>>>>>;
  /** What follows from what the machine is (`Answer.derived`). */
  readonly derived: Readonly<Record<Side, Readonly<Record<string, Held<string>>>>>;
  /** Read once per life of the machine (mjf.md, "Locations"): what was heard first in a boot stays. */
  readonly pointers: Pointers;
  /** Those of another boot, which count until they are heard again. */
  readonly pointersBefore: readonly PointerName[];
  readonly notices: Readonly<Record<string, Held<KnownNotice>>>;
  /** `machine/shutdowntime` → code of what is wrong with it now. */
  readonly faults: Readonly<Record<string, string>>;
  /** S4.3: how far the host's clock is ahead of ours. `runs` = answers running that said so. */
  readonly clock: { readonly offsetMs: number; readonly runs: number } | null;
}

export interface OperatorRecord {
  readonly notices: Readonly<Record<string, Held<KnownNotice>>>;
  /** Full ids (`ec2/spot`) that the operator overrode (S1.5). */
  readonly ignored: readonly string[];
}

export interface StepMark {
  readonly step: StepRef;
  /** `issued`: about to be delivered, the journal's intent. `repeat`: issued before a crash and not known whether it went out. */
  readonly state: 'issued' | 'done' | 'refused' | 'skipped' | 'repeat';
  readonly at: Instant;
  /** Sent a second time after a crash; never a third. */
  readonly uncertain?: true;
  /** Nobody was there any more to get it. */
  readonly missed?: true;
  /** StepResultReport.rest: once. */
  readonly rest?: true;
  /** Of a hook: its program has ended, or will not be run. */
  readonly ended?: true;
}

/** One run of a payload's escalation (S3.6). */
export interface Episode {
  readonly number: number;
  /** The notices that set its deadline, one after the other. */
  readonly noticeIds: readonly string[];
  /**
   * The steps as they were when it began. A re-read configuration or a changed registration counts from the next episode
   * on: marks go by index, and in another list the same index would name another step (S3.6).
   */
  readonly steps: readonly EscalationStep[];
  readonly marks: readonly StepMark[];
  /** When the SIGTERM (or what stands in its place) went out: from here on time is counted monotonically. */
  readonly anchor: Instant | null;
  /** Ended: by a clear or because the stop time moved well into the future. */
  readonly ended: { readonly atMs: number; readonly by: 'clear' | 'postponed' } | null;
}

/** The episode that goes on, if one does. */
export const runningEpisode = ({ episode }: PayloadRecord): Episode | null =>
  episode?.ended === null ? episode : null;

/** A signal went out in it, or is on its way. */
export const isSignalled = (episode: Episode | null): boolean =>
  episode?.marks.some(({ step, state }) => state !== 'skipped' && hookOf(step.signal) === null) === true;

export interface PayloadRecord {
  readonly spec: PayloadSpec;
  /** Who sends the signals: `exec` while it lives, else the daemon (S3.8). */
  readonly delivery: 'daemon' | 'exec';
  readonly episode: Episode | null;
  /** When it was first registered. Absent: by a version that did not write it. */
  readonly registeredMono?: number;
  /** A signal went out in an episode that this one has replaced: it stays `stopping` (S3.6). */
  readonly wasSignalled?: true;
  /** A program among the steps of this episode has failed, in words for the site. */
  readonly failed?: { readonly episode: number; readonly detail: string };
  /** Of a unit: what we have stopped, and whether it is being started again (S3.6). */
  readonly restart?: UnitRestart;
}

/** Of a unit that is to be started again when the host cancels (restart.ts). */
export interface UnitRestart {
  /** It went down by our hand. */
  readonly down?: true;
  /** What is stopped with it (a slice's services), to be started again in its place. */
  readonly units?: readonly string[];
  /** It runs although we had stopped it and have not started it since: the stop is still to be made good. */
  readonly owed?: true;
  /** Asked to be started; `done`: systemd has the jobs. Kept until it is seen running. */
  readonly start?: {
    readonly units: readonly string[];
    /** As a step's: `repeat` = not known whether it went out. */
    readonly state: 'issued' | 'repeat' | 'done';
    readonly uncertain?: true;
    /** When it came into this state, monotonic. */
    readonly mono: number;
  };
}

/** Small things that belong to no part of their own. */
export interface Tally {
  /** Payloads that ended since boot; arms "can terminate" (S5.2). Units that we stopped are among them. */
  readonly ended: number;
  /** When the last of them did, monotonic: from then on the machine is idle (S5.2). */
  readonly lastEndMono: number | null;
}

export interface State {
  readonly bootWallMs: number;
  readonly firstBootMs: number;
  readonly policy: Policy;
  readonly sources: Readonly<Record<string, SourceRecord>>;
  /** Monotonic time of each source's last good answer. Changes with each poll, so it stands apart and is never written down. */
  readonly heard: Readonly<Record<string, number>>;
  readonly operator: OperatorRecord;
  readonly payloads: Readonly<Record<string, PayloadRecord>>;
  readonly tally: Tally;
  readonly words: WordsRecord;
  /**
   * Since when somebody who lives might not have been found yet, monotonic: a configuration has just come that may bring
   * payloads along, as it does first of all in each run of the agent (S5.2). Never written down.
   */
  readonly unfoundSinceMono: number | null;
  /** Since when this run of the agent sees that the deadline which is acted on has passed, monotonic; never written down. */
  readonly pastSinceMono: number | null;
  /** What the operator's programs have been told in this boot. */
  readonly hooks: HooksRecord;
}

export const DEFAULT_POLICY: Policy = {
  drainMs: 30 * 60_000,
  graceMs: 120_000,
  steps: [
    { at: 'grace', signal: 'SIGTERM' },
    { at: 5_000, signal: 'SIGKILL' },
  ],
  kindOverrides: {},
  shutdownKeys: 'always',
  whenDone: 'nothing',
  idleMs: 5 * 60_000,
  atDeadline: 'nothing',
};

export function initialState(bootWallMs: number, firstBootMs: number): State {
  return {
    bootWallMs,
    firstBootMs,
    policy: DEFAULT_POLICY,
    sources: {},
    heard: {},
    operator: { notices: {}, ignored: [] },
    payloads: {},
    tally: { ended: 0, lastEndMono: null },
    words: NOTHING_SAID,
    unfoundSinceMono: null,
    pastSinceMono: null,
    hooks: NOTHING_TOLD,
  };
}

export function newSource(info: SourceInfo, now: Instant): SourceRecord {
  return {
    info,
    state: 'absent',
    sinceMs: now.wall,
    error: null,
    everGood: false,
    confirmed: true,
    channels: {},
    keys: { machine: {}, job: {} },
    derived: { machine: {}, job: {} },
    pointers: {},
    pointersBefore: [],
    notices: {},
    faults: {},
    clock: null,
  };
}

/** The parts of a state by their journal keys (see the `persist` effect). */
export function partsOf(state: State): Map<string, unknown> {
  const parts = new Map<string, unknown>([
    ['operator', state.operator],
    ['tally', state.tally],
    ['words', state.words],
    ['hooks', state.hooks],
  ]);
  for (const [name, record] of Object.entries(state.sources)) parts.set(`source/${name}`, record);
  for (const [id, record] of Object.entries(state.payloads)) parts.set(`payload/${id}`, record);
  return parts;
}

/** Parts that outlive a boot: what the host announced, the operator's word, and the last words of those who have ended. Payloads and steps die with the boot (S4.1). */
export const outlivesBoot = (key: string): boolean =>
  key === 'operator' || key === 'words' || key.startsWith('source/');

/**
 * A state from the parts that a former run wrote. Of the same boot: everything, where steps that were about to be taken
 * are marked for one more attempt unless `done` knows better. Of another boot: notices and features only, unconfirmed
 * until their source is heard again, with reboots that evidently happened dismissed (S1.8, S4.1).
 */
export function restoreState(
  parts: ReadonlyMap<string, unknown>,
  done: readonly StepResultReport[],
  options: {
    readonly sameBoot: boolean;
    readonly bootWallMs: number;
    readonly firstBootMs: number;
    readonly now: Instant;
  },
): State {
  const { sameBoot, bootWallMs, firstBootMs, now } = options;
  const sources: Record<string, SourceRecord> = {};
  const payloads: Record<string, PayloadRecord> = {};
  let { operator, tally, words, hooks } = initialState(bootWallMs, firstBootMs);
  for (const [key, value] of parts) {
    const name = key.slice(key.indexOf('/') + 1);
    // The checksums vouch for the content; a part without the expected shape comes from another version and is left out.
    if (key.startsWith('source/') && hasShape<SourceRecord>(value, 'info', 'keys', 'notices')) {
      const record = withAllFields(value);
      sources[name] = sameBoot ? unheard(record) : ofAnotherBoot(record, bootWallMs);
    } else if (sameBoot && key.startsWith('payload/') && hasShape<PayloadRecord>(value, 'spec', 'delivery')) {
      payloads[name] = value;
    } else if (key === 'operator' && hasShape<OperatorRecord>(value, 'notices', 'ignored')) {
      operator = sameBoot
        ? value
        : {
            ...value,
            notices: mapValues(withoutOver(value, bootWallMs, now), (held) => dismissReboot(held, bootWallMs)),
          };
    } else if (sameBoot && key === 'tally' && hasShape<Tally>(value, 'ended')) {
      tally = withLastEnd(value, now);
    } else if (
      key === 'words' &&
      hasShape<WordsRecord>(value, 'worst', 'stopped', 'done', 'due', 'disorder', 'saving')
    ) {
      words = sameBoot ? value : wordsOfAnotherBoot(value);
    } else if (sameBoot && key === 'hooks' && hasShape<HooksRecord>(value, 'runs', 'phase', 'notices', 'open')) {
      hooks = restoredHooks(value);
    }
  }
  for (const report of done) {
    const record = payloads[report.id];
    if (record) payloads[report.id] = markDone(record, report);
  }
  return {
    ...initialState(bootWallMs, firstBootMs),
    sources,
    heard: Object.fromEntries(Object.keys(sources).map((name) => [name, now.mono])),
    operator,
    payloads: mapValues(payloads, forRepeat),
    tally,
    words,
    hooks,
  };
}

/** A delivery report entered into the payload's episode. */
export function markDone(record: PayloadRecord, report: StepResultReport): PayloadRecord {
  const { episode } = record;
  if (episode === null || episode.number !== report.step.episode) return record;
  // Refused is not done: nobody got it, and whoever looks must see that.
  const state = report.outcome === 'refused' ? ('refused' as const) : ('done' as const);
  const marks = episode.marks.map((mark): StepMark => {
    if (mark.step.index !== report.step.index || mark.step.signal !== report.step.signal) return mark;
    if (report.rest) return { ...mark, rest: true };
    // A second report of the same step may know more: it was looked for members again.
    const { missed: _, ...rest } = mark;
    return { ...rest, state, ...(report.outcome === 'no_process' && { missed: true }) };
  });
  return { ...record, episode: { ...episode, marks } };
}

function restoredRestart(record: PayloadRecord): PayloadRecord {
  const start = record.restart?.start;
  if (start?.state !== 'issued') return record;
  const state = start.uncertain ? ('done' as const) : ('repeat' as const);
  return { ...record, restart: { ...record.restart, start: { ...start, state } } };
}

/** What a version wrote that did not know when the last payload ended: it may have been just now. */
const withLastEnd = (tally: Tally, now: Instant): Tally => ({
  ...tally,
  lastEndMono: tally.lastEndMono ?? (tally.ended > 0 ? now.mono : null),
});

function forRepeat(before: PayloadRecord): PayloadRecord {
  const record = restoredRestart(before);
  if (record.episode === null) return record;
  const marks = record.episode.marks.map((mark) =>
    mark.state !== 'issued'
      ? mark
      : mark.uncertain
        ? { ...mark, state: 'done' as const }
        : { ...mark, state: 'repeat' as const },
  );
  return { ...record, episode: { ...record.episode, marks } };
}

/**
 * With what a version wrote that did not know some of it. What was wrong is told anew by the source, or is over: a key that
 * went away meanwhile would be complained of for ever.
 */
const withAllFields = (record: SourceRecord): SourceRecord => ({
  ...record,
  faults: {},
  derived: record.derived ?? { machine: {}, job: {} },
  pointers: record.pointers ?? {},
  pointersBefore: record.pointersBefore ?? [],
});

/** Not ok before it has answered again. Without an error, so that its first answer goes on where it was. */
const unheard = (record: SourceRecord): SourceRecord =>
  record.state === 'ok' ? { ...record, state: 'failed', error: null } : record;

function ofAnotherBoot(record: SourceRecord, bootWallMs: number): SourceRecord {
  const forget = <T>(held: Held<T>): Held<T> => ({
    ...held,
    misses: null,
    witnessed: false,
    unheard: true,
  });
  return {
    ...record,
    state: 'failed',
    error: null,
    confirmed: false,
    // Device numbers mean nothing across boots: the first channel seen now is the one to compare with.
    channels: {},
    clock: null,
    pointersBefore: POINTER_NAMES.filter((name) => record.pointers[name] !== undefined),
    keys: { machine: mapValues(record.keys.machine, forget), job: mapValues(record.keys.job, forget) },
    derived: { machine: mapValues(record.derived.machine, forget), job: mapValues(record.derived.job, forget) },
    notices: mapValues(ofAnyBoot(record.notices), (held) => dismissReboot(anyTime(forget(held)), bootWallMs)),
  };
}

/** S1.4: "only earlier" holds within one boot. In the next one the same id may announce another interruption. */
function anyTime(held: Held<KnownNotice>): Held<KnownNotice> {
  const { onlyEarlier: _, ...value } = held.value;
  return { ...held, value };
}

/**
 * Without what the operator said of the end of the boot before, and without his shutdowns that expired long ago (S1.8): nobody
 * else would ever clear them. Of the latter only those over for more than a day, since the clock of a machine that has just
 * booted may be wrong by its time zone, and what it makes look expired is still to come (clock-step.ts); and none of this boot,
 * where a restart of the agent must not be what cancels (S3.7).
 */
function withoutOver({ notices }: OperatorRecord, bootWallMs: number, now: Instant): OperatorRecord['notices'] {
  const isLongPast = ({ value: { kind, deadlineMs } }: Held<KnownNotice>): boolean =>
    DEADLINE_KINDS.has(kind) && deadlineMs !== null && deadlineMs < bootWallMs && now.wall - deadlineMs > LONG_PAST_MS;
  return Object.fromEntries(Object.entries(ofAnyBoot(notices)).filter(([, held]) => !isLongPast(held)));
}

/** Without those about the end of the boot before: it has come, or was called off. */
const ofAnyBoot = (notices: OperatorRecord['notices']): OperatorRecord['notices'] =>
  Object.fromEntries(Object.entries(notices).filter(([, { value }]) => value.thisBoot !== true));

function dismissReboot(held: Held<KnownNotice>, bootWallMs: number): Held<KnownNotice> {
  const { kind, deadlineMs } = held.value;
  const happened = (kind === 'reboot' || kind === 'redeploy') && deadlineMs !== null && deadlineMs < bootWallMs;
  return happened ? { ...held, dismissed: true } : held;
}

export function mapValues<A, B>(record: Readonly<Record<string, A>>, map: (value: A) => B): Record<string, B> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value)]));
}

function hasShape<T>(value: unknown, ...fields: readonly (keyof T & string)[]): value is T {
  return typeof value === 'object' && value !== null && fields.every((field) => field in value);
}
