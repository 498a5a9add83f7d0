/** Units that the agent stopped are started again when the host cancels (S3.6), and only those. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { EscalationStep, PayloadSpec, StepOutcome } from '../../agent/lifetime/types.ts';
import {
  answer,
  type History,
  HOUR,
  history,
  MINUTE,
  NEGATIVE,
  payload,
  present,
  SECOND,
  START,
  secs,
  unit,
} from './history.ts';

const DEADLINE = START + 2 * HOUR;
const shutdown = (h: History, deadlineMs: number) =>
  h.says('directory', { machine: { total_cpu: '8', shutdowntime: secs(deadlineMs) } });
const clear = (h: History) => h.saysUntilSettled('directory', { machine: { total_cpu: '8' } });
const names = (h: History) => h.started.map(({ id, units }) => `${id}: ${units.join(' ')}`);

/** Its stop signal went out a minute ago. */
function stopping(more: Partial<PayloadSpec> = {}, prepare: (h: History) => void = () => {}) {
  const h = history();
  h.register(unit('u', more));
  shutdown(h, DEADLINE);
  prepare(h);
  h.until(DEADLINE - MINUTE);
  return h;
}
/** And it is down. */
function stopped(more: Partial<PayloadSpec> = {}) {
  const h = stopping(more);
  h.gone('u');
  return h;
}

describe('S3.6 a unit that we stopped', () => {
  test('S3.6 keeps its row: stopped, not alive, and nothing more is done to it', () => {
    const h = stopped();
    assert.equal(h.row('u').state, 'stopped');
    assert.deepEqual(h.snapshot().payloads, { running: 0, stopping: 0, stopped: 1 });
    assert.deepEqual([h.phase(), h.snapshot().canTerminate], ['stopped', answer(true, null)]);
    h.until(DEADLINE + HOUR);
    assert.equal(h.sentTo('u', DEADLINE), 'SIGTERM@-120', 'no SIGKILL');
    assert.deepEqual(h.started, []);
    assert.deepEqual(h.result().wakeAt, { wall: null, mono: null });
  });
  test('S5.2 is counted once, however often it is seen to be gone', () => {
    const h = stopped();
    const before = h.state();
    for (const _ of [0, 1, 2]) h.gone('u');
    assert.equal(h.state().payloads, before.payloads);
    assert.equal(h.snapshot().payloads.stopped, 1);
  });
  test('S3.6 is started again on cancel, once, and its row lives on with nothing done to it', () => {
    const h = stopped();
    clear(h);
    assert.deepEqual(names(h), ['u: u.service']);
    assert.equal(h.row('u').state, 'running');
    assert.deepEqual(h.snapshot().payloads, { running: 1, stopping: 0, stopped: 1 });
    for (let count = 0; count < 5; count += 1) {
      h.pass(10 * MINUTE);
      h.restart();
    }
    assert.equal(h.started.length, 1);
  });
  for (const [what, change] of [
    ['postponed', (h: History) => shutdown(h, DEADLINE + HOUR)],
    ['overridden by the operator', (h: History) => h.send({ type: 'ignore', id: 'directory/shutdowntime' })],
  ] as const)
    test(`S3.6 ${what} it is started again too`, () => {
      const h = stopped();
      change(h);
      assert.deepEqual(names(h), ['u: u.service']);
    });
  test('S3.6 postponed by a little it stays down: that is the same stop', () => {
    const h = stopped();
    shutdown(h, DEADLINE + 30 * SECOND);
    h.until(DEADLINE + HOUR);
    assert.deepEqual([h.started.length, h.row('u').state], [0, 'stopped']);
  });
  test('S1.2 one notice of two cleared: it stays down for the other', () => {
    const h = stopped();
    h.says('ec2', { notices: { spot: present('terminate', DEADLINE - 10 * SECOND) } });
    clear(h);
    assert.deepEqual(h.started, []);
    h.says('ec2', { notices: { spot: NEGATIVE } });
    assert.equal(h.started.length, 1);
  });
  test('S3.6 not named by a re-read configuration any more, it is started again all the same', () => {
    const h = stopped({ origin: 'u' });
    h.gone('u', 'unconfigured');
    h.holdStarts();
    clear(h);
    h.gone('u', 'unconfigured');
    h.restart();
    assert.deepEqual(names(h), ['u: u.service', 'u: u.service'], 'also where that is cut short by a crash');
    h.send({ type: 'unit_running', id: 'u' });
    h.gone('u', 'unconfigured');
    assert.deepEqual(h.result().payloads, []);
  });
  test('S3.6 nor is a stop that has begun left half done', () => {
    const h = stopping({ origin: 'u' });
    h.gone('u', 'unconfigured');
    h.until(DEADLINE);
    assert.equal(h.sentTo('u', DEADLINE), 'SIGTERM@-120 SIGKILL@-5');
    clear(h);
    h.send({ type: 'unit_running', id: 'u' });
    h.gone('u', 'unconfigured');
    assert.deepEqual(h.result().payloads, []);
  });
  test('S3.3 its own deadline moved later by its owner starts it again', () => {
    const h = history();
    h.register(unit('u', { deadlineMs: START + MINUTE }));
    h.gone('u');
    assert.equal(h.row('u').state, 'stopped');
    h.send({ type: 'payload_updated', id: 'u', change: { deadlineMs: START + HOUR } });
    assert.deepEqual(names(h), ['u: u.service']);
  });
  test('S3.6 the notice that returns stops it anew, with every step', () => {
    const h = history();
    h.register(unit('u'));
    h.says('ec2', { notices: { spot: present('terminate', START + MINUTE) } });
    h.gone('u');
    h.says('ec2', { notices: { spot: NEGATIVE } });
    h.send({ type: 'unit_running', id: 'u' });
    h.pass(10 * SECOND);
    h.says('ec2', { notices: { spot: present('terminate', START + MINUTE) } });
    h.pass(10 * MINUTE);
    assert.equal(h.sentTo('u'), 'SIGTERM@0 SIGTERM@10 SIGKILL@55');
    assert.deepEqual([h.row('u').state, h.row('u').episode], ['stopping', 2]);
  });
  test('S3.6 `restart_on_cancel = false`: it is not, and nothing is left of it', () => {
    const h = stopped({ restartOnCancel: false });
    assert.equal(h.row('u').state, 'stopped');
    clear(h);
    assert.deepEqual([h.started, h.result().payloads], [[], []]);
    assert.equal(h.snapshot().payloads.stopped, 1);
  });
  test('S3.6 its owner takes it off the list: it is not started, and counted once', () => {
    const h = stopped();
    h.gone('u', 'deregistered');
    clear(h);
    assert.deepEqual([h.started, h.result().payloads], [[], []]);
    assert.equal(h.snapshot().payloads.stopped, 1);
  });
  test('another boot starts nothing: its units are started by systemd', () => {
    const h = stopped();
    h.restart({ reboot: true });
    clear(h);
    assert.deepEqual(h.started, []);
  });
});

describe('S3.6 cancelled while it is still going down', () => {
  test('S3.6 it is started all the same, and not taken for dead before it is up', () => {
    const h = stopping();
    clear(h);
    assert.deepEqual(names(h), ['u: u.service']);
    h.gone('u');
    assert.equal(h.row('u').state, 'running');
    h.pass(20 * SECOND);
    h.gone('u');
    h.send({ type: 'unit_running', id: 'u' });
    assert.equal(h.row('u').state, 'running');
    h.gone('u');
    assert.deepEqual(h.result().payloads, [], 'it was up, and has ended by itself');
    assert.equal(h.snapshot().payloads.stopped, 1);
  });
  test('a unit that does not come up is forgotten', () => {
    const h = stopped();
    clear(h);
    h.pass(31 * SECOND);
    h.gone('u');
    assert.deepEqual(h.result().payloads, []);
  });
  test('as long as nobody says that the jobs are taken it has longer, but not for ever', () => {
    const h = history();
    h.holdStarts();
    h.register(unit('u'));
    shutdown(h, START + MINUTE);
    h.gone('u');
    clear(h);
    h.pass(4 * MINUTE);
    h.gone('u');
    assert.equal(h.row('u').state, 'running');
    h.pass(MINUTE);
    h.gone('u');
    assert.deepEqual(h.result().payloads, []);
  });
  test('stopped again before it was up: down is down', () => {
    const h = stopped();
    clear(h);
    shutdown(h, h.now().wall + MINUTE);
    assert.match(h.sentTo('u'), /SIGTERM.*SIGTERM/);
    h.gone('u');
    assert.equal(h.row('u').state, 'stopped');
    clear(h);
    assert.equal(h.started.length, 2);
  });
  for (const [outcome, uncertain, starts] of [
    ['refused', false, 0],
    ['no_process', false, 0],
    ['no_process', true, 1],
    ['delivered', false, 1],
  ] as const satisfies readonly (readonly [StepOutcome, boolean, number])[]) {
    test(`S3.6 a stop that was ${outcome}${uncertain ? ' when it was tried again after a crash' : ''}: ${starts ? 'started' : 'there is nothing to start'}`, () => {
      const h = history();
      h.register(unit('u'));
      h.loseReports();
      shutdown(h, START + MINUTE);
      if (uncertain) h.restart({ loseDone: true });
      h.deliverAgain();
      const step = { episode: 1, index: 0, signal: 'SIGTERM' };
      h.send({ type: 'steps_done', results: [{ id: 'u', step, outcome, at: h.now() }] });
      clear(h);
      assert.equal(h.started.length, starts);
    });
  }
  test('S3.6 a refused stop, and then its SIGKILL: it was us', () => {
    const h = history();
    h.register(unit('u'));
    h.loseReports();
    shutdown(h, START + MINUTE);
    h.deliverAgain();
    const step = { episode: 1, index: 0, signal: 'SIGTERM' };
    h.send({ type: 'steps_done', results: [{ id: 'u', step, outcome: 'refused', at: h.now() }] });
    h.pass(56 * SECOND);
    h.gone('u');
    assert.equal(h.row('u').state, 'stopped');
  });
});

describe('S3.6 a unit that we did not stop', () => {
  const WARN: EscalationStep = { at: 10 * MINUTE, signal: 'SIGUSR1' };
  const HOOK: EscalationStep = { at: 10 * MINUTE, signal: 'hook:save' };
  const TERM: EscalationStep = { at: 'grace', signal: 'SIGTERM' };
  const ended: readonly [string, (h: History) => void][] = [
    ['ended before anything was done', () => {}],
    ['ended after a warning', (h) => h.until(DEADLINE - 9 * MINUTE)],
  ];
  for (const [what, wait] of ended)
    for (const first of [WARN, HOOK])
      test(`S3.6 ${what} (${first.signal}): dropped, not started`, () => {
        const h = history();
        h.register(unit('u', { steps: [first, TERM] }));
        shutdown(h, DEADLINE);
        wait(h);
        h.gone('u');
        assert.deepEqual(h.result().payloads, []);
        clear(h);
        assert.deepEqual(h.started, []);
        assert.equal(h.snapshot().payloads.stopped, 1);
      });
  test('S3.6 ended after the cancel: dropped', () => {
    const h = stopping({ restartOnCancel: false });
    clear(h);
    h.gone('u');
    assert.deepEqual([h.result().payloads, h.started], [[], []]);
  });
  test('a process that we stopped is gone as ever, and nothing is started', () => {
    const h = history();
    h.register(payload('p'));
    shutdown(h, START + MINUTE);
    h.gone('p');
    assert.deepEqual(h.result().payloads, []);
    h.send({ type: 'units_stopping', id: 'p', units: ['x.service'] });
    clear(h);
    assert.deepEqual(h.started, []);
  });
});

describe('S3.6 a slice', () => {
  test('S3.6 what was stopped with it is started in its place, in the order that was told', () => {
    const h = stopping({}, (before) =>
      before.send({ type: 'units_stopping', id: 'u', units: ['b.service', 'a.service'] }),
    );
    h.send({ type: 'units_stopping', id: 'u', units: ['a.service', 'c.service'] });
    h.restart();
    h.gone('u');
    clear(h);
    assert.deepEqual(names(h), ['u: b.service a.service c.service']);
  });
  test('S3.6 the next stop has its own list', () => {
    const h = stopped();
    h.send({ type: 'units_stopping', id: 'u', units: ['old.service'] });
    clear(h);
    h.send({ type: 'unit_running', id: 'u' });
    shutdown(h, h.now().wall + MINUTE);
    h.send({ type: 'units_stopping', id: 'u', units: ['new.service'] });
    h.gone('u');
    clear(h);
    assert.deepEqual(names(h), ['u: old.service', 'u: new.service']);
  });
  test('nothing ran in it: nothing is started, and nothing left', () => {
    const h = stopping({}, (before) => before.send({ type: 'units_stopping', id: 'u', units: [] }));
    h.gone('u');
    clear(h);
    assert.deepEqual([h.started, h.result().payloads], [[], []]);
  });
  test('the list is bounded, and that is said', () => {
    const h = stopped();
    h.send({ type: 'units_stopping', id: 'u', units: Array.from({ length: 600 }, (_, index) => `${index}.service`) });
    assert.equal(h.logs('units_left_out')[0]?.fields['count'], 88);
    clear(h);
    assert.equal(h.started[0]?.units.length, 512);
  });
});

describe('S3.6 it runs again by another hand', () => {
  test('S3.6 while the notice stands: it is another life, and is stopped like one that was just registered', () => {
    const h = stopped();
    h.send({ type: 'unit_running', id: 'u' });
    assert.equal(h.sentTo('u', DEADLINE), 'SIGTERM@-120 SIGTERM@-60');
    assert.deepEqual([h.phase(), h.row('u').episode], ['stopping', 2]);
    h.gone('u');
    clear(h);
    assert.deepEqual(names(h), ['u: u.service']);
  });
  test('S3.6 registered anew under another id it is the same', () => {
    const h = stopped();
    h.register(unit('u', { id: 'v' }));
    assert.deepEqual(
      h.result().payloads.map(({ spec: { id }, state }) => [id, state]),
      [['v', 'stopping']],
    );
    assert.equal(h.sentTo('v', DEADLINE), 'SIGTERM@-60');
  });
  test('S3.6 what looked like it may have been the last process of its stop: it is still to be started again', () => {
    const h = stopping({}, (before) =>
      before.send({ type: 'units_stopping', id: 'u', units: ['u.service', 'v.service'] }),
    );
    h.gone('u');
    h.loseReports();
    h.send({ type: 'unit_running', id: 'u' });
    h.deliverAgain();
    h.send({ type: 'units_stopping', id: 'u', units: [] });
    const step = { episode: 2, index: 0, signal: 'SIGTERM' };
    h.send({ type: 'steps_done', results: [{ id: 'u', step, outcome: 'no_process', at: h.now() }] });
    h.gone('u');
    h.restart();
    assert.equal(h.row('u').state, 'stopped');
    clear(h);
    assert.deepEqual(names(h), ['u: u.service v.service']);
    h.send({ type: 'unit_running', id: 'u' });
    h.gone('u');
    assert.deepEqual(h.result().payloads, [], 'made good: what ends now has ended by itself');
  });
  test('a late report of its last life is not taken for one of this', () => {
    const h = stopped();
    h.send({ type: 'unit_running', id: 'u' });
    const step = { episode: 1, index: 1, signal: 'SIGKILL' };
    h.send({ type: 'steps_done', results: [{ id: 'u', step, outcome: 'delivered', at: h.now() }] });
    h.until(DEADLINE);
    assert.equal(h.sentTo('u', DEADLINE), 'SIGTERM@-120 SIGTERM@-60 SIGKILL@-5');
  });
  test('of one that is not stopped it is no news', () => {
    const h = stopping();
    const before = h.state().payloads;
    h.send({ type: 'unit_running', id: 'u' });
    h.send({ type: 'units_started', id: 'u' });
    assert.equal(h.state().payloads, before);
  });
});

describe('a crash over a start', () => {
  function crashed() {
    const h = stopped();
    h.holdStarts();
    clear(h);
    return h;
  }
  test('S3.6 it is asked for once more, and told; not a third time', () => {
    const h = crashed();
    h.restart();
    assert.equal(h.started.length, 2);
    assert.equal(h.logs('start_uncertain').length, 1);
    h.restart();
    h.restart();
    assert.equal(h.started.length, 2);
  });
  test('S3.6 not again once the jobs are taken', () => {
    const h = crashed();
    h.send({ type: 'units_started', id: 'u' });
    h.restart();
    assert.equal(h.started.length, 1);
  });
  test('S3.6 a crash between the intent and the deed', () => {
    const h = stopped();
    h.crashAtNextSignal();
    clear(h);
    h.restart();
    assert.deepEqual(names(h), ['u: u.service', 'u: u.service']);
  });
  test('S3.6 the notice is back meanwhile: it is stopped, not started', () => {
    const h = crashed();
    shutdown(h, h.now().wall + MINUTE);
    h.restart();
    assert.equal(h.started.length, 1);
    assert.equal(h.sent.filter(({ signal }) => signal === 'SIGTERM').length, 2);
  });
  test('S3.6 down and cancelled while the agent was away', () => {
    const h = stopped();
    h.restart({ downMs: 10 * MINUTE });
    assert.equal(h.row('u').state, 'stopped');
    clear(h);
    assert.equal(h.started.length, 1);
  });
});
