/** What the page reads of the agent's own answers. They come from this very program; texts in them come from anywhere. */

export interface Lifetime {
  readonly phase: string;
  /** UNIX seconds, like all times here; on the host's clock. */
  readonly deadline: number | null;
  /** On this machine's clock, like `stop_at`. */
  readonly drain_at: number | null;
  readonly stop_at: number | null;
  readonly grace_secs: number | null;
  readonly reason: string | null;
  readonly overdue: boolean;
  readonly termination_allowed: boolean | null;
  readonly can_terminate: Answer | null;
  readonly notices: readonly Notice[];
  readonly machinefeatures: Features;
  readonly jobfeatures: Features;
  readonly sources: readonly {
    readonly name: string;
    readonly state: string;
    readonly error?: string;
    readonly clock_offset_secs?: number;
  }[];
  readonly payloads: Readonly<Record<string, number>>;
}
export interface Answer {
  readonly now: boolean;
  readonly at: number | null;
  readonly must_not_until: number | null;
  readonly progress: number | null;
}
export interface Notice {
  readonly id: string;
  readonly source: string;
  readonly kind: string;
  readonly deadline: number | null;
  readonly reason: string;
  readonly first_seen: number;
  readonly stale: boolean;
  readonly expired?: true;
  readonly ignored?: true;
  readonly broken_promise?: true;
}
export interface Feature {
  readonly value: string;
  readonly source: string;
  readonly since: number;
  readonly stale: boolean;
}
export type Features = Readonly<Record<string, Feature>>;

export interface Source {
  readonly name: string;
  readonly state: string;
  readonly last_success: number | null;
  readonly last_error: { readonly code: string; readonly detail: string; readonly at: number } | null;
  readonly latency_ms: number | null;
  readonly poll_secs: number;
  readonly faults: Readonly<Record<string, string>>;
  readonly history: readonly Reading[];
}
export interface Reading {
  readonly at: number;
  readonly latency_ms: number;
  readonly outcome: string;
  readonly error: string | null;
}

export interface Step {
  readonly signal: string | null;
  readonly hook: string | null;
  readonly due: number | null;
  readonly state: string;
}
export interface Payload {
  readonly id: string;
  readonly name: string;
  readonly uid: number;
  readonly target: string;
  readonly pid: number | null;
  readonly state: string;
  readonly deadline: number | null;
  readonly stop_at: number | null;
  readonly steps: readonly Step[];
  readonly can_terminate: { readonly now: boolean; readonly at: number | null } | null;
  readonly needs_until: number | null;
  readonly progress: number | null;
  readonly final_word: { readonly code: number; readonly text: string } | null;
}

export interface History {
  readonly since: number;
  readonly events: readonly {
    readonly at: number;
    readonly kind: string;
    readonly text: string;
    readonly deadline?: number;
  }[];
}
