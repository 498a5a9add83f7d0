/** `/v1/payloads`, for the API document. */
import { problemExample } from '../openapi-problems.ts';
import { rowSchema } from '../payload-row-schema.ts';
import type { ProblemCode } from '../problem-catalogue.ts';
import type { RouteDoc } from '../route-doc.ts';
import { EXAMPLE_ID, EXAMPLE_PID, payloadExample, unknownPayload } from './payload-example.ts';

const JSON_TYPE = 'application/json';
const row = { says: 'The row', type: JSON_TYPE, schema: rowSchema, headers: ['ETag'] } as const;
/** Of whoever names a process. */
const PROCESS: readonly ProblemCode[] = [
  'foreign_process',
  'mixed_uids',
  'foreign_group',
  'no_process',
  'not_group_leader',
  'bad_marker',
  'bad_deliverer',
];

export const listPayloadsDoc: RouteDoc = {
  id: 'listPayloads',
  tag: 'payloads',
  summary: "The caller's payloads; all for root",
  answers: {
    200: {
      says: 'Rows; none where nothing is registered',
      type: JSON_TYPE,
      schema: { type: 'array', items: rowSchema },
      headers: ['Cache-Control'],
    },
  },
  examples: [{ name: 'mine', summary: 'One payload', status: 200, answer: [payloadExample()] }],
};

export const registerPayloadDoc: RouteDoc = {
  id: 'registerPayload',
  tag: 'payloads',
  summary: 'Register a payload',
  description:
    'Something to stop before the deadline: a process or the group that it leads, a systemd unit (root), a control group. The answer names its view, the directories and URLs with its own features. What is registered already is 409 with its `Location`.',
  answers: {
    201: {
      says: 'Registered; its files are there',
      type: JSON_TYPE,
      schema: rowSchema,
      headers: ['ETag', 'Location'],
    },
  },
  problems: [
    ...PROCESS,
    'hook_refused',
    'foreign_unit',
    'foreign_cgroup',
    'no_target',
    'bad_target',
    'no_unit',
    'inactive_unit',
    'no_cgroup',
    'registered_already',
    'view_taken',
    'too_many_payloads',
  ],
  examples: [
    {
      name: 'process',
      summary: 'A process that wants SIGTERM five minutes before the end, with two hours of its own',
      body: { name: 'simulation', target: { pid: EXAMPLE_PID }, grace_secs: 300, limits: { wall_limit_secs: 7200 } },
      status: 201,
      answer: payloadExample(),
    },
    {
      name: 'wrong',
      summary: 'A field of the wrong type',
      body: { name: 'simulation', target: { pid: '4711' } },
      status: 400,
      answer: problemExample('invalid', 'body/target/pid must be integer', [
        { detail: 'must be integer', pointer: '#/target/pid' },
      ]),
    },
    {
      name: 'nothing',
      summary: 'Nothing to stop',
      body: { name: 'simulation', target: {} },
      status: 422,
      answer: problemExample('no_target', 'Give target.pid, target.unit or target.cgroup.'),
    },
  ],
};

export const getPayloadDoc: RouteDoc = {
  id: 'getPayload',
  tag: 'payloads',
  summary: 'One payload and its plan; can hang until it changes',
  description:
    'Waits like `getLifetime`. `command` and `containment` are read anew each time and not part of the ETag.',
  requestHeaders: ['If-None-Match'],
  answers: {
    200: { ...row, headers: ['ETag', 'Cache-Control'] },
    304: { says: 'Unchanged; never where a change is waited for', headers: ['ETag', 'Cache-Control'] },
  },
  problems: ['no_payload', 'too_many_streams'],
  examples: [
    { name: 'row', summary: 'A payload that runs', with: { id: EXAMPLE_ID }, status: 200, answer: payloadExample() },
    unknownPayload(),
  ],
};

export const changePayloadDoc: RouteDoc = {
  id: 'changePayload',
  tag: 'payloads',
  summary: 'Change a payload, or let it say can_terminate, needs_secs and progress',
  description:
    'Each field that is given replaces itself and nothing else. `target` names the process of a reservation (a payload that was registered with its own deliverer as its process).',
  answers: { 200: row },
  problems: [
    ...PROCESS,
    'hook_refused',
    'foreign_payload',
    'configured_payload',
    'no_payload',
    'not_a_reservation',
    'registered_already',
    'too_many_changes',
  ],
  examples: [
    {
      name: 'progress',
      summary: 'A quarter is done; ended within half an hour, the work is lost',
      with: { id: EXAMPLE_ID },
      body: { can_terminate: false, needs_secs: 1800, progress: 0.25 },
      status: 200,
      answer: payloadExample({ can_terminate: { now: false, at: null }, needs_until: 1766432301, progress: 0.25 }),
    },
    {
      name: 'checkpoint',
      summary: 'A checkpoint has been written: nothing is lost if it is ended now',
      with: { id: EXAMPLE_ID },
      body: { can_terminate: true },
      status: 200,
      answer: payloadExample({ can_terminate: { now: true, at: null } }),
    },
    {
      name: 'wrong',
      summary: 'A step that names no signal of this system',
      with: { id: EXAMPLE_ID },
      body: { steps: [{ at: 'grace', signal: 'SIGNONE' }] },
      status: 400,
      answer: problemExample('invalid', 'There is no signal SIGNONE on this system.', [
        { detail: 'There is no signal SIGNONE on this system.', pointer: '#/steps/0/signal' },
      ]),
    },
    unknownPayload({ progress: 1 }),
  ],
};

export const removePayloadDoc: RouteDoc = {
  id: 'removePayload',
  tag: 'payloads',
  summary: 'The payload has ended, or shall no longer be stopped',
  answers: { 204: { says: 'Gone' } },
  problems: ['foreign_payload', 'configured_payload', 'no_payload'],
  examples: [{ name: 'done', summary: 'It has ended', with: { id: EXAMPLE_ID }, status: 204 }, unknownPayload()],
};

export const stepsDoneDoc: RouteDoc = {
  id: 'acknowledgeSteps',
  tag: 'payloads',
  summary: 'exec acknowledges the steps that it delivered',
  description: 'For those who registered with `deliverer_pid` and send the signals themselves.',
  answers: { 200: row },
  problems: ['foreign_payload', 'configured_payload', 'no_payload', 'not_the_deliverer'],
  examples: [
    {
      name: 'delivered',
      summary: 'SIGTERM went out',
      with: { id: EXAMPLE_ID },
      body: { results: [{ episode: 1, index: 0, signal: 'SIGTERM', outcome: 'delivered' }] },
      status: 200,
      answer: payloadExample({ deliverer_pid: 4700, state: 'stopping', episode: 1 }),
    },
    {
      name: 'not_yours',
      summary: 'Of a payload whose signals the daemon sends',
      with: { id: EXAMPLE_ID },
      body: { results: [{ episode: 1, index: 0, signal: 'SIGTERM', outcome: 'delivered' }] },
      status: 409,
      answer: problemExample('not_the_deliverer', 'The daemon itself delivers the steps of this payload.'),
    },
    unknownPayload({ results: [{ episode: 1, index: 0, signal: 'SIGTERM', outcome: 'delivered' }] }),
  ],
};
