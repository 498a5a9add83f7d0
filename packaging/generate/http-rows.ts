/** Rows of the HTTP interface for people: from the API document and from the constants that the program itself obeys. */
import http from 'node:http';
import {
  DEFAULT_BOUNDS,
  DEFAULT_TIMEOUT_SECS,
  HEADERS_TIMEOUT_MS,
  KEEP_ALIVE_MS,
  MAX_BODY_BYTES,
  MAX_OUTPUT_BYTES,
  MAX_TIMEOUT_SECS,
  REQUEST_TIMEOUT_MS,
} from '../../agent/publish/http/bounds.ts';
import { isJson } from '../../agent/publish/http/openapi-components.ts';
import { PROBLEMS } from '../../agent/publish/http/problem-catalogue.ts';
import type { Json } from '../../agent/publish/http/route-doc.ts';

export interface OperationRow {
  readonly method: string;
  readonly path: string;
  readonly tag: string;
  readonly access: string;
  readonly summary: string;
}

export function operationRows(document: Json): readonly OperationRow[] {
  return entriesOf(document['paths']).flatMap(([path, methods]) =>
    entriesOf(methods).map(([method, operation]) => ({
      method: method.toUpperCase(),
      path,
      tag: String(Array.isArray(operation['tags']) ? operation['tags'][0] : ''),
      access: String(operation['x-access']),
      summary: String(operation['summary']),
    })),
  );
}

/** In the order in which the document names them. */
export const tagRows = (document: Json): readonly (readonly [name: string, description: string])[] => {
  const tags: readonly unknown[] = Array.isArray(document['tags']) ? document['tags'] : [];
  return tags.filter(isJson).map((tag) => [String(tag['name']), String(tag['description'])]);
};

export const problemRows = () =>
  Object.entries(PROBLEMS)
    .map(([code, kind]) => ({ code, ...kind }))
    .sort((a, b) => a.status - b.status || (a.code < b.code ? -1 : 1));

const secs = (ms: number): string => `${ms / 1000} s`;
const kib = (bytes: number): string => (bytes < 1024 * 1024 ? `${bytes / 1024} KiB` : `${bytes / 1024 / 1024} MiB`);

/** What is bounded, by how much, and what happens beyond it. */
export function boundRows(): readonly (readonly [what: string, bound: string, beyond: string])[] {
  const bounds = DEFAULT_BOUNDS;
  return [
    ['JSON of a request', kib(MAX_BODY_BYTES), '413 `too_large`'],
    ['a file under `/joboutputs/`', kib(MAX_OUTPUT_BYTES), '413 `too_large`'],
    ['path and headers together', kib(http.maxHeaderSize), '431 `headers_too_large`'],
    ['headers of a request', `within ${secs(HEADERS_TIMEOUT_MS)}`, '408 `request_timeout`'],
    ['a whole request', `within ${secs(REQUEST_TIMEOUT_MS)}`, '408 `request_timeout`'],
    ['a connection between two requests', `open for ${secs(KEEP_ALIVE_MS)}`, 'closed'],
    [
      'a hanging GET',
      `${DEFAULT_TIMEOUT_SECS} s, with \`timeout_sec\` up to ${MAX_TIMEOUT_SECS} s`,
      '200 with the unchanged document',
    ],
    ['hanging GETs and streams together', String(bounds.maxStreams), '503 `too_many_streams`'],
    ['a stream that nothing happens on', `a comment every ${secs(bounds.heartbeatMs)}`, ''],
    ['a reader of a stream that takes nothing', secs(bounds.undrainedMs), 'cut off'],
    [
      'payloads',
      `${bounds.maxPayloads}, of one user who is not root ${bounds.maxPayloadsOfUser}`,
      '503 `too_many_payloads`',
    ],
    [
      'requests of one user that need the caller identified',
      `${bounds.lookupBurst} at once, ${bounds.lookupsPerSec} a second`,
      '429 `rate_limited`',
    ],
    [
      'what one payload says of itself',
      `${bounds.changeBurst} at once, ${bounds.changesPerSec} a second`,
      '429 `too_many_changes`',
    ],
  ];
}

function entriesOf(value: unknown): readonly (readonly [string, Json])[] {
  return isJson(value) ? Object.entries(value).flatMap(([key, one]) => (isJson(one) ? [[key, one] as const] : [])) : [];
}
