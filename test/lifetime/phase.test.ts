/** The machine's phase (S3.1, S3.7), cancelled, postponed and overdue; what counts as an answer to the site (S5.2). */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
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
  source,
} from './history.ts';

const DEADLINE = START + 2 * HOUR;
const shutdown = (h: History, deadlineMs: number) =>
  h.says('directory', { machine: { total_cpu: '8', shutdowntime: secs(deadlineMs) } });

function announced(policy = {}) {
  const h = history({ policy });
  shutdown(h, DEADLINE);
  return h;
}

describe('S3.1 phase', () => {
  test('S3.1 each phase begins at its time, to the millisecond, by waking up itself', () => {
    const h = announced();
    h.register(payload('p'));
    const seen: [string | undefined, number][] = [];
    for (const at of [30 * MINUTE, 2 * MINUTE, 0]) {
      h.until(DEADLINE - at - 1);
      const before = h.phase();
      h.pass(1);
      seen.push([before, -1], [h.phase(), at]);
    }
    assert.deepEqual(seen, [
      ['running', -1],
      ['draining', 30 * MINUTE],
      ['draining', -1],
      ['stopping', 2 * MINUTE],
      ['stopping', -1],
      ['stopped', 0],
    ]);
  });
  test('S3.1 stop_at and drain_at are instants; where drain is shorter than grace, draining and stopping coincide', () => {
    const h = announced({ drainMs: MINUTE, graceMs: 10 * MINUTE });
    assert.deepEqual([h.snapshot().drainAtMs, h.snapshot().stopAtMs], [DEADLINE - 10 * MINUTE, DEADLINE - 10 * MINUTE]);
    h.until(DEADLINE - 10 * MINUTE);
    assert.equal(h.phase(), 'stopped', 'no payload is alive');
  });
  test('S3.1 peers 1: a shutdown weeks ahead drains nobody', () => {
    const h = history();
    shutdown(h, START + 21 * 24 * HOUR);
    h.pass(20 * 24 * HOUR);
    assert.equal(h.phase(), 'running');
    assert.equal(h.snapshot().nextChangeMs, START + 21 * 24 * HOUR - 30 * MINUTE);
  });
  test('S3.1 stopped when stopping with no payload left alive', () => {
    const h = announced();
    h.register(payload('p'));
    h.register(payload('q'));
    h.until(DEADLINE - MINUTE);
    assert.equal(h.phase(), 'stopping');
    h.send({ type: 'payload_gone', id: 'p', why: 'exited' });
    assert.equal(h.phase(), 'stopping');
    h.send({ type: 'payload_gone', id: 'q', why: 'deregistered' });
    assert.equal(h.phase(), 'stopped');
    assert.equal(h.snapshot().overdue, false);
  });
  test('S3.1 a short window begins in stopping at once', () => {
    const h = history();
    h.register(payload('p'));
    shutdown(h, START + 30 * SECOND);
    assert.equal(h.phase(), 'stopping');
  });
  test('S3.1 a drain notice drains before the deadline does, and never stops', () => {
    const h = announced();
    h.operator('1', { kind: 'drain', deadlineMs: START + 10 * MINUTE, reason: 'x' });
    assert.equal(h.snapshot().drainAtMs, START + 10 * MINUTE);
    assert.equal(h.snapshot().stopAtMs, DEADLINE - 2 * MINUTE);
    h.pass(10 * MINUTE);
    assert.equal(h.phase(), 'draining');
    assert.equal(h.snapshot().reason, 'directory: shutdowntime');
  });
  test('S3.1 a re-read configuration moves the phases at once', () => {
    const h = announced();
    h.until(DEADLINE - 20 * MINUTE);
    assert.equal(h.phase(), 'draining');
    h.configure({ policy: { drainMs: 10 * MINUTE } });
    assert.equal(h.phase(), 'running');
    h.configure({ policy: { drainMs: HOUR, graceMs: 30 * MINUTE } });
    assert.equal(h.phase(), 'stopped');
    assert.equal(h.snapshot().stopGraceSecs, 1800);
  });
  test('S3.3 a payload’s own deadline and lead change neither phase nor keys nor wake-ups of the machine', () => {
    const h = history();
    h.register(payload('p', { deadlineMs: START + 5 * MINUTE, graceMs: 4 * MINUTE }));
    h.pass(4 * MINUTE);
    assert.deepEqual(
      [h.phase(), h.snapshot().deadlineMs, h.snapshot().stopAtMs, h.machine('shutdowntime'), h.sentTo('p')],
      ['running', null, null, undefined, 'SIGTERM@60'],
    );
    assert.equal(h.snapshot().payloads.stopping, 1);
  });

  const BACK: readonly [string, (h: History) => void, string][] = [
    ['a clear', (h) => h.saysUntilSettled('directory', { machine: { total_cpu: '8' } }), 'running'],
    ['a postponement', (h) => shutdown(h, h.now().wall + HOUR), 'running'],
    ['a postponement by less', (h) => shutdown(h, h.now().wall + 20 * MINUTE), 'draining'],
    ['the operator’s override', (h) => h.send({ type: 'ignore', id: 'directory/shutdowntime' }), 'running'],
  ];
  for (const [what, change, phase] of BACK) {
    for (const [from, leftMs] of [
      ['draining', 20 * MINUTE],
      ['stopping', 30 * SECOND],
      ['stopped', -MINUTE],
    ] as const) {
      test(`S3.1, peers 13: ${what} leads from ${from} back to ${phase}`, () => {
        const h = announced();
        h.register(payload('p', { graceMs: MINUTE }));
        h.until(DEADLINE - leftMs);
        assert.equal(h.phase(), from);
        change(h);
        assert.equal(h.phase(), phase);
        assert.equal(h.snapshot().overdue, false);
      });
    }
  }
  test('S3.1 bringing forward leads straight into stopping', () => {
    const h = announced();
    h.register(payload('p'));
    shutdown(h, START + MINUTE);
    assert.equal(h.phase(), 'stopping');
    assert.equal(h.sentTo('p'), 'SIGTERM@0');
  });
});

describe('S3.7 alive after the deadline', () => {
  function overdue() {
    const h = announced();
    h.register(payload('p'));
    h.until(DEADLINE + 10 * MINUTE);
    return h;
  }
  test('S3.7 stopped and overdue, keys stay published, whether a payload lives or not', () => {
    const h = overdue();
    for (const _ of [0, 1]) {
      assert.deepEqual(
        [h.phase(), h.snapshot().overdue, h.machine('shutdowntime'), h.job('shutdowntime_job')],
        ['stopped', true, secs(DEADLINE), secs(DEADLINE)],
      );
      h.send({ type: 'payload_gone', id: 'p', why: 'exited' });
    }
  });
  test('S3.7 overdue begins at the deadline', () => {
    const h = announced();
    h.until(DEADLINE - 1);
    assert.equal(h.snapshot().overdue, false);
    h.pass(1);
    assert.equal(h.snapshot().overdue, true);
  });
  test('S3.7 a newly registered payload gets SIGTERM at once, and SIGKILL 30 s later (S3.5)', () => {
    const h = overdue();
    const origin = h.now().wall;
    h.register(payload('late'));
    h.pass(10 * MINUTE);
    assert.equal(h.sentTo('late', origin), 'SIGTERM@0 SIGKILL@30');
  });
  test('S3.7 a later time returns to running, and what was stopped is stopped again at the new time', () => {
    const h = overdue();
    const later = h.now().wall + HOUR;
    shutdown(h, later);
    assert.deepEqual([h.phase(), h.snapshot().overdue], ['running', false]);
    h.until(later);
    assert.match(h.sentTo('p', later), /SIGTERM@-120 SIGKILL@-5$/);
  });
  test('S3.7 nothing is due any more: it sleeps', () => {
    const h = overdue();
    h.pass(HOUR);
    assert.deepEqual(h.result().wakeAt, { wall: null, mono: null });
    assert.equal(h.snapshot().nextChangeMs, null);
  });
});

describe('S4.2 the wall clock is set', () => {
  test('S4.2 what the sources say in the same breath is judged together with it: nothing is done in between', () => {
    const h = announced();
    h.register(payload('p'));
    // Two hours forward: by the old word the time is over, by the new one it is not.
    h.stepClock(2 * HOUR, h.answer('directory', { machine: { total_cpu: '8', shutdowntime: secs(START + 6 * HOUR) } }));
    assert.equal(h.sent.length, 0);
    assert.equal(h.phase(), 'running');
  });
  for (const [phase, leftMs] of [
    ['running', HOUR],
    ['draining', 20 * MINUTE],
    ['stopping', MINUTE],
    ['stopped', -MINUTE],
  ] as const) {
    test(`S4.2 forward over the deadline while ${phase}: stopped, overdue, each signal once`, () => {
      const h = announced();
      h.register(payload('p'));
      h.until(DEADLINE - leftMs);
      assert.equal(h.phase(), phase);
      h.stepClock(3 * HOUR);
      assert.deepEqual([h.phase(), h.snapshot().overdue], ['stopped', true]);
      h.pass(3 * MINUTE);
      assert.deepEqual(
        h.sent.map((each) => each.signal),
        ['SIGTERM', 'SIGKILL'],
      );
    });
    test(`S4.2 backward by a day while ${phase}: running, and stopped at the deadline after all`, () => {
      const h = announced();
      h.register(payload('p'));
      h.until(DEADLINE - leftMs);
      h.stepClock(-24 * HOUR);
      assert.deepEqual([h.phase(), h.snapshot().deadlineMs], ['running', DEADLINE]);
      h.until(DEADLINE);
      assert.match(h.sentTo('p', DEADLINE), /SIGTERM@-120 SIGKILL@-5$/);
    });
  }
});

describe('S5.2 can_terminate', () => {
  test('S5.2 is unknown as long as nobody ever registered', () => {
    const h = announced();
    assert.equal(h.snapshot().canTerminate, null);
    h.until(DEADLINE + HOUR);
    assert.equal(h.snapshot().canTerminate, null);
  });
  test('S5.2 now, once a payload lived and all have ended', () => {
    const h = announced();
    h.register(payload('p'));
    h.register(payload('q'));
    assert.deepEqual(h.snapshot().canTerminate, answer(false, null));
    h.send({ type: 'payload_gone', id: 'p', why: 'exited' });
    assert.deepEqual(h.snapshot().canTerminate, answer(false, null));
    h.send({ type: 'payload_gone', id: 'q', why: 'exited' });
    assert.deepEqual(h.snapshot().canTerminate, answer(true, null));
    assert.equal(h.snapshot().payloads.stopped, 2);
  });
  test('S5.2 is what the payloads say: the latest of their times, now only when all say so', () => {
    const h = history();
    h.register(payload('p', { canTerminate: { now: false, atMs: START + HOUR } }));
    h.register(payload('q', { canTerminate: { now: false, atMs: START + 2 * HOUR } }));
    assert.deepEqual(h.snapshot().canTerminate, answer(false, START + 2 * HOUR));
    const say = (id: string, now: boolean) =>
      h.send({ type: 'payload_updated', id, change: { canTerminate: { now, atMs: null } } });
    say('q', true);
    assert.deepEqual(h.snapshot().canTerminate, answer(false, START + HOUR));
    say('p', true);
    assert.deepEqual(h.snapshot().canTerminate, answer(true, null));
    say('q', false);
    assert.deepEqual(h.snapshot().canTerminate, answer(false, null));
  });
  test('S5.2 survives a restart of the agent, not a boot', () => {
    const h = history();
    h.register(payload('p'));
    h.send({ type: 'payload_gone', id: 'p', why: 'exited' });
    h.restart();
    assert.deepEqual(h.snapshot().canTerminate, answer(true, null));
    h.restart({ reboot: true });
    assert.equal(h.snapshot().canTerminate, null);
  });
  for (const id of ['nobody', 'constructor', '__proto__', 'toString']) {
    test(`S5.2 what is said of a payload that does not exist (${id}) arms nothing`, () => {
      const h = history();
      h.send({ type: 'payload_gone', id, why: 'exited' });
      h.send({ type: 'payload_updated', id, change: { graceMs: 1 } });
      h.send({ type: 'deliverer_gone', id });
      h.send({
        type: 'steps_done',
        results: [{ id, step: { episode: 1, index: 0, signal: 'SIGTERM' }, outcome: 'delivered', at: h.now() }],
      });
      assert.equal(h.snapshot().canTerminate, null);
      assert.deepEqual(h.result().payloads, []);
      shutdown(h, START + MINUTE);
      assert.equal(h.sent.length, 0);
    });
  }
  test('S5.1 termination_allowed and can_terminate do not touch each other', () => {
    const h = history();
    h.says('directory', { machine: { termination_allowed: '1', total_cpu: '8' } });
    h.register(payload('p', { canTerminate: { now: false, atMs: null } }));
    assert.deepEqual([h.snapshot().terminationAllowed, h.snapshot().canTerminate?.now], [true, false]);
  });
});

test('S1.4 sources that the configuration has removed are forgotten, and said', () => {
  const h = history();
  shutdown(h, DEADLINE);
  h.says('ec2', { notices: { spot: present('terminate', DEADLINE + HOUR) } });
  h.configure({ sources: [source('ec2')] });
  assert.equal(h.snapshot().deadlineMs, DEADLINE + HOUR);
  assert.equal(h.logs('source_removed').length, 1);
  // A late answer of the removed one.
  shutdown(h, DEADLINE);
  assert.equal(h.snapshot().deadlineMs, DEADLINE + HOUR);
  assert.equal(h.journal.has('source/directory'), false);
  h.says('ec2', { notices: { spot: NEGATIVE } });
  assert.equal(h.snapshot().deadlineMs, null);
});
