/** One file to the site, once: by PUT or into a directory. The caller queues and repeats. */
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { spawnClean } from '../spawn-clean.ts';

/** A site that does not take a small file within this will not take it at all this time. */
const DELIVERY_BOUND_MS = 10_000;

/** Hands over one file. Gives null on success, else a short reason; never throws. */
export type DeliverFile = (name: string, body: Buffer, signal: AbortSignal) => Promise<string | null>;

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

export function deliverTo(channel: JobOutputsChannel, self: Self): DeliverFile {
  const { url, directory } = channel;
  return url !== null
    ? (name, body, signal) => putFile(channel, url, name, body, signal)
    : (name, body, signal) => writeFile(self, directory ?? '', name, body, signal);
}

/** Vac answers 201, others 200 or 204; a redirect is a refusal, since a report must not be led elsewhere. */
function putFile(
  channel: JobOutputsChannel,
  base: string,
  name: string,
  body: Buffer,
  signal: AbortSignal,
): Promise<string | null> {
  return new Promise((resolve) => {
    let tls: https.RequestOptions = {};
    try {
      const read = (file: string | null) => (file === null ? undefined : fs.readFileSync(file));
      tls = Object.fromEntries(
        Object.entries({ ca: read(channel.ca), cert: read(channel.cert), key: read(channel.key) }).filter(
          ([, value]) => value !== undefined,
        ),
      );
    } catch (error) {
      resolve(`tls_file: ${(error as Error).message}`);
      return;
    }
    const target = new URL(`${base.replace(/\/+$/, '')}/${encodeURIComponent(name)}`);
    const bound = AbortSignal.any([signal, AbortSignal.timeout(DELIVERY_BOUND_MS)]);
    const request = (target.protocol === 'https:' ? https : http).request(target, {
      ...tls,
      method: 'PUT',
      agent: false,
      signal: bound,
      headers: { 'content-type': 'text/plain', 'content-length': body.length },
    });
    request.on('response', (response) => {
      const { statusCode = 0 } = response;
      response.destroy();
      resolve(statusCode >= 200 && statusCode < 300 ? null : `http_${statusCode}`);
    });
    request.on('error', (error: NodeJS.ErrnoException) =>
      resolve(bound.aborted ? 'timeout' : (error.code ?? 'network').toLowerCase()),
    );
    request.end(body);
  });
}

/** In a child, since the directory may be a host's share, and a share that hangs would take this process with it. */
function writeFile(
  self: Self,
  directory: string,
  name: string,
  body: Buffer,
  signal: AbortSignal,
): Promise<string | null> {
  return new Promise((resolve) => {
    const spawned = spawnClean(self.command, [...self.args, '__write-file', directory, name], {
      stdio: ['pipe', 'ignore', 'pipe'],
    });
    if ('error' in spawned) {
      resolve(spawned.error);
      return;
    }
    const { child } = spawned;
    const { stdin, stderr } = child;
    if (stdin === null || stderr === null) {
      resolve('no_pipes');
      return;
    }
    let said = '';
    const end = (result: string | null): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', abandon);
      resolve(result);
    };
    // A child that the kernel holds in a read or write does not die at once; letting go of it is what frees us.
    const abandon = (): void => {
      child.kill('SIGKILL');
      stdin.destroy();
      stderr.destroy();
      child.unref();
      end('timeout');
    };
    const timer = setTimeout(abandon, DELIVERY_BOUND_MS);
    signal.addEventListener('abort', abandon, { once: true });
    stderr.on('data', (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(0, 200);
    });
    child.on('error', (error) => end(error.message));
    child.on('close', (code) => end(code === 0 ? null : said.trim() || `exit ${code}`));
    stdin.on('error', () => {});
    stdin.end(body);
  });
}
