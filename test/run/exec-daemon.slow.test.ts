/**
 * `mjf-agent exec` of the built program: a payload is stopped in time and in order, with a daemon, without one, and when one
 * of the two dies (SEMANTICS S3). Deadlines lie a few seconds ahead; times are compared as an order only.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test, { describe } from 'node:test';
import { promisify } from 'node:util';
import { inSecs, startAgent } from '../support/agent.ts';
import { type Ending, isAlive, type TestPayload, untilDead } from '../support/processes.ts';
import { PROGRAM, runProgram } from '../support/program.ts';
import {
  exitCode,
  heard,
  type PayloadRow,
  payloadRows,
  plansFetched,
  registered,
  rowsFetched,
  startExec,
  tell,
  untilRow,
} from './exec-payload.ts';

const NO_DAEMON = '/nonexistent/mjf-agent';
const FAST = '[source.directory]\npoll = "200ms"\n';

const exec = (...args: readonly string[]) => runProgram(['exec', '--runtime-dir', NO_DAEMON, ...args]);

/** Neither before its time nor when it is too late. */
function assertBetween(ms: number, fromSecs: number, toSecs: number, what: string): void {
  assert.ok(ms >= fromSecs * 1000, `${what}: ${ms} is before ${fromSecs}`);
  assert.ok(ms < toSecs * 1000, `${what}: ${ms} is not before ${toSecs}`);
}

function temporary(t: Ending): string {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-exec-'));
  t.after(() => fs.rmSync(dir, { recursive: true }));
  return dir;
}

async function pidOf(payload: TestPayload, name: string): Promise<number> {
  return Number((await payload.line(new RegExp(`^${name} is (\\d+)$`)))[1]);
}

/** In the payload's group, deaf to SIGTERM, and says so when it is. */
const WITH_DEAF_CHILD = `say('child is ' + background(
  "process.on('SIGTERM', () => {}); setInterval(() => {}, 1 << 30); console.log('ready')").pid);`;
/** In a session of its own, where no signal to the group reaches it. */
const WITH_STRAY = `say('stray is ' + background('setInterval(() => {}, 1 << 30)', { detached: true }).pid);`;

describe('exec without a daemon', { concurrency: 4 }, () => {
  test('the exit code is the payload’s, 128 + n for a signal, 127 and 126 for what cannot be run', async (t) => {
    const dir = temporary(t);
    fs.writeFileSync(path.join(dir, 'text'), 'no program\n');
    const sh = (script: string) => exec('--', '/bin/sh', '-c', script);
    const codes = await Promise.all([
      sh('exit 0'),
      sh('exit 3'),
      sh('kill -KILL $$'),
      sh('kill -HUP $$'),
      exec('--', 'no-such-command-anywhere'),
      exec('--', path.join(dir, 'text')),
      exec('--', '/nonexistent/command'),
    ]);
    assert.deepEqual(
      codes.map(({ code }) => code),
      [0, 3, 137, 129, 127, 126, 127],
    );
    assert.match(codes[4]?.err ?? '', /^mjf-agent: no-such-command-anywhere: command not found\n$/);
  });

  test('wrong options are refused before anything is started: exit code 64', async () => {
    for (const wrong of [
      ['--step', 'grace:SIGNOTHING'],
      ['--step', 'soon:SIGTERM'],
      ['--grace', '5'],
      ['--features', 'both'],
      ['--memory', '4GB'],
      ['--cpus', 'all'],
      ['--wall', '60'],
      ['--job-id', 'a b'],
    ]) {
      const { code, out } = await exec(...wrong, '--', 'echo', 'started');
      assert.deepEqual([code, out], [64, ''], wrong.join(' '));
    }
    assert.equal((await exec()).code, 64);
  });

  test('arguments, input, output and environment pass through untouched', async () => {
    const { out } = await runProgram(
      [
        'exec',
        '--runtime-dir',
        NO_DAEMON,
        '--',
        '/bin/sh',
        '-c',
        'printf "%s|" "$@" "$MACHINEFEATURES"',
        'sh',
        'a b',
        '--',
        '',
      ],
      { env: { MACHINEFEATURES: '/nonexistent/features' } },
    );
    assert.equal(out, 'a b|--||/nonexistent/features|');
  });

  test('the soft limit of open files is that of whoever started exec, not what Node made of its own', async () => {
    const script = 'ulimit -Sn 777; "$@"; exit $?';
    const argv = [process.execPath, PROGRAM, 'exec', '--runtime-dir', NO_DAEMON, '--', '/bin/sh', '-c', 'ulimit -Sn'];
    const { stdout } = await promisify(execFile)('/bin/sh', ['-c', script, 'sh', ...argv]);
    assert.equal(stdout, '777\n');
  });

  test('signals that exec gets go to the whole group of the payload', async (t) => {
    const payload = await startExec(t, {
      runtimeDir: NO_DAEMON,
      script: `hear('SIGINT'); hear('SIGUSR1'); hear('SIGTERM', () => process.exit(9));
        background("process.on('SIGINT', () => {}); process.on('SIGUSR1', () => console.log('child too')); setInterval(() => {}, 1 << 30); console.log('ready')");`,
    });
    for (const signal of ['SIGINT', 'SIGUSR1'] as const) {
      payload.child.kill(signal);
      await heard(payload, signal);
    }
    await payload.line(/^child too$/);
    payload.child.kill('SIGTERM');
    await heard(payload, 'SIGTERM');
    assert.equal(await exitCode(payload), 9, 'not stopped by a deadline');
  });

  test('S3.8 the host’s own directory is enough: stopped in time, exit code 75', async (t) => {
    const dir = temporary(t);
    const payload = await startExec(t, {
      options: ['--grace', '2s'],
      runtimeDir: NO_DAEMON,
      env: { MACHINEFEATURES: dir },
      script: `hear('SIGTERM', () => process.exit(0)); say('sees ' + process.env.MACHINEFEATURES); say('ready');`,
    });
    await payload.line(new RegExp(`^sees ${dir}$`));
    const at = inSecs(3);
    fs.writeFileSync(path.join(dir, 'next'), `${at}\n`);
    fs.renameSync(path.join(dir, 'next'), path.join(dir, 'shutdowntime'));
    assertBetween(await heard(payload, 'SIGTERM'), at - 2, at, 'SIGTERM');
    assert.equal(await exitCode(payload), 75);
  });

  test('S3.7 a deadline that has passed, by the host’s own directory: refused, exit code 75', async (t) => {
    const dir = temporary(t);
    fs.writeFileSync(path.join(dir, 'shutdowntime'), `${inSecs(-5)}\n`);
    const env = { MACHINEFEATURES: dir };
    const { code, out } = await runProgram(['exec', '--runtime-dir', NO_DAEMON, '--', 'echo', 'started'], { env });
    assert.deepEqual([code, out], [75, '']);
  });
});

describe('exec under a daemon', { concurrency: 3 }, () => {
  test('one deadline, many payloads: each by its own steps, all in time; then the site is told and nothing new starts', async (t) => {
    const outputs = temporary(t);
    const agent = await startAgent(t, {
      config: '[stop]\ngrace = "4s"\n',
      channels: (dir) => ['--machinefeatures', `${dir}/host/machinefeatures`, '--joboutputs', outputs],
      machine: { total_cpu: 8 },
    });
    const slack = agent.slackSecs;
    const grace = `${5 + slack}s`;
    const start = (script: string, ...options: readonly string[]) =>
      startExec(t, { runtimeDir: agent.runtimeDir, script, options });
    const [obeys, deaf, leaves, stepped, done] = await Promise.all([
      start(`hear('SIGTERM', () => process.exit(0)); say('ready');`),
      start(`hear('SIGTERM'); ${WITH_STRAY} ${WITH_DEAF_CHILD}`, '--grace', grace),
      start(`hear('SIGTERM', () => process.exit(0)); ${WITH_STRAY} ${WITH_DEAF_CHILD}`, '--grace', grace),
      start(
        `hear('SIGUSR1'); hear('SIGTERM', () => process.exit(0)); say('ready');`,
        ...['--step', '3s:SIGTERM', '--step', 'grace:USR1:leader', '--grace', '5s'],
      ),
      start(`hear('SIGTERM', () => process.exit(0)); process.stdin.once('data', () => process.exit(7)); say('ready');`),
    ]);
    await registered(agent, 5);
    done.child.stdin?.write('go\n');
    assert.equal(await exitCode(done), 7, 'ended by itself before anything was announced');

    const at = inSecs(6 + slack);
    agent.hostDirs.set('machine', 'shutdowntime', at);
    const ends = await Promise.all(
      [obeys, deaf, leaves, stepped].map(async (payload) => {
        const code = await exitCode(payload);
        return { code, endedMs: Date.now() };
      }),
    );
    for (const { code, endedMs } of ends) {
      assert.equal(code, 75, 'stopped by the deadline, whatever it returned');
      assertBetween(endedMs, at - 5 - slack, at, 'the end');
    }
    assertBetween(await heard(obeys, 'SIGTERM'), at - 4, at, 'SIGTERM of one that states no grace: the daemon’s');
    assertBetween(await heard(deaf, 'SIGTERM'), at - 5 - slack, at, 'SIGTERM by its own grace');
    assertBetween(await heard(stepped, 'SIGUSR1'), at - 5, at, 'its own first step');
    assertBetween(await heard(stepped, 'SIGTERM'), at - 3, at, 'its own second step');
    for (const payload of [deaf, leaves]) {
      for (const name of ['child', 'stray'])
        assert.ok(!isAlive(await pidOf(payload, name)), `its ${name} is ended too, whether it still leads them or not`);
    }

    await agent.until('over', ({ overdue, phase }) => overdue && phase === 'stopped');
    assert.deepEqual((await agent.lifetime()).payloads, { running: 0, stopping: 0, stopped: 5 });
    await agent.log('shutdown_message');
    const refused = await runProgram(['exec', '--runtime-dir', agent.runtimeDir, '--', 'echo', 'started']);
    assert.deepEqual([refused.code, refused.out], [75, '']);
    assert.match(refused.err, /^mjf-agent: .*deadline.*\n$/);
    await agent.stop();
    // To the byte, so without a newline. That four were stopped by the host is no excuse for the one that failed before.
    const message = fs.readFileSync(path.join(outputs, 'shutdown_message'), 'utf8');
    assert.equal(message, '700 Payload ended with exit code 7');
  });

  test('S3.6 cancelled after SIGTERM: no SIGKILL follows, and the exit code is the payload’s own', async (t) => {
    const agent = await startAgent(t, { config: '[stop]\ngrace = "4s"\n', machine: { total_cpu: 8 } });
    // Beyond the deadline and every step before it: whoever had not heard of the cancel would have killed it by then.
    const payload = await startExec(t, {
      runtimeDir: agent.runtimeDir,
      script: `hear('SIGTERM'); after(1, () => process.exit(5)); say('ready');`,
    });
    await registered(agent, 1);
    const [{ id }] = (await payloadRows(agent)) as [PayloadRow];
    const at = inSecs(5 + agent.slackSecs);
    tell(payload, at);
    const operator = (method: string, body?: unknown) =>
      agent.request('/v1/notices', { method, socket: 'admin.sock', ...(body !== undefined && { body }) });
    assert.equal((await operator('POST', { kind: 'shutdown', at })).status, 201);
    assertBetween(await heard(payload, 'SIGTERM'), at - 4, at, 'SIGTERM');
    assert.equal((await operator('DELETE')).status, 204);
    assert.equal((await agent.lifetime()).phase, 'running');
    // A signal that went out is not undone.
    await untilRow(agent, id, ({ state }) => state === 'stopping');
    assert.equal(await exitCode(payload), 5);
    assert.ok(Date.now() >= at * 1000);
  });

  test('S3.8 daemon killed: the last plan stands, its grace included, although exec’s own differs', async (t) => {
    const agent = await startAgent(t, { config: '[stop]\ngrace = "1s"\n', machine: { total_cpu: 8 } });
    const payload = await startExec(t, {
      runtimeDir: agent.runtimeDir,
      script: `hear('SIGTERM', () => process.exit(0)); say('ready');`,
    });
    await registered(agent, 1);
    const fetched = await rowsFetched(agent);
    // Longer than it takes to count a daemon as lost.
    const at = inSecs(6 + agent.slackSecs);
    agent.hostDirs.set('machine', 'shutdowntime', at);
    await plansFetched(agent, fetched + 1);
    await agent.kill9();
    await payload.line(/the daemon is gone/);
    assertBetween(await heard(payload, 'SIGTERM'), at - 1, at, 'SIGTERM');
    assert.equal(await exitCode(payload), 75);
  });

  test('S3.8 daemon killed and restarted: exec is followed again, and a postponement meanwhile is obeyed', async (t) => {
    const agent = await startAgent(t, { config: `${FAST}[stop]\ngrace = "1s"\n`, machine: { total_cpu: 8 } });
    const payload = await startExec(t, {
      runtimeDir: agent.runtimeDir,
      script: `hear('SIGTERM', () => process.exit(0)); after(0.5, () => process.exit(4)); say('ready');`,
    });
    await registered(agent, 1);
    const first = inSecs(6 + 3 * agent.slackSecs);
    tell(payload, first);
    agent.hostDirs.set('machine', 'shutdowntime', first);
    await agent.until('announced', ({ deadline }) => deadline === first);
    const before = await payloadRows(agent);
    await agent.kill9();
    const later = inSecs(3600);
    agent.hostDirs.set('machine', 'shutdowntime', later);
    await agent.restart();
    await agent.until('followed again', ({ deadline, payloads }) => deadline === later && payloads.running === 1);
    assert.deepEqual(
      (await payloadRows(agent)).map(({ id, pid }) => [id, pid]),
      before.map(({ id, pid }) => [id, pid]),
      'its row is what it was',
    );
    assert.equal(await exitCode(payload), 4);
    assert.ok(Date.now() >= first * 1000, 'it outlived the first deadline');
  });

  test('S3.8 a daemon that has lost all its memory gets the payload registered anew, and stops it in time', async (t) => {
    const agent = await startAgent(t, { config: `${FAST}[stop]\ngrace = "2s"\n`, machine: { total_cpu: 8 } });
    const payload = await startExec(t, {
      runtimeDir: agent.runtimeDir,
      script: `hear('SIGTERM', () => process.exit(0)); say('ready');`,
    });
    await registered(agent, 1);
    const [before] = await payloadRows(agent);
    await agent.kill9();
    for (const dir of [agent.journalDir, agent.stateDir]) fs.rmSync(dir, { recursive: true });
    await agent.restart();
    await registered(agent, 1);
    const [after] = await payloadRows(agent);
    assert.equal(after?.pid, before?.pid);
    assert.notEqual(after?.id, before?.id);
    const at = inSecs(3 + agent.slackSecs);
    agent.hostDirs.set('machine', 'shutdowntime', at);
    assertBetween(await heard(payload, 'SIGTERM'), at - 2, at, 'SIGTERM');
    assert.equal(await exitCode(payload), 75);
  });

  test('S3.8 exec killed: the daemon takes over, repeats no SIGTERM that was acknowledged, and ends what is left', async (t) => {
    const agent = await startAgent(t, { config: '[stop]\ngrace = "5s"\n', machine: { total_cpu: 8 } });
    const script = `say('pid is ' + process.pid); hear('SIGTERM'); say('ready');`;
    const [told, untold] = await Promise.all([
      startExec(t, { runtimeDir: agent.runtimeDir, script, options: ['--name', 'told'] }),
      startExec(t, { runtimeDir: agent.runtimeDir, script, options: ['--name', 'untold'] }),
    ]);
    await registered(agent, 2);
    const pids = { told: await pidOf(told, 'pid'), untold: await pidOf(untold, 'pid') };
    const at = inSecs(7 + 2 * agent.slackSecs);
    agent.hostDirs.set('machine', 'shutdowntime', at);
    await agent.until('announced', ({ deadline }) => deadline === at);
    const rows = await payloadRows(agent);

    // One before its SIGTERM, which the daemon then sends; one after it was acknowledged.
    untold.child.kill('SIGKILL');
    const id = rows.find(({ pid }) => pid === pids.told)?.id ?? '';
    await untilRow(agent, id, ({ steps }) =>
      steps.some(({ signal, state }) => signal === 'SIGTERM' && state === 'done'),
    );
    told.child.kill('SIGKILL');
    assertBetween(await heard(told, 'SIGTERM'), at - 5, at, 'SIGTERM by exec');
    assertBetween(await heard(untold, 'SIGTERM'), at - 5, at, 'SIGTERM by the daemon');
    await Promise.all([untilDead(pids.told), untilDead(pids.untold)]);
    assert.ok(Date.now() < at * 1000, 'both are dead before the deadline');
    await assert.rejects(secondTerm(told), /ended without a line/);
    await agent.until('all gone', ({ payloads }) => payloads.stopped === 2);
  });
});

/** A second SIGTERM of the same payload; rejects once it has ended without one. */
async function secondTerm(payload: TestPayload): Promise<RegExpExecArray> {
  const first = await heard(payload, 'SIGTERM');
  return payload.line(new RegExp(`^SIGTERM (?!${first}$)\\d+$`));
}
