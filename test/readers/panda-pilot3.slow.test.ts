/**
 * mjf.md, "Programs that read it today": PanDA pilot3. Local directories only; each known key whose file exists; strips one
 * newline, ignores empty values; `int()` on `shutdowntime` each minute; stops 600 s before it; ignores a time that lies
 * before the pilot's own start.
 */
import assert from 'node:assert/strict';
import path from 'node:path';
import test, { describe } from 'node:test';
import { inSecs } from '../support/agent.ts';
import { pyInt, stripOneNewline } from './python.ts';
import { announce, cancel, readIfThere, startSite, variables } from './site.ts';

const KNOWN = {
  MACHINEFEATURES: ['hs06', 'shutdowntime', 'total_cpu', 'grace_secs'],
  JOBFEATURES: [
    'hs06_job',
    'allocated_cpu',
    'shutdowntime_job',
    'grace_secs_job',
    'jobstart_secs',
    'job_id',
    'wall_limit_secs',
    'cpu_limit_secs',
    'max_rss_bytes',
    'max_swap_bytes',
    'scratch_limit_bytes',
  ],
} as const;
const MARGIN_SECS = 600;

type Environment = ReturnType<typeof variables>;

function readFeatures(env: Environment, variable: keyof typeof KNOWN): Readonly<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const key of KNOWN[variable]) {
    const text = readIfThere(path.join(env[variable], key));
    const value = text === undefined ? '' : stripOneNewline(text);
    if (value !== '') found[key] = value;
  }
  return found;
}

/** The check of each minute. */
function shouldStop(env: Environment, nowSecs: number, pilotStartSecs: number): boolean {
  const text = readFeatures(env, 'MACHINEFEATURES')['shutdowntime'];
  if (text === undefined) return false;
  const shutdown = pyInt(text);
  return shutdown >= pilotStartSecs && nowSecs >= shutdown - MARGIN_SECS;
}

// Side by side: mostly they wait for a cancel to be confirmed.
describe('PanDA pilot3', { concurrency: true }, () => {
  test('PanDA pilot3 reads the keys, stops 600 s before an announced shutdown, and goes on after a cancel', async (t) => {
    const agent = await startSite(t);
    const env = variables(agent.runtimeDir);
    const start = Math.floor(Date.now() / 1000);

    const machine = readFeatures(env, 'MACHINEFEATURES');
    assert.deepEqual(machine, { hs06: '171.04', total_cpu: '8', grace_secs: '120' });
    const job = readFeatures(env, 'JOBFEATURES');
    assert.equal(pyInt(job['allocated_cpu'] ?? ''), 4);
    assert.equal(pyInt(job['max_rss_bytes'] ?? ''), 8_000_000_000);
    assert.ok(pyInt(job['jobstart_secs'] ?? '') <= start);
    assert.equal(job['shutdowntime_job'], undefined);
    assert.equal(shouldStop(env, start, start), false, 'nothing announced');

    const far = inSecs(7200);
    await announce(agent, far);
    assert.equal(shouldStop(env, start, start), false, 'two hours ahead');
    assert.equal(shouldStop(env, far - 601, start), false, 'one second too early');
    assert.equal(shouldStop(env, far - 600, start), true, 'at the margin');
    assert.equal(shouldStop(env, far - 600, far + 1), false, 'a pilot that started afterwards ignores it');

    const near = inSecs(300);
    await announce(agent, near);
    assert.equal(shouldStop(env, Date.now() / 1000, start), true, 'brought forward to within the margin');

    await cancel(agent);
    assert.equal(shouldStop(env, Date.now() / 1000, start), false, 'cancelled');
  });

  test('PanDA pilot3 learns of a shutdown that only the job side names, since it looks at the machine side alone', async (t) => {
    const agent = await startSite(t);
    const env = variables(agent.runtimeDir);
    await announce(agent, inSecs(300), 'job');
    assert.equal(shouldStop(env, Date.now() / 1000, 0), true);
  });
});
