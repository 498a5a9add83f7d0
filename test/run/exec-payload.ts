/** `mjf-agent exec` with a payload that tells what happens to it and when. */
import assert from 'node:assert/strict';
import type { TestAgent } from '../support/agent.ts';
import { type Ending, startPayload, type TestPayload } from '../support/processes.ts';
import { PROGRAM, WAIT_MS } from '../support/program.ts';
import { metric } from './faces.ts';

/**
 * In front of each payload script. `say` reaches the pipe even if the process is killed in the next moment; `hear(signal)`
 * says `SIGNAL MILLISECONDS` each time, and then runs what is given; `after(secs, then)` runs so long after the time that the
 * test tells it (`tell`), by its own clock.
 */
const PRELUDE = `
const say = (text) => require('node:fs').writeSync(1, text + '\\n');
const hear = (signal, then = () => {}) => process.on(signal, () => { say(signal + ' ' + Date.now()); then(); });
const after = (secs, then) => process.stdin.once('data', (unixSecs) =>
  setTimeout(then, Math.max(0, (Number(unixSecs) + secs) * 1000 - Date.now())));
const background = (script, options = {}) => require('node:child_process').spawn(process.execPath, ['-e', script],
  { stdio: ['ignore', 'inherit', 'ignore'], ...options });
setInterval(() => {}, 1 << 30);
`;

export interface ExecOptions {
  /** Options of exec itself. */
  readonly options?: readonly string[];
  /** Body of the payload; it must \`say('ready')\`. */
  readonly script: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly runtimeDir: string;
}

/** Starts `exec -- node -e SCRIPT`; its standard error comes as lines too. Everything that it starts is ended with the test. */
export function startExec(
  t: Ending,
  { options = [], script, env = {}, runtimeDir }: ExecOptions,
): Promise<TestPayload> {
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  // Each of these becomes the next one, so that the pid is that of exec.
  const merged = ['/bin/sh', '-c', 'exec "$@" 2>&1', 'sh', '/usr/bin/env', ...variables] as const;
  const exec = [process.execPath, PROGRAM, 'exec', '--runtime-dir', runtimeDir, ...options];
  return startPayload(t, '', { command: [...merged, ...exec, '--', process.execPath, '-e', PRELUDE + script] });
}

/** Tells the payload the time that its `after` counts from. */
export function tell(payload: TestPayload, unixSecs: number): void {
  payload.child.stdin?.write(`${unixSecs}\n`);
}

/** When it heard this signal, UNIX ms. */
export async function heard(payload: TestPayload, signal: string): Promise<number> {
  return Number((await payload.line(new RegExp(`^${signal} (\\d+)$`)))[1]);
}

/** Its exit code; a signal that ended exec itself is an error. */
export async function exitCode(payload: TestPayload): Promise<number | null> {
  const { code, signal } = await payload.ended;
  assert.equal(signal, null, 'exec itself was not killed');
  return code;
}

/** Resolves when so many payloads are registered, their processes named, and `exec` has fetched the plan of each. */
export async function registered(agent: TestAgent, count: number): Promise<void> {
  await agent.until(`${count} payloads`, ({ payloads }) => payloads.running + payloads.stopping === count);
  const giveUpAt = Date.now() + GIVE_UP_MS;
  // A reservation names exec itself, and nothing is done for it.
  while ((await payloadRows(agent)).some(({ pid, deliverer_pid }) => pid === deliverer_pid)) {
    if (Date.now() > giveUpAt) throw new Error('a reservation has never become a payload');
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
  await plansFetched(agent, count);
}

const ROWS = 'mjf_http_requests_total{route="/v1/payloads/:id",code="200"}';
const LOOK_MS = 50;
/** As everywhere else: on a busy machine, too. */
const GIVE_UP_MS = WAIT_MS;

/** Rows fetched by everybody who follows a payload, since this daemon began. */
export async function rowsFetched(agent: TestAgent): Promise<number> {
  return (await metric(agent, ROWS)) ?? 0;
}

/** Resolves when rows were fetched so often: whoever hung on one has its answer. */
export async function plansFetched(agent: TestAgent, count: number): Promise<void> {
  const giveUpAt = Date.now() + GIVE_UP_MS;
  while ((await rowsFetched(agent)) < count) {
    if (Date.now() > giveUpAt) throw new Error(`no ${count} plans were fetched`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

export interface PayloadRow {
  readonly id: string;
  readonly pid: number;
  readonly deliverer_pid: number | null;
  readonly state: string;
  readonly deadline: number | null;
  readonly stop_at: number | null;
  readonly steps: readonly { readonly signal: string; readonly state: string }[];
}

/** Every payload, as root or their owner sees them. */
export async function payloadRows(agent: TestAgent): Promise<readonly PayloadRow[]> {
  return JSON.parse((await agent.request('/v1/payloads')).body.toString()) as PayloadRow[];
}

/** The row of one payload once it is so, by hanging GETs. */
export async function untilRow(agent: TestAgent, id: string, holds: (row: PayloadRow) => boolean): Promise<PayloadRow> {
  const giveUpAt = Date.now() + GIVE_UP_MS;
  for (let query = ''; ; ) {
    const answer = await agent.request(`/v1/payloads/${id}${query}`);
    assert.equal(answer.status, 200);
    const row = JSON.parse(answer.body.toString()) as PayloadRow;
    if (holds(row)) return row;
    if (Date.now() > giveUpAt) throw new Error(`never: ${answer.body}`);
    query = `?wait_for_change=true&timeout_sec=5&last_etag=${encodeURIComponent(answer.headers.etag ?? '')}`;
  }
}
