/** A source whose leading part fails and whose others are heard (S1.7), and lists that were gone through (S1.6). */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Answer, Reading } from '../../agent/lifetime/types.ts';
import { ABSENT, EC2, type History, history, MINUTE, present, SECOND, START } from './history.ts';

const LATER = START + 60 * MINUTE;

function partly(h: History, partial: Answer, error = 'http_500'): void {
  h.send({ type: 'observation', observation: { source: 'ec2', outcome: 'failed', error, detail: error, partial } });
}
const answers = (h: History, answer: Answer): void =>
  h.send({ type: 'observation', observation: { source: 'ec2', outcome: 'answer', answer } });
const notices = (byId: NonNullable<Answer['notices']>['byId'], more: Partial<Answer['notices']> = {}): Answer => ({
  notices: { complete: false, byId, ...more },
});
const text = (value: string): Reading<string> => ({ is: 'present', value });
const keys = (given: Readonly<Record<string, Reading<string>>>, except?: readonly string[]): Answer => ({
  machine: { channel: 'ec2', complete: false, keys: given, ...(except && { rest: { is: 'absent', except } }) },
});

describe('a failure that brought something all the same', () => {
  it('what it brought counts: keys, notices, a deadline', () => {
    const h = history({ sources: [EC2] });
    partly(h, { ...keys({ hs06: text('1') }), ...notices({ spot: present('terminate', LATER) }) });
    assert.equal(h.machine('hs06'), '1');
    assert.equal(h.snapshot().deadlineMs, LATER);
  });

  it('and clears what it denies', () => {
    const h = history({ sources: [EC2] });
    answers(h, notices({ spot: present('terminate', LATER) }));
    partly(h, notices({ spot: { is: 'negative' } }));
    assert.equal(h.snapshot().deadlineMs, null);
  });

  it('the source fails for the reason that is given, and goes stale', () => {
    const h = history({ sources: [EC2] });
    answers(h, keys({ hs06: text('1') }));
    for (let secs = 0; secs < 29; secs += 1) {
      h.pass(SECOND);
      partly(h, keys({ hs06: text('1') }));
      assert.deepEqual([h.sourceState('ec2')?.state, h.sourceState('ec2')?.error], ['failed', 'http_500']);
    }
    h.pass(SECOND);
    partly(h, keys({ hs06: text('1') }));
    assert.equal(h.sourceState('ec2')?.state, 'stale');
    answers(h, {});
    assert.deepEqual([h.sourceState('ec2')?.state, h.sourceState('ec2')?.error], ['ok', null]);
  });

  it('what is wrong in particular is shown too, and said once', () => {
    const h = history({ sources: [EC2] });
    for (let n = 0; n < 3; n += 1) partly(h, notices({ '@action': { is: 'unknown', error: 'http_500' } }));
    assert.deepEqual(h.sourceState('ec2')?.faults, { 'notice/@action': 'http_500' });
    assert.equal(h.logs('feature_rejected').length, 1);
  });

  it('does not confirm what was restored from another boot: no signal on its word alone (S4.1)', () => {
    const h = history({ sources: [EC2] });
    answers(h, notices({ spot: present('terminate', LATER) }));
    h.restart({ reboot: true });
    partly(h, {});
    assert.equal(h.state().sources['ec2']?.confirmed, false);
    answers(h, {});
    assert.equal(h.state().sources['ec2']?.confirmed, true);
  });
});

describe('the rest of a list', () => {
  const before = (): History => {
    const h = history({ sources: [EC2] });
    answers(h, {
      ...keys({ hs06: text('1'), mjf_site: text('X'), total_cpu: text('8') }),
      ...notices({ a: present('terminate', LATER), b: present('stop', LATER), c: present('reboot', LATER) }),
    });
    return h;
  };
  const ids = (h: History) =>
    h
      .noticeIds()
      ?.map((id) => id.slice(4))
      .sort();

  it('what is neither mentioned nor excepted is absent, and cleared when that is confirmed', () => {
    const h = before();
    for (let n = 0; n < 4; n += 1) {
      assert.deepEqual(ids(h), ['a', 'b', 'c']);
      answers(h, notices({ a: present('terminate', LATER) }, { rest: { is: 'absent', except: ['b'] } }));
      h.pass(SECOND);
    }
    assert.deepEqual(ids(h), ['a', 'b']);
  });

  it('of keys too, by whatever name they were given', () => {
    const h = before();
    for (let n = 0; n < 4; n += 1) {
      answers(h, keys({}, ['mjf_site', 'log_cores']));
      h.pass(SECOND);
    }
    assert.deepEqual(Object.keys(h.snapshot().machine).sort(), ['shutdowntime', 'site', 'total_cpu']);
  });

  it('what is excepted keeps its fault', () => {
    const h = before();
    answers(h, notices({ b: { is: 'unknown', error: 'bad_time' }, '@events': { is: 'unknown', error: 'http_500' } }));
    answers(h, notices({ a: ABSENT }, { rest: { is: 'absent', except: ['b'] } }));
    assert.deepEqual(h.sourceState('ec2')?.faults, { 'notice/b': 'bad_time', 'notice/@events': 'http_500' });
  });

  it('nothing is said of what is not held', () => {
    const h = before();
    answers(h, notices({}, { rest: { is: 'absent', except: ['a', 'b', 'c', 'd', '__proto__'] } }));
    assert.deepEqual(ids(h), ['a', 'b', 'c']);
    assert.deepEqual(h.pollsWanted, []);
  });
});
