/**
 * `exec --wall` of the built program under a wall clock that is set by an hour (libfaketime with a timestamp file), as that of
 * a virtual machine is once NTP has answered: half an hour stays half an hour, with a daemon, without, and after its death.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test, { describe } from 'node:test';
import { startAgent, type TestAgent } from '../support/agent.ts';
import { type Ending, startPayload, type TestPayload } from '../support/processes.ts';
import { PROGRAM } from '../support/program.ts';
import { exitCode, payloadRows, registered } from './exec-payload.ts';

const HOUR_SECS = 3_600;
/** exec looks at the clocks each second, and asks for two more: by then it has acted, if ever. */
const ACTED_MS = 5_000;

const library = ['/usr/lib', '/usr/lib64']
  .flatMap((place) => [place, ...list(place).map((name) => path.join(place, name))])
  .map((place) => path.join(place, 'faketime/libfaketimeMT.so.1'))
  .find((file) => fs.existsSync(file));
const skip =
  library === undefined
    ? 'libfaketime is not installed'
    : spawnSync('unshare', ['--mount', 'true']).status !== 0
      ? 'needs root, unshare (util-linux) and mount namespaces'
      : false;

/** The library leaves files in /dev/shm where its process is killed: there it is one of its own. */
const PRIVATE_SHM = 'mount -t tmpfs none /dev/shm && exec env LD_PRELOAD="$0" "$@"';
const WITHIN = ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', PRIVATE_SHM, library ?? ''] as const;
/** Its own clock is the true one: Node would load the library into it otherwise. */
const PAYLOAD = `process.on('SIGTERM', () => process.exit(9)); process.stdin.once('data', () => process.exit(4));
  setInterval(() => {}, 1 << 30); console.log('ready');`;

interface Clock {
  readonly env: Readonly<Record<string, string>>;
  set(aheadSecs: number): void;
}

function clockIn(dir: string): Clock {
  const file = path.join(dir, 'clock');
  const set = (aheadSecs: number): void => {
    fs.writeFileSync(`${file}.new`, `+${aheadSecs}\n`);
    fs.renameSync(`${file}.new`, file);
  };
  set(0);
  const env = { FAKETIME_TIMESTAMP_FILE: file, FAKETIME_DONT_FAKE_MONOTONIC: '1', FAKETIME_NO_CACHE: '1' };
  return { env, set };
}

function temporary(t: Ending): string {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-exec-clock-'));
  t.after(() => fs.rmSync(dir, { recursive: true, force: true }));
  return dir;
}

function start(t: Ending, clock: Clock, runtimeDir: string): Promise<TestPayload> {
  const variables = Object.entries(clock.env).map(([name, value]) => `${name}=${value}`);
  const exec = [process.execPath, PROGRAM, 'exec', '--runtime-dir', runtimeDir, '--wall', '30m'];
  const payload = ['env', '-u', 'LD_PRELOAD', process.execPath, '-e', PAYLOAD];
  return startPayload(t, '', { command: ['env', ...variables, ...WITHIN, ...exec, '--', ...payload] });
}

async function startUnderDaemon(t: Ending): Promise<{ agent: TestAgent; payload: TestPayload; clock: Clock }> {
  const clock = clockIn(temporary(t));
  const agent = await startAgent(t, { machine: { total_cpu: 8 }, within: WITHIN, env: clock.env });
  const payload = await start(t, clock, agent.runtimeDir);
  await registered(agent, 1);
  return { agent, payload, clock };
}

async function assertLives(payload: TestPayload): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ACTED_MS));
  payload.child.stdin?.write('end\n');
  assert.equal(await exitCode(payload), 4, 'nobody has stopped it');
}

describe('exec --wall and a clock that is set', { skip, concurrency: 3 }, () => {
  test('S4.2 without a daemon', async (t) => {
    const clock = clockIn(temporary(t));
    const payload = await start(t, clock, '/nonexistent/mjf-agent');
    clock.set(HOUR_SECS);
    await assertLives(payload);
  });

  test('S4.2 with a daemon, whose row moves with the clock', async (t) => {
    const { agent, payload, clock } = await startUnderDaemon(t);
    const [before] = await payloadRows(agent);
    clock.set(HOUR_SECS);
    await agent.log('time_jumped');
    await assertLives(payload);
    assert.ok(before?.deadline);
  });

  test('S4.2 the daemon has died since: its last plan is no reason', async (t) => {
    const { agent, payload, clock } = await startUnderDaemon(t);
    await agent.kill9();
    clock.set(HOUR_SECS);
    await assertLives(payload);
  });

  test('S4.2 a daemon that comes after it counts from exec’s start all the same', async (t) => {
    const dir = temporary(t);
    const clock = clockIn(dir);
    const agent = await startAgent(t, { machine: { total_cpu: 8 }, within: WITHIN, env: clock.env });
    await agent.kill9();
    const payload = await start(t, clock, agent.runtimeDir);
    const began = Date.now();
    clock.set(HOUR_SECS);
    await agent.restart();
    await registered(agent, 1);
    const [row] = await payloadRows(agent);
    const leftSecs = (row?.deadline ?? 0) - HOUR_SECS - began / 1000;
    assert.ok(leftSecs > 1700 && leftSecs <= 1801, `${leftSecs} s are left of 30 min`);
    await assertLives(payload);
  });
});

function list(place: string): readonly string[] {
  try {
    return fs.readdirSync(place);
  } catch {
    return [];
  }
}
