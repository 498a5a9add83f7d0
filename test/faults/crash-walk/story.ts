/** One run: the whole story of a machine that is told its end, with an agent that dies at one moment and is started again. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type DaemonAnswer, type DaemonRequest, request } from '../../../agent/client.ts';
import { type AgentProcess, type Places, placesIn, startAgent } from './agent-process.ts';
import { type JournalSays, readJournal } from './journal-reading.ts';
import { type RecordingPayload, startRecording } from './payload.ts';
import { ANNOUNCED_AHEAD_MS, HOST, type Moment, PAYLOADS } from './plan.ts';
import { deadlineInFile, inspect, type Published } from './published.ts';

/** An agent or payload starts in a third of a second; a laden machine takes longer. */
const WAIT_MS = 20_000;
/** S3.5: whose SIGTERM comes after the deadline gets its SIGKILL 30 s later; only a very slow machine sees that. */
const DEATH_WAIT_MS = 60_000;
const RETRY_MS = 15;
/** How often a reader looks whether the deadline is still published. */
const LOOK_MS = 20;
/** Of a story that comes to no end, so many lines of the agent's log are told. */
const LAST_WORDS = 6;

export interface Crash {
  /** When the agent that followed was started: what is received later is its doing. */
  readonly restartedMs: number;
  readonly journal: JournalSays;
  readonly published: Published;
  /** The deadline stood in `lifetime.json` or journal; the host was then taken away before the restart. */
  readonly deadlineKnown: boolean;
  /** Ids of living payloads whose registration had been answered. */
  readonly registered: readonly string[];
}

export interface PlayedPayload {
  readonly id: string;
  readonly payload: RecordingPayload;
  readonly end: { readonly by: string | null; readonly atMs: number };
  readonly received: ReturnType<RecordingPayload['received']>;
}

export interface Played {
  readonly deadlineMs: number;
  /** null: the agent made fewer calls than that. */
  readonly crash: Crash | null;
  readonly payloads: readonly PlayedPayload[];
  readonly agents: readonly AgentProcess[];
  /** After both payloads had gone, before the agent was stopped. */
  readonly settled: Published;
  /** `mjf_steps_uncertain_total` of the agent that lived last. */
  readonly uncertainMetric: number;
  /** What a reader saw meanwhile that nobody should see. */
  readonly seen: readonly string[];
}

export interface StoryOptions {
  readonly program: string;
  readonly listen: string;
  readonly shim: Moment | { readonly countInto: string };
}

/** Plays it to its end; rejects where it does not come to one. Leaves nothing behind. */
export async function playStory(options: StoryOptions): Promise<Played> {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-walk-'));
  const endings: (() => void | Promise<void>)[] = [];
  const ending = { after: (fn: () => void | Promise<void>) => void endings.push(fn) };
  const agents: AgentProcess[] = [];
  try {
    return await play(options, dir, ending, agents);
  } catch (error) {
    const words = (agents.at(-1)?.log ?? []).slice(-LAST_WORDS).map(({ msg }) => msg);
    throw new Error(`${error instanceof Error ? error.message : String(error)}; the agent: ${words.join(' | ')}`);
  } finally {
    await Promise.all(endings.map((end) => end()));
    fs.rmSync(dir, { recursive: true, force: true });
  }
}

interface Ending {
  after(fn: () => void | Promise<void>): void;
}

async function play(
  { program, listen, shim }: StoryOptions,
  dir: string,
  t: Ending,
  agents: AgentProcess[],
): Promise<Played> {
  const places = placesIn(dir);
  layOutHost(places);
  const payloads: { readonly payload: RecordingPayload; id: string | null; alive: boolean }[] = [];
  let deadlineMs: number | null = null;
  let crash: Crash | null = null;
  const deadlineSecs = (): number | null => (deadlineMs === null ? null : deadlineMs / 1000);

  const launch = (withShim: boolean): void => {
    const agent = startAgent({ program, places, listen, ...(withShim && { shim }) });
    agents.push(agent);
    t.after(async () => {
      agent.kill('SIGKILL');
      await agent.ended;
    });
    void agent.ended.then(({ signal }) => {
      if (withShim && signal === 'SIGKILL') comeBack();
    });
  };
  /** Everything is judged as the dead agent left it, before another one mends it. */
  const comeBack = (): void => {
    const journal = readJournal(places.journal);
    const published = inspect(places.runtime, deadlineSecs());
    const deadlineKnown = journal.knowsDeadline || typeof published.deadline === 'number';
    const registered = payloads.flatMap(({ id, alive }) => (id !== null && alive ? [id] : []));
    if (deadlineKnown) fs.renameSync(places.host, `${places.host}.away`);
    crash = { restartedMs: Date.now(), journal, published, deadlineKnown, registered };
    launch(false);
  };

  const look = startLooking(places.runtime, deadlineSecs);
  t.after(look.stop);
  launch(true);
  const started = await Promise.all(PAYLOADS.map((plan) => startRecording(t, plan, path.join(dir, plan.name))));
  for (const payload of started) payloads.push({ payload, id: null, alive: true });
  for (const entry of payloads) {
    void entry.payload.dead.then(() => {
      entry.alive = false;
    });
    entry.id = await until(
      () => `registration of ${entry.payload.plan.name}`,
      () => register(places, entry.payload),
    );
  }
  deadlineMs = Math.ceil((Date.now() + ANNOUNCED_AHEAD_MS) / 1000) * 1000;
  announce(places, deadlineMs / 1000);
  const ends = await Promise.all(
    started.map((payload) => bounded(payload.dead, DEATH_WAIT_MS, `payload ${payload.plan.name} to be stopped`)),
  );
  const { settled, uncertainMetric } = await stopAgent(places, deadlineSecs, () => agents.at(-1) as AgentProcess);
  look.stop();
  return {
    deadlineMs,
    crash,
    payloads: payloads.map(({ payload, id }, index) => ({
      payload,
      id: id ?? '',
      end: ends[index] ?? { by: null, atMs: 0 },
      received: payload.received(),
    })),
    agents,
    settled,
    uncertainMetric,
    seen: look.faults(),
  };
}

/** Waits until nothing is left to do and ends the agent; from the start again should it die of that. */
async function stopAgent(
  places: Places,
  deadline: () => number | null,
  current: () => AgentProcess,
): Promise<{ readonly settled: Published; readonly uncertainMetric: number }> {
  for (;;) {
    let now = inspect(places.runtime, deadline());
    const settled = await until(
      () => `both payloads to be gone, but ${now.living} live, ${now.ended} have ended, views are left: ${now.views}`,
      async () => {
        now = inspect(places.runtime, deadline());
        return now.living === 0 && now.ended === PAYLOADS.length && now.views.length === 0 ? now : null;
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
    const agent = current();
    agent.kill('SIGTERM');
    const { code, signal } = await bounded(agent.ended, WAIT_MS, 'the agent to end');
    if (code === 0) return { settled, uncertainMetric };
    if (agent === current()) throw new Error(`the agent ended with code ${code}, signal ${signal}: ${agent.stderr()}`);
  }
}

function layOutHost(places: Places): void {
  fs.mkdirSync(places.agent);
  for (const [folder, values] of Object.entries(HOST)) {
    fs.mkdirSync(path.join(places.host, folder), { recursive: true });
    for (const [key, value] of Object.entries(values)) fs.writeFileSync(path.join(places.host, folder, key), value);
  }
}

function announce({ host }: Places, deadline: number): void {
  const file = path.join(host, 'machinefeatures', 'shutdowntime');
  fs.writeFileSync(path.join(host, 'new'), `${deadline}\n`);
  fs.renameSync(path.join(host, 'new'), file);
}

/** null: ask again. Registered already is as good: the agent that heard of it died before it could say so. */
async function register(places: Places, { plan, pid }: RecordingPayload): Promise<string | null> {
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
function startLooking(runtime: string, deadline: () => number | null) {
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

async function until<T>(what: () => string, attempt: () => Promise<T | null>): Promise<T> {
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
