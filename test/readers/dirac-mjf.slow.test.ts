/**
 * mjf.md, "Programs that read it today": DIRAC up to 8.0, `MJF.py`. A path or an http(s) URL, 2xx only, `.strip()`. Time
 * left = the earliest of jobstart + wall limit, `shutdowntime_job`, `shutdowntime` and the file `/var/run/shutdown_time`;
 * it raises unless jobstart_secs, wall_limit_secs, shutdowntime_job and shutdowntime are all there.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test, { describe } from 'node:test';
import { inSecs } from '../support/agent.ts';
import { exchange } from '../support/exchange.ts';
import { pyInt } from './python.ts';
import { announce, cancel, readIfThere, startSite, variables } from './site.ts';

async function read(base: string, key: string): Promise<string | undefined> {
  if (base.startsWith('/')) return readIfThere(`${base}/${key}`)?.trim();
  const { status, body } = await exchange(`${base}/${key}`, undefined, '');
  return status >= 200 && status < 300 ? body.toString().trim() : undefined;
}

/** UNIX seconds until which there is time; throws where `MJF.py` raises. */
async function endOfTime(env: ReturnType<typeof variables>, shutdownTimeFile: string): Promise<number> {
  const need = async (base: string, key: string): Promise<number> => {
    const value = await read(base, key);
    if (value === undefined) throw new Error(`${key} is missing`);
    return pyInt(value);
  };
  const wall = (await need(env.JOBFEATURES, 'jobstart_secs')) + (await need(env.JOBFEATURES, 'wall_limit_secs'));
  const ends = [wall, await need(env.JOBFEATURES, 'shutdowntime_job'), await need(env.MACHINEFEATURES, 'shutdowntime')];
  const file = readIfThere(shutdownTimeFile);
  if (file !== undefined) ends.push(pyInt(file.trim()));
  return Math.min(...ends);
}

// Side by side: mostly they wait for a cancel to be confirmed.
describe('DIRAC MJF.py', { concurrency: true }, () => {
  test('DIRAC MJF.py: the earliest time wins, on directory and URL, with its own file and without', async (t) => {
    const outside = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-shutdown-time-'));
    t.after(() => fs.rmSync(outside, { recursive: true }));
    const file = path.join(outside, 'shutdown_time');
    const jobstart = inSecs(-600);
    const agent = await startSite(t, {
      config: `[publish]\nshutdown_time_file = "${file}"\n`,
      job: { jobstart_secs: jobstart, wall_limit_secs: 86_400 },
    });
    const both = async () => {
      const [path, url] = await Promise.all(
        [agent.runtimeDir, agent.url].map((base) => endOfTime(variables(base), file)),
      );
      assert.equal(path, url);
      assert.equal(readIfThere(file), `${path}\n`, 'its own file says the same');
      return path;
    };

    // The wall limit alone is a deadline of the job, so all four keys are there.
    assert.equal(await both(), jobstart + 86_400);
    const announced = inSecs(7200);
    await announce(agent, announced);
    assert.equal(await both(), announced);
    agent.hostDirs.remove('machine', 'shutdowntime');
    await agent.until('back to the wall limit', ({ deadline }) => deadline === jobstart + 86_400);
    assert.equal(await both(), jobstart + 86_400);
  });

  test('DIRAC MJF.py raises where the host gives no wall limit: none is made up (S2.3), and its file goes with the shutdown', async (t) => {
    const outside = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-shutdown-time-'));
    t.after(() => fs.rmSync(outside, { recursive: true }));
    const file = path.join(outside, 'shutdown_time');
    const agent = await startSite(t, { config: `[publish]\nshutdown_time_file = "${file}"\n` });
    const env = variables(agent.url);
    assert.equal(readIfThere(file), undefined);
    await assert.rejects(endOfTime(env, file), /wall_limit_secs is missing/);
    const at = inSecs(3600);
    await announce(agent, at);
    assert.equal(readIfThere(file), `${at}\n`);
    await assert.rejects(endOfTime(env, file), /wall_limit_secs is missing/);
    await cancel(agent);
    assert.equal(readIfThere(file), undefined);
    assert.deepEqual(fs.readdirSync(outside), [], 'no temporary file stays beside it');
  });
});
