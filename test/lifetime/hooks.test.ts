/** The operator's programs for the machine's news: each piece once per boot, over crash and restart (issue 4, "Hooks"). */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { partsOf, restoreState } from '../../agent/lifetime/state.ts';
import { step } from '../../agent/lifetime/step.ts';
import {
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
const clear = (h: History) => h.saysUntilSettled('directory', { machine: { total_cpu: '8' } });

function announced() {
  const h = history();
  h.register(payload('p'));
  shutdown(h, DEADLINE);
  return h;
}

describe('phases', () => {
  test('S3.1 each is told when it is entered, once, with the deadline to be ready by', () => {
    const h = announced();
    h.until(DEADLINE + HOUR);
    assert.equal(h.told(), 'notice draining stopping stopped');
    assert.deepEqual(
      h.ran.map(({ run, at }) => [run.id, at.wall - DEADLINE, run.byMs, run.repeated]),
      [
        ['1-notice', -2 * HOUR, DEADLINE, false],
        ['2-draining', -30 * MINUTE, DEADLINE, false],
        ['3-stopping', -2 * MINUTE, DEADLINE, false],
        // Past already: nothing can be ready by then.
        ['4-stopped', 0, null, false],
      ],
    );
  });
  test('a machine that has just begun and runs has no news', () => {
    const h = history();
    h.says('directory', { machine: { total_cpu: '8' } });
    h.pass(24 * HOUR);
    assert.equal(h.told(), '');
  });
  test('one that begins in its last minutes does: all that it jumps over, in order, in one tick', () => {
    const h = history();
    h.register(payload('p'));
    shutdown(h, START + MINUTE);
    assert.equal(h.told(), 'notice draining stopping');
    assert.equal(new Set(h.ran.map(({ tick }) => tick)).size, 1);
    h.gone('p');
    assert.equal(h.told(), 'notice draining stopping stopped');
  });
  test('S3.1 without a payload it is stopped at once', () => {
    const h = history();
    shutdown(h, START + MINUTE);
    assert.equal(h.told(), 'notice draining stopping stopped');
  });
  test('a drain notice alone drains', () => {
    const h = history();
    h.operator('1', { kind: 'drain', deadlineMs: null, reason: 'x' });
    assert.equal(h.told(), 'notice draining');
    h.send({ type: 'operator_cancel' });
    assert.equal(h.told(), 'notice draining cancelled');
  });
  for (const [phase, leftMs, before] of [
    ['draining', 20 * MINUTE, 'notice draining'],
    ['stopping', MINUTE, 'notice draining stopping'],
    ['stopped', -MINUTE, 'notice draining stopping stopped'],
  ] as const) {
    test(`S3.6 back from ${phase} because the host has cancelled: cancelled, once; and everything anew next time`, () => {
      const h = announced();
      h.until(DEADLINE - leftMs);
      assert.equal(h.told(), before);
      clear(h);
      assert.equal(h.phase(), 'running');
      assert.equal(h.told(), `${before} cancelled`);
      h.pass(HOUR);
      const next = h.now().wall + 3 * HOUR;
      shutdown(h, next);
      h.until(next - 20 * MINUTE);
      assert.equal(h.told(), `${before} cancelled notice draining`);
    });
  }
  test('S3.6 postponed: told of the new time, and that it went back, be it not to the beginning', () => {
    const h = announced();
    h.until(DEADLINE - MINUTE);
    shutdown(h, DEADLINE + 10 * MINUTE);
    assert.equal(h.phase(), 'draining');
    assert.equal(h.told(), 'notice draining stopping notice cancelled');
    assert.equal(h.ran.at(-1)?.run.byMs, DEADLINE + 10 * MINUTE);
    h.until(DEADLINE + 9 * MINUTE);
    assert.equal(h.told(), 'notice draining stopping notice cancelled stopping');
  });
  test('S3.7 after the deadline a later one leads back to stopping', () => {
    const h = announced();
    h.until(DEADLINE + MINUTE);
    shutdown(h, DEADLINE + 2 * MINUTE);
    assert.equal(h.phase(), 'stopping');
    assert.match(h.told(), /stopping stopped notice cancelled$/);
  });
  test('a payload that comes while the machine is stopped cancels nothing, and nothing is told twice', () => {
    const h = announced();
    h.until(DEADLINE - 100 * SECOND);
    h.gone('p');
    assert.equal(h.phase(), 'stopped');
    for (const id of ['q', 'r']) {
      h.register(payload(id));
      assert.equal(h.phase(), 'stopping');
      h.gone(id);
    }
    h.until(DEADLINE + MINUTE);
    assert.equal(h.told(), 'notice draining stopping stopped');
    h.register(payload('s'));
    clear(h);
    assert.equal(h.told(), 'notice draining stopping stopped cancelled');
  });
  test('nor after a deadline that was moved while nobody lived', () => {
    const h = announced();
    h.until(DEADLINE + MINUTE);
    h.gone('p');
    shutdown(h, DEADLINE + 150 * SECOND);
    h.register(payload('q'));
    assert.equal(h.phase(), 'stopping');
    assert.equal(h.told(), 'notice draining stopping stopped notice');
  });
  test('hooks come after the signals of their tick', () => {
    const h = announced();
    h.until(DEADLINE - 2 * MINUTE);
    const at = h.sent[0]?.tick;
    assert.equal(h.ran.at(-1)?.tick, at, 'the same tick: the history itself asserts the order');
  });
});

describe('notices', () => {
  const spot = (deadlineMs: number) => ({ notices: { spot: present('terminate', deadlineMs) } });
  const times = (h: History) =>
    h.ran.flatMap(({ run }) => (run.notice ? [[run.notice.id, (run.notice.deadlineMs ?? 0) - START]] : []));

  test('each one, with what it says', () => {
    const h = history();
    h.says('ec2', { notices: { spot: present('terminate', DEADLINE), x: present('freeze', null) } });
    assert.deepEqual(
      h.ran.map(({ run }) => run.notice),
      [
        { id: 'ec2/spot', kind: 'terminate', deadlineMs: DEADLINE },
        { id: 'ec2/x', kind: 'freeze', deadlineMs: null },
      ],
    );
  });
  test('again when its time or kind changes, not when it is only said again or has another reason', () => {
    const h = history();
    for (const at of [2 * HOUR, 2 * HOUR, HOUR]) h.says('ec2', spot(START + at));
    h.says('ec2', { notices: { spot: present('terminate', START + HOUR, { reason: 'because' }) } });
    assert.deepEqual(times(h), [
      ['ec2/spot', 2 * HOUR],
      ['ec2/spot', HOUR],
    ]);
    h.pass(MINUTE);
    h.says('ec2', { notices: { spot: present('reboot', START + HOUR) } });
    assert.equal(h.ran.at(-1)?.run.notice?.kind, 'reboot');
  });
  test('S3.6 not when its time moves by no more than the same episode bears, counted from what was told', () => {
    const h = history();
    h.says('ec2', spot(DEADLINE));
    h.pass(5 * MINUTE);
    for (const by of [1, 30, -30, 0, 15]) h.says('ec2', spot(DEADLINE + by * SECOND));
    h.pass(5 * MINUTE);
    assert.equal(h.told(), 'notice');
    h.stepClock(HOUR);
    h.says('ec2', spot(DEADLINE + 30 * SECOND));
    assert.equal(h.told(), 'notice', 'nor after the clock was set');
    h.says('ec2', spot(DEADLINE + 31 * SECOND));
    assert.deepEqual(times(h).slice(1), [['ec2/spot', DEADLINE + 31 * SECOND - START]]);
  });
  test('a time counted on our clock that was told a little beside what is so is no news when the clock is set', () => {
    const h = history();
    h.says('directory', { job: { wall_limit_secs: String(10 * 3600) } });
    h.says('directory', { job: { wall_limit_secs: String(10 * 3600 + 20) } });
    h.pass(MINUTE);
    h.stepClock(HOUR);
    h.pass(2 * MINUTE);
    assert.equal(h.told(), 'notice');
  });
  test('not more than once a minute; the last word is told when that is over, by waking up itself', () => {
    const h = history();
    h.says('ec2', spot(DEADLINE));
    for (const by of [40, 80, 3_600, 50]) {
      h.pass(10 * SECOND);
      h.says('ec2', spot(DEADLINE + by * SECOND));
    }
    h.says('ec2', { notices: { spot: present('reboot', DEADLINE + 50 * SECOND) } });
    h.pass(20 * SECOND - 1);
    assert.equal(h.told(), 'notice');
    h.restart();
    h.pass(1);
    assert.deepEqual(
      h.ran.slice(1).map(({ run }) => run.notice),
      [{ id: 'ec2/spot', kind: 'reboot', deadlineMs: DEADLINE + 50 * SECOND }],
    );
    h.pass(HOUR);
    assert.equal(h.told(), 'notice notice');
  });
  test('but at once when it comes earlier by more than that minute, or was none before', () => {
    const h = history();
    h.says('ec2', { notices: { spot: present('freeze', null) } });
    h.says('ec2', spot(DEADLINE));
    h.says('ec2', spot(DEADLINE - MINUTE));
    assert.equal(h.told(), 'notice notice');
    h.says('ec2', spot(DEADLINE - MINUTE - SECOND));
    assert.equal(h.told(), 'notice notice notice');
  });
  test('a time that jumps to and fro with each poll does not start a program with each poll', () => {
    const h = history();
    for (let poll = 0; poll < 600; poll += 1) {
      h.says('ec2', spot(DEADLINE + (poll % 2) * HOUR));
      h.pass(SECOND);
    }
    assert.ok(h.ran.length >= 10 && h.ran.length <= 20, `${h.ran.length} runs in ten minutes`);
  });
  test('not while the operator ignores it, or it lies before this boot (S1.5, S1.8)', () => {
    const h = history();
    h.says('ec2', spot(START + 2 * HOUR));
    h.send({ type: 'ignore', id: 'ec2/spot' });
    h.says('ec2', spot(START + HOUR));
    h.says('directory', { machine: { shutdowntime: secs(START - 10 * HOUR) } });
    assert.deepEqual(times(h), [['ec2/spot', 2 * HOUR]]);
  });
  test('S1.6 what returns within 10 min is the same notice, later another one', () => {
    const h = history();
    const told = () => h.told();
    h.says('ec2', spot(START + 5 * HOUR));
    h.says('ec2', { notices: { spot: NEGATIVE } });
    h.pass(9 * MINUTE);
    h.says('ec2', spot(START + 5 * HOUR));
    assert.equal(told(), 'notice');
    h.says('ec2', { notices: { spot: NEGATIVE } });
    h.pass(11 * MINUTE);
    h.says('ec2', spot(START + 5 * HOUR));
    assert.equal(told(), 'notice notice');
  });
  test('S4.1 one of another boot is told when its source has said it again, not before', () => {
    const h = history();
    shutdown(h, DEADLINE);
    h.restart({ reboot: true, downMs: MINUTE });
    h.fails('directory');
    h.pass(MINUTE);
    assert.equal(h.told(), 'notice', 'the boot before');
    shutdown(h, DEADLINE);
    assert.equal(h.told(), 'notice notice');
  });
  test('S4.1 or when its time has come; its phases are told in any case', () => {
    const h = history();
    shutdown(h, DEADLINE);
    h.restart({ reboot: true, downMs: MINUTE });
    h.until(DEADLINE - MINUTE);
    assert.equal(h.told(), 'notice draining');
    h.until(DEADLINE);
    assert.equal(h.told(), 'notice draining notice stopping stopped');
  });
  test('S1.8 a reboot that has happened is no news of the boot after it', () => {
    const h = history();
    h.says('ec2', { notices: { e: present('reboot', START + MINUTE) } });
    h.restart({ reboot: true, downMs: 5 * MINUTE });
    h.ran.length = 0;
    h.says('ec2', { notices: { e: present('reboot', START + MINUTE) } });
    h.pass(HOUR);
    assert.equal(h.told(), '');
  });
  test('S4.2 a time that moves with our clock alone is no news', () => {
    const h = history();
    h.says('ec2', { notices: { spot: present('terminate', null, { minimumNoticeMs: 2 * HOUR }) } });
    h.says('directory', { job: { wall_limit_secs: String(10 * 3600) } });
    assert.equal(h.told(), 'notice notice');
    h.stepClock(3 * HOUR);
    h.stepClock(-HOUR);
    assert.equal(h.told(), 'notice notice');
    h.pass(MINUTE);
    h.stepClock(SECOND, h.answer('ec2', spot(h.now().wall + 3 * HOUR)));
    assert.equal(h.told(), 'notice notice notice', 'what is said in the same breath is');
  });
});

describe('a crash (S3.6 for hooks)', () => {
  test('what has ended is not run again, by however many restarts', () => {
    const h = announced();
    h.until(DEADLINE - MINUTE);
    for (let count = 0; count < 5; count += 1) h.restart({ downMs: SECOND });
    assert.equal(h.told(), 'notice draining stopping');
  });
  test('what may not have ended is run once more under its old name, and never a third time', () => {
    const h = announced();
    h.holdHooks();
    h.until(DEADLINE - MINUTE);
    h.restart({ downMs: SECOND });
    assert.equal(h.told(), 'notice draining stopping draining! stopping!');
    assert.deepEqual(
      h.ran.slice(3).map(({ run }) => [run.id, run.byMs]),
      [
        ['2-draining', DEADLINE],
        ['3-stopping', DEADLINE],
      ],
    );
    const posts = (from: number) => h.ran.slice(from).filter(({ run }) => run.parts?.join() === 'posts').length;
    assert.equal(posts(0), 0, 'programs and web hooks alike');
    h.restart({ downMs: SECOND });
    assert.equal(posts(5), 2);
    h.restart({ downMs: 2 * MINUTE });
    assert.equal(h.ran.filter(({ run }) => run.parts === undefined).length, 6);
    assert.equal(h.ran.at(-1)?.run.id, '4-stopped', 'names are not given twice');
  });
  test('a crash right after the intent loses nothing', () => {
    const h = announced();
    h.crashAtNextSignal();
    h.until(DEADLINE - 20 * MINUTE);
    h.restart();
    assert.equal(h.told(), 'notice draining draining!');
  });
  test('what changed while the agent was away is told when it is back', () => {
    const h = announced();
    h.restart({ downMs: 2 * HOUR - MINUTE });
    assert.equal(h.told(), 'notice draining stopping');
  });
  test('another boot is another machine: nothing is repeated, everything may be told again', () => {
    const h = announced();
    h.holdHooks();
    h.until(DEADLINE - 20 * MINUTE);
    h.restart({ reboot: true });
    assert.equal(h.told(), 'notice draining draining');
  });
  /** One run whose end only the test tells; gives who is told of it after a restart. */
  function oneRun(deadlineMs: number | null = DEADLINE) {
    const h = history();
    h.holdHooks();
    h.operator('1', { kind: deadlineMs === null ? 'freeze' : 'shutdown', deadlineMs, reason: 'x' });
    return {
      h,
      end: (part: 'programs' | 'posts') => h.send({ type: 'hook_ended', run: '1-notice', part }),
      restart(downMs = SECOND) {
        const before = h.ran.length;
        h.restart({ downMs });
        return h.ran.slice(before).map(({ run }) => [run.id, run.repeated, ...(run.parts ?? ['all'])].join(' '));
      },
    };
  }
  test('programs that have ended are not run again, web hooks that have not are told as often as the agent is restarted', () => {
    const { h, end, restart } = oneRun();
    end('programs');
    for (let count = 0; count < 4; count += 1) assert.deepEqual(restart(), ['1-notice true posts']);
    end('posts');
    assert.deepEqual(h.state().hooks.open, []);
    assert.deepEqual(restart(), []);
  });
  test('web hooks that are through with it are not told again, the programs once more', () => {
    const { end, restart } = oneRun();
    end('posts');
    assert.deepEqual(restart(), ['1-notice true programs']);
    assert.deepEqual(restart(), []);
  });
  test('programs that did not end after their repetition are given up, web hooks are not', () => {
    const { end, h, restart } = oneRun();
    assert.deepEqual([restart(), restart(), restart()].flat(), [
      '1-notice true all',
      '1-notice true posts',
      '1-notice true posts',
    ]);
    end('posts');
    assert.deepEqual(h.state().hooks.open, []);
  });
  test('either end said twice does not stand for the other', () => {
    for (const part of ['programs', 'posts'] as const) {
      const { h, end } = oneRun();
      end(part);
      end(part);
      assert.deepEqual(
        h.state().hooks.open.map(({ over }) => over),
        [part],
      );
    }
  });
  test('web hooks are told again until the deadline, without one for ten minutes; the end of that is in the log', () => {
    const late = oneRun();
    late.end('programs');
    assert.deepEqual(late.restart(HOUR), ['1-notice true posts']);
    const none = oneRun(null);
    none.end('programs');
    assert.deepEqual(none.restart(9 * MINUTE), ['1-notice true posts']);
    assert.deepEqual(none.restart(MINUTE), []);
    assert.equal(none.h.logs('hook_expired').length, 1);
    assert.deepEqual(none.h.state().hooks.open, []);
  });
  test('of a journal without this part (an older version) everything is news, since nobody was told', () => {
    const h = announced();
    h.until(DEADLINE - MINUTE);
    const { wall, mono } = h.now();
    const parts = new Map([...partsOf(h.state())].filter(([key]) => key !== 'hooks'));
    const state = restoreState(parts, [], {
      sameBoot: true,
      bootWallMs: h.boot(),
      firstBootMs: h.boot(),
      now: h.now(),
    });
    const { effects } = step(state, { type: 'tick' }, { wall, mono });
    assert.deepEqual(
      effects.flatMap((effect) => (effect.type === 'hook' ? [effect.run.event] : [])),
      ['notice', 'draining', 'stopping'],
    );
  });
});

describe('bounds', () => {
  test('a host with hundreds of notices does not start hundreds of programs, and does not silence the phases', () => {
    const h = history();
    h.holdHooks();
    const byId = Object.fromEntries(
      Array.from({ length: 200 }, (_, index) => [`n${index}`, present('terminate', DEADLINE + index)]),
    );
    h.says('ec2', { notices: byId });
    assert.equal(h.ran.length, 48);
    assert.deepEqual(
      h.logs('hook_dropped').map(({ fields }) => fields),
      [{ hooks: ['notice'], count: 152 }],
    );
    h.until(DEADLINE);
    assert.deepEqual(h.told().split(' ').slice(48), ['draining', 'stopping', 'stopped']);
    h.says('ec2', { notices: byId });
    assert.equal(h.logs('hook_dropped').length, 1, 'what was dropped is not tried for ever');
  });
  test('what has ended makes room', () => {
    const h = history();
    for (let index = 1; index <= 100; index += 1) {
      h.says('ec2', { notices: { spot: present('terminate', DEADLINE + 10 * HOUR + index * MINUTE) } });
      h.pass(MINUTE);
    }
    assert.equal(h.told(), 'notice '.repeat(100).trim());
    assert.deepEqual(h.state().hooks.open, []);
  });
  test('phases are bounded too', () => {
    const h = history();
    h.holdHooks();
    for (let round = 0; round < 50; round += 1) {
      h.operator('1', { kind: 'drain', deadlineMs: null, reason: 'x' });
      h.send({ type: 'operator_cancel' });
      h.pass(11 * MINUTE);
    }
    assert.equal(h.state().hooks.open.length, 64);
    assert.ok(h.logs('hook_dropped').length > 0);
  });
  for (const run of ['nothing', '__proto__', 'p/1/0'])
    test(`the end of a run that is not open (${run}) is no matter`, () => {
      const h = announced();
      const before = h.state();
      h.send({ type: 'hook_ended', run });
      assert.equal(h.state().hooks, before.hooks);
    });
  test('notices of sources that are gone are not remembered for ever', () => {
    const h = history({ sources: [source('ec2')] });
    h.says('ec2', { notices: { spot: present('terminate', DEADLINE) } });
    h.configure({ sources: [] });
    assert.deepEqual(h.state().hooks.notices, {});
  });
});
