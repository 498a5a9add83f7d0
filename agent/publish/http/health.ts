/** For supervisors and monitors, and the description of it all. */
import type { FastifyInstance } from 'fastify';
import type { HttpContext } from './context.ts';
import { collectRoutes, openApi } from './openapi.ts';

/** Must come before the other routes: it hears of each as it is added. */
export function addHealthRoutes(app: FastifyInstance, context: HttpContext): void {
  const { port, version } = context;
  const routes = collectRoutes(app);
  const text = 'text/plain; charset=utf-8';
  let document: string | undefined;

  app.get(
    '/healthz',
    { config: { access: 'read', doc: { summary: 'Is the agent alive? 503 and the reason if not', text: 'ok' } } },
    (_request, reply) => {
      const { healthy, reason } = port.health();
      return reply
        .code(healthy ? 200 : 503)
        .header('cache-control', 'no-store')
        .type(text)
        .send(healthy ? 'ok\n' : `${reason}\n`);
    },
  );

  app.get(
    '/readyz',
    {
      config: {
        access: 'read',
        doc: { summary: 'Is what it says to be relied on? 503 and the reason if not', text: 'ok' },
      },
    },
    (_request, reply) => {
      const { ready, reason } = port.readiness();
      return reply
        .code(ready ? 200 : 503)
        .header('cache-control', 'no-store')
        .type(text)
        .send(ready ? 'ok\n' : `${reason}\n`);
    },
  );

  app.get(
    '/metrics',
    { config: { access: 'read', doc: { summary: 'Prometheus text exposition 0.0.4', text: 'Metrics' } } },
    (_request, reply) =>
      reply
        .header('cache-control', 'no-store')
        .type('text/plain; version=0.0.4; charset=utf-8')
        .send(port.metricsText()),
  );

  app.get(
    '/openapi.json',
    { config: { access: 'read', doc: { summary: 'This interface as an OpenAPI 3.1 document' } } },
    (_request, reply) => {
      document ??= `${JSON.stringify(openApi(routes, version))}\n`;
      return reply.header('cache-control', 'no-cache').type('application/json').send(document);
    },
  );

  app.get(
    '/',
    { config: { access: 'read', doc: { summary: 'This list', text: 'Endpoints, one a line' } } },
    (_request, reply) => {
      const lines = routes.map(({ method, url, doc }) =>
        `${method.padEnd(6)} ${url.padEnd(32)} ${doc?.summary ?? ''}`.trimEnd(),
      );
      return reply
        .header('cache-control', 'no-cache')
        .type(text)
        .send(`mjf-agent ${version}\n\n${lines.join('\n')}\n`);
    },
  );
}
