/** When a platform may be told to begin (S5.4). */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { partsOf, restoreState } from '../../agent/lifetime/state.ts';
import { step } from '../../agent/lifetime/step.ts';
import type { Input, PayloadSpec, Policy, StepRef } from '../../agent/lifetime/types.ts';
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

const DEADLINE = START + 15 * MINUTE;
const AZURE = source('azure');
const SAVE: StepRef = { episode: 1, index: 0, signal: 'hook:checkpoint.sh' };
const HOOKS: Partial<Policy> = {
  steps: [
    { at: 'grace', signal: 'hook:checkpoint.sh' },
    { at: 'grace', signal: 'SIGTERM' },
    { at: 5 * SECOND, signal: 'SIGKILL' },
  ],
};
const event = (awaits: 'own' | 'shared' = 'own', deadlineMs = DEADLINE) => present('reboot', deadlineMs, { awaits });

/** At the stop time of an event that waits, with whom there is to stop. */
function stopping(
  specs: readonly PayloadSpec[] = [payload('p')],
  policy: Partial<Policy> = {},
  holds = false,
): History {
  const h = history({ sources: [AZURE, source('directory', 'directory')], policy });
  if (holds) h.holdHooks();
  for (const spec of specs) h.register(spec);
  h.says('azure', { notices: { E1: event() } });
  h.until(DEADLINE - 2 * MINUTE);
  return h;
}
const fails = (h: History) =>
  h.send({ type: 'step_failed', id: 'p', step: SAVE, detail: 'checkpoint.sh ended with exit code 3' });

describe('S5.4 released', () => {
  test('S5.4 as soon as the last of its payloads has ended in order', () => {
    const h = stopping([payload('p'), payload('q')]);
    assert.deepEqual(h.released(), []);
    h.gone('p');
    assert.deepEqual(h.released(), []);
    h.gone('q');
    assert.deepEqual([h.phase(), h.released()], ['stopped', ['azure/E1']]);
    h.restart();
    assert.deepEqual(h.released(), ['azure/E1']);
  });
  test('S5.4 an event that is not ours alone too: the reporter knows whether that is allowed', () => {
    const h = stopping();
    h.says('azure', { notices: { E1: event('shared') } });
    h.gone('p');
    assert.deepEqual([h.released(), h.notice('azure/E1').awaits], [['azure/E1'], 'shared']);
  });
  test('S5.4 whoever said that there was no work has lost none', () => {
    const h = stopping();
    h.word('p', 300);
    h.gone('p');
    assert.deepEqual([h.released(), h.lastWord()?.code], [['azure/E1'], 300]);
  });
  test('S5.4 a payload that comes afterwards takes it back', () => {
    const h = stopping();
    h.gone('p');
    h.register(payload('q'));
    assert.deepEqual(h.released(), []);
  });
});

describe('S5.4 not released', () => {
  test('S5.4 a payload of exec’s of which nobody heard how it ended', () => {
    const deliverer = { pid: 900, startTicks: 9 };
    const untold = stopping([payload('p', { deliverer })]);
    untold.gone('p');
    assert.deepEqual([untold.phase(), untold.released(), untold.lastWord()?.code], ['stopped', [], 200]);
    const told = stopping([payload('p', { deliverer })]);
    told.word('p', 100);
    told.gone('p');
    assert.deepEqual(told.released(), ['azure/E1']);
  });
  test('S5.4 before the machine’s stop time, although nobody lives any more', () => {
    const h = stopping();
    h.says('azure', { notices: { E1: event('own', DEADLINE + HOUR) } });
    h.gone('p');
    assert.deepEqual([h.phase(), h.released()], ['running', []]);
  });
  test('S5.2 where nobody ever registered: the machine may be busy all the same', () => {
    const h = stopping([]);
    assert.deepEqual([h.phase(), h.released()], ['stopped', []]);
    h.word(null, 200);
    assert.deepEqual(h.released(), []);
  });
  test('S5.4 what does not wait for a word, and what is overridden or expired', () => {
    const h = stopping();
    h.says('directory', { machine: { shutdowntime: secs(DEADLINE) } });
    h.gone('p');
    assert.deepEqual(h.released(), ['azure/E1']);
    h.send({ type: 'ignore', id: 'azure/E1' });
    assert.deepEqual([h.phase(), h.released()], ['stopped', []]);
  });
  test('S4.1 an event of another boot before its source has said it again', () => {
    const h = stopping();
    h.gone('p');
    h.says('azure', { notices: { E1: present('terminate', DEADLINE, { awaits: 'own' }) } });
    h.restart({ reboot: true });
    h.register(payload('q'));
    h.gone('q');
    h.until(DEADLINE);
    assert.deepEqual([h.phase(), h.released()], ['stopped', []]);
    h.says('azure', { notices: { E1: present('terminate', DEADLINE, { awaits: 'own' }) } });
    assert.deepEqual(h.released(), ['azure/E1']);
  });
  test('S5.4 a payload fails its checkpoint: not acknowledged, 7xx, and the site can see why', () => {
    const h = stopping([payload('p')], HOOKS, true);
    fails(h);
    h.gone('p');
    assert.deepEqual(h.released(), []);
    assert.deepEqual(h.lastWord(), { code: 710, text: 'checkpoint.sh ended with exit code 3' });
  });
  test('S5.4 it says itself that it failed, be it before its stop time', () => {
    const h = stopping([payload('p'), payload('q')]);
    h.gone('q');
    h.says('azure', { notices: { E1: event('own', DEADLINE + HOUR) } });
    h.register(payload('r'));
    h.gone('p');
    h.word('r', 712, 'no room for the checkpoint');
    h.gone('r');
    assert.equal(h.phase(), 'running');
    h.until(DEADLINE + HOUR);
    assert.deepEqual([h.phase(), h.released(), h.lastWord()?.code], ['stopped', [], 712]);
  });
  test('S5.4 SIGKILL has reached it: the code stays 100', () => {
    const h = stopping();
    h.until(DEADLINE - 5 * SECOND);
    h.gone('p');
    assert.deepEqual([h.phase(), h.released(), h.lastWord()?.code], ['stopped', [], 100]);
  });
  test('S5.4 a step was refused', () => {
    const h = history({ sources: [AZURE] });
    h.register(payload('p'));
    h.says('azure', { notices: { E1: event() } });
    h.loseReports();
    h.until(DEADLINE - 2 * MINUTE);
    const term = { episode: 1, index: 0, signal: 'SIGTERM' };
    h.send({ type: 'steps_done', results: [{ id: 'p', step: term, outcome: 'refused', at: h.now() }] });
    h.gone('p');
    assert.deepEqual(h.released(), []);
  });
  test('S5.4 also where it was stopped for another notice, or for its own deadline', () => {
    for (const own of [{ deadlineMs: DEADLINE - 5 * MINUTE }, {}]) {
      const h = history({ sources: [AZURE, source('directory', 'directory')] });
      h.register(payload('p', own));
      h.says('azure', { notices: { E1: event() } });
      h.says('directory', { machine: { shutdowntime: secs(DEADLINE - 5 * MINUTE) } });
      h.until(DEADLINE - 5 * MINUTE - 5 * SECOND);
      h.gone('p');
      assert.deepEqual([h.phase(), h.released()], ['stopped', []]);
    }
  });
  test('S5.4 but another event, announced later, has nothing to do with it', () => {
    const h = stopping();
    h.word('p', 700);
    h.gone('p');
    h.says('azure', { notices: { E1: NEGATIVE } });
    h.register(payload('q'));
    h.says('azure', { notices: { E2: event('own', DEADLINE + HOUR) } });
    h.until(DEADLINE + HOUR - 2 * MINUTE);
    h.gone('q');
    assert.deepEqual(h.released(), ['azure/E2']);
  });
  test('S5.4 while what it saves is still being saved, over a restart, and for good if that fails', () => {
    for (const how of ['step_ended', 'step_failed'] as const) {
      const h = stopping([payload('p')], HOOKS, true);
      h.gone('p');
      assert.deepEqual(h.released(), []);
      h.restart();
      h.says('azure', { notices: { E1: event() } });
      assert.deepEqual(h.released(), []);
      if (how === 'step_ended') h.send({ type: how, id: 'p', step: SAVE });
      else fails(h);
      assert.deepEqual(h.released(), how === 'step_ended' ? ['azure/E1'] : []);
      assert.equal(h.lastWord()?.code, how === 'step_ended' ? 100 : 710);
    }
  });
  test('S4.1 what was being saved when the machine went down is not waited for in its next boot', () => {
    const h = stopping([payload('p')], HOOKS, true);
    h.gone('p');
    h.restart({ reboot: true });
    h.says('azure', { notices: { E1: NEGATIVE, E2: event('own', DEADLINE + HOUR) } });
    h.register(payload('q', { steps: [{ at: 'grace', signal: 'SIGTERM' }] }));
    h.until(DEADLINE + HOUR - MINUTE);
    h.gone('q');
    assert.deepEqual(h.released(), ['azure/E2']);
  });
  test('S5.4 nor are more programs forgotten than are remembered by name', () => {
    const ids = Array.from({ length: 257 }, (_, nth) => `p${nth}`);
    const all = (each: (id: string) => Input): Input => ({ type: 'together', inputs: ids.map(each) });
    const h = history({ sources: [AZURE], policy: HOOKS });
    h.holdHooks();
    h.send(all((id) => ({ type: 'payload_registered', spec: payload(id) })));
    h.says('azure', { notices: { E1: event() } });
    h.until(DEADLINE - 2 * MINUTE);
    h.send(all((id) => ({ type: 'payload_gone', id, why: 'exited' })));
    assert.equal(h.state().words.saving.length, 256);
    h.restart();
    h.says('azure', { notices: { E1: event() } });
    const full = h.state();
    h.send(all((id) => ({ type: 'step_ended', id, step: SAVE })));
    assert.deepEqual([h.state().words.saving, h.lastWord()?.code, h.released()], [[], 100, []]);
    const failed: Input = { type: 'step_failed', id: 'p256', step: SAVE, detail: 'save failed' };
    assert.equal(step(full, failed, h.now()).lastWord?.code, 710);
  });
  test('S5.4 after an upgrade from a version that did not ask how they ended', () => {
    const h = stopping();
    h.gone('p');
    const parts = new Map(partsOf(h.state()));
    parts.delete('words');
    const now = h.now();
    const options = { sameBoot: true, bootWallMs: h.boot(), firstBootMs: h.boot(), now };
    const { snapshot, released } = step(restoreState(parts, [], options), { type: 'tick' }, now);
    assert.deepEqual([snapshot.phase, snapshot.canTerminate?.now, released], ['stopped', true, []]);
  });
});
