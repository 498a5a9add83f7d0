/**
 * A daemon that comes while `exec` knows a deadline from its own channel (SEMANTICS S3.8, promise 1): that it has heard
 * nothing yet takes nothing back, and what it has heard, or what its operator says, does. Against the built program.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test, { describe } from 'node:test';
import { type MjfHost, startMjfHost } from '../hosts/mjf.ts';
import { inSecs, startAgent, type TestAgent } from '../support/agent.ts';
import type { Ending, TestPayload } from '../support/processes.ts';
import { runProgram } from '../support/program.ts';
import { exitCode, heard, startExec, tell } from './exec-payload.ts';

/** The server that tells the deadline, a daemon that has it for its channel, and its own memory of the deadline or none. */
async function startScene(
  t: Ending,
): Promise<{ readonly host: MjfHost; readonly agent: TestAgent; readonly config: string }> {
  const host = await startMjfHost({ machine: { total_cpu: '8', hs06: '80' } });
  t.after(() => host.close());
  const config =
    '[source.mjf]\npoll = "300ms"\n[source.static]\nmachinefeatures = { hepscore23 = "5" }\n[stop]\ngrace = "3s"\n';
  const agent = await startAgent(t, {
    config,
    channels: ['--machinefeatures', `${host.url}/machinefeatures`],
  });
  return { host, agent, config };
}

function forget(agent: TestAgent): void {
  for (const dir of [agent.journalDir, agent.stateDir]) fs.rmSync(dir, { recursive: true });
}

/** Ends with 4 two seconds after the time that it is told: whoever had not heard of the clearing would have killed it. */
async function start(
  t: Ending,
  { host, agent, config }: Awaited<ReturnType<typeof startScene>>,
  poll = '300ms',
): Promise<TestPayload> {
  const file = path.join(agent.dir, 'exec.toml');
  fs.writeFileSync(file, config.replace('300ms', poll));
  // Nobody else is there to ask: with the second question the first round is over.
  const asked = poll === '300ms' ? host.seen(2, 'machinefeatures/shutdowntime') : Promise.resolve();
  const payload = await startExec(t, {
    runtimeDir: agent.runtimeDir,
    options: ['--config', file],
    env: { MACHINEFEATURES: `${host.url}/machinefeatures` },
    script: `hear('SIGTERM'); after(2, () => process.exit(4)); say('ready');`,
  });
  await asked;
  return payload;
}

describe('a daemon that comes late', { concurrency: 3 }, () => {
  test('S3.8 one that has lost its memory and hears nothing takes no deadline back, ready or not', async (t) => {
    const scene = await startScene(t);
    const { host, agent } = scene;
    await agent.kill9();
    forget(agent);
    const at = inSecs(20 + agent.slackSecs);
    host.set('machine', 'shutdowntime', String(at));
    const payload = await start(t, scene);
    tell(payload, at);
    // Answers, but never the question.
    host.fault('*', { is: 'hang' });
    await agent.restart({ unready: true });
    await agent.log('payload_registered');
    await agent.log('ready');
    assert.equal((await agent.lifetime()).deadline, null, 'it knows of nothing');
    assert.ok((await heard(payload, 'SIGTERM')) < at * 1000);
    assert.equal(await exitCode(payload), 75);
    assert.ok(Date.now() < (at + 2) * 1000, 'its SIGKILL came, too');
    await assert.rejects(payload.line(/no longer configured/));
  });

  test('S1.6 one whose source answers well, without the deadline, takes it back', async (t) => {
    const scene = await startScene(t);
    const { host, agent } = scene;
    await agent.kill9();
    forget(agent);
    const at = inSecs(20 + 2 * agent.slackSecs);
    host.set('machine', 'shutdowntime', String(at));
    // Exec itself does not look again so soon: it hears of the clearing from the daemon alone.
    const payload = await start(t, scene, '1h');
    tell(payload, at);
    await agent.restart({ unready: true });
    await agent.log('payload_registered');
    host.set('machine', 'shutdowntime', undefined);
    assert.equal(await exitCode(payload), 4);
    assert.ok(Date.now() >= at * 1000);
    await assert.rejects(payload.line(/no longer configured|SIGTERM/));
  });

  test('S1.5 an operator’s --ignore wins, also where the source does not answer any more', async (t) => {
    const scene = await startScene(t);
    const { host, agent } = scene;
    // The daemon is ready ten seconds after its start where its source never answers, and later on a busy machine.
    const at = inSecs(35 + 2 * agent.slackSecs);
    host.set('machine', 'shutdowntime', String(at));
    await agent.until('announced', ({ deadline }) => deadline === at);
    const ignored = await runProgram(['notice', '--runtime-dir', agent.runtimeDir, '--ignore', 'mjf/shutdowntime']);
    assert.equal(ignored.code, 0);
    await agent.until('ignored', ({ deadline }) => deadline === null);
    await agent.kill9();
    const payload = await start(t, scene);
    tell(payload, at);
    host.fault('*', { is: 'hang' });
    await agent.restart({ unready: true });
    await agent.log('ready');
    assert.equal(await exitCode(payload), 4);
    await assert.rejects(payload.line(/SIGTERM/));
  });
});
