/**
 * What `mjf-agent probe --json` prints. An interface for scripts: fields may be added, none changes its meaning. Instants
 * are UNIX seconds, durations milliseconds, `null` means "none" or "not asked". URLs stand without user, password and query.
 */
import type { NoticeKind, Phase, Pointers, SourceRank } from '../lifetime/types.ts';

export interface ProbeReport {
  readonly machine: ProbedMachine;
  /** The daemon of this runtime directory. What it says may differ from `would`: it remembers, and hears the operator. */
  readonly daemon: { readonly running: boolean; readonly phase: string | null; readonly deadline: number | null };
  /** One row for each source that was made; one, not used, for each kind of source of which none was. */
  readonly sources: readonly ProbedSource[];
  /** Where the features are by a platform's metadata; those places were asked too. */
  readonly pointers: Pointers;
  readonly would: ProbedWould;
  readonly hints: readonly Hint[];
  readonly took_ms: number;
}

/** What detection goes by: nothing of this is asked over a wire. */
export interface ProbedMachine {
  /** Files of /sys/class/dmi/id by their names. */
  readonly dmi: Readonly<Record<string, string>>;
  /** Labels of block devices. */
  readonly labels: readonly string[];
  /** The cloud by cloud-init. */
  readonly cloud_id: string | null;
  /** /sys/hypervisor/uuid (Xen). */
  readonly hypervisor_uuid: string | null;
  /** Whether QEMU offers files (fw_cfg). */
  readonly fw_cfg: boolean;
}

export interface ProbedSource {
  readonly name: string;
  readonly used: boolean;
  /**
   * `configured`, `environment` ($MACHINEFEATURES or $JOBFEATURES), `detected`, `metadata` (its place is named there), `always`
   * (asked on every machine); not used: `not detected`, `not configured`, `turned off`, `not listed`, `nothing to ask`.
   */
  readonly why: string;
  /** The sign by which the platform was detected, used or not. */
  readonly sign: string | null;
  /** Whether it leads to a host, or tells of this machine itself (`static`, `self`, `logind`, `schedule`). */
  readonly channel: 'host' | 'machine';
  /** Where it stands when several give the same key. */
  readonly rank: SourceRank | null;
  /** Of one reading. `no_channel`: this machine does not have it, which is no failure. */
  readonly outcome: 'answer' | 'no_channel' | 'failed' | null;
  /** Stable code of the failure: `timeout`, `refused`, `http_403`, `hung`, … */
  readonly error: string | null;
  /** A sentence on the failure or the missing channel. */
  readonly detail: string | null;
  readonly took_ms: number | null;
  /** How far the host's clock is ahead of ours, where that is more than half a minute. */
  readonly clock_offset_secs: number | null;
  /** Keys and notices (`machine/KEY`, `job/KEY`, `notice/ID`) of which no good value came, with the code of the reason. */
  readonly faults: Readonly<Record<string, string>>;
  /** Every question in the order in which they ended; sources that read files do not list them. */
  readonly asked: readonly ProbedQuestion[];
}

export interface ProbedQuestion {
  /** `GET http://169.254.169.254/latest/meta-data/spot/instance-action` */
  readonly what: string;
  /** HTTP status, or a code such as `timeout`. */
  readonly answered: string;
  readonly took_ms: number;
}

/** What an agent that knows nothing yet would make of these answers. */
export interface ProbedWould {
  readonly phase: Phase;
  readonly deadline: number | null;
  /** When it would begin to drain, and to stop payloads. */
  readonly drain_at: number | null;
  readonly stop_at: number | null;
  readonly reason: string | null;
  readonly termination_allowed: boolean | null;
  readonly notices: readonly {
    readonly id: string;
    readonly source: string;
    readonly kind: NoticeKind;
    readonly deadline: number | null;
    readonly reason: string;
    /** Before this boot: shown, not acted on. */
    readonly expired: boolean;
  }[];
  readonly machinefeatures: Readonly<Record<string, ProbedFeature>>;
  readonly jobfeatures: Readonly<Record<string, ProbedFeature>>;
}

export interface ProbedFeature {
  readonly value: string;
  readonly source: string;
}

export interface Hint {
  /** Stable: `nothing_found`, `unreachable`, `forbidden`, … (hints.ts). */
  readonly code: string;
  /** What to check or configure. */
  readonly text: string;
}
