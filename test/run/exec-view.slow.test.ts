/** A payload of `exec` and the features that are its own (issue 4: per-payload job features; SEMANTICS S3.3). */
import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import { httpValue, startAgent } from '../support/agent.ts';
import { runProgram } from '../support/program.ts';
import { exitCode, heard, payloadRows, registered, startExec } from './exec-payload.ts';

const NO_DAEMON = '/nonexistent/mjf-agent';
/** In its very first instruction, what the payload is told and what stands there. */
const SHOW = `echo "$MACHINEFEATURES $JOBFEATURES $JOBOUTPUTS"
cd "$JOBFEATURES" || exit 9
for key in *; do echo "$key $(cat "$key")"; done
echo "total_cpu $(cat "$MACHINEFEATURES/total_cpu")"`;

interface Shown {
  readonly places: readonly string[];
  readonly values: Readonly<Record<string, string>>;
}

function shown(out: string): Shown {
  const [first = '', ...lines] = out.trimEnd().split('\n');
  return { places: first.split(' '), values: Object.fromEntries(lines.map((line) => line.split(' '))) };
}

describe('exec under a daemon', () => {
  test('a view of its own stands before its first instruction: its limits, never more than the machine’s; gone with it', async (t) => {
    const agent = await startAgent(t, {
      machine: { total_cpu: 8 },
      job: { allocated_cpu: 4, max_rss_bytes: 8_589_934_592, job_id: 'vm-17' },
    });
    const { runtimeDir, url } = agent;
    const run = (...args: readonly string[]) =>
      runProgram(['exec', '--runtime-dir', runtimeDir, ...args], {
        // What the host said to us is not what we say to the payload.
        env: { MACHINEFEATURES: '/nonexistent/host', JOBFEATURES: '/nonexistent/host' },
      });
    const beforeSecs = Math.floor(Date.now() / 1000);
    const own = ['--cpus', '2', '--memory', '16G', '--scratch', '1G', '--job-id', 'a/7', '--wall', '1h'];
    const [plain, limited, failed] = await Promise.all([
      run('--', '/bin/sh', '-c', SHOW),
      run(...own, '--', '/bin/sh', '-c', SHOW),
      run('--', '/nonexistent/command'),
    ]);
    assert.equal(failed.code, 127);

    const first = shown(plain.out);
    const [machine = '', job = '', outputs] = first.places;
    assert.match(machine, new RegExp(`^${runtimeDir}/views/[0-9a-f]{32}/machinefeatures$`));
    assert.equal(job, machine.replace(/machinefeatures$/, 'jobfeatures'));
    assert.equal(outputs, `${url}/joboutputs`);
    const { allocated_cpu, max_rss_bytes, job_id, shutdowntime_job, wall_limit_secs, total_cpu } = first.values;
    assert.deepEqual([allocated_cpu, max_rss_bytes, job_id, total_cpu], ['4', '8589934592', 'vm-17', '8']);
    assert.deepEqual([shutdowntime_job, wall_limit_secs], [undefined, undefined]);

    const second = shown(limited.out).values;
    assert.deepEqual(
      ['allocated_cpu', 'max_rss_bytes', 'scratch_limit_bytes', 'job_id', 'wall_limit_secs'].map((key) => second[key]),
      ['2', '8589934592', '1073741824', 'a/7', '3600'],
    );
    const deadline = Number(second['shutdowntime_job']);
    assert.ok(deadline >= beforeSecs + 3600 && deadline <= Date.now() / 1000 + 3600, `an own deadline: ${deadline}`);
    assert.notEqual(shown(limited.out).places[0], machine, 'each has its own');

    // Of a slow daemon `exec` takes its leave without an answer.
    await agent.until(
      'no payload, not even the one that could not be started',
      ({ payloads }) => payloads.running + payloads.stopping === 0,
    );
    assert.deepEqual(await payloadRows(agent), []);
    assert.equal(agent.file(`${machine.slice(runtimeDir.length + 1)}/total_cpu`), undefined, 'its files go with it');
  });

  test('as URLs, and its row names them', async (t) => {
    const agent = await startAgent(t, { machine: { total_cpu: 8 }, job: { allocated_cpu: 4 } });
    const payload = await startExec(t, {
      runtimeDir: agent.runtimeDir,
      options: ['--features', 'url', '--cpus', '1', '--name', 'simulation'],
      script: `say('at ' + process.env.JOBFEATURES); hear('SIGTERM', () => process.exit(3)); say('ready');`,
    });
    const at = (await payload.line(/^at (.+)$/))[1] ?? '';
    assert.match(at, new RegExp(`^${agent.url}/p/[0-9a-f]{32}/jobfeatures$`));
    assert.equal(await httpValue(agent, `${at.slice(agent.url.length)}/allocated_cpu`), '1\n');
    await registered(agent, 1);
    const [row] = JSON.parse((await agent.request('/v1/payloads')).body.toString());
    assert.deepEqual(
      [row.name, row.view.jobfeatures_url, row.group, row.limits],
      ['simulation', at, true, { allocated_cpu: '1' }],
    );
    payload.child.kill('SIGTERM');
    assert.equal(await exitCode(payload), 3);
  });
});

describe('exec without a daemon', { concurrency: 2 }, () => {
  test('its wall limit ends it all the same: exit code 75', async (t) => {
    const payload = await startExec(t, {
      runtimeDir: NO_DAEMON,
      options: ['--wall', '4s', '--grace', '2500ms'],
      script: `say('began ' + Date.now()); hear('SIGTERM', () => process.exit(0)); say('ready');`,
    });
    const began = Number((await payload.line(/^began (\d+)$/))[1]);
    // The limit counts from just before it began.
    assert.ok((await heard(payload, 'SIGTERM')) < began + 4000);
    assert.equal(await exitCode(payload), 75);
  });

  test('other limits nobody shows it: it is told so, and runs', async () => {
    const { code, out, err } = await runProgram(
      ['exec', '--runtime-dir', NO_DAEMON, '--cpus', '2', '--', '/bin/sh', '-c', 'echo "[$JOBFEATURES]"; exit 4'],
      { env: { JOBFEATURES: '/nonexistent/host' } },
    );
    assert.deepEqual([code, out], [4, '[/nonexistent/host]\n']);
    assert.match(err, /^mjf-agent: the payload gets no features of its own/);
  });
});
