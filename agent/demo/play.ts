/**
 * The whole life of a virtual machine in half a minute: a host directory, the real agent on it, a real payload under
 * `exec`, the site that announces a shutdown, and everything that follows, seen through the agent's own interface.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { request } from '../client.ts';
import type { Screen } from './screen.ts';

/** How far ahead the "site" announces the shutdown. */
const ANNOUNCED_MS = 20_000;
/** The demo's `[stop]`: draining begins after five seconds, stopping eight seconds before the end. */
const DRAIN_SECS = 15;
const GRACE_SECS = 8;
/** The agent starts in well under a second; a laden machine may take longer. */
const START_BOUND_MS = 15_000;
/** After the deadline the payload must be gone at once; beyond this the demo has failed. */
const OVERTIME_MS = 10_000;
const POLL_MS = 100;

export interface DemoOptions {
  readonly self: { readonly command: string; readonly args: readonly string[] };
  readonly screen: Screen;
  readonly env: NodeJS.ProcessEnv;
  readonly signal: AbortSignal;
}

/** True when the payload was stopped in time, its checkpoint written and the site told. Leaves nothing behind. */
export async function playDemo(options: DemoOptions): Promise<boolean> {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-agent-demo-'));
  const started: ChildProcess[] = [];
  const cleanUp = (): void => {
    endPayload(path.join(dir, 'payload.pid'));
    for (const child of started) if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    fs.rmSync(dir, { recursive: true, force: true, maxRetries: 3 });
  };
  // Also where the process ends in the middle: the payload has a session of its own and would live on for ever.
  process.once('exit', cleanUp);
  try {
    return await play(options, dir, started);
  } finally {
    options.screen.end();
    cleanUp();
    process.off('exit', cleanUp);
  }
}

/** The payload wrote its pid down itself; it leads its own group. */
function endPayload(file: string): void {
  try {
    const pid = Number(fs.readFileSync(file, 'utf8'));
    if (Number.isInteger(pid) && pid > 1) process.kill(-pid, 'SIGKILL');
  } catch {
    // Never started, or ended as it should.
  }
}

async function play(
  { self, screen, env, signal }: DemoOptions,
  dir: string,
  started: ChildProcess[],
): Promise<boolean> {
  const place = (name: string): string => path.join(dir, name);
  const hostFiles = {
    machinefeatures: { total_cpu: '8', hs06: '171.04', grace_secs: '15' },
    jobfeatures: { allocated_cpu: '8', job_id: 'demo-1' },
  };
  for (const [folder, values] of Object.entries(hostFiles)) {
    fs.mkdirSync(place(folder));
    for (const [key, value] of Object.entries(values)) announce(place(folder), key, value);
  }
  fs.mkdirSync(place('joboutputs'));
  screen.say(`host: a directory with machine and job features in ${dir}`);

  // Nothing of this machine's own configuration: it may name places that are in real use.
  const names = ['MACHINEFEATURES', 'JOBFEATURES', 'JOBOUTPUTS'];
  const clean = Object.entries(env).filter(([name]) => !names.includes(name) && !name.startsWith('MJF_AGENT_'));
  const environment = { ...Object.fromEntries(clean), DEMO_PID: place('payload.pid') };
  fs.writeFileSync(place('config.toml'), `[stop]\ndrain = "${DRAIN_SECS}s"\ngrace = "${GRACE_SECS}s"\n`);
  const config = ['--config', place('config.toml')];
  const common = [
    ...config,
    '--machinefeatures',
    place('machinefeatures'),
    '--jobfeatures',
    place('jobfeatures'),
    '--joboutputs',
    place('joboutputs'),
  ];
  const dirs = ['--runtime-dir', place('run'), '--state-dir', place('state'), '--listen', '127.0.0.1:0'];
  const agent = start(self, ['run', ...common, ...dirs], environment, started);
  const ready = new Promise<boolean>((resolve) => {
    lines(agent, (line) => {
      const said = logLine(line);
      if (said?.event === 'ready') resolve(true);
      if (said !== null && TOLD.has(said.event)) screen.say(`agent: ${said.msg}`);
    });
    agent.once('exit', () => resolve(false));
  });
  if (!(await Promise.race([ready, after(START_BOUND_MS, false)]))) {
    screen.say('agent: did not start');
    return false;
  }
  const runtime = ['--runtime-dir', place('run')];
  const payload = start(
    self,
    ['exec', ...runtime, ...config, '--name', 'simulation', '--', self.command, ...self.args, '__demo-payload'],
    { ...environment, DEMO_CHECKPOINT: place('checkpoint') },
    started,
  );
  const working = new Promise<void>((resolve) => {
    lines(payload, (line) => {
      if (line.startsWith('payload: working')) resolve();
      screen.say(line);
    });
  });
  const exited = once(payload, 'exit').then(([code]) => Number(code));
  await Promise.race([working, exited, after(START_BOUND_MS, undefined)]);

  const deadlineMs = Math.floor((Date.now() + ANNOUNCED_MS) / 1000) * 1000;
  announce(place('machinefeatures'), 'shutdowntime', String(deadlineMs / 1000));
  screen.say(
    `site: announces a shutdown in ${Math.round((deadlineMs - Date.now()) / 1000)} s (writes machinefeatures/shutdowntime)`,
  );
  const code = await untilExit(exited, deadlineMs, place('run'), screen, signal);
  return verdict({
    code,
    deadlineMs,
    checkpoint: place('checkpoint'),
    outputs: place('joboutputs'),
    screen,
    agent,
    signal,
  });
}

/** The log events that tell the story to a person. */
const TOLD: ReadonlySet<string> = new Set([
  'phase_changed',
  'deadline_changed',
  'payload_registered',
  'payload_gone',
  'shutdown_message',
  'promise_broken',
]);

/** As a host should: a new file renamed over the old one. */
function announce(dir: string, key: string, value: string): void {
  fs.writeFileSync(path.join(dir, `.${key}.new`), `${value}\n`);
  fs.renameSync(path.join(dir, `.${key}.new`), path.join(dir, key));
}

function start(
  self: DemoOptions['self'],
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  started: ChildProcess[],
): ChildProcess {
  const child = spawn(self.command, [...self.args, ...args], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  started.push(child);
  return child;
}

function lines(child: ChildProcess, each: (line: string) => void): void {
  if (child.stdout) createInterface({ input: child.stdout }).on('line', each);
}

function logLine(line: string): { event: string; msg: string } | null {
  try {
    const { event, msg } = JSON.parse(line) as Record<string, unknown>;
    return { event: String(event), msg: String(msg) };
  } catch {
    return null;
  }
}

async function untilExit(
  exited: Promise<number>,
  deadlineMs: number,
  runtimeDir: string,
  screen: Screen,
  signal: AbortSignal,
): Promise<number | null> {
  const totalMs = deadlineMs - Date.now();
  for (;;) {
    const code = await Promise.race([exited, after(POLL_MS, undefined)]);
    if (code !== undefined || signal.aborted || Date.now() > deadlineMs + OVERTIME_MS) return code ?? null;
    const answer = await request({
      channel: 'agent',
      runtimeDir,
      method: 'GET',
      path: '/v1/lifetime',
      timeoutMs: START_BOUND_MS,
    });
    const phase =
      'unreachable' in answer
        ? 'agent not reachable'
        : String((JSON.parse(answer.body.toString()) as { phase?: unknown }).phase);
    screen.countdown({ phase, remainingMs: deadlineMs - Date.now(), totalMs });
  }
}

interface Outcome {
  readonly code: number | null;
  readonly deadlineMs: number;
  readonly checkpoint: string;
  readonly outputs: string;
  readonly screen: Screen;
  readonly agent: ChildProcess;
  readonly signal: AbortSignal;
}

async function verdict({ code, deadlineMs, checkpoint, outputs, screen, agent, signal }: Outcome): Promise<boolean> {
  const spareMs = deadlineMs - Date.now();
  screen.end();
  if (signal.aborted) return false;
  screen.say(
    code === null
      ? 'exec: the payload was not stopped'
      : `exec: ended with ${code}${code === 75 ? ' (stopped by the deadline: requeue me)' : ''}, ${(spareMs / 1000).toFixed(1)} s before the deadline`,
  );
  const saved = readJson(checkpoint);
  screen.say(
    saved === null ? 'payload: no checkpoint' : `payload: its checkpoint holds ${String(saved['events'])} events`,
  );
  const message = await waitForMessage(path.join(outputs, 'shutdown_message'));
  screen.say(message === null ? 'site: no message' : `site: got the message "${message}"`);
  const gone = once(agent, 'exit');
  agent.kill('SIGTERM');
  const ended = await Promise.race([gone.then(() => true), after(OVERTIME_MS, false)]);
  const good = code === 75 && spareMs > 0 && saved !== null && message?.startsWith('100') === true && ended;
  screen.say(
    good
      ? 'The payload was stopped in time, and the site knows.'
      : code === 75 && spareMs > 0 && saved !== null
        ? 'The payload was stopped in time, but the site does NOT know.'
        : 'The payload was NOT stopped as promised.',
  );
  return good;
}

/** The report goes out after the signals, and takes a moment. */
async function waitForMessage(file: string): Promise<string | null> {
  for (const until = Date.now() + OVERTIME_MS; Date.now() < until; await after(POLL_MS, undefined)) {
    if (fs.existsSync(file)) return fs.readFileSync(file, 'utf8');
  }
  return null;
}

function readJson(file: string): Record<string, unknown> | null {
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8')) as Record<string, unknown>;
  } catch {
    return null;
  }
}

const after = <T>(ms: number, value: T): Promise<T> => new Promise((resolve) => setTimeout(resolve, ms, value));
