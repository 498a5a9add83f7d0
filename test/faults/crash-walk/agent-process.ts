/** The built agent as a process of its own, with or without the shim that ends it. */
import { spawn } from 'node:child_process';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Ended } from '../../support/processes.ts';
import type { Moment } from './plan.ts';

const SHIM = fileURLToPath(new URL('../../support/crash-shim.cjs', import.meta.url));

export interface Places {
  readonly host: string;
  /** Holds everything that the agent writes: the calls below it are counted. */
  readonly agent: string;
  readonly runtime: string;
  readonly journal: string;
  readonly state: string;
}

export interface LogLine {
  readonly event: string;
  readonly level: string;
  readonly time: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

export interface AgentProcess {
  readonly pid: number;
  readonly startedMs: number;
  readonly log: readonly LogLine[];
  /** Whatever it said beside the log: a stack trace, a warning of Node. */
  readonly stderr: () => string;
  /** After its last log line. */
  readonly ended: Promise<Ended>;
  kill(signal: NodeJS.Signals): void;
}

export function placesIn(dir: string): Places {
  const agent = path.join(dir, 'agent');
  return {
    host: path.join(dir, 'host'),
    agent,
    runtime: path.join(agent, 'run'),
    journal: path.join(agent, 'run-state'),
    state: path.join(agent, 'state'),
  };
}

/** `shim`: count all calls into a file, or die at a moment. */
export function startAgent(options: {
  readonly program: string;
  readonly places: Places;
  readonly listen: string;
  readonly shim?: { readonly countInto: string } | Moment;
  /** Its configuration file. */
  readonly config?: string;
  /** A command that runs it somewhere else and becomes it. */
  readonly within?: readonly string[];
}): AgentProcess {
  const { program, places, shim, config, within = [] } = options;
  const startedMs = Date.now();
  const [command = '', ...before] = [...within, process.execPath];
  const child = spawn(
    command,
    [
      ...before,
      ...(shim === undefined ? [] : ['--require', SHIM]),
      program,
      'run',
      ...(config === undefined ? [] : ['--config', config]),
      ...['--machinefeatures', path.join(places.host, 'machinefeatures')],
      ...['--jobfeatures', path.join(places.host, 'jobfeatures')],
      ...['--runtime-dir', places.runtime, '--state-dir', places.state, '--listen', options.listen],
    ],
    { env: { ...environment(), ...shimEnvironment(places, shim) }, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const log: LogLine[] = [];
  let stderr = '';
  createInterface({ input: child.stdout }).on('line', (line) => log.push(parseLine(line)));
  child.stderr.on('data', (bytes: Buffer) => {
    stderr += bytes.toString();
  });
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once('error', reject);
    // `close`, not `exit`: the last lines are in.
    child.once('close', (code, signal) => resolve({ code, signal }));
  });
  return { pid: child.pid ?? 0, startedMs, log, stderr: () => stderr, ended, kill: (signal) => child.kill(signal) };
}

/** Nothing of this machine: what the agent finds out itself is off, so that each run makes the same calls. */
function environment(): NodeJS.ProcessEnv {
  const self = ['TOTAL_CPU', 'ALLOCATED_CPU', 'MAX_RSS_BYTES', 'MAX_SWAP_BYTES', 'JOB_ID', 'JOBSTART_SECS'];
  return {
    PATH: process.env['PATH'],
    MJF_AGENT_PUBLISH__LINK_ETC: 'false',
    // On whatever file system the temporary directory lies: a reader child would write nothing that counts.
    MJF_AGENT_SOURCE__DIRECTORY__READER: 'inline',
    ...Object.fromEntries(self.map((key) => [`MJF_AGENT_SOURCE__SELF__${key}`, 'false'])),
  };
}

function shimEnvironment(places: Places, shim: { readonly countInto: string } | Moment | undefined): NodeJS.ProcessEnv {
  if (shim === undefined) return {};
  const dirs = { MJF_CRASH_DIRS: places.agent };
  if ('countInto' in shim) return { ...dirs, MJF_CRASH_LOG: shim.countInto };
  return { ...dirs, MJF_CRASH_AT: String(shim.n), MJF_CRASH_WHEN: shim.when };
}

function parseLine(line: string): LogLine {
  try {
    return JSON.parse(line) as LogLine;
  } catch {
    return { event: 'no_json', level: 'error', time: '', msg: line };
  }
}
