/** One file to the site, once: by PUT or into a directory. The caller queues and repeats. */
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { INSTANCE_HEADER, instanceId } from '../instance.ts';
import { spawnClean } from '../spawn-clean.ts';
import type { Deliver } from './outbox.ts';
import type { DeliveryFailure } from './reporter.ts';

/** A site that does not take a small file within this will not take it at all this time. */
const DELIVERY_BOUND_MS = 10_000;

/** SYSTEMS.md, "Hung shares": so many children may be stuck in a directory; beyond it nothing more is sent into it. */
const MAX_STUCK = 2;

/** A code of a child is a word, whatever it should write before it dies. */
const MAX_CODE_LENGTH = 40;

/** Where files go: the URL where there is one, else the directory. The others are PEM files for https. */
export interface DeliveryChannel {
  readonly url: string | null;
  readonly directory: string | null;
  readonly ca: string | null;
  readonly cert: string | null;
  readonly key: string | null;
  /** No link on the way to the directory is followed: nobody of this machine has named it (write-main.ts). */
  readonly noLinks?: boolean;
}

/** How this program is started again, with what arguments in front. */
interface Self {
  readonly command: string;
  readonly args: readonly string[];
}

/**
 * Gives null on success, else why not; never rejects. A body of null takes a file away: in a directory; at a URL there is no
 * such thing (Vac knows GET and PUT), so that nothing is asked and all is well. `instance`: this agent's id (instance.ts).
 */
export function deliverTo(channel: DeliveryChannel, self: Self, instance = instanceId): Deliver {
  const { url, directory } = channel;
  const send = url !== null ? putter(channel, url, instance) : writer(self, directory ?? '', channel.noLinks === true);
  // What nobody foresaw is a failure like any other: a report must not end the agent.
  return (name, body, signal) => send(name, body, signal).catch((error: unknown) => later(codeOf(error)));
}

const later = (code: string): DeliveryFailure => ({ code, final: false });

/** 4xx says that the request is wrong, but for what time or a new certificate may mend. */
const MENDABLE: ReadonlySet<number> = new Set([401, 403, 404, 408, 409, 423, 425, 429]);

/** Vac answers 201, others 200 or 204; a redirect is a refusal, since a report must not be led elsewhere. */
function putter(channel: DeliveryChannel, base: string, instance: string): Deliver {
  return async (name, body, signal) => {
    if (body === null) return null;
    const target = new URL(base);
    target.pathname = `${target.pathname.replace(/\/+$/, '')}/${encodeURIComponent(name)}`;
    const bound = boundedBy(signal);
    try {
      // Read anew each time: client certificates are renewed while the agent runs.
      const tls = await bound.race(readPems(channel));
      if ('code' in tls) return tls;
      return await put(target, body, tls, instance, bound.signal);
    } finally {
      bound.end();
    }
  };
}

type Pems = Partial<Record<'ca' | 'cert' | 'key', Buffer>>;

/** `cert_enoent`, `key_eacces`: what is wrong is on our side. */
async function readPems(channel: DeliveryChannel): Promise<Pems | DeliveryFailure> {
  const found: Pems = {};
  for (const part of ['ca', 'cert', 'key'] as const) {
    const file = channel[part];
    if (file === null) continue;
    try {
      found[part] = await fs.promises.readFile(file);
    } catch (error) {
      return later(`${part}_${codeOf(error)}`);
    }
  }
  return found;
}

function put(
  target: URL,
  body: Buffer,
  tls: Pems,
  instance: string,
  signal: AbortSignal,
): Promise<DeliveryFailure | null> {
  return new Promise((resolve) => {
    const request = (target.protocol === 'https:' ? https : http).request(target, {
      ...tls,
      // Whatever the environment says (NODE_TLS_REJECT_UNAUTHORIZED).
      rejectUnauthorized: true,
      method: 'PUT',
      agent: false,
      signal,
      headers: { 'content-type': 'text/plain', 'content-length': body.length, [INSTANCE_HEADER]: instance },
    });
    request.on('response', (response) => {
      const { statusCode = 0, headers } = response;
      response.destroy();
      // We ourselves, by a name that nobody knew for ours (isOwnEndpoint): what was sent is refused by our own server.
      if (headers[INSTANCE_HEADER] === instance) return resolve({ code: 'own_output', final: true });
      const taken = statusCode >= 200 && statusCode < 300;
      const final = statusCode >= 400 && statusCode < 500 && !MENDABLE.has(statusCode);
      resolve(taken ? null : { code: `http_${statusCode}`, final });
    });
    request.on('error', (error) => resolve(later(signal.aborted ? 'timeout' : codeOf(error))));
    request.end(body);
  });
}

/** In a child, since the directory may be a host's share, and a share that hangs would take this process with it. */
function writer(self: Self, directory: string, noLinks: boolean): Deliver {
  let stuck = 0;
  return async (name, body, signal) => {
    if (stuck >= MAX_STUCK) return later('hung');
    if (signal.aborted) return later('timeout');
    // By these it knows that it has all of it, whether we are still there, and what to follow (write-main.ts).
    const size = body === null ? 'remove' : String(body.length);
    const what = [size, String(process.pid), ...(noLinks ? ['no-links'] : [])];
    const spawned = spawnClean(self.command, [...self.args, '__write-file', directory, name, ...what], {
      stdio: ['pipe', 'ignore', 'pipe'],
    });
    if ('error' in spawned) return later(spawned.error);
    const { child } = spawned;
    return new Promise((resolve) => {
      let said = '';
      const end = (result: DeliveryFailure | null): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', abandon);
        resolve(result);
      };
      // A child that the kernel holds in a read or write does not die at once; letting go of it is what frees us.
      const abandon = (): void => {
        stuck += 1;
        child.once('exit', () => {
          stuck -= 1;
        });
        child.kill('SIGKILL');
        child.stdin?.destroy();
        child.stderr?.destroy();
        child.unref();
        end(later('timeout'));
      };
      const timer = setTimeout(abandon, DELIVERY_BOUND_MS);
      signal.addEventListener('abort', abandon, { once: true });
      child.on('error', (error) => end(later(codeOf(error))));
      child.on('close', (code, killed) =>
        end(code === 0 ? null : later(wordOf(said) ?? (killed ?? `exit_${code}`).toLowerCase())),
      );
      // Absent where descriptors have run out; `error` tells that.
      child.stderr?.on('data', (chunk: Buffer) => {
        said = (said + chunk.toString()).slice(0, 200);
      });
      child.stdin?.on('error', () => {});
      child.stdin?.end(body ?? '');
    });
  };
}

/** The last line, where it is a code: Node and loaders may have warned of something before. */
const wordOf = (said: string): string | undefined =>
  new RegExp(`(?:^|\\n)([a-z0-9_]{1,${MAX_CODE_LENGTH}})\\s*$`).exec(said)?.[1];

/** Stable and short: the errno or Node's own code in lower case. */
const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code.toLowerCase() : 'internal';

/** The bound of one delivery and the caller's signal in one, with nothing left behind on the caller's afterwards. */
function boundedBy(signal: AbortSignal) {
  const either = new AbortController();
  const abort = (): void => either.abort();
  // What it bounds keeps the process alive for as long as it lasts.
  const timer = setTimeout(abort, DELIVERY_BOUND_MS).unref();
  signal.addEventListener('abort', abort, { once: true });
  if (signal.aborted) abort();
  const aborted = new Promise<DeliveryFailure>((resolve) => {
    either.signal.addEventListener('abort', () => resolve(later('timeout')), { once: true });
    if (either.signal.aborted) resolve(later('timeout'));
  });
  return {
    signal: either.signal,
    race: <T>(work: Promise<T>): Promise<T | DeliveryFailure> => Promise.race([work, aborted]),
    end(): void {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
    },
  };
}
