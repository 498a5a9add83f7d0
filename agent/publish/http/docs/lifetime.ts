/** `/v1/lifetime`, `/v1/remaining_secs`, `/v1/sources` and `/v1/events`, for the API document. */
import { lifetimeSchema } from '../lifetime-schema.ts';
import { problemExample } from '../openapi-problems.ts';
import type { RouteDoc } from '../route-doc.ts';
import { sourcesSchema } from '../source-schema.ts';

const feature = (value: string, source = 'directory') => ({ value, source, since: 1766430000, stale: false });

const LIFETIME_EXAMPLE = {
  phase: 'running',
  deadline: 1766440000,
  grace_secs: 86400,
  drain_at: 1766438200,
  stop_at: 1766439880,
  stop_grace_secs: 120,
  reason: 'directory: shutdowntime',
  overdue: false,
  next_change: 1766438200,
  termination_allowed: null,
  can_terminate: { now: false, at: 1766439000, must_not_until: 1766439000, progress: 0.25 },
  notices: [
    {
      id: 'directory/shutdowntime',
      source: 'directory',
      kind: 'shutdown',
      deadline: 1766440000,
      reason: 'shutdowntime',
      first_seen: 1766430000,
      stale: false,
    },
  ],
  machinefeatures: {
    grace_secs: feature('86400'),
    hs06: feature('171.04'),
    shutdowntime: feature('1766440000'),
    total_cpu: feature('8'),
  },
  jobfeatures: {
    allocated_cpu: feature('8'),
    job_id: feature('vm-17'),
    jobstart_secs: feature('1766430000', 'self'),
    shutdowntime_job: feature('1766440000'),
  },
  sources: [{ name: 'directory', state: 'ok', since: 1766430000 }],
  payloads: { running: 1, stopping: 0, stopped: 0 },
};

export const lifetimeDoc: RouteDoc = {
  id: 'getLifetime',
  tag: 'lifetime',
  summary: 'The lifetime of this machine; can hang until it changes',
  description:
    'The same bytes as `lifetime.json`. With `wait_for_change=true&last_etag=ETAG` the answer comes when the document is no longer that one, or after `timeout_sec` unchanged; then ask again with the new ETag.',
  requestHeaders: ['If-None-Match'],
  answers: {
    200: {
      says: 'The whole truth',
      type: 'application/json',
      schema: lifetimeSchema,
      headers: ['ETag', 'Cache-Control'],
    },
    304: { says: 'Unchanged; never where a change is waited for', headers: ['ETag', 'Cache-Control'] },
  },
  problems: ['too_many_streams'],
  examples: [
    { name: 'now', summary: 'What is known now', status: 200, answer: LIFETIME_EXAMPLE },
    {
      name: 'first',
      summary: 'The first of those who wait for changes: no ETag yet, so it is answered at once',
      with: { wait_for_change: 'true', last_etag: 'NONE', timeout_sec: '60' },
      status: 200,
      answer: LIFETIME_EXAMPLE,
    },
    {
      name: 'unchanged',
      summary: 'With the ETag of the last answer',
      with: { 'If-None-Match': '"KpJVwYrkUtRbEcTEuWUA0g"' },
      status: 304,
    },
    {
      name: 'wrong',
      summary: 'A parameter that is not what it must be',
      with: { wait_for_change: 'yes' },
      status: 400,
      answer: problemExample('invalid', 'querystring/wait_for_change must be equal to one of the allowed values', [
        { detail: 'must be equal to one of the allowed values', parameter: 'wait_for_change' },
      ]),
    },
  ],
};

export const remainingDoc: RouteDoc = {
  id: 'getRemainingSecs',
  tag: 'lifetime',
  summary: 'Whole seconds to the deadline; 0 when it has passed',
  description: 'On the clock of this machine. The one value that changes with the clock.',
  answers: {
    200: { says: 'Seconds and a newline', type: 'text/plain', headers: ['Cache-Control'] },
    404: { says: 'No deadline is foreseen; the text is empty', type: 'text/plain', headers: ['Cache-Control'] },
  },
  examples: [{ name: 'foreseen', summary: 'A shutdown has been announced', status: 200, answer: '7041\n' }],
};

export const sourcesDoc: RouteDoc = {
  id: 'listSources',
  tag: 'lifetime',
  summary: 'How each source fares; changes with each poll',
  answers: {
    200: {
      says: 'A row for each channel that is looked at',
      type: 'application/json',
      schema: sourcesSchema,
      headers: ['Cache-Control'],
    },
  },
  examples: [
    {
      name: 'rows',
      summary: 'A directory of the host',
      status: 200,
      answer: [
        {
          name: 'directory',
          state: 'ok',
          last_success: 1766430001.022,
          last_error: null,
          latency_ms: 1.8,
          reads: 3,
          failures: 0,
          poll_secs: 1,
          faults: {},
          history: [{ at: 1766430001.022, latency_ms: 1.8, outcome: 'ok', error: null }],
        },
      ],
    },
  ],
};

export const eventsDoc: RouteDoc = {
  id: 'streamEvents',
  tag: 'lifetime',
  summary: 'Server-sent events: `lifetime` with the whole document at each change',
  description:
    'The first event comes at once. The id of an event is the ETag of the document without its quotes; a reader that comes again with it as `Last-Event-ID` gets nothing until the next change. A comment every 15 s keeps the connection. A reader that takes nothing for 10 s is cut off.',
  requestHeaders: ['Last-Event-ID'],
  answers: {
    200: {
      says: 'Events `lifetime`, each with the document of `getLifetime` as its data',
      type: 'text/event-stream',
      headers: ['Cache-Control'],
    },
  },
  problems: ['too_many_streams'],
  examples: [
    {
      name: 'first',
      summary: 'How it begins (the data is the whole document)',
      status: 200,
      answer:
        'retry: 2000\n\nevent: lifetime\nid: KpJVwYrkUtRbEcTEuWUA0g\ndata: {"phase":"running","deadline":null}\n\n',
    },
  ],
};
