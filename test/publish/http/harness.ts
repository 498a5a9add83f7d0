/** Real sockets for the HTTP tests: a server on a free port and in a temporary runtime directory, and plain clients. */
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { pino } from 'pino';
import { type HttpOptions, type HttpServer, startHttp } from '../../../agent/publish/http/server.ts';
import { type FakePort, fakePort } from './fake-port.ts';

export interface Running {
  readonly port: FakePort;
  readonly server: HttpServer;
  readonly runtimeDir: string;
  readonly url: string;
  readonly tcpPort: number;
  readonly logs: Record<string, unknown>[];
  readonly admin: { readonly socketPath: string };
  readonly reader: { readonly socketPath: string };
}

export function temporaryDir(t: TestContext): string {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-http-'));
  t.after(() => fs.rmSync(directory, { recursive: true, force: true }));
  return directory;
}

export function captureLog(): {
  log: HttpOptions['log'];
  logs: Record<string, unknown>[];
  logged(event: string): Promise<void>;
} {
  const logs: Record<string, unknown>[] = [];
  const waiting: { event: string; resolve: () => void }[] = [];
  const log = pino(
    { level: 'debug' },
    {
      write(line: string) {
        const entry: Record<string, unknown> = JSON.parse(line);
        logs.push(entry);
        for (const one of waiting) if (one.event === entry['event']) one.resolve();
      },
    },
  );
  const logged = (event: string): Promise<void> =>
    logs.some((entry) => entry['event'] === event)
      ? Promise.resolve()
      : new Promise((resolve) => waiting.push({ event, resolve }));
  return { log, logs, logged };
}

export async function run(t: TestContext, options: Partial<HttpOptions> = {}, port = fakePort()): Promise<Running> {
  const runtimeDir = options.runtimeDir ?? temporaryDir(t);
  const { log, logs } = captureLog();
  const server = await startHttp(port, {
    listen: [{ host: '127.0.0.1', port: 0 }],
    runtimeDir,
    log,
    version: '1.2.3',
    ...options,
  });
  t.after(() => server.close());
  const url = server.urls()[0] ?? '';
  return {
    port,
    server,
    runtimeDir,
    url,
    tcpPort: Number(url.split(':').at(-1)),
    logs,
    admin: { socketPath: path.join(runtimeDir, 'admin.sock') },
    reader: { socketPath: path.join(runtimeDir, 'agent.sock') },
  };
}

export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
  json(): Record<string, unknown>;
}
export interface Ask {
  readonly method?: string;
  readonly headers?: Record<string, string>;
  readonly body?: unknown;
  readonly socketPath?: string;
  readonly agent?: http.Agent;
}

/** `target` is a whole URL, or a path on a socket. A body that is no string goes as JSON. */
export function ask(target: string, options: Ask = {}): Promise<Answer> {
  const { body, method = body === undefined ? 'GET' : 'POST', socketPath, agent } = options;
  const raw = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body);
  const headers = {
    ...(raw !== undefined && typeof body !== 'string' && { 'content-type': 'application/json' }),
    ...options.headers,
  };
  const url = new URL(target, 'http://localhost');
  const where = socketPath === undefined ? { host: url.hostname, port: url.port } : { socketPath };
  return new Promise((resolve, reject) => {
    const request = http.request(
      {
        ...where,
        path: target.startsWith('/') ? target : target.replace(/^http:\/\/[^/]+/, ''),
        method,
        headers,
        agent: agent ?? false,
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString('utf8');
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: text,
            json: () => JSON.parse(text),
          });
        });
      },
    );
    request.on('error', reject);
    request.end(raw);
  });
}

/** Asks again until the status is the one waited for; gives up loudly instead of hanging. */
export async function askUntil(status: number, target: string): Promise<void> {
  for (let attempts = 0; attempts < 5000; attempts++) if ((await ask(target)).status === status) return;
  throw new Error(`${target} never answered ${status}`);
}

/** What a client that writes its own request gets, to the end of the connection. */
export function raw(port: number, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write(text));
    let got = '';
    socket.on('data', (chunk) => {
      got += String(chunk);
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(got));
  });
}

export interface Events {
  /** Waits until the text so far matches. */
  until(pattern: RegExp): Promise<string>;
  readonly ended: Promise<void>;
  readonly response: http.IncomingMessage;
  close(): void;
}

/** An event stream that is read. */
export function listen(url: string, headers: Record<string, string> = {}): Promise<Events> {
  return new Promise((resolve, reject) => {
    const request = http.get(url, { agent: false, headers }, (response) => {
      let text = '';
      let waiting: (() => void)[] = [];
      response.on('data', (chunk) => {
        text += String(chunk);
        for (const wake of waiting) wake();
      });
      response.on('error', () => undefined);
      const ended = new Promise<void>((done) => response.on('close', () => done()));
      const until = (pattern: RegExp): Promise<string> =>
        new Promise((found) => {
          const look = (): void => {
            if (!pattern.test(text)) return;
            waiting = waiting.filter((one) => one !== look);
            found(text);
          };
          waiting.push(look);
          look();
        });
      resolve({ until, ended, response, close: () => request.destroy() });
    });
    request.on('error', reject);
  });
}

const CHILD = `
const http = require('node:http');
const [url, method, body, type, more] = process.argv.slice(1);
const headers = { ...(type && { 'content-type': type }), ...JSON.parse(more) };
const text = body.replaceAll('$PID', String(process.pid));
const request = http.request(url, { method, headers, agent: false }, (response) => {
  let all = '';
  response.on('data', (chunk) => { all += chunk; });
  response.on('end', () => process.stdout.write(JSON.stringify({ status: response.statusCode, headers: response.headers, body: all, pid: process.pid })));
});
request.on('error', (error) => { process.stderr.write(error.message); process.exit(1); });
request.end(text);
`;

/** The same request from a process of another user; `$PID` in the body is its own. Needs root. */
export function askAs(
  uid: number,
  url: string,
  method = 'GET',
  body = '',
  type = 'application/json',
  headers: Readonly<Record<string, string>> = {},
): Promise<{ status: number; headers: http.IncomingHttpHeaders; body: string; pid: number }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['-e', CHILD, url, method, body, type, JSON.stringify(headers)], {
      uid,
      gid: uid,
      cwd: '/',
    });
    let out = '';
    let err = '';
    child.stdout.on('data', (chunk) => {
      out += String(chunk);
    });
    child.stderr.on('data', (chunk) => {
      err += String(chunk);
    });
    child.on('error', reject);
    child.on('close', (code) =>
      code === 0 ? resolve(JSON.parse(out)) : reject(new Error(`client ended with ${code}: ${err}`)),
    );
  });
}

/** A process that only waits, in a group of its own; ended with the test. */
export function waitingProcess(
  t: TestContext,
  options: { uid?: number; detached?: boolean; env?: Readonly<Record<string, string>> } = {},
): number {
  const child = spawn('sleep', ['600'], { stdio: 'ignore', cwd: '/', ...options });
  t.after(() => child.kill('SIGKILL'));
  if (child.pid === undefined) throw new Error('sleep did not start');
  return child.pid;
}

export const NOT_ROOT = process.getuid?.() === 0 ? false : 'needs root, to become another user';
