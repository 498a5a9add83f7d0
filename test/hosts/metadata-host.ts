/**
 * What the stand-ins of all metadata services have in common: an HTTP server that remembers what it was asked, can hold an
 * answer back (hanging GET), and has bad moods on request. A platform's own file says only how it answers.
 */
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { type Fault, misbehave } from './mjf-faults.ts';

export type { Fault } from './mjf-faults.ts';

export interface AskedRequest {
  readonly method: string;
  /** Pathname, not decoded. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
  /** A client certificate that `tls.ca` has signed came with the connection. */
  readonly certified: boolean;
  /** Fulfilled when the asker has gone away or was answered. */
  readonly closed: Promise<void>;
}

export interface HostAnswer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
}

export interface MetadataHost {
  /** Without trailing slash. */
  readonly url: string;
  readonly port: number;
  /** In order, at most the last 10,000. */
  readonly requests: readonly AskedRequest[];
  /** For one path, a path ending in `*`, or `*`, until replaced by undefined. `times`: only so often. */
  fault(path: string, fault: Fault | undefined, times?: number): void;
  /** Fulfilled when `count` further requests (for `path`, if given) have arrived. */
  seen(count: number, path?: string): Promise<void>;
  /** Breaks every connection that is open now. */
  dropConnections(): void;
  /** How far this host's clock (`Date`) is ahead of ours; default 0. */
  setClockOffset(ms: number): void;
  close(): Promise<void>;
}

export interface MetadataHostOptions {
  readonly port?: number;
  readonly address?: string;
  /** PEM texts; with `ca`, a client certificate is asked for, and who has none is still heard. */
  readonly tls?: { readonly cert: string; readonly key: string; readonly ca?: string };
}

const MAX_REMEMBERED = 10_000;
const MAX_BODY_BYTES = 64 * 1024;

/** Listens on a free port of 127.0.0.1 unless told otherwise. `answer` may take its time (hanging GET, slow first call). */
export async function startMetadataHost(
  options: MetadataHostOptions,
  answer: (request: AskedRequest) => HostAnswer | Promise<HostAnswer>,
): Promise<MetadataHost> {
  const requests: AskedRequest[] = [];
  const faults = new Map<string, { readonly fault: Fault; left: number }>();
  const waiting = new Set<{ left: number; readonly path: string | undefined; readonly done: () => void }>();
  const sockets = new Set<Socket>();
  let clockOffsetMs = 0;

  function faultFor(path: string): Fault | undefined {
    const key = [...faults.keys()].find(
      (each) => each === path || (each.endsWith('*') && path.startsWith(each.slice(0, -1))),
    );
    const found = key === undefined ? undefined : faults.get(key);
    if (key === undefined || found === undefined) return undefined;
    found.left -= 1;
    if (found.left <= 0) faults.delete(key);
    return found.fault;
  }

  function remember(request: AskedRequest): void {
    requests.push(request);
    if (requests.length > MAX_REMEMBERED) requests.shift();
    for (const waiter of waiting) {
      if (waiter.path !== undefined && waiter.path !== request.path) continue;
      waiter.left -= 1;
      if (waiter.left > 0) continue;
      waiting.delete(waiter);
      waiter.done();
    }
  }

  async function handle(incoming: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const url = new URL(incoming.url ?? '/', 'http://host');
    const chunks: Buffer[] = [];
    for await (const chunk of incoming as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      if (chunks.reduce((sum, { length }) => sum + length, 0) > MAX_BODY_BYTES) return void incoming.destroy();
    }
    const request: AskedRequest = {
      method: incoming.method ?? '',
      path: url.pathname,
      query: url.searchParams,
      headers: incoming.headers,
      body: Buffer.concat(chunks).toString(),
      certified: (incoming.socket as Partial<TLSSocket>).authorized === true,
      closed: new Promise((done) => response.once('close', done)),
    };
    remember(request);
    const properly = async (): Promise<void> => {
      const { status, headers, body } = await answer(request);
      if (response.destroyed) return;
      response.sendDate = false;
      response.writeHead(status, { date: new Date(Date.now() + clockOffsetMs).toUTCString(), ...headers });
      response.end(body);
    };
    const fault = faultFor(request.path);
    if (fault === undefined) await properly();
    else misbehave(fault, response, () => void properly());
  }

  const listener = (incoming: http.IncomingMessage, response: http.ServerResponse): void => {
    handle(incoming, response).catch(() => response.destroy());
  };
  const { tls } = options;
  const server =
    tls === undefined
      ? http.createServer(listener)
      : https.createServer({ ...tls, requestCert: tls.ca !== undefined, rejectUnauthorized: false }, listener);
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    // Resets are part of the play.
    socket.on('error', () => undefined);
  });
  const address = options.address ?? '127.0.0.1';
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port ?? 0, address, resolve);
  });
  const { port } = server.address() as AddressInfo;
  const shown = address.includes(':') ? `[${address}]` : address;

  return {
    url: `${tls === undefined ? 'http' : 'https'}://${shown}:${port}`,
    port,
    requests,
    fault: (path, fault, times = Number.POSITIVE_INFINITY) =>
      void (fault === undefined ? faults.delete(path) : faults.set(path, { fault, left: times })),
    seen: (count, path) => new Promise((done) => waiting.add({ left: count, path, done: () => done() })),
    dropConnections() {
      for (const socket of sockets) socket.resetAndDestroy();
    },
    setClockOffset(ms) {
      clockOffsetMs = ms;
    },
    close() {
      return new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      });
    },
  };
}
