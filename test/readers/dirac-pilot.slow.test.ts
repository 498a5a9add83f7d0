/**
 * mjf.md, "Programs that read it today": DIRAC Pilot, `urlopen($JOBFEATURES/allocated_cpu)`. It needs a URL: a bare path
 * raises in Python 3. Run by Python itself where it is installed.
 */
import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import test from 'node:test';
import { promisify } from 'node:util';
import { inSecs } from '../support/agent.ts';
import { announce, startSite, variables } from './site.ts';

const run = promisify(execFile);

const PYTHON = `
import os
from urllib.request import urlopen
print(int(urlopen(os.path.join(os.environ['JOBFEATURES'], 'allocated_cpu')).read()))
`;
/** The same rule for machines without Python: \`new URL\` refuses a bare path as urlopen does. */
const NODE = `
const url = new URL(process.env.JOBFEATURES + '/allocated_cpu');
require('node:http').get(url, (answer) => {
  if (answer.statusCode !== 200) throw new Error(String(answer.statusCode));
  let text = '';
  answer.on('data', (chunk) => (text += chunk)).on('end', () => console.log(Number(text.trim())));
});
`;
const hasPython = spawnSync('python3', ['-c', 'import urllib.request']).status === 0;

async function allocatedCpu(base: string): Promise<string> {
  const env = { PATH: process.env['PATH'], ...variables(base) };
  const [command, flag, script] = hasPython ? ['python3', '-c', PYTHON] : [process.execPath, '-e', NODE];
  return (await run(command, [flag, script], { env })).stdout.trim();
}

test('DIRAC Pilot gets its processors from the URL, with and without a shutdown, and never from a path', async (t) => {
  t.diagnostic(hasPython ? 'by python3' : 'python3 is not installed: by Node');
  const agent = await startSite(t);
  assert.equal(await allocatedCpu(agent.url), '4');
  await announce(agent, inSecs(3600));
  assert.equal(await allocatedCpu(agent.url), '4');
  await assert.rejects(allocatedCpu(agent.runtimeDir), /ValueError|Invalid URL/);

  agent.hostDirs.set('job', 'allocated_cpu', 2);
  await agent.until('processors given back', ({ jobfeatures }) => jobfeatures['allocated_cpu']?.value === '2');
  assert.equal(await allocatedCpu(agent.url), '2');
});
