/**
 * One table: each operation of the API document asked well and badly. A new route needs its rows in `cases`; what every route
 * of its kind answers comes by itself.
 */
import type { TestContext } from 'node:test';
import type { PayloadSpec, Snapshot } from '../../../agent/lifetime/types.ts';
import { interfaceDocument } from '../../../packaging/generate/interface.ts';
import { apiDocument, type Operation } from './api-document.ts';
import { fakePort, NOW_MS } from './fake-port.ts';
import { type Answer, type Ask, ask, listen, type Running, run, waitingProcess } from './harness.ts';

export const document = await interfaceDocument();
export const api = apiDocument(document);
const TOKEN = '0123456789abcdef0123456789abcdef';
const JSON_TYPE = { 'content-type': 'application/json' };

/** With something in every field. */
const FULL: Partial<Snapshot> = {
  deadlineMs: NOW_MS + 7_200_000,
  localDeadlineMs: NOW_MS + 7_200_000,
  graceSecs: 120,
  drainAtMs: NOW_MS + 5_400_000,
  stopAtMs: NOW_MS + 7_080_000,
  reason: 'ec2: spot terminate',
  terminationAllowed: true,
  canTerminate: { now: false, atMs: NOW_MS + 60_000, mustNotUntilMs: NOW_MS + 60_000, progress: 0.25 },
  nextChangeMs: NOW_MS + 5_400_000,
  notices: [
    {
      id: 'ec2/spot',
      source: 'ec2',
      kind: 'terminate',
      deadlineMs: NOW_MS + 7_200_000,
      reason: 'spot terminate',
      firstSeenMs: NOW_MS,
      stale: true,
      expired: true,
      ignored: true,
      brokenPromise: true,
    },
    {
      id: 'gce/stop',
      source: 'gce',
      kind: 'stop',
      deadlineMs: NOW_MS + 7_200_000,
      reason: 'spot terminate',
      firstSeenMs: NOW_MS,
      stale: false,
      expired: false,
      ignored: false,
      brokenPromise: false,
    },
  ],
  sources: [
    {
      name: 'ec2',
      state: 'failed',
      sinceMs: NOW_MS,
      error: 'timeout',
      clockOffsetSecs: 45,
      faults: { 'notice/@x': 'http_500' },
    },
  ],
  payloads: { running: 1, stopping: 0, stopped: 0 },
};

export interface Case {
  readonly of: string;
  readonly what: string;
  readonly status: number;
  send(t: TestContext): Promise<Answer>;
}

/**
 * `bare`: nothing registered, nothing known; `tight`: no place for anything; `mute`: identifies nobody. What does not need the
 * caller's uid goes over admin.sock, which spares the look-ups in the kernel's tables.
 */
export async function cases(t: TestContext): Promise<readonly Case[]> {
  const page = { html: '<!doctype html>', policy: "default-src 'none'" };
  const well = await run(t, { instance: INSTANCE, page });
  const { url, port, admin } = well;
  port.live = [
    {
      name: 'ec2',
      state: 'failed',
      lastSuccessMs: NOW_MS,
      lastError: { code: 'timeout', detail: 'no answer', atMs: NOW_MS },
      latencyMs: 12.5,
      reads: 3,
      failures: 1,
      pollMs: 2000,
      faults: { 'notice/@x': 'http_500' },
      history: [{ atMs: NOW_MS, latencyMs: 12.5, outcome: 'failed', error: 'timeout' }],
    },
  ];
  port.publish(FULL);
  const bare = await run(t);
  const ill = await run(t);
  ill.port.healthy = false;
  ill.port.ready = false;
  const tight = await run(t, { bounds: { maxStreams: 0, maxPayloads: 0, changeBurst: 0, changesPerSec: 0 } });
  const mute = await run(t, { bounds: { lookupBurst: 0, lookupsPerSec: 0 } });
  tight.port.setPayload({ ...rowOf(specOf('p1')), deadlineMs: NOW_MS });
  port.setPayload(rowOf({ ...specOf('full'), ...WORDS, token: TOKEN }));
  port.setPayload({ ...rowOf(specOf('planned')), plan: PLAN, deadlineMs: NOW_MS + 1, stopAtMs: NOW_MS });

  const register = async (t: TestContext, more: object = {}): Promise<string> => {
    const body = { name: 'a', target: { pid: waitingProcess(t) }, ...more };
    return String((await ask('/v1/payloads', { ...admin, body })).json()['id']);
  };
  const notices: readonly Case[] = [
    row('announce', 'drain', 201, () => ask('/v1/notices', { ...admin, body: { kind: 'drain' } })),
    row('takeBack', 'by number', 204, () => ask('/v1/notices/1', { ...admin, method: 'DELETE' })),
    row('takeBack', 'unknown', 404, () => ask('/v1/notices/x', { ...admin, method: 'DELETE' })),
    row('takeBack', 'of the host', 409, () => ask('/v1/notices/gce/stop', { ...admin, method: 'DELETE' })),
    row('takeBackAll', 'all', 204, () => ask('/v1/notices', { ...admin, method: 'DELETE' })),
    row('overrideNotice', 'of the host', 204, () => ask('/v1/notices/ignore', { ...admin, body: { id: 'ec2/spot' } })),
    row('overrideNotice', 'unknown', 404, () => ask('/v1/notices/ignore', { ...admin, body: { id: 'x' } })),
  ];
  const get = (of: string, target: string, from: Running = well, status = 200, what = target): Case =>
    row(of, what, status, () => ask(`${from.url}${target}`));
  const wait = '?wait_for_change=true';
  return [
    get('getHealth', '/healthz'),
    get('getHealth', '/healthz', ill, 503),
    get('getReadiness', '/readyz'),
    get('getReadiness', '/readyz', ill, 503),
    get('getMetrics', '/metrics'),
    get('getIndex', '/'),
    row('getIndex', 'the page', 200, () => ask(`${url}/`, { headers: { accept: 'text/html' } })),
    unchanged('getIndex', `${url}/`),
    get('getOpenApi', '/openapi.json'),
    unchanged('getOpenApi', `${url}/openapi.json`),
    ...(['machinefeatures', 'jobfeatures', 'jobstatus'] as const).flatMap((directory) => {
      const [key] = { machinefeatures: ['total_cpu'], jobfeatures: ['job_id'], jobstatus: ['can_terminate'] }[
        directory
      ];
      const name = `${directory.charAt(0).toUpperCase()}${directory.slice(1)}`;
      const places: readonly (readonly [string, string])[] = [
        ['', `/${directory}/`],
        ...(directory === 'jobstatus' ? [] : [['Payload', `/p/${TOKEN}/${directory}/`] as const]),
      ];
      return places.flatMap(([of, place]) => [
        get(`list${of}${name}`, place),
        get(`list${of}${name}`, place.replace(/\/$/, '')),
        unchanged(`list${of}${name}`, `${url}${place}`),
        get(`get${of}${name}Value`, `${place}${key}`),
        get(`get${of}${name}Value`, `${place}nothing`, well, 404),
        unchanged(`get${of}${name}Value`, `${url}${place}${key}`),
        ...(of === '' ? [] : [get(`list${of}${name}`, place.replace(TOKEN, 'x'), well, 404)]),
      ]);
    }),
    get('getLifetime', '/v1/lifetime'),
    get('getLifetime', '/v1/lifetime', bare, 200, 'of a machine that knows nothing'),
    get('getLifetime', `/v1/lifetime${wait}&last_etag=NONE`),
    get('getLifetime', '/v1/lifetime?timeout_sec=soon', well, 400),
    get('getLifetime', `/v1/lifetime${wait}`, tight, 503),
    unchanged('getLifetime', `${url}/v1/lifetime`),
    get('getRemainingSecs', '/v1/remaining_secs'),
    get('getRemainingSecs', '/v1/remaining_secs', bare, 404),
    get('listSources', '/v1/sources'),
    get('getHistory', '/v1/history'),
    unchanged('getHistory', `${url}/v1/history`),
    get('streamEvents', '/v1/events', tight, 503),
    row('streamEvents', 'the first event', 200, () => firstEvent(url)),
    get('listPayloads', '/v1/payloads'),
    get('listPayloads', '/v1/payloads', mute, 429),
    row('registerPayload', 'a process', 201, (t) =>
      ask(`${url}/v1/payloads`, { body: { name: 'a', target: { pid: waitingProcess(t) }, limits: { job_id: '1' } } }),
    ),
    row('registerPayload', 'twice', 409, async (t) => {
      const body = { name: 'a', target: { pid: waitingProcess(t) } };
      await ask(`${url}/v1/payloads`, { body });
      return ask(`${url}/v1/payloads`, { body });
    }),
    row('registerPayload', 'a program', 403, () =>
      ask(`${url}/v1/payloads`, { body: { name: 'a', target: {}, steps: [{ at: 'grace', hook: 'x' }] } }),
    ),
    row('registerPayload', 'nothing', 422, () => ask(`${url}/v1/payloads`, { body: { name: 'a', target: {} } })),
    row('registerPayload', 'no place', 503, (t) =>
      ask(`${tight.url}/v1/payloads`, { body: { name: 'a', target: { pid: waitingProcess(t) } } }),
    ),
    get('getPayload', '/v1/payloads/full', { ...well, url: well.url }),
    get('getPayload', '/v1/payloads/planned'),
    get('getPayload', '/v1/payloads/none', well, 404),
    get('getPayload', '/v1/payloads/full?timeout_sec=soon', well, 400),
    get('getPayload', `/v1/payloads/p1${wait}`, tight, 503),
    get('getPayload', '/v1/payloads/p1', mute, 429),
    unchanged('getPayload', `${url}/v1/payloads/planned`),
    row('changePayload', 'all that may be said', 200, async (t) =>
      ask(`/v1/payloads/${await register(t)}`, {
        ...admin,
        method: 'PATCH',
        body: { name: 'b', grace_secs: 30, needs_secs: 5, progress: 0.5, steps: [{ at: 'grace', signal: 'SIGINT' }] },
      }),
    ),
    row('changePayload', 'unknown', 404, () =>
      ask(`/v1/payloads/none`, { ...admin, method: 'PATCH', body: { progress: 1 } }),
    ),
    row('changePayload', 'a program', 403, () =>
      ask(`/v1/payloads/full`, { ...admin, method: 'PATCH', body: { steps: [{ at: 'grace', signal: 'hook:x' }] } }),
    ),
    row('changePayload', 'no reservation', 409, async (t) =>
      ask(`/v1/payloads/${await register(t)}`, {
        ...admin,
        method: 'PATCH',
        body: { target: { pid: waitingProcess(t) } },
      }),
    ),
    row('changePayload', 'no process', 422, async (t) => {
      const pid = waitingProcess(t);
      const id = await register(t, { target: { pid }, deliverer_pid: pid });
      return ask(`/v1/payloads/${id}`, { ...admin, method: 'PATCH', body: { target: { pid: 4_194_304 } } });
    }),
    row('changePayload', 'too often', 429, () =>
      ask(`${tight.url}/v1/payloads/p1`, { method: 'PATCH', body: { progress: 1 } }),
    ),
    row('removePayload', 'gone', 204, async (t) =>
      ask(`/v1/payloads/${await register(t)}?started=true`, { ...admin, method: 'DELETE' }),
    ),
    row('removePayload', 'unknown', 404, () => ask(`/v1/payloads/none`, { ...admin, method: 'DELETE' })),
    row('removePayload', 'a parameter that is wrong', 400, () =>
      ask(`/v1/payloads/full?started=maybe`, { ...admin, method: 'DELETE' }),
    ),
    row('acknowledgeSteps', 'delivered', 200, async (t) =>
      ask(`/v1/payloads/${await register(t, { deliverer_pid: waitingProcess(t) })}/steps_done`, {
        ...admin,
        body: DONE,
      }),
    ),
    row('acknowledgeSteps', 'of the daemon', 409, () => ask(`/v1/payloads/full/steps_done`, { ...admin, body: DONE })),
    row('acknowledgeSteps', 'unknown', 404, () => ask(`/v1/payloads/none/steps_done`, { ...admin, body: DONE })),
    row('sayFinalWord', 'done', 200, async (t) =>
      ask(`/v1/payloads/${await register(t)}/final_word`, { ...admin, body: { code: 200, text: 'done' } }),
    ),
    row('sayFinalWord', 'unknown', 404, () => ask(`/v1/payloads/none/final_word`, { ...admin, body: { code: 200 } })),
    row('sayFinalWord', 'too often', 429, () => ask(`${tight.url}/v1/payloads/p1/final_word`, { body: { code: 200 } })),
    row('sayFinalWordOfMachine', 'by the operator', 204, () =>
      ask('/v1/final_word', { ...admin, body: { code: 200 } }),
    ),
    row('putJobOutput', 'a file', 201, () => ask(`/joboutputs/a`, { ...admin, method: 'PUT', body: 'x' })),
    row('putJobOutput', 'no name', 400, () => ask(`/joboutputs/.a`, { ...admin, method: 'PUT', body: 'x' })),
    row('putJobOutput', 'reserved', 403, () => ask(`/joboutputs/heartbeat`, { ...admin, method: 'PUT', body: 'x' })),
    ...(['no_channel', 'full', 'taken'] as const).map((stored) =>
      row('putJobOutput', stored, { no_channel: 404, full: 507, taken: 403 }[stored], () => {
        bare.port.outputAnswer = stored;
        return ask(`${bare.url}/joboutputs/a`, { method: 'PUT', body: 'x' });
      }),
    ),
    row('putJobOutput', 'a disk that hangs', 503, () => oneTooMany(t)),
    ...notices,
    ...[...api.operations.values()].flatMap((operation) => generalCases(operation, well, mute)),
  ];
}

/** What every operation of its kind answers. */
function generalCases(operation: Operation, { url, reader }: Running, mute: Running): readonly Case[] {
  const { id, method, access, isJsonBody } = operation;
  const target = operation.path.replace(/\{\w+\}/g, 'full');
  const send = (what: string, status: number, options: Ask, base = url): Case =>
    row(id, what, status, () =>
      ask(options.socketPath === undefined ? `${base}${target}` : target, { method, ...options }),
    );
  const writes = method !== 'GET' && id !== 'putJobOutput';
  const admin = { socketPath: reader.socketPath.replace('agent.sock', 'admin.sock') };
  return [
    send('another Host', 403, { headers: { host: 'evil.example' } }),
    send('its own output', 508, { headers: { 'mjf-agent-instance': INSTANCE } }),
    ...(access === 'own' || access === 'write'
      ? [
          send('over agent.sock', 403, { ...reader, headers: JSON_TYPE }),
          send('too often', 429, { headers: JSON_TYPE }, mute.url),
        ]
      : []),
    ...(access === 'operator' ? [send('over TCP', 403, { headers: JSON_TYPE })] : []),
    ...(writes
      ? [
          send('no JSON', 400, { ...admin, headers: { ...JSON_TYPE, ...lengthOf('{') }, body: '{' }),
          send('another type', 415, {
            ...admin,
            headers: { 'content-type': 'text/plain', ...lengthOf('x') },
            body: 'x',
          }),
          send('too much', 413, { ...admin, headers: { ...JSON_TYPE, ...lengthOf(LARGE) }, body: LARGE }),
        ]
      : []),
    ...(id === 'putJobOutput' ? [send('too much', 413, { ...admin, body: 'x'.repeat(1_048_577) })] : []),
    ...(isJsonBody ? [send('an unknown field', 400, { ...admin, body: { nonsense: 1 } })] : []),
  ];
}

const row = (of: string, what: string, status: number, send: Case['send']): Case => ({ of, what, status, send });
/** Node frames no body of a DELETE by itself. */
const lengthOf = (body: string) => ({ 'content-length': String(body.length) });
const LARGE = JSON.stringify('x'.repeat(66_000));
const INSTANCE = 'the-agent-under-test';

function unchanged(of: string, target: string): Case {
  return row(of, 'unchanged', 304, async () => {
    const { headers } = await ask(target);
    return ask(target, { headers: { 'if-none-match': headers.etag ?? '' } });
  });
}

/** As an answer of its own: what is documented is the head, and the data of each event. */
async function firstEvent(url: string): Promise<Answer> {
  const events = await listen(`${url}/v1/events`);
  const body = await events.until(/^data: .*\n\n/m);
  const data = [...body.matchAll(/^data: (.*)$/gm)].map(([, line]) => line).join('\n');
  api.validate('lifetime', JSON.parse(data));
  const { statusCode = 0, headers } = events.response;
  events.close();
  return { status: statusCode, headers, body, json: () => ({}) };
}

/** Of files that are on their way to the disk (joboutputs.ts). */
const PLACES = 16;

/** As many files as there are places, none of which comes to its end. */
async function oneTooMany(t: TestContext): Promise<Answer> {
  const port = fakePort();
  let begun = (): void => undefined;
  let end = (): void => undefined;
  const ended = new Promise<'stored'>((resolve) => {
    end = () => resolve('stored');
  });
  const hanging = {
    ...port,
    jobOutput: () => {
      begun();
      return ended;
    },
  };
  const { admin } = await run(t, {}, hanging);
  const put = (name: string) => ask(`/joboutputs/${name}`, { ...admin, method: 'PUT', body: 'x' });
  const answers: Promise<Answer>[] = [];
  for (let index = 0; index < PLACES; index++) {
    const taken = new Promise<void>((resolve) => {
      begun = resolve;
    });
    answers.push(put(String(index)));
    await taken;
  }
  const refused = await put('more');
  end();
  await Promise.all(answers);
  return refused;
}

function specOf(id: string): PayloadSpec {
  const leader = { pid: 5, startTicks: 1 };
  return {
    id,
    token: id,
    name: id,
    uid: process.getuid?.() ?? 0,
    target: { kind: 'process', leader, group: false },
    registeredMs: NOW_MS,
  };
}

const WORDS: Partial<PayloadSpec> = {
  canTerminate: { now: false, atMs: NOW_MS, untilMs: NOW_MS, progress: 0.5 },
  word: { code: 300, text: 'no more work', by: 'payload' },
  limits: { job_id: '17' },
};

const rowOf = (spec: PayloadSpec) =>
  ({
    spec,
    state: 'running',
    deadlineMs: null,
    stopAtMs: null,
    episode: 0,
    steps: [{ at: 'grace', signal: 'SIGTERM' }],
    plan: [],
  }) as const;

const PLAN = [
  {
    step: { episode: 1, index: 0, signal: 'SIGTERM' },
    to: 'leader',
    at: 'grace',
    dueMs: NOW_MS,
    state: 'planned',
  },
] as const;

const DONE = { results: [{ episode: 1, index: 0, signal: 'SIGTERM', outcome: 'delivered' }] };
