/** Stops and starts of units against a systemd that is told how to behave; with the real one: test/systemd. */
import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import pino from 'pino';
import type { HandResult } from '../../agent/hand/hand.ts';
import type { Input, PayloadSpec } from '../../agent/lifetime/types.ts';
import type { SignalEffect } from '../../agent/payloads/delivery.ts';
import type { StopForecast } from '../../agent/payloads/unit-forecast.ts';
import type { UnitRow } from '../../agent/payloads/unit-rows.ts';
import { openUnitSteps, type UnitStepsOptions } from '../../agent/payloads/unit-steps.ts';

const OK: HandResult = { ok: true, output: '' };
const failed = (code: string): HandResult => ({ ok: false, code, detail: 'of the test' });
const never = <T>(): Promise<T> => new Promise<T>(() => undefined);
const running = (...startAgain: readonly string[]): StopForecast => ({
  is: 'running',
  canStop: true,
  startAgain,
  lost: [],
});

let lines: { readonly event: string; readonly units?: readonly string[] }[] = [];
const log = pino({ level: 'debug' }, { write: (line: string) => lines.push(JSON.parse(line)) });
const events = (): readonly string[] => lines.map(({ event }) => event);
beforeEach(() => {
  lines = [];
});

function row(id: string, values: Partial<UnitRow> = {}): UnitRow {
  const plain = { load: 'loaded', active: 'active', result: 'success', cgroup: '', slice: '', stopTimeoutMs: null };
  const rest = { canStop: true, canStart: true, transient: false, job: null, takesDown: [] };
  return { id, names: [id], ...plain, ...rest, ...values };
}

type Fakes = Partial<UnitStepsOptions['units']>;

/** All that happens, in its order, as words; nothing waits for real time but what is bounded by the test. */
function open(fakes: Fakes, options: Partial<UnitStepsOptions> = {}) {
  const done: string[] = [];
  const inputs: Input[] = [];
  const pauses: number[] = [];
  const note =
    (verb: string, result: (units: readonly string[]) => Promise<HandResult>) =>
    (units: readonly string[]): Promise<HandResult> => {
      done.push(`${verb} ${units.join(' ')}`);
      return result(units);
    };
  const steps = openUnitSteps({
    units: {
      available: () => true,
      foresee: async (names) => new Map(names.map((name) => [name, running(name)])),
      look: async (names) => ({ row: (name) => (names.includes(name) ? row(name) : undefined), job: () => undefined }),
      ...fakes,
      stop: note('stop', fakes.stop ?? (async () => OK)),
      start: note('start', fakes.start ?? (async () => OK)),
    },
    submit(input) {
      for (const each of input.type === 'together' ? input.inputs : [input]) {
        inputs.push(each);
        if (each.type === 'units_stopping') done.push(`told ${each.id}: ${each.units.join(' ')}`);
        if (each.type === 'units_started') done.push(`started ${each.id}`);
        if (each.type === 'steps_done') for (const { id, outcome } of each.results) done.push(`${id} ${outcome}`);
      }
    },
    deliver: (effects) =>
      effects.map(({ payload, step }) => {
        done.push(`signal ${payload.id}`);
        return { id: payload.id, step, outcome: 'delivered', at: { wall: 0, mono: 0 } };
      }),
    log,
    count: (name, { outcome }) => void done.push(`${name} ${outcome}`),
    now: () => ({ wall: 1, mono: 1 }),
    pause: async (ms) => void pauses.push(ms),
    bounds: { foreseeMs: 20, stopMs: 20, lookMs: 20, orderMs: 20 },
    ...options,
  });
  /** Without the counting. */
  const story = (): readonly string[] => done.filter((each) => !each.startsWith('mjf_'));
  return { ...steps, story, done, inputs, pauses };
}

function effect(id: string, unit: string): SignalEffect {
  const target = { kind: 'unit', unit, cgroup: `/${unit}` } as const;
  const payload: PayloadSpec = { id, name: id, uid: 0, target, registeredMs: 0 };
  return { type: 'signal', payload, step: { episode: 1, index: 0, signal: 'SIGTERM' }, to: 'all' };
}
const A = effect('a', 'a.service');
const B = effect('b', 'b.service');

describe('a stop', () => {
  test('tells first what is to be started again, then gives one order for all, then reports', async () => {
    const foresee: Fakes['foresee'] = async () =>
      new Map([
        ['a.service', running('a.socket', 'a.service', 'child.service')],
        ['b.service', running()],
      ]);
    const { stop, story, done } = open({ foresee });
    await stop([A, B]);
    assert.deepEqual(story(), [
      'told a: a.socket a.service child.service',
      'told b: ',
      'stop a.service b.service',
      'a delivered',
      'b delivered',
    ]);
    assert.equal(done.filter((each) => each === 'mjf_signals_total delivered').length, 2);
  });

  test('of one unit that two payloads name is one order', async () => {
    const { stop, story } = open({});
    await stop([A, effect('other', 'a.service')]);
    assert.ok(story().includes('stop a.service'));
    assert.ok(story().includes('a delivered') && story().includes('other delivered'));
  });

  test('that systemd refuses for good goes to the processes', async () => {
    const { stop, story } = open({
      stop: async () => failed('refused'),
      foresee: async () => new Map([['a.service', running('a.service')]]),
    });
    await stop([A]);
    assert.deepEqual(story(), ['told a: a.service', 'stop a.service', 'signal a', 'a delivered']);
    assert.deepEqual(events(), ['units_not_stopped']);
  });

  test('of which one is refused does not signal those that systemd stops all the same', async () => {
    const states: Readonly<Record<string, UnitRow>> = {
      'a.service': row('a.service'),
      'b.service': row('b.service', { active: 'deactivating' }),
      'c.service': row('c.service', { active: 'inactive' }),
      'd.service': row('d.service', { job: '7' }),
    };
    const { stop, story } = open({
      stop: async () => failed('failed'),
      look: async () => ({ row: (name) => states[name], job: ({ job }) => (job === '7' ? 'stop' : undefined) }),
    });
    await stop([A, B, effect('c', 'c.service'), effect('d', 'd.service')]);
    assert.deepEqual(
      story().filter((each) => each.startsWith('signal')),
      ['signal a'],
    );
    for (const id of ['a', 'b', 'c', 'd']) assert.ok(story().includes(`${id} delivered`), id);
  });

  test('is not held up by a systemd that hangs at every question and order', async () => {
    const { stop, story } = open({ foresee: async () => null, stop: () => never(), look: () => never() });
    await stop([A, effect('s', 'work.slice')]);
    assert.deepEqual(story(), [
      // Of a slice nobody knows what runs in it.
      'told a: a.service',
      'told s: ',
      'stop a.service work.slice',
      'signal a',
      'signal s',
      'a delivered',
      's delivered',
    ]);
  });

  test('where a child breaks instead of failing is a stop all the same', async () => {
    const { stop, story } = open({
      stop: () => Promise.reject(new Error('of the test')),
      look: () => Promise.reject(new Error('of the test')),
    });
    await stop([A]);
    assert.deepEqual(story().slice(-2), ['signal a', 'a delivered']);
  });

  test('without systemd goes to the processes, and asks nobody', async () => {
    const { stop, story } = open({ available: () => false, foresee: () => never() });
    await stop([A]);
    assert.deepEqual(story(), ['told a: a.service', 'signal a', 'a delivered']);
  });

  test('of what must never be stopped is refused, and not signalled either', async () => {
    const { stop, story } = open({
      foresee: async () =>
        new Map<string, StopForecast>([
          ['a.service', { is: 'refused', reason: 'it is the agent' }],
          ['b.service', running('b.service')],
        ]),
    });
    await stop([A, B]);
    assert.deepEqual(story(), ['told b: b.service', 'a refused', 'stop b.service', 'b delivered']);
    assert.ok(events().includes('unit_refused'));
  });

  test('of what does not run for systemd reaches what it left behind, and starts nothing again', async () => {
    const { stop, story } = open({
      foresee: async () => new Map<string, StopForecast>([['a.service', { is: 'idle' }]]),
    });
    await stop([A]);
    assert.deepEqual(story(), ['told a: ', 'signal a', 'a delivered']);
    assert.deepEqual(events(), []);
  });

  test('of RefuseManualStop=yes does not even ask systemd', async () => {
    const { stop, story } = open({
      foresee: async () =>
        new Map<string, StopForecast>([['a.service', { ...running('a.service'), canStop: false } as StopForecast]]),
    });
    await stop([A]);
    assert.deepEqual(story(), ['told a: a.service', 'signal a', 'a delivered']);
  });
});

describe('a start', () => {
  const start = (units: readonly string[]) => ({ type: 'start_units', payload: 'p', units }) as const;

  test('is one order, sockets first, and ends when they are up', async () => {
    const steps = open({});
    await steps.start(start(['b.service', 'a.service', 'b.socket']));
    assert.deepEqual(steps.story(), ['start b.socket b.service a.service', 'started p']);
    assert.deepEqual(
      lines.map(({ units }) => units),
      [['b.socket', 'b.service', 'a.service']],
    );
  });

  test('is repeated for those alone that are not up, ever later', async () => {
    const tries = new Map<string, number>();
    // Two looks for each attempt.
    const look: Fakes['look'] = async (names) => ({
      row(name) {
        tries.set(name, (tries.get(name) ?? 0) + 1);
        const isUp = name === 'a.service' || (tries.get(name) ?? 0) > 5;
        return names.includes(name)
          ? row(name, isUp ? {} : { active: 'failed', result: 'start-limit-hit' })
          : undefined;
      },
      job: () => undefined,
    });
    const steps = open({ look });
    await steps.start(start(['a.service', 'b.service']));
    assert.deepEqual(steps.story(), ['start a.service b.service', 'start b.service', 'start b.service', 'started p']);
    const [, first = 0, , second = 0] = steps.pauses.slice(1);
    assert.ok(first >= 750 && first <= 1_250, `${first}`);
    assert.ok(second >= 1_500 && second <= 2_500, `${second}`);
  });

  test('that fails for a minute is told, and over', async () => {
    const steps = open({ start: async () => failed('unreachable'), look: async () => null });
    await steps.start(start(['a.service']));
    assert.equal(steps.story().filter((each) => each === 'start a.service').length, 7);
    assert.equal(steps.story().at(-1), 'started p');
    assert.deepEqual(events(), ['units_not_started']);
    assert.ok(steps.pauses.reduce((sum, ms) => sum + ms, 0) > 47_000);
  });

  test('without systemd is told, and over', async () => {
    const steps = open({ available: () => false });
    await steps.start(start(['a.service']));
    assert.deepEqual(steps.story(), ['started p']);
    assert.deepEqual(events(), ['units_not_started']);
  });

  test('of which the root hand refuses one is a start of the others', async () => {
    const steps = open({
      start: async (units) => (units.includes('alien.service') ? failed('refused') : OK),
      look: async () => ({
        row: (name) => row(name, name === 'alien.service' ? { active: 'inactive' } : {}),
        job: () => undefined,
      }),
    });
    await steps.start(start(['a.service', 'alien.service']));
    assert.deepEqual(steps.story(), [
      'start a.service alien.service',
      'start a.service',
      'start alien.service',
      'started p',
    ]);
    assert.deepEqual(events(), ['units_not_startable', 'units_started']);
  });

  test('waits for what still goes down, does not wait with the others, and tries to start neither too early', async () => {
    let looks = 0;
    const look: Fakes['look'] = async () => ({
      row(name) {
        if (name === 'brief.service') return row(name, { active: 'inactive' });
        looks += 1;
        const active = looks <= 4 ? 'deactivating' : looks === 5 ? 'failed' : 'active';
        return row(name, { active, result: 'signal' });
      },
      job: () => undefined,
    });
    const steps = open({ look });
    await steps.start(start(['down.service', 'brief.service']));
    assert.deepEqual(steps.story(), ['start brief.service', 'start down.service', 'started p']);
    assert.deepEqual(
      lines.map(({ units }) => units),
      [['brief.service', 'down.service']],
    );
  });

  test('of what does not come down for minutes is left to systemd’s queue', async () => {
    const job = (): string | undefined => (steps.story().length > 0 ? 'start' : undefined);
    const look: Fakes['look'] = async () => ({ row: (name) => row(name, { active: 'deactivating' }), job });
    const steps = open({ look });
    await steps.start(start(['down.service']));
    assert.deepEqual(steps.story(), ['start down.service', 'started p']);
    const waitedMs = steps.pauses.reduce((sum, ms) => sum + ms, 0);
    assert.ok(waitedMs > 180_000 && waitedMs < 300_000, `${waitedMs}`);
  });

  test('of a unit that is masked by now is given up at once', async () => {
    const steps = open({
      look: async () => ({
        row: (name) => row(name, { active: 'failed', result: 'signal', load: 'masked', canStart: false }),
        job: () => undefined,
      }),
      start: async () => failed('failed'),
    });
    await steps.start(start(['a.service']));
    assert.deepEqual(steps.story(), ['start a.service', 'started p']);
    assert.deepEqual(events(), ['units_not_startable']);
  });

  test('that another stop overtakes is given up, and what was not up yet is remembered', async () => {
    let release = (): void => undefined;
    const waits = new Promise<void>((resolve) => {
      release = resolve;
    });
    let paused = 0;
    const steps = open(
      {
        look: async () => ({
          row: (name) => row(name, { active: 'failed', result: 'exit-code' }),
          job: () => undefined,
        }),
      },
      {
        // The third wait is the one before the second attempt.
        async pause(_, signal) {
          paused += 1;
          if (paused < 3) return;
          release();
          if (!signal.aborted) await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
        },
      },
    );
    const starting = steps.start({ type: 'start_units', payload: 'a', units: ['a.service', 'child.service'] });
    await waits;
    await steps.stop([A]);
    await starting;
    const wanted = [
      'start a.service child.service',
      'told a: a.service child.service',
      'stop a.service',
      'a delivered',
    ];
    assert.deepEqual(
      steps.story().filter((each) => each !== 'started a'),
      wanted,
    );
    assert.ok(steps.story().includes('started a'), 'the heart does not wait for it any more');
  });

  test('on its way to systemd comes before the stop, or it would undo it; but not for ever', async () => {
    let taken = (_: HandResult): void => undefined;
    const steps = open({ start: () => new Promise((resolve) => (taken = resolve)) }, { bounds: { orderMs: 20_000 } });
    const starting = steps.start({ type: 'start_units', payload: 'a', units: ['a.service'] });
    await new Promise((resolve) => setImmediate(resolve));
    const stopping = steps.stop([A]);
    await new Promise((resolve) => setImmediate(resolve));
    assert.ok(!steps.story().includes('stop a.service'));
    taken(OK);
    await Promise.all([starting, stopping]);
    assert.ok(steps.story().includes('stop a.service'));

    const stuck = open({ start: () => never() });
    void stuck.start({ type: 'start_units', payload: 'a', units: ['a.service'] });
    await new Promise((resolve) => setImmediate(resolve));
    await stuck.stop([A]);
    assert.ok(stuck.story().includes('stop a.service'));
  });

  test('that the end of the agent interrupts is left to the next one', async () => {
    const steps = open(
      {
        look: async () => ({
          row: (name) => row(name, { active: 'failed', result: 'exit-code' }),
          job: () => undefined,
        }),
      },
      {
        pause: async (ms) => {
          if (ms > 1_000) steps.close();
        },
      },
    );
    await steps.start(start(['a.service']));
    assert.ok(!steps.story().includes('started p'));
    await steps.start(start(['a.service']));
    assert.equal(steps.story().filter((each) => each.startsWith('start ')).length, steps.story().length);
  });
});

/** A promise and the key to it. */
function gate<T>(): { readonly opened: Promise<T>; open(value: T): void } {
  let open = (_: T): void => undefined;
  const opened = new Promise<T>((resolve) => {
    open = resolve;
  });
  return { opened, open: (value) => open(value) };
}
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const startOf = (payload: string, units: readonly string[]) => ({ type: 'start_units', payload, units }) as const;
const RUN = new Map([
  ['a.service', running('a.service')],
  ['b.service', running('b.service')],
]);
const LONG = { foreseeMs: 20_000, stopMs: 20_000, lookMs: 20_000, orderMs: 20_000 };

describe('what arrives later counts', () => {
  test('a start takes back the stop that systemd is still asked about; the others are stopped', async () => {
    const asked = gate<ReadonlyMap<string, StopForecast>>();
    const steps = open({ foresee: () => asked.opened });
    const stopping = steps.stop([A, B]);
    const starting = steps.start(startOf('a', ['a.service']));
    asked.open(RUN);
    await Promise.all([stopping, starting]);
    assert.deepEqual(
      steps.story().filter((each) => each !== 'started a'),
      ['a no_process', 'told b: b.service', 'stop b.service', 'b delivered'],
    );
    assert.ok(steps.story().includes('started a'));
    assert.ok(events().includes('unit_stop_taken_back'));
    assert.ok(steps.done.includes('mjf_signals_total no_process'));
  });

  test('a start takes back the stop that waits for an order to start, and no stop is ordered', async () => {
    const taken = gate<HandResult>();
    const steps = open({ start: () => taken.opened }, { bounds: LONG });
    const other = steps.start(startOf('other', ['o.service']));
    await turn();
    const stopping = steps.stop([A]);
    await turn();
    assert.ok(steps.story().includes('told a: a.service'));
    const starting = steps.start(startOf('a', ['a.service']));
    taken.open(OK);
    await Promise.all([other, stopping, starting]);
    assert.deepEqual(
      steps.story().filter((each) => /^(stop|start|signal) /.test(each)),
      ['start o.service'],
    );
    assert.ok(steps.story().includes('a no_process') && steps.story().includes('started a'));
  });

  test('a start takes back the stop, and starts what an earlier stop, before a crash, took down', async () => {
    const asked = gate<ReadonlyMap<string, StopForecast>>();
    const states = new Map([['b.service', 'inactive']]);
    let isGoing = true;
    const steps = open({
      foresee: () => asked.opened,
      look: async () => ({
        row: (name) => row(name, { active: states.get(name) ?? 'active' }),
        job: ({ id }) => (isGoing && id === 'c.service' ? 'stop' : undefined),
      }),
      async start() {
        states.clear();
        isGoing = false;
        return OK;
      },
    });
    const stopping = steps.stop([A]);
    const starting = steps.start(startOf('a', ['a.service', 'b.service', 'c.service']));
    asked.open(RUN);
    await Promise.all([stopping, starting]);
    assert.deepEqual(steps.story(), ['a no_process', 'start b.service c.service', 'started a']);
  });

  test('a start that was given up for the stop is taken up again when that is taken back', async () => {
    const asked = gate<ReadonlyMap<string, StopForecast>>();
    const states = new Map([['child.service', 'failed']]);
    let mended = false;
    const steps = open(
      {
        foresee: () => asked.opened,
        look: async () => ({
          row: (name) => row(name, { active: states.get(name) ?? 'active' }),
          job: () => undefined,
        }),
        async start() {
          if (mended) states.clear();
          return OK;
        },
      },
      {
        async pause(ms, signal) {
          if (ms < 700 || mended || signal.aborted) return;
          await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
        },
      },
    );
    const first = steps.start(startOf('a', ['a.service', 'child.service']));
    for (let turns = 0; turns < 50 && steps.story().length === 0; turns += 1) await turn();
    assert.deepEqual(steps.story(), ['start a.service child.service']);
    await turn();
    const stopping = steps.stop([A]);
    mended = true;
    const second = steps.start(startOf('a', ['a.service']));
    asked.open(RUN);
    await Promise.all([first, stopping, second]);
    const last = ['start a.service child.service', 'a no_process', 'start child.service', 'started a'];
    assert.deepEqual(steps.story(), last, 'and the heart hears of one end');
  });

  test('stop, start, stop: it is stopped', async () => {
    const asked = [gate<ReadonlyMap<string, StopForecast>>(), gate<ReadonlyMap<string, StopForecast>>()] as const;
    let asks = 0;
    const steps = open({ foresee: () => (asks++ === 0 ? asked[0].opened : asked[1].opened) });
    const first = steps.stop([A]);
    const starting = steps.start(startOf('a', ['a.service']));
    const second = steps.stop([A]);
    asked[1].open(RUN);
    asked[0].open(RUN);
    await Promise.all([first, starting, second]);
    const orders = steps.story().filter((each) => !each.startsWith('started'));
    assert.deepEqual(orders, ['a no_process', 'told a: a.service', 'stop a.service', 'a delivered']);
  });

  test('a start waits for the order to stop that is on its way, or that would undo it', async () => {
    const taken = gate<HandResult>();
    const steps = open({ stop: () => taken.opened }, { bounds: LONG });
    const stopping = steps.stop([A]);
    await turn();
    assert.ok(steps.story().includes('stop a.service'));
    const starting = steps.start(startOf('a', ['a.service']));
    await turn();
    assert.ok(!steps.story().includes('start a.service'));
    taken.open(OK);
    await Promise.all([stopping, starting]);
    assert.deepEqual(steps.story().slice(1), ['stop a.service', 'a delivered', 'start a.service', 'started a']);
  });

  test('a start after an order to stop that fails: nobody is signalled any more', async () => {
    const taken = gate<HandResult>();
    const steps = open({ stop: () => taken.opened }, { bounds: LONG });
    const stopping = steps.stop([A, B]);
    await turn();
    const starting = steps.start(startOf('a', ['a.service']));
    taken.open(failed('failed'));
    await Promise.all([stopping, starting]);
    const [signals, outcomes] = [/^signal/, / (no_process|delivered)$/].map((what) =>
      steps.story().filter((each) => what.test(each)),
    );
    assert.deepEqual([signals, outcomes], [['signal b'], ['a no_process', 'b delivered']]);
    const told = lines.filter(({ event }) => event === 'units_not_stopped').map(({ units }) => units);
    assert.deepEqual(told, [['b.service']]);
    assert.ok(steps.story().includes('start a.service'));
  });
});

describe('a SIGKILL that is due while the stop still waits', () => {
  test('for the forecast: the SIGTERM goes out at once, and the order to systemd follows', async () => {
    const asked = gate<ReadonlyMap<string, StopForecast>>();
    const steps = open({ foresee: () => asked.opened });
    const stopping = steps.stop([A, B]);
    steps.hurry(new Set(['a', 'elsewhere']));
    const atOnce = ['told a: a.service', 'signal a', 'a delivered'];
    assert.deepEqual(steps.story(), atOnce);
    steps.hurry(new Set(['a']));
    asked.open(RUN);
    await stopping;
    const later = ['told a: a.service', 'told b: b.service', 'stop a.service b.service', 'b delivered'];
    assert.deepEqual(steps.story(), [...atOnce, ...later]);
  });

  test('for the order: the SIGTERM goes out at once and only once, however the order ends', async () => {
    for (const result of [OK, failed('failed')]) {
      const taken = gate<HandResult>();
      const steps = open({ stop: () => taken.opened }, { bounds: LONG });
      const stopping = steps.stop([A]);
      await turn();
      steps.hurry(new Set(['a']));
      taken.open(result);
      await stopping;
      assert.deepEqual(steps.story(), ['told a: a.service', 'stop a.service', 'signal a', 'a delivered']);
      steps.hurry(new Set(['a']));
      assert.equal(steps.story().length, 4, 'nothing waits any more');
    }
  });

  test('and that is cancelled: it was signalled, so it is started', async () => {
    const asked = gate<ReadonlyMap<string, StopForecast>>();
    const steps = open({ foresee: () => asked.opened });
    const stopping = steps.stop([A]);
    steps.hurry(new Set(['a']));
    const starting = steps.start(startOf('a', ['a.service']));
    asked.open(RUN);
    await Promise.all([stopping, starting]);
    assert.deepEqual(steps.story().slice(3), ['start a.service', 'started a']);
  });
});
