/**
 * What needs root, asked of the root hand where the agent runs as its own user (SYSTEMS.md, "systemd"): a socket-activated
 * helper with a closed list of verbs, each checked again on its side. Where the agent is root itself it does the same in its
 * own name, through the same interface. Signals never go this way.
 */

/** How a verb ended. `code` is stable: `refused`, `unreachable`, `timeout`, `failed`, `not_found`; `detail` is for people. */
export type HandResult =
  | { readonly ok: true; readonly output: string }
  | { readonly ok: false; readonly code: string; readonly detail: string };

export interface Hand {
  /** `systemctl stop|start --no-block UNIT…`: until the manager has taken the jobs, not until they end. */
  units(verb: 'stop' | 'start', units: readonly string[]): Promise<HandResult>;
  powerOff(): Promise<HandResult>;
  /** Runs a file below the hooks directory as the configured user; ends when the program ends or `timeoutMs` is over. */
  hook(request: HookRequest): Promise<HookOutcome>;
}

export interface HookRequest {
  /** Directory below `hooks.d` and the name in it. */
  readonly directory: string;
  readonly file: string;
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: string;
  readonly timeoutMs: number;
  /** It was started: once, and never where the outcome is `not_run`. */
  onStarted?(program: HookProgram): void;
  /** Started by an earlier run of the agent: it is followed to its end, not started again. */
  readonly resume?: HookProgram;
  /** Each line the program writes, bounded in number and length. */
  onLine(stream: 'stdout' | 'stderr', line: string): void;
  readonly signal?: AbortSignal;
}
/** A program that runs. What a restarted agent needs to know it again; plain JSON. */
export interface HookProgram {
  readonly pid: number;
  readonly startTicks: number;
  /** Its stdout and stderr as `DEVICE:INODE` of the pipes that somebody must go on emptying; empty: the root hand does. */
  readonly pipes: readonly string[];
}
export type HookOutcome =
  /** Code and signal both null: it was followed, not started by us, and how it ended is not known. */
  | { readonly is: 'ended'; readonly code: number | null; readonly signal: string | null; readonly ms: number }
  /** Killed by us when its time was over. */
  | { readonly is: 'timeout'; readonly ms: number }
  | { readonly is: 'not_run'; readonly code: string; readonly detail: string };
