/** The payload's row with a daemon that answers in every way a daemon can: badly first, and well afterwards. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { pino } from 'pino';
import { type DaemonRow, openDaemonRow } from '../../agent/exec/daemon-row.ts';
import type { StepResultReport } from '../../agent/lifetime/types.ts';

const VIEW = 'ab'.repeat(16);
const MARKER = 'MJF_AGENT_EXEC_00=1';
const TARGET = { pid: 4711, group: true };
const NAMED = { ...TARGET, marker: MARKER };
const never = new AbortController().signal;

interface Asked {
  readonly what: string;
  readonly body: Record<string, unknown>;
}
interface Said {
  readonly status: number;
  readonly location?: string;
  readonly body?: unknown;
}
/** `hang`: the answer gets lost. */
type Saying = Said | 'hang';

interface FakeDaemon {
  readonly row: DaemonRow;
  readonly asked: Asked[];
  readonly logs: Record<string, unknown>[];
}

/** Answers one request after the other as told; whatever comes then is 500. */
async function daemon(t: TestContext, sayings: readonly Saying[], beganMs?: () => number): Promise<FakeDaemon> {
  const runtimeDir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-row-'));
  const left = [...sayings];
  const asked: Asked[] = [];
  const logs: Record<string, unknown>[] = [];
  const server = http.createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const text = Buffer.concat(chunks).toString();
      asked.push({ what: `${request.method} ${request.url}`, body: text === '' ? {} : JSON.parse(text) });
      const said = left.shift() ?? { status: 500 };
      if (said === 'hang') {
        response.destroy();
        return;
      }
      response.writeHead(said.status, said.location === undefined ? {} : { location: said.location });
      response.end(JSON.stringify(said.body ?? {}));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  fs.writeFileSync(path.join(runtimeDir, 'url'), `http://127.0.0.1:${(server.address() as AddressInfo).port}\n`);
  t.after(() => {
    server.close();
    fs.rmSync(runtimeDir, { recursive: true });
  });
  const log = pino({ level: 'debug' }, { write: (line: string) => void logs.push(JSON.parse(line)) });
  const registration = { name: 'job', limits: { allocated_cpu: 2 } };
  const began = beganMs === undefined ? {} : { beganMs };
  return { row: openDaemonRow({ runtimeDir, registration, marker: MARKER, view: VIEW, log, ...began }), asked, logs };
}

const created: Said = { status: 201, body: { id: 'p-1' } };
const ok: Said = { status: 200 };

test('reserved under exec’s own pid, then the process is named in it; goodbye takes it away', async (t) => {
  const { row, asked } = await daemon(t, [created, ok, { status: 204 }]);
  assert.equal(await row.reserve(), true);
  assert.equal(row.id(), 'p-1');
  assert.equal(await row.settle(TARGET, never), true);
  // Once is enough.
  assert.equal(await row.settle(TARGET, never), true);
  await row.remove(true);
  const reservation = {
    name: 'job',
    limits: { allocated_cpu: 2 },
    target: { pid: process.pid, marker: MARKER },
    deliverer_pid: process.pid,
    view: VIEW,
  };
  assert.deepEqual(asked, [
    { what: 'POST /v1/payloads', body: reservation },
    { what: 'PATCH /v1/payloads/p-1', body: { target: NAMED } },
    { what: 'DELETE /v1/payloads/p-1?started=true', body: {} },
  ]);
});

test('a daemon that is busy is asked again; one that refuses or is not there keeps nobody waiting', async (t) => {
  const busy = await daemon(t, [{ status: 429 }, { status: 503 }, created]);
  assert.equal(await busy.row.reserve(), true);
  const refuses = await daemon(t, [{ status: 403 }]);
  assert.equal(await refuses.row.reserve(), false);
  const lost = await daemon(t, ['hang']);
  assert.equal(await lost.row.reserve(), false);
  assert.deepEqual([busy.asked.length, refuses.asked.length, lost.asked.length], [3, 1, 1]);
});

test('a reservation whose answer was lost is found by its view, and the process named in it', async (t) => {
  const taken: Said = { status: 409, location: '/v1/payloads/p-7', body: { code: 'view_taken' } };
  const { row, asked } = await daemon(t, ['hang', taken, ok]);
  assert.equal(await row.reserve(), false);
  assert.equal(await row.settle(TARGET, never), true);
  assert.equal(row.id(), 'p-7');
  assert.deepEqual(
    asked.map(({ what, body }) => [what, body['target']]),
    [
      ['POST /v1/payloads', { pid: process.pid, marker: MARKER }],
      ['POST /v1/payloads', NAMED],
      ['PATCH /v1/payloads/p-7', NAMED],
    ],
  );
});

test('a registration whose answer was lost names its process already: 409 twice is fine', async (t) => {
  const { row } = await daemon(t, ['hang', { status: 409, location: '/v1/payloads/p-8' }, { status: 409 }]);
  assert.equal(await row.settle(TARGET, never), true, 'not now');
  assert.equal(row.id(), null);
  assert.equal(await row.settle(TARGET, never), true);
  assert.equal(row.id(), 'p-8');
});

test('a view that somebody else has is given up, not the registration', async (t) => {
  const { row, asked } = await daemon(t, [{ status: 409, body: { code: 'view_taken' } }, created]);
  assert.equal(await row.settle(TARGET, never), false);
  assert.equal(await row.settle(TARGET, never), true);
  assert.deepEqual(
    asked.map(({ body }) => body['view']),
    [VIEW, undefined],
  );
});

test('a daemon without memory gets it again under the same view', async (t) => {
  const { row, asked } = await daemon(t, [created, { status: 201, body: { id: 'p-2' } }]);
  await row.settle(TARGET, never);
  row.forgotten();
  assert.equal(row.id(), null);
  assert.equal(await row.settle(TARGET, never), true);
  assert.equal(row.id(), 'p-2');
  assert.deepEqual(
    asked.map(({ what, body }) => [what, body['view'], body['target']]),
    [
      ['POST /v1/payloads', VIEW, NAMED],
      ['POST /v1/payloads', VIEW, NAMED],
    ],
  );
});

test('a daemon that comes later, or again, hears since when the payload has run; a reservation begins now', async (t) => {
  let beganMs = 0;
  const { row, asked } = await daemon(
    t,
    [created, ok, { status: 201, body: { id: 'p-2' } }, { status: 204 }],
    () => beganMs,
  );
  await row.reserve();
  await row.settle(TARGET, never);
  row.forgotten();
  beganMs = 1_766_440_061_234.567;
  await row.settle(TARGET, never);
  assert.deepEqual(
    asked.map(({ what, body }) => [what, body['running_since']]),
    [
      ['POST /v1/payloads', undefined],
      ['PATCH /v1/payloads/p-1', undefined],
      ['POST /v1/payloads', 1_766_440_061.235],
    ],
  );
  await row.remove(false);
  assert.equal(asked.at(-1)?.what, 'DELETE /v1/payloads/p-2');
});

test('a payload without the marker in its own environment is registered without', async (t) => {
  const unmarked: Said = { status: 422, body: { code: 'bad_marker' } };
  const reserved = await daemon(t, [created, unmarked, ok]);
  await reserved.row.reserve();
  assert.equal(await reserved.row.settle(TARGET, never), false);
  assert.equal(await reserved.row.settle(TARGET, never), true);
  const late = await daemon(t, [unmarked, created]);
  assert.equal(await late.row.settle(TARGET, never), false);
  assert.equal(await late.row.settle(TARGET, never), true);
  for (const { asked, logs } of [reserved, late]) {
    assert.deepEqual(
      asked.slice(-2).map(({ body }) => body['target']),
      [NAMED, TARGET],
    );
    assert.deepEqual(
      logs.filter(({ level }) => level === 40),
      [],
    );
  }
});

test('S4.2 a reservation that is not entered yet is not forgotten: it is named as soon as it is there', async (t) => {
  const { row, asked } = await daemon(t, [created, { status: 404 }, ok]);
  await row.reserve();
  assert.equal(await row.settle(TARGET, never), false);
  assert.equal(await row.settle(TARGET, never), true);
  assert.equal(row.id(), 'p-1');
  assert.deepEqual(
    asked.map(({ what }) => what),
    ['POST /v1/payloads', 'PATCH /v1/payloads/p-1', 'PATCH /v1/payloads/p-1'],
  );
});

test('a process that may not be named leaves the reservation, and its view, as they are; told once', async (t) => {
  const { row, asked, logs } = await daemon(t, [created, { status: 403, body: { detail: 'mixed' } }]);
  await row.reserve();
  assert.equal(await row.settle(TARGET, never), true);
  assert.equal(await row.settle(TARGET, never), true);
  assert.equal(row.id(), 'p-1');
  assert.equal(asked.length, 2);
  assert.deepEqual(
    logs.filter(({ level }) => level === 40).map(({ event, status }) => [event, status]),
    [['registration_refused', 403]],
  );
});

test('one that has ended before it could be named is nobody’s fault', async (t) => {
  const { row, logs } = await daemon(t, [created, { status: 422 }]);
  await row.reserve();
  assert.equal(await row.settle(TARGET, never), true);
  assert.deepEqual(
    logs.filter(({ level }) => level === 40),
    [],
  );
});

test('what was done is told in batches, in order, and again until it is taken', async (t) => {
  const { row, asked } = await daemon(t, [created, { status: 500 }, ok, ok, ok]);
  await row.settle(TARGET, never);
  const report = (index: number): StepResultReport => ({
    id: 'payload',
    step: { episode: 1, index, signal: 'SIGTERM' },
    outcome: 'delivered',
    at: { wall: 1_766_439_000_000 + index * 1000, mono: 5 },
  });
  await row.acknowledge(report(0));
  await row.acknowledge(report(1));
  // What comes while a batch is on its way goes with the next one.
  await Promise.all([row.acknowledge(report(2)), row.acknowledge(report(3))]);
  await row.acknowledge();
  const sent = asked.slice(1).map(({ what, body }) => {
    const results = body['results'] as { index: number; at: number }[];
    return [what, results.map(({ index, at }) => [index, at])];
  });
  assert.deepEqual(sent, [
    ['POST /v1/payloads/p-1/steps_done', [[0, 1_766_439_000]]],
    [
      'POST /v1/payloads/p-1/steps_done',
      [
        [0, 1_766_439_000],
        [1, 1_766_439_001],
      ],
    ],
    ['POST /v1/payloads/p-1/steps_done', [[2, 1_766_439_002]]],
    ['POST /v1/payloads/p-1/steps_done', [[3, 1_766_439_003]]],
  ]);
});

const DONE = { code: 200, text: 'Intended work completed' };
const within = (ms: number): number => performance.now() + ms;

test('the last word goes to its row, as from an exit code; without a row nobody waits', async (t) => {
  const { row, asked } = await daemon(t, [created, ok]);
  assert.equal(await row.tell(DONE, within(60_000)), false);
  assert.deepEqual(asked, []);
  await row.reserve();
  assert.equal(await row.tell(DONE, within(60_000)), true);
  assert.deepEqual(asked.at(-1), { what: 'POST /v1/payloads/p-1/final_word', body: { ...DONE, by: 'exit' } });
});

test('a word without text has none', async (t) => {
  const { row, asked } = await daemon(t, [created, ok]);
  await row.reserve();
  assert.equal(await row.tell({ code: 300, text: '' }, within(60_000)), true);
  assert.deepEqual(asked.at(-1)?.body, { code: 300, by: 'exit' });
});

test('a last word outlasts a restart of the daemon, one that is busy, and a row that is not entered yet', async (t) => {
  const { row, asked } = await daemon(t, [created, 'hang', { status: 503 }, { status: 429 }, { status: 404 }, ok]);
  await row.reserve();
  assert.equal(await row.tell(DONE, within(60_000)), true);
  assert.equal(asked.length, 6);
  const refuses = await daemon(t, [created, ok, { status: 404 }, ok]);
  await refuses.row.reserve();
  await refuses.row.settle(TARGET, never);
  assert.equal(await refuses.row.tell(DONE, within(60_000)), false, 'a row that was there and is gone stays so');
  assert.equal(refuses.asked.length, 3);
});

test('a last word that nobody takes ends with its time', async (t) => {
  const { row } = await daemon(t, [created, ...Array<Saying>(100).fill('hang')]);
  await row.reserve();
  assert.equal(await row.tell(DONE, within(120)), false);
  assert.equal(await row.tell(DONE, within(-1)), false);
});

test('one that is away is waited for longer where it is wanted, one that is busy is not', async (t) => {
  const fault = { code: 700, text: 'Payload ended with exit code 3' };
  const { row } = await daemon(t, [created, ...Array<Saying>(3).fill('hang'), ok]);
  await row.reserve();
  assert.equal(await row.tell(fault, within(20), within(60_000)), true);
  const busy = await daemon(t, [created, ...Array<Saying>(100).fill({ status: 503 })]);
  await busy.row.reserve();
  assert.equal(await busy.row.tell(fault, within(200), within(60_000)), false);
});
