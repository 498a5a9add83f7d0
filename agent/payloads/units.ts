/** systemd's units as payloads: what they are, stopped and started through systemd (SYSTEMS.md, "systemd"). Not written yet. */
export interface UnitInfo {
  /** As systemd names it (aliases resolved). */
  readonly unit: string;
  readonly active: boolean;
  /** Below the root of cgroup v2; where it will be when it is not running. */
  readonly cgroup: string;
  /** TimeoutStopSec; null = infinity, or it has none (a slice). */
  readonly stopTimeoutMs: number | null;
}
