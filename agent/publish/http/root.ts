/** `/`: for a browser the status page, for everything else the list of what there is. */
import type { FastifyInstance } from 'fastify';
import { etagOf } from '../etag.ts';
import type { HttpContext } from './context.ts';
import { indexDoc } from './docs/agent.ts';
import type { RouteRecord } from './route-doc.ts';
import { sendTagged, type Tagged } from './tagged.ts';

/** Put in by packaging/build.mjs (packaging/page.mjs makes them); absent when the sources run unbundled. */
declare const MJF_AGENT_PAGE: string | undefined;
declare const MJF_AGENT_PAGE_POLICY: string | undefined;

/** The status page as one document, and the Content-Security-Policy that lets exactly its own script and style run. */
export interface StatusPage {
  readonly html: string;
  readonly policy: string;
}

/** The page of this program. */
export const builtPage: StatusPage | null =
  typeof MJF_AGENT_PAGE === 'string' && typeof MJF_AGENT_PAGE_POLICY === 'string'
    ? { html: MJF_AGENT_PAGE, policy: MJF_AGENT_PAGE_POLICY }
    : null;

const WITHOUT_PAGE =
  'The status page is part of the built program ("npm run build", dist/mjf-agent.cjs). This one runs from its sources.\n\n';

export function addRootRoute(
  app: FastifyInstance,
  { version, page }: HttpContext,
  routes: readonly RouteRecord[],
): void {
  const shown = page === null ? null : tagged('html', page.html);
  app.get('/', { config: { access: 'read', doc: indexDoc } }, (request, reply) => {
    reply.header('vary', 'Accept');
    const asked = prefersHtml(request.headers.accept);
    if (asked && page !== null && shown !== null) {
      reply.header('content-security-policy', page.policy).header('referrer-policy', 'no-referrer');
      return sendTagged(request, reply, shown);
    }
    const list = `mjf-agent ${version}\n\n${asked ? WITHOUT_PAGE : ''}${listOf(routes)}\n`;
    return sendTagged(request, reply, tagged('plain', list));
  });
}

const tagged = (subtype: 'html' | 'plain', body: string): Tagged => ({
  type: `text/${subtype}; charset=utf-8`,
  body,
  etag: etagOf(body),
});

const listOf = (routes: readonly RouteRecord[]): string =>
  routes
    .map(({ method, url, doc }) => `${method.padEnd(6)} ${url.padEnd(32)} ${doc?.summary ?? ''}`.trimEnd())
    .join('\n');

/** Named, and liked no less than plain text: a bare wildcard is curl, which wants text. RFC 9110, 12.5.1. */
export function prefersHtml(accept: string | undefined): boolean {
  const quality = (type: string): number => {
    for (const part of (accept ?? '').split(',')) {
      const [name = '', ...parameters] = part.split(';').map((piece) => piece.trim().toLowerCase());
      if (name !== type) continue;
      const q = parameters.find((parameter) => parameter.startsWith('q='))?.slice(2);
      const value = q === undefined ? 1 : Number(q);
      return Number.isNaN(value) ? 0 : value;
    }
    return 0;
  };
  const html = quality('text/html');
  return html > 0 && html >= quality('text/plain');
}
