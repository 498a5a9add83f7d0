import { it, mock } from 'node:test';
import { fakePart, notice, pass, START_MS, world, REFUSED } from './parts-fixture.ts';
it('x', async () => {
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: START_MS });
  const fast = fakePart('fast', { everyMs: 10_000 }), push = fakePart('push', { pushes: true, everyMs: 60_000 });
  const made = world([fast, push], { poll: 10_000 });
  await pass(100);
  console.log(fast.times(), fast.asked.map((a) => a.context.fresh), made.observations.length);
  push.push({ notices: { spot: notice(1_766_440_000_000 + 3 * 3_600_000) } });
  await pass(30);
  console.log(fast.times(), fast.asked.map((a) => a.context.fresh), made.observations.length, push.times());
  made.driver.stop();
  mock.timers.reset();
});
it('y', async () => {
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: START_MS });
  const part = fakePart('each', { everyMs: 0 });
  const made = world([part], { poll: { cron: '0 0 1 1 *' } });
  await pass(100);
  part.says(REFUSED);
  await made.driver.pollNow();
  await pass(120_000, 1_000);
  console.log(part.times(), part.asked.map((a) => a.context.fresh), made.observations);
  made.driver.stop();
});
