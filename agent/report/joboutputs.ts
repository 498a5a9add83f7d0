/**
 * The payloads' and the agent's words to the site: `$JOBOUTPUTS`, a flat place that takes files, as a URL (PUT) or a
 * directory (HSF-TN-2016-04, "Vacuum Platform"; mjf.md, "VM to site"). Nothing here ever delays a signal: files are queued,
 * delivered one after the other, and tried again until the agent ends.
 */
import os from 'node:os';
import type { Logger } from 'pino';
import type { JobOutputsConfig } from '../config/types.ts';
import { isOwnEndpoint } from '../own-endpoint.ts';
import type { Publication } from '../ports.ts';
import { type DeliverFile, deliverTo } from './deliver.ts';

/** What waits for a site that does not answer: enough for the logs of a machine's last minutes, small beside its memory. */
const MAX_QUEUED_BYTES = 8 * 1024 * 1024;
const MAX_QUEUED_FILES = 64;
/** First pause after a failure and the longest one; jittered, since all guests of a site fail at the same moment. */
const RETRY_FIRST_MS = 1_000;
const RETRY_MOST_MS = 60_000;
/** What is still queued when the agent is told to stop gets this long. */
const CLOSE_BOUND_MS = 1_500;

export interface JobOutputs {
  /** Queues a file; the latest content of a name wins. */
  put(name: string, body: Buffer): 'stored' | 'no_channel' | 'full';
  /** Looks at the new truth: the first Snapshot in which the host's deadline has stopped the last payload sends `100`. */
  update(publication: Publication): void;
  /** Ends after what is queued went out, or the bound. */
  close(): Promise<void>;
}

/**
 * The channel: configuration, else `$JOBOUTPUTS` of the agent's own environment where it does not name the agent itself.
 * Without one, everything is answered `no_channel`.
 */
export function openJobOutputs(options: {
  readonly config: JobOutputsConfig | null;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly self: { readonly command: string; readonly args: readonly string[] };
  readonly ownPorts: readonly number[];
  readonly log: Logger;
}): JobOutputs {
  const { config, log } = options;
  const deliver = channelOf(options);
  const queue = new Map<string, Buffer>();
  const stopped = new AbortController();
  let working: Promise<void> | null = null;
  let told: number | null = null;
  let closing = false;

  function put(name: string, body: Buffer): 'stored' | 'no_channel' | 'full' {
    if (deliver === null) return 'no_channel';
    const queued = [...queue].reduce((sum, [other, { length }]) => sum + (other === name ? 0 : length), 0);
    if (queued + body.length > MAX_QUEUED_BYTES || (!queue.has(name) && queue.size >= MAX_QUEUED_FILES)) return 'full';
    queue.set(name, body);
    working ??= work(deliver).finally(() => {
      working = null;
    });
    return 'stored';
  }

  async function work(send: DeliverFile): Promise<void> {
    let pause = RETRY_FIRST_MS;
    let failing = false;
    for (let next = queue.entries().next(); !next.done; next = queue.entries().next()) {
      const [name, body] = next.value;
      const failure = await send(name, body, stopped.signal);
      if (failure === null) {
        if (queue.get(name) === body) queue.delete(name);
        if (failing) log.info({ event: 'report_recovered', file: name }, 'the site takes reports again');
        failing = false;
        pause = RETRY_FIRST_MS;
        continue;
      }
      if (stopped.signal.aborted) return;
      if (!failing)
        log.warn(
          { event: 'report_failed', file: name, error: failure },
          `${name} could not be handed to the site (${failure}), it is tried again`,
        );
      failing = true;
      // The others get their turn: one file that the site refuses must not hold back the rest.
      if (queue.delete(name)) queue.set(name, body);
      await pauseFor(closing ? RETRY_FIRST_MS / 10 : pause * (0.5 + Math.random() / 2), stopped.signal);
      pause = Math.min(RETRY_MOST_MS, pause * 2);
    }
  }

  // The site destroys a machine whose heartbeat stops (mjf.md, "VM to site"): load and uptime, as Vac's own hooks write it.
  const beat = config?.heartbeatFile ?? null;
  const beating =
    beat === null || deliver === null
      ? undefined
      : setInterval(() => put(beat, heartbeatText()), config?.heartbeatMs).unref();
  if (beat !== null) put(beat, heartbeatText());

  return {
    put,
    update({ snapshot }) {
      const { phase, deadlineMs, payloads, reason } = snapshot;
      if (deadlineMs === null) told = null;
      // A second announcement after a clear is a new word; a time that only moved is not.
      if (phase !== 'stopped' || payloads.stopped + payloads.stopping === 0 || told !== null) return;
      told = deadlineMs;
      const text = '100 Shutdown as requested by the host';
      if (put('shutdown_message', Buffer.from(text)) === 'stored')
        log.info({ event: 'shutdown_message', code: 100, reason }, `told the site: ${text}`);
    },
    async close() {
      closing = true;
      clearInterval(beating);
      const bound = setTimeout(() => stopped.abort(), CLOSE_BOUND_MS);
      await working;
      clearTimeout(bound);
      stopped.abort();
      if (queue.size > 0)
        log.warn({ event: 'report_lost', files: [...queue.keys()] }, `${queue.size} reports did not reach the site`);
    },
  };
}

function channelOf(options: Parameters<typeof openJobOutputs>[0]): DeliverFile | null {
  const { config, env, self, ownPorts, log } = options;
  const named = env['JOBOUTPUTS'];
  const url =
    config?.url ?? (config?.directory == null && named !== undefined && /^https?:\/\//.test(named) ? named : null);
  // `$JOBOUTPUTS` as the agent itself exports it: a report sent there would come back to us for ever.
  if (url !== null && isOwnEndpoint(url, ownPorts)) return null;
  const directory = config?.directory ?? (url === null && named?.startsWith('/') ? named : null);
  if (url === null && directory === null) return null;
  log.info({ event: 'report_channel', to: url ?? directory }, `reports go to ${url ?? directory}`);
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
