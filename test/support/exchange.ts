/** One HTTP request to an agent under test, over TCP or one of its sockets. */
import http from 'node:http';
import { WAIT_MS } from './program.ts';

export interface HttpAnswer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
}

export interface RequestOptions {
  readonly method?: string;
  /** Sent as JSON. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** `agent.sock` or `admin.sock` instead of TCP. */
  readonly socket?: 'agent.sock' | 'admin.sock';
}

/** One request, one answer, on a connection of its own. `socketPath` wins over `base`. */
export function exchange(
  base: string,
  socketPath: string | undefined,
  target: string,
  options: RequestOptions = {},
): Promise<HttpAnswer> {
  const body = options.body === undefined ? undefined : Buffer.from(JSON.stringify(options.body));
  const headers = {
    ...(body !== undefined && { 'content-type': 'application/json', 'content-length': String(body.length) }),
    ...(socketPath !== undefined && { host: 'localhost' }),
    ...options.headers,
  };
  const common = { method: options.method ?? 'GET', headers, agent: false, timeout: WAIT_MS };
  return new Promise((resolve, reject) => {
    const answered = (response: http.IncomingMessage): void => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) }),
      );
    };
    const outgoing =
      socketPath === undefined
        ? http.request(`${base}${target}`, common, answered)
        : http.request({ ...common, socketPath, path: target }, answered);
    outgoing.on('timeout', () => outgoing.destroy(new Error(`${target}: no answer in time`)));
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}
