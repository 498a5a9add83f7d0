/**
 * `exec` and its daemon: keeps the payload's row, follows the plan that the daemon has for it by hanging GETs, and tells what
 * was done. A daemon that is gone is looked for again and again, since it may be restarting in the middle of an upgrade.
 */
import type { Logger } from 'pino';
import { request } from '../client.ts';
import type { StepResultReport } from '../lifetime/types.ts';
import { type DaemonPlan, planOfLifetime, planOfRow } from './daemon-plan.ts';
import { ANSWER_BOUND_MS, openDaemonRow, type RowTarget } from './daemon-row.ts';

/** A hanging GET ends after this even if nothing changes, so that a half-dead connection is noticed. */
const HANG_SECS = 20;
/** Pause before the daemon is looked for again, jittered: a restart takes a few hundred milliseconds. */
const RETRY_MS = 500;
/** S3.8: gone for longer than a restart takes; from then on `exec` reads the host's channels itself. */
export const DAEMON_LOST_MS = 3_000;

export interface DaemonLink {
  /** Before the payload starts: true when the daemon shows its view. Bounded. */
  reserve(): Promise<boolean>;
  /** The payload runs. */
  follow(target: RowTarget): void;
  acknowledge(report: StepResultReport): void;
  /** Ends following, deregisters within a bound. */
  close(): Promise<void>;
}

export function openDaemonLink(options: {
  readonly runtimeDir: string;
  readonly registration: Readonly<Record<string, unknown>>;
  readonly marker: string;
  readonly view: string;
  readonly log: Logger;
  onPlan(plan: DaemonPlan): void;
  /** `found` again, or `lost` for longer than a restart takes. */
  onState(state: 'found' | 'lost'): void;
}): DaemonLink {
  const { runtimeDir, log } = options;
  const row = openDaemonRow(options);
  const stop = new AbortController();
  let lostSince: number | null = null;
  let reported: 'found' | 'lost' | null = null;
  let following: Promise<void> | null = null;

  function answered(): void {
    lostSince = null;
    if (reported !== 'found') options.onState('found');
    reported = 'found';
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
      const settled = await row.settle(target, stop.signal);
      const id = row.id();
      const wanted = id === null ? '/v1/lifetime' : `/v1/payloads/${id}`;
      if (wanted !== path) etag = '';
      path = wanted;
      // A row that does not name its process yet is asked without hanging: it is to be named first.
      const hangs = etag !== '' && settled;
      const query = hangs ? `?wait_for_change=true&last_etag=${encodeURIComponent(etag)}&timeout_sec=${HANG_SECS}` : '';
      const answer = await request({
        channel: id === null ? 'agent' : 'tcp',
        runtimeDir,
        method: 'GET',
        path: path + query,
        timeoutMs: hangs ? HANG_SECS * 1000 + ANSWER_BOUND_MS : ANSWER_BOUND_MS,
        signal: stop.signal,
      });
      if (stop.signal.aborted) return;
      if (!('unreachable' in answer) && answer.status === 404 && id !== null) {
        row.forgotten();
      } else if (!('unreachable' in answer) && answer.status === 200) {
        etag = String(answer.headers['etag'] ?? '');
        const plan = id === null ? planOfLifetime(answer.body) : planOfRow(answer.body);
        // Before `found` takes the other sources away: without any deadline for a moment, the payload would be stopped anew.
        if (plan !== null) options.onPlan(plan);
        answered();
        await row.acknowledge();
        if (etag !== '' && settled) continue;
      } else if (id === null || !(await readMachine())) {
        unanswered();
      }
      await pause(RETRY_MS * (0.5 + Math.random()), stop.signal);
    }
  }

  /** The machine's deadline over the agent's own socket, which no other user can block or imitate: better than no plan. */
  async function readMachine(): Promise<boolean> {
    const answer = await request({
      channel: 'agent',
      runtimeDir,
      method: 'GET',
      path: '/v1/lifetime',
      timeoutMs: ANSWER_BOUND_MS,
      signal: stop.signal,
    });
    const plan = 'unreachable' in answer || answer.status !== 200 ? null : planOfLifetime(answer.body);
    if (plan === null) return false;
    options.onPlan(plan);
    answered();
    return true;
  }

  return {
    reserve: row.reserve,
    follow(target) {
      // Whatever the daemon says, the payload's supervision must not end over it.
      following ??= follow(target).catch((error: unknown) => {
        log.error({ event: 'internal', err: error }, 'a fault in following the daemon: its last plan stands');
        options.onState('lost');
      });
    },
    acknowledge: (report) => void row.acknowledge(report),
    async close() {
      await row.acknowledge();
      stop.abort();
      await following;
      await row.remove();
    },
  };
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(end, ms);
    signal.addEventListener('abort', end, { once: true });
    function end(): void {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    }
  });
}
