/** Server-sent events: the lifetime document at each change, resumable by `Last-Event-ID`. */
import type { ServerResponse } from 'node:http';
import type { FastifyInstance } from 'fastify';
import type { Publication } from '../../ports.ts';
import { bareEtag } from '../etag.ts';
import type { HttpContext } from './context.ts';
import { eventsDoc } from './docs/lifetime.ts';

/** How long a client waits before it comes again, ms; a restart of the agent takes about as long. */
const CLIENT_RETRY_MS = 2_000;

export function addEventRoutes(app: FastifyInstance, context: HttpContext): void {
  app.get('/v1/events', { config: { access: 'read', doc: eventsDoc } }, (request, reply) => {
    const release = request.method === 'HEAD' ? null : context.hub.admit();
    reply.header('content-type', 'text/event-stream; charset=utf-8').header('cache-control', 'no-store');
    if (release === null) return reply.send('');
    const id = request.headers['last-event-id'];
    reply.hijack();
    // Headers given to the reply do not reach a response that left fastify's care.
    for (const [name, value] of Object.entries(reply.getHeaders())) {
      if (value !== undefined) reply.raw.setHeader(name, value);
    }
    stream(context, reply.raw, typeof id === 'string' ? bareEtag(id) : null, release);
    return reply;
  });
}

/**
 * One pending state a stream, the latest wins. Once a write did not go through, nothing more is written until it drained, and
 * after `undrainedMs` the reader is cut off: a stopped client must not hold memory (the kernel hides 300 KB more of it).
 */
function stream(context: HttpContext, response: ServerResponse, lastId: string | null, release: () => void): void {
  const { hub, port, bounds } = context;
  let sentId = lastId;
  let pending: Publication | null = null;
  let undrained: NodeJS.Timeout | undefined;

  const write = (text: string): void => {
    if (response.write(text) || undrained !== undefined) return;
    undrained = setTimeout(() => {
      port.count('mjf_http_streams_dropped_total', { reason: 'undrained' });
      response.destroy();
    }, bounds.undrainedMs);
  };
  const send = (publication: Publication): void => {
    if (undrained !== undefined) {
      pending = publication;
      return;
    }
    const id = bareEtag(publication.etag);
    if (id === sentId) return;
    sentId = id;
    write(frame(id, publication.lifetimeJson));
  };
  const drained = (): void => {
    clearTimeout(undrained);
    undrained = undefined;
    const latest = pending;
    pending = null;
    if (latest !== null) send(latest);
  };
  const heartbeat = setInterval(() => {
    if (undrained === undefined) write(':\n\n');
  }, bounds.heartbeatMs);
  const unsubscribe = hub.onChange(send);
  const end = (): void => {
    // A reader that does not take what it has been sent would not take the end either.
    if (undrained === undefined) response.end();
    else response.destroy();
  };
  hub.closing.addEventListener('abort', end);
  response.on('drain', drained);
  response.on('error', () => response.destroy());
  response.on('close', () => {
    clearTimeout(undrained);
    clearInterval(heartbeat);
    unsubscribe();
    hub.closing.removeEventListener('abort', end);
    release();
  });

  if (response.destroyed) {
    response.emit('close');
    return;
  }
  response.writeHead(200);
  write(`retry: ${CLIENT_RETRY_MS}\n\n`);
  send(port.publication());
  if (hub.closing.aborted) end();
}

/** Several lines become several `data:` lines; the reader joins them with newlines again. */
function frame(id: string, json: Buffer): string {
  const lines = json
    .toString('utf8')
    .replace(/\r?\n$/, '')
    .split(/\r\n|\n|\r/);
  return `event: lifetime\nid: ${id}\n${lines.map((line) => `data: ${line}\n`).join('')}\n`;
}
