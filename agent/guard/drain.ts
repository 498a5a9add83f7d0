/**
 * Stopping the payloads of a machine that goes down: through the agent, by its rules, each at once and in its own time, so that
 * nobody waits for those who need longer. Units are systemd's: their stop is in its queue already and waits there until we have
 * ended. They are waited for only where something else is to be done before, such as a hook.
 */
import { setTimeout as sleep } from 'node:timers/promises';

/** As much of a row of `GET /v1/payloads` as counts here. */
export interface Row {
  readonly id: string;
  readonly name: string;
  readonly target: 'process' | 'unit' | 'cgroup';
  readonly state: 'running' | 'stopping' | 'stopped';
  readonly grace_secs: number;
  /** UNIX seconds; null: nothing is announced. */
  readonly deadline: number | null;
  readonly stop_at: number | null;
  readonly steps: readonly { readonly signal: string | null; readonly state: string }[];
}
/** UNIX seconds. */
export interface Lifetime {
  readonly phase: string;
  readonly deadline: number | null;
  readonly stop_at: number | null;
}

/** The agent. null: it does not answer. */
export interface Daemon {
  rows(): Promise<readonly Row[] | null>;
  lifetime(): Promise<Lifetime | null>;
  /** The site has not heard the last word yet, or hooks run. */
  isTelling(): Promise<boolean | null>;
  announce(inSecs: number, reason: string): Promise<Reply | null>;
  /** Gives this payload a deadline of its own, UNIX seconds. */
  hurry(id: string, deadline: number): Promise<Reply | null>;
  /**
   * It does not answer. One that is dead is replaced, and one that hangs is ended as a `lastResort`; true where something was
   * done that is worth waiting for, which is not so for ever.
   */
  revive(lastResort: boolean): Promise<boolean>;
}
/** `later`: it answers, but has no room for this now. `refused` says why; the same words again would hear the same. */
export type Reply = 'taken' | 'later' | { readonly refused: string };

export interface DrainOptions {
  readonly daemon: Daemon;
  /** From now on; what is not over by then is left to systemd. */
  readonly budgetMs: number;
  say(text: string): void;
  readonly nowMs?: () => number;
  readonly pause?: (ms: number) => Promise<unknown>;
  /** UNIX ms, for the agent's instants. */
  readonly wallMs?: () => number;
}

const LOOK_MS = 250;
/** What begins so soon need not be hurried. */
const SOON_MS = 2_000;
/** An agent that is just being restarted or upgraded. */
const SILENCE_MS = 20_000;
/** Programs and pilots that nobody registered see at least that the end is near. */
const SHORTEST_SECS = 5;
/** The site's server may be slow, and a hook hang; half of what a hook may take by default. */
const TELL_MS = 30_000;
/** After its deadline a payload has had its SIGKILL. One that asked for none may stay, but holds up nobody else. */
const OVERDUE_MS = 10_000;
const REASON = 'the machine is going down';

/** True when nobody is left that the agent was to stop. Never rejects. */
export async function drain(options: DrainOptions): Promise<boolean> {
  const { daemon, say } = options;
  const nowMs = options.nowMs ?? (() => performance.now());
  const wallMs = options.wallMs ?? Date.now;
  const pause = options.pause ?? ((ms: number) => sleep(ms));
  const untilMs = nowMs() + options.budgetMs;

  /** Asked until it answers, or is silent for too long. */
  async function patiently<T>(ask: () => Promise<T | null>): Promise<T | null> {
    let giveUpMs = nowMs() + SILENCE_MS;
    for (;;) {
      const answer = await ask();
      if (answer !== null || nowMs() >= untilMs) return answer;
      const isLate = nowMs() >= giveUpMs;
      if (await daemon.revive(isLate)) giveUpMs = nowMs() + SILENCE_MS;
      else if (isLate) return null;
      await pause(LOOK_MS);
    }
  }

  /** The same, of one that answers and has no room; it is no dead one. */
  async function untilTaken(ask: () => Promise<Reply | null>): Promise<Reply | null> {
    const giveUpMs = Math.min(untilMs, nowMs() + SILENCE_MS);
    for (;;) {
      const reply = await patiently(ask);
      if (reply !== 'later' || nowMs() >= giveUpMs) return reply;
      await pause(LOOK_MS);
    }
  }

  /** The machine's own end: as late as whoever needs longest. */
  async function announce(rows: readonly Row[]): Promise<boolean> {
    const longestSecs = Math.max(SHORTEST_SECS, ...rows.map((row) => row.grace_secs));
    /** Less, where it took a while until somebody listened. */
    const inSecs = (): number => Math.min(longestSecs, Math.max(0, Math.floor((untilMs - nowMs()) / 1000)));
    const known = await patiently(daemon.lifetime);
    const standing = known?.deadline ?? null;
    if (standing !== null && standing * 1000 <= wallMs() + inSecs() * 1000) {
      say(`${REASON}; its end is known to the payloads already`);
      return true;
    }
    const secs = inSecs();
    // Told twice where only the answer was lost: of two such ends the earlier one counts.
    const reply = await untilTaken(() => daemon.announce(inSecs(), REASON));
    if (reply === 'taken') say(`${REASON} in ${secs} s at the latest`);
    else
      say(
        `the agent does not take the news: ${typeof reply === 'string' ? 'it has no room' : (reply?.refused ?? 'no answer')}`,
      );
    return reply === 'taken';
  }

  const hurried = new Set<string>();
  /** Each begins now and has its own lead, whatever the others need. */
  async function hurry(rows: readonly Row[]): Promise<void> {
    for (const row of rows) {
      if (hurried.has(row.id) || (row.stop_at !== null && row.stop_at * 1000 <= wallMs() + SOON_MS)) continue;
      const leadSecs = Math.min(row.grace_secs, Math.max(0, untilMs - nowMs()) / 1000);
      const reply = await daemon.hurry(row.id, Math.ceil(wallMs() / 1000 + leadSecs));
      // Of an agent that hangs each question would take its time: the next look begins with the first that is left.
      if (reply === null) return;
      if (reply === 'later') continue;
      hurried.add(row.id);
      if (reply !== 'taken') say(`${row.name} is not told at once: ${reply.refused}`);
    }
  }

  /** Nobody is left to wait for: so near is the end now that hooks are run and the site hears the last word. */
  async function bringForward(): Promise<void> {
    const seen = await daemon.lifetime();
    if (seen === null || seen.deadline === null || seen.stop_at === null || seen.stop_at * 1000 <= wallMs()) return;
    await daemon.announce(Math.max(0, seen.deadline - seen.stop_at), REASON);
  }

  async function untilTold(): Promise<void> {
    const giveUpMs = Math.min(untilMs, nowMs() + TELL_MS);
    // An agent that is being restarted still owes what it owed.
    while ((await patiently(daemon.isTelling)) === true) {
      if (nowMs() >= giveUpMs) return say('not waited for any longer: hooks that run, or the last word to the site');
      await pause(LOOK_MS);
    }
  }

  const first = await patiently(daemon.rows);
  if (first === null) {
    say('the agent does not answer: its payloads are stopped by systemd');
    return false;
  }
  if (!(await announce(first.filter(isAlive)))) return false;
  for (;;) {
    const rows = await patiently(daemon.rows);
    if (rows === null) {
      say('the agent does not answer any more: what is left is stopped by systemd');
      return false;
    }
    const alive = rows.filter(isAlive);
    const waitedFor = alive.filter((row) => isOurs(row) && !isWithSystemd(row) && !isOverdue(row, wallMs()));
    await hurry(waitedFor);
    if (waitedFor.length === 0) {
      await bringForward();
      await untilTold();
      say(alive.length === 0 ? 'no payload is left' : `left to systemd: ${namesOf(alive)}`);
      return true;
    }
    if (nowMs() >= untilMs) {
      say(`no time is left for ${namesOf(waitedFor)}`);
      return false;
    }
    await pause(LOOK_MS);
  }
}

const isAlive = ({ state }: Row): boolean => state !== 'stopped';

/** Ours to wait for: no unit, or one with more steps than those that systemd itself would take. */
const isOurs = ({ target, steps }: Row): boolean =>
  target !== 'unit' || steps.some(({ signal }) => signal !== 'SIGTERM' && signal !== 'SIGKILL');

/** Nothing more will happen to it: its time is over, and no step is to come. */
const isOverdue = ({ deadline, steps }: Row, wallMs: number): boolean =>
  deadline !== null &&
  deadline * 1000 + OVERDUE_MS <= wallMs &&
  steps.every(({ state }) => state !== 'planned' && state !== 'pending');

/** The agent has taken the step that is systemd's to carry out (unit-steps.ts). */
function isWithSystemd({ target, state, steps }: Row): boolean {
  if (target !== 'unit') return false;
  const stops = steps.filter(({ signal }) => signal === 'SIGTERM');
  if (stops.length === 0) return state === 'stopping';
  return stops.some((step) => step.state !== 'planned' && step.state !== 'pending');
}

/** Names in one line. */
const MAX_NAMED = 10;
const namesOf = (rows: readonly Row[]): string => {
  const more = rows.length > MAX_NAMED ? ` and ${rows.length - MAX_NAMED} more` : '';
  return `${rows
    .slice(0, MAX_NAMED)
    .map(({ name }) => name)
    .join(', ')}${more}`;
};
