/**
 * `exec` and its daemon: registers the payload, follows the plan that the daemon has for it by hanging GETs, and tells what
 * was done. A daemon that is gone is looked for again and again, since it may be restarting in the middle of an upgrade.
 */
import type { Logger } from 'pino';
import { request } from '../client.ts';
import { durationMs, isDuration } from '../duration.ts';
import type { EscalationStep, StatedNotice, StepResultReport } from '../lifetime/types.ts';

/** A hanging GET ends after this even if nothing changes, so that a half-dead connection is noticed. */
const HANG_SECS = 20;
/** An answer that does not hang comes from the same machine: it is there at once or not at all. */
const ANSWER_BOUND_MS = 3_000;
/** Pause before the daemon is looked for again, jittered: a restart takes a few hundred milliseconds. */
const RETRY_MS = 500;
/** S3.8: gone for longer than a restart takes; from then on `exec` reads the host's channels itself. */
export const DAEMON_LOST_MS = 3_000;

/** The daemon's plan for this payload. */
export interface DaemonPlan {
  /** UNIX ms; null = no deadline that is to be acted on. */
  readonly deadlineMs: number | null;
  readonly reason: string;
  /** The daemon's `[stop]` as far as the payload states none of its own. */
  readonly graceMs: number | null;
  readonly steps: readonly EscalationStep[] | null;
}

export interface DaemonLink {
  acknowledge(report: StepResultReport): void;
  /** Ends following, deregisters within a bound. */
  close(): Promise<void>;
}

export function followDaemon(options: {
  readonly runtimeDir: string;
  readonly registration: Readonly<Record<string, unknown>>;
  readonly log: Logger;
  onPlan(plan: DaemonPlan): void;
  /** `found` again, or `lost` for longer than a restart takes. */
  onState(state: 'found' | 'lost'): void;
}): DaemonLink {
  const { runtimeDir, registration, log } = options;
  const stop = new AbortController();
  const unsent: StepResultReport[] = [];
  let id: string | null = null;
  let lostSince: number | null = performance.now();
  let reported: 'found' | 'lost' | null = null;
  let refused = false;
  let sending: Promise<void> | null = null;

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

  async function follow(): Promise<void> {
    let etag = '';
    let path = '';
    while (!stop.signal.aborted) {
      if (id === null && !refused) {
        await register();
        etag = '';
      }
      const wanted = id === null ? '/v1/lifetime' : `/v1/payloads/${id}`;
      if (wanted !== path) etag = '';
      path = wanted;
      const query =
        etag === '' ? '' : `?wait_for_change=true&last_etag=${encodeURIComponent(etag)}&timeout_sec=${HANG_SECS}`;
      const answer = await request({
        channel: id === null ? 'agent' : 'tcp',
        runtimeDir,
        method: 'GET',
        path: path + query,
        timeoutMs: query === '' ? ANSWER_BOUND_MS : HANG_SECS * 1000 + ANSWER_BOUND_MS,
        signal: stop.signal,
      });
      if (stop.signal.aborted) return;
      if (!('unreachable' in answer) && answer.status === 404 && id !== null) {
        // It has forgotten us, or has not entered us yet (time has jumped and it asks its sources first): register anew.
        id = null;
      } else if (!('unreachable' in answer) && answer.status === 200) {
        etag = String(answer.headers['etag'] ?? '');
        const plan = id === null ? planOfLifetime(answer.body) : planOfRow(answer.body);
        // Before `found` takes the other sources away: without any deadline for a moment, the payload would be stopped anew.
        if (plan !== null) options.onPlan(plan);
        answered();
        await sendAcknowledgements();
        if (etag !== '') continue;
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

  async function register(): Promise<void> {
    const answer = await request({
      channel: 'tcp',
      runtimeDir,
      method: 'POST',
      path: '/v1/payloads',
      body: registration,
      timeoutMs: ANSWER_BOUND_MS,
      signal: stop.signal,
    });
    if ('unreachable' in answer) return;
    if (answer.status === 201) {
      id = text(parse(answer.body)['id']);
      log.debug({ event: 'registered', payload: id }, `registered with the daemon as ${id}`);
    } else if (answer.status === 409 && answer.headers.location !== undefined) {
      // It was registered by a request whose answer did not reach us.
      id = decodeURIComponent(answer.headers.location.slice(answer.headers.location.lastIndexOf('/') + 1));
    } else if (answer.status === 403 || answer.status === 422 || answer.status === 400) {
      // It will not be otherwise next time. The deadline is read all the same; only a take-over is not to be had.
      refused = true;
      log.warn(
        { event: 'registration_refused', status: answer.status },
        `the daemon does not register this payload (${answer.status} ${text(parse(answer.body)['detail']) ?? ''}): its deadline is followed all the same`,
      );
    }
  }

  /** One at a time: two would both send the first report, and take it and the second off the list. */
  function sendAcknowledgements(): Promise<void> {
    sending ??= sendAll().finally(() => {
      sending = null;
    });
    return sending;
  }

  async function sendAll(): Promise<void> {
    while (id !== null && unsent.length > 0) {
      const results = unsent.map(({ step, outcome, at }) => ({ ...step, outcome, at: at.wall / 1000 }));
      const answer = await request({
        channel: 'tcp',
        runtimeDir,
        method: 'POST',
        path: `/v1/payloads/${id}/steps_done`,
        body: { results },
        timeoutMs: ANSWER_BOUND_MS,
      });
      // Sent again with the next plan. What it will never take (400, 409) is let go; forgotten (404), it registers us anew.
      if ('unreachable' in answer || answer.status >= 500 || [403, 404, 429].includes(answer.status)) return;
      unsent.splice(0, results.length);
    }
  }

  // Whatever the daemon says, the payload's supervision must not end over it.
  const following = follow().catch((error: unknown) => {
    log.error({ event: 'internal', err: error }, 'a fault in following the daemon: its last plan stands');
    options.onState('lost');
  });
  return {
    acknowledge(report) {
      unsent.push(report);
      void sendAcknowledgements();
    },
    async close() {
      await sendAcknowledgements();
      stop.abort();
      await following;
      if (id !== null)
        await request({
          channel: 'tcp',
          runtimeDir,
          method: 'DELETE',
          path: `/v1/payloads/${id}`,
          timeoutMs: RETRY_MS,
        });
    },
  };
}

/** The deadline as a notice for `exec`'s own heart. */
export const noticeOf = (plan: DaemonPlan): StatedNotice => ({
  kind: 'shutdown',
  deadlineMs: plan.deadlineMs,
  reason: plan.reason,
});

function planOfRow(body: Buffer): DaemonPlan | null {
  const row = parse(body);
  if (typeof row['state'] !== 'string') return null;
  const steps = Array.isArray(row['steps']) ? row['steps'].map(stepOf).filter((step) => step !== null) : [];
  return {
    deadlineMs: milliseconds(row['deadline']),
    reason: text(row['reason']) ?? 'deadline',
    graceMs: milliseconds(row['grace_secs']),
    steps: steps.length > 0 ? steps : null,
  };
}

function planOfLifetime(body: Buffer): DaemonPlan | null {
  const document = parse(body);
  if (typeof document['phase'] !== 'string') return null;
  return {
    deadlineMs: milliseconds(document['deadline']),
    reason: text(document['reason']) ?? 'deadline',
    graceMs: milliseconds(document['stop_grace_secs']),
    steps: null,
  };
}

function stepOf(value: unknown): EscalationStep | null {
  if (typeof value !== 'object' || value === null) return null;
  const { at, signal, to } = value as Record<string, unknown>;
  if (typeof signal !== 'string' || typeof at !== 'string') return null;
  if (at !== 'grace' && !isDuration(at)) return null;
  return {
    at: at === 'grace' ? 'grace' : durationMs(at),
    signal,
    ...((to === 'leader' || to === 'group' || to === 'all') && { to }),
  };
}

const milliseconds = (secs: unknown): number | null => (typeof secs === 'number' ? secs * 1000 : null);
const text = (value: unknown): string | null => (typeof value === 'string' ? value : null);

function parse(body: Buffer): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(body.toString());
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
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
