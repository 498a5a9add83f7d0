import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import type { HookOutcome, HookProgram } from '../../agent/hand/hand.ts';
import { LINE_LIMITS } from '../../agent/hand/lines.ts';
import { followProgram, runProgram, type StartOptions } from '../../agent/hand/program.ts';
import { processLives } from '../../agent/payloads/process.ts';
import { isAlive, untilDead } from '../support/processes.ts';
import { bounded, isRoot, OWN_UID, place, script, until } from './fixture.ts';

interface Run {
  readonly dir: string;
  readonly lines: string[];
  readonly program: Promise<HookProgram>;
  readonly outcome: Promise<HookOutcome>;
}

function run(t: TestContext, body: string, changes: Partial<StartOptions> = {}): Run {
  const dir = place(t);
  const file = script(`${dir}/hooks/a`, body);
  const lines: string[] = [];
  let onStarted: (program: HookProgram) => void = () => {};
  const program = new Promise<HookProgram>((resolve) => {
    onStarted = resolve;
  });
  let pid = 0;
  t.after(() => {
    if (pid > 1) endGroup(pid);
  });
  const outcome = runProgram(file, {
    env: { PATH: '/usr/bin:/bin', DIR: dir },
    stdin: 'the snapshot\n',
    timeoutMs: 20_000,
    scratchDir: `${dir}/scratch`,
    procRoot: '/proc',
    onLine: (stream, line) => lines.push(`${stream} ${line}`),
    onStarted: (started) => {
      pid = started.pid;
      onStarted(started);
    },
    ...changes,
  });
  return { dir, lines, program: bounded('the start', program), outcome: bounded('the end', outcome) };
}

function endGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

const AS_OURSELVES = { procRoot: '/proc', uid: OWN_UID, onLine: () => {} };

/** Obeys, and leaves a child behind in its group that does not. */
const LEAVES_CHILD = 'sh -c \'trap "" TERM; echo child $$; while :; do sleep 0.1; done\' & exec sleep 100';

async function childOf({ lines }: Run): Promise<number> {
  const find = (): number => Number(/child (\d+)/.exec(lines.join())?.[1] ?? 0);
  await until('its child', () => find() > 1);
  return find();
}

const withoutMs = (outcome: HookOutcome) => ({ ...outcome, ms: 0 });

test('standard input is the whole text, output comes as lines, the code is told, nothing is left behind', async (t) => {
  const { dir, lines, program, outcome } = run(
    t,
    'cat; cat /dev/stdin; echo oops >&2; echo again > /dev/stderr; pwd; exit 3',
  );
  assert.deepEqual(withoutMs(await outcome), { is: 'ended', code: 3, signal: null, ms: 0 });
  assert.ok(lines.includes('stdout the snapshot'), lines.join());
  assert.deepEqual(
    lines.filter((line) => line.startsWith('stderr')),
    ['stderr oops', 'stderr again'],
  );
  assert.ok(lines.includes('stdout /'));
  assert.deepEqual(fs.readdirSync(`${dir}/scratch`), []);
  assert.equal(processLives(await program, '/proc'), false);
});

test('it has a session of its own, and exactly the environment that it was given', async (t) => {
  const { lines, program, outcome } = run(t, 'tr "\\0" "\\n" < /proc/$$/environ; cut -d" " -f5,6 /proc/$$/stat', {
    env: { PATH: '/usr/bin:/bin', MJF_EVENT: 'x y' },
  });
  await outcome;
  const { pid } = await program;
  assert.deepEqual(lines.sort(), [`stdout ${pid} ${pid}`, 'stdout MJF_EVENT=x y', 'stdout PATH=/usr/bin:/bin'].sort());
});

test('input larger than any pipe arrives whole, though nobody reads it at first', async (t) => {
  const stdin = 'x'.repeat(3_000_000);
  const { lines, outcome } = run(t, 'sleep 0.1; wc -c', { stdin });
  await outcome;
  assert.deepEqual(lines, ['stdout 3000000']);
});

test('when its time is over it gets SIGTERM, and may clean up', async (t) => {
  const body = 'trap "echo bye; exit 0" TERM; echo ready; sleep 100 & wait';
  const { lines, outcome } = run(t, body, { timeoutMs: 1_000 });
  assert.equal((await outcome).is, 'timeout');
  assert.deepEqual(lines, ['stdout ready', 'stdout bye']);
});

test('what ignores SIGTERM gets SIGKILL, its children too', async (t) => {
  const body =
    'trap "" TERM; sh -c \'trap "" TERM; echo child $$; while :; do sleep 0.1; done\' & while :; do sleep 0.1; done';
  const { lines, program, outcome } = run(t, body, { timeoutMs: 1_000 });
  assert.equal((await outcome).is, 'timeout');
  const child = Number(/child (\d+)/.exec(lines.join())?.[1]);
  assert.ok(child > 1);
  await untilDead(child);
  assert.equal(isAlive((await program).pid), false);
});

test('a leader that obeys leaves nobody behind who does not', async (t) => {
  const { lines, outcome } = run(t, LEAVES_CHILD, { timeoutMs: 1_000 });
  assert.equal((await outcome).is, 'timeout');
  const child = Number(/child (\d+)/.exec(lines.join())?.[1]);
  assert.ok(child > 1);
  await untilDead(child);
});

test('it can be called off', async (t) => {
  const abort = new AbortController();
  const { program, outcome } = run(t, 'sleep 100', { signal: abort.signal, timeoutMs: 600_000 });
  await program;
  abort.abort();
  assert.equal((await outcome).is, 'timeout');
});

test('a child that it leaves running holds nobody up', async (t) => {
  const { lines, outcome } = run(t, 'sleep 100 & echo $!');
  const ended = await outcome;
  assert.deepEqual(withoutMs(ended), { is: 'ended', code: 0, signal: null, ms: 0 });
  const left = Number(lines[0]?.split(' ')[1]);
  assert.ok(isAlive(left), 'a hook may start a service');
  process.kill(left, 'SIGKILL');
});

test('output is bounded in lines and in length, and told of', async (t) => {
  const body = 'head -c 5000 /dev/zero | tr "\\0" x; echo; yes | head -n 100000; echo';
  const { lines, outcome } = run(t, body);
  assert.deepEqual(withoutMs(await outcome), { is: 'ended', code: 0, signal: null, ms: 0 });
  assert.equal(lines[0], `stdout ${'x'.repeat(LINE_LIMITS.bytes)}…`);
  assert.ok(lines.length <= LINE_LIMITS.lines + 2, `${lines.length}`);
  assert.match(lines.at(-1) ?? '', /^stdout \(\d+ more lines were left out\)$/);
});

test('what cannot be started is said, and no descriptor is lost', async (t) => {
  const before = fs.readdirSync('/proc/self/fd').length;
  const dir = place(t);
  const options = { env: {}, stdin: '', timeoutMs: 1000, scratchDir: dir, procRoot: '/proc', onLine: () => {} };
  const missing = await runProgram(`${dir}/none`, options);
  assert.deepEqual(missing, { is: 'not_run', code: 'failed', detail: 'it cannot be started (not_found)' });
  const place2 = path.join(script(`${dir}/file/a`, ''), 'below');
  const noScratch = await runProgram('/bin/true', { ...options, scratchDir: place2 });
  assert.ok(noScratch.is === 'not_run' && noScratch.detail.startsWith('no pipes for it'));
  await until('closed descriptors', () => fs.readdirSync('/proc/self/fd').length <= before);
});

test('a program goes on when the one that started it ends, and is followed by the next', async (t) => {
  const dir = place(t);
  // More than the pipe holds, while nobody reads it.
  const body = `yes | head -c 200000; until [ -e ${dir}/go ]; do echo tick; sleep 0.02; done; echo "last word"; touch ${dir}/done`;
  const file = script(`${dir}/hooks/a`, body);
  const module = new URL('../../agent/hand/program.ts', import.meta.url).href;
  const first = `
    const loaded = await import(${JSON.stringify(module)});
    const { runProgram } = loaded.default ?? loaded;
    void runProgram(${JSON.stringify(file)}, { env: { PATH: '/usr/bin:/bin' }, stdin: '', timeoutMs: 20000, procRoot: '/proc',
      scratchDir: ${JSON.stringify(dir)}, onLine() {},
      onStarted: (program) => { require('node:fs').writeSync(1, JSON.stringify(program)); process.kill(process.pid, 'SIGKILL'); } });
    setTimeout(() => {}, 20000);`;
  const { spawnSync } = await import('node:child_process');
  const tsx = new URL(import.meta.resolve('tsx')).href;
  const agent = spawnSync(process.execPath, ['--import', tsx, '-e', `(async () => {${first}})()`], {
    encoding: 'utf8',
  });
  assert.equal(agent.signal, 'SIGKILL', agent.stderr);
  const program: HookProgram = JSON.parse(agent.stdout);
  t.after(() => endGroup(program.pid));
  assert.ok(processLives(program, '/proc'));
  const lines: string[] = [];
  const outcome = followProgram(program, {
    timeoutMs: 20_000,
    procRoot: '/proc',
    uid: OWN_UID,
    onLine: (_, line) => lines.push(line),
  });
  await until('its output', () => lines.includes('y'));
  fs.writeFileSync(`${dir}/go`, '');
  assert.deepEqual(withoutMs(await bounded('the end', outcome)), { is: 'ended', code: null, signal: null, ms: 0 });
  assert.ok(fs.existsSync(`${dir}/done`));
});

test('another process under the same number is not followed, let alone signalled', async (t) => {
  const { program, outcome } = run(t, 'echo ready; sleep 100');
  const true_ = await program;
  const other = { ...true_, startTicks: true_.startTicks + 1 };
  const followed = await followProgram(other, { timeoutMs: 1, ...AS_OURSELVES });
  assert.deepEqual(withoutMs(followed), { is: 'ended', code: null, signal: null, ms: 0 });
  assert.ok(isAlive(true_.pid));
  endGroup(true_.pid);
  assert.deepEqual(withoutMs(await outcome), { is: 'ended', code: null, signal: 'SIGKILL', ms: 0 });
});

test('a followed program is ended when its time is over', async (t) => {
  const { program, outcome } = run(t, 'echo ready; sleep 100');
  const followed = await followProgram(await program, { timeoutMs: 500, ...AS_OURSELVES });
  assert.equal(followed.is, 'timeout');
  assert.ok(['SIGTERM', 'SIGKILL'].includes(String(((await outcome) as { signal?: string }).signal)));
});

test('a followed leader that obeys leaves nobody behind who does not', async (t) => {
  const whole = run(t, LEAVES_CHILD);
  const child = await childOf(whole);
  const followed = await followProgram(await whole.program, { timeoutMs: 500, ...AS_OURSELVES });
  assert.equal(followed.is, 'timeout');
  await untilDead(child);
});

test('who became another user in its group is left alone', async (t) => {
  const whole = run(t, LEAVES_CHILD);
  const child = await childOf(whole);
  // As if it had been started as somebody else: the program itself is ours all the same.
  const followed = await followProgram(await whole.program, { timeoutMs: 500, ...AS_OURSELVES, uid: OWN_UID + 4711 });
  assert.equal(followed.is, 'timeout');
  assert.deepEqual(withoutMs(await whole.outcome), { is: 'ended', code: null, signal: 'SIGTERM', ms: 0 });
  assert.ok(isAlive(child));
  process.kill(child, 'SIGKILL');
});

test('as another user it has that user’s groups and none of root’s', {
  skip: isRoot ? false : 'only root can become another user',
}, async (t) => {
  const user = { name: 'nobody', uid: 65534, gid: 65534 };
  const { lines, outcome } = run(
    t,
    'id -u; id -G; echo heard > /dev/stderr; cat /dev/stdin; grep CapEff /proc/$$/status',
    { user },
  );
  assert.deepEqual(withoutMs(await outcome), { is: 'ended', code: 0, signal: null, ms: 0 });
  assert.deepEqual(
    lines.filter((line) => line.startsWith('stdout')),
    ['stdout 65534', 'stdout 65534', 'stdout the snapshot', 'stdout CapEff:\t0000000000000000'],
  );
  assert.ok(lines.includes('stderr heard'));
});
