/** The configuration as the program uses it: camel case, durations in milliseconds, every default filled in. */
import type { EscalationStep, Policy } from '../lifetime/types.ts';
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
  };
  readonly notice: Policy['kindOverrides'];
  readonly publish: {
    readonly shutdownKeys: Policy['shutdownKeys'];
    /** Also write the deadline here, for readers that look there (DIRAC: `/var/run/shutdown_time`). */
    readonly shutdownTimeFile: string | null;
    readonly linkEtc: boolean;
  };
  readonly report: { readonly joboutputs: JobOutputsConfig | null };
  readonly log: { readonly level: LogLevel };
  /** Group that may use `admin.sock`; null = root alone. */
  readonly adminGroup: string | null;
}

/** `[report.joboutputs]`. Both places null: the table gives only details of a place that the host names. */
export interface JobOutputsConfig {
  readonly url: string | null;
  readonly directory: string | null;
  /** PEM files: authorities of the server, client certificate and its key. */
  readonly caFile: string | null;
  readonly certFile: string | null;
  readonly keyFile: string | null;
  readonly heartbeatFile: string | null;
  readonly heartbeatMs: number;
}
