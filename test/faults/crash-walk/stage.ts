/** What every story needs: a host that announces, registrations, a reader that looks on, and an end. */
import fs from 'node:fs';
import path from 'node:path';
import { type DaemonAnswer, type DaemonRequest, request } from '../../../agent/client.ts';
import type { AgentProcess, Places } from './agent-process.ts';
import type { RecordingPayload } from './payload.ts';
import { HOST } from './plan.ts';
import { deadlineInFile, inspect, type Published } from './published.ts';

/** An agent or payload starts in a third of a second; a laden machine takes longer. */
const WAIT_MS = 60_000;
const RETRY_MS = 15;
/** How often a reader looks whether the deadline is still published. */
const LOOK_MS = 20;

/** Waits until nothing is left to do and ends the agent; from the start again should it die of that. */
export async function stopAgent(
  places: Places,
  deadline: () => number | null,
  current: () => AgentProcess,
  payloads: number,
): Promise<{ readonly settled: Published; readonly uncertainMetric: number }> {
  for (;;) {
    let now = inspect(places.runtime, deadline());
    const settled = await until(
      () => `both payloads to be gone, but ${now.living} live, ${now.ended} have ended, views are left: ${now.views}`,
      async () => {
        now = inspect(places.runtime, deadline());
        return now.living === 0 && now.ended === payloads && now.views.length === 0 ? now : null;
      },
    );
    const uncertainMetric = await until(
      () => 'metrics',
      async () => {
        const answer = await ask(places, { channel: 'agent', method: 'GET', path: '/metrics' });
        if (answer === null) return null;
        return Number(/^mjf_steps_uncertain_total (\d+)$/m.exec(answer.body.toString())?.[1] ?? 0);
      },
    );
    if (await endAgent(places, current)) return { settled, uncertainMetric };
  }
}

/** Ends it once it answers. Whether it ended in order; false where the shim ended it, and another one lives. */
export async function endAgent(places: Places, current: () => AgentProcess): Promise<boolean> {
  await until(
    () => 'an answer',
    () => ask(places, { channel: 'agent', method: 'GET', path: '/healthz' }),
  );
  const agent = current();
  agent.kill('SIGTERM');
  const { code, signal } = await bounded(agent.ended, WAIT_MS, 'the agent to end');
  if (code === 0) return true;
  if (agent === current()) throw new Error(`the agent ended with code ${code}, signal ${signal}: ${agent.stderr()}`);
  return false;
}

export function layOutHost(places: Places): void {
  fs.mkdirSync(places.agent);
  for (const [folder, values] of Object.entries(HOST)) {
    fs.mkdirSync(path.join(places.host, folder), { recursive: true });
    for (const [key, value] of Object.entries(values)) fs.writeFileSync(path.join(places.host, folder, key), value);
  }
}

export function announce({ host }: Places, deadline: number): void {
  const file = path.join(host, 'machinefeatures', 'shutdowntime');
  fs.writeFileSync(path.join(host, 'new'), `${deadline}\n`);
  fs.renameSync(path.join(host, 'new'), file);
}

/** null: ask again. Registered already is as good: the agent that heard of it died before it could say so. */
export async function register(places: Places, { plan, pid }: RecordingPayload): Promise<string | null> {
  const answer = await ask(places, {
    channel: 'admin',
    method: 'POST',
    path: '/v1/payloads',
    body: {
      name: plan.name,
      target: { pid, group: plan.group },
      steps: plan.steps.map((step) => ({ ...step, at: `${step.at}ms` })),
    },
  });
  if (answer === null) return null;
  if (answer.status !== 201 && answer.status !== 409) throw new Error(`${answer.status}: ${answer.body.toString()}`);
  return path.basename(String(answer.headers.location));
}

async function ask(
  { runtime }: Places,
  what: Pick<DaemonRequest, 'channel' | 'method' | 'path' | 'body'>,
): Promise<Exclude<DaemonAnswer, { unreachable: string }> | null> {
  const answer = await request({ runtimeDir: runtime, timeoutMs: WAIT_MS, ...what });
  return 'unreachable' in answer ? null : answer;
}

/** A reader that has once seen the deadline in `lifetime.json` must see it ever after. */
export function startLooking(runtime: string, deadline: () => number | null) {
  const faults = new Set<string>();
  let known = false;
  const timer = setInterval(() => {
    try {
      const now = deadlineInFile(runtime);
      if (known && now !== deadline()) faults.add(`the published deadline became ${now}`);
      known ||= typeof now === 'number';
    } catch (error) {
      faults.add(`lifetime.json could not be read: ${error instanceof Error ? error.message : String(error)}`);
    }
  }, LOOK_MS);
  return { stop: () => clearInterval(timer), faults: () => [...faults] };
}

export async function until<T>(what: () => string, attempt: () => Promise<T | null>): Promise<T> {
  const giveUpMs = Date.now() + WAIT_MS;
  for (;;) {
    const result = await attempt();
    if (result !== null) return result;
    if (Date.now() > giveUpMs) throw new Error(`waited ${WAIT_MS} ms for ${what()} in vain`);
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

async function bounded<T>(promise: Promise<T>, ms: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${ms} ms for ${what} in vain`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
