/** What systemd is told, in which order, and when it is told nothing. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { openServiceManager, statusLine, watchdogMs } from '../agent/service-manager.ts';

function manager(env: Record<string, string> = {}, send?: (words: readonly string[]) => Promise<string | null>) {
  const told: string[] = [];
  const failures: string[] = [];
  const health = { healthy: true };
  const opened = openServiceManager({
    env: { NOTIFY_SOCKET: '/run/systemd/notify', ...env },
    pid: 42,
    health: () => health,
    onFailure: (why) => failures.push(why),
    send:
      send ??
      (async (words) => {
        told.push(words.join(' '));
        return null;
      }),
  });
  return { ...opened, told, failures, health };
}
/** On a machine that is busy, too. */
async function until(holds: () => boolean): Promise<void> {
  for (const giveUpAt = Date.now() + 10_000; !holds() && Date.now() < giveUpAt; ) await sleep(5);
}
const turn = (): Promise<void> => sleep(5);

describe('the service manager', () => {
  it('is told nothing where nobody asks for it', async () => {
    const told: string[] = [];
    const silent = openServiceManager({
      env: { WATCHDOG_USEC: '1000' },
      pid: 42,
      health: () => ({ healthy: true }),
      onFailure: () => assert.fail(),
      send: async (words) => {
        told.push(...words);
        return null;
      },
    });
    silent.ready('x');
    silent.status('y');
    let worked = false;
    await silent.reloading(async () => {
      worked = true;
    });
    await silent.stopping();
    assert.deepEqual([worked, told], [true, []]);
  });

  it('hears of ready once, of each other status, and of the end; nothing afterwards', async () => {
    const m = manager();
    m.status('too early: goes with READY');
    m.ready('one');
    m.ready('again');
    m.status('one');
    await sleep(1_100);
    assert.equal(m.told.length, 1);
    m.status('two');
    m.status('three');
    await until(() => m.told.length >= 2);
    await m.stopping();
    m.status('four');
    m.ready('five');
    await m.stopping();
    await turn();
    assert.deepEqual(m.told, ['READY=1 STATUS=one', 'STATUS=three', m.told[2]]);
    assert.match(m.told[2] ?? '', /^STOPPING=1 STATUS=/);
  });

  it('hears of ready until it can be told: it would end whoever does not say so in time', async () => {
    const told: string[] = [];
    const m = manager({}, async (words) => {
      told.push(words.join(' '));
      return told.length < 3 ? 'no process can be started' : null;
    });
    m.ready('one');
    await until(() => told.length >= 3);
    await sleep(1_100);
    assert.deepEqual(told, ['READY=1 STATUS=one', 'READY=1 STATUS=one', 'READY=1 STATUS=one']);
    assert.deepEqual(m.failures, ['no process can be started']);
  });

  it('is ready again after each reload, in this order, and also where that fails', async () => {
    // READY is quicker than RELOADING on its way.
    const told: string[] = [];
    const m = manager({}, async (words) => {
      await sleep(words[0] === 'RELOADING=1' ? 20 : 1);
      told.push(words[0] ?? '');
      return null;
    });
    m.ready('x');
    await m.reloading(async () => {});
    await assert.rejects(
      m.reloading(() => Promise.reject(new Error('wrong'))),
      /wrong/,
    );
    await until(() => told.length >= 5);
    await turn();
    assert.deepEqual(told, ['READY=1', 'RELOADING=1', 'READY=1', 'RELOADING=1', 'READY=1']);
  });

  it('a reload before READY does not make it ready', async () => {
    const m = manager();
    await m.reloading(async () => {});
    await turn();
    assert.deepEqual(m.told, []);
  });

  it('hears at half of its time that we live, as long as that is so, and not before READY', async () => {
    const m = manager({ WATCHDOG_USEC: '40000', WATCHDOG_PID: '42' });
    await sleep(60);
    assert.deepEqual(m.told, []);
    m.ready('x');
    const beats = (): number => m.told.filter((words) => words === 'WATCHDOG=1').length;
    const begun = performance.now();
    await until(() => beats() >= 4);
    assert.ok(beats() >= 4 && performance.now() - begun >= 50, `${beats()}`);
    m.health.healthy = false;
    await turn();
    const before = m.told.length;
    await sleep(100);
    assert.equal(m.told.length, before);
    await m.stopping();
  });

  it('a word that does not get there is told once, until one does', async () => {
    const answers: (string | null)[] = ['no tool', 'no tool', null, 'gone'];
    const m = manager({}, async () => answers.shift() ?? null);
    m.ready('x');
    await m.reloading(async () => {});
    await m.stopping();
    await turn();
    assert.deepEqual(m.failures, ['no tool', 'gone']);
  });

  it('says READY, and that it lives, once more where that did not get there', async () => {
    const told: string[] = [];
    const answers: Record<string, (string | null)[]> = { 'READY=1': ['busy'], 'WATCHDOG=1': ['busy'] };
    const m = manager({ WATCHDOG_USEC: '600000000' }, async ([word = '']) => {
      told.push(word);
      return answers[word]?.shift() ?? null;
    });
    m.ready('x');
    await until(() => told.length >= 4);
    await m.stopping();
    assert.deepEqual(told.slice(0, 4).sort(), ['READY=1', 'READY=1', 'WATCHDOG=1', 'WATCHDOG=1']);
  });

  it('is told even where a child could not be started before, for want of memory', async () => {
    let tries = 0;
    const m = manager({}, () => {
      tries += 1;
      if (tries === 1) throw new Error('spawn ENOMEM');
      return Promise.resolve(null);
    });
    m.ready('x');
    await until(() => tries >= 2);
    await m.stopping();
    assert.deepEqual([m.failures, tries], [['spawn ENOMEM'], 3]);
  });

  it('does not hold up the end', async () => {
    const m = manager({}, () => new Promise(() => {}));
    m.ready('x');
    // The bound's own timer is all that can end it.
    await m.stopping();
  });

  for (const [what, env, ms] of [
    ['in microseconds', { WATCHDOG_USEC: '60000000', WATCHDOG_PID: '42' }, 60_000],
    ['without a pid it is ours', { WATCHDOG_USEC: '2000000' }, 2_000],
    ["another process's", { WATCHDOG_USEC: '60000000', WATCHDOG_PID: '7' }, null],
    ['nonsense', { WATCHDOG_USEC: 'soon', WATCHDOG_PID: '42' }, null],
    ['none', {}, null],
  ] as const)
    it(`the watchdog's time: ${what}`, () => assert.equal(watchdogMs(env, 42), ms));

  it('the status is one line, whatever a host writes', () => {
    const payloads = { running: 1, stopping: 1, stopped: 5 };
    assert.equal(
      statusLine({
        phase: 'running',
        deadlineMs: null,
        reason: null,
        payloads: { running: 0, stopping: 0, stopped: 0 },
      }),
      'running; no shutdown foreseen; 0 payloads',
    );
    const line = statusLine({
      phase: 'stopping',
      deadlineMs: 1_766_440_000_000,
      reason: 'ec2: spot\nREADY=1',
      payloads,
    });
    assert.equal(line, 'stopping; all must have ended by 2025-12-22T21:46:40Z (ec2: spot\\u000aREADY=1); 2 payloads');
  });
});
