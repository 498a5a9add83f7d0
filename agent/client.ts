/**
 * How the commands speak with the daemon: plain node:http over its sockets, or over loopback TCP where the daemon must see
 * who calls (SYSTEMS.md, "Who is calling"). Each request is bounded in time and size and never throws.
 */
import fs from 'node:fs';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import path from 'node:path';
import { listenerIsOf } from './listener-owner.ts';

/** `agent` = agent.sock, anyone, read-only; `admin` = admin.sock, operator; `tcp` = the URL in `url`, for writes of users. */
export type Channel = 'agent' | 'admin' | 'tcp';

export interface DaemonRequest {
  readonly channel: Channel;
  readonly runtimeDir: string;
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** With query, percent-encoded where needed. */
  readonly path: string;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** For the whole exchange, ms. */
  readonly timeoutMs: number;
  /** Of the answer. Default 4 MiB. */
  readonly largestBytes?: number;
  readonly signal?: AbortSignal;
}

export type DaemonAnswer =
  | { readonly status: number; readonly headers: http.IncomingHttpHeaders; readonly body: Buffer }
  /** A sentence for people. `code` as Node or this file names it: ENOENT, ECONNREFUSED, EACCES, timeout, too_big, aborted … */
  | { readonly unreachable: string; readonly code: string };

/** A snapshot with hundreds of keys and notices is some 100 KB; a daemon that sends more than this is not ours. */
const LARGEST_BODY_BYTES = 4 * 1024 * 1024;
/** The file `url` holds one short line. */
const LONGEST_URL_CHARS = 300;

/** One request, one answer. Resolves always; never follows redirects; keeps no connection. */
export async function request(options: DaemonRequest): Promise<DaemonAnswer> {
  const place = await findPlace(options.channel, options.runtimeDir);
  return 'unreachable' in place ? place : exchange(options, place);
}

/**
 * The base URL of the daemon's HTTP interface from `runtimeDir/url`, without trailing slash; undefined when the daemon
 * does not run or listens nowhere. Only http on a loopback address is accepted: the file must not send anyone elsewhere.
 */
export async function readBaseUrl(runtimeDir: string): Promise<string | undefined> {
  try {
    const text = (await readFile(path.join(runtimeDir, 'url'), 'utf8')).trim();
    if (text.length > LONGEST_URL_CHARS || /\s/.test(text)) return undefined;
    const url = new URL(text);
    const isLocal = url.hostname === 'localhost' || url.hostname === '[::1]' || /^127(?:\.\d+){3}$/.test(url.hostname);
    return url.protocol === 'http:' && isLocal ? text.replace(/\/+$/, '') : undefined;
  } catch {
    return undefined;
  }
}

/** Whether the listener behind a base URL belongs to whom the runtime directory belongs to, on the kernel's word. */
export function isServedBy(runtimeDir: string, base: string): boolean {
  const owner = fs.statSync(runtimeDir, { throwIfNoEntry: false })?.uid;
  const url = new URL(base);
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  return owner !== undefined && listenerIsOf(owner, host, Number(url.port || 80));
}

type Place = { readonly target: http.RequestOptions; readonly name: string };

async function findPlace(
  channel: Channel,
  runtimeDir: string,
): Promise<Place | Extract<DaemonAnswer, { code: string }>> {
  if (channel !== 'tcp') {
    const socketPath = path.join(runtimeDir, `${channel}.sock`);
    return { target: { socketPath, headers: { host: 'localhost' } }, name: socketPath };
  }
  const base = await readBaseUrl(runtimeDir);
  const name = path.join(runtimeDir, 'url');
  if (base === undefined) {
    return { unreachable: `the daemon does not run, or has no HTTP interface (${name} names none)`, code: 'ENOENT' };
  }
  const url = new URL(base);
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  if (!isServedBy(runtimeDir, base)) {
    return { unreachable: `the daemon does not run: nobody of its own answers at ${base}`, code: 'ECONNREFUSED' };
  }
  return { target: { host, port: url.port || 80, headers: { host: url.host } }, name: base };
}

function exchange(options: DaemonRequest, { target, name }: Place): Promise<DaemonAnswer> {
  const body = options.body === undefined ? undefined : Buffer.from(JSON.stringify(options.body));
  const content =
    body === undefined ? {} : { 'content-type': 'application/json', 'content-length': String(body.length) };
  return new Promise((resolve) => {
    let settled = false;
    const settle = (answer: DaemonAnswer) => {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      options.signal?.removeEventListener('abort', abort);
      resolve(answer);
      outgoing.destroy();
    };
    const fail = (code: string) => settle({ unreachable: sentenceFor(code, name, options.timeoutMs), code });
    const abort = () => fail('aborted');
    const outgoing = http.request(
      // An own agent-less connection: nothing is left open that would keep a command alive.
      {
        ...target,
        method: options.method,
        path: options.path,
        agent: false,
        headers: { ...target.headers, ...content },
      },
      (response) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes > (options.largestBytes ?? LARGEST_BODY_BYTES)) fail('too_big');
          else chunks.push(chunk);
        });
        response.on('end', () =>
          settle({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) }),
        );
        response.on('error', (error) => fail(codeOf(error)));
        response.on('close', () => fail('ECONNRESET'));
      },
    );
    const timer = setTimeout(() => fail('timeout'), options.timeoutMs);
    outgoing.on('error', (error) => fail(codeOf(error)));
    if (options.signal?.aborted) abort();
    else options.signal?.addEventListener('abort', abort, { once: true });
    outgoing.end(body);
  });
}

function sentenceFor(code: string, name: string, timeoutMs: number): string {
  switch (code) {
    case 'ENOENT':
      return `the daemon does not run: there is no ${name}`;
    case 'ECONNREFUSED':
      return `the daemon does not run: nobody answers at ${name}`;
    case 'EACCES':
    case 'EPERM':
      return `this user may not use ${name}`;
    case 'timeout':
      return `the daemon at ${name} did not answer within ${timeoutMs / 1000} s`;
    case 'too_big':
      return `${name} answered more than a daemon would`;
    case 'aborted':
      return 'given up';
    case 'ECONNRESET':
      return `the daemon at ${name} broke off`;
    default:
      return `the daemon at ${name} cannot be reached (${code})`;
  }
}

function codeOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : error.message;
}
