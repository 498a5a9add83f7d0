/** "This virtual machine can be terminated": one answer from what each payload says (S5.1, S5.2). */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { machineAnswer } from '../../agent/lifetime/answer.ts';
import { jobStatus, lifetimeDocument } from '../../agent/lifetime/document.ts';
import type { CanTerminate } from '../../agent/lifetime/types.ts';
import { answer, HOUR, history, MINUTE, payload, SECOND, START, unit } from './history.ts';

const NOW = START;
const now: CanTerminate = { now: true, atMs: null };
const silent = undefined;
const promise = (ms: number): CanTerminate => ({ now: false, atMs: ms });
const needs = (ms: number, progress?: number): CanTerminate => ({
  now: false,
  atMs: null,
  untilMs: ms,
  ...(progress !== undefined && { progress }),
});
const of = (...said: readonly (CanTerminate | undefined)[]) =>
  machineAnswer(
    said.map((canTerminate) => (canTerminate === undefined ? {} : { canTerminate })),
    0,
    NOW,
  );

describe('S5.1 of several payloads', () => {
  test('S5.1 now when all say so, and not while one does not', () => {
    assert.deepEqual(of(now, now), answer(true, null));
    assert.deepEqual(of(now, silent), answer(false, null));
    assert.deepEqual(of(now, { now: false, atMs: null }), answer(false, null));
  });
  test('S5.1 a time when all have named one: the latest, be it a promise or an estimate', () => {
    assert.deepEqual(of(promise(NOW + HOUR), now, promise(NOW + MINUTE)), answer(false, NOW + HOUR));
    assert.deepEqual(of(promise(NOW + HOUR), silent), answer(false, null));
    const mixed = { ...answer(false, NOW + HOUR), mustNotUntilMs: NOW + MINUTE };
    assert.deepEqual(of(promise(NOW + HOUR), needs(NOW + MINUTE)), mixed);
    assert.deepEqual(of(promise(NOW + MINUTE), needs(NOW + HOUR)), { ...mixed, mustNotUntilMs: NOW + HOUR });
  });
  test('S5.1 work is lost before the latest estimate, also where somebody else names no time', () => {
    const until = { ...answer(false, null), mustNotUntilMs: NOW + HOUR };
    assert.deepEqual(of(needs(NOW + HOUR), needs(NOW + MINUTE), silent), until);
  });
  test('S5.1 a promise that has come true is now, an estimate that was wrong is no knowledge at all', () => {
    assert.deepEqual(of(promise(NOW)), answer(true, null));
    assert.deepEqual(of(promise(NOW + 1)), answer(false, NOW + 1));
    assert.deepEqual(of(needs(NOW)), answer(false, null));
    assert.deepEqual(of({ ...now, untilMs: NOW + HOUR }), answer(true, null), 'it has changed its mind');
  });
  test('S5.1 progress is the mean of those who say it, in whole hundredths, never more than there is', () => {
    assert.equal(of(needs(NOW + 1, 0.5), needs(NOW + 1, 1), silent)?.progress, 0.75);
    assert.equal(of(needs(NOW + 1, 0.999))?.progress, 0.99);
    for (let percent = 0; percent <= 100; percent += 1)
      assert.equal(of(needs(NOW + 1, percent / 100), needs(NOW + 1, percent / 100))?.progress, percent / 100);
    assert.equal(of({ ...now, progress: 0.3 })?.progress, 0.3, 'also of one that can be ended');
  });
});

describe('S5.1 as time passes', () => {
  test('S5.1 a promise comes true by itself, to the millisecond, and an estimate turns out to be wrong', () => {
    const h = history();
    h.register(payload('p', { canTerminate: promise(START + HOUR) }));
    h.register(payload('q', { canTerminate: needs(START + MINUTE) }));
    assert.deepEqual(h.answerNow(), { ...answer(false, START + HOUR), mustNotUntilMs: START + MINUTE });
    h.pass(MINUTE - 1);
    assert.equal(h.answerNow()?.mustNotUntilMs, START + MINUTE);
    h.pass(1);
    assert.deepEqual(h.answerNow(), answer(false, null), 'q has said how long, and was wrong');
    h.gone('q');
    assert.deepEqual(h.answerNow(), answer(false, START + HOUR));
    h.pass(HOUR - MINUTE);
    assert.deepEqual(h.answerNow(), answer(true, null));
  });
  test('S4.2 a step of our clock moves what was counted from it, and not what was promised', () => {
    const h = history();
    h.register(payload('p', { canTerminate: promise(START + 4 * HOUR) }));
    h.register(payload('q', { canTerminate: needs(START + HOUR) }));
    h.stepClock(2 * HOUR);
    assert.deepEqual(h.answerNow(), { ...answer(false, START + 4 * HOUR), mustNotUntilMs: START + 3 * HOUR });
    h.gone('q');
    h.pass(2 * HOUR);
    assert.deepEqual(h.answerNow(), answer(true, null));
  });
  test('S4.3 a host whose clock differs has no part in what payloads say of themselves', () => {
    const h = history();
    h.register(payload('p', { canTerminate: promise(START + HOUR) }));
    for (let times = 0; times < 3; times += 1)
      h.says('directory', { machine: { total_cpu: '8' }, hostNowMs: h.now().wall + HOUR });
    assert.deepEqual(h.answerNow(), answer(false, START + HOUR));
  });
});

describe('S5.1 whose word it is', () => {
  test('S3.6 a payload that is registered again still says what it has said, until it says another thing', () => {
    const h = history();
    const spec = payload('p');
    h.register(spec);
    h.can('p', now);
    h.register({ ...spec, id: 'again' });
    assert.deepEqual(h.answerNow(), answer(true, null));
    h.register({ ...spec, canTerminate: promise(START + HOUR) });
    assert.deepEqual(h.answerNow(), answer(false, START + HOUR));
    h.restart();
    assert.deepEqual(h.answerNow(), answer(false, START + HOUR));
  });
  test('S5.2 a reservation is on its way to be a payload, and takes over what that has said', () => {
    const h = history();
    const exec = { pid: 77, startTicks: 7 };
    const target = { kind: 'process', leader: exec, group: true } as const;
    const other = payload('other', { canTerminate: now });
    h.register(other);
    h.register(payload('p', { target, deliverer: exec }));
    assert.deepEqual(h.answerNow(), answer(false, null));
    h.send({ type: 'payload_updated', id: 'p', change: { target: other.target } });
    assert.deepEqual(h.answerNow(), answer(true, null));
  });
  test('S3.6 a unit that is started again has not said anything in its new life', () => {
    const h = history();
    h.register(unit('u', { canTerminate: now }));
    h.operator('1', { kind: 'shutdown', deadlineMs: START + MINUTE, reason: 'x' });
    h.gone('u');
    assert.deepEqual(h.answerNow(), answer(true, null));
    h.send({ type: 'operator_cancel' });
    assert.deepEqual(h.answerNow(), answer(false, null));
  });
  test('S5.2 what the configuration does not name any more leaves no answer behind', () => {
    const h = history();
    h.register(payload('p', { origin: 'x', canTerminate: now }));
    h.gone('p', 'unconfigured');
    assert.equal(h.answerNow(), null);
  });
});

describe('as documented', () => {
  const shown = (canTerminate?: CanTerminate) => {
    const h = history();
    if (canTerminate) h.register(payload('p', { canTerminate }));
    return { document: lifetimeDocument(h.snapshot())['can_terminate'], keys: jobStatus(h.snapshot()) };
  };
  test('S5.2 nobody ever registered: null, and no key at all', () => {
    assert.deepEqual(shown(), { document: null, keys: {} });
  });
  test('times are rounded up: nobody is told that work is safe before it is', () => {
    const { document, keys } = shown(needs(START + 90 * SECOND + 1, 0.5));
    const secs = START / SECOND + 91;
    assert.deepEqual(document, { now: false, at: secs, must_not_until: secs, progress: 0.5 });
    assert.deepEqual(keys, {
      can_terminate: '0',
      can_terminate_at: String(secs),
      must_not_terminate_until: String(secs),
      progress: '0.5',
    });
    assert.deepEqual(shown(now).keys, { can_terminate: '1' });
  });
});
