/**
 * What every request must pass before its route sees it (SYSTEMS.md, "Who is calling"): no web page of another origin, no
 * rebound name, no proxy request gets in; whoever changes something is identified. And how errors leave.
 */
import type { IncomingMessage } from 'node:http';
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { INSTANCE_HEADER } from '../../instance.ts';
import type { Access } from './caller.ts';
import { channelOf } from './channel.ts';
import type { HttpContext } from './context.ts';
import { explained } from './explained.ts';
import { ProblemError, refusal, sendAbsent, sendProblem } from './problem.ts';
import { createRefusalLog } from './refusals.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Who may call; without it a GET is for everyone and anything else a write. */
    readonly access?: Access;
    /** A write whose body is not JSON (`/joboutputs/`). */
    readonly anyBody?: boolean;
  }
}

/** `nosniff` and a CSP without sources: whatever a value holds, a browser runs nothing of it. No CORS header, ever. */
export const SECURITY_HEADERS: Readonly<Record<string, string>> = {
  'x-content-type-options': 'nosniff',
  'content-security-policy': "default-src 'none'",
};
const LOCAL_HOST = /^(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?$/i;
const LOCAL_ORIGIN = /^http:\/\/(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?$/i;
/** MJF readers take any body for a value, so these answer 404 with none. */
const FEATURE_PATH = /^\/(?:machinefeatures|jobfeatures|jobstatus|p)(?:[/?]|$)/;

/** Must come before the routes: it collects their methods for `Allow`. */
export function addGuard(app: FastifyInstance, context: HttpContext): void {
  const { callers, port } = context;
  const logRefusal = createRefusalLog(context.log, (reason) => port.count('mjf_requests_refused_total', { reason }));
  const routes = new Map<string, { pattern: RegExp; methods: Set<string> }>();

  app.addHook('onRoute', ({ url, method }) => {
    const route = routes.get(url) ?? { pattern: patternOf(url), methods: new Set<string>() };
    routes.set(url, route);
    for (const one of [method].flat()) route.methods.add(one);
  });

  app.addHook('onRequest', async (request, reply) => {
    reply.headers(SECURITY_HEADERS);
    const { raw } = request;
    // A report of ours that came back, by whatever way: taken, it would be sent on to ourselves for ever.
    if (raw.headers[INSTANCE_HEADER] === context.instance)
      throw refusal('own_output', 'This request comes from the agent itself.');
    checkTarget(raw);
    checkHost(raw);
    checkOrigin(raw);
    if (request.is404) {
      const target = raw.url ?? '';
      const allowed = allowedMethods(target);
      if (allowed.length > 0) {
        throw new ProblemError('method_not_allowed', `Only ${allowed.join(', ')} here.`, {
          headers: { allow: allowed.join(', ') },
        });
      }
      if (FEATURE_PATH.test(target)) return sendAbsent(reply);
      throw new ProblemError('not_found', 'There is nothing here. GET / lists what there is.');
    }
    if (raw.method !== 'GET' && raw.method !== 'HEAD' && request.routeOptions.config.anyBody !== true) checkJson(raw);
    await callers.before(raw, accessOf(request));
    return undefined;
  });

  app.addHook('preValidation', async (request) => {
    if (!request.is404) await callers.after(request.raw, accessOf(request));
  });

  app.addHook('onResponse', async (request, reply) => {
    const route = request.routeOptions.url ?? 'none';
    port.count('mjf_http_requests_total', { route, code: String(reply.statusCode) });
  });

  app.setErrorHandler((error, request, reply) => {
    if (error instanceof ProblemError) {
      const { code, message, options } = error;
      if (options.refused === true) {
        const caller = callers.of(request.raw);
        const uid = options.uid ?? (caller.kind === 'user' ? caller.uid : null);
        logRefusal({
          code: options.reason ?? code,
          detail: message,
          method: request.method,
          route: request.routeOptions.url ?? 'none',
          uid,
        });
      }
      if (options.headers !== undefined) reply.headers(options.headers);
      const { pointer } = options;
      return sendProblem(reply, code, message, pointer === undefined ? [] : [{ detail: message, pointer }]);
    }
    const { code, detail, errors } = explained(error);
    if (code === 'internal')
      context.log.error({ event: 'http_error', err: error }, 'a request failed inside the agent');
    return sendProblem(reply, code, detail, errors);
  });

  function allowedMethods(target: string): string[] {
    const path = target.split('?', 1)[0] ?? '';
    const methods = new Set<string>();
    for (const route of routes.values())
      if (route.pattern.test(path)) for (const one of route.methods) methods.add(one);
    return [...methods].sort();
  }
}

/** For targets that fastify's router cannot read (bad percent-encoding, endless names); no hook runs for these. */
export function refuseUnreadable(error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  reply.headers(SECURITY_HEADERS);
  if (FEATURE_PATH.test(request.raw.url ?? '')) void sendAbsent(reply);
  else if (error.code === 'FST_ERR_MAX_PARAM_LENGTH')
    void sendProblem(reply, 'path_too_long', 'No name here is that long.');
  else void sendProblem(reply, 'bad_path', 'The path cannot be read: a % must be followed by two hexadecimal digits.');
}

function accessOf(request: FastifyRequest): Access {
  const { access } = request.routeOptions.config;
  return access ?? (request.raw.method === 'GET' || request.raw.method === 'HEAD' ? 'read' : 'write');
}

function checkTarget(request: IncomingMessage): void {
  // The router would strip scheme and authority and answer: `GET http://evil/v1/lifetime` got 200 from fastify.
  if (request.url?.startsWith('/') !== true)
    throw refusal('absolute_target', 'Only paths are served here, this is no proxy.');
}

function checkHost(request: IncomingMessage): void {
  const channel = channelOf(request.socket);
  if (channel.kind !== 'tcp') return;
  // RFC 9112, 3.2: Node keeps the first of two, others behind or before us might keep the second.
  if (request.rawHeaders.filter((name, index) => index % 2 === 0 && name.toLowerCase() === 'host').length > 1) {
    throw refusal('two_hosts', 'There must be one Host header.');
  }
  const host = request.headers.host ?? '';
  if (LOCAL_HOST.test(host)) return;
  // An address that the operator added answers to itself: a literal address cannot be rebound.
  if (!channel.loopback && withoutPort(host) === request.socket.localAddress?.replace(/^::ffff:/i, '')) return;
  throw refusal('foreign_host', 'The Host header must name localhost, 127.0.0.1 or [::1].');
}

function checkOrigin(request: IncomingMessage): void {
  const { origin } = request.headers;
  if (origin !== undefined && !LOCAL_ORIGIN.test(origin)) {
    throw refusal('foreign_origin', 'Requests from web pages of another origin are refused.');
  }
  const site = request.headers['sec-fetch-site'];
  if (site !== undefined && site !== 'same-origin' && site !== 'none') {
    throw refusal('cross_site', 'Requests from web pages of another site are refused.');
  }
}

/** JSON is what no form of a web page can send; a DELETE or POST without any body needs no type. */
function checkJson(request: IncomingMessage): void {
  const { headers } = request;
  const type = headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase();
  const empty = headers['transfer-encoding'] === undefined && Number(headers['content-length'] ?? 0) === 0;
  if (type === 'application/json' || (type === undefined && empty && request.method === 'DELETE')) return;
  throw refusal(
    'not_json',
    "The body must be application/json: curl -H 'content-type: application/json' -d …, or curl --json.",
  );
}

function withoutPort(host: string): string {
  return host.replace(/:\d{1,5}$/, '').replace(/^\[(.*)\]$/, '$1');
}

function patternOf(url: string): RegExp {
  const source = url
    .split('/')
    .map((part) => (part.startsWith(':') ? '[^/]+' : part === '*' ? '.*' : part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')))
    .join('/');
  return new RegExp(`^${source}$`);
}
