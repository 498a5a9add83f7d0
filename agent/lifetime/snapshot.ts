/** The one truth put together from the state at one moment. */
import { payloadState } from './escalation.ts';
import { byRank, mergeFeatures } from './merge.ts';
import { decisiveNotice, drainNotices, isStale, type NoticeInForce } from './notice.ts';
import { clockOffsetMs } from './observe.ts';
import { type MachinePlan, nextPhaseChangeMs, phaseAt } from './phase.ts';
import { isAlive } from './restart.ts';
import type { PayloadRecord, SourceRecord, State } from './state.ts';
import type {
  CanTerminate,
  Instant,
  PayloadState,
  Pointers,
  Snapshot,
  SnapshotNotice,
  SnapshotSource,
} from './types.ts';

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
    canTerminate: canTerminate(payloads, state.tally.ended),
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

/**
 * The machine's answer to the site as far as the payloads have given theirs (S5.1, S5.2): unknown as long as nobody ever
 * registered, "now" once all have ended, else only what every living payload says of itself.
 */
function canTerminate(payloads: readonly PayloadRecord[], ended: number): CanTerminate | null {
  if (payloads.length === 0) return ended === 0 ? null : { now: true, atMs: null };
  const answers = payloads.map((record) => record.spec.canTerminate);
  if (answers.every((answer) => answer?.now === true)) return { now: true, atMs: null };
  const times = answers.map((answer) => (answer?.now ? 0 : (answer?.atMs ?? null)));
  return { now: false, atMs: times.some((at) => at === null) ? null : Math.max(...times.map(Number)) };
}
