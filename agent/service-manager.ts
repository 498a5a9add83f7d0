/**
 * What the service manager is told (sd_notify(3)): ready, how it stands, re-reading, stopping, alive. Node has no datagram
 * sockets, so that `systemd-notify` says it, one after the other; where nobody asks to be told, nothing is started.
 */
import { escapeLine } from './escape.ts';
import type { Snapshot } from './lifetime/types.ts';
import { spawnClean } from './spawn-clean.ts';

export interface ServiceManager {
  /** Once: started. From here on it is told at half of its watchdog's time that we live, as long as that is true. */
  ready(status: string): void;
  /** One line for `systemctl status`; what it knows already is not said again. */
  status(text: string): void;
  /** A SIGHUP is dealt with by `work`, which may fail: in the end we are ready again. */
  reloading(work: () => Promise<void>): Promise<void>;
  /** Resolves when it has been told, or after a bound. Nothing is said afterwards. */
  stopping(): Promise<void>;
}

export interface ServiceManagerOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Ours: the watchdog may be meant for another process. */
  readonly pid: number;
  health(): { readonly healthy: boolean };
  /** Why it could not be told; once until it can again. */
  onFailure(why: string): void;
  /** How words get there. For tests. */
  readonly send?: (words: readonly string[]) => Promise<string | null>;
}

/** It waits until systemd has read the words, which a manager that is busy with a boot does within seconds. */
const SEND_TIMEOUT_MS = 10_000;
/** READY and a word of life that did not get there are said again, long before systemd takes us for dead. */
const RETRY_MS = 1_000;
/** A status goes out with the next word of life at the latest; more often than this nobody reads it. */
const STATUS_EVERY_MS = 1_000;
/** The end of the agent waits no longer for its being told. */
const STOPPING_BOUND_MS = 1_000;
const TOOL_PATH = '/usr/bin:/bin';

export function openServiceManager(options: ServiceManagerOptions): ServiceManager {
  const { env, health } = options;
  const socket = env['NOTIFY_SOCKET'];
  if (socket === undefined || socket === '') return SILENT;
  const send = options.send ?? ((words) => notify(words, socket));
  let queue: Promise<unknown> = Promise.resolve();
  let shown = '';
  let wanted = '';
  let statusTimer: NodeJS.Timeout | undefined;
  let watchdog: NodeJS.Timeout | undefined;
  let readyRetry: NodeJS.Timeout | undefined;
  let lifeRetry: NodeJS.Timeout | undefined;
  let isReady = false;
  let over = false;
  let failing = false;

  /** In order: READY must not overtake RELOADING. Whether it got there; never rejects. */
  function say(words: readonly string[]): Promise<boolean> {
    const said = queue.then(async () => {
      const why = await attempt(words);
      if (why !== null && !failing) options.onFailure(why);
      failing = why !== null;
      return why === null;
    });
    queue = said;
    return said;
  }

  /** A child that cannot be started for want of memory is no end of the agent. */
  async function attempt(words: readonly string[]): Promise<string | null> {
    try {
      return await send(words);
    } catch (error) {
      return (error as Error).message;
    }
  }

  async function sayReady(): Promise<void> {
    if (over || (await say(['READY=1', `STATUS=${shown}`]))) return;
    readyRetry = setTimeout(() => void sayReady(), RETRY_MS).unref();
  }

  function flushStatus(): void {
    statusTimer = undefined;
    if (over || !isReady || wanted === shown) return;
    shown = wanted;
    void say([`STATUS=${shown}`]);
  }

  function startWatchdog(): void {
    const everyMs = watchdogMs(env, options.pid);
    if (everyMs === null || watchdog !== undefined) return;
    let waiting = false;
    const beat = (): void => {
      // One that has not been taken yet says as much as a second one.
      if (waiting || !health().healthy) return;
      waiting = true;
      void say(['WATCHDOG=1']).then((isSaid) => {
        waiting = false;
        if (!isSaid && !over) lifeRetry = setTimeout(beat, RETRY_MS).unref();
      });
    };
    watchdog = setInterval(beat, everyMs / 2).unref();
    beat();
  }

  return {
    ready(status) {
      if (over || isReady) return;
      isReady = true;
      shown = status;
      wanted = status;
      void sayReady();
      startWatchdog();
    },
    status(text) {
      wanted = text;
      if (!over && isReady) statusTimer ??= setTimeout(flushStatus, STATUS_EVERY_MS).unref();
    },
    async reloading(work) {
      // Before READY, or in the end, there is nothing to be ready again for.
      const tells = isReady && !over;
      if (tells) void say(['RELOADING=1']);
      try {
        await work();
      } finally {
        if (tells && !over) void say(['READY=1']);
      }
    },
    async stopping() {
      if (over) return;
      over = true;
      for (const timer of [statusTimer, readyRetry, lifeRetry]) clearTimeout(timer);
      clearInterval(watchdog);
      let timer: NodeJS.Timeout | undefined;
      const bound = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, STOPPING_BOUND_MS);
      });
      await Promise.race([say(['STOPPING=1', 'STATUS=ends; published files stay, payloads go on']), bound]);
      clearTimeout(timer);
    },
  };
}

const SILENT: ServiceManager = {
  ready() {},
  status() {},
  reloading: (work) => work(),
  stopping: async () => {},
};

/** One line for people. A line break in a host's words would be another word to systemd. */
export function statusLine({
  phase,
  deadlineMs,
  reason,
  payloads,
}: Pick<Snapshot, 'phase' | 'deadlineMs' | 'reason' | 'payloads'>): string {
  const alive = payloads.running + payloads.stopping;
  const end =
    deadlineMs === null
      ? 'no shutdown foreseen'
      : `all must have ended by ${new Date(deadlineMs).toISOString().replace('.000', '')}${reason === null ? '' : ` (${reason})`}`;
  return escapeLine(`${phase}; ${end}; ${alive} payload${alive === 1 ? '' : 's'}`);
}

/** sd_watchdog_enabled(3): null where there is none, or it is another's. */
export function watchdogMs(env: Readonly<Record<string, string | undefined>>, pid: number): number | null {
  const usec = Number(env['WATCHDOG_USEC'] ?? Number.NaN);
  const of = env['WATCHDOG_PID'];
  if (!Number.isSafeInteger(usec) || usec <= 0 || (of !== undefined && Number(of) !== pid)) return null;
  return usec / 1000;
}

/** Why systemd could not be told, or null. Bounded; never rejects; keeps no process alive. */
function notify(words: readonly string[], socket: string): Promise<string | null> {
  const spawned = spawnClean('systemd-notify', [...words], {
    env: { PATH: TOOL_PATH, LC_ALL: 'C', NOTIFY_SOCKET: socket },
    stdio: 'ignore',
    cwd: '/',
  });
  if ('error' in spawned) return Promise.resolve(`${spawned.command}: ${spawned.error}`);
  const { child } = spawned;
  child.unref();
  return new Promise((resolve) => {
    const end = (why: string | null): void => {
      clearTimeout(timer);
      resolve(why);
    };
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      end(`systemd-notify has not ended after ${SEND_TIMEOUT_MS / 1000} s`);
    }, SEND_TIMEOUT_MS).unref();
    child.once('error', (error) => end(`systemd-notify: ${error.message}`));
    child.once('exit', (code, signal) => end(code === 0 ? null : `systemd-notify ended with ${signal ?? code}`));
  });
}
