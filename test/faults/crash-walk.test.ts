/**
 * `kill -9` of the agent at any moment: the published files stay valid, a restart loses no deadline and repeats no signal
 * whose journal says done. Walks through every write, rename, removal and kill of a whole story, before and after each.
 *
 *   MJF_WALK_FROM, MJF_WALK_TO   only these n, e.g. to run one again
 *   MJF_WALK_PROGRAM             another bundle than dist/mjf-agent.cjs
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Moment } from './crash-walk/plan.ts';
import type { Call } from './crash-walk/walk.ts';
import { report, walk } from './crash-walk/walk.ts';

const AT_ONCE = 4;
const FROM = Number(process.env['MJF_WALK_FROM'] ?? 1);
const TO = Number(process.env['MJF_WALK_TO'] ?? Number.POSITIVE_INFINITY);

const bothSides = ({ n }: Call): readonly Moment[] => [
  { n, when: 'before' },
  { n, when: 'after' },
];

test('the agent may die before or after every single call', async (t) => {
  const totals = await walk({
    listen: 'off',
    atOnce: AT_ONCE,
    choose: (calls) => calls.filter(({ n }) => n >= FROM && n <= TO).flatMap(bothSides),
  });
  t.diagnostic(report(totals));
  assert.deepEqual(totals.faults, []);
  assert.ok(totals.crashes > 0, 'the shim ended nothing');
});

test('with an HTTP listener: where its URL is published', async (t) => {
  const totals = await walk({
    listen: '127.0.0.1:0',
    atOnce: AT_ONCE,
    choose: (calls) => calls.filter(({ target }) => /(^|\/)url(\.|$)/.test(target)).flatMap(bothSides),
  });
  t.diagnostic(report(totals));
  assert.deepEqual(totals.faults, []);
  assert.ok(totals.crashes > 0, 'the shim ended nothing');
});
