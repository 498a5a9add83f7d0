/**
 * Asking a metadata service: one path, and of what comes back what all platforms agree on. 200 is content, 404 is "there is
 * none", and everything else says nothing and is an error with a stable code. The HTTP care stands in link-local.ts.
 */
import type { IncomingHttpHeaders } from 'node:http';
import { createLinkLocalClient, type HttpOutcome, type LinkLocalRequest } from './link-local.ts';
import { createTokenKeeper, type TokenOptions } from './link-local-token.ts';
import { traced } from './link-local-trace.ts';
import { type SourceEnvironment, SourceError } from './source.ts';

export interface MetadataAnswer {
  /** `absent`: a status of `idle`, by default 404. */
  readonly is: 'text' | 'absent';
  /** Valid UTF-8 without NUL, as it came; empty when absent. */
  readonly text: string;
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** What came, also with an idle status: some services explain themselves. */
  readonly body: Buffer;
  /** The host's clock, for S4.3. */
  readonly hostNowMs?: number;
}

export interface MetadataRequest {
  readonly signal: AbortSignal;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
  /** Statuses that mean "there is none" besides 404. */
  readonly idle?: readonly number[];
  readonly method?: string;
  readonly body?: string;
}

export interface Metadata {
  /**
   * `path` is appended to the base URL.
   * @throws SourceError: `http_NNN` for other statuses, the codes of link-local.ts, `not_text`.
   */
  ask(path: string, request: MetadataRequest): Promise<MetadataAnswer>;
  close(): void;
}

export interface MetadataOptions {
  readonly source: string;
  /** With or without trailing slash. */
  readonly baseUrl: string;
  readonly timeoutMs: number;
  /** On every request; asked anew each time, since tokens change. */
  readonly headers?: () => Readonly<Record<string, string>>;
  readonly token?: Omit<TokenOptions, 'url'> & { readonly path: string };
  /** Connections at a time; hanging GETs hold one each. */
  readonly maxSockets?: number;
  /** For https. */
  readonly ca?: string | Buffer;
}

export function createMetadata(options: MetadataOptions, environment: Pick<SourceEnvironment, 'trace'>): Metadata {
  const base = options.baseUrl.replace(/\/+$/, '');
  const client = traced(
    createLinkLocalClient({
      timeoutMs: options.timeoutMs,
      ...(options.maxSockets === undefined ? {} : { maxSockets: options.maxSockets }),
      ...(options.ca === undefined ? {} : { ca: options.ca }),
    }),
    options.source,
    environment,
  );
  const asker =
    options.token === undefined
      ? client
      : createTokenKeeper(client, { ...options.token, url: base + options.token.path });

  return {
    async ask(path, { query, headers, timeoutMs, signal, idle = [], method, body }) {
      const search = query === undefined ? '' : `?${new URLSearchParams(query).toString()}`;
      const request: LinkLocalRequest = {
        url: `${base}${path}${search}`,
        headers: { ...options.headers?.(), ...headers },
        timeoutMs: timeoutMs ?? options.timeoutMs,
        signal,
        ...(method === undefined ? {} : { method }),
        ...(body === undefined ? {} : { body }),
      };
      return answerOf(await asker.request(request), path, [404, ...idle]);
    },
    close: () => client.close(),
  };
}

function answerOf(outcome: HttpOutcome, path: string, idle: readonly number[]): MetadataAnswer {
  if (outcome.kind === 'failure') throw new SourceError(outcome.code, outcome.detail);
  const { status, headers, body, dateMs } = outcome;
  const common = { status, headers, body, ...(dateMs === undefined ? {} : { hostNowMs: dateMs }) };
  if (idle.includes(status)) return { is: 'absent', text: '', ...common };
  if (status !== 200) throw new SourceError(`http_${status}`, `${path}: HTTP status ${status}`);
  return { is: 'text', text: textOf(body, path), ...common };
}

function textOf(body: Buffer, path: string): string {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(body);
    if (!text.includes('\0')) return text;
  } catch {
    // Falls through: not UTF-8.
  }
  throw new SourceError('not_text', `${path}: the answer is no text`);
}
