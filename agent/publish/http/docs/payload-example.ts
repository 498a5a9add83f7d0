/** The payload of all examples. */
import { problemExample } from '../openapi-problems.ts';
import type { ExampleDoc, Json } from '../route-doc.ts';
import { EXAMPLE_TOKEN } from './features.ts';

export const EXAMPLE_ID = 'p-ee05b9e517ef';
export const EXAMPLE_PID = 4711;

export const payloadExample = (changes: Json = {}): Json => ({
  id: EXAMPLE_ID,
  name: 'simulation',
  uid: 1000,
  target: 'process',
  pid: EXAMPLE_PID,
  group: false,
  unit: null,
  cgroup: null,
  origin: null,
  deliverer_pid: null,
  state: 'running',
  deadline: 1766440000,
  stop_at: 1766439700,
  grace_secs: 300,
  steps: [
    { index: 0, at: 'grace', signal: 'SIGTERM', hook: null, to: 'leader', due: 1766439700, state: 'planned' },
    { index: 1, at: '5s', signal: 'SIGKILL', hook: null, to: 'all', due: 1766439995, state: 'planned' },
  ],
  registered: 1766430500.743,
  can_terminate: null,
  needs_until: null,
  progress: null,
  final_word: null,
  limits: { wall_limit_secs: '7200' },
  episode: 0,
  view: {
    machinefeatures_path: `/run/mjf-agent/views/${EXAMPLE_TOKEN}/machinefeatures`,
    jobfeatures_path: `/run/mjf-agent/views/${EXAMPLE_TOKEN}/jobfeatures`,
    machinefeatures_url: `http://127.0.0.1:8653/p/${EXAMPLE_TOKEN}/machinefeatures`,
    jobfeatures_url: `http://127.0.0.1:8653/p/${EXAMPLE_TOKEN}/jobfeatures`,
  },
  command: 'run-payload.sh',
  containment: 'session',
  ...changes,
});

export const unknownPayload = (body?: unknown): ExampleDoc => ({
  name: 'gone',
  summary: 'A payload that is not there, or not the caller’s',
  with: { id: 'p-000000000000' },
  ...(body !== undefined && { body }),
  status: 404,
  answer: problemExample('no_payload', 'There is no such payload of yours.'),
});
