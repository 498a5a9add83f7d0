/**
 * The heart: one pure function from what was known, what happened and what time it is, to what is true now and what is to
 * be done. No clock, no I/O; a crash is a replay (DESIGN.md, "One direction of flow").
 */

import { answerWake } from './answer.ts';
import { clockStepped } from './clock-step.ts';
import { payloadRow } from './escalation.ts';
import { applyReading, CONFIRM_ABSENCE_MS, type KnownNotice, own, pruneGone } from './held.ts';
import { advanceHooks, hookEnded } from './hooks.ts';
import { log } from './log.ts';
import { collectNotices, deadlineNotices, isStale, type NoticeInForce, rememberedIds, staleAfterMs } from './notice.ts';
import { observe } from './observe.ts';
import { advancePayloads, applyToPayloads } from './payloads.ts';
import { type MachinePlan, machinePlan, nextPhaseChangeMs } from './phase.ts';
import { powerOff } from './power.ts';
import { isAlive } from './restart.ts';
import { buildSnapshot } from './snapshot.ts';
import { newSource, partsOf, type SourceRecord, type State } from './state.ts';
import type {
  Effect,
  Input,
  Instant,
  Policy,
  Reading,
  Snapshot,
  SourceInfo,
  StatedNotice,
  StepResult,
} from './types.ts';
import { earliest, type Wake } from './wake.ts';
import { lastWord, lastWordWake, releasedNotices } from './words.ts';

/** Ids are shown with their source in front; the operator may give them back either way. */
const OPERATOR_PREFIX = /^operator\//;

/** Everything that happens goes through here, one thing after the other. */
export function step(before: State, input: Input, now: Instant): StepResult<State> {
  const effects: Effect[] = [];
  let state = apply(forgetIgnored(before, now), input, now, effects);
  const notices = collectNotices(state, now);
  const plan = machinePlan(notices, state.policy, now);
  state = seesPast(state, plan, now);
  const setting = new Set(deadlineNotices(notices).map((notice) => notice.id));
  const advanced = advancePayloads(state, plan, setting, now, effects);
  state = advanced.state;
  const snapshot = buildSnapshot(state, notices, plan, now);
  const told = tellHooks(state, notices, snapshot, now, effects);
  state = told.state;
  const payloads = Object.values(state.payloads).map((record) => payloadRow(record, state.policy, plan));
  const power = powerOff(state, plan, now);
  effects.unshift(...changedParts(before, state));
  const answer = answerWake(
    Object.values(state.payloads).flatMap((record) => (isAlive(record) ? [record.spec] : [])),
    now,
  );
  const wake = wakeAt(
    state,
    plan,
    notices,
    [advanced.wake, told.wake, power.wake, answer, lastWordWake(plan, now)],
    now,
  );
  return {
    state,
    snapshot,
    payloads,
    effects,
    powerOff: power.why,
    lastWord: lastWord(state, snapshot.phase, plan, now),
    released: releasedNotices(state, snapshot.phase, deadlineNotices(notices)),
    wakeAt: wake,
  };
}

function apply(state: State, input: Input, now: Instant, effects: Effect[]): State {
  switch (input.type) {
    case 'tick':
      return state;
    case 'together':
      return input.inputs.reduce((next, each) => apply(next, each, now, effects), state);
    case 'configure':
      return {
        ...state,
        policy: input.policy,
        sources: configured(state, input.sources, now, effects),
        unfoundSinceMono: mayBringPayloads(state.policy, input.policy) ? now.mono : state.unfoundSinceMono,
      };
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
      const { operator } = state;
      // Of a host's notice it is the override that is taken back.
      if (input.id !== undefined && !OPERATOR_PREFIX.test(input.id) && operator.ignored.includes(input.id))
        return { ...state, operator: { ...operator, ignored: operator.ignored.filter((id) => id !== input.id) } };
      const ids =
        input.id === undefined ? Object.keys(state.operator.notices) : [input.id.replace(OPERATOR_PREFIX, '')];
      return ids.reduce((next, id) => operatorReading(next, id, { is: 'negative' }, now), state);
    }
    case 'ignore':
      if (state.operator.ignored.includes(input.id) || !rememberedIds(state, now).has(input.id)) return state;
      return { ...state, operator: { ...state.operator, ignored: [...state.operator.ignored, input.id] } };
    case 'hook_ended': {
      const hooks = hookEnded(state.hooks, input.run, input.part);
      return hooks === state.hooks ? state : { ...state, hooks };
    }
    case 'clock_changed':
      return clockStepped(state, input.bootWallMs, now);
    default:
      return applyToPayloads(state, input, now, effects);
  }
}

/** The machine's news for the operator's programs, after everything that must not wait for them. */
function tellHooks(
  state: State,
  notices: readonly NoticeInForce[],
  { phase, overdue, localDeadlineMs: deadlineMs, canTerminate }: Snapshot,
  now: Instant,
  effects: Effect[],
): { readonly state: State; readonly wake: Wake } {
  const news = {
    notices,
    phase,
    overdue,
    deadlineMs,
    canTerminate: canTerminate?.now === true,
    remembered: () => rememberedIds(state, now),
  };
  const told = advanceHooks(state.hooks, news, now);
  effects.push(...told.effects);
  return { state: told.hooks === state.hooks ? state : { ...state, hooks: told.hooks }, wake: told.wake };
}

/** Counted from when it was seen: a clock that is set, or a late announcement, may put the deadline into the past by hours. */
function seesPast(state: State, { acting }: MachinePlan, now: Instant): State {
  const isPast = acting !== undefined && now.wall >= acting.deadlineMs;
  if (isPast === (state.pastSinceMono !== null)) return state;
  return { ...state, pastSinceMono: isPast ? now.mono : null };
}

/**
 * The heart does not hear of a new [[payload]] before it is found. A configuration under which the machine may be switched
 * off sooner must not do so over one that came with it (S5.2).
 */
const mayBringPayloads = (before: Policy, after: Policy): boolean =>
  after.whenDone === 'poweroff' && (before.whenDone !== 'poweroff' || after.idleMs < before.idleMs);

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

/** An override ends with the notice it was for (S1.5), and not while that is only away for a moment (S1.6). */
function forgetIgnored(state: State, now: Instant): State {
  const { ignored } = state.operator;
  if (ignored.length === 0) return state;
  const remembered = rememberedIds(state, now);
  const left = ignored.filter((id) => remembered.has(id));
  return left.length === ignored.length ? state : { ...state, operator: { ...state.operator, ignored: left } };
}

/** Every part that is another object than before is written down; parts that vanished are deleted. */
function changedParts(before: State, after: State): Effect[] {
  const effects: Effect[] = [];
  if (
    before.sources === after.sources &&
    before.payloads === after.payloads &&
    before.operator === after.operator &&
    before.tally === after.tally &&
    before.words === after.words &&
    before.hooks === after.hooks
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
  others: readonly Wake[],
  now: Instant,
): Wake {
  const wake: Wake = { wall: nextPhaseChangeMs(plan, now.wall), mono: null };
  for (const other of others) {
    wake.wall = earliest(wake.wall, other.wall);
    wake.mono = earliest(wake.mono, other.mono);
  }
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
