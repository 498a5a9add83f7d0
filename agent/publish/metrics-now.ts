/** Metrics that are true only at the moment of asking: what the truth, its sources and the process are like now. */
import fs from 'node:fs';
import path from 'node:path';
import { NOTICE_KINDS, type Phase, type Snapshot } from '../lifetime/types.ts';
import type { LiveSource } from '../ports.ts';
import type { Labels, Sample } from './metrics.ts';

const PHASES: readonly Phase[] = ['running', 'draining', 'stopping', 'stopped'];

/** The gauges that a Snapshot, and the live view of sources and reporters, mean at `nowMs` (UNIX ms). Nothing known = no sample. */
export function snapshotMetrics(
  snapshot: Snapshot,
  nowMs: number,
  sources: readonly LiveSource[] = [],
  reports: readonly { readonly reporter: string; readonly count: number }[] = [],
): readonly Sample[] {
  const samples: Sample[] = [];
  const add = (name: string, value: number | null, labels?: Labels): void => {
    if (value !== null) samples.push(labels === undefined ? { name, value } : { name, labels, value });
  };
  // On this machine's clock (S4.3).
  const { localDeadlineMs } = snapshot;
  add('mjf_shutdown_timestamp_seconds', secs(snapshot.deadlineMs));
  add('mjf_remaining_seconds', secs(localDeadlineMs === null ? null : Math.max(0, localDeadlineMs - nowMs)));
  add('mjf_drain_timestamp_seconds', secs(snapshot.drainAtMs));
  add('mjf_stop_timestamp_seconds', secs(snapshot.stopAtMs));
  for (const phase of PHASES) add('mjf_phase', snapshot.phase === phase ? 1 : 0, { phase });
  add('mjf_overdue', snapshot.overdue ? 1 : 0);
  add('mjf_termination_allowed', bit(snapshot.terminationAllowed));
  samples.push(...answerMetrics(snapshot));
  const inForce = snapshot.notices.filter(({ expired, ignored }) => !expired && !ignored);
  for (const kind of NOTICE_KINDS)
    add('mjf_notices', inForce.filter((notice) => notice.kind === kind).length, { kind });
  const features = [snapshot.machine, snapshot.job].flatMap((side) => Object.values(side));
  const stale = features.filter((feature) => feature.stale).length;
  add('mjf_features', features.length - stale, { state: 'fresh' });
  add('mjf_features', stale, { state: 'stale' });
  for (const [state, count] of Object.entries(snapshot.payloads)) add('mjf_payloads', count, { state });
  for (const { name, state, clockOffsetSecs } of snapshot.sources) {
    // What this machine never had is not down.
    if (state !== 'absent') add('mjf_source_up', state === 'ok' ? 1 : 0, { source: name });
    add('mjf_source_clock_offset_seconds', clockOffsetSecs, { source: name });
  }
  for (const { name, lastSuccessMs } of sources)
    add('mjf_source_last_success_timestamp_seconds', secs(lastSuccessMs), { source: name });
  for (const { reporter, count } of reports) add('mjf_reports_pending', count, { reporter });
  return samples;
}

/** The machine's answer (S5.1); nothing where there is none. */
function answerMetrics({ canTerminate }: Snapshot): readonly Sample[] {
  if (canTerminate === null) return [];
  const { now, atMs, mustNotUntilMs, progress } = canTerminate;
  const values: readonly (readonly [name: string, value: number | null])[] = [
    ['mjf_can_terminate', bit(now)],
    ['mjf_can_terminate_timestamp_seconds', secs(atMs)],
    ['mjf_must_not_terminate_until_timestamp_seconds', secs(mustNotUntilMs)],
    ['mjf_progress_ratio', progress],
  ];
  return values.flatMap(([name, value]) => (value === null ? [] : [{ name, value }]));
}

const secs = (ms: number | null): number | null => (ms === null ? null : ms / 1000);
const bit = (value: boolean | null): number | null => (value === null ? null : value ? 1 : 0);

/**
 * The process under the names that every Prometheus client uses, so that a site's own panels and alerts fit.
 * `startMs`: UNIX time of its start; the caller keeps it, since one that moved with the clock would look like a restart.
 * Kernel files only, no wait. What cannot be read (hidepid, no /proc) is left out.
 */
export function processMetrics(procRoot: string, startMs: number): readonly Sample[] {
  const { user, system } = process.cpuUsage();
  const self = path.join(procRoot, 'self');
  const values: readonly (readonly [name: string, value: number | null])[] = [
    ['process_cpu_seconds_total', (user + system) / 1e6],
    ['process_resident_memory_bytes', process.memoryUsage.rss()],
    ['process_virtual_memory_bytes', kibibytes(fileOf(path.join(self, 'status'), /^VmSize:\s+(\d+) kB$/m))],
    ['process_open_fds', countOf(path.join(self, 'fd'))],
    ['process_max_fds', fileOf(path.join(self, 'limits'), /^Max open files\s+(\d+)/m)],
    ['process_start_time_seconds', startMs / 1000],
  ];
  return values.flatMap(([name, value]) => (value === null ? [] : [{ name, value }]));
}

const kibibytes = (value: number | null): number | null => (value === null ? null : value * 1024);

function fileOf(file: string, pattern: RegExp): number | null {
  try {
    const found = pattern.exec(fs.readFileSync(file, 'latin1'))?.[1];
    return found === undefined ? null : Number(found);
  } catch {
    return null;
  }
}

function countOf(directory: string): number | null {
  try {
    // Without the one through which it is read.
    return fs.readdirSync(directory).length - 1;
  } catch {
    return null;
  }
}
