/** One truth out of several channels, as the built program publishes it: deadlines that come, move and go, and features. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test, { describe } from 'node:test';
import { startMjfHost } from '../hosts/mjf.ts';
import { httpValue, inSecs, startAgent, type TestAgent } from '../support/agent.ts';
import { runProgram } from '../support/program.ts';
import { assertFacesAgree, withoutSources } from './faces.ts';

/** As fast as the agent allows (S7). */
const FAST = '[source.directory]\npoll = "200ms"\n[source.mjf]\npoll = "200ms"\n';
/** S1.6: an absence takes at least this long to clear. */
const ABSENT_FOR_MS = 3_000;

/** The shutdown keys, the document and the seconds left all say this time, or none of them says any. */
async function assertDeadline(agent: TestAgent, at: number | null): Promise<void> {
  const document = await assertFacesAgree(agent);
  assert.equal(document.deadline, at);
  const text = at === null ? undefined : `${at}\n`;
  assert.equal(agent.file('machinefeatures/shutdowntime'), text);
  assert.equal(agent.file('jobfeatures/shutdowntime_job'), text);
  const left = await httpValue(agent, '/v1/remaining_secs');
  if (at === null) assert.equal(left, undefined);
  else assert.ok(Math.abs(Number(left) - Math.max(0, at - Date.now() / 1000)) < 30, `${left} s are left`);
}

const deadlineIs = (agent: TestAgent, at: number | null) =>
  agent.until(`deadline ${at}`, ({ deadline }) => deadline === at);

describe('lifetime', { concurrency: 6 }, () => {
  test('S1.5 the host announces, postpones and brings forward, on either side; the earlier side wins', async (t) => {
    const agent = await startAgent(t, { config: FAST, machine: { total_cpu: 8 }, job: { allocated_cpu: 4 } });
    await assertDeadline(agent, null);
    const [near, middle, far] = [inSecs(3600), inSecs(7200), inSecs(10_800)];
    const steps = [
      ['machine', 'shutdowntime', middle, middle],
      ['machine', 'shutdowntime', far, far],
      ['machine', 'shutdowntime', near, near],
      ['job', 'shutdowntime_job', middle, near],
      ['machine', 'shutdowntime', far, middle],
      ['job', 'shutdowntime_job', near, near],
    ] as const;
    for (const [side, key, value, expected] of steps) {
      agent.hostDirs.set(side, key, value);
      await agent.until(
        `${key} ${value} taken`,
        ({ deadline, notices }) =>
          deadline === expected && notices.some((notice) => notice.id.endsWith(`/${key}`) && notice.deadline === value),
      );
      await assertDeadline(agent, expected);
    }
    const changes = agent.lines.filter(({ event }) => event === 'deadline_changed').map((line) => line['to']);
    assert.deepEqual(changes, [middle, far, near, middle, near]);
  });

  test('S1.6 a missing file clears only after three good answers over three seconds; one that returns in time never went', async (t) => {
    const at = inSecs(3600);
    const agent = await startAgent(t, { config: FAST, machine: { total_cpu: 8, shutdowntime: at, test_mark: 0 } });
    const before = await agent.lifetime();
    const removedMs = Date.now();
    agent.hostDirs.remove('machine', 'shutdowntime');
    await agent.readAgain();
    const { deadline } = await agent.lifetime();
    assert.ok(deadline === at || Date.now() - removedMs >= ABSENT_FOR_MS, 'one answer without it clears nothing');
    agent.hostDirs.set('machine', 'shutdowntime', at);
    await agent.readAgain();
    if (Date.now() - removedMs < ABSENT_FOR_MS) {
      assert.deepEqual(withoutSources(await assertFacesAgree(agent)), withoutSources(before));
      assert.ok(!agent.lines.some(({ event }) => event === 'notice_cleared'));
    }
    const goneMs = Date.now();
    agent.hostDirs.remove('machine', 'shutdowntime');
    await agent.log('notice_cleared');
    assert.ok(Date.now() - goneMs >= ABSENT_FOR_MS - 1, 'never sooner');
    await assertDeadline(agent, null);
    assert.equal((await agent.lifetime()).phase, 'running');
  });

  test('S1.2 over directory, server, configuration and operator the earliest wins; --cancel and --ignore (S6.1)', async (t) => {
    const [operator, server, directory] = [inSecs(7200), inSecs(10_800), inSecs(14_400)];
    const host = await startMjfHost({ job: { shutdowntime_job: String(server), allocated_cpu: '4' } });
    t.after(() => host.close());
    const agent = await startAgent(t, {
      config: `${FAST}[source.static]\nmachinefeatures = { hs06 = "171.04" }\nmax_lifetime = "1000h"\n`,
      channels: (dir) => [
        '--machinefeatures',
        `${dir}/host/machinefeatures`,
        '--jobfeatures',
        `${host.url}/jobfeatures`,
      ],
      machine: { shutdowntime: directory, hs06: 99, total_cpu: 8 },
    });
    const notice = (...args: readonly string[]) => runProgram(['notice', '--runtime-dir', agent.runtimeDir, ...args]);
    await deadlineIs(agent, server);
    await assertDeadline(agent, server);
    assert.equal((await agent.lifetime()).reason, 'mjf: shutdowntime_job');
    assert.equal(agent.file('machinefeatures/hs06'), '171.04\n', 'S2.1 configuration wins over the directory');

    const announced = await notice('--at', String(operator), '--reason', 'rack work');
    assert.deepEqual([announced.code, announced.err], [0, '']);
    await assertDeadline(agent, operator);
    assert.equal((await agent.lifetime()).reason, 'operator: rack work');
    assert.equal((await notice('--cancel')).code, 0);
    await assertDeadline(agent, server);

    host.set('job', 'shutdowntime_job', String(inSecs(20_000)));
    await deadlineIs(agent, directory);
    await assertDeadline(agent, directory);
    assert.equal((await notice('--ignore', 'directory/shutdowntime')).code, 0);
    assert.equal((await notice('--ignore', 'mjf/shutdowntime_job')).code, 0);
    const { deadline, reason } = await agent.lifetime();
    const firstBoot = Number(agent.file('jobfeatures/jobstart_secs'));
    assert.deepEqual([deadline, reason?.split(':')[0]], [firstBoot + 1000 * 3600, 'static']);
    await assertDeadline(agent, firstBoot + 1000 * 3600);
  });

  test('S3.1 phases follow the clock to the deadline, and a postponement leads back', async (t) => {
    const agent = await startAgent(t, {
      config: `${FAST}[stop]\ndrain = "2s"\ngrace = "1s"\n`,
      machine: { total_cpu: 8 },
    });
    const at = inSecs(3);
    agent.hostDirs.set('machine', 'shutdowntime', at);
    const announced = await deadlineIs(agent, at);
    assert.deepEqual([announced.drain_at, announced.stop_at], [at - 2, at - 1]);
    for (const phase of ['draining', 'stopped']) {
      const line = await agent.log('phase_changed', (each) => each['to'] === phase);
      assert.equal(line['deadline'], at);
    }
    const over = await agent.until('overdue', ({ overdue }) => overdue);
    assert.equal(over.phase, 'stopped');
    assert.ok(Date.now() / 1000 >= at);
    // S3.7: the keys stay, nothing is left, and a later time leads back.
    await assertDeadline(agent, at);
    assert.equal(await httpValue(agent, '/v1/remaining_secs'), '0\n');
    const later = inSecs(3600);
    agent.hostDirs.set('machine', 'shutdowntime', later);
    assert.equal((await deadlineIs(agent, later)).phase, 'running');
    await assertDeadline(agent, later);
  });

  test('S5.1 termination_allowed as the host says it, in any of its spellings', async (t) => {
    const agent = await startAgent(t, { config: FAST, machine: { total_cpu: 8 } });
    assert.equal((await agent.lifetime()).termination_allowed, null);
    for (const [text, allowed] of [
      ['1', true],
      ['0', false],
      ['true', true],
      ['FALSE', false],
    ] as const) {
      agent.hostDirs.set('machine', 'termination_allowed', text);
      await agent.until(`${text} taken`, (each) => each.termination_allowed === allowed);
      await assertFacesAgree(agent);
      assert.equal(agent.file('machinefeatures/termination_allowed'), allowed ? '1\n' : '0\n');
    }
  });

  test('old names are translated, unknown legal ones pass, others do not; today’s name wins', async (t) => {
    const agent = await startAgent(t, {
      machine: { log_cores: 16, site_note: 'Hall 3, row 7', phys_cores: 8, 'not-legal': 1, Upper: 1, '.hidden': 1 },
      job: {
        allocated_CPU: 6,
        mem_limit_MB: '2500.5',
        disk_limit_GB: 20,
        cpu_limit_secs_lrms: 7200,
        cpufactor_lrms: '2',
        hs06_job: 10,
      },
    });
    const { machinefeatures, jobfeatures } = await assertFacesAgree(agent);
    const values = (side: typeof jobfeatures) =>
      Object.fromEntries(
        Object.entries(side).flatMap(([key, { value, source }]) => (source === 'directory' ? [[key, value]] : [])),
      );
    assert.deepEqual(values(machinefeatures), { total_cpu: '16', site_note: 'Hall 3, row 7', phys_cores: '8' });
    const { cpufactor_lrms: _factor, ...job } = values(jobfeatures);
    assert.deepEqual(job, {
      allocated_cpu: '6',
      max_rss_bytes: '2500500000',
      scratch_limit_bytes: '20000000000',
      cpu_limit_secs: '3600',
      hs06_job: '10',
    });
    agent.hostDirs.set('job', 'allocated_cpu', 3);
    await agent.until('today’s name', (each) => each.jobfeatures['allocated_cpu']?.value === '3');
    await assertFacesAgree(agent);
  });

  test('a variable that leads into the agent’s own output is no source: a path, a link to it, and the URL', async (t) => {
    for (const env of [
      (dir: string) => ({ MACHINEFEATURES: `${dir}/run/machinefeatures`, JOBFEATURES: `${dir}/run/jobfeatures` }),
      (dir: string) => {
        fs.symlinkSync(`${dir}/run`, `${dir}/link`);
        return { MACHINEFEATURES: `${dir}/link/machinefeatures`, JOBFEATURES: `${dir}/link/jobfeatures` };
      },
    ]) {
      const agent = await startAgent(t, { config: FAST, channels: [], env });
      await assertOwnWordEnds(agent);
      await agent.stop();
    }
    const listen = `127.0.0.1:${await freePort()}`;
    const url = `http://${listen.replace('127.0.0.1', 'localhost')}`;
    const env = { MACHINEFEATURES: `${url}/machinefeatures`, JOBFEATURES: `${url}/jobfeatures` };
    await assertOwnWordEnds(await startAgent(t, { config: FAST, channels: [], listen, env }));
  });

  const external = externalAddress();
  test('its own output is no source by a zone, nor by an address of the network that it listens on', async (t) => {
    const port = await freePort();
    const places: readonly (readonly [listen: string, url: string])[] = [
      [`[::1]:${port}`, `http://[::1%25lo]:${port}`],
      ...(external === undefined ? [] : [[`${external}:${port}`, `http://${external}:${port}`] as const]),
    ];
    for (const [listen, url] of places) {
      const agent = await startAgent(t, { config: readsItself(url), channels: [], listen });
      await assertOwnWordEnds(agent);
      await agent.stop();
    }
  });

  test('its own output behind a name that it does not know is known by the answer', {
    skip: external === undefined && 'this machine has no address besides loopback',
  }, async (t) => {
    const port = await freePort();
    const config = readsItself(`http://${external}:${port}`);
    const agent = await startAgent(t, { config, channels: [], listen: `0.0.0.0:${port}` });
    await agent.until('it has asked itself', ({ sources }) =>
      sources.some(({ name, state, error }) => name === 'mjf' && state === 'failed' && error === 'own_output'),
    );
    await assertOwnWordEnds(agent, ['directory absent', 'mjf failed', 'self ok']);
  });

  test('$MACHINEFEATURES and $JOBFEATURES of its own environment name the channels: a path, and a URL', async (t) => {
    const at = inSecs(5000);
    const host = await startMjfHost({ job: { shutdowntime_job: String(at), allocated_cpu: '4' } });
    t.after(() => host.close());
    const agent = await startAgent(t, {
      config: FAST,
      channels: [],
      env: (dir) => ({ MACHINEFEATURES: `${dir}/host/machinefeatures`, JOBFEATURES: `${host.url}/jobfeatures` }),
      machine: { total_cpu: 24 },
    });
    const document = await deadlineIs(agent, at);
    assert.deepEqual(
      [document.machinefeatures['total_cpu'], document.jobfeatures['allocated_cpu']].map((each) => [
        each?.value,
        each?.source,
      ]),
      [
        ['24', 'directory'],
        ['4', 'mjf'],
      ],
    );
    await assertFacesAgree(agent);
  });

  test('a directory that the host mounts late is picked up', async (t) => {
    const agent = await startAgent(t, {
      config: FAST,
      channels: (dir) => [
        '--machinefeatures',
        `${dir}/late/machinefeatures`,
        '--jobfeatures',
        `${dir}/late/jobfeatures`,
      ],
    });
    const directory = (await agent.lifetime()).sources.find(({ name }) => name === 'directory');
    assert.equal(directory?.state, 'absent');
    const at = inSecs(4000);
    const late = path.join(agent.dir, 'late');
    const beside = path.join(agent.dir, 'beside');
    fs.mkdirSync(path.join(beside, 'machinefeatures'), { recursive: true });
    fs.writeFileSync(path.join(beside, 'machinefeatures/shutdowntime'), `${at}\n`);
    fs.renameSync(beside, late);
    await deadlineIs(agent, at);
    await assertDeadline(agent, at);
  });
});

/** The operator's word is published; were that read back, it would outlive its cancel. */
async function assertOwnWordEnds(agent: TestAgent, expected = ['directory absent', 'self ok']): Promise<void> {
  const at = inSecs(6000);
  const notice = (...args: readonly string[]) => runProgram(['notice', '--runtime-dir', agent.runtimeDir, ...args]);
  assert.equal((await notice('--at', String(at))).code, 0);
  await assertDeadline(agent, at);
  const { notices, sources } = await agent.lifetime();
  assert.deepEqual(
    notices.map(({ id }) => id),
    ['operator/1'],
  );
  // Whether this machine has a system bus is not the question here.
  const states = sources.filter(({ name }) => name !== 'logind').map(({ name, state }) => `${name} ${state}`);
  assert.deepEqual(states, expected);
  assert.equal((await notice('--cancel')).code, 0);
  await assertDeadline(agent, null);
}

const readsItself = (url: string): string =>
  `[source.mjf]\npoll = "200ms"\nmachinefeatures = "${url}/machinefeatures"\njobfeatures = "${url}/jobfeatures"\n`;

/** An IPv4 address of this machine that is not of the loopback. */
function externalAddress(): string | undefined {
  const all = Object.values(os.networkInterfaces()).flatMap((each) => each ?? []);
  return all.find(({ internal, family }) => !internal && family === 'IPv4')?.address;
}

async function freePort(): Promise<number> {
  const host = await startMjfHost();
  await host.close();
  return host.port;
}
