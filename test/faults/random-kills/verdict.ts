/**
 * Whether the promises were kept over several crashes (DESIGN.md, 1–3): what each journal said decides what may happen
 * afterwards. A step is sent once; once more where a journal held it as begun and not as done, and then it is counted.
 */
import type { LogLine } from '../crash-walk/agent-process.ts';
import { stepKey } from '../crash-walk/journal-reading.ts';
import type { Survived } from './story.ts';

export interface Judgement {
  readonly faults: readonly string[];
  readonly counts: Counts;
}
export interface Counts {
  steps: number;
  /** Sent a second time, and counted so. */
  uncertain: number;
  /** Late ones that collapsed into the next (S3.5). */
  skipped: number;
  /** Begun twice, and both times the agent died of it: nobody may send it a third time. */
  given_up: number;
  /** Longest from a step's due instant, or from the moment an agent was back if that is later, to its signal, ms. */
  worstDelayMs: number;
}

/** Many times what a laden machine needs from a due instant to the signal. */
const LATE_MS = 5_000;

export function judgeKills(survived: Survived): Judgement {
  const { agents, kills, settled, seen, deadlineMs } = survived;
  const counts: Counts = { steps: 0, uncertain: 0, skipped: 0, given_up: 0, worstDelayMs: 0 };
  const faults = [
    ...seen,
    ...agents.flatMap((agent) => (agent.stderr() === '' ? [] : [`stderr: ${agent.stderr()}`])),
    ...agents.flatMap(({ log }) => log.filter(isTrouble).map(({ event, msg }) => `log: ${event}: ${msg}`)),
    ...kills.flatMap(({ published, journal, alive }) => [
      ...published.faults.map((fault) => `after a crash: ${fault}`),
      ...(published.showsDeadline && !journal.knowsDeadline
        ? ['a deadline was published before it was journalled']
        : []),
      ...alive.flatMap((id) => (journal.payloads.has(id) ? [] : [`the journal has lost payload ${id}`])),
    ]),
    ...settled.faults.map((fault) => `at the end: ${fault}`),
    ...(settled.deadline === deadlineMs / 1000 ? [] : [`at the end the deadline is ${settled.deadline}`]),
  ];
  for (const payload of survived.payloads) judgePayload(survived, payload, faults, counts);
  return { faults, counts };
}

const isTrouble = ({ level, event }: LogLine): boolean =>
  level === 'error' || level === 'fatal' || event === 'journal_damaged' || event === 'state_damaged';

function judgePayload(
  { kills, agents, deadlineMs }: Survived,
  { id, payload, end, records }: Survived['payloads'][number],
  faults: string[],
  counts: Counts,
): void {
  const { plan, members } = payload;
  const fault = (text: string): void => void faults.push(`${plan.name}: ${text}`);
  const logged = (event: string, signal: string): readonly LogLine[] =>
    agents.flatMap(({ log }) =>
      log.filter((line) => line.event === event && line['payload'] === id && line['signal'] === signal),
    );
  const senders = new Set(agents.map(({ pid }) => pid));
  for (const { member, what, sender } of records)
    if (!what.includes(':') && !senders.has(sender)) fault(`${member} got ${what} from ${sender}, who is no agent`);

  for (const [index, { at, signal }] of plan.steps.entries()) {
    counts.steps += 1;
    if (signal === 'SIGKILL') continue;
    const key = stepKey(id, signal);
    const dueMs = deadlineMs - at;
    const marks = kills.map(({ journal, restartedMs }) => ({
      state: journal.steps.get(key),
      again: journal.uncertain.has(key),
      restartedMs,
    }));
    const counted = marks.some(({ again }) => again) || logged('step_uncertain', signal).length > 0;
    if (counted) counts.uncertain += 1;
    const skips = logged('step_skipped', signal);
    const skipped = skips.length > 0 || marks.some(({ state }) => state === 'skipped');
    if (skipped) counts.skipped += 1;
    const nextDueMs = deadlineMs - (plan.steps[index + 1]?.at ?? 0);
    for (const { time } of skips)
      if (Date.parse(time) < nextDueMs) fault(`${signal} was skipped although the next step was not due`);
    const givenUp = marks.some(({ state, again }) => state === 'issued' && again);

    for (const member of members) {
      const got = records.filter((each) => each.member === member && each.what === signal).map(({ atMs }) => atMs);
      const [first, second] = got;
      if (first === undefined) {
        if (givenUp) counts.given_up += 1;
        else if (!skipped) fault(`${member} never got ${signal} (${marks.map(({ state }) => state)})`);
        continue;
      }
      if (skipped) fault(`${member} got ${signal}, which is called skipped`);
      if (got.length > (counted ? 2 : 1)) fault(`${member} got ${signal} ${got.length} times, counted: ${counted}`);
      if (first < dueMs) fault(`${member} got ${signal} ${dueMs - first} ms too early`);
      const between = ({ restartedMs }: { readonly restartedMs: number }) =>
        second !== undefined && first < restartedMs && restartedMs <= second;
      if (second !== undefined && !marks.some((mark) => between(mark) && /issued|repeat/.test(mark.state ?? '')))
        fault(`${member} got ${signal} twice, and no journal in between had it as begun`);
      for (const { state, restartedMs } of marks) {
        if (state === 'done' && got.some((atMs) => atMs >= restartedMs))
          fault(`${signal} came again, it had been done`);
        if (state === undefined && got.some((atMs) => atMs < restartedMs))
          fault(`${signal} came before it was journalled`);
      }
      delayed(agents, dueMs, first, `${member} got ${signal}`, fault, counts);
    }
  }
  const unwarned = kills.some(({ journal }) => {
    const key = stepKey(id, 'SIGTERM');
    return journal.steps.get(key) === 'issued' && journal.uncertain.has(key);
  });
  judgeEnd({ end, steps: plan.steps, records, unwarned }, deadlineMs, fault);
}

/** Signals go by turns (payloads/turns.ts): where the machine is busy, the last ones come when the doors are open already. */
const TURNS_MS = 1_000;

/** None is late by more than the restart: what was due while no agent was there goes out before the next one has its doors open. */
function delayed(
  agents: Survived['agents'],
  dueMs: number,
  atMs: number,
  what: string,
  fault: (text: string) => void,
  counts: Counts,
): void {
  const sender = agents.findLast(({ startedMs }) => startedMs <= atMs);
  const upMs = timeOf(sender?.log.find(({ event }) => event === 'restored')) ?? sender?.startedMs ?? 0;
  const openMs = timeOf(sender?.log.find(({ event }) => event === 'http_listening'));
  if (dueMs <= (sender?.startedMs ?? 0) && openMs !== null && atMs > openMs + TURNS_MS)
    fault(`${what} ${atMs - openMs} ms after the agent was back with its doors open`);
  const delayMs = atMs - Math.max(dueMs, upMs);
  if (delayMs > LATE_MS) fault(`${what} ${delayMs} ms late`);
  counts.worstDelayMs = Math.max(counts.worstDelayMs, delayMs);
}

const timeOf = (line: LogLine | undefined): number | null => (line === undefined ? null : Date.parse(line.time));

/** `unwarned`: its SIGTERM was given up, see above. */
function judgeEnd(
  {
    end,
    steps,
    records,
    unwarned,
  }: {
    readonly end: Survived['payloads'][number]['end'];
    readonly steps: readonly { readonly at: number; readonly signal: string }[];
    readonly records: Survived['payloads'][number]['records'];
    readonly unwarned: boolean;
  },
  deadlineMs: number,
  fault: (text: string) => void,
): void {
  if (end.by !== 'SIGKILL') fault(`ended by ${end.by}`);
  const killAt = steps.find(({ signal }) => signal === 'SIGKILL')?.at ?? 0;
  if (end.atMs < deadlineMs - killAt) fault('SIGKILL came too early');
  const term = records.find(({ member, what }) => member === 'leader' && what === 'SIGTERM');
  if (!unwarned && (term === undefined || term.atMs > end.atMs)) fault('SIGKILL came without a SIGTERM before it');
}
