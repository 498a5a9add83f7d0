/**
 * `kill -9` of the agent at random moments while payloads hand over files, change what they say and end, against a site
 * that is not well (issue "The machine's answer": queued across restarts, idempotent). Nothing that was answered with 201 is
 * lost, no older content follows a newer one, and in the end the site knows what the machine knows.
 *
 *   MJF_REPORT_KILLS_SEED   the seed that a run printed
 *   MJF_REPORT_KILLS        so many kills (200)
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { PROGRAM } from '../support/program.ts';
import { type AgentProcess, placesIn, startAgent } from './crash-walk/agent-process.ts';
import { randomFrom } from './random-kills/moments.ts';
import { startMoodySite } from './report-kills/site.ts';

const SEED = Number(process.env['MJF_REPORT_KILLS_SEED'] ?? randomInt(2 ** 31));
const KILLS = Number(process.env['MJF_REPORT_KILLS'] ?? 200);
const STARTS_MS = 700;
/** With its doors open. */
const LIVES_MS = 1_500;
const NAMES = 12;
const MOST_BYTES = 300_000;
const WORKERS = 3;
const SETTLE_MS = 90_000;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test('the agent may be killed again and again while it reports', async (t) => {
  t.diagnostic(`seed ${SEED}`);
  const random = randomFrom(SEED);
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-report-kills-'));
  const program = path.join(dir, 'mjf-agent.cjs');
  fs.copyFileSync(PROGRAM, program);
  const site = await startMoodySite(random);
  t.after(site.close);
  const places = placesIn(dir);
  for (const kind of ['machinefeatures', 'jobfeatures'])
    fs.mkdirSync(path.join(places.host, kind), { recursive: true });
  const config = path.join(dir, 'config.toml');
  fs.writeFileSync(
    config,
    `[report.joboutputs]\nurl = "${site.url}"\nheartbeat_file = "heartbeat"\nheartbeat = "1s"\n`,
  );

  const faults: string[] = [];
  const launch = (): AgentProcess => startAgent({ program, places, listen: '127.0.0.1:0', config });
  let agent = launch();
  t.after(async () => {
    agent.kill('SIGKILL');
    await agent.ended;
    // Only then: it writes there to its last.
    fs.rmSync(dir, { recursive: true, force: true });
  });

  /** null: nobody answered, or something other than an answer. */
  async function ask(
    method: string,
    place: string,
    body?: string | object,
  ): Promise<{ status: number; text: string } | null> {
    try {
      const base = fs.readFileSync(path.join(places.runtime, 'url'), 'utf8').trim();
      const answer = await fetch(base + place, {
        method,
        signal: AbortSignal.timeout(8_000),
        ...(body !== undefined && {
          body: typeof body === 'string' ? body : JSON.stringify(body),
          headers: { 'content-type': typeof body === 'string' ? 'text/plain' : 'application/json' },
        }),
      });
      return { status: answer.status, text: await answer.text() };
    } catch {
      return null;
    }
  }

  /** By name: the latest version that was answered with 201, and the latest that was sent at all. */
  const accepted = new Map<string, number>();
  const sent = new Map<string, number>();
  let going = true;
  let worst = 0;
  let full = 0;

  async function putOne(name: string): Promise<void> {
    const version = (sent.get(name) ?? 0) + 1;
    sent.set(name, version);
    const filler = 'x'.repeat(Math.floor(random() ** 3 * MOST_BYTES));
    const answer = await ask('PUT', `/joboutputs/${name}`, `${version} ${filler} ${version}`);
    if (answer?.status === 201) accepted.set(name, version);
    else if (answer?.status === 507) full += 1;
    else if (answer !== null && answer.status !== 503) faults.push(`PUT ${name}: ${answer.status} ${answer.text}`);
  }

  /** Each has names of his own: who sends two at once does not know himself which is the latest. */
  async function handOver(worker: number): Promise<void> {
    while (going) {
      const n = worker + WORKERS * Math.floor((random() * NAMES) / WORKERS);
      await putOne(`file${n}.log`);
      await pause(random() * 60);
    }
  }

  /** Payloads that come, say something, and end with a word. */
  async function live(): Promise<void> {
    for (let n = 0; going; n += 1) {
      const child = spawn('sleep', ['600'], { detached: true, stdio: 'ignore' });
      let id: string | null = null;
      while (id === null && going) {
        const row = await ask('POST', '/v1/payloads', { name: `pilot${n}`, target: { pid: child.pid } });
        if (row?.status === 201) id = (JSON.parse(row.text) as { id: string }).id;
        else if (row?.status === 409) {
          const rows = await ask('GET', '/v1/payloads');
          id =
            (JSON.parse(rows?.text ?? '[]') as { id: string; pid: number }[]).find(({ pid }) => pid === child.pid)
              ?.id ?? null;
        } else await pause(30);
      }
      for (let said = 0; said < 6 && going; said += 1) {
        await ask('PATCH', `/v1/payloads/${id}`, { can_terminate: random() < 0.5, progress: random() });
        await pause(random() * 300);
      }
      const code = random() < 0.5 ? 200 : 300 + Math.floor(random() * 400);
      while (id !== null) {
        const answer = await ask('POST', `/v1/payloads/${id}/final_word`, { code, text: `pilot${n}` });
        if (answer?.status === 200) break;
        if (answer?.status === 404) {
          faults.push(`pilot${n} lives and is not known any more`);
          break;
        }
        await pause(30);
      }
      worst = Math.max(worst, code);
      child.kill('SIGKILL');
      await pause(random() * 1_500);
    }
  }

  const working = [live(), ...Array.from({ length: WORKERS }, (_, worker) => handOver(worker))];
  const complaints: string[] = [];
  for (let kill = 0; kill < KILLS; kill += 1) {
    const dead = agent;
    // Some die while they start, most when they have something to do.
    if (random() < 0.2) await pause(STARTS_MS * random());
    else {
      while (!dead.log.some(({ event }) => event === 'http_listening')) await pause(5);
      await pause(LIVES_MS * random());
    }
    dead.kill('SIGKILL');
    await dead.ended;
    complaints.push(...dead.log.filter(isTrouble).map(({ event, msg }) => `${event}: ${msg}`));
    if (dead.stderr() !== '') complaints.push(dead.stderr());
    agent = launch();
  }
  going = false;
  await Promise.all(working);
  site.recover();
  const message = await (async () => {
    const giveUpAt = Date.now() + SETTLE_MS;
    for (;;) {
      const metrics = (await ask('GET', '/metrics'))?.text ?? '';
      const rows = (await ask('GET', '/v1/payloads'))?.text.trim();
      const pending = /^mjf_reports_pending\{reporter="joboutputs"\} (\d+)$/m.exec(metrics)?.[1];
      const found = site.latest('shutdown_message');
      if (pending === '0' && rows === '[]' && found !== undefined) return found;
      if (Date.now() > giveUpAt) throw new Error(`never settled: ${pending} pending, rows ${rows}`);
      await pause(200);
    }
  })();

  const outbox = (): readonly string[] =>
    fs.readdirSync(path.join(places.state, 'outbox')).filter((file) => !file.startsWith('said.'));
  // An agent that has just started has not read all of it, and what was delivered is taken from the disk a moment later.
  for (const giveUpAt = Date.now() + SETTLE_MS; outbox().length > 0 && Date.now() < giveUpAt; ) await pause(20);
  const left = outbox();

  assert.match(message, worst >= 300 ? new RegExp(`^${worst} `) : /^200 /);
  const { can_terminate } = JSON.parse((await ask('GET', '/v1/lifetime'))?.text ?? '{}');
  assert.deepEqual(JSON.parse(site.latest('can_terminate.json') ?? '{}').can_terminate, can_terminate);
  const seen = new Map<string, number>();
  const times = new Map<string, number>();
  for (const { name, text } of site.taken) {
    if (!name.endsWith('.log')) continue;
    const [, first, last] = /^(\d+) x* (\d+)$/.exec(text) ?? [];
    if (first === undefined || first !== last) faults.push(`${name} is torn (${text.length} bytes)`);
    const version = Number(first);
    if (version < (seen.get(name) ?? 0)) faults.push(`${name}: ${version} came after ${seen.get(name)}`);
    seen.set(name, version);
    times.set(`${name} ${version}`, (times.get(`${name} ${version}`) ?? 0) + 1);
  }
  for (const [name, version] of accepted)
    if ((seen.get(name) ?? 0) < version)
      faults.push(`${name}: ${version} was accepted, the site has ${seen.get(name)}`);
  const codes = site.taken
    .filter(({ name }) => name === 'shutdown_message')
    .map(({ text }) => Number(text.slice(0, 3)));
  codes.reduce((before, code) => {
    if (code < before) faults.push(`${code} was said after ${before}`);
    return code;
  }, 0);
  const beats = site.taken.filter(({ name }) => name === 'heartbeat').map(({ atMs }) => atMs);
  const gaps = beats.slice(1).map((atMs, n) => atMs - (beats[n] ?? 0));
  t.diagnostic(
    JSON.stringify({
      accepted: [...sent.values()].reduce((a, b) => a + b, 0),
      full,
      asked: site.asked(),
      versions: times.size,
      again: [...times.values()].filter((n) => n > 1).length,
      most: Math.max(...times.values()),
      messages: codes.length,
      longestGapMs: Math.max(...gaps),
      gapsOver10: gaps.filter((ms) => ms > 10_000).length,
    }),
  );
  assert.deepEqual(left, [], 'no file is left in the outbox');
  assert.deepEqual([...faults, ...complaints], []);
});

// A disk that is slow for once (`spool_failed`) is no fault of the agent's.
const isTrouble = ({ level, event }: { readonly level: string; readonly event: string }): boolean =>
  level === 'error' || level === 'fatal' || /damaged/.test(event);
