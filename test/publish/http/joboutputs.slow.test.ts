/** How many files for the site are taken at once, so that no number of clients costs more than some megabytes. */
import assert from 'node:assert/strict';
import http from 'node:http';
import { type TestContext, test } from 'node:test';
import { ask, askAs, NOT_ROOT, run } from './harness.ts';

/** A single user has half of them. */
const AT_ONCE = NOT_ROOT ? 8 : 16;

async function running(t: TestContext) {
  // Each request costs two look-ups of its caller.
  const { url, port } = await run(t, { bounds: { lookupBurst: 10_000 } });
  return { url, port, put: (name: string) => ask(`${url}/joboutputs/${name}`, { method: 'PUT', body: 'x' }) };
}

interface Sender {
  readonly request: http.ClientRequest;
  /** The status, or why there is none. */
  readonly ended: Promise<number | string>;
  isOver: boolean;
}

/** A PUT that has begun and sends its body later, or never. */
async function begin(t: TestContext, url: string): Promise<Sender> {
  const request = http.request(`${url}/joboutputs/slow`, { method: 'PUT', agent: false });
  t.after(() => request.destroy());
  const ended = new Promise<number | string>((resolve) => {
    request.on('response', (response) => resolve(response.resume().statusCode ?? 0));
    request.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
  });
  const sender: Sender = { request, ended, isOver: false };
  void ended.then(() => {
    sender.isOver = true;
  });
  await new Promise<void>((resolve) => request.write('x', () => resolve()));
  return sender;
}

/** Takes all places there are. Nobody tells when the server has seen one: who asks may have taken a place himself. */
async function fill(
  t: TestContext,
  { url, put }: Pick<Awaited<ReturnType<typeof running>>, 'url' | 'put'>,
  begun: readonly Sender[] = [],
): Promise<readonly Sender[]> {
  let senders = [...begun];
  for (;;) {
    while (senders.length < AT_ONCE) senders.push(await begin(t, url));
    const { status } = await put('one-more');
    senders = senders.filter(({ isOver }) => !isOver);
    if (status === 503 && senders.length === AT_ONCE) return senders;
  }
}

test('while a disk hangs, 16 files wait for it; more are turned away for a moment, whoever hangs up', async (t) => {
  const { port, put, url } = await running(t);
  const waiting: (() => void)[] = [];
  port.jobOutput = () => new Promise((resolve) => waiting.push(() => resolve('stored')));
  const impatient = await begin(t, url);
  impatient.request.end();
  const answers = Array.from({ length: AT_ONCE - 1 }, (_, n) => put(`file-${n}`));
  while (waiting.length < AT_ONCE) await new Promise(setImmediate);
  impatient.request.destroy();
  await impatient.ended;
  const busy = await put('one-more');
  assert.deepEqual([busy.status, busy.json()['code'], busy.headers['retry-after']], [503, 'busy', '1']);
  assert.equal(waiting.length, AT_ONCE);
  for (const done of waiting) done();
  for (const answer of await Promise.all(answers)) assert.equal(answer.status, 201);
  port.jobOutput = async () => Promise.reject(new Error('unforeseen'));
  for (let n = 0; n < AT_ONCE + 1; n += 1) assert.equal((await put('fails')).status, 500);
});

test('as many are received at once; who is through or hangs up makes room', async (t) => {
  const server = await running(t);
  const { put } = server;
  // Time stands still: nobody is slow.
  t.mock.method(performance, 'now', () => 1_000_000);
  const [one, ...others] = await fill(t, server);
  assert.equal((await put('next')).json()['code'], 'busy');
  one?.request.end();
  assert.equal(await one?.ended, 201);
  assert.equal((await put('next')).status, 201);
  const [another] = await fill(t, server, others);
  another?.request.destroy();
  // The server sees it soon.
  for (let tries = 0; tries < 1_000 && (await put('next')).status !== 201; tries += 1);
  assert.equal((await put('next')).status, 201);
});

test('who sends slowly gives way to others, one for one', async (t) => {
  const server = await running(t);
  const senders = await fill(t, server);
  const { now } = performance;
  t.mock.method(performance, 'now', () => now.call(performance) + 2_000);
  assert.equal((await server.put('quick')).status, 201);
  assert.match(String(await Promise.race(senders.map(({ ended }) => ended))), /^(ECONNRESET|EPIPE)$/);
  const others = senders.filter(({ isOver }) => !isOver);
  assert.equal(others.length, AT_ONCE - 1);
  others[0]?.request.end();
  assert.equal(await others[0]?.ended, 201);
});

test('half of the places are the others’', { skip: NOT_ROOT }, async (t) => {
  const { port, put, url } = await running(t);
  const waiting: (() => void)[] = [];
  port.jobOutput = async (name) => {
    if (name === 'another' || waiting.length >= 8) return 'stored';
    return new Promise((resolve) => waiting.push(() => resolve('stored')));
  };
  const his = (name: string) => askAs(65533, `${url}/joboutputs/${name}`, 'PUT', 'x', 'text/plain');
  const answers = Array.from({ length: 8 }, (_, n) => his(`file-${n}`));
  while (waiting.length < 8) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal((await his('one-more')).status, 503);
  assert.equal((await put('another')).status, 201);
  for (const done of waiting) done();
  for (const { status } of await Promise.all(answers)) assert.equal(status, 201);
});

test('another user’s name is refused', async (t) => {
  const { port, put } = await running(t);
  port.outputAnswer = 'taken';
  const { status, json } = await put('pilot.log');
  assert.deepEqual([status, json()['code']], [403, 'name_taken']);
});
