/**
 * The words of the whole program as types (DESIGN.md, "Words"). Every other room speaks to the heart in these.
 * Instants inside are UNIX milliseconds (`…Ms` or `wall`); whole seconds exist only in published documents.
 */

/** A moment as two clocks tell it: `wall` is UNIX time, `mono` is CLOCK_MONOTONIC (comparable within one boot). Both ms. */
export interface Instant {
  readonly wall: number;
  readonly mono: number;
}

/** The two directories of HSF-TN-2016-02: the machine's features and the job's. */
export type Side = 'machine' | 'job';

/** Kinds of interruption (SEMANTICS S1.1). */
export const NOTICE_KINDS = [
  'terminate',
  'stop',
  'shutdown',
  'reboot',
  'redeploy',
  'drain',
  'freeze',
  'hibernate',
  'migrate',
  'rebalance',
] as const;
export type NoticeKind = (typeof NOTICE_KINDS)[number];
/** Those that set a deadline (S1.1). */
export const DEADLINE_KINDS: ReadonlySet<NoticeKind> = new Set<NoticeKind>([
  'terminate',
  'stop',
  'shutdown',
  'reboot',
  'redeploy',
]);

/**
 * Where a source stands when several give the same key (SEMANTICS S2.1), strongest first.
 * `operator` and `schedule` give notices only.
 */
export const SOURCE_RANKS = ['static', 'directory', 'mjf', 'platform', 'derived', 'self'] as const;
export type SourceRank = (typeof SOURCE_RANKS)[number];

/**
 * What a source says of one key or notice: three answers, never two. `absent` is "looked, is not there" and counts
 * towards clearing; `negative` is an explicit "no" and clears at once; `unknown` changes nothing but is shown (S1.6).
 */
export type Reading<T> =
  | { readonly is: 'present'; readonly value: T }
  | { readonly is: 'absent' }
  | { readonly is: 'negative' }
  | { readonly is: 'unknown'; readonly error: string };

/** A notice as a source states it. `deadlineMs: null` = certain, but no time given (S1.3) or a kind without one. */
export interface StatedNotice {
  readonly kind: NoticeKind;
  readonly deadlineMs: number | null;
  readonly reason: string;
  /** S1.4: spot and preemption times only move earlier within one boot. */
  readonly onlyEarlier?: boolean;
  /** S1.3: what the platform guarantees at least when no time is given. */
  readonly minimumNoticeMs?: number;
  /** The platform waits for a word that it may begin (S5.4): `own` = the event is about this machine alone. */
  readonly awaits?: 'own' | 'shared';
  /** About the end of this boot, and over with it. */
  readonly thisBoot?: true;
}

/**
 * One side of the features as read once. Keys are as the host wrote them (legacy names too), values are raw text:
 * the heart translates and judges them. A key that is not mentioned counts as absent if `complete`, else is untouched.
 */
export interface FeatureReading {
  /**
   * What was read from, to notice that another thing stands there now (S1.6, same st_dev): `dev:17@/mnt/host`, device and
   * mount point, or a URL.
   */
  readonly channel: string;
  readonly complete: boolean;
  /** Only known names pass, as from a platform (S2.2): it was a platform's metadata that named this place. */
  readonly pointed?: true;
  readonly keys: Readonly<Record<string, Reading<string>>>;
  readonly rest?: Rest;
}

/**
 * What becomes of the names that are held but neither mentioned in an answer nor in `except`, where the host chooses the
 * names and the answer has gone through all of its list: an earlier run of the agent may have heard of more.
 */
export interface Rest {
  readonly is: 'absent';
  readonly except: readonly string[];
}

/** Where a platform's metadata says that the features are: URLs or absolute paths, as the site wrote them. */
export type Pointers = Readonly<Partial<Record<PointerName, string>>>;
export const POINTER_NAMES = ['machinefeatures', 'jobfeatures', 'joboutputs'] as const;
export type PointerName = (typeof POINTER_NAMES)[number];

/** A good answer of a source. Sides not mentioned were not asked. */
export interface Answer {
  /** The host's clock as its answer showed it (HTTP `Date`), UNIX ms; for S4.3. */
  readonly hostNowMs?: number;
  readonly machine?: FeatureReading;
  readonly job?: FeatureReading;
  /** By the platform's own event id (`spot`, `events/i-0a1`), without the source's name. */
  readonly notices?: {
    readonly complete: boolean;
    readonly byId: Readonly<Record<string, Reading<StatedNotice>>>;
    readonly rest?: Rest;
  };
  /**
   * What the host did not state but what follows from what the machine is (S2.1): a spot machine may be terminated, and its
   * platform gives at least so much notice. Weaker than every stated key. Keys not mentioned are untouched.
   */
  readonly derived?: Readonly<Partial<Record<Side, Readonly<Record<string, Reading<string>>>>>>;
  readonly pointers?: Pointers;
}

/** What one source said, once. */
export type Observation =
  | { readonly source: string; readonly outcome: 'answer'; readonly answer: Answer }
  /**
   * Asked and not answered properly. `error` is a stable short code (`http_500`, `timeout`, `hung`), `detail` is for people.
   * `partial`: what was learnt all the same; it is taken, but the source is neither fresh nor well.
   */
  | {
      readonly source: string;
      readonly outcome: 'failed';
      readonly error: string;
      readonly detail: string;
      readonly partial?: Answer;
    }
  /** The channel does not exist on this machine: no failure as long as it never did. */
  | { readonly source: string; readonly outcome: 'no_channel'; readonly detail: string };

/** What the heart must know of a source before it hears from it. */
export interface SourceInfo {
  readonly name: string;
  readonly rank: SourceRank;
  /** For S1.7; 0 = read once per boot, never stale. */
  readonly pollMs: number;
  /** This machine itself showed that it has the channel (firmware, a disk label), whatever the configuration says. */
  readonly found?: true;
}

/**
 * `at`: how long before the deadline, or the payload's own lead. `signal` is a signal's name, or `hook:NAME` for a program in
 * `hooks.d/steps` (S3.4): what is done has one name in plan, journal, acknowledgement and metrics. A hook has no receiver.
 */
export interface EscalationStep {
  readonly at: 'grace' | number;
  readonly signal: string;
  readonly to?: StepReceiver;
}
/** The file that a step runs, or null where it sends a signal. */
export const hookOf = (signal: string): string | null => (signal.startsWith('hook:') ? signal.slice(5) : null);
export type StepReceiver = 'leader' | 'group' | 'all';

/** A process that cannot be mistaken for another: pids are reused, start times (clock ticks since boot) are not. */
export interface ProcessRef {
  readonly pid: number;
  readonly startTicks: number;
}

/** A process, alone or with its group. */
export interface ProcessTarget {
  readonly kind: 'process';
  readonly leader: ProcessRef;
  /** Whether the whole process group counts as the payload. */
  readonly group: boolean;
  /** `NAME=VALUE` that stands in the environment of every process of the payload, however it forked. */
  readonly marker?: string;
}
/**
 * A systemd service, scope or slice. The stop signal proper (SIGTERM) is `StopUnit`; everything else goes to the processes of
 * its control group. Only root registers units.
 */
export interface UnitTarget {
  readonly kind: 'unit';
  readonly unit: string;
  /** Below the root of cgroup v2 (`/system.slice/condor.service`): where its processes are while it runs. */
  readonly cgroup: string;
  /** The unit's own TimeoutStopSec: its lead where it states none and this is longer than `[stop] grace`. */
  readonly stopTimeoutMs?: number;
}
/** A cgroup v2 subtree. The inode tells it from another one made later under the same path. */
export interface CgroupTarget {
  readonly kind: 'cgroup';
  readonly path: string;
  readonly inode: number;
}
export type PayloadTarget = ProcessTarget | UnitTarget | CgroupTarget;

/** Something to stop, as registered. */
export interface PayloadSpec {
  readonly id: string;
  readonly name: string;
  /**
   * Owner. A process is signalled only while all its uids are still this one; in a unit, or a control group that belongs to
   * root, the membership is what counts and the processes may be anybody's.
   */
  readonly uid: number;
  readonly target: PayloadTarget;
  /** The `exec` process that delivers the signals itself while it lives (S3.8); absent: the daemon delivers. */
  readonly deliverer?: ProcessRef;
  /** The payload's lead; absent = `[stop] grace`. */
  readonly graceMs?: number;
  /** Absent = `[stop] steps`. */
  readonly steps?: readonly EscalationStep[];
  /** The payload's own, never later than the machine's counts. */
  readonly deadlineMs?: number;
  /** Own job features, each no more generous than the machine's. */
  readonly limits?: Readonly<Record<string, string>>;
  /** Secret name of its own view under `views/` and `/p/`. */
  readonly token?: string;
  /** The `[[payload]]` of the configuration that it was found by. */
  readonly origin?: string;
  /** S3.6: units that the agent stopped are started again when the host cancels. Absent = true. */
  readonly restartOnCancel?: boolean;
  readonly canTerminate?: CanTerminate;
  /** What it has said last to the site, so far. */
  readonly word?: SpokenWord;
  readonly registeredMs: number;
}

/** What a payload says of its own end (S5.1). */
export interface CanTerminate {
  /** Nothing is lost if it is ended now. */
  readonly now: boolean;
  /** A promise: from then on nothing is lost. */
  readonly atMs: number | null;
  /** An estimate: until then it still needs, and what it has done is lost if it is ended earlier. */
  readonly untilMs?: number;
  /** How far it is, 0 to 1. */
  readonly progress?: number;
}

/** The machine's answer to the site, from those of its payloads (S5.1, answer.ts). All null but `now`: must not, nobody knows how long. */
export interface MachineAnswer {
  readonly now: boolean;
  /** From when on it can be terminated, where every payload has named a time. */
  readonly atMs: number | null;
  /** Before this, work is lost: somebody has said that he still needs so long. */
  readonly mustNotUntilMs: number | null;
  /** Mean of those who have said how far they are, 0 to 1 in steps of 0.01. */
  readonly progress: number | null;
}

/** A last word to the site: `NNN text` of `shutdown_message` (mjf.md, "VM to site"). */
export interface FinalWord {
  /** 100 to 999. */
  readonly code: number;
  /** One printable line; may be empty. */
  readonly text: string;
}
/** `exit`: made from the exit code, and nothing beside what the payload itself has said. */
export interface SpokenWord extends FinalWord {
  readonly by: 'payload' | 'exit';
}

/** `[stop]`, `[notice]`, `[publish]` as far as the heart needs them. Part of the state, so that a replay is exact. */
export interface Policy {
  readonly drainMs: number;
  readonly graceMs: number;
  readonly steps: readonly EscalationStep[];
  /** S1.1: `[notice] freeze = "stop"` makes an informing kind set a deadline. */
  readonly kindOverrides: Readonly<Partial<Record<NoticeKind, NoticeKind>>>;
  /** Publish shutdown keys always, or only from `draining` on (for readers that drain on mere presence). */
  readonly shutdownKeys: 'always' | 'draining';
  /** S5.2: payloads have lived and all have ended, for `idleMs`. */
  readonly whenDone: 'nothing' | 'poweroff';
  readonly idleMs: number;
  /** S3.7. */
  readonly atDeadline: 'nothing' | 'poweroff';
}

/** Everything that can happen to the heart. */
export type Input =
  /** Start, or configuration re-read: the sources there are and the policy. Sources no longer listed are forgotten. */
  | { readonly type: 'configure'; readonly policy: Policy; readonly sources: readonly SourceInfo[] }
  | { readonly type: 'observation'; readonly observation: Observation }
  /** Several at once, judged together: nothing is done on the first before the last is known (S4.2). */
  | { readonly type: 'together'; readonly inputs: readonly Input[] }
  /** Time passed, nothing else. */
  | { readonly type: 'tick' }
  | { readonly type: 'operator_notice'; readonly id: string; readonly notice: StatedNotice }
  /** Without an id: every notice of the operator. With that of a host's notice: its override. */
  | { readonly type: 'operator_cancel'; readonly id?: string }
  | { readonly type: 'ignore'; readonly id: string }
  | { readonly type: 'payload_registered'; readonly spec: PayloadSpec }
  | {
      readonly type: 'payload_updated';
      readonly id: string;
      readonly change: PayloadChange;
      /** What `[stop]` says counts again. */
      readonly takenBack?: readonly ('graceMs' | 'steps')[];
    }
  /** `lived`: of a reservation, by its owner's word, whose process ended before the row named it (S5.2). */
  | {
      readonly type: 'payload_gone';
      readonly id: string;
      readonly why: 'exited' | 'deregistered' | 'unconfigured';
      readonly lived?: true;
    }
  /** What is going to be stopped with a slice, to be started again on cancel; told before anything is stopped. */
  | { readonly type: 'units_stopping'; readonly id: string; readonly units: readonly string[] }
  /** A unit that the agent had stopped runs again, by whoever's hand: another life, with no step taken in it. */
  | { readonly type: 'unit_running'; readonly id: string }
  /** systemd has taken the jobs that start a cancelled payload's units again, or that failed for good (logged). */
  | { readonly type: 'units_started'; readonly id: string }
  /**
   * The programs of a machine's event have ended, or could not be run; or its web hooks are through with it. The run is over
   * with both; without `part` it is over. Never for a hook step: `steps_done` says that it was begun, `step_ended` or
   * `step_failed` how it ended.
   */
  | { readonly type: 'hook_ended'; readonly run: string; readonly part?: HookPart }
  /** The `exec` that delivered for it died, the payload lives: the daemon takes over (S3.8). */
  | { readonly type: 'deliverer_gone'; readonly id: string }
  /**
   * Delivery reports back, all of one tick at once: by the daemon's own hand or acknowledged by `exec`, which never hears of
   * hook steps and counts its signals without them. A hook step is `delivered` once its program was started, `no_process`
   * where there is no such file, `refused` where it may not be run.
   */
  | { readonly type: 'steps_done'; readonly results: readonly StepResultReport[] }
  /** A last word to the site: of a payload, or without an id of the machine's operator. */
  | { readonly type: 'final_word'; readonly id?: string; readonly word: SpokenWord }
  /** The program of a hook step has ended well. Of one that nobody knows the end of neither this nor `step_failed` is said. */
  | { readonly type: 'step_ended'; readonly id: string; readonly step: StepRef }
  /** It has not ended well, or could not be run: what it was to save is not saved. `detail` is for the site. */
  | { readonly type: 'step_failed'; readonly id: string; readonly step: StepRef; readonly detail: string }
  /** The clock stepped: where boot lies on the corrected clock (S1.8). */
  | { readonly type: 'clock_changed'; readonly bootWallMs: number };

export type PayloadChange = Partial<
  Pick<PayloadSpec, 'name' | 'graceMs' | 'steps' | 'deadlineMs' | 'limits' | 'canTerminate' | 'target'>
>;

/** A step of one run of one payload's escalation: its name in journal, acknowledgements and metrics. */
export interface StepRef {
  readonly episode: number;
  readonly index: number;
  readonly signal: string;
}
export interface StepResultReport {
  readonly id: string;
  readonly step: StepRef;
  readonly outcome: StepOutcome;
  /** When the signal went out. */
  readonly at: Instant;
  /** The step was taken before; now those have got it as well whom its receiver was to stop (payloads/last-call.ts). */
  readonly rest?: true;
}
export type StepOutcome = 'delivered' | 'no_process' | 'refused' | 'uncertain';

/** What is to be done in the world. `agent.ts` runs them: journal → files → signals → http → reports. */
export type Effect =
  /**
   * One part of the state changed: `source/NAME`, `payload/ID`, `operator`. The journal keeps the last value by key;
   * `null` deletes. A payload's part names the steps about to be taken, so writing it first is the journal's "intent".
   */
  | { readonly type: 'persist'; readonly key: string; readonly value: unknown }
  | { readonly type: 'signal'; readonly payload: PayloadSpec; readonly step: StepRef; readonly to: StepReceiver }
  /** Start again what the agent stopped (S3.6); ends with `units_started`. */
  | { readonly type: 'start_units'; readonly payload: string; readonly units: readonly string[] }
  /**
   * Run hooks; a machine's event ends with `hook_ended`, a payload's step with `steps_done`. Comes after the signals of the
   * same tick and never holds them up.
   */
  | { readonly type: 'hook'; readonly run: HookRun }
  /** Ask this source again soon (1 s after the first absence, S1.6). */
  | { readonly type: 'poll_soon'; readonly source: string; readonly inMs: number }
  /** Worth a log line and, by `event`, a counter. Never contains values of unknown keys' content beyond a bounded excerpt. */
  | {
      readonly type: 'log';
      readonly level: 'debug' | 'info' | 'warn' | 'error';
      readonly event: string;
      readonly fields: Readonly<Record<string, unknown>>;
      readonly message: string;
    };

/** What the machine tells its operator's programs and web hooks of, by the directory below `hooks.d` that is run. */
export const HOOK_EVENTS = ['notice', 'draining', 'stopping', 'stopped', 'cancelled', 'can_terminate'] as const;
export type HookEvent = (typeof HOOK_EVENTS)[number];

export interface HookRun {
  /** Unique within a boot: `3-stopping`, `p-ab12/1/0`; the journal's name for it. */
  readonly id: string;
  /** `step`: the one program that a step of a payload's escalation names. */
  readonly event: HookEvent | 'step';
  readonly notice?: { readonly id: string; readonly kind: NoticeKind; readonly deadlineMs: number | null };
  readonly payload?: { readonly id: string; readonly name: string; readonly uid: number; readonly pid: number | null };
  /** Of `can_terminate`: what the answer is now. */
  readonly canTerminate?: boolean;
  /** Of a step: the file below `hooks.d/steps`. */
  readonly file?: string;
  /** Of a step: what `steps_done` reports once the program was started, or could not be. */
  readonly step?: StepRef;
  /** On this machine's clock: what runs must have ended by then. null: none is known. */
  readonly byMs: number | null;
  /** Begun before a crash of the agent, and not known whether it ended. */
  readonly repeated: boolean;
  /** Who is still to be told after a crash. Absent: all. */
  readonly parts?: readonly HookPart[];
}
/** Who hears of a machine's event: the operator's programs and the web hooks. Each part ends for itself. */
export type HookPart = 'programs' | 'posts';

export type Phase = 'running' | 'draining' | 'stopping' | 'stopped';
export type SourceState = 'ok' | 'stale' | 'failed' | 'absent';

export interface SnapshotFeature {
  readonly value: string;
  readonly source: string;
  readonly sinceMs: number;
  readonly stale: boolean;
}
export interface SnapshotNotice {
  readonly id: string;
  readonly source: string;
  readonly kind: NoticeKind;
  readonly deadlineMs: number | null;
  readonly reason: string;
  readonly firstSeenMs: number;
  readonly stale: boolean;
  /** Deadline before this boot (S1.8): shown, not acted on. */
  readonly expired: boolean;
  /** The operator overrode it (S1.5). */
  readonly ignored: boolean;
  /** Announced with less notice than the host's own `grace_secs` promises (S3.2). */
  readonly brokenPromise: boolean;
  /** StatedNotice.awaits. */
  readonly awaits?: 'own' | 'shared';
}
export interface SnapshotSource {
  readonly name: string;
  readonly state: SourceState;
  readonly sinceMs: number;
  /** Stable code of what is wrong now, if anything is. */
  readonly error: string | null;
  /** How far the host's clock is ahead of ours, where that is large enough to plan with (S4.3). */
  readonly clockOffsetSecs: number | null;
  /** Keys whose present content is not acceptable, with the reason's code; their last good values stand. */
  readonly faults: Readonly<Record<string, string>>;
}
export type PayloadState = 'running' | 'stopping' | 'stopped';

/** One payload as its owner and root may see it (S5.5). */
export interface SnapshotPayload {
  readonly spec: PayloadSpec;
  readonly state: PayloadState;
  readonly deadlineMs: number | null;
  readonly stopAtMs: number | null;
  readonly episode: number;
  /** What counts for it: its own, else `[stop] steps`; in the order of their times. */
  readonly steps: readonly EscalationStep[];
  readonly plan: readonly {
    readonly step: StepRef;
    readonly to: StepReceiver;
    /** As configured; `dueMs` is what became of it in this window. */
    readonly at: EscalationStep['at'];
    readonly dueMs: number;
    readonly state: 'planned' | 'done' | 'refused' | 'skipped' | 'pending';
    /** StepResultReport.rest. */
    readonly rest?: true;
  }[];
}

/** The one truth at one moment. Immutable; holds instants only, never "seconds left", so that it changes when the truth does. */
export interface Snapshot {
  readonly phase: Phase;
  /** As the host said it. */
  readonly deadlineMs: number | null;
  /** The same moment on this machine's clock: differs only where the host's clock does (S4.3). */
  readonly localDeadlineMs: number | null;
  /** The host's promise of notice (feature `grace_secs`), not the agent's lead. */
  readonly graceSecs: number | null;
  readonly stopGraceSecs: number;
  readonly drainAtMs: number | null;
  readonly stopAtMs: number | null;
  readonly reason: string | null;
  readonly overdue: boolean;
  readonly terminationAllowed: boolean | null;
  /** null: no payload has ever lived here (S5.2). */
  readonly canTerminate: MachineAnswer | null;
  readonly notices: readonly SnapshotNotice[];
  /** As published: precedence applied, shutdown keys equal to the deadline. */
  readonly machine: Readonly<Record<string, SnapshotFeature>>;
  readonly job: Readonly<Record<string, SnapshotFeature>>;
  readonly sources: readonly SnapshotSource[];
  /** Where the features are by a platform's metadata. Not published: the addresses may hold secrets. */
  readonly pointers: Pointers;
  readonly payloads: Readonly<Record<PayloadState, number>>;
  /** When this picture changes by itself, if ever. */
  readonly nextChangeMs: number | null;
}

export interface StepResult<State> {
  readonly state: State;
  readonly snapshot: Snapshot;
  /** Every known payload with its plan, for owners, delivery and views. */
  readonly payloads: readonly SnapshotPayload[];
  readonly effects: readonly Effect[];
  /** Whether the machine is to be switched off now, and why (S3.7, S5.2). Holds as long as it is true. */
  readonly powerOff: 'done' | 'deadline' | null;
  /** The message with which the machine goes, once it is due (S5.3). Holds as long as it is true. */
  readonly lastWord: FinalWord | null;
  /** Ids of notices whose platform may be told to begin: their payloads have stopped in order (S5.4). */
  readonly released: readonly string[];
  /** When `step` must be called again at the latest, although nothing happens; `mono` rules where set. */
  readonly wakeAt: { readonly wall: number | null; readonly mono: number | null };
}
