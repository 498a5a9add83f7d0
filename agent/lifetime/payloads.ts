/** What happens to payloads: they come, change and go, their steps are reported, and their escalations go on. */
import { acknowledge } from './acknowledge.ts';
import { type Advance, advance } from './escalation.ts';
import { own } from './held.ts';
import { log } from './log.ts';
import { collectNotices } from './notice.ts';
import { finalWord, stepEnded, withSaid } from './payload-words.ts';
import { type MachinePlan, machinePlan } from './phase.ts';
import {
  afterEpisode,
  hasStopped,
  isAlive,
  isStarting,
  MAX_UNITS,
  repeatStart,
  started,
  stopsUnits,
  unitRunning,
  unitsStarted,
  wentDown,
} from './restart.ts';
import { markDone, type PayloadRecord, type State } from './state.ts';
import { stepRunId } from './step-run.ts';
import { payloadDeadline } from './steps.ts';
import { isReservation, isSamePayload, pidOf } from './target.ts';
import { type Effect, hookOf, type Input, type Instant, type PayloadChange, type PayloadSpec } from './types.ts';
import { earliest, type Wake } from './wake.ts';
import { payloadEnded } from './words.ts';

export type PayloadInput = Extract<
  Input,
  {
    readonly type:
      | 'payload_registered'
      | 'payload_updated'
      | 'payload_gone'
      | 'units_stopping'
      | 'unit_running'
      | 'units_started'
      | 'deliverer_gone'
      | 'steps_done'
      | 'final_word'
      | 'step_ended'
      | 'step_failed';
  }
>;

export function applyToPayloads(state: State, input: PayloadInput, now: Instant, effects: Effect[]): State {
  switch (input.type) {
    case 'payload_registered':
      return { ...state, payloads: registered(state, input.spec, now) };
    case 'payload_updated':
      return updated(state, input.id, input.change, input.takenBack);
    case 'payload_gone':
      return gone(state, input, now, effects);
    case 'units_stopping': {
      if (input.units.length > MAX_UNITS)
        effects.push(
          log(
            'warn',
            'units_left_out',
            { payload: input.id, count: input.units.length - MAX_UNITS },
            `${input.id} stops more units than can be remembered: the rest is not started again`,
          ),
        );
      return changePayload(state, input.id, (record) => stopsUnits(record, input.units));
    }
    case 'unit_running':
      return changePayload(state, input.id, (record) => unitRunning(record, now));
    case 'units_started':
      return changePayload(state, input.id, (record) => unitsStarted(record, now));
    case 'deliverer_gone':
      return changePayload(state, input.id, (record) =>
        record.delivery === 'daemon' ? record : { ...record, delivery: 'daemon' },
      );
    case 'steps_done':
      return stepsDone(state, input.results, now);
    case 'final_word':
      return finalWord(state, input, effects);
    case 'step_ended':
      return stepEnded(state, input, null, now);
    case 'step_failed':
      return stepEnded(state, input, input.detail, now);
  }
}

/**
 * One process, unit or control group, one payload: registered again, under its old id or another one (after a restart of
 * whoever registers it, or because an answer was lost), it keeps its episode and no step repeats (S3.6), and what it has said
 * of itself stands. A unit that we had stopped runs again if somebody registers it.
 */
function registered(state: State, spec: PayloadSpec, now: Instant): State['payloads'] {
  const before = Object.values(state.payloads).find((record) => isSamePayload(record.spec, spec));
  const others = Object.entries(state.payloads).filter(([, record]) => record !== before);
  const delivery = spec.deliverer === undefined ? 'daemon' : 'exec';
  const kept: PayloadRecord =
    before === undefined ? { spec, delivery, episode: null, registeredMono: now.mono } : unitRunning(before, now);
  return { ...Object.fromEntries(others), [spec.id]: { ...kept, spec: withSaid(spec, kept.spec), delivery } };
}

/** A reservation may become a payload that somebody else has registered meanwhile: it is one payload, with what was done. */
function updated(
  state: State,
  id: string,
  change: PayloadChange,
  takenBack: readonly ('graceMs' | 'steps')[] = [],
): State {
  const before = own(state.payloads, id);
  if (before === undefined) return state;
  const record: PayloadRecord = { ...before, spec: { ...without(before.spec, takenBack), ...change } };
  const twin =
    change.target &&
    Object.values(state.payloads).find((each) => each !== before && isSamePayload(each.spec, record.spec));
  if (twin === undefined) return { ...state, payloads: { ...state.payloads, [id]: record } };
  const { [twin.spec.id]: _, ...rest } = state.payloads;
  const { wasSignalled, failed } = twin;
  const heir: PayloadRecord = {
    ...record,
    spec: withSaid(record.spec, twin.spec),
    ...(record.episode === null && {
      episode: twin.episode,
      ...(wasSignalled && { wasSignalled }),
      ...(failed && { failed }),
    }),
  };
  return { ...state, payloads: { ...rest, [id]: heir } };
}

/** What `[stop]` says counts again (S3.3). */
function without({ graceMs, steps, ...rest }: PayloadSpec, takenBack: readonly ('graceMs' | 'steps')[]): PayloadSpec {
  return {
    ...rest,
    ...(graceMs !== undefined && !takenBack.includes('graceMs') && { graceMs }),
    ...(steps !== undefined && !takenBack.includes('steps') && { steps }),
  };
}

/**
 * A unit that we have stopped keeps its row until the host cancels, and counts as ended from now on; everything else is
 * forgotten. A row that never became a payload has not lived (S5.2), unless its owner says so. Who deregisters has ended as far as we can know.
 */
function gone(
  state: State,
  { id, why, lived }: Extract<PayloadInput, { readonly type: 'payload_gone' }>,
  now: Instant,
  effects: Effect[],
): State {
  const record = own(state.payloads, id);
  if (record === undefined) return state;
  // A stop that has begun is brought to its end, and a unit that it took down is started again on cancel (S3.6).
  if (why === 'unconfigured' && (record.episode?.ended === null || isStarting(record, now))) return state;
  const wasAlive = isAlive(record);
  if (why === 'exited') {
    const isRunning = record.episode?.ended === null;
    if (!wasAlive) return state;
    if (isRunning && hasStopped(record)) {
      effects.push(log('info', 'unit_stopped', { payload: id }, `${record.spec.name} is stopped`));
      return { ...withEnd(state, record, now), payloads: { ...state.payloads, [id]: wentDown(record) } };
    }
    if (isStarting(record, now)) return state;
  }
  const { [id]: _, ...rest } = state.payloads;
  effects.push(log('info', 'payload_gone', { payload: id, why }, `payload ${id} ${why}`));
  // Nobody has said that it ended: it is only none of ours any more (S5.2).
  const hasLived = wasAlive && (lived === true || !isReservation(record.spec)) && why !== 'unconfigured';
  return { ...(hasLived ? withEnd(state, record, now) : state), payloads: rest };
}

const withEnd = (state: State, record: PayloadRecord, now: Instant): State => ({
  ...state,
  tally: { ended: state.tally.ended + 1, lastEndMono: now.mono },
  words: payloadEnded(state, record, now),
});

function changePayload(state: State, id: string, change: (record: PayloadRecord) => PayloadRecord): State {
  const before = own(state.payloads, id);
  if (before === undefined) return state;
  const after = change(before);
  return after === before ? state : { ...state, payloads: { ...state.payloads, [id]: after } };
}

function stepsDone(
  state: State,
  results: Extract<Input, { readonly type: 'steps_done' }>['results'],
  now: Instant,
): State {
  const plan = machinePlan(collectNotices(state, now), state.policy, now);
  // One copy for the whole batch: a copy for each of a thousand payloads would be a million entries.
  const payloads = { ...state.payloads };
  for (const report of results) {
    const record = own(payloads, report.id);
    if (record === undefined) continue;
    // Hook steps are the daemon's also where `exec` delivers the signals.
    const isExecs = record.delivery === 'exec' && hookOf(report.step.signal) === null;
    payloads[report.id] = isExecs ? acknowledge(record, state.policy, plan, report) : markDone(record, report);
  }
  return { ...state, payloads };
}

/** Every payload's escalation as far as it goes now. Signals come first, then hooks, then what is to be started again. */
export function advancePayloads(
  state: State,
  plan: MachinePlan,
  setting: ReadonlySet<string>,
  now: Instant,
  effects: Effect[],
): { readonly state: State; readonly wake: Wake } {
  const wake: Wake = { wall: null, mono: null };
  const hooks: Effect[] = [];
  const starts: Effect[] = [];
  let payloads: Record<string, PayloadRecord> | null = null;
  for (const before of Object.values(state.payloads)) {
    const result = advance(before, state.policy, plan, (id) => setting.has(id), now);
    tellSteps(result, plan, now, effects, hooks);
    const record = restarted(result, now, starts);
    if (record !== before) {
      payloads ??= { ...state.payloads };
      if (record === null) delete payloads[before.spec.id];
      else payloads[before.spec.id] = record;
    }
    wake.wall = earliest(wake.wall, result.wake.wall);
    wake.mono = earliest(wake.mono, result.wake.mono);
  }
  effects.push(...hooks, ...starts);
  return { state: payloads === null ? state : { ...state, payloads }, wake };
}

function tellSteps(result: Advance, plan: MachinePlan, now: Instant, effects: Effect[], hooks: Effect[]): void {
  const { spec } = result.record;
  const { id, name } = spec;
  for (const { step, to, hook, repeated } of result.taken) {
    if (hook === null) effects.push({ type: 'signal', payload: spec, step, to });
    else hooks.push(hookEffect(spec, step, hook, repeated, plan, now));
    if (!repeated) continue;
    const fields = { payload: id, signal: step.signal, episode: step.episode, step: step.index };
    const text = `${name}: ${step.signal} is sent again, the journal does not know whether it went out`;
    effects.push(log('warn', 'step_uncertain', fields, text));
  }
  for (const { signal } of result.skipped)
    effects.push(log('info', 'step_skipped', { payload: id, signal }, `${name}: ${signal} came too late to be of use`));
  if (result.ended) {
    const { by } = result.ended;
    effects.push(log('info', 'episode_ended', { payload: id, by }, `${name}: stopping ended (${by})`));
  }
}

function hookEffect(
  spec: PayloadSpec,
  step: Advance['taken'][number]['step'],
  file: string,
  repeated: boolean,
  plan: MachinePlan,
  now: Instant,
): Effect {
  const { id, name, uid } = spec;
  const deadlineMs = payloadDeadline(spec, plan)?.deadlineMs ?? null;
  return {
    type: 'hook',
    run: {
      id: stepRunId(id, step),
      event: 'step',
      payload: { id, name, uid, pid: pidOf(spec) },
      file,
      step,
      byMs: deadlineMs !== null && deadlineMs > now.wall ? deadlineMs : null,
      repeated,
    },
  };
}

/** What the end of an episode, or a crash after one, means for a unit that we had stopped (S3.6). null: nothing is left of it. */
function restarted({ record, ended: end }: Advance, now: Instant, starts: Effect[]): PayloadRecord | null {
  const { id: payload, name } = record.spec;
  const what = end === null ? 'nothing' : afterEpisode(record);
  if (what === 'drop') return null;
  if (what === 'start') {
    const next = started(record, now);
    const units = next.restart?.start?.units ?? [];
    starts.push(
      { type: 'start_units', payload, units },
      log('info', 'units_starting', { payload, units: units.length }, `${name} is started again`),
    );
    return next;
  }
  const { record: next, units } = repeatStart(record, now);
  if (units !== null) {
    const text = `${name} is started again once more, the journal does not know whether it was`;
    starts.push(
      { type: 'start_units', payload, units },
      log('warn', 'start_uncertain', { payload, units: units.length }, text),
    );
  }
  return next;
}
