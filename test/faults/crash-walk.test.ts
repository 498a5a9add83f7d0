/**
 * `kill -9` of the agent at any moment: the published files stay valid, a restart loses no deadline and repeats no signal
 * whose journal says done. Walks through every write, rename, removal and kill of a whole story, before and after each.
 *
 *   MJF_WALK_FROM, MJF_WALK_TO   only these n, e.g. to run one again
 *   MJF_WALK_PROGRAM             another bundle than dist/mjf-agent.cjs
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { judgeCancelled, playCancelled, whyNoUnits } from './crash-walk/cancelled.ts';
import { playJudged } from './crash-walk/verdict.ts';
import { type Call, momentsThrough, report, type WalkOptions, walk } from './crash-walk/walk.ts';

/** Two processors; most of a run is waiting for the deadline. */
const AT_ONCE = 6;
const FROM = Number(process.env['MJF_WALK_FROM'] ?? 1);
const TO = Number(process.env['MJF_WALK_TO'] ?? Number.POSITIVE_INFINITY);

test('the agent may die before or after every single call', async (t) => {
  await walkThrough(t, ({ n }) => n >= FROM && n <= TO, playJudged('off'));
});

test('with an HTTP listener: also where its URL is published', async (t) => {
  await walkThrough(t, ({ target }) => /(^|\/)url(\.|$)/.test(target), playJudged('127.0.0.1:0'));
});

/** What others see of it is walked through above: here what is done, and written down about it. */
const DEEDS = /^run-state\/|^\d+ SIG/;

test('a hook as a step, and a unit that is started again when the host cancels', {
  skip: whyNoUnits() ?? false,
}, async (t) => {
  let from = 0;
  await walkThrough(
    t,
    ({ n, target }) => n >= Math.max(from, FROM) && n <= TO && DEEDS.test(target),
    async (run) => {
      const played = await playCancelled(run);
      from ||= played.callsBefore;
      return { verdict: judgeCancelled(played), crashed: played.crashed };
    },
  );
});

async function walkThrough(
  t: TestContext,
  isWanted: (call: Call) => boolean,
  play: WalkOptions['play'],
): Promise<void> {
  const choose: WalkOptions['choose'] = (calls) => momentsThrough(calls, isWanted, (text) => t.diagnostic(text));
  const totals = await walk({ atOnce: AT_ONCE, choose, play });
  t.diagnostic(report(totals));
  assert.deepEqual(totals.faults, []);
  assert.ok(totals.crashes > 0, 'the shim ended nothing');
  assert.equal(totals.lost + totals.doubled, 0);
}
