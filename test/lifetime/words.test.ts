/** Last words (S5.3): which one goes out, and when. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { partsOf, restoreState } from '../../agent/lifetime/state.ts';
import type { PayloadSpec, StepRef } from '../../agent/lifetime/types.ts';
import { type History, HOUR, history, MINUTE, NEGATIVE, payload, present, SECOND, START, unit } from './history.ts';

const DEADLINE = START + 2 * HOUR;
const HOOKS = [
  { at: 10 * MINUTE, signal: 'hook:checkpoint.sh' },
  { at: 'grace', signal: 'SIGTERM' },
  { at: 5 * SECOND, signal: 'SIGKILL' },
] as const;
const SAVE: StepRef = { episode: 1, index: 0, signal: 'hook:checkpoint.sh' };
const DETAIL = 'checkpoint.sh ended with exit code 3';

function announced(...specs: readonly PayloadSpec[]): History {
  const h = history({ policy: { steps: HOOKS } });
  for (const spec of specs) h.register(spec);
  h.says('ec2', { notices: { spot: present('terminate', DEADLINE) } });
  return h;
}
const stopping = (...specs: readonly PayloadSpec[]): History => {
  const h = announced(...specs);
  h.until(DEADLINE - 2 * MINUTE);
  return h;
};
const cancel = (h: History) => h.says('ec2', { notices: { spot: NEGATIVE } });
const fails = (h: History, id = 'p', step = SAVE) => h.send({ type: 'step_failed', id, step, detail: DETAIL });
const code = (h: History) => h.lastWord()?.code ?? null;

describe('S5.3 when it is due', () => {
  test('S5.3 when the last has ended, and not before', () => {
    const h = history();
    h.register(payload('p'));
    h.register(payload('q'));
    assert.equal(code(h), null);
    h.gone('p');
    assert.equal(code(h), null);
    h.gone('q');
    assert.deepEqual(h.lastWord(), { code: 200, text: 'Intended work completed' });
    h.register(payload('r'));
    assert.equal(code(h), null, 'there is work again');
  });
  test('S5.2 nobody ever registered: nothing is said, not even at the deadline', () => {
    const h = announced();
    h.until(DEADLINE + HOUR);
    assert.equal(h.lastWord(), null);
  });
  test('S5.3 over those who live when the machine goes down, with what time is left to say it', () => {
    const h = announced(payload('p'));
    h.until(DEADLINE - 3 * SECOND - 1);
    assert.equal(code(h), null);
    h.pass(1);
    assert.deepEqual(h.lastWord(), { code: 100, text: 'Shutdown as requested by the host' });
    h.pass(HOUR);
    assert.equal(code(h), 100);
    cancel(h);
    assert.equal(code(h), null, 'it goes on after all');
  });
  test('S4.1 not for a deadline of another boot that nobody has confirmed', () => {
    const h = announced(payload('p'));
    h.restart({ reboot: true });
    h.register(payload('q'));
    h.until(DEADLINE - 1);
    assert.equal(code(h), null);
  });
  test('S5.3 a reservation has nothing to say, but keeps the others’ word back', () => {
    const h = announced(payload('p'));
    const exec = { pid: 78, startTicks: 7 };
    h.register(payload('r', { target: { kind: 'process', leader: exec, group: true }, deliverer: exec }));
    h.gone('p');
    assert.equal(code(h), null);
    h.until(DEADLINE);
    assert.equal(code(h), 200, 'the other one has ended by itself, and nobody was stopped');
  });
  test('the operator’s word for a machine where nobody registered', () => {
    const h = history();
    h.word(null, 400, 'banned');
    assert.deepEqual(h.lastWord(), { code: 400, text: 'banned' });
  });
});

describe('S5.3 which one it is', () => {
  test('S5.3 of several the highest from 300 on, the first of equals', () => {
    const h = history();
    for (const id of ['a', 'b', 'c', 'd']) h.register(payload(id));
    h.word('a', 300, 'no work');
    h.word('b', 712, 'disk');
    h.word('c', 712, 'another');
    for (const id of ['a', 'b', 'c', 'd']) h.gone(id);
    assert.deepEqual(h.lastWord(), { code: 712, text: 'disk' });
  });
  test('S5.3 else 100 if the host stopped any', () => {
    const h = stopping(payload('p'), payload('q'));
    h.word('q', 200, 'all done');
    h.gone('p');
    h.gone('q');
    assert.equal(code(h), 100);
  });
  test('S5.3 else 200, in the words of the last that had any of its own', () => {
    const h = history();
    h.register(payload('p'));
    h.word('p', 201, 'seven jobs');
    h.gone('p');
    assert.deepEqual(h.lastWord(), { code: 201, text: 'seven jobs' });
  });
  test('S5.3 who ended before anything was sent to him was not stopped', () => {
    const h = announced(payload('p', { steps: [{ at: 'grace', signal: 'hook:x' }] }), payload('q'));
    h.until(DEADLINE - 2 * MINUTE - 1);
    h.gone('q');
    h.until(DEADLINE - MINUTE);
    h.gone('p');
    assert.equal(code(h), 200);
  });
  test('S5.3 nor whom a signal has not found any more, or was refused', () => {
    for (const outcome of ['no_process', 'refused'] as const) {
      const h = announced(payload('p'));
      h.loseReports();
      h.until(DEADLINE - 2 * MINUTE);
      const step = { episode: 1, index: 1, signal: 'SIGTERM' };
      h.send({ type: 'steps_done', results: [{ id: 'p', step, outcome, at: h.now() }] });
      h.gone('p');
      assert.equal(code(h), 200, outcome);
    }
  });
  test('S5.3 what the payload says itself counts before its exit code, whichever comes first', () => {
    for (const [first, last] of [
      ['payload', 'exit'],
      ['exit', 'payload'],
    ] as const) {
      const h = history();
      h.register(payload('p'));
      for (const by of [first, last]) h.word('p', by === 'payload' ? 305 : 700, by, by);
      h.gone('p');
      assert.deepEqual(h.lastWord(), { code: 305, text: 'payload' });
    }
  });
  test('S5.3 the last of what it says itself, and the log hears of each once', () => {
    const h = history();
    h.register(payload('p'));
    for (const each of [500, 500, 200]) h.word('p', each);
    h.gone('p');
    assert.equal(code(h), 200);
    assert.equal(h.logs('final_word').length, 2);
  });
  test('S5.3 SIGKILL: stopped, which is no fault of anybody', () => {
    const h = stopping(payload('p'));
    h.until(DEADLINE - 4 * SECOND);
    h.gone('p');
    assert.equal(code(h), 100);
  });
});

describe('S3.6 cancelled', () => {
  test('S5.3 who lives on after it and ends by himself was not stopped', () => {
    const h = stopping(payload('p'));
    h.pass(SECOND);
    cancel(h);
    h.pass(2 * MINUTE);
    h.gone('p');
    assert.equal(code(h), 200);
  });
  test('S5.3 who ends within the time that his signal gave him has ended by that', () => {
    const h = stopping(payload('p'));
    h.pass(SECOND);
    cancel(h);
    h.pass(MINUTE);
    h.gone('p');
    assert.equal(code(h), 100);
  });
  test('S5.3 who was stopped before it was', () => {
    const h = stopping(payload('p'), payload('q'));
    h.gone('p');
    cancel(h);
    h.pass(HOUR);
    h.gone('q');
    assert.equal(code(h), 100);
  });
  test('S5.3 a unit says nothing twice: started again it begins without the word of its former life', () => {
    const h = stopping(unit('u'));
    h.word('u', 201, 'first life');
    h.gone('u');
    assert.equal(code(h), 201);
    cancel(h);
    assert.equal(h.row('u').spec.word, undefined);
    h.send({ type: 'unit_running', id: 'u' });
    h.pass(HOUR);
    h.gone('u');
    assert.deepEqual(h.lastWord(), { code: 200, text: 'Intended work completed' });
  });
  test('S5.3 what is said of a unit after it went down is added to its end', () => {
    const h = stopping(unit('u'));
    h.gone('u');
    assert.equal(code(h), 100);
    h.word('u', 720, 'late');
    assert.equal(code(h), 720);
  });
});

describe('S5.3 a program that was to save the work fails', () => {
  test('S5.3 710 and why, also where the payload believes to have ended well', () => {
    for (const own of [null, 200]) {
      const h = announced(payload('p'));
      h.holdHooks();
      h.until(DEADLINE - 10 * MINUTE);
      fails(h);
      if (own !== null) h.word('p', own);
      h.until(DEADLINE - 2 * MINUTE);
      h.gone('p');
      assert.deepEqual(h.lastWord(), { code: 710, text: DETAIL });
    }
  });
  test('S5.3 but a fault of its own says more', () => {
    const h = announced(payload('p'));
    h.holdHooks();
    h.until(DEADLINE - 2 * MINUTE);
    fails(h);
    h.word('p', 600, 'grid');
    h.gone('p');
    assert.equal(code(h), 600);
  });
  test('S5.3 of several the first', () => {
    const steps = [{ at: 5 * MINUTE, signal: 'hook:a' } as const, { at: 'grace', signal: 'hook:b' } as const];
    const h = announced(payload('p', { steps }));
    h.holdHooks();
    h.until(DEADLINE - 2 * MINUTE);
    for (const [index, name] of ['a', 'b'].entries())
      h.send({ type: 'step_failed', id: 'p', step: { episode: 1, index, signal: `hook:${name}` }, detail: name });
    h.gone('p');
    assert.equal(h.lastWord()?.text, 'a');
  });
  test('S5.3 of one that lives when the machine goes down too', () => {
    const h = announced(payload('p'));
    h.holdHooks();
    h.until(DEADLINE - 10 * MINUTE);
    fails(h);
    h.until(DEADLINE);
    assert.equal(code(h), 710);
  });
  test('S5.3 it ends after its payload: said then, once, and over a restart', () => {
    const h = announced(payload('p'));
    h.holdHooks();
    h.until(DEADLINE - 2 * MINUTE);
    h.gone('p');
    assert.equal(code(h), 100);
    h.restart();
    fails(h);
    assert.deepEqual(h.lastWord(), { code: 710, text: DETAIL });
    const { words } = h.state();
    fails(h);
    assert.equal(h.state().words, words);
  });
  test('S5.3 after its unit, that was taken down and keeps its row', () => {
    const h = announced(unit('u'));
    h.holdHooks();
    h.until(DEADLINE - 2 * MINUTE);
    h.gone('u');
    fails(h, 'u');
    assert.equal(code(h), 710);
  });
  test('S3.6 one of a stop that was cancelled is nothing that the site must know', () => {
    const h = announced(payload('p'));
    h.holdHooks();
    h.until(DEADLINE - 10 * MINUTE);
    cancel(h);
    fails(h);
    h.pass(HOUR);
    h.gone('p');
    assert.equal(code(h), 200);
    fails(h);
    assert.equal(code(h), 200);
  });
  test('S1.6 but of one that goes on when its notice is back it is', () => {
    const h = announced(payload('p'));
    h.holdHooks();
    h.until(DEADLINE - 10 * MINUTE);
    cancel(h);
    fails(h);
    h.says('ec2', { notices: { spot: present('terminate', DEADLINE) } });
    h.gone('p');
    assert.equal(code(h), 710);
  });
  for (const [what, id, step] of [
    ['payload', 'constructor', SAVE],
    ['episode', 'p', { ...SAVE, episode: 2 }],
    ['step', 'p', { ...SAVE, index: 1 }],
  ] as const) {
    test(`what is said of a ${what} that does not exist changes nothing`, () => {
      const h = announced(payload('p'));
      h.holdHooks();
      h.until(DEADLINE - 10 * MINUTE);
      const before = h.state();
      fails(h, id, step);
      h.send({ type: 'step_ended', id, step });
      assert.equal(h.state().payloads, before.payloads);
      assert.equal(h.state().words, before.words);
    });
  }
});

describe('over restarts', () => {
  test('S3.6 an exec that registers its row again does not lose its word', () => {
    const h = history();
    const spec = payload('p', { deliverer: { pid: 1, startTicks: 1 } });
    h.register(spec);
    h.word('p', 750);
    h.restart();
    h.register({ ...spec, id: 'again' });
    h.word('again', 200, 'x', 'exit');
    h.gone('again');
    assert.equal(code(h), 750);
  });
  for (const when of ['before', 'after']) {
    test(`S3.8 a reservation takes over what its process has said under another row, whatever it says ${when} that`, () => {
      const h = history();
      const exec = { pid: 79, startTicks: 7 };
      const other = payload('other');
      h.register(other);
      h.word('other', 750);
      h.register(payload('p', { target: { kind: 'process', leader: exec, group: true }, deliverer: exec }));
      if (when === 'before') h.word('p', 200, 'x', 'exit');
      h.send({ type: 'payload_updated', id: 'p', change: { target: other.target } });
      if (when === 'after') h.word('p', 200, 'x', 'exit');
      h.gone('p');
      assert.equal(code(h), 750);
    });
  }
  test('S4.1 in another boot what was said stands, and is told when there is something new or the machine goes down', () => {
    const h = history();
    h.register(payload('p'));
    h.word('p', 700);
    h.gone('p');
    h.restart({ reboot: true });
    assert.equal(code(h), null);
    h.operator('1', { kind: 'shutdown', deadlineMs: h.now().wall + HOUR, reason: 'x' });
    h.pass(HOUR - 2 * MINUTE - 1);
    assert.equal(code(h), null);
    h.pass(1);
    assert.equal(code(h), 700);
    h.send({ type: 'operator_cancel' });
    assert.equal(code(h), null);
    h.register(payload('q'));
    h.gone('q');
    assert.equal(code(h), 700, 'for the site it is one machine');
  });
  test('what a version wrote that knew no words is read all the same', () => {
    const h = history();
    h.register(payload('p'));
    const parts = new Map(partsOf(h.state()));
    parts.delete('words');
    const options = { sameBoot: true, bootWallMs: h.boot(), firstBootMs: h.boot(), now: h.now() };
    const { words, payloads } = restoreState(parts, [], options);
    assert.deepEqual([words.due, Object.keys(payloads)], [false, ['p']]);
  });
});
