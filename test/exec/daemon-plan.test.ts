import assert from 'node:assert/strict';
import test from 'node:test';
import { planOfLifetime, planOfRow } from '../../agent/exec/daemon-plan.ts';

const json = (value: unknown) => Buffer.from(JSON.stringify(value));

test('a row is a plan; programs among its steps are not exec’s', () => {
  const steps = [
    { index: 0, at: '60s', signal: null, hook: 'save', to: null, due: null, state: 'planned' },
    { index: 1, at: 'grace', signal: 'SIGTERM', hook: null, to: 'group', due: null, state: 'planned' },
    // As a daemon of another version might write it.
    { index: 2, at: '10s', signal: 'hook:last' },
    { index: 3, at: '5s', signal: 'SIGKILL', to: 'all' },
  ];
  assert.deepEqual(planOfRow(json({ state: 'running', deadline: 1_766_440_000.5, grace_secs: 90, steps })), {
    deadlineMs: 1_766_440_000_500,
    reason: 'deadline',
    graceMs: 90_000,
    steps: [
      { at: 'grace', signal: 'SIGTERM', to: 'group' },
      { at: 5000, signal: 'SIGKILL', to: 'all' },
    ],
  });
});

test('a deadline that is nothing but the wall limit, which exec counts itself, is none; any other stands', () => {
  const registered = 1_766_436_400.25;
  const row = (deadline: number, secs = '1800') =>
    planOfRow(json({ state: 'running', deadline, registered, limits: { wall_limit_secs: secs }, steps: [] }), 1800)
      ?.deadlineMs;
  assert.equal(row(registered + 1800), null);
  assert.equal(row(registered + 1799), 1_766_438_199_250, 'the machine’s is earlier');
  assert.equal(row(registered + 900, '900'), 1_766_437_300_250, 'a shorter one that it was given since');
  const other = json({ state: 'running', deadline: registered + 1800, registered, limits: {}, steps: [] });
  assert.equal(planOfRow(other, 1800)?.deadlineMs, 1_766_438_200_250);
  assert.equal(planOfRow(other)?.deadlineMs, 1_766_438_200_250);
});

test('only programs: its own steps stand', () => {
  const steps = [{ index: 0, at: '60s', signal: null, hook: 'save', to: null }];
  assert.equal(planOfRow(json({ state: 'running', deadline: null, steps }))?.steps, null);
});

test('what is no answer of a daemon is no plan', () => {
  for (const body of [Buffer.from(''), Buffer.from('{'), json([]), json(null), json({ deadline: 5 })]) {
    assert.equal(planOfRow(body), null);
    assert.equal(planOfLifetime(body), null);
  }
  assert.deepEqual(planOfLifetime(json({ phase: 'draining', deadline: null, stop_grace_secs: 3, reason: 'ec2' })), {
    deadlineMs: null,
    reason: 'ec2',
    graceMs: 3000,
    steps: null,
  });
});
