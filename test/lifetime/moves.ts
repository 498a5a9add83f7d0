/** Everything that can happen to the heart, at random (fast-check), and how it is done to it and to the model alike. */
import fc from 'fast-check';
import { type EscalationStep, hookOf, type Policy } from '../../agent/lifetime/types.ts';
import {
  ABSENT,
  cgroup,
  type History,
  type HistoryOptions,
  HOUR,
  history,
  MINUTE,
  NEGATIVE,
  payload,
  present,
  SECOND,
  UNKNOWN,
  unit,
} from './history.ts';
import { type DirectorySaid, type KeySaid, model } from './model.ts';

export const LENGTH = { minLength: 5, maxLength: 40, size: 'max' } as const;

// ---- what can happen

const pass = fc.constantFrom(0, 300, SECOND, 3 * SECOND, 20 * SECOND, 100 * SECOND, 11 * MINUTE);
/** Whole seconds from now; the past and the far future too. */
const offset = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 0, max: 300 }).map((secs) => secs * SECOND) },
  { weight: 2, arbitrary: fc.integer({ min: -7200, max: 36_000 }).map((secs) => secs * SECOND) },
  { weight: 1, arbitrary: fc.constantFrom(-100 * HOUR, 100 * HOUR) },
);
const key = fc.oneof(
  { weight: 3, arbitrary: offset },
  { weight: 4, arbitrary: fc.constant('absent' as const) },
  { weight: 1, arbitrary: fc.constant('garbage' as const) },
);
export const move = fc.oneof(
  { weight: 6, arbitrary: fc.record({ does: fc.constant('pass' as const), ms: pass }) },
  {
    weight: 8,
    arbitrary: fc.record({
      does: fc.constant('directory' as const),
      times: fc.integer({ min: 1, max: 5 }),
      shutdowntime: key,
      job: key,
      cpu: fc.constantFrom<KeySaid>(8, 8, 'absent', 'garbage'),
      channel: fc.constantFrom('dev:1', 'dev:1', 'dev:1', 'dev:2'),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      does: fc.constant('spot' as const),
      times: fc.integer({ min: 1, max: 5 }),
      said: fc.oneof(offset, fc.constantFrom('absent' as const, 'negative' as const, 'unknown' as const)),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      does: fc.constant('fails' as const),
      source: fc.constantFrom('directory' as const, 'ec2' as const),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      does: fc.constant('operator' as const),
      id: fc.constantFrom('1', '2'),
      inMs: fc.option(offset),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      does: fc.constant('restart' as const),
      downMs: pass,
      reboot: fc.boolean(),
      loseDone: fc.boolean(),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      does: fc.constant('clock' as const),
      byMs: fc.constantFrom(-2 * HOUR, -40 * SECOND, 40 * SECOND, 2 * HOUR),
    }),
  },
);
const LISTS: readonly (readonly EscalationStep[])[] = [
  [
    { at: 10 * MINUTE, signal: 'SIGUSR1' },
    { at: MINUTE, signal: 'SIGUSR2' },
    { at: 'grace', signal: 'SIGTERM' },
    { at: 5 * SECOND, signal: 'SIGKILL' },
  ],
  [
    { at: 3 * MINUTE, signal: 'SIGKILL' },
    { at: 'grace', signal: 'SIGTERM' },
  ],
  [
    { at: 'grace', signal: 'SIGINT' },
    { at: 30 * SECOND, signal: 'SIGKILL' },
  ],
  [{ at: 5 * SECOND, signal: 'SIGKILL' }],
  [
    { at: 10 * MINUTE, signal: 'hook:save' },
    { at: 'grace', signal: 'SIGTERM' },
    { at: MINUTE, signal: 'hook:tell' },
    { at: 20 * SECOND, signal: 'hook:last' },
    { at: 5 * SECOND, signal: 'SIGKILL' },
  ],
  [
    { at: MINUTE, signal: 'hook:save' },
    { at: 5 * SECOND, signal: 'SIGKILL' },
  ],
];
const steps = fc.constantFrom(undefined, undefined, ...LISTS);
const payloadMove = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      does: fc.constant('register' as const),
      graceMs: fc.constantFrom(undefined, 0, 3 * SECOND, 30 * SECOND, 5 * MINUTE),
      own: fc.option(offset),
      exec: fc.boolean(),
      kind: fc.constantFrom('process', 'process', 'unit', 'unit', 'cgroup'),
      restart: fc.constantFrom(undefined, undefined, false),
      steps,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      does: fc.constant('update' as const),
      nth: fc.nat(5),
      graceMs: fc.constantFrom(SECOND, MINUTE),
      own: fc.option(offset),
      steps,
    }),
  },
  { weight: 3, arbitrary: fc.record({ does: fc.constant('exec acts' as const), nth: fc.nat(5) }) },
  { weight: 1, arbitrary: fc.record({ does: fc.constant('exec dies' as const), nth: fc.nat(5) }) },
  { weight: 2, arbitrary: fc.record({ does: fc.constant('exits' as const), nth: fc.nat(5) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      does: fc.constantFrom('deregistered' as const, 'runs again' as const, 'stops others' as const),
      nth: fc.nat(5),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      does: fc.constant('can' as const),
      nth: fc.nat(5),
      now: fc.boolean(),
      at: fc.option(offset),
      until: fc.option(offset),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      does: fc.constant('word' as const),
      nth: fc.nat(5),
      code: fc.constantFrom(150, 200, 200, 300, 710),
      by: fc.constantFrom('payload' as const, 'exit' as const),
    }),
  },
  { weight: 2, arbitrary: fc.record({ does: fc.constant('saved' as const), nth: fc.nat(20), well: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ does: fc.constant('crash at next signal' as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      does: fc.constant('ignore' as const),
      id: fc.constantFrom('ec2/spot', 'directory/shutdowntime'),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      does: fc.constant('configure' as const),
      graceMs: fc.constantFrom(SECOND, MINUTE, 10 * MINUTE),
      steps: fc.constantFrom(...LISTS),
    }),
  },
);
export type Move = typeof move extends fc.Arbitrary<infer T> ? T : never;
export type PayloadMove = typeof payloadMove extends fc.Arbitrary<infer T> ? T : never;

// ---- how it happens, to the heart and to the model alike

export function play(h: History, known: ReturnType<typeof model>, each: Move): void {
  switch (each.does) {
    case 'pass':
      h.pass(each.ms);
      break;
    case 'directory': {
      const at = (said: KeySaid): KeySaid =>
        typeof said === 'number' ? h.now().wall - (h.now().wall % SECOND) + said : said;
      const said: DirectorySaid = {
        channel: each.channel,
        machine: { shutdowntime: at(each.shutdowntime), total_cpu: each.cpu },
        job: { shutdowntime_job: at(each.job) },
      };
      for (let time = 0; time < each.times; time += 1) {
        if (time > 0) h.pass(SECOND);
        known.directory(said, h.now().mono);
        h.says('directory', { machine: raw(said.channel, said.machine), job: raw(said.channel, said.job) });
      }
      break;
    }
    case 'spot': {
      const { said } = each;
      for (let time = 0; time < each.times; time += 1) {
        if (time > 0) h.pass(SECOND);
        // Relative to now each time, as the simulator has it.
        const ms = typeof said === 'number' ? h.now().wall + said : said;
        known.spot(ms, h.now());
        const reading =
          typeof ms === 'number' ? present('terminate', ms, { onlyEarlier: true, awaits: 'own' }) : SPOT[ms];
        h.says('ec2', { notices: { spot: reading } });
      }
      break;
    }
    case 'fails':
      known.failed(each.source);
      h.fails(each.source);
      break;
    case 'operator': {
      const ms = each.inMs === null ? null : h.now().wall + each.inMs;
      known.operator(each.id, ms);
      if (ms === null) h.send({ type: 'operator_cancel', id: each.id });
      else h.operator(each.id, { kind: 'shutdown', deadlineMs: ms, reason: 'test' });
      break;
    }
    case 'restart':
      if (each.reboot) known.rebooted();
      h.restart(each);
      break;
    case 'clock':
      known.clockStepped(each.byMs, h.boot());
      h.stepClock(each.byMs);
      break;
  }
}
const SPOT = { absent: ABSENT, negative: NEGATIVE, unknown: UNKNOWN } as const;

function raw(channel: string, side: Readonly<Record<string, KeySaid>>) {
  const given = Object.entries(side).filter(([, said]) => said !== 'absent');
  const text = (name: string, said: KeySaid): string =>
    said === 'garbage' ? 'soon' : String(name === 'total_cpu' ? said : Number(said) / SECOND);
  return { channel, keys: Object.fromEntries(given.map(([name, said]) => [name, text(name, said)])) };
}

function playPayload(h: History, ids: string[], each: PayloadMove): void {
  const id = 'nth' in each ? (ids[each.nth % Math.max(1, ids.length)] ?? 'none') : 'none';
  switch (each.does) {
    case 'register': {
      const make = { process: payload, unit, cgroup }[each.kind];
      const spec = make(`p${ids.length}`, {
        ...(each.graceMs !== undefined && { graceMs: each.graceMs }),
        ...(each.own !== null && { deadlineMs: h.now().wall + each.own }),
        ...(each.exec && each.kind === 'process' && { deliverer: { pid: 1, startTicks: 1 } }),
        ...(each.restart !== undefined && { restartOnCancel: each.restart }),
        ...(each.steps !== undefined && { steps: each.steps }),
      });
      ids.push(spec.id);
      h.register(spec);
      break;
    }
    case 'update':
      h.send({
        type: 'payload_updated',
        id,
        change: {
          graceMs: each.graceMs,
          ...(each.own !== null && { deadlineMs: h.now().wall + each.own }),
          ...(each.steps !== undefined && { steps: each.steps }),
        },
      });
      break;
    case 'exec acts': {
      const row = h.result().payloads.find(({ spec }) => spec.id === id && spec.deliverer !== undefined);
      const signals = row?.plan.filter(({ step: { signal } }) => hookOf(signal) === null) ?? [];
      // Its numbers count the signals alone.
      const index = signals.findIndex(({ state, dueMs }) => state === 'planned' && dueMs <= h.now().wall);
      const due = signals[index];
      if (due && h.state().payloads[id]?.delivery === 'exec')
        h.send({
          type: 'steps_done',
          results: [{ id, step: { ...due.step, index }, outcome: 'delivered', at: h.now() }],
        });
      break;
    }
    case 'exec dies':
      h.send({ type: 'deliverer_gone', id });
      break;
    case 'exits':
      h.send({ type: 'payload_gone', id, why: 'exited' });
      break;
    case 'deregistered':
      h.gone(id, 'deregistered');
      break;
    case 'runs again':
      h.send({ type: 'unit_running', id });
      break;
    case 'stops others':
      h.send({ type: 'units_stopping', id, units: ['a.service', 'b.service'] });
      break;
    case 'can': {
      const { wall } = h.now();
      const { now, at, until } = each;
      const atMs = at === null ? null : wall + at;
      h.can(id, { now, atMs, ...(until !== null && { untilMs: wall + until }) });
      break;
    }
    case 'word':
      h.word(id, each.code, each.by, each.by);
      break;
    case 'saved': {
      // A program of whatever payload and episode, also of one that is over.
      const steps = h.sent.filter(({ step: { signal } }) => hookOf(signal) !== null);
      const ran = steps[each.nth % Math.max(1, steps.length)];
      if (ran === undefined) break;
      const { id: payload, step } = ran;
      h.send(
        each.well
          ? { type: 'step_ended', id: payload, step }
          : { type: 'step_failed', id: payload, step, detail: 'save failed' },
      );
      break;
    }
    case 'crash at next signal':
      h.crashAtNextSignal();
      break;
    case 'ignore':
      h.send({ type: 'ignore', id: each.id });
      break;
    case 'configure':
      h.configure({ policy: { graceMs: each.graceMs, steps: each.steps } });
      break;
  }
}

export const anything = fc.array(
  fc.oneof({ weight: 3, arbitrary: move }, { weight: 2, arbitrary: payloadMove }),
  LENGTH,
);

/** A whole history of anything, watched at every single step. */
export function live(
  moves: readonly (Move | PayloadMove)[],
  onStep: NonNullable<HistoryOptions['onStep']>,
  afterMove: (h: History, ids: readonly string[]) => void = () => {},
  policy: Partial<Policy> = {},
): History {
  const h = history({ onStep, policy });
  // How they end is among what can happen.
  h.holdSteps();
  const known = model();
  const ids: string[] = [];
  for (const each of moves) {
    if (isPayloadMove(each)) playPayload(h, ids, each);
    else play(h, known, each);
    afterMove(h, ids);
  }
  return h;
}
const PAYLOAD_MOVES: ReadonlySet<string> = new Set([
  'register',
  'update',
  'exec acts',
  'exec dies',
  'exits',
  'deregistered',
  'runs again',
  'stops others',
  'can',
  'word',
  'saved',
  'crash at next signal',
  'ignore',
  'configure',
]);
const isPayloadMove = (each: Move | PayloadMove): each is PayloadMove => PAYLOAD_MOVES.has(each.does);
