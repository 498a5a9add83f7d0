/** `/v1/lifetime` and `lifetime.json` as far as tests look into them. */

export interface Feature {
  readonly value: string;
  readonly source: string;
  readonly since: number;
  readonly stale: boolean;
}

export interface Lifetime {
  readonly phase: string;
  readonly deadline: number | null;
  readonly grace_secs: number | null;
  readonly drain_at: number | null;
  readonly stop_at: number | null;
  readonly stop_grace_secs: number;
  readonly reason: string | null;
  readonly overdue: boolean;
  readonly termination_allowed: boolean | null;
  readonly can_terminate: {
    readonly now: boolean;
    readonly at: number | null;
    readonly must_not_until: number | null;
    readonly progress: number | null;
  } | null;
  readonly notices: readonly {
    readonly id: string;
    readonly source: string;
    readonly kind: string;
    readonly deadline: number | null;
    readonly first_seen: number;
  }[];
  readonly machinefeatures: Readonly<Record<string, Feature>>;
  readonly jobfeatures: Readonly<Record<string, Feature>>;
  readonly sources: readonly {
    readonly name: string;
    readonly state: string;
    readonly since: number;
    readonly error?: string;
    readonly faults?: Readonly<Record<string, string>>;
  }[];
  readonly payloads: { readonly running: number; readonly stopping: number; readonly stopped: number };
}
