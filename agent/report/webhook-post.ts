/**
 * One message to one receiver, once. The caller queues and repeats. No proxy, no redirect, no kept connection: what is said
 * goes where the operator wrote, or nowhere.
 */
import http from 'node:http';
import https from 'node:https';
import type { WebhookConfig } from '../config/types.ts';
import { INSTANCE_HEADER, instanceId } from '../instance.ts';
import { version } from '../version.ts';
import { type Credentials, readCredentials, WebhookFileError } from './webhook-files.ts';
import type { WebhookMessage } from './webhook-message.ts';

/** Credentials, name, connection and TLS together: a receiver that does not take the connection by then is away. */
const CONNECT_BOUND_MS = 5_000;
/** Then for the answer: functions that sleep until somebody calls take some seconds. */
const ANSWER_BOUND_MS = 5_000;
/** The answer is read to its end out of politeness (a receiver may die of a broken pipe), but not for ever. */
const ANSWER_LIMIT_BYTES = 64 * 1024;

export type PostResult =
  | { readonly is: 'taken' }
  /** Understood and not wanted; it will not be otherwise next time. */
  | { readonly is: 'refused'; readonly code: string }
  /** `retryAfterMs`: what the receiver asked for (RFC 9110, 10.2.3), not bounded yet. `detail` holds no secret. */
  | { readonly is: 'failed'; readonly code: string; readonly retryAfterMs: number; readonly detail: string };

/** 4xx says that the request is wrong, but for what time or a new credential may mend. */
const MENDABLE: ReadonlySet<number> = new Set([401, 403, 408, 425, 429]);
/** Those that may say when to come again. */
const COME_AGAIN: ReadonlySet<number> = new Set([429, 503]);

/** Ends within the bounds above, or when `stop` is aborted; never rejects. `onExposed`: a secret that all users can read. */
export function post(
  webhook: WebhookConfig,
  message: WebhookMessage,
  stop: AbortSignal,
  onExposed: (file: string) => void,
): Promise<PostResult> {
  return new Promise((resolve) => {
    let request: http.ClientRequest | undefined;
    /** What the status said: however the rest of the answer goes, that holds. */
    let judged: PostResult | null = null;
    let settled = false;
    const end = (result: PostResult): void => {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      stop.removeEventListener('abort', onStop);
      request?.destroy();
      resolve(result);
    };
    const onStop = (): void => end(failed('stopped'));
    let timer = setTimeout(() => end(failed('connect_timeout')), CONNECT_BOUND_MS);
    stop.addEventListener('abort', onStop, { once: true });
    if (stop.aborted) return onStop();

    const send = (credentials: Credentials): void => {
      for (const file of credentials.exposed) onExposed(file);
      if (settled) return;
      request = open(webhook, message, credentials);
      request.on('error', (error: NodeJS.ErrnoException) => end(judged ?? failed(error.code ?? 'network')));
      const waitForAnswer = (): void => {
        clearTimeout(timer);
        if (!settled) timer = setTimeout(() => end(failed('timeout')), ANSWER_BOUND_MS);
      };
      const { protocol } = request;
      request.on('socket', (socket) => socket.once(protocol === 'https:' ? 'secureConnect' : 'connect', waitForAnswer));
      request.on('response', (response) => {
        const result = judge(response);
        judged = result;
        clearTimeout(timer);
        timer = setTimeout(() => end(result), ANSWER_BOUND_MS);
        let bytes = 0;
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes > ANSWER_LIMIT_BYTES) end(result);
        });
        response.on('error', () => end(result));
        response.on('close', () => end(result));
      });
      request.end(message.body);
    };
    readCredentials(webhook)
      .then(send)
      .catch((error: NodeJS.ErrnoException) =>
        end(failed(error.code ?? 'bad_request', 0, error instanceof WebhookFileError ? error.message : '')),
      );
  });
}

const failed = (code: string, retryAfterMs = 0, detail = ''): PostResult => ({
  is: 'failed',
  code: code.toLowerCase(),
  retryAfterMs,
  detail,
});

/** Throws what Node throws for certificates or an address that it cannot use. */
function open(webhook: WebhookConfig, message: WebhookMessage, credentials: Credentials): http.ClientRequest {
  const { authorization, exposed, ...tls } = credentials;
  const target = new URL(webhook.url);
  return (target.protocol === 'https:' ? https : http).request(target, {
    ...tls,
    // Whatever the environment says (NODE_TLS_REJECT_UNAUTHORIZED).
    rejectUnauthorized: true,
    method: 'POST',
    agent: false,
    headers: {
      'content-type': 'application/json',
      'content-length': message.body.length,
      'user-agent': `mjf-agent/${version}`,
      'mjf-event': message.event,
      'mjf-event-id': message.id,
      'idempotency-key': message.id,
      [INSTANCE_HEADER]: instanceId,
      ...(authorization === undefined ? {} : { authorization }),
    },
  });
}

function judge({ statusCode = 0, headers }: http.IncomingMessage): PostResult {
  // We ourselves, by a name that nobody knew for ours (isOwnEndpoint).
  if (headers[INSTANCE_HEADER] === instanceId) return { is: 'refused', code: 'own_output' };
  if (statusCode >= 200 && statusCode < 300) return { is: 'taken' };
  // A redirect leads elsewhere, and will tomorrow: that is for the operator to write down.
  const final = statusCode >= 300 && statusCode < 500 && !MENDABLE.has(statusCode);
  if (final) return { is: 'refused', code: `http_${statusCode}` };
  return failed(`http_${statusCode}`, COME_AGAIN.has(statusCode) ? retryAfterMs(headers) : 0);
}

/** Seconds, or a date on the receiver's own clock where it tells that. 0 where there is none, or nobody understands it. */
function retryAfterMs({ 'retry-after': text = '', date }: http.IncomingHttpHeaders): number {
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000;
  const at = Date.parse(text);
  const theirs = Date.parse(date ?? '');
  return Number.isNaN(at) ? 0 : Math.max(0, at - (Number.isNaN(theirs) ? Date.now() : theirs));
}
