/** One run: the whole story of a machine that is told its end, with an agent that dies at one moment and is started again. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { isAlive } from '../../support/processes.ts';
import type { Zoo } from '../../support/zoo.ts';
import { type AgentProcess, placesIn, startAgent } from './agent-process.ts';
import { type JournalSays, readJournal } from './journal-reading.ts';
import { type RecordingPayload, startRecording } from './payload.ts';
import { ANNOUNCED_AHEAD_MS, type Moment, PAYLOADS } from './plan.ts';
import { inspect, type Published } from './published.ts';
import { announce, layOutHost, register, startLooking, stopAgent, until } from './stage.ts';

/** S3.5: whose SIGTERM comes after the deadline gets its SIGKILL 30 s later; only a very slow machine sees that. */
const DEATH_WAIT_MS = 60_000;
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
  /** Where its payloads live. */
  readonly zoo: Zoo;
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
  { program, listen, shim, zoo }: StoryOptions,
  dir: string,
  t: Ending,
  agents: AgentProcess[],
): Promise<Played> {
  const places = placesIn(dir);
  layOutHost(places);
  const payloads: { readonly payload: RecordingPayload; id: string | null }[] = [];
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
    // After the journal: who is alive now was so all the while.
    const registered = payloads.flatMap(({ id, payload }) => (id !== null && isAlive(payload.pid) ? [id] : []));
    if (deadlineKnown) fs.renameSync(places.host, `${places.host}.away`);
    crash = { restartedMs: Date.now(), journal, published, deadlineKnown, registered };
    launch(false);
  };

  const look = startLooking(places.runtime, deadlineSecs);
  t.after(look.stop);
  launch(true);
  const started = await startRecording(t, zoo, PAYLOADS);
  for (const payload of started) payloads.push({ payload, id: null });
  for (const entry of payloads) {
    entry.id = await until(
      () => `registration of ${entry.payload.plan.name}`,
      () => register(places, entry.payload),
    );
  }
  deadlineMs = Math.ceil((Date.now() + ANNOUNCED_AHEAD_MS) / 1000) * 1000;
  announce(places, deadlineMs / 1000);
  const ends = await Promise.all(payloads.map(({ payload }) => payload.dead(DEATH_WAIT_MS)));
  const { settled, uncertainMetric } = await stopAgent(
    places,
    deadlineSecs,
    () => agents.at(-1) as AgentProcess,
    PAYLOADS.length,
  );
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
