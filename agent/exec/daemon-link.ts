/**
 * `exec` and its daemon: keeps the payload's row, follows the plan that the daemon has for it by hanging GETs, and tells what
 * was done. A daemon that is gone is looked for again and again, since it may be restarting in the middle of an upgrade.
 */
import type { Logger } from 'pino';
import { type DaemonAnswer, request } from '../client.ts';
import type { FinalWord, StepResultReport } from '../lifetime/types.ts';
import { FAULT_CODE } from '../lifetime/words.ts';
import { pause } from '../pause.ts';
import { type DaemonPlan, planOfLifetime, planOfRow } from './daemon-plan.ts';
import { ANSWER_BOUND_MS, openDaemonRow, type RowTarget } from './daemon-row.ts';
import { type DaemonWord, type KnownDeadline, settles, wordOf } from './daemon-word.ts';

/** A hanging GET ends after this even if nothing changes, so that a half-dead connection is noticed. */
const HANG_SECS = 20;
/** While its word is not enough yet: that it has become ready wakes no hanging GET. Doubled up to the most, for the daemon's sake. */
const UNSETTLED_HANG_SECS = 2;
const MOST_UNSETTLED_HANG_SECS = 8;
/** Pause before the daemon is looked for again, jittered: a restart takes a few hundred milliseconds. */
const RETRY_MS = 500;
/** At the end what was done and the last word are told within this: with the goodbye itself, `exec` ends 2 s later at the latest. */
const LAST_TELLING_MS = 1_500;
/**
 * A fault is told to a daemon that is only just away for longer: one with reports for a site that hangs takes up to four
 * seconds to end (agent.ts), and the next one would call a payload without a word well done.
 */
const LAST_TELLING_AWAY_MS = 6_000;
/** S3.8: gone for longer than a restart takes; from then on `exec` reads the host's channels itself. */
export const DAEMON_LOST_MS = 3_000;

export interface DaemonLink {
  /** Before the payload starts: true when the daemon shows its view. Bounded. */
  reserve(): Promise<boolean>;
  /** Of its row; null where there is none. */
  id(): string | null;
  /** The payload runs. */
  follow(target: RowTarget): void;
  acknowledge(report: StepResultReport): void;
  /** After a jump of time: once the daemon has said something new, or is known to be away. Bounded by whoever waits. */
  askedAnew(): Promise<void>;
  /**
   * Ends following, tells the payload's last word, deregisters; all within a bound. `leave`: the row stays, since some of the
   * payload lives; the daemon takes it over as it does when `exec` dies (S3.8). Gives whether there is such a row.
   */
  close(end?: { readonly word: FinalWord; readonly leave: boolean }): Promise<boolean>;
}

export function openDaemonLink(options: {
  readonly runtimeDir: string;
  readonly registration: Readonly<Record<string, unknown>>;
  readonly marker: string;
  readonly view: string;
  readonly beganMs?: () => number;
  /** The wall limit that `exec` counts itself. */
  readonly wallSecs?: number | undefined;
  readonly log: Logger;
  /** The deadlines that `exec` has from the host's own channels. */
  known(): readonly KnownDeadline[];
  onPlan(plan: DaemonPlan): void;
  /** `found` again, and its word is enough (daemon-word.ts); or `lost` for longer than a restart takes. */
  onState(state: 'found' | 'lost'): void;
}): DaemonLink {
  const { runtimeDir, log } = options;
  const row = openDaemonRow(options);
  const stop = new AbortController();
  let lostSince: number | null = null;
  let reported: 'found' | 'lost' | null = null;
  let following: Promise<void> | null = null;
  /** This daemon, as long as contact lasts, has heard everybody who had named a deadline: its plan counts, whatever it is. */
  let settled = false;
  let unsettledHangSecs = UNSETTLED_HANG_SECS;
  let taken: DaemonPlan | null = null;
  let told: readonly KnownDeadline[] = [];
  const waiting: (() => void)[] = [];

  /**
   * An earlier deadline counts at once, whoever says it. That there is none, or a later one, counts from a daemon that has
   * heard the sources: else the start of one that has lost its memory would take back what was announced (promise 1). Until
   * then the last plan stands, and what `exec` has read itself with it. An operator's `--ignore` shows in the daemon's word.
   */
  async function take(plan: DaemonPlan): Promise<void> {
    lostSince = null;
    const counts = settled || !takesBack(plan, taken);
    // Before `found` takes the other sources away: without any deadline for a moment, the payload would be stopped anew.
    if (counts) accept(plan);
    const word = await readWord();
    if (word !== null && !settled) {
      settled = settles(word, options.known(), told);
      if (settled && !counts) accept(plan);
    }
    if (word !== null)
      told = settled ? word.said : [...new Map([...told, ...word.said].map((each) => [each.id, each])).values()];
    if (settled && reported !== 'found') {
      reported = 'found';
      options.onState('found');
    }
  }

  function accept(plan: DaemonPlan): void {
    taken = plan;
    options.onPlan(plan);
  }

  const askAgent = (path: string): Promise<DaemonAnswer> =>
    request({ channel: 'agent', runtimeDir, method: 'GET', path, timeoutMs: ANSWER_BOUND_MS, signal: stop.signal });

  async function readWord(): Promise<DaemonWord | null> {
    const ready = settled ? null : await askAgent('/readyz');
    const answer = await askAgent('/v1/lifetime');
    if ('unreachable' in answer || answer.status !== 200) return null;
    return wordOf(answer.body, ready === null || (!('unreachable' in ready) && ready.status === 200));
  }

  /** It may be another one next time. */
  function lostContact(): void {
    settled = false;
    unsettledHangSecs = UNSETTLED_HANG_SECS;
  }

  function unanswered(): void {
    lostSince ??= performance.now();
    if (reported === 'lost' || performance.now() - lostSince < DAEMON_LOST_MS) return;
    reported = 'lost';
    options.onState('lost');
  }

  async function follow(target: RowTarget): Promise<void> {
    lostSince = performance.now();
    let etag = '';
    let path = '';
    while (!stop.signal.aborted) {
      const isNamed = await row.settle(target, stop.signal);
      const id = row.id();
      const wanted = id === null ? '/v1/lifetime' : `/v1/payloads/${id}`;
      if (wanted !== path) etag = '';
      path = wanted;
      // A row that does not name its process yet is asked without hanging: it is to be named first.
      const hangs = etag !== '' && isNamed;
      const hangSecs = settled ? HANG_SECS : unsettledHangSecs;
      const query = hangs ? `?wait_for_change=true&last_etag=${encodeURIComponent(etag)}&timeout_sec=${hangSecs}` : '';
      const answer = await request({
        channel: id === null ? 'agent' : 'tcp',
        runtimeDir,
        method: 'GET',
        path: path + query,
        timeoutMs: hangs ? hangSecs * 1000 + ANSWER_BOUND_MS : ANSWER_BOUND_MS,
        signal: stop.signal,
      });
      if (stop.signal.aborted) return;
      if (!('unreachable' in answer) && answer.status === 404 && id !== null) {
        lostContact();
        row.forgotten();
      } else if (!('unreachable' in answer) && answer.status === 200) {
        etag = String(answer.headers['etag'] ?? '');
        if (hangs && !settled) unsettledHangSecs = Math.min(2 * unsettledHangSecs, MOST_UNSETTLED_HANG_SECS);
        const plan = id === null ? planOfLifetime(answer.body) : planOfRow(answer.body, options.wallSecs);
        if (plan !== null) await take(plan);
        tellWaiting();
        await row.acknowledge();
        if (etag !== '' && isNamed) continue;
      } else {
        lostContact();
        if (id === null || !(await readMachine())) unanswered();
        tellWaiting();
      }
      await pause(RETRY_MS * (0.5 + Math.random()), stop.signal, true);
    }
  }

  /** The machine's deadline over the agent's own socket, which no other user can block or imitate: better than no plan. */
  async function readMachine(): Promise<boolean> {
    const answer = await askAgent('/v1/lifetime');
    const plan = 'unreachable' in answer || answer.status !== 200 ? null : planOfLifetime(answer.body);
    if (plan === null) return false;
    await take(plan);
    return true;
  }

  function tellWaiting(): void {
    for (const tell of waiting.splice(0)) tell();
  }

  return {
    reserve: row.reserve,
    id: row.id,
    follow(target) {
      // Whatever the daemon says, the payload's supervision must not end over it.
      following ??= follow(target).catch((error: unknown) => {
        log.error({ event: 'internal', err: error }, 'a fault in following the daemon: its last plan stands');
        options.onState('lost');
        reported = 'lost';
        tellWaiting();
      });
    },
    acknowledge: (report) => void row.acknowledge(report),
    askedAnew: () =>
      following === null || reported === 'lost'
        ? Promise.resolve()
        : new Promise<void>((resolve) => waiting.push(resolve)),
    async close(end) {
      const byMono = performance.now() + LAST_TELLING_MS;
      const acknowledged = row.acknowledge();
      stop.abort();
      // What is on its way to a daemon that hangs ends with us.
      await within(byMono, following);
      const waits = end !== undefined && end.word.code >= FAULT_CODE && reported !== 'lost';
      const awayUntilMono = waits ? byMono - LAST_TELLING_MS + LAST_TELLING_AWAY_MS : byMono;
      const taken = end && row.tell(end.word, byMono, awayUntilMono);
      await within(byMono, acknowledged);
      await within(awayUntilMono, taken);
      const stays = end?.leave === true && following !== null && row.id() !== null && reported !== 'lost';
      if (!stays) await row.remove(following !== null);
      return stays;
    },
  };
}

/** Once these are settled, or the time is over. */
async function within(byMono: number, ...work: readonly (Promise<unknown> | null | undefined)[]): Promise<void> {
  const over = new AbortController();
  await Promise.race([Promise.all(work), pause(Math.max(0, byMono - performance.now()), over.signal, true)]);
  over.abort();
}

const takesBack = (plan: DaemonPlan, before: DaemonPlan | null): boolean =>
  before !== null && before.deadlineMs !== null && (plan.deadlineMs === null || plan.deadlineMs > before.deadlineMs);
