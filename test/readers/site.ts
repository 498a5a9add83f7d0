/** What the readers of mjf.md are run on: an agent whose host writes carelessly, as hosts do. */
import fs from 'node:fs';
import { type AgentOptions, startAgent, type TestAgent } from '../support/agent.ts';
import { FOLDERS, type Side } from '../support/host-directories.ts';
import type { Ending } from '../support/processes.ts';

/** Trailing carriage returns and blanks: none of these readers takes them from the host itself. */
export const MACHINE = { total_cpu: ' 8\r', hs06: '171.04', hepscore23: '190.5\r', grace_secs: '120' };
export const JOB = {
  allocated_cpu: '4 ',
  hs06_job: '85.52\r',
  job_id: 'c1a9e4b2-77aa-4f0e-9d53-3c6ad1f0b7e2',
  max_rss_bytes: '8000000000',
};

/** An agent on a host directory with these values and whatever `options` adds. */
export function startSite(t: Ending, options: AgentOptions = {}): Promise<TestAgent> {
  return startAgent(t, { ...options, machine: { ...MACHINE, ...options.machine }, job: { ...JOB, ...options.job } });
}

/** The host announces a shutdown, and the published directory shows it. */
export async function announce(agent: TestAgent, unixSecs: number, side: Side = 'machine'): Promise<void> {
  agent.hostDirs.set(side, side === 'machine' ? 'shutdowntime' : 'shutdowntime_job', unixSecs);
  await agent.until(`deadline ${unixSecs}`, ({ deadline }) => deadline === unixSecs);
}

/** The host takes it back. */
export async function cancel(agent: TestAgent): Promise<void> {
  agent.hostDirs.remove('machine', 'shutdowntime');
  await agent.until('no deadline', ({ deadline }) => deadline === null);
}

/** What `$MACHINEFEATURES` and `$JOBFEATURES` hold for a payload: directories, or their twins over HTTP. */
export function variables(base: string): { readonly MACHINEFEATURES: string; readonly JOBFEATURES: string } {
  return { MACHINEFEATURES: `${base}/${FOLDERS.machine}`, JOBFEATURES: `${base}/${FOLDERS.job}` };
}

/** A file's text as Python's `open(path).read()` gives it; undefined for `os.path.exists(path)` being false. */
export function readIfThere(file: string): string | undefined {
  return fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : undefined;
}
