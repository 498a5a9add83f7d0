/** Every example of the API document, sent as it stands to a daemon: what comes back looks like what is shown. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { inSecs, startAgent, type TestAgent } from '../../support/agent.ts';
import { apiDocument, askOf, type Example, type Operation } from './api-document.ts';
import { type Answer, ask, listen, waitingProcess } from './harness.ts';

const GOLDEN = path.resolve(import.meta.dirname ?? __dirname, '../../../packaging/docs/openapi.json');
/** Of the examples: replaced by what is really there. */
const ID = 'p-ee05b9e517ef';
const PID = '4711';
const TOKEN = '00112233445566778899aabbccddeeff';
const NUMBER_OF_NOTICE = '/3';
/** What is another one on each machine and in each run; only its type is compared. */
const VARIES =
  /^(?:id|uid|pid|deliverer_pid|command|containment|registered|since|first_seen|deadline|stop_at|drain_at|next_change|at|due|needs_until|must_not_until|last_success|latency_ms|reads|\w+_(?:path|url)|x-agent-version|summary|description|license)$/;
/** A value of a feature that is a time. */
const INSTANT = /^\d{10}$/;
/** Shown in part. */
const IN_PART: ReadonlySet<string> = new Set(['getOpenApi', 'getHistory', 'listSources', 'getLifetime']);
/** Those that end or change what the others look at come last. */
const LAST: readonly string[] = ['announce', 'takeBack', 'takeBackAll', 'overrideNotice'];

test('the examples of the API document', async (t) => {
  const site = fs.mkdtempSync(path.join(process.env['TMPDIR'] ?? '/tmp', 'mjf-site-'));
  t.after(() => fs.rmSync(site, { recursive: true, force: true }));
  const agent = await startAgent(t, {
    machine: { total_cpu: 8, hs06: '171.04', grace_secs: 86400, shutdowntime: inSecs(86_400) },
    job: { job_id: 'vm-17', allocated_cpu: 8 },
    config: `[report.joboutputs]\ndirectory = ${JSON.stringify(site)}\n`,
  });
  const document: unknown = JSON.parse((await agent.request('/openapi.json')).body.toString());
  assert.ok(isObject(document));
  const { 'x-agent-version': version, ...interfaceOnly } = document;
  assert.match(String(version), /^\d+\.\d+\.\d+/);
  assert.deepEqual(interfaceOnly, JSON.parse(fs.readFileSync(GOLDEN, 'utf8')), 'stale: run `npm run generate`');
  const api = apiDocument(document);
  const admin = { socketPath: path.join(agent.runtimeDir, 'admin.sock') };

  async function register(more: object = {}): Promise<string> {
    const body = {
      name: 'simulation',
      target: { pid: waitingProcess(t) },
      grace_secs: 300,
      limits: { wall_limit_secs: 7200 },
    };
    const answer = await ask('/v1/payloads', { ...admin, body: { ...body, ...more } });
    assert.equal(answer.status, 201, answer.body);
    return String(answer.json()['id']);
  }
  // What the machine says to its site is the sum of what payloads say: this one, and none else.
  await register({ view: TOKEN, needs_secs: 1800, progress: 0.25, limits: { job_id: 'vm-17' } });

  const order = [...api.operations.values()].sort((a, b) => LAST.indexOf(a.id) - LAST.indexOf(b.id));
  for (const operation of order) {
    await t.test(operation.id, async (t) => {
      assert.ok(
        operation.examples.some(({ status }) => status < 300),
        'shows how it works',
      );
      for (const example of operation.examples) {
        const answer = await send(t, operation, example);
        assert.equal(answer.status, example.status, `${example.name}: ${answer.body}`);
        api.check(operation, answer);
        compare(operation, example, answer.body);
      }
    });
  }

  async function send(t: TestContext, operation: Operation, example: Example): Promise<Answer> {
    if (example.type === 'text/event-stream') return firstEvent(agent);
    const { target, body, headers } = await real(t, operation, example);
    const options = askOf(operation, { headers, body });
    const isForOperator = operation.access === 'operator' || operation.id === 'sayFinalWordOfMachine';
    return isForOperator ? ask(target, { ...admin, ...options }) : ask(`${agent.url}${target}`, options);
  }

  /** With the ids, pids and tags of what is really there. */
  async function real(t: TestContext, { id }: Operation, example: Example): Promise<Example> {
    let { target, body, headers } = example;
    if (target.includes(ID))
      target = target.replace(
        ID,
        await register(example.name === 'delivered' ? { deliverer_pid: waitingProcess(t) } : {}),
      );
    if (target.endsWith(NUMBER_OF_NOTICE)) {
      const { body: announced } = await ask('/v1/notices', { ...admin, body: { kind: 'drain' } });
      target = target.replace(NUMBER_OF_NOTICE, `/${/\d+/.exec(announced)?.[0]}`);
    }
    if (id === 'listPayloads') await register();
    if (id === 'registerPayload')
      body = JSON.parse(JSON.stringify(body).replace(`"pid":${PID}`, `"pid":${waitingProcess(t)}`));
    if (headers['If-None-Match'] !== undefined) {
      const { headers: now } = await ask(`${agent.url}${target}`);
      headers = { 'If-None-Match': now.etag ?? '' };
    }
    return { ...example, target, body, headers };
  }

  function compare({ id }: Operation, { name, answer }: Example, body: string): void {
    const where = `${id}, ${name}`;
    if (answer === undefined) assert.equal(body, '', where);
    else if (typeof answer === 'string') compareText(where, answer, body);
    else alike(where, answer, JSON.parse(body), IN_PART.has(id));
  }
});

/** Each line that is shown is there, whatever instants and versions are in it; a lone number is all. */
function compareText(where: string, shown: string, got: string): void {
  const masked = (text: string): readonly string[] =>
    text.replace(/\d{4,}|\d+\.\d+\.\d+|KpJVwYrkUtRbEcTEuWUA0g/g, '0').split('\n');
  const lines = masked(got);
  for (const line of masked(shown)) {
    const found =
      line.startsWith('data: ') || line.startsWith('id: ')
        ? lines.some((one) => one.startsWith('data: '))
        : lines.includes(line);
    assert.ok(found, `${where}: ${JSON.stringify(line)} is not in ${JSON.stringify(got.slice(0, 2000))}`);
  }
  if (/^\d+\n$/.test(shown)) assert.match(got, /^\d+\n$/, where);
}

/** The same fields with the same types; the same values, but of what varies. */
function alike(where: string, shown: unknown, got: unknown, inPart: boolean): void {
  if (Array.isArray(shown)) {
    assert.ok(Array.isArray(got), where);
    // Shown is one of the rows.
    if (!inPart && !where.startsWith('listPayloads')) assert.equal(got.length, shown.length, where);
    const [first] = shown;
    if (first === undefined) return;
    const row = isObject(first) ? (got.find((one) => isObject(one) && sameName(first, one)) ?? got.at(-1)) : got[0];
    if (shown.length === 1) alike(`${where}[]`, first, row, inPart);
    else for (const [index, one] of shown.entries()) alike(`${where}[${index}]`, one, got[index], inPart);
    return;
  }
  if (typeof shown === 'string' && INSTANT.test(shown)) {
    assert.match(String(got), INSTANT, where);
    return;
  }
  if (!isObject(shown)) {
    assert.deepEqual(got, shown, where);
    return;
  }
  assert.ok(isObject(got), `${where} is ${JSON.stringify(got)}`);
  const names = Object.keys(got).filter((name) => !inPart || name in shown);
  assert.deepEqual(names.sort(), Object.keys(shown).sort(), where);
  for (const [name, value] of Object.entries(shown)) {
    if (VARIES.test(name)) assert.equal(typeof got[name], typeof value, `${where}.${name}`);
    else alike(`${where}.${name}`, value, got[name], inPart);
  }
}

const sameName = (a: Record<string, unknown>, b: Record<string, unknown>): boolean =>
  a['name'] === b['name'] && a['text'] === b['text'] && JSON.stringify(a['limits']) === JSON.stringify(b['limits']);

async function firstEvent(agent: TestAgent): Promise<Answer> {
  const events = await listen(`${agent.url}/v1/events`);
  const body = await events.until(/^data: .*\n\n/m);
  const { statusCode = 0, headers } = events.response;
  events.close();
  return { status: statusCode, headers, body, json: () => ({}) };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
