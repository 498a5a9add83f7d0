/**
 * What the consumers (files, HTTP, reports, commands) may ask of the running agent. `agent.ts` is the only
 * implementation; consumers import this and the types of `lifetime/`, never each other nor a source.
 */
import type { Input, PayloadSpec, Snapshot, SnapshotPayload, SourceState } from './lifetime/types.ts';
import type { UnitInfo } from './payloads/units.ts';

/** The Snapshot with its one serialisation: the same bytes go to the file, the GET and the streams. */
export interface Publication {
  readonly snapshot: Snapshot;
  /** Documented JSON (DESIGN.md, Interfaces), newline at the end. */
  readonly lifetimeJson: Buffer;
  /** Strong, quoted, from the content alone: valid over restarts. Also the event id (unquoted). */
  readonly etag: string;
  /** Values as published, without newline. */
  readonly machine: Readonly<Record<string, string>>;
  readonly job: Readonly<Record<string, string>>;
  /** The machine's answer as keys like those of a feature directory (S5.1); empty where there is none. */
  readonly jobstatus: Readonly<Record<string, string>>;
  /** A payload's own view by its secret token (machine side is the common one). */
  readonly views: Readonly<Record<string, { readonly job: Readonly<Record<string, string>> }>>;
  readonly payloads: readonly SnapshotPayload[];
}

/** `/v1/sources`: changes with each poll, so it stands outside the Snapshot. Instants in ms. */
export interface LiveSource {
  readonly name: string;
  readonly state: SourceState;
  readonly lastSuccessMs: number | null;
  readonly lastError: { readonly code: string; readonly detail: string; readonly atMs: number } | null;
  /** Duration of the last reading. */
  readonly latencyMs: number | null;
  readonly reads: number;
  readonly failures: number;
  readonly pollMs: number;
  /** What is wrong with single keys and endpoints of a source that answers, by their names. */
  readonly faults?: Readonly<Record<string, string>>;
  /** Its last readings, the oldest first. */
  readonly history?: readonly SourceReading[];
}

/** How one reading went. */
export interface SourceReading {
  readonly atMs: number;
  readonly latencyMs: number;
  /** `absent`: the channel is not there, which is no failure. */
  readonly outcome: 'ok' | 'failed' | 'absent';
  /** Code of what was wrong; null where nothing was. */
  readonly error: string | null;
}

/**
 * `token`: the view that the client proposes, checked to be free; absent = the agent invents one. `registeredMs`: since when
 * it counts where that was earlier than now.
 */
export type Registration = Omit<PayloadSpec, 'id' | 'registeredMs'> & Partial<Pick<PayloadSpec, 'registeredMs'>>;

/** What a text names among the control groups (SYSTEMS.md, "Signals"). `refused`: never a payload, it would hit the system. */
export type CgroupLookUp =
  /** `uid` owns its directory; path and inode as in `CgroupTarget`. */
  | { readonly is: 'found'; readonly path: string; readonly inode: number; readonly uid: number }
  | { readonly is: 'not_found' | 'refused'; readonly detail: string };

/** By what the processes of a payload are held together, the surest first (SYSTEMS.md, "Signals"). */
export type Containment = 'cgroup' | 'marker' | 'session' | 'descent';

/** Who calls, on the kernel's word (SYSTEMS.md, "Who is calling"). `operator` = came through admin.sock. */
export type Caller =
  | { readonly kind: 'operator' }
  | { readonly kind: 'user'; readonly uid: number }
  | { readonly kind: 'reader' };

export interface AgentPort {
  publication(): Publication;
  /** Called after files and signals, in the HTTP stage. Returns the unsubscribe. */
  subscribe(listener: (publication: Publication) => void): () => void;
  sources(): readonly LiveSource[];
  /** Adds the id, and the token where none is given, runs the heart, returns the row as it stands afterwards. */
  register(registration: Registration): SnapshotPayload;
  /** Once the files show what the Snapshot says, or a bound is over: who was told of a view finds it. Never rejects. */
  filesWritten(): Promise<void>;
  /**
   * As systemd names it; null = there is none, there is no systemd, or stopping it would take the machine or the agent with
   * it. Bounded in time; never rejects.
   */
  describeUnit(unit: string): Promise<UnitInfo | null>;
  /** `/sys/fs/cgroup/x` or `/x` below the root of cgroup v2; never throws. */
  lookUpCgroup(text: string): CgroupLookUp;
  /** Which level holds for this payload now; null where there is no such payload. */
  containment(id: string): Containment | null;
  /** Runs the heart on an input; effects are carried out before it returns, but for reports and files over their bound. */
  submit(input: Input): void;
  /** A file for the site (`PUT /joboutputs/NAME`), already checked for name and size; queued if the site does not answer. */
  jobOutput(name: string, body: Buffer, uid: number): Promise<'stored' | 'no_channel' | 'full' | 'taken'>;
  readiness(): { readonly ready: boolean; readonly reason: string };
  /** Liveness: false when the main loop's own work is overdue. */
  health(): { readonly healthy: boolean; readonly reason: string };
  /** Prometheus text exposition. */
  metricsText(): string;
  /** One row, as the owner sees it. */
  payload(id: string): SnapshotPayload | undefined;
  nowMs(): number;
  count(metric: string, labels?: Readonly<Record<string, string>>): void;
}
