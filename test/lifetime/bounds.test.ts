/** A host that invents ids must fill neither memory nor journal, and must not hide what sets a deadline. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MAX_FAULTS, MAX_NOTICES } from '../../agent/lifetime/bounds.ts';
import type { NoticeKind, Reading, StatedNotice } from '../../agent/lifetime/types.ts';
import {
  BOOT,
  EC2,
  type History,
  type HistoryOptions,
  HOUR,
  history,
  MINUTE,
  NEGATIVE,
  present,
  SECOND,
  START,
  UNKNOWN,
} from './history.ts';

const LATER = START + 5 * HOUR;
type Notices = Record<string, Reading<StatedNotice>>;

/** `a0 … a699`, each so much later than the one before. */
function many(prefix: string, count: number, kind: NoticeKind = 'freeze', spacedMs = 0): Notices {
  const entries = Array.from(
    { length: count },
    (_, i) => [`${prefix}${i}`, present(kind, LATER + i * spacedMs)] as const,
  );
  return Object.fromEntries(entries);
}

const started = (options: HistoryOptions = {}) => history({ sources: [EC2], ...options });
const heldIn = (h: History): readonly string[] => Object.keys(h.state().sources['ec2']?.notices ?? {});
const faultsOf = (h: History) => h.sourceState('ec2')?.faults ?? {};

describe('bounds of what is held of a source', () => {
  test('hundreds of new ids in each answer: memory, journal and faults stay bounded', () => {
    const h = started();
    const sizes: number[] = [];
    for (let poll = 0; poll < 20; poll += 1) {
      h.says('ec2', { notices: many(`p${poll}-`, 700) });
      assert.equal(heldIn(h).length, MAX_NOTICES);
      assert.deepEqual(faultsOf(h), { 'notice/*': 'too_many' });
      sizes.push(h.journal.get('source/ec2')?.length ?? 0);
      h.pass(SECOND);
    }
    assert.ok(Math.max(...sizes) < 100_000, `${Math.max(...sizes)}`);
    assert.equal(h.logs('feature_rejected').length, 1);
  });

  test('when full, the gone ones are forgotten first, the oldest of them first of all', () => {
    const h = started();
    const room = MAX_NOTICES - 100;
    for (const [prefix, count] of [
      ['old', 100],
      ['newer', room],
    ] as const) {
      h.says('ec2', { notices: many(prefix, count) });
      h.says('ec2', { notices: Object.fromEntries(Object.keys(many(prefix, count)).map((id) => [id, NEGATIVE])) });
      h.pass(SECOND);
    }
    assert.equal(heldIn(h).length, MAX_NOTICES);
    h.says('ec2', { notices: many('live', 100) });
    const held = heldIn(h);
    assert.deepEqual([held.length, held.filter((id) => id.startsWith('old')).length], [MAX_NOTICES, 0]);
    assert.equal(h.noticeIds()?.length, 100);
    assert.deepEqual(faultsOf(h), {});
  });

  test('new informing notices are refused, those held stay; nothing is written or told again for the same answer', () => {
    const h = started();
    h.says('ec2', { notices: many('held', MAX_NOTICES) });
    h.pass(SECOND);
    const answer = { notices: { ...many('aaa', 10), ...many('held', MAX_NOTICES) } };
    h.says('ec2', answer);
    assert.deepEqual(heldIn(h), Object.keys(many('held', MAX_NOTICES)));
    assert.deepEqual(faultsOf(h), { 'notice/*': 'too_many' });
    const before = h.state().sources['ec2'];
    h.pass(SECOND);
    h.says('ec2', answer);
    assert.equal(h.state().sources['ec2'], before);
  });

  for (const kind of ['terminate', 'drain'] as const)
    test(`a ${kind} finds its place among hundreds that only inform`, () => {
      const h = started();
      h.says('ec2', { notices: many('held', MAX_NOTICES) });
      h.pass(SECOND);
      h.says('ec2', { notices: { ...many('held', MAX_NOTICES), one: present(kind, START + HOUR) } });
      assert.equal(h.notice('ec2/one').kind, kind);
      assert.equal(heldIn(h).length, MAX_NOTICES);
      assert.equal(h.snapshot().deadlineMs, kind === 'drain' ? null : START + HOUR);
    });

  test('of those that set a deadline the earliest stay, whichever came first', () => {
    const h = started();
    h.says('ec2', { notices: many('t', MAX_NOTICES + 50, 'terminate', -MINUTE / 2) });
    const last = MAX_NOTICES + 49;
    assert.equal(h.snapshot().deadlineMs, LATER - (last * MINUTE) / 2);
    assert.equal(heldIn(h).includes(`t${last}`), true);
    assert.equal(heldIn(h).includes('t0'), false);
    h.says('ec2', {
      complete: false,
      notices: { first: present('reboot', START + MINUTE), late: present('stop', LATER) },
    });
    assert.equal(h.snapshot().deadlineMs, START + MINUTE);
    assert.equal(heldIn(h).includes('late'), false);
  });

  test('times before this boot, which are not acted on, do not crowd out one that is', () => {
    const h = started();
    const past = Array.from(
      { length: MAX_NOTICES },
      (_, i) => [`p${i}`, present('terminate', BOOT - HOUR - i)] as const,
    );
    h.says('ec2', { notices: { ...Object.fromEntries(past), real: present('stop', LATER) } });
    assert.equal(h.snapshot().deadlineMs, LATER);
  });

  test('S1.1 a kind that the operator made set a deadline counts as such', () => {
    const h = started({ policy: { kindOverrides: { freeze: 'stop' } } });
    h.says('ec2', { notices: many('m', MAX_NOTICES, 'migrate') });
    h.says('ec2', { notices: { ...many('m', MAX_NOTICES, 'migrate'), one: present('freeze', LATER) } });
    assert.equal(h.snapshot().deadlineMs, LATER);
  });

  test('the fault stays while it is full, whatever the answers speak of, and ends when there is room', () => {
    const h = started();
    h.says('ec2', { notices: many('a', MAX_NOTICES + 1) });
    h.says('ec2', { complete: false, notices: { a0: present('freeze', LATER) } });
    assert.deepEqual(faultsOf(h), { 'notice/*': 'too_many' });
    h.fails('ec2');
    assert.deepEqual(faultsOf(h), { 'notice/*': 'too_many' });
    h.says('ec2', { notices: many('a', 3) });
    h.pass(20 * MINUTE);
    h.says('ec2', { complete: false, notices: {} });
    for (let poll = 0; poll < 4; poll += 1) {
      h.says('ec2', { notices: many('a', 3) });
      h.pass(2 * SECOND);
    }
    h.pass(20 * MINUTE);
    h.says('ec2', { notices: many('a', 3) });
    assert.deepEqual(faultsOf(h), {});
    assert.deepEqual(heldIn(h), ['a0', 'a1', 'a2']);
  });

  test('hundreds of faults: those of what is held and of whole parts are kept, and one entry tells of the rest', () => {
    const h = started();
    h.says('ec2', { notices: { mine: present('stop', LATER) } });
    const odd = Object.fromEntries(Array.from({ length: 700 }, (_, i) => [`odd${i}`, UNKNOWN]));
    const answer = { notices: { ...odd, mine: UNKNOWN, '@part': UNKNOWN } };
    h.says('ec2', answer);
    const faults = faultsOf(h);
    assert.equal(Object.keys(faults).length, MAX_FAULTS + 1);
    assert.deepEqual(
      [faults['notice/mine'], faults['notice/@part'], faults['*']],
      ['http_500', 'http_500', 'too_many'],
    );
    const before = h.state().sources['ec2'];
    h.says('ec2', { notices: { zzz: UNKNOWN, ...answer.notices } });
    assert.equal(h.state().sources['ec2'], before, 'those told of stay');
    h.says('ec2', { notices: { mine: present('stop', LATER) } });
    assert.deepEqual(faultsOf(h), {});
  });
});
