/** Which signal goes to which payload, and when (S3.3–S3.8). Times in the names of signals are seconds from the deadline. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { EscalationStep, PayloadSpec } from '../../agent/lifetime/types.ts';
import { type History, HOUR, history, MINUTE, NEGATIVE, payload, present, SECOND, START, secs } from './history.ts';

const DEADLINE = START + 2 * HOUR;
const shutdown = (h: History, deadlineMs: number) =>
  h.says('directory', { machine: { total_cpu: '8', shutdowntime: secs(deadlineMs) } });

/** A payload on a machine whose shutdown was announced long before. */
function running(more: Partial<PayloadSpec> = {}, policy = {}) {
  const h = history({ policy });
  h.register(payload('p', more));
  shutdown(h, DEADLINE);
  return h;
}
/** What went out over the payload's whole life. */
function whole(more: Partial<PayloadSpec> = {}, policy = {}) {
  const h = running(more, policy);
  h.until(DEADLINE + 5 * MINUTE);
  return h.sentTo('p', DEADLINE);
}
const TERM: EscalationStep = { at: 'grace', signal: 'SIGTERM' };
const KILL: EscalationStep = { at: 5 * SECOND, signal: 'SIGKILL' };
const WARN: EscalationStep = { at: 10 * MINUTE, signal: 'SIGUSR1' };

describe('S3.4 steps', () => {
  test('S3.4 by default SIGTERM at grace and SIGKILL at 5 s, not a second earlier (peers 12)', () => {
    assert.equal(whole(), 'SIGTERM@-120 SIGKILL@-5');
  });
  test('S3.3 a payload has its own lead', () => {
    assert.equal(whole({ graceMs: 15 * MINUTE }), 'SIGTERM@-900 SIGKILL@-5');
    assert.equal(whole({}, { graceMs: 7 * MINUTE }), 'SIGTERM@-420 SIGKILL@-5');
  });
  test('S3.3 and its own steps, several warnings among them', () => {
    const steps = [WARN, { at: 5 * MINUTE, signal: 'SIGUSR2' }, TERM, KILL];
    assert.equal(whole({ steps }), 'SIGUSR1@-600 SIGUSR2@-300 SIGTERM@-120 SIGKILL@-5');
  });
  test('S3.4 the order in which steps are written does not matter', () => {
    assert.equal(whole({ steps: [KILL, TERM, WARN] }), 'SIGUSR1@-600 SIGTERM@-120 SIGKILL@-5');
  });
  test('S3.4 only a SIGKILL, if that is what is wanted', () => {
    assert.equal(whole({ steps: [KILL] }), 'SIGKILL@-5');
  });
  test('S3.4 only a SIGTERM: nobody is killed', () => {
    assert.equal(whole({ steps: [TERM] }), 'SIGTERM@-120');
  });
  test('S3.4 no steps at all: nothing happens', () => {
    assert.equal(whole({ steps: [] }), '');
  });
  test('S3.4 no default step kills an unprepared process before its SIGTERM: a lead shorter than that of SIGKILL', () => {
    assert.equal(whole({ graceMs: 3 * SECOND }), 'SIGTERM@-3 SIGKILL@-0.6');
  });
  test('S3.4 a SIGKILL configured before the SIGTERM waits for it', () => {
    assert.equal(
      whole({
        steps: [
          { at: MINUTE, signal: 'SIGKILL' },
          { at: 10 * SECOND, signal: 'SIGTERM' },
        ],
      }),
      'SIGTERM@-10 SIGKILL@-2',
    );
  });
  test('S3.4 where another signal stands for SIGTERM, SIGKILL waits for that', () => {
    const steps = [{ at: 'grace', signal: 'SIGINT' } as const, { at: HOUR, signal: 'SIGKILL' }];
    assert.equal(whole({ steps }), 'SIGINT@-120 SIGKILL@-24');
  });
  const RECEIVERS: readonly [string, Partial<PayloadSpec>, readonly string[]][] = [
    ['a registered group', {}, ['SIGTERM all', 'SIGKILL all']],
    ['a registered group with a warning', { steps: [WARN, TERM] }, ['SIGUSR1 group', 'SIGTERM all']],
    [
      'a registered pid',
      { target: { kind: 'process', leader: { pid: 5, startTicks: 5 }, group: false } },
      ['SIGTERM leader', 'SIGKILL all'],
    ],
    [
      'steps that say it',
      {
        steps: [
          { ...TERM, to: 'all' },
          { ...KILL, to: 'leader' },
        ],
      },
      ['SIGTERM all', 'SIGKILL leader'],
    ],
  ];
  for (const [what, more, wanted] of RECEIVERS) {
    test(`S3.4 receivers of ${what}: ${wanted.join(', ')}`, () => {
      const h = running(more);
      h.until(DEADLINE);
      assert.deepEqual(
        h.sent.map(({ signal, to }) => `${signal} ${to}`),
        wanted,
      );
    });
  }
});

describe('S3.3 a payload’s own deadline', () => {
  test('S3.3 stops it where the machine has none', () => {
    const h = history();
    h.register(payload('p', { deadlineMs: DEADLINE }));
    h.until(DEADLINE);
    assert.equal(h.sentTo('p', DEADLINE), 'SIGTERM@-120 SIGKILL@-5');
    assert.equal(h.row('p').state, 'stopping');
  });
  test('S3.3 is never later than the machine’s', () => {
    assert.equal(whole({ deadlineMs: DEADLINE + HOUR }), 'SIGTERM@-120 SIGKILL@-5');
    assert.equal(running({ deadlineMs: DEADLINE + HOUR }).row('p').deadlineMs, DEADLINE);
  });
  test('S3.3 earlier than the machine’s: only this payload is stopped then', () => {
    const h = running({ deadlineMs: START + HOUR });
    h.register(payload('q'));
    h.until(DEADLINE);
    assert.equal(h.sentTo('p', START + HOUR), 'SIGTERM@-120 SIGKILL@-5');
    assert.equal(h.sentTo('q', DEADLINE), 'SIGTERM@-120 SIGKILL@-5');
  });
  test('S3.3 a clear of the machine’s leaves it in force', () => {
    const h = running({ deadlineMs: START + HOUR });
    h.saysUntilSettled('directory', { machine: { total_cpu: '8' } });
    h.until(START + HOUR);
    assert.equal(h.sentTo('p', START + HOUR), 'SIGTERM@-120 SIGKILL@-5');
  });
  test('S3.6 moved into the future by the payload it ends the episode, and has its own later', () => {
    const h = history();
    h.register(payload('p', { deadlineMs: START + 3 * MINUTE }));
    h.pass(90 * SECOND);
    h.send({ type: 'payload_updated', id: 'p', change: { deadlineMs: START + 10 * MINUTE } });
    h.pass(20 * MINUTE);
    assert.equal(h.sentTo('p'), 'SIGTERM@60 SIGTERM@480 SIGKILL@595');
  });
});

describe('S3.5 short windows', () => {
  const late = (leftMs: number, more: Partial<PayloadSpec> = {}) => {
    const h = history();
    h.register(payload('p', more));
    h.pass(SECOND);
    shutdown(h, h.now().wall + leftMs);
    const deadline = h.now().wall + leftMs;
    h.pass(10 * MINUTE);
    return h.sentTo('p', deadline);
  };
  test('S3.5 SIGKILL at its configured time where that leaves the payload its share', () => {
    assert.equal(late(100 * SECOND), 'SIGTERM@-100 SIGKILL@-5');
    assert.equal(late(25 * SECOND), 'SIGTERM@-25 SIGKILL@-5');
  });
  test('S3.5 else after 0.8 of the window', () => {
    assert.equal(late(20 * SECOND), 'SIGTERM@-20 SIGKILL@-4');
    assert.equal(late(4 * SECOND), 'SIGTERM@-4 SIGKILL@-0.8');
    assert.equal(late(SECOND), 'SIGTERM@-1 SIGKILL@-0.2');
  });
  test('S3.5 without a window 30 s after the SIGTERM', () => {
    assert.equal(late(0), 'SIGTERM@0 SIGKILL@30');
    assert.equal(late(-HOUR), 'SIGTERM@3600 SIGKILL@3630');
  });
  test('S3.5 W is measured from the SIGTERM, not from the warning before it', () => {
    assert.equal(
      late(3 * MINUTE, { steps: [WARN, TERM, { at: MINUTE, signal: 'SIGKILL' }] }),
      'SIGUSR1@-180 SIGTERM@-120 SIGKILL@-24',
    );
  });
  test('S3.5 several late steps collapse into the SIGTERM; the others are skipped for good', () => {
    const steps = [WARN, { at: 5 * MINUTE, signal: 'SIGUSR2' }, TERM, { at: MINUTE, signal: 'SIGINT' }, KILL];
    assert.equal(late(30 * SECOND, { steps }), 'SIGTERM@-30 SIGKILL@-5');
  });
  test('S3.5 several late warnings collapse into the latest', () => {
    const steps = [WARN, { at: 5 * MINUTE, signal: 'SIGUSR2' }, TERM, KILL];
    assert.equal(late(4 * MINUTE, { steps }), 'SIGUSR2@-240 SIGTERM@-120 SIGKILL@-5');
  });
  test('S3.5 a payload that registers late is measured by its own window', () => {
    const h = history();
    shutdown(h, DEADLINE);
    h.until(DEADLINE - 10 * SECOND);
    h.register(payload('p'));
    h.pass(MINUTE);
    assert.equal(h.sentTo('p', DEADLINE), 'SIGTERM@-10 SIGKILL@-2');
  });
  test('S3.5 an agent that was not there at the time makes good for it', () => {
    const h = running();
    h.restart({ downMs: 2 * HOUR - 10 * SECOND });
    h.pass(MINUTE);
    assert.equal(h.sentTo('p', DEADLINE), 'SIGTERM@-10 SIGKILL@-2');
  });
  test('S3.5 bringing forward after the SIGTERM brings the SIGKILL forward, as far as 0.8 W allow', () => {
    const h = running();
    h.until(DEADLINE - 110 * SECOND);
    shutdown(h, DEADLINE - 95 * SECOND);
    h.pass(5 * MINUTE);
    assert.equal(h.sentTo('p', DEADLINE), 'SIGTERM@-120 SIGKILL@-100', '25 s of window: 0.8 are 20 s');
  });
  test('S3.5 bringing forward to before the SIGTERM: 30 s after it', () => {
    const h = running();
    h.until(DEADLINE - 110 * SECOND);
    shutdown(h, DEADLINE - HOUR);
    h.pass(5 * MINUTE);
    assert.equal(h.sentTo('p', DEADLINE), 'SIGTERM@-120 SIGKILL@-90');
  });
  test('S3.5 two payloads are not in each other’s tick: neither waits for the other', () => {
    const h = running();
    h.register(payload('q', { graceMs: 5 * SECOND, steps: [TERM] }));
    h.until(DEADLINE);
    assert.equal(h.sentTo('p', DEADLINE), 'SIGTERM@-120 SIGKILL@-5');
    assert.equal(h.sentTo('q', DEADLINE), 'SIGTERM@-5');
  });
  for (const byMs of [-20 * SECOND, 20 * SECOND, HOUR]) {
    test(`SYSTEMS "Time": a clock step of ${byMs / 1000} s does not bring the SIGKILL nearer to its SIGTERM`, () => {
      const h = running();
      h.until(DEADLINE - 100 * SECOND);
      h.stepClock(byMs);
      h.pass(10 * MINUTE);
      const [term, kill, more] = h.sent;
      assert.equal((kill?.at.mono ?? 0) - (term?.at.mono ?? 0), 115 * SECOND);
      assert.equal(more, undefined);
    });
  }
});

describe('S3.6 episodes', () => {
  const stopping = (more: Partial<PayloadSpec> = {}) => {
    const h = running(more);
    h.until(DEADLINE - 100 * SECOND);
    return h;
  };
  test('S3.6 a stop time that moves into the future by 30 s is the same episode', () => {
    const h = stopping();
    const later = DEADLINE + 50 * SECOND;
    shutdown(h, later);
    assert.equal(h.row('p').stopAtMs, h.now().wall + 30 * SECOND);
    h.pass(10 * MINUTE);
    assert.equal(h.sentTo('p', later), 'SIGTERM@-170 SIGKILL@-5');
  });
  test('S3.6 by more it is another one: the SIGTERM comes again', () => {
    const h = stopping();
    const later = DEADLINE + 51 * SECOND;
    shutdown(h, later);
    assert.deepEqual(
      h.logs('episode_ended').map(({ fields }) => fields['by']),
      ['postponed'],
    );
    h.pass(10 * MINUTE);
    assert.equal(h.sentTo('p', later), 'SIGTERM@-171 SIGTERM@-120 SIGKILL@-5');
    assert.deepEqual(
      h.sent.map(({ step }) => step),
      [
        { episode: 1, index: 0, signal: 'SIGTERM' },
        { episode: 2, index: 0, signal: 'SIGTERM' },
        { episode: 2, index: 1, signal: 'SIGKILL' },
      ],
    );
  });
  test('S3.6 a host that postpones by 20 s again and again does not hide: each moves by less, the SIGKILL waits', () => {
    const h = stopping();
    for (let round = 1; round <= 4; round += 1) {
      shutdown(h, DEADLINE + round * 20 * SECOND);
      h.pass(20 * SECOND);
    }
    assert.equal(h.sentTo('p', DEADLINE), 'SIGTERM@-120');
    h.pass(10 * MINUTE);
    assert.equal(h.sentTo('p', DEADLINE), 'SIGTERM@-120 SIGKILL@75');
  });
  test('S1.2 a second, earlier notice wins, in the same episode: no SIGTERM again, the SIGKILL comes forward', () => {
    const h = stopping();
    h.says('ec2', { notices: { spot: present('terminate', DEADLINE - 50 * SECOND) } });
    h.pass(10 * MINUTE);
    assert.equal(h.sentTo('p', DEADLINE), 'SIGTERM@-120 SIGKILL@-55');
  });
  test('S1.2, S3.6 and when it is withdrawn the first one stands: what was stopped for the other is stopped again', () => {
    const h = running();
    h.says('ec2', { notices: { spot: present('terminate', START + MINUTE) } });
    h.says('ec2', { notices: { spot: NEGATIVE } });
    assert.deepEqual([h.row('p').deadlineMs, h.sentTo('p', DEADLINE)], [DEADLINE, 'SIGTERM@-7200']);
    h.until(DEADLINE);
    assert.equal(h.sentTo('p', DEADLINE), 'SIGTERM@-7200 SIGTERM@-120 SIGKILL@-5');
  });
  test('S3.6 a notice of a reboot that has happened stops nobody in the boot after it', () => {
    const h = history();
    h.says('ec2', { notices: { e: present('reboot', START + MINUTE) } });
    h.restart({ reboot: true, downMs: 5 * MINUTE });
    h.register(payload('p'));
    h.says('ec2', { notices: { e: present('reboot', START + MINUTE) } });
    h.pass(HOUR);
    assert.deepEqual([h.sentTo('p'), h.row('p').stopAtMs], ['', null]);
  });
  test('S3.6 not signalled yet: postponing costs nothing', () => {
    const h = running();
    h.until(DEADLINE - 3 * MINUTE);
    shutdown(h, DEADLINE + HOUR);
    h.until(DEADLINE + HOUR);
    assert.equal(h.sentTo('p', DEADLINE + HOUR), 'SIGTERM@-120 SIGKILL@-5');
    assert.equal(h.row('p').episode, 1);
  });
  test('S3.6 a payload that was signalled stays stopping: cancelled, restarted and in its next episode', () => {
    const h = stopping();
    assert.equal(h.row('p').state, 'stopping');
    h.saysUntilSettled('directory', { machine: { total_cpu: '8' } });
    assert.equal(h.phase(), 'running');
    assert.equal(h.row('p').state, 'stopping');
    h.restart();
    assert.equal(h.row('p').state, 'stopping');
    assert.deepEqual(h.snapshot().payloads, { running: 0, stopping: 1, stopped: 0 });
    h.register(payload('q'));
    assert.equal(h.row('q').state, 'running');
  });
  test('S3.6 a step happens once, whatever happens in between', () => {
    const h = stopping();
    for (let count = 0; count < 20; count += 1) {
      h.send({ type: 'tick' });
      h.fails('directory');
      shutdown(h, DEADLINE);
      h.configure();
      h.restart({ downMs: 100 });
    }
    assert.equal(h.sentTo('p', DEADLINE), 'SIGTERM@-120');
  });
  test('S3.6 registered again under its id (its registrar was restarted) the same process keeps its episode', () => {
    const h = history();
    const spec = payload('p');
    h.register(spec);
    shutdown(h, START + MINUTE);
    h.register({ ...spec, name: 'again' });
    h.pass(2 * MINUTE);
    assert.equal(h.sentTo('p', START + MINUTE), 'SIGTERM@-60 SIGKILL@-5');
  });
  test('S3.6 and another process under the same id begins its own', () => {
    const h = history();
    h.register(payload('p'));
    shutdown(h, START + MINUTE);
    h.pass(10 * SECOND);
    h.register(payload('p'));
    assert.equal(h.sentTo('p', START + MINUTE), 'SIGTERM@-60 SIGTERM@-50');
  });
  test('S3.6 peers 11: what still lives after its last step is not signalled for ever', () => {
    const h = running();
    h.until(DEADLINE + 24 * HOUR);
    assert.equal(h.sent.length, 2);
  });

  describe('the list of steps changes while it runs', () => {
    const CHANGES: readonly [string, (h: History) => void][] = [
      ['a warning is added in front', (h) => h.configure({ policy: { steps: [WARN, TERM, KILL] } })],
      [
        'a step is added between',
        (h) => h.configure({ policy: { steps: [TERM, { at: MINUTE, signal: 'SIGINT' }, KILL] } }),
      ],
      [
        'the SIGTERM gets another time',
        (h) => h.configure({ policy: { steps: [{ at: 80 * SECOND, signal: 'SIGTERM' }, KILL] } }),
      ],
      [
        'the payload gets its own',
        (h) => h.send({ type: 'payload_updated', id: 'p', change: { steps: [KILL, WARN, TERM] } }),
      ],
      [
        'the payload gets a longer lead',
        (h) => h.send({ type: 'payload_updated', id: 'p', change: { graceMs: HOUR } }),
      ],
      ['upgraded with other defaults', (h) => h.restart({ policy: { steps: [WARN, TERM, KILL] } })],
    ];
    for (const [what, change] of CHANGES) {
      test(`S3.6 ${what}: the SIGTERM is not repeated, the SIGKILL comes`, () => {
        const h = stopping();
        change(h);
        h.until(DEADLINE + 5 * MINUTE);
        assert.equal(h.sentTo('p', DEADLINE), 'SIGTERM@-120 SIGKILL@-5');
      });
    }
    test('S3.6 a lead shorter than that of the SIGKILL swaps no steps', () => {
      const h = running({}, { graceMs: 60 * SECOND, steps: [TERM, { at: 50 * SECOND, signal: 'SIGKILL' }] });
      h.until(DEADLINE - 55 * SECOND);
      h.send({ type: 'payload_updated', id: 'p', change: { graceMs: 40 * SECOND } });
      h.until(DEADLINE + MINUTE);
      assert.equal(h.sentTo('p', DEADLINE), 'SIGTERM@-60 SIGKILL@-12');
    });
    test('S3.3 a lead that changes after a warning counts for the SIGTERM still to come', () => {
      const h = running({ steps: [WARN, TERM, KILL] });
      h.until(DEADLINE - 9 * MINUTE);
      h.send({ type: 'payload_updated', id: 'p', change: { graceMs: 5 * MINUTE } });
      h.until(DEADLINE + MINUTE);
      assert.equal(h.sentTo('p', DEADLINE), 'SIGUSR1@-600 SIGTERM@-300 SIGKILL@-5');
    });
    test('S3.6 the new list counts from the next episode on', () => {
      const h = stopping();
      h.configure({ policy: { steps: [{ at: MINUTE, signal: 'SIGINT' }] } });
      const later = DEADLINE + HOUR;
      shutdown(h, later);
      h.until(later + MINUTE);
      assert.equal(h.sentTo('p', later), 'SIGTERM@-3720 SIGINT@-60');
    });
  });
});

describe('a crash between intent and deed (SYSTEMS, "Signals")', () => {
  function crashed(options: { downMs?: number; times?: number } = {}) {
    const h = running();
    h.until(DEADLINE - 130 * SECOND);
    for (let time = 0; time < (options.times ?? 1); time += 1) {
      h.crashAtNextSignal();
      if (time === 0) h.until(DEADLINE - 120 * SECOND);
      h.restart({ downMs: options.downMs ?? SECOND });
    }
    return h;
  }
  test('S3.6 an intent without done is sent once more, and counted', () => {
    const h = crashed();
    h.until(DEADLINE);
    assert.equal(h.sentTo('p', DEADLINE), 'SIGTERM@-120 SIGTERM@-119 SIGKILL@-5');
    assert.equal(h.logs('step_uncertain').length, 1);
    assert.deepEqual(h.sent[1]?.step, h.sent[0]?.step);
  });
  test('S3.6 not a third time, even if the second is uncertain too', () => {
    const h = crashed();
    h.loseReports();
    h.restart({ loseDone: true });
    h.restart({ loseDone: true });
    assert.equal(h.sentTo('p', DEADLINE), 'SIGTERM@-120 SIGTERM@-119');
  });
  test('S3.6 what the journal says is done is not repeated', () => {
    const h = running();
    h.until(DEADLINE - 100 * SECOND);
    h.restart();
    h.until(DEADLINE);
    assert.equal(h.sentTo('p', DEADLINE), 'SIGTERM@-120 SIGKILL@-5');
  });
  test('S3.5 after a repeated SIGTERM its window is measured anew: it may have been the first', () => {
    const h = crashed({ downMs: 118 * SECOND });
    h.pass(MINUTE);
    assert.equal(h.sentTo('p', DEADLINE), 'SIGTERM@-120 SIGTERM@-2 SIGKILL@-0.4');
  });
  test('S3.5 repeated after the deadline: 30 s until the SIGKILL', () => {
    const h = crashed({ downMs: 5 * MINUTE });
    h.pass(5 * MINUTE);
    assert.equal(h.sentTo('p', DEADLINE), 'SIGTERM@-120 SIGTERM@180 SIGKILL@210');
  });
  test('SYSTEMS: where both are uncertain, SIGTERM and SIGKILL do not share a tick either', () => {
    const h = running();
    h.until(DEADLINE - 130 * SECOND);
    h.loseReports();
    h.until(DEADLINE);
    h.restart({ loseDone: true });
    h.pass(5 * MINUTE);
    assert.deepEqual(
      h.sent.map(({ signal }) => signal),
      ['SIGTERM', 'SIGKILL', 'SIGTERM', 'SIGKILL'],
    );
    assert.notEqual(h.sent[2]?.tick, h.sent[3]?.tick);
  });
  test('S3.6 cleared before the restart: the repeat waits for the notice to return', () => {
    const h = history();
    h.register(payload('p'));
    h.crashAtNextSignal();
    h.says('ec2', { notices: { spot: present('terminate', START + MINUTE) } });
    h.says('ec2', { notices: { spot: NEGATIVE } });
    h.restart({ loseDone: true });
    assert.equal(h.sentTo('p'), 'SIGTERM@0');
    h.says('ec2', { notices: { spot: present('terminate', START + MINUTE) } });
    assert.equal(h.sentTo('p'), 'SIGTERM@0 SIGTERM@0');
  });
  test('S3.6 a report of an episode that is over changes nothing', () => {
    const h = running();
    h.until(DEADLINE - 100 * SECOND);
    shutdown(h, DEADLINE + HOUR);
    const before = h.row('p');
    h.send({
      type: 'steps_done',
      results: [{ id: 'p', step: { episode: 7, index: 1, signal: 'SIGKILL' }, outcome: 'delivered', at: h.now() }],
    });
    assert.deepEqual(h.row('p'), before);
  });
});

describe('S3.8 exec delivers', () => {
  const DELIVERER = { pid: 77, startTicks: 7 };
  function exec(more: Partial<PayloadSpec> = {}) {
    return running({ deliverer: DELIVERER, ...more });
  }
  const acknowledge = (h: History, signal: string, index: number, episode = 1) =>
    h.send({
      type: 'steps_done',
      results: [{ id: 'p', step: { episode, index, signal }, outcome: 'delivered', at: h.now() }],
    });

  test('S3.8 the daemon sends nothing itself, and does not wake up for it', () => {
    const h = exec();
    h.until(DEADLINE + HOUR);
    assert.equal(h.sent.length, 0);
    assert.deepEqual(h.result().wakeAt, { wall: null, mono: null });
  });
  test('S3.8 the row is the plan that exec follows', () => {
    const { deadlineMs, stopAtMs, plan } = exec().row('p');
    assert.deepEqual([deadlineMs, stopAtMs], [DEADLINE, DEADLINE - 120 * SECOND]);
    assert.deepEqual(plan, [
      {
        step: { episode: 1, index: 0, signal: 'SIGTERM' },
        to: 'all',
        at: 'grace',
        dueMs: DEADLINE - 120 * SECOND,
        state: 'planned',
      },
      {
        step: { episode: 1, index: 1, signal: 'SIGKILL' },
        to: 'all',
        at: 5 * SECOND,
        dueMs: DEADLINE - 5 * SECOND,
        state: 'planned',
      },
    ]);
  });
  test('S3.8 what it acknowledges is stopping, and shown as done at its time', () => {
    const h = exec();
    h.until(DEADLINE - 119 * SECOND);
    acknowledge(h, 'SIGTERM', 0);
    assert.equal(h.row('p').state, 'stopping');
    const [first] = h.row('p').plan;
    assert.deepEqual([first?.state, first?.dueMs], ['done', DEADLINE - 119 * SECOND]);
  });
  test('S3.8 exec died: the daemon takes over the rest, and repeats nothing', () => {
    const h = exec();
    h.until(DEADLINE - 119 * SECOND);
    acknowledge(h, 'SIGTERM', 0);
    h.send({ type: 'deliverer_gone', id: 'p' });
    h.until(DEADLINE);
    assert.equal(h.sentTo('p', DEADLINE), 'SIGKILL@-5');
  });
  test('S3.8, S3.5 after a late SIGTERM of exec the daemon’s SIGKILL keeps the share of the window', () => {
    const h = exec();
    h.until(DEADLINE - 10 * SECOND);
    acknowledge(h, 'SIGTERM', 0);
    h.send({ type: 'deliverer_gone', id: 'p' });
    h.until(DEADLINE);
    assert.equal(h.sentTo('p', DEADLINE), 'SIGKILL@-2');
  });
  test('S3.8 exec died before its first step: the daemon does it all, at its time', () => {
    const h = exec();
    h.send({ type: 'deliverer_gone', id: 'p' });
    h.until(DEADLINE);
    assert.equal(h.sentTo('p', DEADLINE), 'SIGTERM@-120 SIGKILL@-5');
  });
  test('S3.8 exec died over its SIGTERM: the daemon sends it at once', () => {
    const h = exec();
    h.until(DEADLINE - 60 * SECOND);
    h.send({ type: 'deliverer_gone', id: 'p' });
    h.until(DEADLINE);
    assert.equal(h.sentTo('p', DEADLINE), 'SIGTERM@-60 SIGKILL@-5');
  });
  test('S3.8 acknowledgements survive a restart of the daemon, and so does who delivers', () => {
    const h = exec();
    h.until(DEADLINE - 119 * SECOND);
    acknowledge(h, 'SIGTERM', 0);
    h.restart();
    h.until(DEADLINE - 4 * SECOND);
    assert.equal(h.sent.length, 0);
    h.send({ type: 'deliverer_gone', id: 'p' });
    assert.equal(h.sentTo('p', DEADLINE), 'SIGKILL@-4');
  });
  test('S3.8 exec may number its episodes as it likes, and say everything twice', () => {
    const h = exec();
    h.until(DEADLINE - 119 * SECOND);
    for (const episode of [4, 4, 1]) acknowledge(h, 'SIGTERM', 0, episode);
    h.send({ type: 'deliverer_gone', id: 'p' });
    h.until(DEADLINE);
    assert.equal(h.sentTo('p', DEADLINE), 'SIGKILL@-5');
  });
  test('S3.8 an exec that began with another list is understood by the signal', () => {
    const h = exec();
    h.until(DEADLINE - 119 * SECOND);
    acknowledge(h, 'SIGTERM', 1);
    h.send({ type: 'deliverer_gone', id: 'p' });
    h.until(DEADLINE);
    assert.equal(h.sentTo('p', DEADLINE), 'SIGKILL@-5');
  });
  test('S3.8 a signal that is in no plan hides none that is', () => {
    const h = exec();
    h.until(DEADLINE - 119 * SECOND);
    acknowledge(h, 'SIGHUP', 0);
    assert.equal(h.row('p').state, 'stopping');
    h.send({ type: 'deliverer_gone', id: 'p' });
    h.until(DEADLINE);
    assert.equal(h.sentTo('p', DEADLINE), 'SIGTERM@-119 SIGKILL@-5');
  });
  test('S3.6 cancelled and returned: what exec did is not repeated by the daemon', () => {
    const h = history();
    h.register(payload('p', { deliverer: DELIVERER }));
    h.says('ec2', { notices: { spot: present('terminate', START + MINUTE) } });
    acknowledge(h, 'SIGTERM', 0);
    h.says('ec2', { notices: { spot: NEGATIVE } });
    h.pass(10 * SECOND);
    h.says('ec2', { notices: { spot: present('terminate', START + MINUTE) } });
    h.send({ type: 'deliverer_gone', id: 'p' });
    h.pass(MINUTE);
    assert.equal(h.sentTo('p'), 'SIGKILL@55');
  });
  test('S3.6 and an acknowledgement that comes only after the clear belongs to what was cleared', () => {
    const h = history();
    h.register(payload('p', { deliverer: DELIVERER, steps: [WARN, TERM, KILL] }));
    h.says('ec2', { notices: { spot: present('terminate', START + 5 * MINUTE) } });
    acknowledge(h, 'SIGUSR1', 0);
    h.pass(4 * MINUTE);
    const at = h.now();
    h.says('ec2', { notices: { spot: NEGATIVE } });
    h.send({
      type: 'steps_done',
      results: [{ id: 'p', step: { episode: 1, index: 1, signal: 'SIGTERM' }, outcome: 'delivered', at }],
    });
    h.says('ec2', { notices: { spot: present('terminate', START + 5 * MINUTE) } });
    h.send({ type: 'deliverer_gone', id: 'p' });
    h.pass(MINUTE);
    assert.equal(h.sentTo('p'), 'SIGKILL@295');
  });
  test('S3.6 postponed: its plan is that of a new episode', () => {
    const h = exec();
    h.until(DEADLINE - 119 * SECOND);
    acknowledge(h, 'SIGTERM', 0);
    shutdown(h, DEADLINE + HOUR);
    assert.deepEqual(
      h.row('p').plan.map(({ step, state }) => [step.episode, state]),
      [
        [2, 'planned'],
        [2, 'planned'],
      ],
    );
    h.send({ type: 'deliverer_gone', id: 'p' });
    h.until(DEADLINE + HOUR);
    assert.equal(h.sentTo('p', DEADLINE + HOUR), 'SIGTERM@-120 SIGKILL@-5');
  });
});

describe('a re-read configuration that takes back what it said of a payload', () => {
  for (const [what, more, takenBack, change, sent] of [
    ['its lead', { graceMs: 15 * MINUTE }, ['graceMs'], {}, 'SIGTERM@-120 SIGKILL@-5'],
    ['its steps', { steps: [WARN, TERM] }, ['steps'], {}, 'SIGTERM@-120 SIGKILL@-5'],
    ['both', { graceMs: HOUR, steps: [WARN, TERM] }, ['graceMs', 'steps'], {}, 'SIGTERM@-120 SIGKILL@-5'],
    ['nothing', { graceMs: 4 * MINUTE }, [], {}, 'SIGTERM@-240 SIGKILL@-5'],
    ['its steps for a lead', { steps: [WARN] }, ['steps'], { graceMs: MINUTE }, 'SIGTERM@-60 SIGKILL@-5'],
  ] as const)
    test(`S3.3 ${what}: what [stop] says counts again, and nothing else of it changes`, () => {
      const h = running(more);
      const { graceMs: _, steps: __, ...before } = h.row('p').spec;
      h.send({ type: 'payload_updated', id: 'p', change, takenBack });
      const { graceMs: ___, steps: ____, ...after } = h.row('p').spec;
      assert.deepEqual(after, before);
      h.until(DEADLINE);
      assert.equal(h.sentTo('p', DEADLINE), sent);
    });
  test('S3.6 in the middle of stopping: what has been done is not done again', () => {
    const h = running({ graceMs: 15 * MINUTE });
    h.until(DEADLINE - MINUTE);
    h.send({ type: 'payload_updated', id: 'p', change: {}, takenBack: ['graceMs'] });
    h.until(DEADLINE);
    assert.equal(h.sentTo('p', DEADLINE), 'SIGTERM@-900 SIGKILL@-5');
  });
});

test('S1.4 ids that change with each poll do not fill the memory: one episode, each step once', () => {
  const h = history();
  h.register(payload('p'));
  for (let poll = 0; poll < 90; poll += 1) {
    h.says('ec2', { notices: { [`e${poll}`]: present('terminate', START + 100 * SECOND - poll) } });
    h.pass(SECOND);
  }
  const { episode } = h.state().payloads['p'] ?? assert.fail();
  assert.equal(episode?.noticeIds.length, 16);
  assert.equal(episode.noticeIds.at(-1), 'ec2/e89');
  h.pass(MINUTE);
  assert.match(h.sentTo('p'), /^SIGTERM@0 SIGKILL@9[0-9.]+$/);
});

test('promise 3: an intent is in the journal before its signal goes out, for every single one', () => {
  const h = running({ steps: [WARN, TERM, KILL] });
  const intents: string[] = [];
  for (const at of [10 * MINUTE, 2 * MINUTE, 5 * SECOND]) {
    h.until(DEADLINE - at - 1);
    h.loseReports();
    h.pass(1);
    h.deliverAgain();
    const record = JSON.parse(h.journal.get('payload/p') ?? '{}');
    intents.push(record.episode.marks.at(-1).state);
  }
  assert.deepEqual(intents, ['issued', 'issued', 'issued']);
});
