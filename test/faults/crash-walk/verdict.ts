/** Whether a run kept the promises (DESIGN.md, 1–3): what its journal said at the crash decides what may happen afterwards. */
import type { LogLine } from './agent-process.ts';
import { stepKey } from './journal-reading.ts';
import { type Played, type PlayedPayload, playStory } from './story.ts';
import type { WalkOptions } from './walk.ts';

export interface Verdict {
  /** Empty where all promises were kept. */
  readonly faults: readonly string[];
  /** Steps sent a second time and counted as such. */
  readonly uncertain: number;
  /** Signals that a process never got, or got more often than they were counted. */
  readonly lost: number;
  readonly doubled: number;
  /** Late steps that collapsed into the next one (SEMANTICS S3.5). */
  readonly skipped: number;
  /** Longest from a step's due instant, or the restart if that is later, to the signal. */
  readonly worstDelayMs: number;
}

/** S3.5, as in SEMANTICS.md and not as in the code. */
const SHORT_WINDOW_SHARE = 0.8;
const AFTER_DEADLINE_MS = 30_000;

/** The story of process and group as a walk plays it. */
export const playJudged =
  (listen: string): WalkOptions['play'] =>
  async (run) => {
    const played = await playStory({ ...run, listen });
    return { verdict: judge(played), crashed: played.crash !== null };
  };

export function judge(played: Played): Verdict {
  const faults = [...played.seen, ...judgeAgents(played), ...judgeCrash(played), ...judgeEnd(played)];
  const sum = { uncertain: 0, lost: 0, doubled: 0, skipped: 0, worstDelayMs: 0, repeated: 0 };
  for (const payload of played.payloads) judgePayload(played, payload, faults, sum);
  // `done` follows each kill, so that a crash leaves one step at most that went out and is not known to have.
  if (sum.repeated > 1) faults.push(`${sum.repeated} steps were sent twice after one crash`);
  // Of hook steps too, unlike machine events that were told twice, which have a counter of their own.
  const told = played.agents.flatMap(({ log }) => log.filter(({ event }) => event === 'step_uncertain'));
  if (played.uncertainMetric !== told.length)
    faults.push(`mjf_steps_uncertain_total is ${played.uncertainMetric}, the log tells of ${told.length}`);
  return { ...sum, faults };
}

function judgeAgents({ agents, deadlineMs }: Played): string[] {
  const faults = agents.flatMap((agent) => [
    ...(agent.stderr() === '' ? [] : [`stderr: ${agent.stderr()}`]),
    ...agent.log.filter(isTrouble).map(({ event, msg }) => `log: ${event}: ${msg}`),
  ]);
  // An agent that comes back knows the deadline with its first breath, or learns it once; it never loses it again.
  const changes = (agents.at(-1)?.log ?? []).filter(({ event }) => event === 'deadline_changed');
  const texts = changes.map((line) => `${line['from']} → ${line['to']}`);
  if (texts.join() !== `null → ${deadlineMs / 1000}`) faults.push(`the deadline changed: ${texts.join(', ')}`);
  return faults;
}

const isTrouble = ({ level, event }: LogLine): boolean =>
  level === 'error' || level === 'fatal' || event === 'journal_damaged' || event === 'state_damaged';

function judgeCrash({ crash }: Played): string[] {
  if (crash === null) return [];
  const { journal, published, registered } = crash;
  const faults = published.faults.map((fault) => `after the crash: ${fault}`);
  if (published.showsDeadline && !journal.knowsDeadline)
    faults.push('a deadline was published before it was journalled');
  for (const id of registered)
    if (!journal.payloads.has(id)) faults.push(`payload ${id} was registered and the journal does not know it`);
  return faults;
}

function judgeEnd({ settled, deadlineMs }: Played): string[] {
  const faults = settled.faults.map((fault) => `at the end: ${fault}`);
  if (settled.deadline !== deadlineMs / 1000) faults.push(`at the end the deadline is ${settled.deadline}`);
  return faults;
}

interface Sum {
  uncertain: number;
  lost: number;
  doubled: number;
  skipped: number;
  worstDelayMs: number;
  repeated: number;
}

function judgePayload(played: Played, one: PlayedPayload, faults: string[], sum: Sum): void {
  const { crash, deadlineMs, agents } = played;
  const { plan, members } = one.payload;
  const logged = (event: string, signal: string): readonly LogLine[] =>
    agents
      .flatMap(({ log }) => log)
      .filter((line) => line.event === event && line['payload'] === one.id && line['signal'] === signal);
  const restartedMs = crash?.restartedMs ?? Number.POSITIVE_INFINITY;
  const delayed = (dueMs: number, atMs: number): void => {
    const from = atMs >= restartedMs ? Math.max(dueMs, restartedMs) : dueMs;
    sum.worstDelayMs = Math.max(sum.worstDelayMs, atMs - from);
  };
  const fault = (text: string): void => void faults.push(`${plan.name}: ${text}`);

  for (const [index, { at, signal }] of plan.steps.entries()) {
    const mark = crash?.journal.steps.get(stepKey(one.id, signal));
    const uncertain = logged('step_uncertain', signal).length;
    sum.uncertain += uncertain;
    if (uncertain !== (mark === 'issued' ? 1 : 0))
      fault(`${signal} was ${mark ?? 'not begun'} in the journal and repeated ${uncertain} times`);
    if (mark === 'repeat') fault(`${signal} was to be repeated before there was a crash`);
    if (signal === 'SIGKILL') continue;

    const dueMs = deadlineMs - at;
    const told = logged('step_skipped', signal)[0];
    // It is written down before it is told, and the agent may have died in between.
    const skipped = told !== undefined || mark === 'skipped';
    if (skipped) sum.skipped += 1;
    const nextDueMs = deadlineMs - (plan.steps[index + 1]?.at ?? 0);
    if (told !== undefined && Date.parse(told.time) < nextDueMs)
      fault(`${signal} was skipped although the next step was not due`);
    let twice = false;
    for (const member of members) {
      const got = one.received.filter((each) => each.member === member && each.signal === signal);
      const before = got.filter(({ atMs }) => atMs < restartedMs).length;
      const after = got.length - before;
      const first = got[0];
      if (first === undefined) {
        if (skipped) continue;
        sum.lost += 1;
        fault(`${member} never got ${signal}`);
        continue;
      }
      if (skipped) fault(`${member} got ${signal}, which the log calls skipped`);
      if (first.atMs < dueMs) fault(`${member} got ${signal} ${dueMs - first.atMs} ms too early`);
      delayed(dueMs, first.atMs);
      twice ||= before > 0 && after > 0;
      const expectedAfter = crash === null || mark === 'done' ? 0 : 1;
      if (crash !== null && mark === undefined && before > 0) fault(`${member} got ${signal} before it was journalled`);
      if (before > 1 || after > expectedAfter) {
        sum.doubled += 1;
        fault(`${member} got ${signal} ${before} times before the crash and ${after} times after it (${mark})`);
      } else if (after < expectedAfter) {
        sum.lost += 1;
        fault(`${member} did not get ${signal} after the crash (${mark ?? 'not begun'} in the journal)`);
      }
    }
    if (twice) sum.repeated += 1;
  }
  judgeKill(one, deadlineMs, fault, delayed);
}

/** SIGKILL comes last, never before SIGTERM, and not before the time that the window of the SIGTERM leaves. */
function judgeKill(
  { payload, end, received }: PlayedPayload,
  deadlineMs: number,
  fault: (text: string) => void,
  delayed: (dueMs: number, atMs: number) => void,
): void {
  if (end.by !== 'SIGKILL') fault(`ended by ${end.by}`);
  const killAt = payload.plan.steps.find(({ signal }) => signal === 'SIGKILL')?.at ?? 0;
  const terms = received.filter(({ member, signal }) => member === 'leader' && signal === 'SIGTERM');
  const term = terms.at(-1);
  if (term === undefined || term.atMs > end.atMs) {
    fault('SIGKILL came without a SIGTERM before it');
    return;
  }
  const windowMs = deadlineMs - term.atMs;
  const configuredMs = deadlineMs - killAt;
  if (end.atMs < configuredMs) fault(`SIGKILL came ${configuredMs - end.atMs} ms too early`);
  const dueMs =
    windowMs <= 0 ? term.atMs + AFTER_DEADLINE_MS : Math.max(configuredMs, term.atMs + SHORT_WINDOW_SHARE * windowMs);
  delayed(dueMs, end.atMs);
}
