/**
 * systemd-logind (org.freedesktop.login1(5)): this is how an ACPI power button, `systemctl poweroff` and `shutdown +10`
 * become a notice, with the id `shutdown`. What is under way ends when the inhibitors' time is over (InhibitDelayMaxSec), what
 * is scheduled at its time.
 */
import fs from 'node:fs';
import path from 'node:path';
import type { Static } from 'typebox';
import { guardTimeMs } from './logind-guard.ts';
import type { LogindSession } from './logind-manager.ts';
import { openLogind } from './logind-manager.ts';
import { createShutdownPicture } from './logind-shutdown.ts';
import { pollOf } from './poll.ts';
import {
  type ReadContext,
  type ReadResult,
  type Source,
  type SourceDefinition,
  type SourceEnvironment,
  SourceError,
} from './source.ts';

const schema = {
  type: 'object',
  additionalProperties: false,
  description: 'systemd-logind: power button, poweroff and `shutdown +10` as notices.',
  properties: {
    enabled: {
      type: 'boolean',
      description: 'false: do not listen to logind. Default: wherever there is a system bus.',
      examples: [false],
    },
    bus: {
      type: 'string',
      pattern: '^unix:path=/',
      description: 'Address of the system bus. Default: $DBUS_SYSTEM_BUS_ADDRESS, else the usual socket.',
      examples: ['unix:path=/run/dbus/system_bus_socket'],
    },
    poll: {
      type: 'string',
      format: 'poll',
      description: 'How often to ask whether a shutdown is scheduled; one that begins is heard of at once.',
      default: '2s',
    },
  },
} as const;

export type LogindConfig = Static<typeof schema>;

const DEFAULT_POLL = schema.properties.poll.default;
/** D-Bus specification, "System message bus". */
const DEFAULT_SOCKET = 'run/dbus/system_bus_socket';
/** logind writes what is scheduled in here; systemd 252 sends no signal for it. */
const SCHEDULE_DIR = 'run/systemd/shutdown';
/** Connecting, subscribing and asking, each within milliseconds on a sound machine. */
const TIMEOUT_MS = 5_000;
/** A bus comes with the boot or not at all. */
const NO_CHANNEL_POLL_MS = 10_000;
/** A lost connection is renewed so soon at first, and so late at most: a shutdown may be announced meanwhile. */
const FIRST_RECONNECT_MS = 250;
const LAST_RECONNECT_MS = 10_000;
/** A connection that held so long was a good one. */
const GOOD_CONNECTION_MS = 10_000;

/** Always one source: a bus may come up later than the agent. Nothing of D-Bus is loaded before it is there. */
export const logindSource: SourceDefinition<LogindConfig> = {
  name: 'logind',
  schema,
  create: (config, environment) => [createSource(config, environment)],
};

function createSource(config: LogindConfig, environment: SourceEnvironment): Source {
  const { env, root, log, trace } = environment;
  const address = config.bus ?? env['DBUS_SYSTEM_BUS_ADDRESS'];
  const socketPath = address ? socketOf(address) : path.join(root, DEFAULT_SOCKET);
  const scheduleDir = path.join(root, SCHEDULE_DIR);
  const poll = pollOf(config.poll ?? DEFAULT_POLL);
  const picture = createShutdownPicture(Date.now, () => guardTimeMs(root) ?? 0);
  let session: Promise<LogindSession> | undefined;
  let notify: (() => void) | undefined;
  let watcher: fs.FSWatcher | undefined;
  let reconnect: NodeJS.Timeout | undefined;
  let losses = 0;
  let absent = false;
  let closed = false;

  async function open(signal: AbortSignal): Promise<LogindSession> {
    if (socketPath === undefined)
      throw new SourceError('dbus_address', 'only unix:path=… addresses of a bus are known');
    const openedMs = performance.now();
    const opened = await openLogind({
      socketPath,
      signal,
      picture,
      log,
      ...(trace === undefined ? {} : { trace }),
      onChange: () => notify?.(),
      onLost() {
        session = undefined;
        if (performance.now() - openedMs >= GOOD_CONNECTION_MS) losses = 0;
        comeBackLater();
      },
    });
    if (closed) opened.close();
    return opened;
  }

  /** The poll may be hours away. */
  function comeBackLater(): void {
    if (closed || reconnect !== undefined) return;
    const delayMs = Math.min(LAST_RECONNECT_MS, FIRST_RECONNECT_MS * 2 ** Math.min(16, losses));
    losses += 1;
    reconnect = setTimeout(
      () => {
        reconnect = undefined;
        notify?.();
      },
      delayMs * (0.5 + Math.random() / 2),
    );
    reconnect.unref();
  }

  /** An accelerator over the poll; the directory may not be there before the first `shutdown +10`. */
  function watchSchedule(): void {
    if (notify === undefined || watcher !== undefined || closed) return;
    try {
      watcher = fs.watch(scheduleDir, { persistent: false }, () => notify?.());
      watcher.on('error', unwatchSchedule);
    } catch {
      // Not there, or no watches left.
    }
  }
  function unwatchSchedule(): void {
    watcher?.close();
    watcher = undefined;
  }

  async function read({ signal }: ReadContext): Promise<ReadResult> {
    watchSchedule();
    session ??= open(signal);
    const mine = session;
    absent = false;
    try {
      const there = await beforeAbort(
        mine.then((current) => current.refresh()),
        signal,
      );
      if (there || picture.owesAnnouncement()) return answer();
      return noChannel('no systemd-logind on the system bus');
    } catch (error) {
      // Whatever state it is in: a new connection is a known one.
      if (session === mine) session = undefined;
      void mine.then((current) => current.close()).catch(() => undefined);
      if (picture.owesAnnouncement()) return answer();
      if (error instanceof SourceError && error.code === 'dbus_no_socket') return noChannel(error.message);
      comeBackLater();
      throw error;
    }
  }

  function answer(): ReadResult {
    return {
      outcome: 'answer',
      answer: { notices: { complete: true, byId: { shutdown: picture.reading() } } },
    };
  }
  function noChannel(detail: string): ReadResult {
    absent = true;
    return { outcome: 'no_channel', detail };
  }

  return {
    name: 'logind',
    rank: 'platform',
    poll,
    timeoutMs: TIMEOUT_MS,
    read,
    watch(changed, signal) {
      notify = changed;
      signal.addEventListener('abort', unwatchSchedule, { once: true });
      watchSchedule();
    },
    nextPollMs: () => (absent && typeof poll === 'number' ? Math.max(poll, NO_CHANNEL_POLL_MS) : undefined),
    close() {
      closed = true;
      notify = undefined;
      clearTimeout(reconnect);
      unwatchSchedule();
      void session?.then((current) => current.close()).catch(() => undefined);
    },
  };
}

/** A reading ends with its time; what it began goes on by its own bounds. */
function beforeAbort<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(new SourceError('dbus_timeout', 'no answer in time'));
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

/** D-Bus specification, "Server Addresses": several are separated by semicolons, the first that we can use counts. */
function socketOf(addresses: string): string | undefined {
  for (const address of addresses.split(';')) {
    const [, options = ''] = /^unix:(.*)$/.exec(address.trim()) ?? [];
    const [, escaped] = /(?:^|,)path=([^,]+)/.exec(options) ?? [];
    if (escaped === undefined) continue;
    return escaped.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  }
  return undefined;
}
