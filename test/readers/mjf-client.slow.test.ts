/**
 * mjf.md, "Programs that read it today": the `mjf` Python client. Every file of both directories, whatever its name; strips
 * one newline; int, else float, else text. A directory, a temporary file or half a value would each be a value to it.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test, { describe } from 'node:test';
import { inSecs } from '../support/agent.ts';
import { pyFloat, pyInt, stripOneNewline } from './python.ts';
import { announce, cancel, JOB, startSite, variables } from './site.ts';

type Value = number | string;

function readAll(directory: string): Readonly<Record<string, Value>> {
  // Whatever opens: of a directory `open()` raises.
  const names = fs.readdirSync(directory);
  return Object.fromEntries(names.map((name) => [name, guess(fs.readFileSync(path.join(directory, name), 'utf8'))]));
}

function guess(text: string): Value {
  const stripped = stripOneNewline(text);
  for (const convert of [pyInt, pyFloat]) {
    try {
      return convert(stripped);
    } catch {
      // The next kind.
    }
  }
  return stripped;
}

// Side by side: mostly they wait for a cancel to be confirmed.
describe('the mjf client', { concurrency: true }, () => {
  test('the mjf client gets every key with its type, with and without a shutdown, and nothing else', async (t) => {
    const agent = await startSite(t, { machine: { site_name: 'CERN-PROD' } });
    const env = variables(agent.runtimeDir);
    const read = () => ({ ...readAll(env.MACHINEFEATURES), ...readAll(env.JOBFEATURES) });
    const quiet = read();
    const { max_swap_bytes: _found, jobstart_secs: start, ...rest } = quiet;
    assert.equal(typeof start, 'number');
    const expected = {
      total_cpu: 8,
      hs06: 171.04,
      hepscore23: 190.5,
      grace_secs: 120,
      site_name: 'CERN-PROD',
      allocated_cpu: 4,
      hs06_job: 85.52,
      job_id: JOB.job_id,
      max_rss_bytes: 8_000_000_000,
    };
    assert.deepEqual(rest, expected);

    const at = inSecs(3600);
    await announce(agent, at);
    assert.deepEqual(read(), { ...quiet, shutdowntime: at, shutdowntime_job: at });
    await cancel(agent);
    assert.deepEqual(read(), quiet);
  });

  test('the mjf client never meets half a value or a temporary file while the host writes', async (t) => {
    const agent = await startSite(t);
    const { MACHINEFEATURES: directory } = variables(agent.runtimeDir);
    const first = inSecs(3600);
    await announce(agent, first);
    const names = fs.readdirSync(directory).sort();
    const times = Array.from({ length: 12 }, (_, index) => first + 60 * (index + 1));
    let reads = 0;
    for (const at of times) {
      agent.hostDirs.set('machine', 'shutdowntime', at);
      // As fast as it can read: another process is writing meanwhile.
      for (let seen: Value | undefined; seen !== at; reads += 1) {
        const all = readAll(directory);
        assert.deepEqual(Object.keys(all).sort(), names);
        seen = all['shutdowntime'];
        assert.ok(seen === at || seen === at - 60, `${String(seen)} is neither the old nor the new time`);
        await new Promise(setImmediate);
      }
    }
    t.diagnostic(`${reads} readings`);
  });
});
