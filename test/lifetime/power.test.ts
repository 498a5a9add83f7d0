/** When the machine is to be switched off: after its deadline (S3.7), or because all is done (S5.2). */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { partsOf, restoreState } from '../../agent/lifetime/state.ts';
import { step } from '../../agent/lifetime/step.ts';
import type { EscalationStep, PayloadSpec } from '../../agent/lifetime/types.ts';
import { type History, HOUR, history, MINUTE, payload, SECOND, START, secs, unit } from './history.ts';

const DEADLINE = START + 2 * HOUR;
const shutdown = (h: History, deadlineMs: number) =>
  h.says('directory', { machine: { total_cpu: '8', shutdowntime: secs(deadlineMs) } });
const clear = (h: History) => h.saysUntilSettled('directory', { machine: { total_cpu: '8' } });

describe('S3.7 at the deadline', () => {
  function over(policy = {}, ...specs: PayloadSpec[]) {
    const h = history({ policy: { atDeadline: 'poweroff', ...policy } });
    for (const spec of specs) h.register(spec);
    shutdown(h, DEADLINE);
    h.until(DEADLINE - 1);
    assert.equal(h.powerOff(), null);
    h.pass(1);
    return h;
  }
  test('S3.7 off at that very moment where nobody lives, by waking up itself', () => {
    assert.equal(over().powerOff(), 'deadline');
  });
  test('S3.7 nor before it where all have ended already', () => {
    const h = history({ policy: { atDeadline: 'poweroff' } });
    h.register(payload('p'));
    shutdown(h, DEADLINE);
    h.until(DEADLINE - MINUTE);
    h.gone('p');
    assert.deepEqual([h.phase(), h.powerOff()], ['stopped', null]);
  });
  test('S3.7 off when all steps have been taken, though the payload lives', () => {
    assert.equal(over({}, payload('p')).powerOff(), 'deadline');
  });
  test('S3.7 never without being asked to', () => {
    const h = over({ atDeadline: 'nothing' });
    h.pass(24 * HOUR);
    assert.equal(h.powerOff(), null);
  });
  test('S3.5 whoever comes after the deadline has his 30 s until the SIGKILL', () => {
    const h = over();
    h.register(payload('p'));
    assert.equal(h.powerOff(), null, 'taken back');
    h.pass(30 * SECOND - 1);
    assert.deepEqual([h.powerOff(), h.sentTo('p', DEADLINE)], [null, 'SIGTERM@0']);
    h.pass(1);
    assert.deepEqual([h.powerOff(), h.sentTo('p', DEADLINE)], ['deadline', 'SIGTERM@0 SIGKILL@30']);
  });
  test('S3.7 but no row of newcomers holds it up for longer than a minute', () => {
    const h = over();
    const newcomer = (id: string) => payload(id, { registeredMs: h.now().wall });
    h.pass(1);
    h.register(newcomer('z0'));
    for (const count of [1, 2]) {
      h.pass(25 * SECOND);
      h.register(newcomer(`z${count}`));
      h.gone(`z${count - 1}`);
      assert.equal(h.powerOff(), null, `z${count} has his 30 s`);
    }
    h.until(DEADLINE + MINUTE - 1);
    assert.equal(h.powerOff(), null);
    h.pass(1);
    assert.equal(h.powerOff(), 'deadline', 'by waking up itself');
    h.register(newcomer('late'));
    assert.equal(h.powerOff(), 'deadline');
    assert.equal(h.sentTo('late', DEADLINE), 'SIGTERM@60');
  });
  for (const [what, change] of [
    ['announced when it is over', (h: History) => shutdown(h, START - HOUR)],
    [
      'in the past since the clock was set',
      (h: History) => {
        shutdown(h, START + HOUR);
        h.stepClock(2 * HOUR);
      },
    ],
  ] as const)
    test(`S3.5 a deadline ${what}: who is there is no newcomer, and has his 30 s`, () => {
      const h = history({ policy: { atDeadline: 'poweroff' } });
      h.pass(10 * MINUTE);
      h.register(payload('p', { registeredMs: h.now().wall }));
      h.pass(MINUTE);
      change(h);
      h.pass(30 * SECOND - 1);
      assert.deepEqual([h.sent.map(({ signal }) => signal), h.powerOff()], [['SIGTERM'], null]);
      h.pass(1);
      assert.deepEqual([h.sent.map(({ signal }) => signal), h.powerOff()], [['SIGTERM', 'SIGKILL'], 'deadline']);
    });
  test('S3.7 nor is one who registers again, and a later deadline knows no newcomers of the one before', () => {
    const h = history({ policy: { atDeadline: 'poweroff' } });
    shutdown(h, START + MINUTE);
    h.pass(MINUTE + SECOND);
    const spec = payload('p', { deliverer: { pid: 77, startTicks: 7 } });
    h.register(spec);
    shutdown(h, DEADLINE);
    h.until(DEADLINE + 45 * SECOND);
    h.register({ ...spec, registeredMs: h.now().wall });
    const taken = { step: { episode: 2, index: 0, signal: 'SIGTERM' }, outcome: 'delivered', at: h.now() } as const;
    h.send({ type: 'steps_done', results: [{ id: 'p', ...taken }] });
    h.until(DEADLINE + MINUTE);
    assert.equal(h.powerOff(), null);
  });
  test('S3.7 who was there before the deadline is waited for to his last step, newcomers or not', () => {
    const h = history({ policy: { atDeadline: 'poweroff' } });
    h.register(payload('p', { deliverer: { pid: 77, startTicks: 7 } }));
    shutdown(h, DEADLINE);
    h.until(DEADLINE + 50 * SECOND);
    const acknowledged = {
      step: { episode: 1, index: 0, signal: 'SIGTERM' },
      outcome: 'delivered',
      at: h.now(),
    } as const;
    h.send({ type: 'steps_done', results: [{ id: 'p', ...acknowledged }] });
    h.until(DEADLINE + MINUTE);
    assert.equal(h.powerOff(), null);
  });
  test('S3.5 or until he is gone', () => {
    const h = over();
    h.register(payload('p'));
    h.gone('p');
    assert.equal(h.powerOff(), 'deadline');
  });
  test('S3.5 a SIGKILL that is late because the agent was away goes out before the machine does', () => {
    const h = history({ policy: { atDeadline: 'poweroff' } });
    h.register(payload('p'));
    shutdown(h, DEADLINE);
    h.until(DEADLINE - MINUTE);
    h.loseReports();
    h.restart({ downMs: HOUR });
    assert.deepEqual([h.sent.at(-1)?.signal, h.powerOff()], ['SIGKILL', null]);
    h.pass(30 * SECOND);
    assert.equal(h.powerOff(), 'deadline', 'nobody says that it went out');
  });
  test('S3.5 of several the last counts', () => {
    const h = over();
    h.register(payload('p'));
    h.pass(20 * SECOND);
    h.register(payload('q'));
    h.pass(10 * SECOND);
    assert.equal(h.powerOff(), null);
    h.pass(20 * SECOND);
    assert.equal(h.powerOff(), 'deadline');
  });
  test('S3.4 one that has no steps keeps nobody waiting', () => {
    assert.equal(over({}, payload('p', { steps: [] })).powerOff(), 'deadline');
  });
  test('S3.7 a later time or a clear takes it back', () => {
    for (const change of [clear, (h: History) => shutdown(h, DEADLINE + HOUR)]) {
      const h = over({}, payload('p'));
      assert.equal(h.powerOff(), 'deadline');
      change(h);
      assert.equal(h.powerOff(), null);
    }
  });
  test('S3.3 a payload’s own deadline switches nothing off', () => {
    const h = history({ policy: { atDeadline: 'poweroff' } });
    h.register(payload('p', { deadlineMs: START + MINUTE }));
    h.pass(HOUR);
    assert.equal(h.powerOff(), null);
  });
  test('S3.8 the last step of exec is waited for', () => {
    const h = over({}, payload('p', { deliverer: { pid: 77, startTicks: 7 } }));
    const says = (signal: string, index: number) =>
      h.send({
        type: 'steps_done',
        results: [{ id: 'p', step: { episode: 1, index, signal }, outcome: 'delivered', at: h.now() }],
      });
    says('SIGTERM', 0);
    h.pass(30 * SECOND);
    assert.equal(h.powerOff(), null);
    says('SIGKILL', 1);
    assert.equal(h.powerOff(), 'deadline');
  });
  for (const [what, before] of [
    ['says nothing at all', () => {}],
    [
      'has said only its SIGTERM',
      (h: History) =>
        h.send({
          type: 'steps_done',
          results: [{ id: 'p', step: { episode: 1, index: 0, signal: 'SIGTERM' }, outcome: 'delivered', at: h.now() }],
        }),
    ],
  ] as const)
    test(`S3.8 but an exec that ${what} does not hold up the machine for ever`, () => {
      const h = over({}, payload('p', { deliverer: { pid: 77, startTicks: 7 } }));
      before(h);
      h.pass(MINUTE - 1);
      assert.equal(h.powerOff(), null);
      h.pass(1);
      assert.equal(h.powerOff(), 'deadline');
    });
  test('nor a hook of which nobody says that it was begun', () => {
    const hook: EscalationStep = { at: 'grace', signal: 'hook:x' };
    const h = history({ policy: { atDeadline: 'poweroff' } });
    h.register(payload('p', { steps: [hook] }));
    shutdown(h, START + 10 * SECOND);
    h.loseReports();
    h.register(payload('q', { steps: [{ at: 0, signal: 'hook:y' }] }));
    h.pass(10 * SECOND);
    assert.equal(h.powerOff(), null);
    h.pass(30 * SECOND);
    assert.equal(h.powerOff(), 'deadline');
  });
  test('what is over by one clock and not by the other is waited for without waking again and again', () => {
    const steps: EscalationStep[] = [
      { at: MINUTE, signal: 'hook:x' },
      { at: 'grace', signal: 'SIGTERM' },
    ];
    const h = history({ policy: { atDeadline: 'poweroff' } });
    h.register(payload('p', { steps, deliverer: { pid: 77, startTicks: 7 } }));
    shutdown(h, START + 50 * SECOND);
    h.pass(50 * SECOND);
    h.loseReports();
    h.send({ type: 'payload_updated', id: 'p', change: { deadlineMs: START - HOUR } });
    h.pass(10 * MINUTE);
    assert.equal(h.powerOff(), 'deadline');
  });
  test('S3.6 a unit that we stopped is not alive', () => {
    const h = over({}, unit('u', { steps: [{ at: 'grace', signal: 'SIGTERM' }] }));
    h.gone('u');
    assert.equal(h.powerOff(), 'deadline');
  });
  test('S1.8 the deadline that the last boot ended with ends this one not', () => {
    const h = over();
    h.restart({ reboot: true, downMs: MINUTE });
    shutdown(h, DEADLINE);
    h.pass(HOUR);
    assert.equal(h.powerOff(), null);
  });
});

describe('S5.2 when all is done', () => {
  function machine(policy = {}) {
    return history({ policy: { whenDone: 'poweroff', idleMs: 5 * MINUTE, ...policy } });
  }
  function done(policy = {}) {
    const h = machine(policy);
    h.register(payload('p'));
    h.pass(HOUR);
    h.gone('p');
    return h;
  }
  test('S5.2 idle for so long after the last end, to the millisecond, by waking up itself', () => {
    const h = done();
    h.pass(5 * MINUTE - 1);
    assert.equal(h.powerOff(), null);
    h.pass(1);
    assert.equal(h.powerOff(), 'done');
    h.send({ type: 'tick' });
    assert.equal(h.powerOff(), 'done', 'as long as it is true');
  });
  test('S5.2 never where no payload ever lived', () => {
    const h = machine();
    h.pass(24 * HOUR);
    assert.equal(h.powerOff(), null);
  });
  for (const [what, before] of [
    ['never without being asked to', { whenDone: 'nothing' }],
    ['not sooner than the idle time', { idleMs: 2 * HOUR }],
  ] as const)
    test(`S5.2 ${what}; configured later, when a [[payload]] that came with it would have been found`, () => {
      const h = done(before);
      h.pass(HOUR);
      assert.equal(h.powerOff(), null);
      h.configure({ policy: { whenDone: 'poweroff', idleMs: 5 * MINUTE } });
      h.pass(10 * SECOND - 1);
      assert.equal(h.powerOff(), null);
      h.pass(1);
      assert.equal(h.powerOff(), 'done');
    });
  test('S5.2 a configuration that changes nothing of it puts nothing off', () => {
    const h = done();
    h.pass(5 * MINUTE);
    h.configure({ policy: { idleMs: 4 * MINUTE } });
    assert.equal(h.powerOff(), null, 'for as long as it takes to look');
    h.pass(10 * SECOND);
    for (const policy of [{}, { idleMs: 5 * MINUTE }, { graceMs: MINUTE }]) {
      h.configure({ policy });
      assert.equal(h.powerOff(), 'done');
    }
  });
  test('S5.2 not over who came while the agent was away, and could not be found yet', () => {
    const h = done();
    h.pass(MINUTE);
    h.restart({ downMs: 6 * MINUTE });
    h.pass(10 * SECOND - 1);
    assert.equal(h.powerOff(), null);
    h.register(payload('exec'));
    h.pass(HOUR);
    assert.equal(h.powerOff(), null);
    h.gone('exec');
    h.pass(5 * MINUTE);
    assert.equal(h.powerOff(), 'done');
  });
  test('S5.2 but where nobody came, half a minute after it is back', () => {
    const h = done();
    h.pass(MINUTE);
    h.restart({ downMs: 6 * MINUTE });
    h.pass(10 * SECOND);
    assert.equal(h.powerOff(), 'done');
  });
  test('S5.2 what the configuration does not name any more has not ended: it is only none of ours', () => {
    const h = machine();
    h.register(unit('condor', { origin: 'condor' }));
    h.gone('condor', 'unconfigured');
    assert.deepEqual(h.result().payloads, []);
    h.pass(24 * HOUR);
    assert.equal(h.powerOff(), null);
  });
  test('S5.2 not while one lives; counted from the last that ended', () => {
    const h = done();
    h.register(payload('q'));
    h.pass(HOUR);
    assert.equal(h.powerOff(), null);
    h.gone('q');
    h.pass(5 * MINUTE - 1);
    assert.equal(h.powerOff(), null);
    h.pass(1);
    assert.equal(h.powerOff(), 'done');
  });
  test('S5.2 a payload on its way takes it back, be it a mere reservation', () => {
    const h = done();
    h.pass(5 * MINUTE);
    const self = { pid: 5, startTicks: 5 };
    h.register(payload('r', { deliverer: self, target: { kind: 'process', leader: self, group: true } }));
    assert.equal(h.powerOff(), null);
    h.gone('r');
    assert.equal(h.powerOff(), 'done', 'it has not lived, so nothing begins anew');
  });
  test('S5.2 a payload that said that it is done has ended', () => {
    const h = machine();
    h.register(payload('p'));
    h.gone('p', 'deregistered');
    h.pass(5 * MINUTE);
    assert.equal(h.powerOff(), 'done');
  });
  test('S4.2 idleness is monotonic: no clock step shortens or lengthens it', () => {
    for (const byMs of [-3 * HOUR, 3 * HOUR]) {
      const h = done();
      h.stepClock(byMs);
      assert.equal(h.powerOff(), null);
      h.pass(5 * MINUTE);
      assert.equal(h.powerOff(), 'done');
    }
  });
  test('S5.2 idleness goes on over a restart, and ends with the boot', () => {
    const h = done();
    h.pass(4 * MINUTE);
    h.restart({ downMs: 30 * SECOND });
    assert.equal(h.powerOff(), null);
    h.pass(30 * SECOND);
    assert.equal(h.powerOff(), 'done');
    h.restart({ reboot: true });
    h.pass(HOUR);
    assert.equal(h.powerOff(), null);
  });
  test('a tally of a version that did not write when: it may have been just now', () => {
    const h = done();
    h.pass(HOUR);
    const parts = new Map([...partsOf(h.state()), ['tally', { ended: 1 }] as const]);
    const options = { sameBoot: true, bootWallMs: h.boot(), firstBootMs: h.boot(), now: h.now() };
    const state = restoreState(parts, [], options);
    const { wall, mono } = h.now();
    const policy = h.state().policy;
    const after = step(state, { type: 'configure', policy, sources: [] }, { wall, mono });
    assert.deepEqual([after.powerOff, after.wakeAt.mono], [null, mono + 5 * MINUTE]);
    assert.equal(step(after.state, { type: 'tick' }, { wall, mono: mono + 5 * MINUTE }).powerOff, 'done');
    const none = restoreState(new Map([['tally', { ended: 0 }]]), [], options);
    const idle = step(none, { type: 'configure', policy, sources: [] }, { wall, mono: mono + HOUR });
    assert.equal(idle.powerOff, null);
  });
  test('S3.6 a unit that we stopped has ended; one that is started again has not', () => {
    const h = machine();
    h.register(unit('u'));
    shutdown(h, START + MINUTE);
    h.gone('u');
    h.pass(4 * MINUTE);
    assert.equal(h.powerOff(), null);
    clear(h);
    h.pass(10 * MINUTE);
    assert.equal(h.powerOff(), null);
  });
  test('S3.7 the deadline goes before', () => {
    const h = machine({ atDeadline: 'poweroff' });
    h.register(payload('p'));
    h.gone('p');
    shutdown(h, START + MINUTE);
    h.pass(MINUTE);
    assert.equal(h.powerOff(), 'deadline');
    clear(h);
    h.pass(5 * MINUTE);
    assert.equal(h.powerOff(), 'done');
  });
});
