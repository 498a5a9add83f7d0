/** For supervisors and monitors, and the description of it all. */
import type { FastifyInstance } from 'fastify';
import { etagOf } from '../etag.ts';
import type { HttpContext } from './context.ts';
import { healthDoc, metricsDoc, openApiDoc, readinessDoc } from './docs/agent.ts';
import { openApi } from './openapi.ts';
import { addRootRoute } from './root.ts';
import { collectRoutes } from './route-doc.ts';
import { sendTagged, type Tagged } from './tagged.ts';

/** Must come before the other routes: it hears of each as it is added. */
export function addHealthRoutes(app: FastifyInstance, context: HttpContext): void {
  const { port, version } = context;
  const routes = collectRoutes(app);
  const text = 'text/plain; charset=utf-8';
  let document: Tagged | undefined;

  function described(): Tagged {
    const body = `${JSON.stringify({ ...openApi(routes), 'x-agent-version': version })}\n`;
    return { type: 'application/json', body, etag: etagOf(body) };
  }

  app.get('/healthz', { config: { access: 'read', doc: healthDoc } }, (_request, reply) => {
    const { healthy, reason } = port.health();
    return reply
      .code(healthy ? 200 : 503)
      .header('cache-control', 'no-store')
      .type(text)
      .send(healthy ? 'ok\n' : `${reason}\n`);
  });

  app.get('/readyz', { config: { access: 'read', doc: readinessDoc } }, (_request, reply) => {
    const { ready, reason } = port.readiness();
    return reply
      .code(ready ? 200 : 503)
      .header('cache-control', 'no-store')
      .type(text)
      .send(ready ? 'ok\n' : `${reason}\n`);
  });

  app.get('/metrics', { config: { access: 'read', doc: metricsDoc } }, (_request, reply) =>
    reply.header('cache-control', 'no-store').type('text/plain; version=0.0.4; charset=utf-8').send(port.metricsText()),
  );

  app.get('/openapi.json', { config: { access: 'read', doc: openApiDoc } }, (request, reply) => {
    document ??= described();
    return sendTagged(request, reply, document);
  });

  addRootRoute(app, context, routes);
}
