/** One file to the site, once: by PUT or into a directory. The caller queues and repeats. */
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { INSTANCE_HEADER, instanceId } from '../instance.ts';
import { spawnClean } from '../spawn-clean.ts';

/** A site that does not take a small file within this will not take it at all this time. */
const DELIVERY_BOUND_MS = 10_000;

/** `final`: the site has understood and refuses; it will not be otherwise next time. */
export interface DeliveryFailure {
  readonly code: string;
  readonly final: boolean;
}

/** Hands over one file. Gives null on success, else why not; never rejects. */
export type DeliverFile = (name: string, body: Buffer, signal: AbortSignal) => Promise<DeliveryFailure | null>;

/** SYSTEMS.md, "Hung shares": so many children may be stuck in a directory; beyond it nothing more is sent into it. */
const MAX_STUCK = 2;

export interface JobOutputsChannel {
  readonly url: string | null;
  readonly directory: string | null;
  readonly ca: string | null;
  readonly cert: string | null;
  readonly key: string | null;
}

/** How this program is started again, with what arguments in front. */
interface Self {
  readonly command: string;
  readonly args: readonly string[];
}

/** `instance`: this agent's id (instance.ts); another one only in tests. */
export function deliverTo(channel: JobOutputsChannel, self: Self, instance = instanceId): DeliverFile {
  const { url, directory } = channel;
  const send = url !== null ? putter(channel, url, instance) : writer(self, directory ?? '');
  // What nobody foresaw is a failure like any other: a report must not end the agent.
  return (name, body, signal) => send(name, body, signal).catch((error: Error) => later(error.message));
}

const later = (code: string): DeliveryFailure => ({ code, final: false });

/** 4xx says that the request is wrong, but for what time or a new certificate may mend. */
const MENDABLE: ReadonlySet<number> = new Set([401, 403, 404, 408, 409, 423, 425, 429]);

/** Vac answers 201, others 200 or 204; a redirect is a refusal, since a report must not be led elsewhere. */
function putter(channel: JobOutputsChannel, base: string, instance: string): DeliverFile {
  return async (name, body, signal) => {
    // Read anew each time: client certificates are renewed while the agent runs.
    const tls = Object.fromEntries(
      (['ca', 'cert', 'key'] as const).flatMap((part) => {
        const file = channel[part];
        return file === null ? [] : [[part, fs.readFileSync(file)]];
      }),
    );
    const target = new URL(base);
    target.pathname = `${target.pathname.replace(/\/+$/, '')}/${encodeURIComponent(name)}`;
    const bound = AbortSignal.any([signal, AbortSignal.timeout(DELIVERY_BOUND_MS)]);
    return new Promise((resolve) => {
      const request = (target.protocol === 'https:' ? https : http).request(target, {
        ...tls,
        method: 'PUT',
        agent: false,
        signal: bound,
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
      request.on('error', (error: NodeJS.ErrnoException) =>
        resolve(later(bound.aborted ? 'timeout' : (error.code ?? 'network').toLowerCase())),
      );
      request.end(body);
    });
  };
}

/** In a child, since the directory may be a host's share, and a share that hangs would take this process with it. */
function writer(self: Self, directory: string): DeliverFile {
  let stuck = 0;
  return async (name, body, signal) => {
    if (stuck >= MAX_STUCK) return later('hung');
    const spawned = spawnClean(self.command, [...self.args, '__write-file', directory, name], {
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
      child.on('error', (error) => end(later(error.message)));
      child.on('close', (code) => end(code === 0 ? null : later(said.trim() || `exit ${code}`)));
      // Absent where descriptors have run out; `error` tells that.
      child.stderr?.on('data', (chunk: Buffer) => {
        said = (said + chunk.toString()).slice(0, 200);
      });
      child.stdin?.on('error', () => {});
      child.stdin?.end(body);
    });
  };
}
