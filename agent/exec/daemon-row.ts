/**
 * The payload's row with the daemon. It is reserved before the payload starts, so that its view stands before its first
 * instruction; it names the payload's process afterwards; and a daemon that has lost it gets it again, under the same view.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { type DaemonAnswer, request } from '../client.ts';
import type { FinalWord, StepResultReport } from '../lifetime/types.ts';
import { parseObject, textOf } from './daemon-plan.ts';

/** An answer that does not hang comes from the same machine: it is there at once or not at all. */
export const ANSWER_BOUND_MS = 3_000;
/** A start waits no longer for a view: a daemon that is that slow has other worries, and the payload can do without. */
const RESERVE_BOUND_MS = 3_000;
/** Between two tries while the daemon says that it is busy, jittered. */
const BUSY_MS = 150;
/** After a jump of time the daemon enters nothing before it has asked its sources (S4.2: 2 s); until then it knows no row. */
const ENTERED_MS = 4_000;
/** Between two tries while the daemon is away, jittered: a restart takes a few hundred milliseconds. */
const AWAY_MS = 100;
/** Goodbye: the daemon sees the end of the payload by itself if need be. */
const DEREGISTER_BOUND_MS = 500;
const BUSY: ReadonlySet<number> = new Set([429, 503]);

/** The process that the row is to name. */
export interface RowTarget {
  readonly pid: number;
  readonly group: boolean;
}

export interface DaemonRow {
  /** Null where there is none. */
  id(): string | null;
  /** True when the daemon keeps the view from now on. Once, before anything else. */
  reserve(): Promise<boolean>;
  /** Registers the process, or lets the reservation name it. False: to be tried again soon. */
  settle(target: RowTarget, signal: AbortSignal): Promise<boolean>;
  /** The daemon knows no such row (any more). */
  forgotten(): void;
  /** Sends what was done, one batch after the other; what was not taken is sent with the next call. */
  acknowledge(...reports: readonly StepResultReport[]): Promise<void>;
  /**
   * The last word of a payload that has ended, from its exit code: before `remove`, which ends the row. Tried again while the
   * daemon is busy until `byMono` (performance.now()), while it is away until `awayUntilMono`. False: it was not taken.
   */
  tell(word: FinalWord, byMono: number, awayUntilMono?: number): Promise<boolean>;
  /** `started`: there was a process, also where it ended before the row could name it. It has lived (S5.2). */
  remove(started: boolean): Promise<void>;
}

export function openDaemonRow(options: {
  readonly runtimeDir: string;
  /** Name, steps, limits, as `POST /v1/payloads` takes them. */
  readonly registration: Readonly<Record<string, unknown>>;
  readonly marker: string;
  readonly view: string;
  /** When the payload began, UNIX ms by the clock as it goes now: for a daemon that hears of it later, and counts from then. */
  readonly beganMs?: () => number;
  readonly log: Logger;
}): DaemonRow {
  const { runtimeDir, registration, log } = options;
  let marker: string | undefined = options.marker;
  const unsent: StepResultReport[] = [];
  let view: string | undefined = options.view;
  let id: string | null = null;
  let named = false;
  let refused = false;
  let reservedAt: number | null = null;
  let sending: Promise<void> | null = null;

  const ask = (
    method: 'POST' | 'PATCH' | 'DELETE',
    below: string,
    body?: unknown,
    { timeoutMs = ANSWER_BOUND_MS, signal }: { timeoutMs?: number; signal?: AbortSignal } = {},
  ): Promise<DaemonAnswer> =>
    request({
      channel: 'tcp',
      runtimeDir,
      method,
      path: `/v1/payloads${below}`,
      timeoutMs,
      ...(body !== undefined && { body }),
      ...(signal !== undefined && { signal }),
    });

  const marked = (target: object) => ({ ...target, ...(marker !== undefined && { marker }) });

  const post = (
    target: object,
    bounds: { timeoutMs?: number; signal?: AbortSignal },
    beganMs?: number,
  ): Promise<DaemonAnswer> =>
    ask(
      'POST',
      '',
      {
        ...registration,
        target: marked(target),
        ...(beganMs !== undefined && { running_since: Math.round(beganMs) / 1000 }),
        deliverer_pid: process.pid,
        ...(view !== undefined && { view }),
      },
      bounds,
    );

  async function reserve(): Promise<boolean> {
    const giveUpAt = performance.now() + RESERVE_BOUND_MS;
    for (let leftMs = RESERVE_BOUND_MS; leftMs > 0; leftMs = giveUpAt - performance.now()) {
      const answer = await post({ pid: process.pid }, { timeoutMs: leftMs });
      if ('unreachable' in answer) return false;
      if (answer.status === 201) {
        id = textOf(parseObject(answer.body)['id']);
        reservedAt = performance.now();
        return id !== null;
      }
      if (!BUSY.has(answer.status)) return false;
      await sleep(BUSY_MS * (0.5 + Math.random()));
    }
    return false;
  }

  async function settle(target: RowTarget, signal: AbortSignal): Promise<boolean> {
    const registered = id !== null || refused || (await register(target, signal));
    return registered && (id === null || named || (await name(id, target, signal)));
  }

  /** True: registered, or not to be had for now. */
  async function register(target: RowTarget, signal: AbortSignal): Promise<boolean> {
    const answer = await post(target, { signal }, options.beganMs?.());
    if ('unreachable' in answer) return true;
    if (answer.status === 201) {
      id = textOf(parseObject(answer.body)['id']);
      named = true;
      log.debug({ event: 'registered', payload: id }, `registered with the daemon as ${id}`);
    } else if (answer.status === 409 && answer.headers.location !== undefined) {
      // It was registered, or reserved, by a request whose answer did not reach us.
      id = decodeURIComponent(answer.headers.location.slice(answer.headers.location.lastIndexOf('/') + 1));
      named = false;
    } else if (answer.status === 409) {
      // Somebody else's view: he has guessed 128 bits, or this is no honest daemon. The deadline matters more.
      view = undefined;
      return false;
    } else if (isUnmarked(answer)) {
      return false;
    } else if (isFinal(answer.status)) {
      refused = true;
      complain(answer);
    }
    return !BUSY.has(answer.status);
  }

  async function name(row: string, target: RowTarget, signal: AbortSignal): Promise<boolean> {
    const answer = await ask('PATCH', `/${row}`, { target: marked(target) }, { signal });
    if ('unreachable' in answer || isUnmarked(answer)) return false;
    if (answer.status === 404) forgotten();
    // 409: this row names it already. 422: it has ended meanwhile.
    named = answer.status === 200 || answer.status === 409 || isFinal(answer.status);
    if (named) reservedAt = null;
    if (answer.status === 400 || answer.status === 403) complain(answer);
    return named;
  }

  /** Who overwrites his environment, or starts a program without it, is held by his group and session alone. */
  function isUnmarked({ status, body }: Extract<DaemonAnswer, { status: number }>): boolean {
    if (status !== 422 || marker === undefined || parseObject(body)['code'] !== 'bad_marker') return false;
    marker = undefined;
    return true;
  }

  /** It will not be otherwise next time. The deadline is read all the same; only a take-over is not to be had. */
  function complain({ status, body }: Extract<DaemonAnswer, { status: number }>): void {
    log.warn(
      { event: 'registration_refused', status },
      `the daemon does not register this payload (${status} ${textOf(parseObject(body)['detail']) ?? ''}): its deadline is followed all the same`,
    );
  }

  const isNotEnteredYet = (): boolean => reservedAt !== null && performance.now() - reservedAt < ENTERED_MS;

  function forgotten(): void {
    if (isNotEnteredYet()) return;
    id = null;
    named = false;
  }

  /** One batch at a time: two would both send the first report, and take it and the second off the list. */
  function acknowledge(...reports: readonly StepResultReport[]): Promise<void> {
    unsent.push(...reports);
    sending ??= sendAll().finally(() => {
      sending = null;
    });
    return sending;
  }

  async function sendAll(): Promise<void> {
    while (id !== null && unsent.length > 0) {
      const results = unsent.map(({ step, outcome, at }) => ({ ...step, outcome, at: at.wall / 1000 }));
      const answer = await ask('POST', `/${id}/steps_done`, { results });
      // Sent again with the next plan. What it will never take (400, 409) is let go; forgotten (404), it registers us anew.
      if ('unreachable' in answer || answer.status >= 500 || [403, 404, 429].includes(answer.status)) return;
      unsent.splice(0, results.length);
    }
  }

  async function tell({ code, text }: FinalWord, byMono: number, awayUntilMono = byMono): Promise<boolean> {
    const body = { code, ...(text !== '' && { text }), by: 'exit' };
    let isAway = false;
    const leftMs = (): number => (isAway ? awayUntilMono : byMono) - performance.now();
    while (id !== null && leftMs() > 0) {
      const answer = await ask('POST', `/${id}/final_word`, body, { timeoutMs: leftMs() });
      isAway = 'unreachable' in answer;
      if (!('unreachable' in answer) && answer.status === 200) return true;
      if (!('unreachable' in answer) && !BUSY.has(answer.status) && !(answer.status === 404 && isNotEnteredYet())) {
        log.debug({ event: 'final_word_refused', status: answer.status }, `the daemon does not take ${code}`);
        return false;
      }
      await sleep((isAway ? AWAY_MS : BUSY_MS) * (0.5 + Math.random()));
    }
    return false;
  }

  return {
    id: () => id,
    reserve,
    settle,
    forgotten,
    acknowledge,
    tell,
    async remove(started) {
      const below = `/${id}${started ? '?started=true' : ''}`;
      if (id !== null) await ask('DELETE', below, undefined, { timeoutMs: DEREGISTER_BOUND_MS });
    },
  };
}

const isFinal = (status: number): boolean => status === 400 || status === 403 || status === 422;
