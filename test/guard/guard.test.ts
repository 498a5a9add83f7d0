/** `__guard` as a program: when it does nothing, and what it leaves for the agent. systemctl is a script. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { guardMain } from '../../agent/guard/guard.ts';
import { guardTimeMs } from '../../agent/sources/logind-guard.ts';
import { killAtExit, PROGRAM } from '../support/program.ts';

/** `running` by the number of the question, the last for all that follow; `down`: what is said of shutdown.target. */
function machine(
  t: { after(end: () => void): void },
  { running = ['running'], stop = '25min', down = '' }: { running?: string[]; stop?: string; down?: string } = {},
) {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-guard-'));
  t.after(() => fs.rmSync(root, { recursive: true }));
  const dir = path.join(root, 'run/mjf-agent-guard');
  fs.mkdirSync(dir, { recursive: true });
  fs.writeFileSync(path.join(root, 'answers'), running.map((word) => `${word}\n`).join(''));
  const script = `#!/bin/sh
case "$*" in
  *is-system-running*) head -n 1 ${root}/answers; [ $(wc -l < ${root}/answers) = 1 ] || sed -i 1d ${root}/answers; exit 1 ;;
  *shutdown.target*) printf '${down}' ;;
  *TimeoutStopUSec*) echo '${stop}' ;;
esac
`;
  fs.writeFileSync(path.join(root, 'systemctl'), script, { mode: 0o755 });
  return { root, env: { PATH: `${root}:/usr/bin:/bin`, RUNTIME_DIRECTORY: dir, MJF_AGENT_RUNTIME_DIR: root } };
}

/** Nothing is announced; also what a write is answered with, whom nobody reads. */
const LIFETIME = '{"phase":"running","deadline":null,"stop_at":null}';
/** An agent that is made up: what it answers by the number of the question, the last for all that follow. */
async function agentIn(
  t: { after(end: () => void): void },
  runtimeDir: string,
  answers: Readonly<Record<string, readonly (string | number)[]>>,
) {
  const asked: string[] = [];
  const bodies: string[] = [];
  const server = http.createServer(async (request, response) => {
    const question = `${request.method} ${request.url}`;
    const [earlier, given] = [asked.filter((each) => each === question).length, answers[question] ?? [LIFETIME]];
    const number = asked.push(question) - 1;
    bodies[number] = (await request.setEncoding('utf8').toArray()).join('');
    const answer = given[Math.min(earlier, given.length - 1)] ?? '';
    if (typeof answer === 'number') response.statusCode = answer;
    response.end(typeof answer === 'number' ? '' : answer);
  });
  t.after(() => server.close());
  await once(server.listen(path.join(runtimeDir, 'admin.sock')), 'listening');
  return { asked, bodies };
}

for (const [stop, secs] of [
  ['25min', 1455],
  ['infinity', 1455],
  ['5min 30s', 285],
  ['30s', 15],
  ['', 45],
] as const)
  test(`armed with TimeoutStopSec "${stop}" it gives ${secs} s`, async (t) => {
    const { root, env } = machine(t, { stop });
    assert.equal(guardTimeMs(root), null);
    assert.equal(await guardMain(['arm'], env), 0);
    assert.equal(guardTimeMs(root), secs * 1000);
  });

test('does nothing while the machine is not going down: there is no agent that could be asked here', async (t) => {
  for (const running of ['running', 'degraded', 'starting', 'maintenance', '']) {
    const { env } = machine(t, { running: [running], down: 'Job=\nActiveState=inactive\n' });
    assert.equal(await guardMain(['drain'], env), 0, running);
  }
});

for (const [what, answers] of [
  ['as systemd says', { running: ['stopping'] }],
  ['in the midst of a boot that never ends', { running: ['starting'], down: 'Job=186\nActiveState=inactive\n' }],
  ['as a manager says that was too busy at first', { running: ['', '', 'stopping'] }],
] as const)
  test(`goes to the agent when the machine goes down, ${what}`, async (t) => {
    const { root, env } = machine(t, { ...answers, running: [...answers.running] });
    const { asked } = await agentIn(t, root, { 'GET /v1/payloads': ['[]'] });
    assert.equal(await guardMain(['drain'], env), 0);
    assert.ok(asked.includes('POST /v1/notices'), asked.join(', '));
  });

test('an end of this boot is announced; a payload that talks too much is hurried all the same; hooks are waited for', async (t) => {
  const { root, env } = machine(t, { running: ['stopping'] });
  const job = { id: 'p-1', name: 'job', target: 'process', state: 'running', grace_secs: 60, stop_at: null, steps: [] };
  const { asked, bodies } = await agentIn(t, root, {
    'GET /v1/payloads': [...Array<string>(3).fill(JSON.stringify([job])), '[]'],
    'PATCH /v1/payloads/p-1': [429, '{}'],
    'GET /metrics': [
      'mjf_hooks_running 2\n',
      'mjf_last_word_pending 1\n',
      'mjf_hooks_running 0\nmjf_last_word_pending 0\n',
    ],
  });
  assert.equal(await guardMain(['drain'], env), 0);
  const count = (what: string): number => asked.filter((each) => each === what).length;
  assert.deepEqual(['PATCH /v1/payloads/p-1', 'GET /metrics'].map(count), [2, 3], asked.join(', '));
  const notice = bodies[asked.indexOf('POST /v1/notices')] ?? '';
  assert.deepEqual(JSON.parse(notice), {
    kind: 'shutdown',
    in_secs: 60,
    reason: 'the machine is going down',
    this_boot: true,
  });
});

test('it says by its exit code that payloads are left to systemd', async (t) => {
  const { root, env } = machine(t, { running: ['stopping'] });
  await agentIn(t, root, { 'GET /v1/payloads': ['[]'], 'POST /v1/notices': [403] });
  assert.equal(await guardMain(['drain'], env), 1);
});

test('it guards also where its file cannot be written: a unit that has failed would not be stopped', async (t) => {
  const { root, env } = machine(t);
  fs.mkdirSync(path.join(root, 'run/mjf-agent-guard/seconds.new'));
  assert.equal(await guardMain(['arm'], env), 0);
  assert.equal(guardTimeMs(root), null);
});

test('goes on where nobody hears what it says', async (t) => {
  const { env } = machine(t);
  const child = spawn(process.execPath, [PROGRAM, '__guard', 'drain'], { env, stdio: ['ignore', 'pipe', 'ignore'] });
  killAtExit(child);
  child.stdout.destroy();
  assert.deepEqual(await once(child, 'exit'), [0, null]);
});

test('armed by its unit alone, and nothing else is a command', async (t) => {
  const { env } = machine(t);
  assert.equal(await guardMain(['arm'], { ...env, RUNTIME_DIRECTORY: undefined }), 64);
  assert.equal(await guardMain([], env), 64);
});

test('what is no number of seconds is no guard; too many are as many as systemd waits', (t) => {
  const { root } = machine(t);
  const file = path.join(root, 'run/mjf-agent-guard/seconds');
  for (const [text, ms] of [
    ['', null],
    ['-5', null],
    ['soon', null],
    ['90\n', 90_000],
    ['999999', 1_800_000],
  ] as const) {
    fs.writeFileSync(file, text);
    assert.equal(guardTimeMs(root), ms, text);
  }
});
