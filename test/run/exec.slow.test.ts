/**
 * `mjf-agent exec` where it takes long to see: payloads that run away from their group, execs within payloads, daemons that
 * hang, come late or have lost their memory (SEMANTICS S3.8).
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test, { describe } from 'node:test';
import { inSecs, startAgent, type TestAgent } from '../support/agent.ts';
import { isAlive, type TestPayload, untilDead } from '../support/processes.ts';
import { PROGRAM, runProgram } from '../support/program.ts';
import { exitCode, type PayloadRow, payloadRows, registered, startExec } from './exec-payload.ts';

const NO_DAEMON = '/nonexistent/mjf-agent';
const NOT_ROOT = process.getuid?.() === 0 ? false : 'needs root, to become another user';
const OTHER = 65_533;
const PATIENCE_MS = 60_000;

/** Prints `NAME is PID` and stays, deaf to SIGTERM. */
const deaf = (name: string): string => `trap '' TERM; echo ${name} is $$; while :; do sleep 1; done`;
const shell = (text: string): string =>
  `require('node:child_process').spawn('/bin/sh', ['-c', ${JSON.stringify(text)}], { stdio: ['ignore', 'inherit', 'ignore'] });`;
const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;
/** Its parent has ended, it leads a session, and its group is another one. */
const DOUBLE_FORK = shell(`( setsid sh -c ${quoted(deaf('stray'))} & ) `);
/** Starts processes all the time, each in a session of its own. */
const RESPAWNS = shell(
  `setsid sh -c ${quoted(`trap '' TERM; echo spawner is $$; while :; do setsid sleep 0.02; done`)} &`,
);
const OTHER_USER = shell(
  `setsid setpriv --reuid ${OTHER} --regid ${OTHER} --clear-groups sh -c ${quoted(deaf('other'))} &`,
);
const OTHER_USER_IN_GROUP = shell(
  `setpriv --reuid ${OTHER} --regid ${OTHER} --clear-groups sh -c ${quoted(deaf('member'))} &`,
);

async function pidOf(payload: TestPayload, name: string): Promise<number> {
  return Number((await payload.line(new RegExp(`^${name} is (\\d+)$`)))[1]);
}

/** Waits for what is no event: a file of the daemon's, a row. */
async function until<T>(what: string, look: () => T | undefined | Promise<T | undefined>): Promise<T> {
  const giveUpAt = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (Date.now() > giveUpAt) throw new Error(`never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

interface ViewRow extends PayloadRow {
  readonly view: { readonly jobfeatures_path: string };
  readonly containment: string;
}
const rowsOf = async (agent: TestAgent) => (await payloadRows(agent)) as readonly ViewRow[];

describe('payloads that run away', { concurrency: 2 }, () => {
  test('SIGKILL finds what has left the group, and what has become another user, by exec’s own hand', {
    skip: NOT_ROOT,
  }, async (t) => {
    const payload = await startExec(t, {
      runtimeDir: NO_DAEMON,
      options: ['--wall', '6s', '--grace', '3s'],
      script: `${DOUBLE_FORK} ${RESPAWNS} ${OTHER_USER} ${OTHER_USER_IN_GROUP} say('ready');`,
    });
    const names = ['stray', 'spawner', 'other', 'member'];
    const pids = await Promise.all(names.map((name) => pidOf(payload, name)));
    for (const pid of pids) assert.ok(isAlive(pid));
    assert.equal(await exitCode(payload), 75);
    for (const [index, pid] of pids.entries()) assert.ok(!isAlive(pid), `${names[index]} is ended`);
  });

  test('an exec within a payload: the outer one ends what the inner one started, in whatever session', async (t) => {
    const inner = `${process.execPath} ${PROGRAM} exec --runtime-dir ${NO_DAEMON} -- sh -c ${quoted(deaf('inner'))}`;
    const payload = await startExec(t, {
      runtimeDir: NO_DAEMON,
      options: ['--wall', '6s', '--grace', '3s'],
      script: `${shell(`exec ${inner}`)} say('ready');`,
    });
    const pid = await pidOf(payload, 'inner');
    assert.equal(await exitCode(payload), 75);
    assert.ok(!isAlive(pid));
  });

  test('S3.8 exec killed: the daemon ends what has left the group by the marker that exec gave it', async (t) => {
    const agent = await startAgent(t, { config: '[stop]\ngrace = "3s"\n', machine: { total_cpu: 8 } });
    const payload = await startExec(t, {
      runtimeDir: agent.runtimeDir,
      script: `say('leader is ' + process.pid); ${DOUBLE_FORK} say('ready');`,
    });
    const pids = await Promise.all(['leader', 'stray'].map((name) => pidOf(payload, name)));
    await registered(agent, 1);
    await until('contained by its marker', async () =>
      (await rowsOf(agent)).find(({ containment }) => containment === 'marker'),
    );
    payload.child.kill('SIGKILL');
    agent.hostDirs.set('machine', 'shutdowntime', inSecs(5 + agent.slackSecs));
    await Promise.all(pids.map(untilDead));
    await agent.until('gone', ({ payloads }) => payloads.running + payloads.stopping === 0);
  });

  test('an exec within a payload, under a daemon: two rows, each with its own process and view', async (t) => {
    const agent = await startAgent(t, { machine: { total_cpu: 8 } });
    const inner = `${process.execPath} ${PROGRAM} exec --name inner --runtime-dir ${agent.runtimeDir}`;
    const payload = await startExec(t, {
      runtimeDir: agent.runtimeDir,
      options: ['--name', 'outer'],
      // The inner exec is the very process that the outer row names: its reservation must not pass for that.
      script: `process.stdin.once('data', () => {});
        require('node:child_process').spawn('/bin/sh', ['-c', ${JSON.stringify(
          `${inner} -- /bin/sh -c 'echo job is $$; exec sleep 600'`,
        )}], { stdio: ['ignore', 'inherit', 'inherit'] }); say('outer is ' + process.pid); say('ready');`,
    });
    const [outer, job] = await Promise.all([pidOf(payload, 'outer'), pidOf(payload, 'job')]);
    await registered(agent, 2);
    const rows = await rowsOf(agent);
    assert.deepEqual(new Set(rows.map(({ pid }) => pid)), new Set([outer, job]));
    assert.equal(new Set(rows.map(({ view }) => view.jobfeatures_path)).size, 2);
    process.kill(job, 'SIGTERM');
    await agent.until('the inner one has gone', ({ payloads }) => payloads.running === 1);
    assert.deepEqual(
      (await rowsOf(agent)).map(({ pid }) => pid),
      [outer],
    );
  });

  test('exec as the payload of exec: the process is one payload and reserves another', async (t) => {
    const agent = await startAgent(t, { machine: { total_cpu: 8 } });
    // Not through startExec: here the outer payload is the inner exec itself.
    const script = 'echo "$JOBFEATURES"; exec sleep 600';
    const argv = ['--', process.execPath, PROGRAM, 'exec', '--runtime-dir', agent.runtimeDir, '--', '/bin/sh', '-c'];
    const ran = runProgram(['exec', '--runtime-dir', agent.runtimeDir, ...argv, script]);
    const rows = await until('two rows that name two processes', async () => {
      const found = await rowsOf(agent);
      const named = found.filter(({ pid, deliverer_pid: deliverer }) => pid !== deliverer);
      return named.length === 2 ? named : undefined;
    });
    const inner = rows.find(({ pid }) => rows.some(({ deliverer_pid: deliverer }) => deliverer === pid));
    assert.ok(inner, 'the outer row names the process that delivers for the inner one');
    const job = rows.find((row) => row !== inner);
    assert.ok(job);
    process.kill(job.pid, 'SIGTERM');
    const { code, out } = await ran;
    assert.deepEqual([code, out], [143, `${job.view.jobfeatures_path}\n`], 'its own view, reserved in its own row');
    await agent.until('both gone', ({ payloads }) => payloads.running === 0);
  });
});

describe('payloads that are over at once', () => {
  test('S5.2 each has lived, also where it ended before its row could name it; one that could not be started has not', async (t) => {
    const agent = await startAgent(t, { machine: { total_cpu: 8 } });
    const run = (command: string) => runProgram(['exec', '--runtime-dir', agent.runtimeDir, '--', command]);
    assert.equal((await run('/nonexistent/command')).code, 127);
    assert.deepEqual((await agent.lifetime()).payloads, { running: 0, stopping: 0, stopped: 0 });
    for (let count = 0; count < 5; count += 1) assert.equal((await run('true')).code, 0);
    await agent.until('five have lived', ({ payloads }) => payloads.stopped === 5 && payloads.running === 0);
  });
});

describe('daemons that are not quite there', { concurrency: 2 }, () => {
  test('one that hangs: the payload starts all the same, with what the host offers', async (t) => {
    const agent = await startAgent(t, { machine: { total_cpu: 8 } });
    agent.signal('SIGSTOP');
    const { code, out } = await runProgram(
      ['exec', '--runtime-dir', agent.runtimeDir, '--cpus', '1', '--', '/bin/sh', '-c', 'echo "$MACHINEFEATURES"'],
      { env: { MACHINEFEATURES: agent.hostDirs.machine } },
    );
    assert.deepEqual([code, out], [0, `${agent.hostDirs.machine}\n`]);
  });

  test('one without HTTP: no view, the machine’s places', async (t) => {
    const agent = await startAgent(t, { machine: { total_cpu: 8 }, listen: 'off' });
    const args = ['--cpus', '1', '--', '/bin/sh', '-c', 'echo "$MACHINEFEATURES $JOBFEATURES"'];
    const { code, out, err } = await runProgram(['exec', '--runtime-dir', agent.runtimeDir, ...args]);
    const { runtimeDir } = agent;
    assert.deepEqual([code, out], [0, `${runtimeDir}/machinefeatures ${runtimeDir}/jobfeatures\n`]);
    assert.match(err, /no features of its own/);
  });

  test('one that has lost its memory shows the same view again, at the same place', async (t) => {
    const agent = await startAgent(t, { machine: { total_cpu: 8 }, job: { allocated_cpu: 4 } });
    const payload = await startExec(t, {
      runtimeDir: agent.runtimeDir,
      options: ['--cpus', '3', '--wall', '1h'],
      script: `say('at ' + process.env.JOBFEATURES); say('ready');`,
    });
    const dir = (await payload.line(/^at (.+)$/))[1] ?? '';
    await registered(agent, 1);
    const deadline = () => Number(fs.readFileSync(path.join(dir, 'shutdowntime_job'), 'utf8'));
    const before = deadline();
    await agent.kill9();
    for (const each of [agent.journalDir, agent.stateDir]) fs.rmSync(each, { recursive: true });
    fs.rmSync(dir, { recursive: true });
    await agent.restart();
    await until('shown again', () => (fs.existsSync(path.join(dir, 'shutdowntime_job')) ? true : undefined));
    assert.equal(fs.readFileSync(path.join(dir, 'allocated_cpu'), 'utf8'), '3\n');
    // What is counted anew may fall on the other side of a whole second.
    assert.ok(Math.abs(deadline() - before) <= 1, `its wall limit is what it was: ${before}, ${deadline()}`);
  });

  test('one that comes later gets the payload registered, its wall limit counted from its start', async (t) => {
    const agent = await startAgent(t, { machine: { total_cpu: 8 } });
    await agent.kill9();
    const payload = await startExec(t, {
      runtimeDir: agent.runtimeDir,
      options: ['--wall', '1h', '--grace', '7s'],
      script: `say('began ' + Date.now()); say('leader is ' + process.pid); say('ready');`,
    });
    const began = Number((await payload.line(/^began (\d+)$/))[1]);
    const pid = await pidOf(payload, 'leader');
    await agent.restart();
    await registered(agent, 1);
    const [row] = await rowsOf(agent);
    assert.equal(row?.pid, pid);
    assert.ok((row?.deadline ?? Number.POSITIVE_INFINITY) * 1000 <= began + 3_600_000, `${row?.deadline}`);
  });
});

describe('what a command leaves running when it ends', { concurrency: 2 }, () => {
  /** Tells its end, and what it heard. */
  const child = (name: string): string =>
    `trap 'echo ${name} heard TERM >> "$0"; exit' TERM; echo ${name} is $$ >> "$0"; while :; do sleep 0.1; done`;
  for (const [how, start] of [
    ['in its group', (file: string) => `sh -c ${quoted(child('left'))} ${file} >/dev/null 2>&1 &`],
    [
      'in a session of its own',
      (file: string) => `( setsid sh -c ${quoted(child('left'))} ${file} >/dev/null 2>&1 & ) ;`,
    ],
  ] as const) {
    test(`${how}: exec gives its code at once, the daemon stops the rest with SIGTERM first`, async (t) => {
      const agent = await startAgent(t, { config: '[stop]\ngrace = "3s"\n', machine: { total_cpu: 8 } });
      const file = path.join(agent.runtimeDir, '..', 'left.log');
      const read = () => (fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '');
      const script = `${start(file)} while ! grep -q is ${file} 2>/dev/null; do sleep 0.1; done; sleep 1; exit 3`;
      const { code } = await runProgram(['exec', '--runtime-dir', agent.runtimeDir, '--', '/bin/sh', '-c', script]);
      assert.equal(code, 3);
      const pid = Number(/is (\d+)/.exec(read())?.[1]);
      t.after(() => {
        if (isAlive(pid)) process.kill(pid, 'SIGKILL');
      });
      assert.ok(isAlive(pid), 'it goes on');
      assert.equal((await agent.lifetime()).payloads.running, 1, 'and is looked after');
      agent.hostDirs.set('machine', 'shutdowntime', inSecs(6));
      await untilDead(pid);
      assert.match(read(), /left heard TERM/);
      await agent.until('its row goes with it', ({ payloads }) => payloads.running + payloads.stopping === 0);
    });
  }

  test('without a daemon it says that nobody stops them', async () => {
    const run = await runProgram([
      'exec',
      '--runtime-dir',
      NO_DAEMON,
      '--',
      '/bin/sh',
      '-c',
      'sleep 2 >/dev/null 2>&1 &',
    ]);
    assert.equal(run.code, 0);
    assert.match(run.err, /go on in the background/);
  });
});
