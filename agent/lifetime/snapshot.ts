/** The one truth put together from the state at one moment. */
import { machineAnswer } from './answer.ts';
import { payloadState } from './escalation.ts';
import { byRank, mergeFeatures } from './merge.ts';
import { decisiveNotice, drainNotices, isStale, type NoticeInForce } from './notice.ts';
import { clockOffsetMs } from './observe.ts';
import { type MachinePlan, nextPhaseChangeMs, phaseAt } from './phase.ts';
import { isAlive } from './restart.ts';
import type { SourceRecord, State } from './state.ts';
import type { Instant, PayloadState, Pointers, Snapshot, SnapshotNotice, SnapshotSource } from './types.ts';

export function buildSnapshot(
  state: State,
  notices: readonly NoticeInForce[],
  plan: MachinePlan,
  now: Instant,
): Snapshot {
  const decisive = decisiveNotice(notices);
  // Units that we stopped are among those that have ended.
  const payloads = Object.values(state.payloads).filter(isAlive);
  const phase = phaseAt(plan, now.wall, payloads.length);
  const publishShutdown = state.policy.shutdownKeys === 'always' || phase !== 'running';
  const machine = mergeFeatures(state, 'machine', decisive, publishShutdown, now);
  const job = mergeFeatures(state, 'job', decisive, publishShutdown, now);
  const grace = machine['grace_secs'] ?? job['grace_secs_job'];
  const allowed = machine['termination_allowed'] ?? job['termination_allowed'];
  const cause = decisive ?? drainNotices(notices)[0];
  const counted: Record<PayloadState, number> = { running: 0, stopping: 0, stopped: state.tally.ended };
  for (const record of payloads) counted[payloadState(record)] += 1;
  return {
    phase,
    deadlineMs: decisive?.deadlineMs ?? null,
    localDeadlineMs: plan.deadlineMs,
    graceSecs: grace === undefined ? null : Number(grace.value),
    stopGraceSecs: state.policy.graceMs / 1000,
    drainAtMs: plan.drainAtMs,
    stopAtMs: plan.stopAtMs,
    reason: cause === undefined ? null : `${cause.source}: ${cause.reason}`,
    overdue: plan.deadlineMs !== null && now.wall >= plan.deadlineMs,
    terminationAllowed: allowed === undefined ? null : allowed.value === '1',
    canTerminate: machineAnswer(
      payloads.map(({ spec }) => spec),
      state.tally.ended,
      now.wall,
    ),
    notices: notices.map(shown),
    machine,
    job,
    pointers: pointersOf(state),
    sources: Object.values(state.sources).map((record) => sourceState(state, record, now)),
    payloads: counted,
    nextChangeMs: nextPhaseChangeMs(plan, now.wall),
  };
}

function shown(notice: NoticeInForce): SnapshotNotice {
  const { planMs: _planMs, confirmed: _confirmed, sinceMs: _sinceMs, ...rest } = notice;
  return rest;
}

/** The strongest source's word for each place. */
export const pointersOf = (state: State): Pointers =>
  Object.assign({}, ...[...byRank(state)].reverse().map((record) => record.pointers));

function sourceState(state: State, record: SourceRecord, now: Instant): SnapshotSource {
  const stale = isStale(state, record, now);
  const offsetMs = clockOffsetMs(record);
  return {
    name: record.info.name,
    state: stale ? 'stale' : record.state,
    sinceMs: record.sinceMs,
    error: record.error,
    clockOffsetSecs: offsetMs === 0 ? null : Math.round(offsetMs / 1000),
    faults: record.faults,
  };
}
