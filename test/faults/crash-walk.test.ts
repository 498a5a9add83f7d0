/**
 * `kill -9` of the agent at any moment: the published files stay valid, a restart loses no deadline and repeats no signal
 * whose journal says done. Walks through every write, rename, removal and kill of a whole story, before and after each.
 *
 *   MJF_WALK_FROM, MJF_WALK_TO   only these n, e.g. to run one again
 *   MJF_WALK_PROGRAM             another bundle than dist/mjf-agent.cjs
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Moment } from './crash-walk/plan.ts';
import { type Call, isContinuation, isWrapper, report, type WalkOptions, walk } from './crash-walk/walk.ts';

/** Two processors; most of a run is waiting for the deadline. */
const AT_ONCE = 6;
const FROM = Number(process.env['MJF_WALK_FROM'] ?? 1);
const TO = Number(process.env['MJF_WALK_TO'] ?? Number.POSITIVE_INFINITY);

/** Asynchronous calls fall as they like, so that one run makes a few more than another: the walk goes on beyond N. */
const BEYOND = 4;

test('the agent may die before or after every single call', async (t) => {
  await walkAndJudge(t, 'off', ({ n }) => n >= FROM && n <= TO);
});

test('with an HTTP listener: also where its URL is published', async (t) => {
  await walkAndJudge(t, '127.0.0.1:0', ({ target }) => /(^|\/)url(\.|$)/.test(target));
});

async function walkAndJudge(t: TestContext, listen: string, isWanted: (call: Call) => boolean): Promise<void> {
  const choose: WalkOptions['choose'] = (calls) => {
    const wanted = calls.filter(isWanted);
    const own = wanted.filter((call) => !isWrapper(call, calls));
    t.diagnostic(`not walked: ${wanted.length - own.length} calls that only wrap the next one, which is walked`);
    const walked = new Set(own.map(({ n }) => n));
    const begun = own.filter((call) => !isContinuation(call, calls, walked));
    t.diagnostic(`not walked before: ${own.length - begun.length} calls that follow at once on one walked after`);
    const beyond = Array.from({ length: BEYOND }, (_, index) => ({
      n: calls.length + index + 1,
      name: '',
      target: '',
      turn: 0,
    })).filter(isWanted);
    return [
      ...[...begun, ...beyond].map(({ n }): Moment => ({ n, when: 'before' })),
      ...[...own, ...beyond].map(({ n }): Moment => ({ n, when: 'after' })),
    ];
  };
  const totals = await walk({ listen, atOnce: AT_ONCE, choose });
  t.diagnostic(report(totals));
  assert.deepEqual(totals.faults, []);
  assert.ok(totals.crashes > 0, 'the shim ended nothing');
  assert.equal(totals.lost + totals.doubled, 0);
}
