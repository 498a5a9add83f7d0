/**
 * The HTTP face: one fastify app, behind it one node server for each door (loopback IPv4 and IPv6, inherited listeners,
 * `agent.sock`, `admin.sock`), so that every connection knows through which door it came. Loaded after the first publication.
 */
import http from 'node:http';
import path from 'node:path';
import fastify, { type FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { type Clock, systemClock } from '../../clock.ts';
import { INSTANCE_HEADER, instanceId } from '../../instance.ts';
import type { AgentPort } from '../../ports.ts';
import {
  CLOSE_MS,
  CUT_MS,
  DEFAULT_BOUNDS,
  HEADERS_TIMEOUT_MS,
  type HttpBounds,
  KEEP_ALIVE_MS,
  MAX_BODY_BYTES,
  maxConnections,
  REQUEST_TIMEOUT_MS,
} from './bounds.ts';
import { createCallers } from './caller.ts';
import { answerUnreadable } from './client-error.ts';
import type { HttpContext } from './context.ts';
import { socketDoor } from './door-socket.ts';
import { inheritedDoors, tcpDoor } from './door-tcp.ts';
import { addEventRoutes } from './events.ts';
import { addFeatureRoutes } from './features.ts';
import { addFinalWordRoutes } from './final-words.ts';
import { addGuard, refuseUnreadable } from './guard.ts';
import { addHealthRoutes } from './health.ts';
import { addHistoryRoute } from './history.ts';
import { createHub } from './hub.ts';
import { addJobOutputRoutes } from './joboutputs.ts';
import { addLifetimeRoutes } from './lifetime.ts';
import { createListeners } from './listeners.ts';
import { addNoticeRoutes } from './notices.ts';
import { addPayloadRoutes } from './payloads.ts';
import { builtPage, type StatusPage } from './root.ts';
import { settledTarget } from './target.ts';
import { createUrlFile } from './url-file.ts';

export interface HttpOptions {
  /** TCP addresses; empty = off. Those beyond loopback are read-only. Port 0 picks one. */
  readonly listen: readonly { readonly host: string; readonly port: number }[];
  /** Holds `agent.sock`, `admin.sock`, `url` and the views; created if missing. */
  readonly runtimeDir: string;
  readonly log: Logger;
  readonly version: string;
  /** The status page; by default the one that was built into this program, if any. */
  readonly page?: StatusPage;
  /** Group that may open admin.sock besides the agent's own user. */
  readonly adminGroupId?: number;
  readonly procRoot?: string;
  /** Listening descriptors that systemd holds for us (socket activation). */
  readonly listenFds?: readonly number[];
  /** Names that payloads cannot PUT (S5.3); by default `shutdown_message` and `heartbeat`. */
  readonly reservedOutputs?: readonly string[];
  readonly bounds?: Partial<HttpBounds>;
  readonly clock?: Clock;
  /** For tests: the id on every answer (instance.ts). */
  readonly instance?: string;
}

export interface HttpServer {
  /** Base URLs of the TCP listeners that are up, `http://127.0.0.1:8653`, loopback IPv4 first. */
  urls(): readonly string[];
  /** Sockets and `url` that somebody removed come back. Cheap enough for each second. */
  mend(): void;
  /** Ends within a second: those who wait are told to go, the rest is cut. Repeated calls share one end. */
  close(): Promise<void>;
}

/**
 * Resolves once every door was tried once; a door that could not be opened is logged and tried again while the others serve.
 * Rejects only when nothing can ever work (the runtime directory cannot be made, a route is wrong).
 */
export async function startHttp(port: AgentPort, options: HttpOptions): Promise<HttpServer> {
  const { log, runtimeDir } = options;
  const bounds = { ...DEFAULT_BOUNDS, ...options.bounds };
  const procRoot = options.procRoot ?? '/proc';
  const urlFile = createUrlFile(runtimeDir, log);
  const hub = createHub(port, bounds.maxStreams);
  const context: HttpContext = {
    port,
    log,
    bounds,
    hub,
    callers: createCallers({ procRoot, bounds }),
    clock: options.clock ?? systemClock,
    instance: options.instance ?? instanceId,
    version: options.version,
    page: options.page ?? builtPage,
    runtimeDir,
    procRoot,
    reservedOutputs: new Set(options.reservedOutputs ?? ['shutdown_message', 'heartbeat']),
    baseUrl: () => listeners.urls()[0] ?? null,
  };
  const app = await createApp(context);
  const listeners = createListeners({
    log,
    retryMs: bounds.retryMs,
    createServer: () => createServer(app, procRoot, context.instance),
    onUrls: (urls) => urlFile.write(urls[0] ?? null),
  });

  const inherited = inheritedDoors(options.listenFds ?? [], { procRoot, runtimeDir, log });
  const taken = await listeners.open(inherited);
  const socket = { runtimeDir, log };
  await listeners.open(
    [
      ...options.listen.map(tcpDoor),
      socketDoor({ ...socket, path: path.join(runtimeDir, 'agent.sock'), mode: 0o666, channel: { kind: 'reader' } }),
      socketDoor({
        ...socket,
        path: path.join(runtimeDir, 'admin.sock'),
        mode: options.adminGroupId === undefined ? 0o600 : 0o660,
        channel: { kind: 'operator' },
        ...(options.adminGroupId !== undefined && { groupId: options.adminGroupId }),
      }),
    ].filter((door) => !taken.has(door.name)),
  );

  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    urlFile.remove();
    const closed = listeners.close(CUT_MS);
    await bounded(Promise.all([closed, app.close()]), CLOSE_MS);
  };
  const mend = (): void => {
    listeners.mend();
    urlFile.mend();
  };
  return { urls: listeners.urls, mend, close: () => (closing ??= close()) };
}

/** The routes on an app of their own, without a door. */
export async function createApp(context: HttpContext): Promise<FastifyInstance> {
  const app = fastify({
    // One line a request would be most of the log; what matters is logged where it happens.
    logger: false,
    bodyLimit: MAX_BODY_BYTES,
    // The longest name that a route allows is one of 128 (job outputs), and some characters of it may be written as %XX.
    routerOptions: { maxParamLength: 512 },
    // A body says what it means: no "true" for true, no field silently dropped.
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false } },
    frameworkErrors: refuseUnreadable,
    rewriteUrl: ({ url = '/' }) => settledTarget(url),
  });
  // What goes out is built here, not taken from outside; the newline is for whoever reads it in a terminal.
  app.setReplySerializer((data) => `${JSON.stringify(data)}\n`);
  const parseJson = app.getDefaultJsonParser('error', 'error');
  app.removeAllContentTypeParsers();
  app.addContentTypeParser<string>('application/json', { parseAs: 'string' }, (request, body, done) => {
    // `curl -X DELETE -H content-type:…` sends the type and no body.
    if (body === '') done(null, undefined);
    else parseJson(request, body, done);
  });
  app.addHook('preClose', async () => context.hub.close());
  addGuard(app, context);
  addHealthRoutes(app, context);
  addFeatureRoutes(app, context);
  addLifetimeRoutes(app, context);
  addHistoryRoute(app, context);
  addEventRoutes(app, context);
  addPayloadRoutes(app, context);
  addFinalWordRoutes(app, context);
  addJobOutputRoutes(app, context);
  addNoticeRoutes(app, context);
  await app.ready();
  return app;
}

function createServer(app: FastifyInstance, procRoot: string, instance: string): http.Server {
  const server = http.createServer(
    { headersTimeout: HEADERS_TIMEOUT_MS, requestTimeout: REQUEST_TIMEOUT_MS, keepAliveTimeout: KEEP_ALIVE_MS },
    (request, response) => {
      // Before any route or guard: refusals and streams say it too.
      response.setHeader(INSTANCE_HEADER, instance);
      app.routing(request, response);
    },
  );
  // Node would answer 417 itself, past all that an error of ours says. RFC 9110, 10.1.1: it may be overlooked.
  server.on('checkExpectation', (request, response) => server.emit('request', request, response));
  server.on('clientError', (error, socket) => answerUnreadable(error, socket, instance));
  server.maxConnections = maxConnections(procRoot);
  return server;
}

async function bounded(work: Promise<unknown>, timeoutMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise((resolve) => {
    timer = setTimeout(resolve, timeoutMs);
  });
  await Promise.race([work, timeout]);
  clearTimeout(timer);
}
