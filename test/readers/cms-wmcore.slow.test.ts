/**
 * mjf.md, "Programs that read it today": CMS WMCore. Local directories; `float(readline())` of hs06, total_cpu, hs06_job and
 * allocated_cpu.
 */
import assert from 'node:assert/strict';
import path from 'node:path';
import test, { describe } from 'node:test';
import { inSecs, startAgent } from '../support/agent.ts';
import { pyFloat } from './python.ts';
import { announce, MACHINE, readIfThere, startSite, variables } from './site.ts';

const KEYS = [
  ['MACHINEFEATURES', 'hs06'],
  ['MACHINEFEATURES', 'total_cpu'],
  ['JOBFEATURES', 'hs06_job'],
  ['JOBFEATURES', 'allocated_cpu'],
] as const;

function readFloats(env: ReturnType<typeof variables>): Readonly<Record<string, number>> {
  const found: Record<string, number> = {};
  for (const [variable, key] of KEYS) {
    const text = readIfThere(path.join(env[variable], key));
    // `readline()` keeps the line feed, and of an empty file gives the empty text, of which `float` raises.
    if (text !== undefined) found[key] = pyFloat(/^[^\n]*\n?/.exec(text)?.[0] ?? '');
  }
  return found;
}

// Side by side: mostly they wait for a cancel to be confirmed.
describe('CMS WMCore', { concurrency: true }, () => {
  test('CMS WMCore reads its four numbers, with and without a shutdown', async (t) => {
    const agent = await startSite(t);
    const env = variables(agent.runtimeDir);
    const expected = { hs06: 171.04, total_cpu: 8, hs06_job: 85.52, allocated_cpu: 4 };
    assert.deepEqual(readFloats(env), expected);
    await announce(agent, inSecs(600));
    assert.deepEqual(readFloats(env), expected);
  });

  test('CMS WMCore does not meet a rating that nobody gave', async (t) => {
    const { hs06: _hs06, ...machine } = MACHINE;
    const agent = await startAgent(t, { machine, job: { allocated_cpu: 4 } });
    assert.deepEqual(readFloats(variables(agent.runtimeDir)), { total_cpu: 8, allocated_cpu: 4 });
  });
});
