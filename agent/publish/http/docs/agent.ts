/** Liveness, readiness, metrics and the descriptions of it all, for the API document. */
import type { RouteDoc } from '../route-doc.ts';

const TEXT = 'text/plain';
const HEADERS = ['Cache-Control'] as const;

export const healthDoc: RouteDoc = {
  id: 'getHealth',
  tag: 'agent',
  summary: 'Is the agent alive? 503 and the reason if not',
  answers: {
    200: { says: '`ok`', type: TEXT, headers: HEADERS },
    503: { says: 'Its main loop is late; the text says by what', type: TEXT, headers: HEADERS },
  },
  examples: [{ name: 'alive', summary: 'All is well', status: 200, answer: 'ok\n' }],
};

export const readinessDoc: RouteDoc = {
  id: 'getReadiness',
  tag: 'agent',
  summary: 'Is what it says to be relied on? 503 and the reason if not',
  description: 'Ready once every source has answered once, or ten seconds after the start.',
  answers: {
    200: { says: '`ok`', type: TEXT, headers: HEADERS },
    503: { says: 'Not yet, or not any more; the text says why', type: TEXT, headers: HEADERS },
  },
  examples: [{ name: 'ready', summary: 'All sources have answered', status: 200, answer: 'ok\n' }],
};

export const metricsDoc: RouteDoc = {
  id: 'getMetrics',
  tag: 'agent',
  summary: 'Prometheus text exposition 0.0.4',
  answers: { 200: { says: 'Metrics', type: TEXT, headers: HEADERS } },
  examples: [
    {
      name: 'scrape',
      summary: 'What Prometheus gets',
      status: 200,
      answer: '# TYPE mjf_phase gauge\n',
    },
  ],
};

export const openApiDoc: RouteDoc = {
  id: 'getOpenApi',
  tag: 'agent',
  summary: 'This interface as an OpenAPI 3.1 document',
  description: 'With `x-agent-version`, the version of the program that answers.',
  requestHeaders: ['If-None-Match'],
  answers: {
    200: {
      says: 'This document',
      type: 'application/json',
      schema: {
        type: 'object',
        required: ['openapi', 'info', 'servers', 'tags', 'paths', 'components', 'x-problems', 'x-agent-version'],
      },
      headers: ['ETag', 'Cache-Control'],
    },
    304: { says: 'Unchanged', headers: ['ETag', 'Cache-Control'] },
  },
  examples: [
    {
      name: 'document',
      summary: 'How it begins',
      status: 200,
      answer: {
        openapi: '3.1.0',
        info: { title: 'mjf-agent', version: 'v1' },
        servers: [{ url: 'http://localhost:8653' }],
        tags: [],
        paths: {},
        components: {},
        'x-problems': {},
        'x-agent-version': '0.1.0',
      },
    },
  ],
};

export const indexDoc: RouteDoc = {
  id: 'getIndex',
  tag: 'agent',
  summary: 'This list; the status page where text/html is preferred',
  description: 'The one answer that depends on `Accept`: a browser gets the page, everything else the list.',
  requestHeaders: ['Accept', 'If-None-Match'],
  answers: {
    200: {
      says: 'Version, and what there is, one a line',
      type: TEXT,
      headers: ['ETag', 'Cache-Control', 'Vary'],
      or: { type: 'text/html', headers: ['Content-Security-Policy'] },
    },
    304: { says: 'Unchanged', headers: ['ETag', 'Cache-Control', 'Vary'] },
  },
  examples: [
    {
      name: 'list',
      summary: 'For people with a terminal',
      status: 200,
      answer:
        'mjf-agent 0.1.0\n\nGET    /healthz                         Is the agent alive? 503 and the reason if not\n',
    },
  ],
};
