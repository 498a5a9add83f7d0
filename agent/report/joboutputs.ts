/**
 * The payloads' and the agent's words to the site: `$JOBOUTPUTS`, a flat place that takes files, as a URL (PUT) or a
 * directory (HSF-TN-2016-04, "Vacuum Platform"; mjf.md, "VM to site"). Nothing here ever delays a signal: files are queued,
 * delivered one after the other, and tried again until the agent ends.
 */
import os from 'node:os';
import type { Logger } from 'pino';
import type { JobOutputsConfig } from '../config/types.ts';
import { isOwnEndpoint, type OwnAddress } from '../own-endpoint.ts';
import type { Publication } from '../ports.ts';
import { type DeliverFile, type DeliveryFailure, deliverTo } from './deliver.ts';

/** What waits for a site that does not answer: enough for the logs of a machine's last minutes, small beside its memory. */
const MAX_QUEUED_BYTES = 8 * 1024 * 1024;
const MAX_QUEUED_FILES = 64;
/** First pause after a failure and the longest one; jittered, since all guests of a site fail at the same moment. */
const RETRY_FIRST_MS = 1_000;
const RETRY_MOST_MS = 60_000;
/** While ending, failures are not waited out; this keeps it from spinning. */
const CLOSING_PAUSE_MS = 100;
/** What is still queued when the agent is told to stop gets this long. */
const CLOSE_BOUND_MS = 1_500;

export interface JobOutputs {
  /** Queues a payload's file; the latest content of a name wins. */
  put(name: string, body: Buffer): 'stored' | 'no_channel' | 'full';
  /** The place by a platform's metadata: taken where neither configuration nor environment names one (mjf.md, "Locations"). */
  pointTo(place: string | undefined): void;
  /** Looks at the new truth: the first Snapshot in which the host's deadline has stopped the last payload sends `100`. */
  update(publication: Publication): void;
  /** The message with which the machine goes has not reached the site yet. */
  owesLastWord(): boolean;
  /** Ends after what is queued went out, or the bound. */
  close(): Promise<void>;
}

interface Waiting {
  readonly name: string;
  readonly body: Buffer;
  /** Failures so far, and when it is tried again (performance.now). */
  readonly failures: number;
  readonly notBefore: number;
}

/**
 * The channel: configuration, else `$JOBOUTPUTS` of the agent's own environment where it does not name the agent itself.
 * Without one, everything is answered `no_channel`. The agent's own words have a queue of their own that goes first: no
 * payload can crowd out the heartbeat or the last message.
 */
export function openJobOutputs(options: JobOutputsOptions): JobOutputs {
  const { config, log } = options;
  let deliver = channelOf(options, options.env['JOBOUTPUTS']);
  const named = deliver !== null;
  const own = new Map<string, Waiting>();
  const queue = new Map<string, Waiting>();
  const stopped = new AbortController();
  /** Two lines to the site: a payload's file that hangs must not hold up the agent's own words. */
  const working = new Map<Map<string, Waiting>, Promise<void>>();
  let told = false;
  let closing = false;
  let failing = false;
  const wakes = new Set<() => void>();

  function enqueue(to: Map<string, Waiting>, name: string, body: Buffer): void {
    to.set(name, { name, body, failures: 0, notBefore: 0 });
    for (const wake of wakes) wake();
    if (deliver === null || working.has(to)) return;
    working.set(
      to,
      work(deliver, to).finally(() => working.delete(to)),
    );
  }

  /** The next that may go out: whoever waits longest for his turn. */
  function next(from: Map<string, Waiting>): Waiting | null {
    const now = performance.now();
    for (const each of from.values()) if (closing || each.notBefore <= now) return each;
    return null;
  }

  async function work(send: DeliverFile, from: Map<string, Waiting>): Promise<void> {
    while (from.size > 0 && !stopped.signal.aborted) {
      const file = next(from);
      if (file === null) {
        const soonest = Math.min(...[...from.values()].map(({ notBefore }) => notBefore));
        await new Promise<void>((resolve) => {
          const wake = (): void => {
            wakes.delete(wake);
            resolve();
          };
          wakes.add(wake);
          pauseFor(Math.max(0, soonest - performance.now()), stopped.signal).then(wake);
        });
        continue;
      }
      settle(from, file, await send(file.name, file.body, stopped.signal));
      if (closing && failing) await pauseFor(CLOSING_PAUSE_MS, stopped.signal);
    }
  }

  function settle(from: Map<string, Waiting>, file: Waiting, failure: DeliveryFailure | null): void {
    // Overtaken by newer content while it was on its way: that one has its own turn.
    const current = from.get(file.name) === file;
    if (failure === null) {
      if (current) from.delete(file.name);
      if (failing) log.info({ event: 'report_recovered', file: file.name }, 'the site takes reports again');
      failing = false;
      return;
    }
    if (stopped.signal.aborted || !current) return;
    from.delete(file.name);
    if (failure.final && from === queue) {
      log.warn(
        { event: 'report_refused', file: file.name, error: failure.code },
        `${file.name}: the site refuses it (${failure.code}), it is dropped`,
      );
      return;
    }
    if (!failing)
      log.warn(
        { event: 'report_failed', file: file.name, error: failure.code },
        `${file.name} could not be handed to the site (${failure.code}), it is tried again`,
      );
    failing = true;
    const pause = Math.min(RETRY_MOST_MS, RETRY_FIRST_MS * 2 ** file.failures) * (0.5 + Math.random() / 2);
    from.set(file.name, { ...file, failures: file.failures + 1, notBefore: performance.now() + pause });
  }

  // The site destroys a machine whose heartbeat stops (mjf.md, "VM to site"): load and uptime, as Vac's own hooks write it.
  let beating: NodeJS.Timeout | undefined;
  function startBeating(): void {
    const beat = deliver === null ? null : (config?.heartbeatFile ?? null);
    if (beat === null || beating !== undefined) return;
    beating = setInterval(() => enqueue(own, beat, heartbeatText()), config?.heartbeatMs).unref();
    enqueue(own, beat, heartbeatText());
  }
  startBeating();

  return {
    pointTo(place) {
      if (named || place === undefined || closing) return;
      deliver = channelOf(options, place);
      startBeating();
    },
    put(name, body) {
      if (deliver === null) return 'no_channel';
      const queued = [...queue.values()].reduce((sum, each) => sum + (each.name === name ? 0 : each.body.length), 0);
      if (queued + body.length > MAX_QUEUED_BYTES || (!queue.has(name) && queue.size >= MAX_QUEUED_FILES))
        return 'full';
      enqueue(queue, name, body);
      return 'stored';
    },
    update({ snapshot }) {
      const { phase, deadlineMs, payloads, reason } = snapshot;
      // A second announcement after a clear is a new word; a time that only moved is not.
      if (deadlineMs === null) told = false;
      if (deliver === null || told || phase !== 'stopped' || payloads.stopped + payloads.stopping === 0) return;
      told = true;
      const text = '100 Shutdown as requested by the host';
      enqueue(own, 'shutdown_message', Buffer.from(text));
      log.info({ event: 'shutdown_message', code: 100, reason }, `tells the site: ${text}`);
    },
    owesLastWord: () => deliver !== null && own.has('shutdown_message'),
    async close() {
      closing = true;
      clearInterval(beating);
      for (const wake of wakes) wake();
      const bound = setTimeout(() => stopped.abort(), CLOSE_BOUND_MS);
      await Promise.all(working.values());
      clearTimeout(bound);
      stopped.abort();
      const left = [...own.keys(), ...queue.keys()];
      if (left.length > 0)
        log.warn({ event: 'report_lost', files: left }, `${left.length} reports did not reach the site`);
    },
  };
}

export interface JobOutputsOptions {
  readonly config: JobOutputsConfig | null;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly self: { readonly command: string; readonly args: readonly string[] };
  readonly ownAddresses: readonly OwnAddress[];
  readonly log: Logger;
}

/** `named`: by `$JOBOUTPUTS`, or by the metadata of the platform. */
function channelOf(options: JobOutputsOptions, named: string | undefined): DeliverFile | null {
  const { config, self, ownAddresses, log } = options;
  const url =
    config?.url ?? (config?.directory == null && named !== undefined && /^https?:\/\//.test(named) ? named : null);
  if (url !== null && !URL.canParse(url)) {
    log.warn({ event: 'report_channel_bad' }, 'joboutputs is not a URL: nothing is reported');
    return null;
  }
  // `$JOBOUTPUTS` as the agent itself exports it: a report sent there would come back to us for ever.
  if (url !== null && isOwnEndpoint(url, ownAddresses)) return null;
  const directory = config?.directory ?? (url === null && named?.startsWith('/') ? named : null);
  if (url === null && directory === null) return null;
  // Without user, password or query, which may be secrets.
  const to = url === null ? directory : new URL(url).origin + new URL(url).pathname;
  log.info({ event: 'report_channel', to }, `reports go to ${to}`);
  return deliverTo(
    { url, directory, ca: config?.caFile ?? null, cert: config?.certFile ?? null, key: config?.keyFile ?? null },
    self,
  );
}

/** Like /proc/loadavg and /proc/uptime, one line each. */
const heartbeatText = (): Buffer =>
  Buffer.from(
    `${os
      .loadavg()
      .map((load) => load.toFixed(2))
      .join(' ')}\n${os.uptime()}\n`,
  );

function pauseFor(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    timer.unref();
    signal.addEventListener('abort', done, { once: true });
    function done(): void {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    }
  });
}
