/**
 * The heart: one pure function from what was known, what happened and what time it is, to what is true now and what is to
 * be done. No clock, no I/O; a crash is a replay (DESIGN.md, "One direction of flow").
 */

import { clockStepped } from './clock-step.ts';
import { acknowledge, advance, payloadRow } from './escalation.ts';
import { applyReading, CONFIRM_ABSENCE_MS, type KnownNotice, own, pruneGone } from './held.ts';
import { log } from './log.ts';
import { collectNotices, deadlineNotices, isStale, type NoticeInForce, rememberedIds, staleAfterMs } from './notice.ts';
import { observe } from './observe.ts';
import { type MachinePlan, machinePlan, nextPhaseChangeMs } from './phase.ts';
import { buildSnapshot } from './snapshot.ts';
import { markDone, newSource, type PayloadRecord, partsOf, type SourceRecord, type State } from './state.ts';
import type {
  Effect,
  Input,
  Instant,
  PayloadSpec,
  Reading,
  SourceInfo,
  StatedNotice,
  StepResult,
  StepResultReport,
} from './types.ts';

/** Ids are shown with their source in front; the operator may give them back either way. */
const OPERATOR_PREFIX = /^operator\//;

/** Everything that happens goes through here, one thing after the other. */
export function step(before: State, input: Input, now: Instant): StepResult<State> {
  const effects: Effect[] = [];
  let state = apply(forgetIgnored(before, now), input, now, effects);
  const notices = collectNotices(state, now);
  const plan = machinePlan(notices, state.policy, now);
  const setting = new Set(deadlineNotices(notices).map((notice) => notice.id));
  const advanced = advancePayloads(state, plan, setting, now, effects);
  state = advanced.state;
  const snapshot = buildSnapshot(state, notices, plan, now);
  const payloads = Object.values(state.payloads).map((record) => payloadRow(record, state.policy, plan));
  effects.unshift(...changedParts(before, state));
  return { state, snapshot, payloads, effects, wakeAt: wakeAt(state, plan, notices, advanced.wake, now) };
}

function apply(state: State, input: Input, now: Instant, effects: Effect[]): State {
  switch (input.type) {
    case 'tick':
      return state;
    case 'together':
      return input.inputs.reduce((next, each) => apply(next, each, now, effects), state);
    case 'configure':
      return { ...state, policy: input.policy, sources: configured(state, input.sources, now, effects) };
    case 'observation':
      return observed(state, input.observation.source, now, effects, (record) =>
        observe(record, input.observation, now, {
          kindOverrides: state.policy.kindOverrides,
          bootWallMs: state.bootWallMs,
        }),
      );
    case 'operator_notice':
      return operatorReading(state, input.id.replace(OPERATOR_PREFIX, ''), { is: 'present', value: input.notice }, now);
    case 'operator_cancel': {
      const ids =
        input.id === undefined ? Object.keys(state.operator.notices) : [input.id.replace(OPERATOR_PREFIX, '')];
      return ids.reduce((next, id) => operatorReading(next, id, { is: 'negative' }, now), state);
    }
    case 'ignore':
      if (state.operator.ignored.includes(input.id) || !rememberedIds(state, now).has(input.id)) return state;
      return { ...state, operator: { ...state.operator, ignored: [...state.operator.ignored, input.id] } };
    case 'payload_registered':
      return { ...state, payloads: registered(state, input.spec) };
    case 'payload_updated':
      return changePayload(state, input.id, (record) => ({ ...record, spec: { ...record.spec, ...input.change } }));
    case 'payload_gone': {
      if (own(state.payloads, input.id) === undefined) return state;
      const { [input.id]: _, ...rest } = state.payloads;
      effects.push(
        log('info', 'payload_gone', { payload: input.id, why: input.why }, `payload ${input.id} ${input.why}`),
      );
      return { ...state, payloads: rest, tally: { ended: state.tally.ended + 1 } };
    }
    case 'deliverer_gone':
      return changePayload(state, input.id, (record) =>
        record.delivery === 'daemon' ? record : { ...record, delivery: 'daemon' },
      );
    case 'steps_done':
      return stepsDone(state, input.results, now);
    case 'clock_changed':
      return clockStepped(state, input.bootWallMs);
  }
}

/**
 * One process, one payload: registered again, under its old id or another one (after a restart of whoever registers it, or
 * because an answer was lost), it keeps its episode and no step repeats (S3.6).
 */
function registered(state: State, spec: PayloadSpec): State['payloads'] {
  const { pid, startTicks } = spec.target.leader;
  const isSame = ({ spec: { target } }: PayloadRecord) =>
    target.leader.pid === pid && target.leader.startTicks === startTicks;
  const before = Object.values(state.payloads).find(isSame);
  const others = Object.entries(state.payloads).filter(([, record]) => record !== before);
  const delivery = spec.deliverer === undefined ? 'daemon' : 'exec';
  return { ...Object.fromEntries(others), [spec.id]: { spec, delivery, episode: before?.episode ?? null } };
}

/** New sources begin empty; known ones keep what they hold; what is no longer configured is forgotten, and said. */
function configured(state: State, infos: readonly SourceInfo[], now: Instant, effects: Effect[]): State['sources'] {
  const names = new Set(infos.map((info) => info.name));
  for (const name of Object.keys(state.sources)) {
    if (!names.has(name))
      effects.push(
        log('warn', 'source_removed', { source: name }, `${name} is no longer configured: what it said is forgotten`),
      );
  }
  return Object.fromEntries(
    infos.map((info) => {
      const known = own(state.sources, info.name);
      return [info.name, known ? { ...known, info } : newSource(info, now)];
    }),
  );
}

function observed(
  state: State,
  name: string,
  now: Instant,
  effects: Effect[],
  run: (record: SourceRecord) => ReturnType<typeof observe>,
): State {
  const before = own(state.sources, name);
  // A late answer of a source that the configuration has just removed.
  if (before === undefined) return state;
  const { record, effects: logs, confirming, good } = run(before);
  effects.push(...logs);
  if (confirming) effects.push({ type: 'poll_soon', source: name, inMs: CONFIRM_ABSENCE_MS });
  return {
    ...state,
    sources: record === before ? state.sources : { ...state.sources, [name]: record },
    heard: good ? { ...state.heard, [name]: now.mono } : state.heard,
  };
}

function operatorReading(state: State, id: string, reading: Reading<StatedNotice>, now: Instant): State {
  const before = own(state.operator.notices, id);
  const held = applyReading<KnownNotice>(before, reading, now, {
    witnessed: true,
    same: (a, b) => JSON.stringify(a) === JSON.stringify(b),
  });
  if (held === undefined || held === before) return state;
  return {
    ...state,
    operator: { ...state.operator, notices: pruneGone({ ...state.operator.notices, [id]: held }, now) },
  };
}

function changePayload(state: State, id: string, change: (record: PayloadRecord) => PayloadRecord): State {
  const before = own(state.payloads, id);
  if (before === undefined) return state;
  const after = change(before);
  return after === before ? state : { ...state, payloads: { ...state.payloads, [id]: after } };
}

function stepsDone(state: State, results: readonly StepResultReport[], now: Instant): State {
  const plan = machinePlan(collectNotices(state, now), state.policy, now);
  // One copy for the whole batch: a copy for each of a thousand payloads would be a million entries.
  const payloads = { ...state.payloads };
  for (const report of results) {
    const record = own(payloads, report.id);
    if (record === undefined) continue;
    payloads[report.id] =
      record.delivery === 'exec' ? acknowledge(record, state.policy, plan, report) : markDone(record, report);
  }
  return { ...state, payloads };
}

/** An override ends with the notice it was for (S1.5), and not while that is only away for a moment (S1.6). */
function forgetIgnored(state: State, now: Instant): State {
  const { ignored } = state.operator;
  if (ignored.length === 0) return state;
  const remembered = rememberedIds(state, now);
  const left = ignored.filter((id) => remembered.has(id));
  return left.length === ignored.length ? state : { ...state, operator: { ...state.operator, ignored: left } };
}

interface Wake {
  wall: number | null;
  mono: number | null;
}

const earliest = (a: number | null, b: number | null): number | null =>
  a === null ? b : b === null ? a : Math.min(a, b);

function advancePayloads(
  state: State,
  plan: MachinePlan,
  setting: ReadonlySet<string>,
  now: Instant,
  effects: Effect[],
): { readonly state: State; readonly wake: Wake } {
  const wake: Wake = { wall: null, mono: null };
  let payloads: Record<string, PayloadRecord> | null = null;
  for (const record of Object.values(state.payloads)) {
    const result = advance(record, state.policy, plan, (id) => setting.has(id), now);
    const { id, name } = record.spec;
    for (const signal of result.signals) {
      effects.push({ type: 'signal', payload: record.spec, step: signal.step, to: signal.to });
      const fields = { payload: id, signal: signal.step.signal, episode: signal.step.episode, step: signal.step.index };
      if (signal.repeated)
        effects.push(
          log(
            'warn',
            'step_uncertain',
            fields,
            `${name}: ${signal.step.signal} is sent again, the journal does not know whether it went out`,
          ),
        );
    }
    for (const skipped of result.skipped)
      effects.push(
        log(
          'info',
          'step_skipped',
          { payload: id, signal: skipped.signal },
          `${name}: ${skipped.signal} came too late to be of use`,
        ),
      );
    if (result.ended)
      effects.push(
        log(
          'info',
          'episode_ended',
          { payload: id, by: result.ended.by },
          `${name}: stopping ended (${result.ended.by})`,
        ),
      );
    if (result.record !== record) {
      payloads ??= { ...state.payloads };
      payloads[id] = result.record;
    }
    wake.wall = earliest(wake.wall, result.wake.wall);
    wake.mono = earliest(wake.mono, result.wake.mono);
  }
  return { state: payloads === null ? state : { ...state, payloads }, wake };
}

/** Every part that is another object than before is written down; parts that vanished are deleted. */
function changedParts(before: State, after: State): Effect[] {
  const effects: Effect[] = [];
  if (
    before.sources === after.sources &&
    before.payloads === after.payloads &&
    before.operator === after.operator &&
    before.tally === after.tally
  )
    return effects;
  const old = partsOf(before);
  for (const [key, value] of partsOf(after)) {
    if (old.get(key) !== value) effects.push({ type: 'persist', key, value });
    old.delete(key);
  }
  for (const key of old.keys()) effects.push({ type: 'persist', key, value: null });
  return effects;
}

function wakeAt(
  state: State,
  plan: MachinePlan,
  notices: readonly NoticeInForce[],
  payloads: Wake,
  now: Instant,
): Wake {
  const wake: Wake = { wall: earliest(payloads.wall, nextPhaseChangeMs(plan, now.wall)), mono: payloads.mono };
  for (const notice of notices)
    if (notice.planMs !== null && notice.planMs > now.wall) wake.wall = earliest(wake.wall, notice.planMs);
  for (const record of Object.values(state.sources)) {
    const heard = state.heard[record.info.name];
    if (heard === undefined || !record.everGood || isStale(state, record, now)) continue;
    const staleAt = heard + staleAfterMs(record);
    if (Number.isFinite(staleAt)) wake.mono = earliest(wake.mono, staleAt);
  }
  return wake;
}
