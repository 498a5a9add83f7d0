/** Steps that run a program in place of a signal (S3.4): planned, collapsed and repeated for themselves. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { EscalationStep, PayloadSpec, StepResultReport } from '../../agent/lifetime/types.ts';
import {
  cgroup,
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
} from './history.ts';

const DEADLINE = START + 2 * HOUR;
const shutdown = (h: History, deadlineMs: number) =>
  h.says('directory', { machine: { total_cpu: '8', shutdowntime: secs(deadlineMs) } });

const TERM: EscalationStep = { at: 'grace', signal: 'SIGTERM' };
const KILL: EscalationStep = { at: 5 * SECOND, signal: 'SIGKILL' };
const SAVE: EscalationStep = { at: 10 * MINUTE, signal: 'hook:save' };
const TELL: EscalationStep = { at: 5 * MINUTE, signal: 'hook:tell' };

function running(steps: readonly EscalationStep[], more: Partial<PayloadSpec> = {}) {
  const h = history();
  h.register(payload('p', { steps, ...more }));
  shutdown(h, DEADLINE);
  return h;
}
function whole(steps: readonly EscalationStep[], more: Partial<PayloadSpec> = {}) {
  const h = running(steps, more);
  h.until(DEADLINE + 5 * MINUTE);
  return h.sentTo('p', DEADLINE);
}
function late(leftMs: number, steps: readonly EscalationStep[]) {
  const h = history();
  h.register(payload('p', { steps }));
  shutdown(h, START + leftMs);
  h.pass(10 * MINUTE);
  return h.sentTo('p', START + leftMs);
}

describe('S3.4 hook steps', () => {
  test('at their time, in their order', () => {
    assert.equal(whole([SAVE, TERM, TELL, KILL]), 'hook:save@-600 hook:tell@-300 SIGTERM@-120 SIGKILL@-5');
  });
  test('with all that the program has to know', () => {
    const h = running([SAVE, TERM]);
    const { spec } = h.row('p');
    h.until(DEADLINE - 5 * MINUTE);
    const run = h.ran.find(({ run: { event } }) => event === 'step')?.run;
    assert.deepEqual(run, {
      id: 'p/1/0',
      event: 'step',
      payload: { id: 'p', name: 'p', uid: 1000, pid: spec.target.kind === 'process' ? spec.target.leader.pid : 0 },
      file: 'save',
      step: { episode: 1, index: 0, signal: 'hook:save' },
      byMs: DEADLINE,
      repeated: false,
    });
  });
  test('its deadline is the payload’s own; none when that is over', () => {
    const by = (deadlineMs: number) => {
      const h = running([SAVE], { deadlineMs });
      h.until(Math.max(deadlineMs, START));
      return h.ran.find(({ run: { event } }) => event === 'step')?.run.byMs;
    };
    assert.equal(by(START + HOUR), START + HOUR);
    assert.equal(by(START - HOUR), null);
  });
  test('a control group has no pid', () => {
    const h = history();
    h.register(cgroup('c', { steps: [SAVE], deadlineMs: START + MINUTE }));
    assert.equal(h.ran[0]?.run.payload?.pid, null);
  });
  test('a hook is no stop signal: the SIGKILL waits for the signal, not for the hook', () => {
    const after: EscalationStep = { at: MINUTE, signal: 'hook:after' };
    assert.equal(
      whole([{ at: 'grace', signal: 'SIGINT' }, after, { at: 10 * MINUTE, signal: 'SIGKILL' }]),
      'SIGINT@-120 hook:after@-60 SIGKILL@-24',
    );
    assert.equal(whole([SAVE, KILL]), 'hook:save@-600 SIGKILL@-5', 'nor where there is no other');
    assert.equal(whole([{ at: 'grace', signal: 'hook:only' }]), 'hook:only@-120');
  });
  test('a SIGKILL may share its tick with a hook', () => {
    const h = running([TERM, KILL, { at: 5 * SECOND, signal: 'hook:last' }]);
    h.until(DEADLINE);
    assert.equal(h.sentTo('p', DEADLINE), 'SIGTERM@-120 SIGKILL@-5 hook:last@-5');
    assert.equal(h.sent[1]?.tick, h.sent[2]?.tick);
  });
  test('S3.5 late ones collapse into the latest, and take no signal’s place', () => {
    assert.equal(late(4 * MINUTE, [SAVE, TELL, TERM, KILL]), 'hook:tell@-240 SIGTERM@-120 SIGKILL@-5');
    assert.equal(late(MINUTE, [SAVE, TELL, TERM, KILL]), 'SIGTERM@-60 hook:tell@-60 SIGKILL@-5');
    const warn: EscalationStep = { at: 8 * MINUTE, signal: 'SIGUSR1' };
    assert.equal(late(4 * MINUTE, [SAVE, warn, TELL, TERM]), 'SIGUSR1@-240 hook:tell@-240 SIGTERM@-120');
  });
  test('S3.5 also after the deadline: SIGTERM and hook now, SIGKILL 30 s later', () => {
    assert.equal(late(-MINUTE, [SAVE, TERM, KILL]), 'SIGTERM@60 hook:save@60 SIGKILL@90');
  });
  test('skipped ones are told', () => {
    const h = history();
    h.register(payload('p', { steps: [SAVE, TELL, TERM] }));
    shutdown(h, START + MINUTE);
    assert.deepEqual(
      h.logs('step_skipped').map(({ fields }) => fields['signal']),
      ['hook:save'],
    );
  });
  test('S3.6 it begins the episode, and is not run again in it', () => {
    const h = running([SAVE, TERM, KILL]);
    h.until(DEADLINE - 9 * MINUTE);
    assert.deepEqual([h.row('p').episode, h.row('p').state], [1, 'stopping']);
    h.saysUntilSettled('directory', { machine: { total_cpu: '8' } });
    assert.equal(h.row('p').state, 'running', 'nobody has signalled it');
    shutdown(h, DEADLINE);
    h.until(DEADLINE);
    assert.equal(h.sentTo('p', DEADLINE), 'hook:save@-600 SIGTERM@-120 SIGKILL@-5');
  });
  test('S3.6 postponed it is run again', () => {
    const h = running([SAVE, TERM]);
    h.until(DEADLINE - 9 * MINUTE);
    shutdown(h, DEADLINE + HOUR);
    h.until(DEADLINE + HOUR);
    assert.equal(h.sentTo('p', DEADLINE + HOUR), 'hook:save@-4200 hook:save@-600 SIGTERM@-120');
  });
  test('S3.6 what was signalled in an earlier episode stays stopping, also when the next one had only a hook', () => {
    const h = running([SAVE, TERM]);
    h.until(DEADLINE - MINUTE);
    shutdown(h, DEADLINE + HOUR);
    h.until(DEADLINE + 51 * MINUTE);
    h.saysUntilSettled('directory', { machine: { total_cpu: '8' } });
    assert.equal(h.row('p').state, 'stopping');
    h.restart();
    assert.equal(h.row('p').state, 'stopping');
  });
  test('a refused or missing one is over too, and is shown as what it is', () => {
    for (const [outcome, state] of [
      ['refused', 'refused'],
      ['no_process', 'done'],
    ] as const) {
      const h = running([SAVE, TERM]);
      h.loseReports();
      h.until(DEADLINE - 9 * MINUTE);
      h.deliverAgain();
      const ref = h.row('p').plan[0]?.step;
      assert.ok(ref);
      assert.equal(h.row('p').plan[0]?.state, 'pending');
      h.send({ type: 'steps_done', results: [{ id: 'p', step: ref, outcome, at: h.now() }] });
      assert.equal(h.row('p').plan[0]?.state, state);
      h.restart();
      assert.equal(h.sentTo('p', DEADLINE), 'hook:save@-600');
    }
  });
});

describe('a crash over a hook step', () => {
  test('S3.6 once more, marked and counted, not a third time; the signals go on', () => {
    const h = running([SAVE, TERM, KILL]);
    h.crashAtNextSignal();
    h.until(DEADLINE - 10 * MINUTE);
    h.restart({ downMs: SECOND });
    assert.deepEqual(
      h.ran.filter(({ run: { event } }) => event === 'step').map(({ run }) => [run.id, run.repeated]),
      [
        ['p/1/0', false],
        ['p/1/0', true],
      ],
    );
    assert.equal(h.logs('step_uncertain').length, 1);
    h.restart({ loseDone: true });
    h.until(DEADLINE);
    assert.equal(h.sentTo('p', DEADLINE), 'hook:save@-600 hook:save@-599 SIGTERM@-120 SIGKILL@-5');
  });
  test('S3.5 a repeated hook does not hold back a SIGKILL', () => {
    const h = running([TERM, KILL, { at: 10 * SECOND, signal: 'hook:last' }]);
    h.until(DEADLINE - 11 * SECOND);
    h.crashAtNextSignal();
    h.until(DEADLINE - 10 * SECOND);
    h.restart({ downMs: 6 * SECOND });
    assert.equal(h.sentTo('p', DEADLINE), 'SIGTERM@-120 hook:last@-10 SIGKILL@-4 hook:last@-4');
  });
});

describe('S3.8 exec delivers the signals, the daemon runs the hooks', () => {
  const DELIVERER = { pid: 77, startTicks: 7 };
  const STEPS = [SAVE, TERM, { at: MINUTE, signal: 'hook:mid' }, { at: 30 * SECOND, signal: 'SIGTERM' }, KILL];
  const exec = (steps: readonly EscalationStep[] = STEPS) => running(steps, { deliverer: DELIVERER });
  const says = (h: History, signal: string, index: number, more: Partial<StepResultReport> = {}, episode = 1) =>
    h.send({
      type: 'steps_done',
      results: [{ id: 'p', step: { episode, index, signal }, outcome: 'delivered', at: h.now(), ...more }],
    });

  test('S3.8 each at its time, with no signal of the daemon’s', () => {
    const h = exec();
    h.until(DEADLINE + HOUR);
    assert.equal(h.sentTo('p', DEADLINE), 'hook:save@-600 hook:mid@-60');
  });
  test('S3.8 its numbers count the signals alone: each word finds its step', () => {
    const h = exec();
    h.until(DEADLINE - 2 * MINUTE);
    says(h, 'SIGTERM', 0);
    h.until(DEADLINE - 30 * SECOND);
    says(h, 'SIGTERM', 1);
    assert.deepEqual(
      h.row('p').plan.map(({ state }) => state),
      ['done', 'done', 'done', 'done', 'planned'],
    );
    h.send({ type: 'deliverer_gone', id: 'p' });
    h.until(DEADLINE);
    assert.equal(h.sentTo('p', DEADLINE), 'hook:save@-600 hook:mid@-60 SIGKILL@-5');
  });
  test('S3.8 exec died: the daemon takes over signals, and repeats no hook', () => {
    const h = exec();
    h.until(DEADLINE - 5 * MINUTE);
    h.send({ type: 'deliverer_gone', id: 'p' });
    h.until(DEADLINE);
    assert.equal(h.sentTo('p', DEADLINE), 'hook:save@-600 SIGTERM@-120 hook:mid@-60 SIGTERM@-30 SIGKILL@-5');
  });
  test('S3.6 a hook-only episode of which exec has never heard takes no word of its first one', () => {
    const h = exec([SAVE, TERM, KILL]);
    h.until(DEADLINE - 9 * MINUTE);
    const later = DEADLINE + HOUR;
    shutdown(h, later);
    h.until(later - 2 * MINUTE);
    says(h, 'SIGTERM', 0);
    h.send({ type: 'deliverer_gone', id: 'p' });
    h.until(later);
    assert.equal(h.sentTo('p', later), 'hook:save@-4200 hook:save@-600 SIGKILL@-5');
  });
  test('S3.6 nor where its stopping begins without a hook: the number is that of an episode that is over', () => {
    const h = exec([SAVE, TERM, KILL]);
    h.until(DEADLINE - 9 * MINUTE);
    h.send({ type: 'payload_updated', id: 'p', change: { steps: [TERM, KILL] } });
    const later = DEADLINE + HOUR;
    shutdown(h, later);
    h.until(later - 2 * MINUTE);
    says(h, 'SIGTERM', 0);
    h.send({ type: 'deliverer_gone', id: 'p' });
    h.until(later);
    assert.equal(h.sentTo('p', later), 'hook:save@-4200 SIGKILL@-5');
  });
  test('S3.6 a late word belongs to the episode in which it was done, whatever its number there', () => {
    const h = history();
    h.register(payload('p', { deliverer: DELIVERER, steps: [SAVE, TERM, KILL] }));
    h.says('ec2', { notices: { spot: present('terminate', START + 9 * MINUTE) } });
    h.says('ec2', { notices: { spot: present('terminate', START + HOUR) } });
    h.until(START + 52 * MINUTE);
    assert.equal(h.row('p').episode, 2);
    h.until(START + 59 * MINUTE);
    const at = h.now();
    h.pass(SECOND);
    h.says('ec2', { notices: { spot: NEGATIVE } });
    says(h, 'SIGTERM', 0, { at }, 1);
    h.says('ec2', { notices: { spot: present('terminate', START + HOUR) } });
    h.send({ type: 'deliverer_gone', id: 'p' });
    h.until(START + HOUR);
    assert.equal(h.sentTo('p', START + HOUR), 'hook:save@-3600 hook:save@-600 SIGKILL@-5');
  });
  test('S3.8 nobody wakes up where no hook is left', () => {
    const h = exec();
    h.until(DEADLINE + HOUR);
    assert.deepEqual(h.result().wakeAt, { wall: null, mono: null });
  });
});
