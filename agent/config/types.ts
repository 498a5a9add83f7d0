/** The configuration as the program uses it: camel case, durations in milliseconds, every default filled in. */
import type { EscalationStep, FinalWord, HookEvent, Policy } from '../lifetime/types.ts';
import type { ListenAddress } from './listen.ts';
import type { LogLevel } from './log-levels.ts';

export interface Config {
  readonly listen: 'off' | readonly ListenAddress[];
  readonly runtimeDir: string;
  readonly stateDir: string;
  /** What a restart within this boot must know (SYSTEMS.md, "Signals"). */
  readonly journalDir: string;
  /** Names from `sources/index.ts`; `auto` = each decides whether its channel exists. */
  readonly sources: 'auto' | readonly string[];
  /** The validated table of each source as written; absent = no such table. */
  readonly source: Readonly<Record<string, unknown>>;
  readonly stop: {
    readonly drainMs: number;
    readonly graceMs: number;
    readonly steps: readonly EscalationStep[];
    readonly atDeadline: 'nothing' | 'poweroff';
    /** S5.2: payloads have lived and all have ended, for `idleMs`. */
    readonly whenDone: 'nothing' | 'poweroff';
    readonly idleMs: number;
  };
  /** `[[payload]]`, in their order. */
  readonly payloads: readonly ConfiguredPayload[];
  readonly hooks: HooksConfig;
  /** `[[webhook]]`. */
  readonly webhooks: readonly WebhookConfig[];
  /** Socket of the root hand (SYSTEMS.md, "systemd"); asked only where the agent itself may not. */
  readonly handSocket: string;
  readonly notice: Policy['kindOverrides'];
  readonly publish: {
    readonly shutdownKeys: Policy['shutdownKeys'];
    /** Also write the deadline here, for readers that look there (DIRAC: `/var/run/shutdown_time`). */
    readonly shutdownTimeFile: string | null;
    readonly linkEtc: boolean;
  };
  readonly report: ReportConfig;
  readonly log: { readonly level: LogLevel };
  /** Group that may use `admin.sock`; null = root alone. */
  readonly adminGroup: string | null;
}

/** `[[payload]]`: something to stop that does not register itself. */
export interface ConfiguredPayload {
  /** Unique among them. */
  readonly name: string;
  readonly find:
    | { readonly by: 'unit'; readonly unit: string }
    | { readonly by: 'cgroup'; readonly path: string }
    /** The file's owner must be root or this user; so must the process be this user's. */
    | { readonly by: 'pidfile'; readonly file: string; readonly user: string }
    /** Tried on the command line, its words joined by blanks. */
    | { readonly by: 'match'; readonly user: string; readonly command: RegExp };
  /** For pidfile: the process group too. */
  readonly group: boolean;
  readonly graceMs: number | null;
  readonly steps: readonly EscalationStep[] | null;
  readonly restartOnCancel: boolean;
}

/** `[hooks]`: programs that are run when the machine's state changes. */
export interface HooksConfig {
  /** Holds `notice/ draining/ stopping/ stopped/ cancelled/ can_terminate/` and `steps/`. */
  readonly dir: string;
  /** As whom they run; null = as the agent itself. */
  readonly user: string | null;
  /** The longest a program may run where no deadline ends it earlier. */
  readonly timeoutMs: number;
}

/** `[[webhook]]`: where the Snapshot is POSTed to when the machine's state changes. */
export interface WebhookConfig {
  readonly url: string;
  readonly events: readonly HookEvent[];
  /** File with the value of the Authorization header, read at each use; null = none. */
  readonly authorizationFile: string | null;
  readonly caFile: string | null;
  readonly certFile: string | null;
  readonly keyFile: string | null;
}

/** `[report]`: how the machine's answer and last word reach the site. What is not there for a machine is not used. */
export interface ReportConfig {
  readonly joboutputs: JobOutputsConfig | null;
  /** The answer as key files in a directory that the host shares; used where it exists. */
  readonly directory: { readonly enabled: boolean; readonly path: string };
  readonly onegate: { readonly enabled: boolean };
  readonly gce: { readonly enabled: boolean };
  readonly vmware: { readonly enabled: boolean };
  /** `ackShared`: also events that are about other machines, too (S5.4). */
  readonly azure: { readonly enabled: boolean; readonly ackShared: boolean };
  /** `[report.codes]`: what an exit code of `exec`'s payload means to the site. Keys `0` to `255`, `signal`, `other`. */
  readonly codes: Readonly<Record<string, FinalWord>>;
}

/** `[report.joboutputs]`. Both places null: the table gives only details of a place that the host names. */
export interface JobOutputsConfig {
  readonly enabled: boolean;
  readonly url: string | null;
  readonly directory: string | null;
  /** PEM files: authorities of the server, client certificate and its key. */
  readonly caFile: string | null;
  readonly certFile: string | null;
  readonly keyFile: string | null;
  readonly heartbeatFile: string | null;
  readonly heartbeatMs: number;
}
