import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, mock, test } from 'node:test';
import { type Heartbeat, startHeartbeat } from '../agent/heartbeat.ts';
import { initialState } from '../agent/lifetime/state.ts';
import type { Input, Policy, Snapshot } from '../agent/lifetime/types.ts';
import { payload } from './lifetime/history.ts';

const START = 1_766_440_000_000;
const MINUTE = 60_000;

describe('heartbeat', () => {
  let wall: number;
  let mono: number;
  let boot: number;
  let shown: Snapshot[];
  let jumps: string[];
  let errors: Input[];
  let poll: () => Promise<unknown>;
  let beat: Heartbeat;

  beforeEach(() => {
    mock.timers.enable({ apis: ['setTimeout'] });
    [wall, mono, boot] = [START, 18_000_000, 18_000_000];
    shown = [];
    jumps = [];
    errors = [];
    poll = async () => {};
    const state = initialState(START - 18_000_000, START - 18_000_000);
    beat = startHeartbeat({
      clock: { now: () => ({ wall, mono }), bootMs: () => boot },
      state,
      carryOut: (result) => shown.push(result.snapshot),
      onJump: ({ kind }) => {
        jumps.push(kind);
        return poll();
      },
      onError: (_, input) => errors.push(input),
    });
    beat.submit({
      type: 'configure',
      policy: state.policy,
      sources: [{ name: 'directory', rank: 'directory', pollMs: 1_000 }],
    });
  });
  afterEach(() => {
    beat.stop();
    mock.timers.reset();
  });

  /** Time as an undisturbed machine has it, in steps small enough for every timer. */
  function pass(ms: number): void {
    for (let left = ms; left > 0; left -= 500) {
      const by = Math.min(500, left);
      wall += by;
      mono += by;
      boot += by;
      mock.timers.tick(by);
    }
  }
  const announce = (inMs: number | null): void => {
    const keys = inMs === null ? {} : { shutdowntime: { is: 'present' as const, value: String((wall + inMs) / 1000) } };
    beat.submit({
      type: 'observation',
      observation: {
        source: 'directory',
        outcome: 'answer',
        answer: { machine: { channel: 'dev:1', complete: true, keys } },
      },
    });
  };
  const phase = (): string | undefined => shown.at(-1)?.phase;

  test('S3.1 the phases come by themselves at their times', () => {
    announce(40 * MINUTE);
    assert.equal(phase(), 'running');
    pass(10 * MINUTE);
    assert.equal(phase(), 'draining');
    pass(28 * MINUTE);
    // No payload lives: nothing is left to stop.
    assert.equal(phase(), 'stopped');
  });

  test('nothing happens, nothing is computed: an idle agent is quiet', () => {
    const before = shown.length;
    pass(10 * MINUTE);
    assert.equal(shown.length, before);
  });

  test('S4.2 a suspended machine asks its sources first and judges their news together with the time', async () => {
    announce(5 * MINUTE);
    let answer: () => void = () => {};
    poll = () =>
      new Promise<void>((resolve) => {
        answer = resolve;
      });
    // Suspended for ten minutes: boot time and wall time went on, monotonic time did not.
    wall += 10 * MINUTE;
    boot += 10 * MINUTE;
    pass(1_000);
    assert.deepEqual(jumps, ['suspend']);
    const before = shown.length;
    announce(60 * MINUTE);
    assert.equal(shown.length, before, 'held until the sources have spoken');
    answer();
    await new Promise(setImmediate);
    assert.equal(phase(), 'running', 'postponed while asleep: never stopped');
    assert.ok(shown.slice(before).every((snapshot) => snapshot.phase === 'running'));
  });

  test('S4.2 a wall clock that steps an hour is noticed, and a source that hangs is waited for two seconds at most', () => {
    announce(40 * MINUTE);
    poll = () => new Promise(() => {});
    wall += 60 * MINUTE;
    pass(1_000);
    assert.deepEqual(jumps, ['clock_step']);
    assert.equal(phase(), 'running');
    pass(2_000);
    assert.equal(phase(), 'stopped');
    assert.equal(shown.at(-1)?.overdue, true);
  });

  /** Where boot lies by the clocks as they are now. */
  const bootNow = () => wall - boot;

  test('S1.8 a machine that wakes up with its clock wrong knows where its boot lies', () => {
    poll = () => new Promise(() => {});
    wall += 10 * MINUTE - 60 * MINUTE;
    boot += 10 * MINUTE;
    pass(3_000);
    assert.deepEqual(jumps, ['suspend']);
    assert.equal(beat.state().bootWallMs, bootNow());
  });

  test('S1.8 nor is a clock lost that is set while the sources are still being asked', async () => {
    let answer: () => void = () => {};
    poll = () =>
      new Promise<void>((resolve) => {
        answer = resolve;
      });
    wall += 10 * MINUTE;
    boot += 10 * MINUTE;
    pass(1_000);
    wall -= 60 * MINUTE;
    pass(1_000);
    assert.deepEqual(jumps, ['suspend'], 'they are asked once');
    answer();
    await new Promise(setImmediate);
    assert.equal(beat.state().bootWallMs, bootNow());
    // Nothing else was in the way: the same clock is no jump a second time.
    pass(5_000);
    assert.deepEqual(jumps, ['suspend']);
  });

  test('what was submitted while time had jumped is not lost when the agent is stopped', () => {
    poll = () => new Promise(() => {});
    wall += 60 * MINUTE;
    pass(1_000);
    beat.submit({ type: 'payload_registered', spec: payload('p') });
    assert.deepEqual(beat.state().payloads, {});
    const before = shown.length;
    beat.stop();
    assert.deepEqual(Object.keys(beat.state().payloads), ['p']);
    assert.equal(shown.length, before + 1, 'and carried out: it is in the journal');
    beat.submit({ type: 'payload_gone', id: 'p', why: 'exited' });
    pass(5_000);
    assert.deepEqual([Object.keys(beat.state().payloads), shown.length], [['p'], before + 1]);
  });

  test('small corrections of the clock are no jump', () => {
    announce(40 * MINUTE);
    wall += 10_000;
    pass(2_000);
    assert.deepEqual(jumps, []);
  });

  test('inputs that come more often than once a second do not put off the look at the clocks and the payloads', () => {
    const state = initialState(START - 18_000_000, START - 18_000_000);
    let looks = 0;
    const busy = startHeartbeat({
      clock: { now: () => ({ wall, mono }), bootMs: () => boot },
      state,
      carryOut: () => {},
      onTick: () => {
        looks += 1;
      },
      onJump: async () => {},
      onError: () => {},
    });
    for (let half = 0; half < 20; half += 1) {
      busy.submit({ type: 'tick' });
      pass(500);
    }
    busy.stop();
    assert.ok(looks >= 9, `${looks} looks in ten seconds`);
  });

  test('a heart that chokes on what is due is asked again with the next second, not at once, and is heard when it is well', () => {
    let defects = 0;
    let isBroken = false;
    // Ends by itself, so that a heart which is asked at once fails this test and does not hang it.
    const policy: Policy = {
      ...initialState(START, START).policy,
      get atDeadline(): Policy['atDeadline'] {
        if (!isBroken || defects >= 200) return 'nothing';
        defects += 1;
        throw new Error('defect');
      },
    };
    beat.submit({ type: 'configure', policy, sources: [{ name: 'directory', rank: 'directory', pollMs: 1_000 }] });
    announce(5 * MINUTE);
    pass(3 * MINUTE - 1);
    isBroken = true;
    pass(10_000);
    assert.equal(phase(), 'draining', 'nothing could be judged');
    assert.ok(errors.every(({ type }) => type === 'tick'));
    assert.ok(defects >= 5 && defects <= 15, `${defects} times in ten seconds`);
    // Others that fail in between must not put it off.
    for (let count = 0; count < 20; count += 1) {
      beat.submit({ type: 'operator_cancel' });
      pass(500);
    }
    assert.ok(errors.slice(-20).some(({ type }) => type === 'tick'));
    isBroken = false;
    pass(1_000);
    assert.equal(phase(), 'stopped');
  });

  test('an input that an effect chokes on costs that input alone', () => {
    const state = initialState(START, START);
    const failing = startHeartbeat({
      clock: { now: () => ({ wall, mono }), bootMs: () => boot },
      state,
      carryOut: (result) => {
        if (result.snapshot.phase === 'draining') throw new Error('defect');
      },
      onJump: async () => {},
      onError: (_, input) => errors.push(input),
    });
    failing.submit({ type: 'operator_notice', id: '1', notice: { kind: 'drain', deadlineMs: null, reason: 'test' } });
    assert.deepEqual(
      errors.map((input) => input.type),
      ['operator_notice'],
    );
    failing.submit({ type: 'operator_cancel' });
    assert.equal(failing.state().operator.notices['1']?.goneMs, wall);
    failing.stop();
  });
});
