/**
 * Every metric there is, in the order in which they are shown: the exposition, packaging/docs/metrics.md and the checks of
 * dashboard and rules are made from this one table. To add one: a row here, and the place that measures it.
 *
 * Names follow the Prometheus conventions: base units, `_total` for counters, `_seconds` and `_timestamp_seconds` for time.
 * HELP says what a person does with it.
 */
import { HOOK_EVENTS, NOTICE_KINDS } from '../lifetime/types.ts';

/** All values that a label can have; or, where they are not known beforehand, what it holds: then MAX_SERIES bounds it. */
export type LabelValues = readonly string[] | string;
export interface MetricDefinition {
  /** A `summary` has `_sum` and `_count` only. */
  readonly type: 'counter' | 'gauge' | 'summary' | 'histogram';
  readonly labels: Readonly<Record<string, LabelValues>>;
  readonly help: string;
  /** Of a histogram: upper bounds, ascending; `+Inf` is added. */
  readonly buckets?: readonly number[];
}

/** From a local file to a metadata service that makes one wait for its time bound. */
const READ_BUCKETS = [0.01, 0.1, 1, 5];
/** A step that is half a second late is lost among the polls of a busy machine; 30 s are what a clock step costs. */
const LATENESS_BUCKETS = [0.1, 0.5, 1, 5, 30];
/** What a payload's signals take at once (turns.ts) is below half a second; 10 s without the loop is "not healthy". */
const DELAY_BUCKETS = [0.01, 0.1, 0.5, 2, 10];

const SOURCE = 'name of the source, such as `directory` or `ec2`';
const REPORTER = 'the way to the site: `joboutputs`, `directory`, `onegate`, `gce`, `vmware`, `azure`';
const SIGNAL = 'name of the signal, such as `SIGTERM`';
const EVENT = [...HOOK_EVENTS, 'step'];

const gauge = (help: string, labels: MetricDefinition['labels'] = {}): MetricDefinition => ({
  type: 'gauge',
  labels,
  help,
});
const counter = (help: string, labels: MetricDefinition['labels'] = {}): MetricDefinition => ({
  type: 'counter',
  labels,
  help,
});
const histogram = (
  help: string,
  buckets: readonly number[],
  labels: MetricDefinition['labels'] = {},
): MetricDefinition => ({ type: 'histogram', labels, help, buckets });

export const METRICS: Readonly<Record<string, MetricDefinition>> = {
  mjf_build_info: gauge('Always 1. The version tells which machines still run an old agent.', {
    version: 'version of the agent',
    nodejs: 'version of its Node.js',
  }),
  mjf_ready: gauge(
    '1 when what is published can be relied on, as /readyz says; 0 at the start and when files cannot be written: read the log.',
  ),
  mjf_healthy: gauge('1 when the main loop does its work, as /healthz says; 0 when the machine is starved or hung.'),

  mjf_shutdown_timestamp_seconds: gauge(
    'UNIX time by which all processing must have ended; absent when no shutdown is foreseen. Subtract time() for a countdown.',
  ),
  mjf_remaining_seconds: gauge(
    'Seconds to the deadline by the clock of this machine, never negative; absent when no shutdown is foreseen.',
  ),
  mjf_drain_timestamp_seconds: gauge(
    'UNIX time from which on the machine takes no new work; absent when none is foreseen.',
  ),
  mjf_stop_timestamp_seconds: gauge(
    'UNIX time at which stopping of payloads begins that state no lead of their own; absent when none is foreseen.',
  ),
  mjf_phase: gauge('1 for the phase the machine is in, 0 for the others. Sum it over machines to see how many drain.', {
    phase: ['running', 'draining', 'stopping', 'stopped'],
  }),
  mjf_overdue: gauge(
    '1 when the deadline has passed and the machine still lives: ask the site why it has not been ended.',
  ),
  mjf_notices: gauge('Announced interruptions in force; 0 of a kind that none is of.', { kind: NOTICE_KINDS }),
  mjf_notices_total: counter('Interruptions announced for the first time. A burst tells of a drain of the site.', {
    kind: NOTICE_KINDS,
  }),
  mjf_promises_broken_total: counter(
    'Interruptions announced with less notice than the host itself promises (grace_secs): show it to the site.',
  ),
  mjf_features: gauge('Published machine and job features; stale ones stand on the last good answer of their source.', {
    state: ['fresh', 'stale'],
  }),

  mjf_termination_allowed: gauge(
    '1 when the site may terminate the machine at any time, 0 when not; absent when the host has not said.',
  ),
  mjf_can_terminate: gauge(
    '1 when the machine can be terminated without loss, 0 when not; absent when no payload was ever registered.',
  ),
  mjf_can_terminate_timestamp_seconds: gauge(
    'UNIX time from which on the machine can be terminated without loss; absent when nobody knows.',
  ),
  mjf_must_not_terminate_until_timestamp_seconds: gauge(
    'UNIX time before which work is lost if the machine is terminated, as a payload reckons; absent when none says so.',
  ),
  mjf_progress_ratio: gauge('How far the payloads are that say so, 0 to 1, in the mean; absent when none does.'),

  mjf_payloads: gauge('Payloads in the care of the agent by state.', { state: ['running', 'stopping', 'stopped'] }),
  mjf_signals_total: counter(
    'Steps of stopping by outcome. `refused` means that a process was not stopped: the log says which and why.',
    { signal: SIGNAL, outcome: ['delivered', 'no_process', 'refused', 'uncertain'] },
  ),
  mjf_step_lateness_seconds: histogram(
    'How much later than planned a signal went out. Above a second the machine is starved, or its clock was set.',
    LATENESS_BUCKETS,
  ),
  mjf_deadline_missed_total: counter(
    'Payloads that were still alive when the deadline of the machine came: give them a longer lead (grace), or look at their steps.',
  ),
  mjf_steps_uncertain_total: counter(
    'Steps of stopping taken once more after a crash that left open whether they had been taken.',
  ),
  mjf_hooks_uncertain_total: counter(
    'Programs of hooks started with MJF_REPEATED=1 after a crash that left open whether they had run.',
  ),
  mjf_unit_starts_uncertain_total: counter(
    'Units started again once more after a crash that left open whether they had been started.',
  ),
  mjf_hooks_total: counter(
    'Programs below hooks.d by outcome; `skipped` for those that no time was left for. The log has what they wrote.',
    { event: EVENT, outcome: ['ok', 'failed', 'timeout', 'not_run', 'skipped', 'unknown'] },
  ),
  mjf_hooks_running: gauge('Events of which programs below hooks.d or web hooks are still being told.'),
  mjf_webhooks_total: counter(
    'Events told to web hooks by outcome; `retried` counts the failed attempts between, `expired` is lost.',
    { event: EVENT, outcome: ['delivered', 'retried', 'refused', 'expired', 'dropped'] },
  ),
  mjf_poweroff_total: counter('Attempts to switch the machine off: after `failed` it stays up and costs money.', {
    outcome: ['asked', 'failed'],
  }),
  mjf_inhibitor_held: gauge(
    '1 while a shutdown by logind waits for the payloads; 0 while none is at stake, or it failed.',
  ),
  mjf_guard_seconds: gauge(
    'How long the guard holds up a shutdown of the machine for payloads; absent where the guard does not run.',
  ),

  mjf_source_up: gauge(
    '1 when the source gives good answers, 0 when it is stale or failed; absent where this machine has no such channel.',
    { source: SOURCE },
  ),
  mjf_source_last_success_timestamp_seconds: gauge(
    'UNIX time of the last good answer; absent when there never was one. What is published is as old as that.',
    { source: SOURCE },
  ),
  mjf_source_request_duration_seconds: histogram(
    'How long readings of the source took, failed ones as well. Slow ones load the metadata service of the site.',
    READ_BUCKETS,
    { source: SOURCE },
  ),
  mjf_source_reads_total: counter('Readings of a source by outcome; `failed` ones have their reason in /v1/sources.', {
    source: SOURCE,
    outcome: ['answer', 'failed', 'no_channel'],
  }),
  mjf_source_faults_total: counter(
    'Values that were not acceptable, by stable code: mend them where the host writes them.',
    { source: SOURCE, error: 'stable code of what is wrong' },
  ),
  mjf_source_clock_offset_seconds: gauge(
    'How far the clock of the host is ahead of ours; only where it is so far off that plans follow it. Mend time synchronisation.',
    { source: SOURCE },
  ),
  mjf_time_jumps_total: counter('Jumps of time: suspend, a clock that was set, or a loop that stood still.', {
    kind: ['suspend', 'clock_step', 'late'],
  }),

  mjf_reports_pending: gauge('Reports to the site that wait for their delivery. Lasting ones: look at the other end.', {
    reporter: REPORTER,
  }),
  mjf_reports_total: counter('Reports to the site by outcome: delivered, failed (tried again) or refused for good.', {
    reporter: REPORTER,
    outcome: ['delivered', 'failed', 'refused'],
  }),
  mjf_report_delay_seconds_total: counter(
    'Seconds that delivered reports had to wait. Divide by the delivered mjf_reports_total for the mean delay.',
    { reporter: REPORTER },
  ),
  mjf_report_spool_errors_total: counter(
    'Files of payloads for the site that could not be kept on disk until they are delivered: look at the state directory.',
  ),
  mjf_last_word_pending: gauge('1 while the last word is due and the site has not taken it yet.'),

  mjf_publish_errors_total: counter('Published files that could not be written: look at the runtime directory.'),
  mjf_publish_duration_seconds: {
    type: 'summary',
    labels: {},
    help: 'Time taken to write the published files. Seconds here mean that the runtime directory is no tmpfs.',
  },
  mjf_journal_errors_total: counter(
    'Times that the journal of steps could not be written any more: a crash now may repeat a step.',
  ),
  mjf_state_errors_total: counter(
    'Times that the state file could not be written any more: a reboot now may forget a notice.',
  ),
  mjf_config_last_reload_successful: gauge(
    '1 when the configuration was taken when it was read last, 0 when it was refused: mjf-agent check says why.',
  ),
  mjf_config_last_reload_success_timestamp_seconds: gauge('UNIX time of the last configuration that was taken.'),
  mjf_log_dropped_total: counter(
    'Log lines lost because the log did not drain: the journal is stuck or the disk full.',
  ),
  mjf_loop_delay_seconds: histogram(
    'How much later than each second the main loop came round: above 0.5 s the machine gives the agent no processor.',
    DELAY_BUCKETS,
  ),

  mjf_http_requests_total: counter(
    'HTTP requests answered. A flood of them costs the machine processor time: see who asks so often.',
    {
      route: 'pattern of the route, `none` for what there is not',
      code: 'HTTP status',
    },
  ),
  mjf_requests_refused_total: counter('HTTP requests refused. A rising one: somebody tries what he may not.', {
    reason: 'code of the problem document',
  }),
  mjf_http_streams_dropped_total: counter('Streams and hanging requests that were turned away or cut off.', {
    reason: ['full', 'undrained'],
  }),
  mjf_metrics_dropped_total: counter(
    'Measurements lost: a fault in the agent, or more series than are allowed. Tell us.',
    {
      reason: ['name', 'label', 'series', 'value'],
    },
  ),

  process_cpu_seconds_total: counter('User and system CPU time spent in seconds.'),
  process_resident_memory_bytes: gauge('Resident memory size in bytes.'),
  process_virtual_memory_bytes: gauge('Virtual memory size in bytes.'),
  process_open_fds: gauge('Number of open file descriptors.'),
  process_max_fds: gauge('Maximum number of open file descriptors.'),
  process_start_time_seconds: gauge(
    'Start time of the process since the UNIX epoch in seconds. changes() of it counts restarts.',
  ),
};
