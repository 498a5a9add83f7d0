/** Opens doors and keeps trying those that do not open: one listener's failure ends nothing else. */
import type http from 'node:http';
import type { Logger } from 'pino';
import { type Channel, setChannel } from './channel.ts';

/** One way in. */
export interface Door {
  /** As in logs; the same name is the same address (`127.0.0.1:8653`, `/run/mjf-agent/agent.sock`). */
  readonly name: string;
  /** Listens; throws with a `code` if it cannot. What comes in is `channel`; `url` only for TCP. */
  open(server: http.Server): Promise<Opened>;
  /** What to do when it does not open. */
  readonly advice: string;
  /** A door that may be missing (IPv6 on a machine without): said at `debug`, not tried again. */
  readonly optional?: (code: string) => boolean;
  /** An inherited descriptor does not get better. */
  readonly once?: boolean;
}
export interface Opened {
  /** The address it turned out to be. */
  readonly name: string;
  readonly channel: Channel;
  readonly url?: string;
  /** Takes away what stands in the file system. */
  readonly remove?: () => void;
  /** Whether it still stands there. */
  readonly intact?: () => boolean;
}

export interface Listeners {
  /** Tries each once, in order; those that fail are tried again later. Gives the names that are open. */
  open(doors: readonly Door[]): Promise<ReadonlySet<string>>;
  urls(): readonly string[];
  /** Opens again what somebody removed from the file system; everything else stays as it is. */
  mend(): void;
  /** Takes no more connections at once; after `cutMs` those still open are cut. */
  close(cutMs: number): Promise<void>;
}

/** ±20 %, so that agents of one machine image do not all come back in the same moment. */
const JITTER = 0.2;

export function createListeners(options: {
  readonly log: Logger;
  readonly retryMs: number;
  readonly createServer: () => http.Server;
  readonly onUrls: (urls: readonly string[]) => void;
}): Listeners {
  const { log, retryMs, createServer, onUrls } = options;
  const up = new Map<Door, { server: http.Server; opened: Opened }>();
  const order: Door[] = [];
  const timers = new Set<NodeJS.Timeout>();
  let closing = false;

  const urls = (): readonly string[] => {
    const all = order.flatMap((door) => up.get(door)?.opened.url ?? []);
    return all.sort((a, b) => Number(!isPreferred(a)) - Number(!isPreferred(b)));
  };

  async function attempt(door: Door, failed: string | null): Promise<void> {
    const server = createServer();
    // Kernel and node hand over connections from the first moment on; they wait here until their door is known.
    let channel: Channel = { kind: 'tcp', loopback: false };
    server.on('connection', (socket) => setChannel(socket, channel));
    try {
      const opened = await door.open(server);
      channel = opened.channel;
      if (closing) {
        opened.remove?.();
        server.close();
        return;
      }
      up.set(door, { server, opened });
      server.on('error', (err) =>
        log.error({ event: 'http_listener_error', address: opened.name, err }, `${opened.name}: ${err.message}`),
      );
      log.info(
        {
          event: failed === null ? 'http_listening' : 'http_listener_recovered',
          address: opened.name,
          url: opened.url,
        },
        `listening on ${opened.name}`,
      );
      if (opened.url !== undefined) onUrls(urls());
    } catch (error) {
      server.close();
      if (!closing) again(door, codeOf(error), failed, error);
    }
  }

  function again(door: Door, code: string, failed: string | null, error: unknown): void {
    if (door.optional?.(code) === true) {
      log.debug(
        { event: 'http_listener_absent', address: door.name, code },
        `${door.name} is not available on this machine`,
      );
      return;
    }
    // The first failure is said, and another kind of failure; the same again is not news.
    if (code !== failed) {
      const reason = error instanceof Error ? error.message : String(error);
      const what = door.once === true ? 'It stays closed' : 'The rest goes on; tried again every few seconds';
      log.error(
        { event: 'http_listener_failed', address: door.name, code },
        `cannot listen on ${door.name}: ${code === 'EADDRINUSE' ? 'it is in use by another program' : reason}. ${door.advice} ${what}.`,
      );
    }
    if (door.once === true) return;
    const timer = setTimeout(
      () => {
        timers.delete(timer);
        void attempt(door, code);
      },
      retryMs * (1 - JITTER + 2 * JITTER * Math.random()),
    );
    timer.unref();
    timers.add(timer);
  }

  return {
    async open(doors) {
      order.push(...doors);
      for (const door of doors) await attempt(door, null);
      return new Set([...up.values()].map(({ opened }) => opened.name));
    },
    urls,
    mend() {
      for (const [door, { server, opened }] of up) {
        if (closing || opened.intact?.() !== false) continue;
        log.warn(
          { event: 'http_listener_lost', address: opened.name },
          `${opened.name} has been removed: opened again`,
        );
        up.delete(door);
        server.close();
        void attempt(door, null);
      }
    },
    async close(cutMs) {
      closing = true;
      for (const timer of timers) clearTimeout(timer);
      const servers = [...up.values()].map(({ server, opened }) => {
        const closed = new Promise<void>((resolve) => server.close(() => resolve()));
        opened.remove?.();
        return { server, closed };
      });
      up.clear();
      const timer = setTimeout(() => {
        for (const { server } of servers) server.closeAllConnections();
      }, cutMs);
      await Promise.all(servers.map(({ closed }) => closed));
      clearTimeout(timer);
    },
  };
}

/** Resolves when the server listens, rejects with why it cannot. */
export function listening(server: http.Server, listen: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error): void => reject(error);
    server.once('error', failed);
    server.once('listening', () => {
      server.off('error', failed);
      resolve();
    });
    listen();
  });
}

export function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'UNKNOWN';
}

function isPreferred(url: string): boolean {
  return url.startsWith('http://127.');
}
