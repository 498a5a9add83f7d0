/**
 * Drives the heart as the agent does, with clocks that the test turns: holds the state, follows `wakeAt` to the
 * millisecond, keeps a journal from the `persist` effects alone, and says `steps_done` for what it was told to signal.
 */
import assert from 'node:assert/strict';
import {
  DEFAULT_POLICY,
  initialState,
  outlivesBoot,
  partsOf,
  restoreState,
  type State,
} from '../../agent/lifetime/state.ts';
import { step } from '../../agent/lifetime/step.ts';
import type {
  CanTerminate,
  Effect,
  FeatureReading,
  HookRun,
  Input,
  Instant,
  MachineAnswer,
  NoticeKind,
  PayloadSpec,
  Policy,
  Reading,
  Snapshot,
  SnapshotNotice,
  SnapshotPayload,
  SourceInfo,
  SourceRank,
  StatedNotice,
  StepRef,
  StepResult,
  StepResultReport,
} from '../../agent/lifetime/types.ts';

export const SECOND = 1_000;
export const MINUTE = 60_000;
export const HOUR = 3_600_000;
/** Where a history begins on the wall clock: a whole second, well after boot. */
export const START = 1_766_440_000_000;
const UPTIME_MS = 2 * HOUR;
export const BOOT = START - UPTIME_MS;
/** Programs run for the machine's news, or for a step. */
export interface Ran {
  readonly run: HookRun;
  readonly at: Instant;
  readonly tick: number;
}
/** Units started again. */
export interface Started {
  readonly id: string;
  readonly units: readonly string[];
  readonly at: Instant;
}

/** More wake-ups than this without time passing is a loop that would burn a processor. */
const MOST_TICKS_AT_ONCE = 50;

export interface Sent {
  readonly id: string;
  readonly signal: string;
  readonly to: string;
  readonly step: StepRef;
  readonly at: Instant;
  /** Number of the `step` call that sent it: what shares it shared a tick. */
  readonly tick: number;
}

export type KeySaid = string | Reading<string>;
export interface SideSaid {
  readonly channel?: string;
  readonly complete?: boolean;
  readonly keys: Readonly<Record<string, KeySaid>>;
}
export interface Said {
  readonly machine?: Readonly<Record<string, KeySaid>> | SideSaid;
  readonly job?: Readonly<Record<string, KeySaid>> | SideSaid;
  readonly notices?: Readonly<Record<string, Reading<StatedNotice>>>;
  /** False: notices that are not mentioned were not asked for. */
  readonly complete?: boolean;
  readonly hostNowMs?: number;
}

export const ABSENT = { is: 'absent' } as const;
export const NEGATIVE = { is: 'negative' } as const;
export const UNKNOWN = { is: 'unknown', error: 'http_500' } as const;

export function present(
  kind: NoticeKind,
  deadlineMs: number | null,
  more: Partial<StatedNotice> = {},
): Reading<StatedNotice> {
  return { is: 'present', value: { kind, deadlineMs, reason: kind, ...more } };
}

/** The machine's answer of payloads of which none says how far it is, nor what would be lost. */
export const answer = (now: boolean, atMs: number | null): MachineAnswer => ({
  now,
  atMs,
  mustNotUntilMs: null,
  progress: null,
});

export const secs = (ms: number): string => String(Math.floor(ms / 1000));

export function source(name: string, rank: SourceRank = 'platform', pollMs = SECOND): SourceInfo {
  return { name, rank, pollMs };
}
export const DIRECTORY = source('directory', 'directory');
export const EC2 = source('ec2', 'platform');

let nextPid = 1000;
export function payload(id: string, more: Partial<PayloadSpec> = {}): PayloadSpec {
  const leader = { pid: nextPid++, startTicks: 7 };
  return { id, name: id, uid: 1000, target: { kind: 'process', leader, group: true }, registeredMs: START, ...more };
}

/** A payload that is a unit of systemd. */
export function unit(id: string, more: Partial<PayloadSpec> = {}, stopTimeoutMs?: number): PayloadSpec {
  const target = { kind: 'unit', unit: `${id}.service`, cgroup: `/system.slice/${id}.service` } as const;
  return payload(id, { uid: 0, target: { ...target, ...(stopTimeoutMs !== undefined && { stopTimeoutMs }) }, ...more });
}
export function cgroup(id: string, more: Partial<PayloadSpec> = {}, inode = 7): PayloadSpec {
  return payload(id, { target: { kind: 'cgroup', path: `/${id}`, inode }, ...more });
}

export interface HistoryOptions {
  readonly policy?: Partial<Policy>;
  readonly sources?: readonly SourceInfo[];
  readonly firstBootMs?: number;
  /** Called after every step, for what must hold always. */
  readonly onStep?: (seen: {
    before: State;
    input: Input;
    now: Instant;
    result: StepResult<State>;
    /** Boots so far, the first among them. */
    boots: number;
  }) => void;
}

export interface RestartOptions {
  /** A new boot instead of a new process. */
  readonly reboot?: boolean;
  readonly downMs?: number;
  /** What was reported done since the last intent is not in the journal: the crash came between. */
  readonly loseDone?: boolean;
  readonly policy?: Partial<Policy>;
  readonly sources?: readonly SourceInfo[];
  /** Of the new boot's clock, compared with what it would be. */
  readonly clockErrorMs?: number;
}

export type History = ReturnType<typeof history>;

export function history(options: HistoryOptions = {}) {
  let sources = options.sources ?? [DIRECTORY, EC2];
  let policy: Policy = { ...DEFAULT_POLICY, ...options.policy };
  const firstBootMs = options.firstBootMs ?? BOOT;
  let bootWallMs = BOOT;
  let now: Instant = { wall: START, mono: UPTIME_MS };
  let state = initialState(BOOT, firstBootMs);
  let last: StepResult<State> | undefined;
  let tick = 0;
  let delivering = true;
  let hooksEnd = true;
  let stepsEnd = true;
  let boots = 1;
  let startsEnd = true;
  /** A crash right after the intent: nothing of this tick's signals goes out or is reported. */
  let crashing = false;
  let spinning = 0;
  let done: StepResultReport[] = [];
  const journal = new Map<string, string>();
  const sent: Sent[] = [];
  const ran: Ran[] = [];
  const started: Started[] = [];
  const logs: Extract<Effect, { type: 'log' }>[] = [];
  const pollsWanted: { source: string; atMono: number }[] = [];

  /** One step of the heart; what the world answers to its effects. */
  function one(input: Input): readonly Input[] {
    tick += 1;
    deepFreeze(state);
    deepFreeze(input);
    const before = state;
    const result = step(state, input, now);
    state = result.state;
    last = result;
    const taken: { id: string; step: StepRef }[] = [];
    const answers: Input[] = [];
    let deeds = 0;
    for (const effect of result.effects) {
      switch (effect.type) {
        case 'persist':
          // The intent is written before the deed (SYSTEMS.md, "Signals").
          assert.equal(deeds, 0, 'a deed is done before it is written down');
          if (effect.value === null) journal.delete(effect.key);
          else journal.set(effect.key, JSON.stringify(effect.value));
          break;
        case 'signal': {
          deeds += 1;
          assert.equal(ran.at(-1)?.tick === tick, false, 'a hook holds up a signal of its tick');
          const { payload: spec, step: ref, to } = effect;
          sent.push({ id: spec.id, signal: ref.signal, to, step: ref, at: now, tick });
          taken.push({ id: spec.id, step: ref });
          break;
        }
        case 'hook': {
          deeds += 1;
          const { run } = effect;
          ran.push({ run, at: now, tick });
          if (run.payload && run.step) {
            sent.push({ id: run.payload.id, signal: run.step.signal, to: 'hook', step: run.step, at: now, tick });
            taken.push({ id: run.payload.id, step: run.step });
            if (hooksEnd && stepsEnd) answers.push({ type: 'step_ended', id: run.payload.id, step: run.step });
          } else if (hooksEnd) answers.push({ type: 'hook_ended', run: run.id });
          break;
        }
        case 'start_units':
          deeds += 1;
          started.push({ id: effect.payload, units: effect.units, at: now });
          if (startsEnd) answers.push({ type: 'units_started', id: effect.payload });
          break;
        case 'log':
          logs.push(effect);
          break;
        case 'poll_soon':
          pollsWanted.push({ source: effect.source, atMono: now.mono + effect.inMs });
      }
    }
    options.onStep?.({ before, input, now, result, boots });
    const results = taken.map((each): StepResultReport => ({ ...each, outcome: 'delivered', at: now }));
    return results.length > 0 ? [{ type: 'steps_done', results }, ...answers] : answers;
  }

  function send(input: Input): void {
    const answers = [...one(input)];
    for (let next = answers.shift(); next !== undefined && delivering && !crashing; next = answers.shift()) {
      if (next.type === 'steps_done') done.push(...next.results);
      answers.push(...one(next));
    }
  }

  function pass(ms: number): void {
    const end = now.mono + ms;
    for (;;) {
      const wake = last?.wakeAt ?? { wall: null, mono: null };
      const wait = Math.min(
        wake.wall === null ? Infinity : wake.wall - now.wall,
        wake.mono === null ? Infinity : wake.mono - now.mono,
      );
      if (now.mono + wait > end) break;
      spinning = wait > 0 ? 0 : spinning + 1;
      assert.ok(spinning < MOST_TICKS_AT_ONCE, 'wakes again and again at the same moment');
      now = { wall: now.wall + Math.max(0, wait), mono: now.mono + Math.max(0, wait) };
      send({ type: 'tick' });
    }
    now = { wall: now.wall + (end - now.mono), mono: end };
  }

  function configure(next: { policy?: Partial<Policy>; sources?: readonly SourceInfo[] } = {}): void {
    policy = { ...policy, ...next.policy };
    sources = next.sources ?? sources;
    send({ type: 'configure', policy, sources });
  }

  function sideOf(said: NonNullable<Said['machine']>): FeatureReading {
    const side: SideSaid = isSideSaid(said) ? said : { keys: said };
    const keys = Object.entries(side.keys).map(([key, value]): [string, Reading<string>] => [
      key,
      typeof value === 'string' ? { is: 'present', value } : value,
    ]);
    return { channel: side.channel ?? 'dev:1', complete: side.complete ?? true, keys: Object.fromEntries(keys) };
  }

  function observation(name: string, said: Said): Input {
    return {
      type: 'observation',
      observation: {
        source: name,
        outcome: 'answer',
        answer: {
          ...(said.hostNowMs !== undefined && { hostNowMs: said.hostNowMs }),
          ...(said.machine && { machine: sideOf(said.machine) }),
          ...(said.job && { job: sideOf(said.job) }),
          ...(said.notices && { notices: { complete: said.complete ?? true, byId: said.notices } }),
        },
      },
    };
  }

  /** Asks again as the driver would, until nothing is to be confirmed any more. Bounded. */
  function saysUntilSettled(name: string, said: Said): number {
    for (let asked = 1; asked <= 10; asked += 1) {
      pollsWanted.length = 0;
      send(observation(name, said));
      const wanted = pollsWanted.find((poll) => poll.source === name);
      if (wanted === undefined) return asked;
      pass(wanted.atMono - now.mono);
    }
    throw new Error(`${name} is asked for ever`);
  }

  function restart(how: RestartOptions = {}): void {
    const downMs = how.downMs ?? 0;
    crashing = false;
    now = { wall: now.wall + downMs, mono: now.mono + downMs };
    if (how.reboot) {
      boots += 1;
      now = { wall: now.wall + (how.clockErrorMs ?? 0), mono: 20 * SECOND };
      bootWallMs = now.wall - now.mono;
    }
    policy = { ...policy, ...how.policy };
    sources = how.sources ?? sources;
    const parts = [...journal].filter(([key]) => !how.reboot || outlivesBoot(key));
    const entries = new Map<string, unknown>(parts.map(([key, value]) => [key, JSON.parse(value)]));
    const reports = how.reboot || how.loseDone ? [] : JSON.parse(JSON.stringify(done));
    state = restoreState(entries, reports, { sameBoot: !how.reboot, bootWallMs, firstBootMs, now });
    if (how.reboot) done = [];
    journal.clear();
    for (const [key, value] of partsOf(state)) journal.set(key, JSON.stringify(value));
    send({ type: 'configure', policy, sources });
  }

  // As the agent does at its first start: what never changes is written down too.
  for (const [key, value] of partsOf(state)) journal.set(key, JSON.stringify(value));
  send({ type: 'configure', policy, sources });

  return {
    send,
    pass,
    configure,
    answer: observation,
    saysUntilSettled,
    restart,
    says: (name: string, said: Said) => send(observation(name, said)),
    fails: (name: string, error = 'timeout') =>
      send({ type: 'observation', observation: { source: name, outcome: 'failed', error, detail: error } }),
    /** To a moment of the wall clock, which must not have passed. */
    until(wallMs: number): void {
      assert.ok(wallMs >= now.wall, `${wallMs - now.wall} ms ago`);
      pass(wallMs - now.wall);
    },
    register: (spec: PayloadSpec) => send({ type: 'payload_registered', spec }),
    operator: (id: string, notice: StatedNotice) => send({ type: 'operator_notice', id, notice }),
    /** The clock is set, as the agent tells it: sources are asked first, then all of it is judged together (S4.2). */
    stepClock(byMs: number, ...inputs: Input[]): void {
      now = { wall: now.wall + byMs, mono: now.mono };
      bootWallMs += byMs;
      send({ type: 'together', inputs: [{ type: 'clock_changed', bootWallMs }, ...inputs] });
    },
    /** The agent is killed between the intent and the signals of the next tick that has any. */
    crashAtNextSignal(): void {
      crashing = true;
    },
    /** Signals are issued from now on, and nobody says whether they were delivered. */
    loseReports(): void {
      delivering = false;
    },
    deliverAgain(): void {
      delivering = true;
    },
    /** Programs run on, and jobs are not taken, until it is said. */
    holdHooks(): void {
      hooksEnd = false;
    },
    /** Of steps alone. */
    holdSteps(): void {
      stepsEnd = false;
    },
    holdStarts(): void {
      startsEnd = false;
    },
    gone: (id: string, why: Extract<Input, { readonly type: 'payload_gone' }>['why'] = 'exited') =>
      send({ type: 'payload_gone', id, why }),
    ran,
    started,
    /** `notice draining stopping`: what the operator's programs were told of the machine's going down, in order. */
    told: () =>
      ran
        .filter(({ run: { event } }) => event !== 'step' && event !== 'can_terminate')
        .map(({ run }) => run.event + (run.repeated ? '!' : ''))
        .join(' '),
    /** `1@0 0@60`: what they were told of the answer to the site, in seconds after `originMs`. */
    toldAnswers: (originMs = START) =>
      ran
        .filter(({ run }) => run.event === 'can_terminate')
        .map(({ run, at }) => `${Number(run.canTerminate)}${run.repeated ? '!' : ''}@${(at.wall - originMs) / 1000}`)
        .join(' '),
    answerNow: () => last?.snapshot.canTerminate,
    lastWord: () => last?.lastWord,
    released: () => last?.released,
    /** What the payload says of its own end. */
    can: (id: string, canTerminate: CanTerminate) => send({ type: 'payload_updated', id, change: { canTerminate } }),
    word: (id: string | null, code: number, text = 'x', by: 'payload' | 'exit' = 'payload') =>
      send({ type: 'final_word', ...(id !== null && { id }), word: { code, text, by } }),
    powerOff: () => last?.powerOff,
    now: () => now,
    boot: () => bootWallMs,
    state: () => state,
    result: (): StepResult<State> => last ?? assert.fail('nothing happened yet'),
    snapshot: (): Snapshot => last?.snapshot ?? assert.fail('nothing happened yet'),
    phase: () => last?.snapshot.phase,
    notice: (id: string): SnapshotNotice =>
      last?.snapshot.notices.find((each) => each.id === id) ?? assert.fail(`no notice ${id}`),
    noticeIds: () => last?.snapshot.notices.map((each) => each.id),
    machine: (key: string) => last?.snapshot.machine[key]?.value,
    job: (key: string) => last?.snapshot.job[key]?.value,
    sourceState: (name: string) => last?.snapshot.sources.find((each) => each.name === name),
    row: (id: string): SnapshotPayload =>
      last?.payloads.find((each) => each.spec.id === id) ?? assert.fail(`no payload ${id}`),
    sent,
    /** `SIGTERM@-120 SIGKILL@-5`: what went out to a payload, in seconds after `originMs` on the wall clock. */
    sentTo: (id: string, originMs = START) =>
      sent
        .filter((each) => each.id === id)
        .map((each) => `${each.signal}@${(each.at.wall - originMs) / 1000}`)
        .join(' '),
    journal,
    logs: (event: string) => logs.filter((each) => each.event === event),
    pollsWanted,
  };
}

const isSideSaid = (said: NonNullable<Said['machine']>): said is SideSaid =>
  'keys' in said && typeof said.keys === 'object' && !('is' in said.keys);

/** Already frozen parts are shared with an earlier state and have been walked then. */
export function deepFreeze(value: unknown): void {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return;
  Object.freeze(value);
  for (const each of Object.values(value)) deepFreeze(each);
}
