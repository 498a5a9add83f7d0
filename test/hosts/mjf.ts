/**
 * A stand-in for the two programs that serve Machine/Job Features over HTTP today (facts "mjf"): `vac` answers directory
 * GETs with an HTML listing and 404 with an HTML page, `vcycle` lives below /machines/SPACE/MACHINE, answers 404 with an
 * empty body, and takes PUT only with a client certificate. Both can misbehave on request, and recover.
 */
import { createHash } from 'node:crypto';
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { type Fault, misbehave } from './mjf-faults.ts';

export type { Fault } from './mjf-faults.ts';
export type HostSide = 'machine' | 'job';

export interface MjfHostOptions {
  readonly style?: 'vac' | 'vcycle';
  readonly port?: number;
  readonly address?: string;
  /** PEM; makes it https. `ca` = the authority of client certificates. */
  readonly tls?: { readonly cert: string; readonly key: string; readonly ca?: string };
  readonly machine?: Readonly<Record<string, string>>;
  readonly job?: Readonly<Record<string, string>>;
  /** Directory GETs: `html` (default), `text` (one name a line), `none` (404), `front` (a page that lists nothing). */
  readonly listing?: 'html' | 'text' | 'none' | 'front';
  /** Send validators and answer conditional GETs with 304. */
  readonly validators?: 'etag' | 'last-modified';
}

export interface SeenRequest {
  readonly method: string;
  /** Below the base: `machinefeatures/total_cpu`. */
  readonly path: string;
  readonly headers: http.IncomingHttpHeaders;
  /** Numbered by connection, from 1. */
  readonly connection: number;
}

export interface MjfHost {
  /** Without trailing slash; append `/machinefeatures`, `/jobfeatures` or `/joboutputs`. */
  readonly url: string;
  readonly port: number;
  /** In order, at most the last 10,000. */
  readonly requests: SeenRequest[];
  /** What was PUT, by name. */
  readonly outputs: ReadonlyMap<string, Buffer>;
  /** Names and texts that were taken, in order, at most the last 10,000. */
  readonly taken: readonly { readonly name: string; readonly text: string }[];
  /** Fulfilled when `count` files have been taken in all. */
  took(count: number): Promise<void>;
  /** Highest number of requests that were being answered at once. */
  readonly peak: number;
  /** Value as served; undefined removes the key. */
  set(side: HostSide, key: string, value: string | undefined): void;
  /** For one path (`machinefeatures/total_cpu`, `jobfeatures/`) or `*`, until replaced by undefined. */
  fault(path: string, fault: Fault | undefined): void;
  /** No fault any more; whoever hangs is let go. */
  recover(): void;
  /** Headers added to proper answers (200, 304, 404) at this path or `*`; undefined ends it. */
  headers(path: string, headers: Readonly<Record<string, string>> | undefined): void;
  /** Fulfilled when `count` further requests (for `path`, if given) have arrived. */
  seen(count: number, path?: string): Promise<void>;
  /** Fulfilled when no request is being answered: whoever hung has gone away. */
  idle(): Promise<void>;
  /** Breaks every connection that is open now. */
  dropConnections(): void;
  close(): Promise<void>;
}

const FOLDERS: Readonly<Record<string, HostSide>> = { machinefeatures: 'machine', jobfeatures: 'job' };
const MAX_REMEMBERED = 10_000;
const MAX_OUTPUT_BYTES = 1024 * 1024;

interface Stored {
  readonly text: string;
  readonly changedMs: number;
}

/** Listens on a free port of 127.0.0.1 unless told otherwise. */
export async function startMjfHost(options: MjfHostOptions = {}): Promise<MjfHost> {
  const style = options.style ?? 'vac';
  const prefix = style === 'vcycle' ? '/machines/test-space/vm-1' : '';
  const values: Record<HostSide, Map<string, Stored>> = { machine: new Map(), job: new Map() };
  const faults = new Map<string, Fault>();
  const extra = new Map<string, Readonly<Record<string, string>>>();
  const requests: SeenRequest[] = [];
  const outputs = new Map<string, Buffer>();
  const taken: { name: string; text: string }[] = [];
  const takers = new Set<{ readonly count: number; readonly done: () => void }>();
  let takenEver = 0;
  const sockets = new Map<Socket, number>();
  const waiting = new Set<{ left: number; readonly path: string | undefined; readonly done: () => void }>();
  const idlers: (() => void)[] = [];
  let connections = 0;
  let active = 0;
  let peak = 0;

  const set = (side: HostSide, key: string, value: string | undefined) => {
    if (value === undefined) values[side].delete(key);
    else values[side].set(key, { text: value, changedMs: Date.now() });
  };
  for (const side of ['machine', 'job'] as const) {
    for (const [key, value] of Object.entries(options[side] ?? {})) set(side, key, value);
  }

  const extraFor = (path: string) => ({ ...extra.get('*'), ...extra.get(path) });

  const notFound = (path: string, response: http.ServerResponse) => {
    const headers = extraFor(path);
    if (style === 'vcycle') return void response.writeHead(404, { 'content-length': 0, ...headers }).end();
    response.writeHead(404, { 'content-type': 'text/html', ...headers });
    response.end(
      '<!DOCTYPE html><html><head><title>404 Not Found</title></head><body><h1>Not Found</h1></body></html>',
    );
  };

  const giveListing = (side: HostSide, path: string, response: http.ServerResponse) => {
    const names = [...values[side].keys()];
    switch (options.listing ?? (style === 'vac' ? 'html' : 'none')) {
      case 'none':
        return notFound(path, response);
      case 'text':
        return void response.writeHead(200, { 'content-type': 'text/plain' }).end(names.map((n) => `${n}\n`).join(''));
      case 'front':
        response.writeHead(200, { 'content-type': 'text/html' });
        return void response.end(
          '<html><body><h1>Welcome</h1><a href="https://elsewhere.example/login">in</a></body></html>',
        );
      case 'html': {
        const links = names.map((name) => `<li><a href="${name}">${name}</a></li>`).join('\n');
        response.writeHead(200, { 'content-type': 'text/html' });
        response.end(
          `<html><head><title>${path}</title></head><body><ul>\n<li><a href="../">..</a></li>\n${links}\n</ul></body></html>`,
        );
      }
    }
  };

  const giveValue = (stored: Stored, path: string, request: http.IncomingMessage, response: http.ServerResponse) => {
    const headers: Record<string, string> = { 'content-type': 'text/plain', ...extraFor(path) };
    let same = false;
    if (options.validators === 'etag') {
      headers['etag'] = `"${createHash('sha256').update(stored.text).digest('hex').slice(0, 16)}"`;
      same = request.headers['if-none-match'] === headers['etag'];
    } else if (options.validators === 'last-modified') {
      headers['last-modified'] ??= new Date(stored.changedMs).toUTCString();
      same = request.headers['if-modified-since'] === headers['last-modified'];
    }
    if (same) response.writeHead(304, headers).end();
    else response.writeHead(200, headers).end(stored.text);
  };

  const forbid = (request: http.IncomingMessage, response: http.ServerResponse): void => {
    request.resume();
    response.writeHead(403, { 'content-length': 0 }).end();
  };

  const take = (name: string, request: http.IncomingMessage, response: http.ServerResponse) => {
    const certified = !options.tls || (request.socket as TLSSocket).authorized;
    if (!/^[A-Za-z0-9._-]+$/.test(name) || (style === 'vcycle' && !certified)) return forbid(request, response);
    const chunks: Buffer[] = [];
    let size = 0;
    request.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > MAX_OUTPUT_BYTES) request.destroy();
      else chunks.push(chunk);
    });
    request.on('end', () => {
      const body = Buffer.concat(chunks);
      outputs.set(name, body);
      taken.push({ name, text: body.toString() });
      if (taken.length > MAX_REMEMBERED) taken.shift();
      takenEver += 1;
      response.writeHead(201, { 'content-length': 0 }).end(() => {
        for (const taker of takers) {
          if (takenEver < taker.count) continue;
          takers.delete(taker);
          taker.done();
        }
      });
    });
  };

  const handle = (request: http.IncomingMessage, response: http.ServerResponse) => {
    const full = new URL(request.url ?? '/', 'http://host').pathname;
    const path = full.startsWith(`${prefix}/`) ? full.slice(prefix.length + 1) : full;
    const method = request.method ?? '';
    requests.push({ method, path, headers: request.headers, connection: sockets.get(request.socket) ?? 0 });
    if (requests.length > MAX_REMEMBERED) requests.shift();
    active += 1;
    peak = Math.max(peak, active);
    response.once('close', () => {
      active -= 1;
      if (active === 0) for (const done of idlers.splice(0)) done();
    });
    for (const waiter of waiting) {
      if (waiter.path !== undefined && waiter.path !== path) continue;
      waiter.left -= 1;
      if (waiter.left > 0) continue;
      waiting.delete(waiter);
      waiter.done();
    }
    const answer = () => {
      const [folder = '', key = ''] = path.split('/', 2);
      if (folder === 'joboutputs' && method === 'PUT') return take(key, request, response);
      // Vac forbids what Vcycle does not know.
      if (method === 'PUT' && style === 'vac') return forbid(request, response);
      const side = FOLDERS[folder];
      if (side === undefined || method !== 'GET') return notFound(path, response);
      if (key === '') return giveListing(side, path, response);
      const stored = values[side].get(key);
      return stored === undefined ? notFound(path, response) : giveValue(stored, path, request, response);
    };
    const fault = faults.get(path) ?? faults.get('*');
    if (fault === undefined) answer();
    else misbehave(fault, response, answer);
  };

  const server = options.tls
    ? https.createServer({ ...options.tls, requestCert: true, rejectUnauthorized: false }, handle)
    : http.createServer(handle);
  server.on(options.tls ? 'secureConnection' : 'connection', (socket: Socket) => {
    connections += 1;
    sockets.set(socket, connections);
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
    url: `${options.tls ? 'https' : 'http'}://${shown}:${port}${prefix}`,
    port,
    requests,
    outputs,
    taken,
    took: (count) =>
      takenEver >= count ? Promise.resolve() : new Promise((done) => takers.add({ count, done: () => done() })),
    get peak() {
      return peak;
    },
    set,
    fault: (path, fault) => void (fault === undefined ? faults.delete(path) : faults.set(path, fault)),
    headers: (path, headers) => void (headers === undefined ? extra.delete(path) : extra.set(path, headers)),
    seen: (count, path) => new Promise((done) => waiting.add({ left: count, path, done: () => done() })),
    idle: () => (active === 0 ? Promise.resolve() : new Promise((done) => idlers.push(done))),
    recover() {
      faults.clear();
      // No reset: of a connection that is being closed already, Node would then never see the end.
      for (const socket of sockets.keys()) socket.destroy();
    },
    dropConnections() {
      for (const socket of sockets.keys()) socket.resetAndDestroy();
    },
    close() {
      return new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
        for (const socket of sockets.keys()) socket.destroy();
      });
    },
  };
}
