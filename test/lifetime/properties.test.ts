/** What holds in every history (fast-check; a failure prints its seed and the shortest history that shows it). */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { State } from '../../agent/lifetime/state.ts';
import { step } from '../../agent/lifetime/step.ts';
import type { EscalationStep, Input, Instant, Phase, Snapshot, StepResult } from '../../agent/lifetime/types.ts';
import {
  ABSENT,
  deepFreeze,
  type History,
  HOUR,
  history,
  MINUTE,
  NEGATIVE,
  payload,
  present,
  SECOND,
  type Sent,
  UNKNOWN,
} from './history.ts';
import { type DirectorySaid, type KeySaid, model } from './model.ts';

/** More of them to hunt with: `MJF_PROPERTY_RUNS=10000`. */
const RUNS = Number(process.env['MJF_PROPERTY_RUNS'] ?? 300);
const LENGTH = { minLength: 5, maxLength: 40, size: 'max' } as const;

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
const move = fc.oneof(
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
  { weight: 1, arbitrary: fc.record({ does: fc.constant('exits' as const), nth: fc.nat(5) }) },
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
type Move = typeof move extends fc.Arbitrary<infer T> ? T : never;
type PayloadMove = typeof payloadMove extends fc.Arbitrary<infer T> ? T : never;

// ---- how it happens, to the heart and to the model alike

function play(h: History, known: ReturnType<typeof model>, each: Move): void {
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
        const reading = typeof ms === 'number' ? present('terminate', ms, { onlyEarlier: true }) : SPOT[ms];
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
      const spec = payload(`p${ids.length}`, {
        ...(each.graceMs !== undefined && { graceMs: each.graceMs }),
        ...(each.own !== null && { deadlineMs: h.now().wall + each.own }),
        ...(each.exec && { deliverer: { pid: 1, startTicks: 1 } }),
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
      const due = row?.plan.find(({ state, dueMs }) => state === 'planned' && dueMs <= h.now().wall);
      if (due && h.state().payloads[id]?.delivery === 'exec')
        h.send({ type: 'steps_done', results: [{ id, step: due.step, outcome: 'delivered', at: h.now() }] });
      break;
    }
    case 'exec dies':
      h.send({ type: 'deliverer_gone', id });
      break;
    case 'exits':
      h.send({ type: 'payload_gone', id, why: 'exited' });
      break;
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

const anything = fc.array(fc.oneof({ weight: 3, arbitrary: move }, { weight: 2, arbitrary: payloadMove }), LENGTH);

/** A whole history of anything, watched at every single step. */
function live(
  moves: readonly (Move | PayloadMove)[],
  onStep: (seen: { before: State; input: Input; now: Instant; result: StepResult<State> }) => void,
  afterMove: (h: History, ids: readonly string[]) => void = () => {},
): History {
  const h = history({ onStep });
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
  'crash at next signal',
  'ignore',
  'configure',
]);
const isPayloadMove = (each: Move | PayloadMove): each is PayloadMove => PAYLOAD_MOVES.has(each.does);

const forAll = (check: (moves: readonly (Move | PayloadMove)[]) => void): void =>
  fc.assert(fc.property(anything, check), { numRuns: RUNS });

describe('in every history', () => {
  test('promise 1, S1.2, S1.6: a deadline is never lost, only a good answer clears it, and the earliest wins', () => {
    fc.assert(
      fc.property(fc.array(move, LENGTH), (moves) => {
        const h = history();
        const known = model();
        for (const each of moves) {
          play(h, known, each);
          assert.equal(h.snapshot().deadlineMs, known.deadline(h.boot()), `after ${JSON.stringify(each)}`);
        }
      }),
      { numRuns: 2 * RUNS },
    );
  });

  test('S3.1: phase is a function of the Snapshot and the time, and changes exactly when the Snapshot says', () => {
    forAll((moves) => {
      live(moves, ({ now, result: { snapshot } }) => {
        assert.equal(snapshot.phase, phaseOf(snapshot, now.wall));
        assert.equal(snapshot.overdue, snapshot.localDeadlineMs !== null && now.wall >= snapshot.localDeadlineMs);
        if (snapshot.nextChangeMs !== null) assert.ok(snapshot.nextChangeMs > now.wall);
      });
    });
  });

  test('S2.4: shutdowntime and shutdowntime_job both equal the deadline, or both are absent', () => {
    forAll((moves) => {
      live(moves, ({ result: { snapshot } }) => {
        const { deadlineMs, machine, job } = snapshot;
        const wanted = deadlineMs === null ? undefined : String(Math.floor(deadlineMs / 1000));
        assert.deepEqual([machine['shutdowntime']?.value, job['shutdowntime_job']?.value], [wanted, wanted]);
      });
    });
  });

  test('S3.6: each step at most once per payload and episode, and once more only after a crash in between', () => {
    forAll((moves) => {
      const taken = new Map<string, { times: number; life: number }>();
      let life = 0;
      const take = (id: string, { episode, index, signal }: Sent['step']): void => {
        const name = `${id} ${episode} ${index} ${signal}`;
        const before = taken.get(name);
        assert.ok(before === undefined || (before.times === 1 && before.life < life), `${name} again`);
        taken.set(name, { times: (before?.times ?? 0) + 1, life });
      };
      live(moves, ({ input, result }) => {
        if (input.type === 'configure') life += 1;
        // By exec's hand it is taken as well: the daemon must not take it again.
        if (input.type === 'steps_done')
          for (const { id, step: ref } of input.results)
            if (result.state.payloads[id]?.delivery === 'exec') take(id, ref);
        for (const effect of result.effects) if (effect.type === 'signal') take(effect.payload.id, effect.step);
      });
    });
  });

  test('S3.5: no SIGKILL before or in one tick with the SIGTERM, nor before its share of the window is over', () => {
    forAll((moves) => {
      const anchors = new Map<string, Instant>();
      live(moves, ({ input, now, result }) => {
        if (input.type === 'steps_done')
          for (const { id, step: ref, at } of input.results)
            if (result.state.payloads[id]?.delivery === 'exec' && isAnchor(ref.signal))
              anchors.set(`${id} ${ref.episode}`, at);
        const signals = result.effects.filter((effect) => effect.type === 'signal');
        for (const { payload: spec, step: ref } of signals) {
          const name = `${spec.id} ${ref.episode}`;
          if (isAnchor(ref.signal)) anchors.set(name, now);
          if (ref.signal !== 'SIGKILL') continue;
          assert.equal(signals.filter((other) => other.payload.id === spec.id).length, 1, 'shares its tick');
          const row = result.payloads.find((each) => each.spec.id === spec.id);
          if (row?.plan.every(({ step: { signal } }) => signal === 'SIGKILL')) continue;
          const anchor = anchors.get(name);
          assert.ok(anchor !== undefined, 'nothing was sent before it');
          const windowMs = (row?.deadlineMs ?? 0) - anchor.wall;
          assert.ok(now.mono - anchor.mono >= (windowMs > 0 ? 0.8 * windowMs : 30 * SECOND) - 1, 'too early');
        }
      });
    });
  });

  test('promise 4: nobody is signalled before his lead begins, and at the deadline nobody is unsignalled', () => {
    forAll((moves) => {
      const sent = new Set<string>();
      live(
        moves,
        ({ now, result }) => {
          for (const effect of result.effects) {
            if (effect.type !== 'signal' || !isAnchor(effect.step.signal)) continue;
            const { episode, index } = effect.step;
            const name = `${effect.payload.id} ${episode} ${index}`;
            // A repeat after a crash belongs to where the first one stood; the deadline may have moved a little since.
            if (sent.has(name)) continue;
            sent.add(name);
            const row = result.payloads.find(({ spec }) => spec.id === effect.payload.id);
            const leadMs = effect.payload.graceMs ?? result.state.policy.graceMs;
            assert.ok(now.wall >= (row?.deadlineMs ?? 0) - leadMs, 'too early');
          }
        },
        (h) => {
          for (const { spec, deadlineMs, plan } of h.result().payloads) {
            if (deadlineMs === null || h.now().wall < deadlineMs || h.state().payloads[spec.id]?.delivery === 'exec')
              continue;
            const unsent = plan.filter(({ step: ref, state }) => isAnchor(ref.signal) && state === 'planned');
            assert.deepEqual(unsent, [], `${spec.id} is alive at the deadline and was never asked to stop`);
          }
        },
      );
    });
  });

  test('step is pure: frozen inputs, the same output twice', () => {
    forAll((moves) => {
      live(moves, ({ before, input, now, result }) => {
        deepFreeze(now);
        assert.deepEqual(step(before, input, now), result);
      });
    });
  });

  test('the state survives a JSON round trip, and goes on the same from there', () => {
    forAll((moves) => {
      live(moves, ({ before, input, now, result }) => {
        const copy: State = JSON.parse(JSON.stringify(before));
        assert.deepEqual(copy, before);
        const again = step(copy, input, now);
        assert.deepEqual(again.state, result.state);
        assert.deepEqual(again.snapshot, result.snapshot);
      });
    });
  });

  test('the effects alone are enough to restore from: no restart in the same boot changes what is true', () => {
    forAll((moves) => {
      const h = live(moves, () => {});
      const before = h.snapshot();
      const rows = h.result().payloads;
      h.restart();
      const marks = <T extends { stale: boolean }>(list: readonly T[]) =>
        list.map((each) => ({ ...each, stale: false }));
      assert.deepEqual([h.phase(), h.snapshot().deadlineMs], [before.phase, before.deadlineMs]);
      assert.deepEqual(marks(h.snapshot().notices), marks(before.notices));
      assert.deepEqual(
        h.result().payloads.map(({ spec, deadlineMs }) => [spec, deadlineMs]),
        rows.map(({ spec, deadlineMs }) => [spec, deadlineMs]),
      );
    });
  });
});

/** Of the lists above: the signal from which the window is measured. */
const isAnchor = (signal: string): boolean => signal === 'SIGTERM' || signal === 'SIGINT';

function phaseOf({ localDeadlineMs, stopAtMs, drainAtMs, payloads }: Snapshot, wallMs: number): Phase {
  const reached = (at: number | null): boolean => at !== null && wallMs >= at;
  if (reached(localDeadlineMs)) return 'stopped';
  if (reached(stopAtMs)) return payloads.running + payloads.stopping > 0 ? 'stopping' : 'stopped';
  return reached(drainAtMs) ? 'draining' : 'running';
}
