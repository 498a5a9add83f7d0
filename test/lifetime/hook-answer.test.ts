/** The operator's programs for the answer to the site (`can_terminate`): each change of it, at most once a minute. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { partsOf, restoreState } from '../../agent/lifetime/state.ts';
import { step } from '../../agent/lifetime/step.ts';
import { type History, HOUR, history, MINUTE, payload, SECOND, START } from './history.ts';

const YES = { now: true, atMs: null };
const NO = { now: false, atMs: null };

function withPayload(): History {
  const h = history();
  h.register(payload('p'));
  return h;
}

describe('can_terminate', () => {
  test('S5.2 nothing is told while nobody ever said yes', () => {
    const h = withPayload();
    h.can('p', NO);
    h.pass(HOUR);
    assert.equal(h.toldAnswers(), '');
  });
  test('told when it becomes true and when it goes back, with what it is now', () => {
    const h = withPayload();
    h.can('p', YES);
    h.pass(2 * MINUTE);
    h.can('p', NO);
    assert.equal(h.toldAnswers(), '1@0 0@120');
    assert.deepEqual(
      h.ran.map(({ run }) => [run.id, run.canTerminate]),
      [
        ['1-can_terminate', true],
        ['2-can_terminate', false],
      ],
    );
  });
  test('S5.1 a promise that comes true is told at its time', () => {
    const h = withPayload();
    h.can('p', { now: false, atMs: START + HOUR });
    h.pass(HOUR);
    assert.equal(h.toldAnswers(), '1@3600');
  });
  test('S5.2 the last has ended: true; and another one that comes takes it back', () => {
    const h = withPayload();
    h.gone('p');
    h.pass(MINUTE);
    h.register(payload('q'));
    assert.equal(h.toldAnswers(), '1@0 0@60');
  });
  test('S5.2 nobody knows any more: that is not yes', () => {
    const h = history();
    h.register(payload('p', { origin: 'x', canTerminate: YES }));
    h.pass(MINUTE);
    h.gone('p', 'unconfigured');
    assert.deepEqual([h.answerNow(), h.toldAnswers()], [null, '1@0 0@60']);
  });
  test('as often as it flips at most once a minute, and the last word is told in the end', () => {
    const h = withPayload();
    for (let times = 0; times < 100; times += 1) {
      h.can('p', YES);
      h.pass(SECOND);
      h.can('p', NO);
      h.pass(SECOND);
    }
    h.pass(HOUR);
    assert.equal(h.toldAnswers(), '1@0 0@60 1@120 0@180');
  });
  test('back within the minute it was nothing', () => {
    const h = withPayload();
    h.can('p', YES);
    h.can('p', NO);
    h.pass(59 * SECOND);
    h.can('p', YES);
    h.pass(HOUR);
    assert.equal(h.toldAnswers(), '1@0');
  });
  test('not while the programs of the last one run: theirs would be the last word', () => {
    const h = withPayload();
    h.holdHooks();
    h.can('p', YES);
    h.can('p', NO);
    h.pass(5 * MINUTE);
    h.send({ type: 'hook_ended', run: '1-can_terminate', part: 'posts' });
    assert.equal(h.toldAnswers(), '1@0');
    h.send({ type: 'hook_ended', run: '1-can_terminate', part: 'programs' });
    assert.equal(h.toldAnswers(), '1@0 0@300');
  });
  test('web hooks that are still tried hold up nobody', () => {
    const h = withPayload();
    h.holdHooks();
    h.can('p', YES);
    h.send({ type: 'hook_ended', run: '1-can_terminate', part: 'programs' });
    h.can('p', NO);
    h.pass(MINUTE);
    assert.equal(h.toldAnswers(), '1@0 0@60');
  });
  test('where too many runs are open it waits for room, and phases still have theirs', () => {
    const h = withPayload();
    h.holdHooks();
    for (let nth = 0; nth < 48; nth += 1) h.operator(String(nth), { kind: 'freeze', deadlineMs: null, reason: 'x' });
    h.can('p', YES);
    assert.equal(h.toldAnswers(), '');
    h.send({ type: 'hook_ended', run: '1-notice' });
    assert.equal(h.toldAnswers(), '1@0');
    assert.deepEqual(h.logs('hook_dropped'), []);
  });
  test('after a crash once more, with what was to be told; then what is so now', () => {
    const h = withPayload();
    h.holdHooks();
    h.can('p', YES);
    h.can('p', NO);
    h.restart({ downMs: 5 * MINUTE });
    assert.equal(h.toldAnswers(), '1@0 1!@300');
    h.send({ type: 'hook_ended', run: '1-can_terminate' });
    assert.equal(h.toldAnswers(), '1@0 1!@300 0@300');
  });
  test('a restart tells nothing again, another boot begins anew', () => {
    const h = withPayload();
    h.can('p', YES);
    h.restart({ downMs: MINUTE });
    assert.equal(h.toldAnswers(), '1@0');
    h.restart({ reboot: true });
    h.register(payload('q', { canTerminate: YES }));
    assert.match(h.toldAnswers(), /^1@0 1@\d+$/);
  });
  test('what an older version wrote knows nothing of it: it is told now', () => {
    const h = withPayload();
    h.can('p', YES);
    const { canTerminate: _, ...hooks } = h.state().hooks;
    const parts = new Map([...partsOf(h.state()), ['hooks', hooks] as const]);
    const options = { sameBoot: true, bootWallMs: h.boot(), firstBootMs: h.boot(), now: h.now() };
    const { effects } = step(restoreState(parts, [], options), { type: 'tick' }, h.now());
    const runs = effects.flatMap((effect) => (effect.type === 'hook' ? [effect.run] : []));
    assert.deepEqual(
      runs.map(({ event, canTerminate }) => [event, canTerminate]),
      [['can_terminate', true]],
    );
  });
  test('S4.2 a step of our clock tells nothing', () => {
    const h = withPayload();
    h.can('p', YES);
    h.can('p', NO);
    h.stepClock(HOUR);
    assert.equal(h.toldAnswers(), '1@0');
    h.pass(MINUTE);
    assert.equal(h.toldAnswers(), '1@0 0@3660');
  });
});
