/**
 * How long it takes from the host's rename to the payload's SIGTERM handler (issue "main job"): `npm run bench:latency`.
 * Two ways for the agent to learn of it, each beside a bare reference in the same run, interleaved:
 *   notified: a local directory with change notification, beside ten lines of fs.watch + kill;
 *   polled:   notification switched off (`reader = "child"`, as on a share), beside the poll interval itself.
 * The payload writes the instant of its handler (CLOCK_MONOTONIC, comparable between processes) to its stdout.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { request } from '../../agent/client.ts';

const ROUNDS = Number(process.env['MJF_BENCH_ROUNDS'] ?? 40);
const WARM_UP = 3;
const POLL_MS = 200;
const PROGRAM = path.resolve(import.meta.dirname, '../../dist/mjf-agent.cjs');
const monoMs = (): number => Number(process.hrtime.bigint()) / 1e6;

/** Says when it is ready and when SIGTERM arrived; goes on, so that it can be asked again. */
const PAYLOAD = `
process.on('SIGTERM', () => console.log('term ' + Number(process.hrtime.bigint()) / 1e6));
setInterval(() => {}, 1e6);
console.log('ready');
`;

/** What an operator would write instead of an agent. */
const REFERENCE = `
const fs = require('node:fs');
const [dir, pid] = process.argv.slice(1);
fs.watch(dir, (_, name) => {
  if (name !== 'shutdowntime') return;
  const at = Number(fs.readFileSync(dir + '/shutdowntime', 'utf8'));
  if (at * 1000 - Date.now() < 120000) process.kill(Number(pid), 'SIGTERM');
});
console.log('ready');
`;

interface Lines {
  readonly child: ChildProcess;
  next(prefix: string): Promise<string>;
}

const children: ChildProcess[] = [];

function start(args: readonly string[], env: NodeJS.ProcessEnv = process.env): Lines {
  const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  const waiting: { prefix: string; resolve: (line: string) => void }[] = [];
  const early: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => {
    const index = waiting.findIndex(({ prefix }) => line.includes(prefix));
    if (index < 0) early.push(line);
    else waiting.splice(index, 1)[0]?.resolve(line);
  });
  return {
    child,
    next(prefix) {
      const index = early.findIndex((line) => line.includes(prefix));
      if (index >= 0) return Promise.resolve(early.splice(index, 1)[0] ?? '');
      return new Promise((resolve) => waiting.push({ prefix, resolve }));
    },
  };
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill(signal);
  await exited;
}

function announce(dir: string, value: string): number {
  fs.writeFileSync(path.join(dir, '..', 'next'), value);
  const at = monoMs();
  fs.renameSync(path.join(dir, '..', 'next'), path.join(dir, 'shutdowntime'));
  return at;
}

async function payload(): Promise<Lines> {
  const lines = start(['-e', PAYLOAD]);
  await lines.next('ready');
  return lines;
}

const handled = async (lines: Lines): Promise<number> => Number((await lines.next('term ')).split(' ')[1]);
const soon = (): string => `${Math.floor(Date.now() / 1000) + 60}\n`;

interface Subject {
  /** One measurement, ms from rename to handler. */
  round(): Promise<number>;
  close(): Promise<void>;
}

async function referenceSubject(dir: string): Promise<Subject> {
  fs.mkdirSync(dir, { recursive: true });
  return {
    async round() {
      const lines = await payload();
      const watcher = start(['-e', REFERENCE, dir, String(lines.child.pid)]);
      await watcher.next('ready');
      const at = announce(dir, soon());
      const took = (await handled(lines)) - at;
      await end(watcher.child, 'SIGKILL');
      await end(lines.child, 'SIGKILL');
      return took;
    },
    close: async () => {},
  };
}

async function agentSubject(base: string, reader: 'auto' | 'child'): Promise<Subject> {
  const dir = path.join(base, 'machinefeatures');
  fs.mkdirSync(dir, { recursive: true });
  fs.writeFileSync(path.join(dir, 'total_cpu'), '8\n');
  const runtimeDir = path.join(base, 'run');
  const env = {
    ...process.env,
    MJF_AGENT_SOURCE__DIRECTORY__READER: reader,
    MJF_AGENT_SOURCE__DIRECTORY__POLL: `${POLL_MS}ms`,
    MJF_AGENT_SOURCES: 'directory',
  };
  const agent = start(
    [
      PROGRAM,
      'run',
      '--machinefeatures',
      dir,
      '--runtime-dir',
      runtimeDir,
      '--state-dir',
      path.join(base, 'state'),
      '--listen',
      '127.0.0.1:0',
    ],
    env,
  );
  await agent.next('"event":"ready"');
  return {
    async round() {
      const lines = await payload();
      const body = { name: 'bench', target: { pid: lines.child.pid } };
      const answer = await request({
        channel: 'admin',
        runtimeDir,
        method: 'POST',
        path: '/v1/payloads',
        body,
        timeoutMs: 5_000,
      });
      if ('unreachable' in answer || answer.status !== 201)
        throw new Error(`registration failed: ${JSON.stringify(answer)}`);
      // Polls come at any phase of the interval; a rename right after a poll would be an unfair worst case each time.
      await new Promise((resolve) => setTimeout(resolve, Math.random() * POLL_MS));
      const at = announce(dir, soon());
      const took = (await handled(lines)) - at;
      await end(lines.child, 'SIGKILL');
      // Back to "none": cleared after three good answers over three seconds, which the log tells.
      fs.rmSync(path.join(dir, 'shutdowntime'));
      await agent.next('"event":"notice_cleared"');
      return took;
    },
    close: () => end(agent.child, 'SIGTERM'),
  };
}

function quantile(sorted: readonly number[], q: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
}

/** As /run is: the agent publishes on tmpfs, and the host's directory is a local one. */
const place = fs.existsSync('/dev/shm') ? '/dev/shm' : os.tmpdir();
const base = fs.mkdtempSync(path.join(place, 'mjf-bench-'));
const subjects: [string, Subject][] = [];
try {
  subjects.push(['bare fs.watch + kill', await referenceSubject(path.join(base, 'reference', 'machinefeatures'))]);
  subjects.push(['agent, notified', await agentSubject(path.join(base, 'notified'), 'auto')]);
  subjects.push([`agent, polled each ${POLL_MS} ms`, await agentSubject(path.join(base, 'polled'), 'child')]);
  const results = new Map<string, number[]>(subjects.map(([name]) => [name, []]));
  for (let round = -WARM_UP; round < ROUNDS; round += 1) {
    // The two agents wait three seconds for their clear; side by side that costs the time once.
    const took = await Promise.all(
      subjects.slice(1).map(async ([name, subject]) => [name, await subject.round()] as const),
    );
    const [name, reference] = subjects[0] ?? ['', subjects[1]?.[1]];
    if (reference) took.push([name, await reference.round()]);
    if (round >= 0) for (const [each, ms] of took) results.get(each)?.push(ms);
  }
  console.log(
    `host's rename → payload's SIGTERM handler, ms, ${ROUNDS} rounds, Node ${process.version}, ${os.cpus()[0]?.model ?? 'unknown'} × ${os.availableParallelism()}`,
  );
  console.log(`${''.padEnd(28)}${['median', 'p95', 'max'].map((head) => head.padStart(9)).join('')}`);
  let reference = Number.NaN;
  for (const [name, list] of results) {
    const sorted = list.sort((a, b) => a - b);
    const median = quantile(sorted, 0.5);
    if (Number.isNaN(reference)) reference = median;
    const shown = [median, quantile(sorted, 0.95), sorted.at(-1) ?? Number.NaN]
      .map((ms) => ms.toFixed(2).padStart(9))
      .join('');
    console.log(`${name.padEnd(28)}${shown}   ${(median / reference).toFixed(2)} × reference`);
  }
} finally {
  for (const [, subject] of subjects) await subject.close();
  for (const child of children) await end(child, 'SIGKILL');
  fs.rmSync(base, { recursive: true, force: true });
}
