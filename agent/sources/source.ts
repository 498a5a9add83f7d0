/**
 * What a source is. To add one: (1) write `sources/NAME.ts` exporting a `SourceDefinition`, with its configuration keys in its
 * own `schema`; (2) add one line to the list in `sources/index.ts`; (3) describe it for the manual in
 * packaging/generate/source-facts.ts and packaging/docs/sources.md. No other file of the program knows sources by their
 * names, but for addresses of metadata services, which pointer-rules.ts keeps from being followed. All of it, with stand-in
 * and tests, step by step: packaging/docs/writing-a-source.md.
 *
 * A platform is made of `parts.ts`, asks through `metadata.ts`, and says in `detect` by what sign it is known.
 *
 * A source only reads. The driver (`driver.ts`) decides when, bounds the time, measures, prevents overlap, adds jitter
 * and keeps the log free of repetition.
 */
import type { Logger } from 'pino';
import type { Answer, Pointers, SourceRank } from '../lifetime/types.ts';
import type { MachineFacts } from './facts.ts';

/**
 * Result of one reading. Throwing is allowed too: a `SourceError` keeps its code, anything else becomes `internal`.
 * `no_channel`: this machine has no such channel now; that is no failure, and clears nothing either. `failure`: what matters most in the channel failed; the rest of what was learnt counts, but the source is not fresh by it.
 */
export type ReadResult =
  | { readonly outcome: 'answer'; readonly answer: Answer; readonly failure?: SourceError }
  | { readonly outcome: 'no_channel'; readonly detail: string };

/** A failure with a stable code, e.g. `http_500`, `timeout`, `hung`, `bad_json`. The message is for people. */
export class SourceError extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.name = 'SourceError';
    this.code = code;
  }
}

export interface ReadContext {
  /** Aborted when the driver's time bound is over or the agent stops. */
  readonly signal: AbortSignal;
  /** The heart waits for a confirmation: do not answer from a cache (S1.6, "ask again each second"). */
  readonly fresh: boolean;
  /** Nobody acts on this answer, and there is no next one: everything in it, however long that takes (`probe`). */
  readonly patient?: boolean;
}

export interface Source {
  readonly name: string;
  readonly rank: SourceRank;
  /** Interval in ms, or a cron expression that a site wrote, or `once` for what cannot change within a boot. */
  readonly poll: number | { readonly cron: string } | 'once';
  /** Longest that one `read` may take, ms. */
  readonly timeoutMs: number;
  read(context: ReadContext): Promise<ReadResult>;
  /**
   * Push, where the channel offers it: call `changed` whenever something may have changed; the driver then reads at once,
   * `fresh` unless told otherwise. The poll goes on all the same. Must end when `signal` is aborted.
   */
  watch?(changed: (fresh?: boolean) => void, signal: AbortSignal): void;
  /** When the next poll is worth while, if the channel says so (HTTP max-age); ms from now. Asked after each read. */
  nextPollMs?(): number | undefined;
  /** Releases what is held (keep-alive sockets, helper processes). Must not block. */
  close?(): void;
  /** Where the host can also be spoken to over this channel. */
  readonly back?: WayBack;
}

/**
 * The way back to the host: only what is particular to the channel stands here; what is said, and when, is the reporters'
 * business (report/). Each call ends within the source's own bound or when `signal` is aborted, and may be repeated.
 * Throws a `SourceError` when the host did not take it; `no_channel` where this host has no such way, `gone` where there is
 * nothing left to say it to, `bad_name` and `bad_value` for what could never be said (told-values.ts).
 */
export interface WayBack {
  /** Named values (`[a-z0-9_]+`, one line each) in the platform's place for them; null takes one away. */
  tell?(values: Readonly<Record<string, string | null>>, signal: AbortSignal): Promise<void>;
  /** The host may begin with what it announced under this id of its own. */
  acknowledge?(event: string, signal: AbortSignal): Promise<void>;
}

/** One question put to the host and what came of it: what `probe` shows a person. */
export interface TraceEntry {
  readonly source: string;
  /** `GET http://169.254.169.254/latest/meta-data/spot/instance-action`, without query and headers; a path; a D-Bus property. */
  readonly asked: string;
  /** `200`, `404`, `timeout`, `present`, …; short, without content, which may be secret. */
  readonly answered: string;
  readonly tookMs: number;
}

/** What every source may use of its surroundings; every root is an option, so that tests need no mocks. */
export interface SourceEnvironment {
  /** Where `/proc`, `/sys`, `/etc`, `/run` begin; `/` outside tests. */
  readonly root: string;
  /** The agent's own output: never read as a source (DESIGN.md, Interfaces). */
  readonly runtimeDir: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
  /** Instant of the first boot of this machine, UNIX ms, persisted. */
  readonly firstBootMs: number;
  /** What the firmware and the disks say of this machine. */
  readonly facts: MachineFacts;
  /** Where a platform's metadata says that the features are (mjf.md, "Locations"). */
  readonly pointers: Pointers;
  /** Told of every question that is put to the host, where somebody wants to know (`probe`). */
  readonly trace?: (entry: TraceEntry) => void;
  /** Nothing may be left on this machine that was not there before (`probe`): no copy of a drive where others would find it. */
  readonly leavesNothing?: boolean;
  /** How to start this very program again with other arguments (the reader child of `directory`). */
  readonly self: { readonly command: string; readonly args: readonly string[] };
}

/**
 * What stands in `sources/index.ts`, one a source. `schema` is JSON Schema of its `[source.NAME]` table, as
 * config/schema.ts reads it: each key with a `description`. Of all tables alike `enabled` is obeyed (create.ts) and `poll`,
 * `slow_poll`, `base_url`, `ca`, `cert`, `key`, `machinefeatures` and `jobfeatures` are checked by their names (config/rules.ts).
 */
export interface SourceDefinition<Config> {
  readonly name: string;
  readonly schema: Readonly<Record<string, unknown>>;
  /**
   * For a channel that only some machines have: the sign that this one has it, for a person (`sys_vendor is "Amazon EC2"`),
   * or undefined. No network, no waiting. Absent: `create` decides by itself.
   */
  detect?(facts: MachineFacts): string | undefined;
  /** Keys of the table that name the channel itself (`base_url`): who writes one wants the source, detected or not. */
  readonly explicitKeys?: readonly string[];
  /** Its place may be named by another source's answer (`Answer.pointers`): made again when that happens. */
  readonly followsPointers?: true;
  /** Zero sources when the channel is neither configured nor found; several where one table names several. */
  create(config: Config, environment: SourceEnvironment): readonly Source[];
}
