/**
 * The key directories of HSF-TN-2016-02 over HTTP: the machine's, and each payload's own view behind its token. The machine's
 * answer to its site reads like one of them.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Side, SnapshotFeature } from '../../lifetime/types.ts';
import { etagOf, matchesEtag } from '../etag.ts';
import type { HttpContext } from './context.ts';
import { type Directory, listingDoc, valueDoc } from './docs/features.ts';
import { sendAbsent } from './problem.ts';

type Values = Readonly<Record<string, string>>;
type Provenance = Readonly<Record<string, SnapshotFeature>>;
const SIDES: readonly (readonly [Exclude<Directory, 'jobstatus'>, Side])[] = [
  ['machinefeatures', 'machine'],
  ['jobfeatures', 'job'],
];
/** What the machine says to its site (S5.1). */
const STATUS = 'jobstatus';
const KEY = /^[a-z0-9_]+$/;

const keyParams = {
  type: 'object',
  properties: { key: { type: 'string', description: 'Name of the key, [a-z0-9_]+' } },
} as const;
const tokenParams = {
  type: 'object',
  properties: {
    token: { type: 'string', description: 'Secret name of the view, from the answer to the registration' },
  },
} as const;
const viewParams = { type: 'object', properties: { ...tokenParams.properties, ...keyParams.properties } } as const;

export function addFeatureRoutes(app: FastifyInstance, context: HttpContext): void {
  const { port } = context;

  addDirectory(STATUS, () => [port.publication().jobstatus, {}]);
  for (const [directory, side] of SIDES) {
    addDirectory(directory, () => {
      const publication = port.publication();
      return [publication[side], publication.snapshot[side]];
    });

    const { listing, value } = configOf(directory, true);
    const viewOf = (token: string): Values | undefined => {
      const { views, machine } = port.publication();
      const view = Object.hasOwn(views, token) ? views[token] : undefined;
      return view && (side === 'machine' ? machine : view.job);
    };
    const listView = (request: FastifyRequest<{ Params: { token: string } }>, reply: FastifyReply) => {
      const values = viewOf(request.params.token);
      return values === undefined ? sendAbsent(reply) : sendListing(request, reply, values);
    };
    const view = `/p/:token/${directory}/`;
    app.get(view, { config: listing, schema: { params: tokenParams } }, listView);
    app.get<{ Params: { token: string; key: string } }>(
      `${view}:key`,
      { config: value, schema: { params: viewParams } },
      (request, reply) => {
        const values = viewOf(request.params.token);
        return values === undefined ? sendAbsent(reply) : sendValue(request, reply, values, {});
      },
    );
  }

  function addDirectory(directory: Directory, shown: () => readonly [Values, Provenance]): void {
    const { listing, value } = configOf(directory);
    const list = (request: FastifyRequest, reply: FastifyReply) => sendListing(request, reply, shown()[0]);
    app.get(`/${directory}/`, { config: listing }, list);
    app.get<{ Params: { key: string } }>(
      `/${directory}/:key`,
      { config: value, schema: { params: keyParams } },
      (request, reply) => sendValue(request, reply, ...shown()),
    );
  }

  /** `provenance` gives Last-Modified; a view's own values and the machine's answer have none. */
  function sendValue(
    request: FastifyRequest<{ Params: { key: string } }>,
    reply: FastifyReply,
    values: Values,
    provenance: Provenance,
  ): FastifyReply {
    const { key } = request.params;
    const value = KEY.test(key) && Object.hasOwn(values, key) ? values[key] : undefined;
    if (value === undefined) return sendAbsent(reply);
    return sendText(request, reply, `${value}\n`, provenance[key]?.sinceMs);
  }

  function sendListing(request: FastifyRequest, reply: FastifyReply, values: Values): FastifyReply {
    const names = Object.keys(values).sort();
    return sendText(request, reply, names.map((name) => `${name}\n`).join(''));
  }

  function sendText(request: FastifyRequest, reply: FastifyReply, body: string, sinceMs?: number): FastifyReply {
    const etag = etagOf(body);
    reply.header('etag', etag).header('cache-control', 'no-cache');
    // A date of this very second could hide a second change within it (RFC 9110, 8.8.2.2): it is given once it is over.
    const sinceSecs = sinceMs === undefined ? undefined : Math.floor(sinceMs / 1000);
    const dated = sinceSecs !== undefined && sinceSecs >= 0 && sinceSecs < Math.floor(port.nowMs() / 1000);
    if (dated) reply.header('last-modified', new Date(sinceSecs * 1000).toUTCString());
    const { 'if-none-match': tags, 'if-modified-since': since } = request.headers;
    const unchanged =
      tags === undefined ? dated && Date.parse(since ?? '') >= sinceSecs * 1000 : matchesEtag(tags, etag);
    return unchanged ? reply.code(304).send() : reply.type('text/plain; charset=utf-8').send(body);
  }
}

const configOf = (directory: Directory, ofPayload = false) => ({
  listing: { access: 'read', doc: listingDoc(directory, ofPayload) } as const,
  value: { access: 'read', doc: valueDoc(directory, ofPayload) } as const,
});
