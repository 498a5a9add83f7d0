/** One escalation of several payloads during which the agent is killed again and again, and started again at once. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { isAlive } from '../../support/processes.ts';
import type { Zoo, ZooRecord } from '../../support/zoo.ts';
import { type AgentProcess, placesIn, startAgent } from '../crash-walk/agent-process.ts';
import { type JournalSays, readJournal } from '../crash-walk/journal-reading.ts';
import { type RecordingPayload, startRecording } from '../crash-walk/payload.ts';
import { inspect, type Published } from '../crash-walk/published.ts';
import { announce, layOutHost, register, startLooking, stopAgent, until } from '../crash-walk/stage.ts';
import { AHEAD_MS, PLANS } from './moments.ts';

/** S3.5: whose SIGTERM comes after the deadline gets its SIGKILL 30 s later; only a very slow machine sees that. */
const DEATH_WAIT_MS = 60_000;

export interface Kill {
  /** When the agent that followed was started: what is received later is its doing. */
  readonly restartedMs: number;
  readonly journal: JournalSays;
  readonly published: Published;
  /** Ids of payloads whose leader had not yet ended. */
  readonly alive: readonly string[];
}

export interface Survived {
  readonly deadlineMs: number;
  readonly kills: readonly Kill[];
  readonly agents: readonly AgentProcess[];
  readonly payloads: readonly {
    readonly id: string;
    readonly payload: RecordingPayload;
    readonly end: { readonly by: string | null; readonly atMs: number };
    readonly records: readonly ZooRecord[];
  }[];
  readonly settled: Published;
  /** What a reader saw meanwhile that nobody should see. */
  readonly seen: readonly string[];
}

/** `moments`: ms before the deadline, in their order. Rejects where the story comes to no end. Leaves nothing behind. */
export async function playKills(options: {
  readonly program: string;
  readonly zoo: Zoo;
  readonly moments: readonly number[];
}): Promise<Survived> {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-kills-'));
  const endings: (() => void | Promise<void>)[] = [];
  try {
    return await play(options, dir, { after: (fn) => void endings.push(fn) });
  } finally {
    // The last first: nobody is started again by what is ended here.
    for (const end of endings.reverse()) await end();
    fs.rmSync(dir, { recursive: true, force: true });
  }
}

async function play(
  { program, zoo, moments }: Parameters<typeof playKills>[0],
  dir: string,
  t: { after(fn: () => void | Promise<void>): void },
): Promise<Survived> {
  const places = placesIn(dir);
  layOutHost(places);
  const agents: AgentProcess[] = [];
  const kills: Kill[] = [];
  const entries: { readonly payload: RecordingPayload; readonly id: string }[] = [];
  let deadlineMs: number | null = null;
  const deadlineSecs = (): number | null => (deadlineMs === null ? null : deadlineMs / 1000);

  const launch = (): void => {
    const agent = startAgent({ program, places, listen: 'off' });
    agents.push(agent);
    t.after(async () => {
      agent.kill('SIGKILL');
      await agent.ended;
    });
  };
  /** Judged as the dead agent left it, before another one mends it. */
  const killOnce = async (): Promise<void> => {
    const agent = agents.at(-1);
    agent?.kill('SIGKILL');
    await agent?.ended;
    const journal = readJournal(places.journal);
    const published = inspect(places.runtime, deadlineSecs());
    // What was known once must be known without the host.
    if (journal.knowsDeadline) fs.rmSync(places.host, { recursive: true, force: true });
    // After the journal: who is alive now was so all the while.
    const alive = entries.flatMap(({ id, payload }) => (isAlive(payload.pid) ? [id] : []));
    kills.push({ restartedMs: Date.now(), journal, published, alive });
    launch();
  };

  const look = startLooking(places.runtime, deadlineSecs);
  t.after(look.stop);
  launch();
  for (const payload of await startRecording(t, zoo, PLANS)) {
    const id = await until(
      () => `registration of ${payload.plan.name}`,
      () => register(places, payload),
    );
    entries.push({ payload, id });
  }
  deadlineMs = Math.ceil((Date.now() + AHEAD_MS) / 1000) * 1000;
  announce(places, deadlineMs / 1000);
  const ends = Promise.all(entries.map(({ payload }) => payload.dead(DEATH_WAIT_MS)));
  // It is waited for below; until then nobody may call it unhandled.
  ends.catch(() => undefined);
  // One after the other: an agent is there before the next one is killed, be it only just.
  for (const moment of moments) {
    const waitMs = deadlineMs - moment - Date.now();
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
    await killOnce();
  }
  const ended = await ends;
  const { settled } = await stopAgent(places, deadlineSecs, () => agents.at(-1) as AgentProcess, PLANS.length);
  look.stop();
  return {
    deadlineMs,
    kills,
    agents,
    payloads: entries.map(({ payload, id }, index) => ({
      id,
      payload,
      end: ended[index] ?? { by: null, atMs: 0 },
      records: payload.records(),
    })),
    settled,
    seen: look.faults(),
  };
}
