/** One HTTP request and its whole response on one connection: the part of the careful client that knows Node's events. */
import type http from 'node:http';
import type { Socket } from 'node:net';
import { INSTANCE_HEADER } from '../instance.ts';
import type { FailureCode, HttpFailure, HttpOutcome } from './link-local.ts';
import type { Target } from './link-local-target.ts';

export interface Exchange {
  readonly target: Target;
  readonly start: typeof http.request;
  readonly agent: http.Agent;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
  readonly connectTimeoutMs: number;
  readonly timeoutMs: number;
  readonly bodyLimitBytes: number;
  readonly ownInstance: string;
  readonly signal: AbortSignal;
}

/** `staleSocket`: a connection that had served before broke before this response began. */
export interface Exchanged {
  readonly outcome: HttpOutcome;
  readonly staleSocket: boolean;
}

/** Sockets that have carried a whole response. */
const served = new WeakSet<Socket>();

/** Ends by itself within `timeoutMs`; a failed exchange takes its socket along, so that nothing drips on behind it. */
export function exchange(spec: Exchange): Promise<Exchanged> {
  const { target, signal } = spec;
  return new Promise((resolve) => {
    const startedMs = performance.now();
    const chunks: Buffer[] = [];
    let size = 0;
    let connected = false;
    let reused = false;
    let responded = false;
    let settled = false;
    let connectTimer: NodeJS.Timeout | undefined;
    let request: http.ClientRequest | undefined;

    const settle = (outcome: HttpOutcome, staleSocket = false) => {
      if (settled) return;
      settled = true;
      clearTimeout(totalTimer);
      clearTimeout(connectTimer);
      signal.removeEventListener('abort', onAbort);
      if (outcome.kind === 'failure') request?.destroy();
      resolve({ outcome, staleSocket });
    };
    const fail = (code: FailureCode, why: string) =>
      settle(
        { kind: 'failure', code, detail: `${spec.method} ${target.shown}: ${why}`, connected },
        code === 'reset' && reused && !responded,
      );
    const onAbort = () => fail('aborted', 'given up by the caller');
    const totalTimer = setTimeout(
      () => fail('timeout', `no complete answer in ${Math.round(spec.timeoutMs)} ms`),
      Math.max(0, spec.timeoutMs),
    );
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) return onAbort();

    const onSocket = (socket: Socket) => {
      if (settled) return;
      if (!socket.connecting) {
        // Kept from before, unless connecting failed on the spot (no route).
        connected = !socket.destroyed;
        reused = served.has(socket);
        return;
      }
      connectTimer = setTimeout(
        () => fail('timeout', `no connection in ${spec.connectTimeoutMs} ms`),
        spec.connectTimeoutMs,
      );
      socket.once(target.protocol === 'https:' ? 'secureConnect' : 'connect', () => {
        connected = true;
        clearTimeout(connectTimer);
      });
    };

    const onResponse = (response: http.IncomingMessage) => {
      responded = true;
      const { socket } = response;
      if (response.headers[INSTANCE_HEADER] === spec.ownInstance)
        return fail('own_output', "the answer is the agent's own");
      const announced = Number(response.headers['content-length'] ?? 0);
      if (announced > spec.bodyLimitBytes) return fail('too_large', `announces a body of ${announced} bytes`);
      response.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > spec.bodyLimitBytes) return fail('too_large', `body of more than ${spec.bodyLimitBytes} bytes`);
        chunks.push(chunk);
      });
      response.on('end', () => {
        if (!response.complete) return fail('protocol', `body cut after ${size} bytes`);
        served.add(socket);
        settle({
          kind: 'response',
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: Buffer.concat(chunks, size),
          ...dated(response.headers),
          durationMs: performance.now() - startedMs,
        });
      });
      // Node tells an orderly close in mid-body here, a reset on the request.
      response.on('error', () => fail('protocol', `body cut after ${size} bytes`));
    };

    try {
      request = spec.start({
        agent: spec.agent,
        protocol: target.protocol,
        host: target.host,
        port: target.port,
        path: target.path,
        method: spec.method,
        headers: {
          host: target.authority,
          // Nothing here decompresses, and a small body can hide a large one.
          'accept-encoding': 'identity',
          ...(spec.body === undefined ? {} : { 'content-length': Buffer.byteLength(spec.body) }),
          ...spec.headers,
        },
      });
    } catch (error) {
      // Unusable certificate or key, illegal header value: thrown at once instead of told.
      return fail(target.protocol === 'https:' ? 'tls' : 'protocol', messageOf(error));
    }
    request.on('socket', onSocket);
    request.on('response', onResponse);
    request.on('error', (error: NodeJS.ErrnoException) => fail(classify(error, target, connected), messageOf(error)));
    // A protocol switch (101) that nobody asked for ends the socket without any error.
    request.on('close', () => fail('protocol', 'connection closed without a complete answer'));
    request.end(spec.body);
  });
}

const NAMED: Readonly<Record<string, FailureCode>> = {
  ECONNREFUSED: 'refused',
  ECONNRESET: 'reset',
  EPIPE: 'reset',
  ETIMEDOUT: 'timeout',
  ENOTFOUND: 'dns',
  EPROTO: 'tls',
};

function classify(error: NodeJS.ErrnoException, target: Target, connected: boolean): HttpFailure['code'] {
  const code = error.code ?? '';
  const named = NAMED[code];
  if (named !== undefined) return named;
  if (code.startsWith('EAI_')) return 'dns';
  if (code.startsWith('HPE_')) return 'protocol';
  if (/^(ERR_TLS|ERR_SSL|ERR_OSSL|CERT_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|HOSTNAME_MISMATCH)/.test(code)) return 'tls';
  // OpenSSL has many more names for a bad certificate; with TCP standing and TLS not, it can be little else.
  if (target.protocol === 'https:' && !connected && !/^E[A-Z]+$/.test(code)) return 'tls';
  return 'network';
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // An AggregateError of several addresses has an empty message.
  return error.message === '' ? ((error as NodeJS.ErrnoException).code ?? error.name) : error.message;
}

function dated(headers: http.IncomingHttpHeaders): { readonly dateMs?: number } {
  // A cache passes on the Date of the moment when it fetched: as a clock that is wrong by its age.
  if (headers.date === undefined || headers.age !== undefined) return {};
  const dateMs = Date.parse(headers.date);
  return Number.isNaN(dateMs) ? {} : { dateMs };
}
