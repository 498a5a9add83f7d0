/** A crash is a replay, a boot is another life: what the state's parts bring back (S1.8, S4.1). */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { outlivesBoot, partsOf, restoreState } from '../../agent/lifetime/state.ts';
import {
  DIRECTORY,
  EC2,
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
  UNKNOWN,
} from './history.ts';

const DEADLINE = START + 2 * HOUR;
const shutdown = (h: History, deadlineMs: number) =>
  h.says('directory', { machine: { total_cpu: '8', shutdowntime: secs(deadlineMs) } });

describe('the same boot', () => {
  test('S4.1 everything is there again: deadline, features, notices, payloads, what was done', () => {
    const h = history();
    h.register(payload('p'));
    shutdown(h, DEADLINE);
    h.says('ec2', { notices: { spot: present('terminate', DEADLINE + MINUTE) } });
    h.until(DEADLINE - MINUTE);
    shutdown(h, DEADLINE);
    h.says('ec2', { notices: { spot: present('terminate', DEADLINE + MINUTE) } });
    const before = h.result();
    h.restart();
    const after = h.result();
    for (const part of ['deadlineMs', 'machine', 'job', 'notices', 'payloads', 'phase'] as const)
      assert.deepEqual(after.snapshot[part], before.snapshot[part]);
    assert.deepEqual(after.payloads, before.payloads);
  });
  test('S4.1 a source is not ok before it has answered again, and has its time before it is stale', () => {
    const h = history();
    shutdown(h, DEADLINE);
    h.restart({ downMs: HOUR });
    assert.equal(h.sourceState('directory')?.state, 'failed');
    h.pass(30 * SECOND - 1);
    assert.equal(h.sourceState('directory')?.state, 'failed');
    h.pass(1);
    assert.equal(h.sourceState('directory')?.state, 'stale');
  });
  test('S4.1 a restart is no news: with its first answer a source is what it was, and since when', () => {
    const h = history();
    shutdown(h, DEADLINE);
    h.fails('ec2');
    h.pass(MINUTE);
    const before = h.snapshot().sources;
    h.restart({ downMs: SECOND });
    shutdown(h, DEADLINE);
    assert.deepEqual(
      h.snapshot().sources.map(({ sinceMs }) => sinceMs),
      before.map(({ sinceMs }) => sinceMs),
    );
    assert.equal(h.sourceState('directory')?.state, 'ok');
    assert.equal(h.sourceState('ec2')?.error, 'timeout');
  });
  test('S4.1 in the same boot signals wait for nobody: the source may be what died', () => {
    const h = history();
    h.register(payload('p'));
    shutdown(h, DEADLINE);
    h.restart({ downMs: 2 * HOUR - MINUTE });
    assert.equal(h.sentTo('p', DEADLINE), 'SIGTERM@-60');
  });
  test('S1.6 absences before and after the restart are of one row', () => {
    const h = history();
    shutdown(h, DEADLINE);
    for (let round = 0; round < 4; round += 1) {
      h.says('directory', { machine: { total_cpu: '8' } });
      h.restart({ downMs: SECOND });
    }
    assert.equal(h.snapshot().deadlineMs, null);
  });
  test('a source that the new configuration does not have is forgotten', () => {
    const h = history();
    shutdown(h, DEADLINE);
    h.restart({ sources: [EC2] });
    assert.equal(h.snapshot().deadlineMs, null);
    assert.deepEqual([...h.journal.keys()].sort(), ['hooks', 'operator', 'source/ec2', 'tally', 'words']);
  });
  test('the journal is complete after every step, from the persist effects alone', () => {
    const h = history();
    const complete = () => {
      const parts = [...partsOf(h.state())].map(([key, value]) => [key, JSON.stringify(value)] as const);
      assert.deepEqual(new Map([...h.journal].sort()), new Map(parts.sort()));
    };
    complete();
    h.register(payload('p'));
    shutdown(h, DEADLINE);
    complete();
    h.operator('1', { kind: 'drain', deadlineMs: null, reason: 'x' });
    h.send({ type: 'ignore', id: 'directory/shutdowntime' });
    complete();
    h.stepClock(HOUR);
    complete();
    h.send({ type: 'payload_gone', id: 'p', why: 'exited' });
    h.send({ type: 'operator_cancel' });
    h.configure({ sources: [EC2] });
    complete();
  });
});

describe('another boot', () => {
  const rebooted = (deadlineMs = DEADLINE, options = {}) => {
    const h = history();
    h.register(payload('old'));
    h.says('directory', {
      machine: { total_cpu: '8', shutdowntime: secs(deadlineMs) },
      job: { job_id: 'vm-17', cpu_limit_secs: '100' },
    });
    h.restart({ reboot: true, downMs: MINUTE, ...options });
    return h;
  };
  test('S4.1 notices and features are kept, payloads and steps forgotten', () => {
    const h = rebooted();
    assert.equal(h.snapshot().deadlineMs, DEADLINE);
    assert.equal(h.machine('shutdowntime'), secs(DEADLINE));
    assert.equal(h.job('job_id'), 'vm-17');
    assert.deepEqual(h.result().payloads, []);
    assert.deepEqual(h.snapshot().payloads, { running: 0, stopping: 0, stopped: 0 });
  });
  test('S4.1 what outlives a boot is the host’s and the operator’s word', () => {
    const keys = ['operator', 'source/ec2', 'payload/p', 'tally', 'hooks'];
    assert.deepEqual(keys.map(outlivesBoot), [true, true, false, false, false]);
  });
  test('S4.1 a restored notice may drain, but sends no signal before its source’s first good answer', () => {
    const h = rebooted();
    h.register(payload('p'));
    h.until(DEADLINE - 20 * MINUTE);
    assert.equal(h.phase(), 'draining');
    h.until(DEADLINE - MINUTE);
    assert.deepEqual([h.phase(), h.sent.length], ['draining', 0]);
    shutdown(h, DEADLINE);
    assert.equal(h.phase(), 'stopping');
    assert.equal(h.sentTo('p', DEADLINE), 'SIGTERM@-60');
  });
  test('S4.1 or its time has come: then SIGTERM, and SIGKILL 30 s later', () => {
    const h = rebooted();
    h.register(payload('p'));
    h.fails('directory');
    h.until(DEADLINE + 5 * MINUTE);
    assert.equal(h.sentTo('p', DEADLINE), 'SIGTERM@0 SIGKILL@30');
    assert.equal(h.phase(), 'stopped');
  });
  const NOT_GOOD: readonly [string, (h: History) => void][] = [
    ['a failure', (h) => h.fails('directory')],
    ['a bare mount point', (h) => h.says('directory', { machine: {}, job: {} })],
    ['garbage', (h) => h.says('directory', { machine: { shutdowntime: '<html>', total_cpu: UNKNOWN } })],
    ['another source’s good answer', (h) => h.says('ec2', { machine: { hs06: '8' } })],
    ['the beginning of an absence', (h) => h.says('directory', { machine: { total_cpu: '8' } })],
  ];
  for (const [what, happens] of NOT_GOOD) {
    test(`S4.1 ${what} is no good answer that confirms it`, () => {
      const h = rebooted();
      h.register(payload('p'));
      h.until(DEADLINE - MINUTE);
      happens(h);
      h.pass(SECOND);
      assert.deepEqual([h.sent.length, h.phase(), h.snapshot().deadlineMs], [0, 'draining', DEADLINE]);
    });
  }
  for (const [what, answer] of [
    ['an answer that does not have it any more', { notices: {} }],
    ['one about something else', { machine: { keys: { total_cpu: '8' }, complete: false } }],
  ] as const)
    test(`S4.1 ${what} is no reason to signal anybody, also where the source then falls silent`, () => {
      const h = history();
      h.says('ec2', { notices: { spot: present('terminate', START + 10 * MINUTE) } });
      h.restart({ reboot: true, downMs: 8 * MINUTE + 30 * SECOND });
      h.register(payload('q'));
      h.says('ec2', answer);
      h.fails('ec2');
      h.pass(MINUTE);
      assert.deepEqual([h.sentTo('q'), h.notice('ec2/spot').expired], ['', false]);
      h.says('ec2', { notices: { spot: present('terminate', START + 10 * MINUTE) } });
      assert.equal(h.sentTo('q'), 'SIGTERM@570', 'said again it is');
    });
  test('S4.1 cleared by its source as any other', () => {
    const h = rebooted();
    h.until(DEADLINE - MINUTE);
    h.register(payload('p'));
    h.saysUntilSettled('directory', { machine: { total_cpu: '8' } });
    assert.deepEqual([h.phase(), h.snapshot().deadlineMs, h.sent.length], ['running', null, 0]);
  });
  test('S4.1 it holds back no later deadline that is confirmed', () => {
    const h = rebooted();
    h.register(payload('p'));
    h.says('ec2', { notices: { spot: present('terminate', DEADLINE + MINUTE) } });
    h.until(DEADLINE - MINUTE - 1);
    assert.deepEqual([h.phase(), h.sent.length], ['draining', 0]);
    h.pass(1);
    assert.equal(h.phase(), 'stopping');
    assert.equal(h.snapshot().deadlineMs, DEADLINE, 'the earliest is still the deadline');
    assert.equal(h.sentTo('p', DEADLINE + MINUTE), 'SIGTERM@-120');
    h.until(DEADLINE + 5 * MINUTE);
    assert.equal(h.phase(), 'stopped');
    assert.deepEqual(
      h.sent.map(({ signal }) => signal),
      ['SIGTERM', 'SIGKILL'],
    );
  });
  test('S4.1 nor a payload’s own deadline', () => {
    const h = rebooted();
    h.register(payload('p', { deadlineMs: DEADLINE - 10 * MINUTE }));
    h.until(DEADLINE - 10 * MINUTE);
    assert.equal(h.sentTo('p', DEADLINE - 10 * MINUTE), 'SIGTERM@-120 SIGKILL@-5');
  });
  test('S4.1 a restart within the new boot changes nothing in that', () => {
    const h = rebooted();
    h.restart();
    h.register(payload('p'));
    h.until(DEADLINE - MINUTE);
    assert.equal(h.sent.length, 0);
  });
  test('S4.1 the operator’s own word needs nobody’s confirmation', () => {
    const h = history();
    h.operator('1', { kind: 'shutdown', deadlineMs: DEADLINE, reason: 'patch' });
    h.restart({ reboot: true });
    h.register(payload('p'));
    h.until(DEADLINE);
    assert.equal(h.sentTo('p', DEADLINE), 'SIGTERM@-120 SIGKILL@-5');
  });
  test('S1.6 absences of another boot count for nothing, nor does its monotonic clock', () => {
    const h = history();
    shutdown(h, DEADLINE);
    for (const _ of [0, 1]) {
      h.says('directory', { machine: { total_cpu: '8' } });
      h.pass(2 * SECOND);
    }
    h.restart({ reboot: true, downMs: MINUTE });
    h.says('directory', { machine: { total_cpu: '8' } });
    assert.equal(h.snapshot().deadlineMs, DEADLINE);
    assert.equal(h.saysUntilSettled('directory', { machine: { total_cpu: '8' } }), 4);
    assert.equal(h.snapshot().deadlineMs, null);
  });
  test('S1.6 device numbers mean nothing in another boot', () => {
    const h = rebooted();
    h.saysUntilSettled('directory', { machine: { channel: 'dev:9', keys: { total_cpu: '8' } } });
    assert.equal(h.snapshot().deadlineMs, null);
  });
  test('S1.8 the deadline that the last boot ended with is expired in this one', () => {
    const h = rebooted(START + 30 * SECOND);
    assert.equal(h.notice('directory/shutdowntime').expired, true);
    assert.deepEqual([h.phase(), h.snapshot().deadlineMs, h.machine('shutdowntime')], ['running', null, undefined]);
  });
  test('S1.8 a step of another boot is never repeated, though its episode was running', () => {
    const h = history();
    h.register(payload('p'));
    shutdown(h, START + 10 * MINUTE);
    h.crashAtNextSignal();
    h.until(START + 9 * MINUTE);
    h.restart({ reboot: true, loseDone: true });
    h.pass(HOUR);
    assert.equal(h.sent.length, 1);
  });
});

describe('S1.8 a reboot that has happened', () => {
  const event = (kind: 'reboot' | 'redeploy' | 'terminate', deadlineMs: number) => ({
    notices: { e: present(kind, deadlineMs) },
  });
  for (const kind of ['reboot', 'redeploy'] as const) {
    test(`S1.8 a ${kind} first seen under another boot with its time before this one is done`, () => {
      const h = history();
      h.says('ec2', event(kind, START + MINUTE));
      h.restart({ reboot: true, downMs: 5 * MINUTE });
      assert.equal(h.notice('ec2/e').expired, true);
      h.says('ec2', event(kind, START + MINUTE));
      h.says('ec2', event(kind, h.now().wall + HOUR));
      assert.equal(h.notice('ec2/e').expired, true, 'as long as the platform lists it');
      assert.equal(h.snapshot().deadlineMs, null);
      h.restart();
      assert.equal(h.snapshot().deadlineMs, null, 'over a restart too');
      h.says('ec2', { notices: { e: NEGATIVE } });
      h.pass(MINUTE);
      const again = h.now().wall + HOUR;
      h.says('ec2', event(kind, again));
      assert.equal(h.snapshot().deadlineMs, again, 'delisted and listed again it is another one');
    });
  }
  test('S1.8 nor does what was about the end of the boot before count, whatever time it was given', () => {
    const h = history();
    h.says('ec2', {
      notices: { spot: present('terminate', DEADLINE), shutdown: present('reboot', DEADLINE, { thisBoot: true }) },
    });
    h.restart();
    assert.equal(h.snapshot().notices.length, 2, 'in its own boot it does');
    h.restart({ reboot: true });
    assert.deepEqual(
      h.snapshot().notices.map(({ id }) => id),
      ['ec2/spot'],
    );
  });
  test('S1.8 one whose time is still to come is not', () => {
    const h = history();
    h.says('ec2', event('reboot', START + HOUR));
    h.restart({ reboot: true, downMs: 5 * MINUTE });
    assert.equal(h.snapshot().deadlineMs, START + HOUR);
  });
  test('S1.8 another kind counts again as soon as its host moves it', () => {
    const h = history();
    h.says('ec2', event('terminate', START + MINUTE));
    h.restart({ reboot: true, downMs: 5 * MINUTE });
    h.says('ec2', event('terminate', START + HOUR));
    assert.equal(h.snapshot().deadlineMs, START + HOUR);
  });
  describe('S1.8 the operator’s shutdowns of other boots', () => {
    const shutdowns = (h: History) => Object.keys(h.state().operator.notices);
    test('are forgotten a day after they expired, and those of this boot are not', () => {
      const h = history();
      for (let count = 0; count < 5; count += 1) {
        h.operator(String(count), { kind: 'shutdown', deadlineMs: h.now().wall + MINUTE, reason: 'x' });
        h.pass(2 * MINUTE);
        h.restart({ reboot: true, downMs: 11 * HOUR });
      }
      assert.deepEqual(shutdowns(h), ['3', '4']);
      h.operator('now', { kind: 'shutdown', deadlineMs: h.now().wall + MINUTE, reason: 'x' });
      h.pass(3 * 24 * HOUR);
      h.restart({ downMs: MINUTE });
      assert.deepEqual([shutdowns(h), h.phase()], [['3', '4', 'now'], 'stopped'], 'a restart cancels nothing (S3.7)');
    });
    test('not by a clock that is wrong by its time zone', () => {
      const h = history();
      const deadlineMs = START + 2 * HOUR;
      h.operator('1', { kind: 'shutdown', deadlineMs, reason: 'x' });
      h.restart({ reboot: true, clockErrorMs: 13 * HOUR });
      assert.equal(h.notice('operator/1').expired, true);
      h.restart({ downMs: SECOND });
      h.stepClock(-13 * HOUR);
      assert.equal(h.snapshot().deadlineMs, deadlineMs);
    });
    test('and a drain stays: its time is when it begins', () => {
      const h = history();
      h.operator('1', { kind: 'drain', deadlineMs: null, reason: 'x' });
      h.operator('2', { kind: 'drain', deadlineMs: START + MINUTE, reason: 'x' });
      h.restart({ reboot: true, downMs: 7 * 24 * HOUR });
      assert.deepEqual([shutdowns(h), h.phase()], [['1', '2'], 'draining']);
    });
  });
  test('S1.8 judged by a clock that was wrong at boot, it is judged again when the clock is set', () => {
    const h = history();
    h.says('ec2', event('reboot', START + HOUR));
    h.restart({ reboot: true, downMs: 5 * MINUTE, clockErrorMs: 5 * HOUR });
    assert.equal(h.snapshot().deadlineMs, null);
    h.stepClock(-5 * HOUR);
    assert.equal(h.snapshot().deadlineMs, START + HOUR);
  });
});

describe('parts that are not what they should be', () => {
  const restore = (parts: [string, unknown][]) =>
    restoreState(new Map(parts), [], {
      sameBoot: true,
      bootWallMs: START - HOUR,
      firstBootMs: START - HOUR,
      now: { wall: START, mono: HOUR },
    });
  test('a part of another shape is left out, the others stand', () => {
    const h = history();
    shutdown(h, DEADLINE);
    const good = [...partsOf(h.state())];
    const state = restore([
      ...good,
      ['source/old', { version: 1 }],
      ['payload/old', 'text'],
      ['payload/null', null],
      ['unknown', {}],
    ]);
    assert.deepEqual(Object.keys(state.sources), ['directory', 'ec2']);
    assert.deepEqual(Object.keys(state.payloads), []);
  });
  test('nothing at all is a fresh start', () => {
    assert.deepEqual(restore([]).sources, {});
  });
  test('S4.1 a done report for what is not there is no matter', () => {
    const state = restoreState(
      new Map(),
      [
        {
          id: 'p',
          step: { episode: 1, index: 0, signal: 'SIGTERM' },
          outcome: 'delivered',
          at: { wall: START, mono: 0 },
        },
      ],
      { sameBoot: true, bootWallMs: START, firstBootMs: START, now: { wall: START, mono: 0 } },
    );
    assert.deepEqual(state.payloads, {});
  });
});

test('S4.1 sources whose names look alike do not mix', () => {
  const h = history({ sources: [DIRECTORY, source('directory/2', 'directory')] });
  shutdown(h, DEADLINE);
  h.says('directory/2', { machine: { shutdowntime: secs(DEADLINE - MINUTE) } });
  h.restart();
  assert.deepEqual(h.noticeIds(), ['directory/2/shutdowntime', 'directory/shutdowntime']);
});
