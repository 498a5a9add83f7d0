import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { type TestContext, test } from 'node:test';
import type { Hand, HookOutcome, HookProgram, HookRequest } from '../../agent/hand/hand.ts';
import { openHand } from '../../agent/hand/open-hand.ts';
import type { HookRun, Input } from '../../agent/lifetime/types.ts';
import { HOOK_VARIABLES, hookEnvironment } from '../../agent/payloads/hook-environment.ts';
import { hookFailure } from '../../agent/payloads/hook-failure.ts';
import { type HooksOptions, openHooks } from '../../agent/payloads/hooks.ts';
import { OWN_UID, place, readableLog, script, until } from '../hand/fixture.ts';
import { isAlive } from '../support/processes.ts';
import { snapshotOf } from '../support/snapshot.ts';

const emptySnapshot = snapshotOf({}).snapshot;
const NOW = { wall: 1_800_000_000_000, mono: 1_000 };
const NEWS = {
  snapshot: { ...emptySnapshot, phase: 'stopping' as const },
  lifetimeJson: Buffer.from('{"phase":"stopping"}\n'),
};
const STEP = { episode: 1, index: 0, signal: 'hook:save' };

const event = (changes: Partial<HookRun> = {}): HookRun => ({
  id: '1-stopping',
  event: 'stopping',
  byMs: null,
  repeated: false,
  ...changes,
});
const step = (changes: Partial<HookRun> = {}): HookRun => ({
  id: 'p-1/1/0',
  event: 'step',
  file: 'save',
  step: STEP,
  payload: { id: 'p-1', name: 'job', uid: 7, pid: 99 },
  byMs: null,
  repeated: false,
  ...changes,
});

interface Stage {
  readonly dir: string;
  readonly inputs: Input[];
  readonly counted: string[];
  readonly log: ReturnType<typeof readableLog>;
  open(changes?: Partial<HooksOptions>): ReturnType<typeof openHooks>;
  input(type: string, count?: number): Promise<Input>;
  /** What is written down of a run; undefined: nothing. */
  record(run: string): Readonly<Record<string, unknown>> | undefined;
}

function stage(t: TestContext): Stage {
  const dir = place(t);
  const inputs: Input[] = [];
  const counted: string[] = [];
  const log = readableLog();
  const config = { dir: `${dir}/hooks.d`, user: null, timeoutMs: 20_000 };
  const hand = openHand({
    socket: `${dir}/none`,
    hooks: () => config,
    env: {},
    log: log.log,
    uid: OWN_UID,
    scratchDir: `${dir}/runs`,
  });
  return {
    dir,
    inputs,
    counted,
    log,
    open: (changes = {}) =>
      openHooks({
        config,
        hand,
        log: log.log,
        count: (metric, labels) => counted.push(`${metric} ${labels['event']} ${labels['outcome']}`),
        now: () => NOW,
        runtimeDir: '/run/x',
        recordDir: `${dir}/runs`,
        submit: (input) => inputs.push(input),
        procRoot: '/proc',
        uid: OWN_UID,
        env: { LANG: 'C', SECRET: 'x' },
        keptMs: 1,
        ...changes,
      }),
    record(run) {
      const files = fs.existsSync(`${dir}/runs`) ? fs.readdirSync(`${dir}/runs`) : [];
      const texts = files.filter((name) => name.endsWith('.json')).map((name) => readText(`${dir}/runs/${name}`));
      return texts.map((text) => (text === '' ? {} : JSON.parse(text))).find((record) => record.run === run);
    },
    async input(type, count = 1) {
      await until(`${count} × ${type}`, () => inputs.filter((input) => input.type === type).length >= count);
      return inputs.filter((input) => input.type === type)[count - 1] ?? { type: 'tick' };
    },
  };
}

/** Empty where it has just gone. */
function readText(file: string): string {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

const programOf = (record: Readonly<Record<string, unknown>> | undefined): HookProgram => {
  assert.ok(record !== undefined && record['program'] !== null);
  return record['program'] as HookProgram;
};

/** A hand whose programs last until they are told to end. */
function slowHand() {
  const waiting: { readonly request: HookRequest; end(outcome: HookOutcome): void }[] = [];
  const hand: Pick<Hand, 'hook'> = {
    hook: (request) =>
      new Promise((resolve) => {
        waiting.push({ request, end: resolve });
        request.onStarted?.({ pid: 2 ** 22 + waiting.length, startTicks: 1, pipes: [] });
      }),
  };
  const well: HookOutcome = { is: 'ended', code: 0, signal: null, ms: 1 };
  return { hand, waiting, well };
}

test('the files of an event run one after the other, with the Snapshot and what happened', async (t) => {
  const { dir, open, input, counted, log, record } = stage(t);
  const body = `echo "$(basename $0) $MJF_EVENT $MJF_PHASE $MJF_REPEATED $(cat)" >> ${dir}/out`;
  script(`${dir}/hooks.d/stopping/10-a`, `sleep 0.1; ${body}`);
  script(`${dir}/hooks.d/stopping/20-b`, `${body}; exit 3`);
  script(`${dir}/hooks.d/stopping/30-c`, body);
  script(`${dir}/hooks.d/draining/10-a`, body);
  const hooks = open();
  hooks.run(event(), NEWS);
  assert.deepEqual(await input('hook_ended'), { type: 'hook_ended', run: '1-stopping' });
  const told = 'stopping stopping 0 {"phase":"stopping"}';
  assert.equal(fs.readFileSync(`${dir}/out`, 'utf8'), `10-a ${told}\n20-b ${told}\n30-c ${told}\n`);
  assert.deepEqual(
    counted,
    ['ok', 'failed', 'ok'].map((outcome) => `mjf_hooks_total stopping ${outcome}`),
  );
  const failed = log.lines.find((line) => line['event'] === 'hook_failed');
  assert.deepEqual([failed?.['hook'], failed?.['code']], ['stopping/20-b', 3]);
  // Whoever else hears of the event may not be through with it yet: until then the heart does not know.
  assert.deepEqual(
    [record('1-stopping')?.['program'], record('1-stopping')?.['file'], record('1-stopping')?.['over']],
    [null, '30-c', true],
  );
  hooks.settled('1-stopping');
  await until('no records', () => fs.readdirSync(`${dir}/runs`).length === 0);
});

test('a run whose programs have ended is not begun again, however often the heart asks before it knows', async (t) => {
  const { dir, open, input, inputs, record } = stage(t);
  for (const name of ['10-a', '20-b']) script(`${dir}/hooks.d/stopping/${name}`, `echo ${name} >> ${dir}/out`);
  let hooks = open();
  hooks.run(event(), NEWS);
  await input('hook_ended');
  // A file that came meanwhile is not part of it.
  script(`${dir}/hooks.d/stopping/30-new`, `echo new >> ${dir}/out`);
  for (const count of [2, 3]) {
    hooks.stop();
    hooks = open();
    hooks.run(event({ repeated: true }), NEWS);
    await input('hook_ended', count);
  }
  assert.equal(fs.readFileSync(`${dir}/out`, 'utf8'), '10-a\n20-b\n');
  assert.equal(inputs.length, 3);
  hooks.settled('1-stopping');
  await until('no record', () => record('1-stopping') === undefined);
});

test('what was skipped for want of time stays skipped, though the deadline is gone when the heart asks again', async (t) => {
  const { dir, open, input, counted } = stage(t);
  script(`${dir}/hooks.d/stopping/10-a`, 'exec sleep 100');
  script(`${dir}/hooks.d/stopping/20-b`, `touch ${dir}/ran`);
  const first = open();
  first.run(event({ byMs: NOW.wall + 300 }), NEWS);
  first.run(event({ id: '2-stopping', byMs: NOW.wall }), NEWS);
  await input('hook_ended', 2);
  first.stop();
  const second = open();
  second.run(event({ repeated: true }), NEWS);
  second.run(event({ id: '2-stopping', repeated: true }), NEWS);
  await input('hook_ended', 4);
  assert.equal(fs.existsSync(`${dir}/ran`), false);
  assert.deepEqual(counted.map((line) => line.replace('mjf_hooks_total stopping ', '')).sort(), [
    'skipped',
    'skipped',
    'skipped',
    'timeout',
  ]);
});

test('what an earlier agent left is claimed when the heart asks, however long it has to wait for its turn', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { dir, open, inputs, record } = stage(t);
  const turns = async (): Promise<void> => {
    for (let n = 0; n < 20; n += 1) await new Promise((resolve) => setImmediate(resolve));
  };
  script(`${dir}/hooks.d/steps/save`, 'x');
  const before = slowHand();
  const first = open({ hand: before.hand });
  first.run(step(), NEWS);
  await turns();
  assert.equal(before.waiting.length, 1);
  first.stop();

  const { hand, waiting, well } = slowHand();
  const second = open({ hand });
  assert.equal(waiting.length, 1, 'followed');
  waiting[0]?.end(well);
  for (let n = 0; n < 16; n += 1) second.run(step({ id: `p-2/1/${n}` }), NEWS);
  await turns();
  assert.equal(waiting.length, 17);
  second.run(step({ repeated: true }), NEWS);
  const reported = inputs.filter(({ type }) => type === 'steps_done');
  assert.equal(reported.length, 1 + 16 + 1, 'reported at once');
  t.mock.timers.tick(120_000);
  assert.notEqual(record('p-1/1/0'), undefined, 'the next agent must know of it too');
  for (const { end } of waiting) end(well);
  await turns();
  assert.equal(waiting.length, 17, 'not started again');
});

test('two long names of runs have a record each', async (t) => {
  const { dir, open, record } = stage(t);
  script(`${dir}/hooks.d/steps/save`, 'x');
  const { hand, waiting } = slowHand();
  const hooks = open({ hand });
  const ids = ['a', 'b'].map((end) => `p-${'long'.repeat(100)}/${end}`);
  for (const id of ids) hooks.run(step({ id }), NEWS);
  await until('both', () => waiting.length === 2);
  for (const id of ids) assert.equal(record(id)?.['run'], id);
  hooks.stop();
});

test('an event without files ends at once', async (t) => {
  const { open, input } = stage(t);
  open().run(event(), NEWS);
  assert.deepEqual(await input('hook_ended'), { type: 'hook_ended', run: '1-stopping' });
});

test('a step is done when its program was started, not when it ends; hooks do not wait for each other', async (t) => {
  const { dir, open, inputs, input } = stage(t);
  script(`${dir}/hooks.d/steps/save`, 'x');
  script(`${dir}/hooks.d/stopping/a`, 'x');
  const { hand, waiting, well } = slowHand();
  const hooks = open({ hand });
  hooks.run(event(), NEWS);
  hooks.run(step(), NEWS);
  hooks.run(event({ id: '2-stopping' }), NEWS);
  await until('three programs', () => waiting.length === 3);
  assert.deepEqual(inputs, [
    { type: 'steps_done', results: [{ id: 'p-1', step: STEP, outcome: 'delivered', at: NOW }] },
  ]);
  for (const { end } of waiting) end(well);
  await input('hook_ended', 2);
  assert.equal(inputs.filter(({ type }) => type === 'steps_done').length, 1);
});

test('a step whose program is not there, or may not be run, is reported so', async (t) => {
  const { dir, open, input } = stage(t);
  script(`${dir}/hooks.d/steps/open`, 'true', 0o777);
  const hooks = open();
  hooks.run(step(), NEWS);
  const missing = await input('steps_done');
  assert.equal(missing.type === 'steps_done' && missing.results[0]?.outcome, 'no_process');
  hooks.run(step({ file: 'open', id: 'p-1/1/1' }), NEWS);
  const refused = await input('steps_done', 2);
  assert.equal(refused.type === 'steps_done' && refused.results[0]?.outcome, 'refused');
});

for (const [what, body, detail] of [
  ['ends with an exit code', 'exit 3', 'save ended with exit code 3'],
  ['is ended by a signal', 'kill -9 $$', 'save was ended by SIGKILL'],
  ['has no time left', 'exec sleep 100', 'save was ended: its time was over'],
] as const) {
  test(`the program of a step ${what}: its start is told first, then what the site is to know`, async (t) => {
    const { dir, open, inputs, input, record } = stage(t);
    script(`${dir}/hooks.d/steps/save`, body);
    open().run(step({ byMs: NOW.wall + 500 }), NEWS);
    assert.deepEqual(await input('step_failed'), { type: 'step_failed', id: 'p-1', step: STEP, detail });
    assert.deepEqual(
      inputs.map(({ type }) => type),
      ['steps_done', 'step_failed'],
    );
    await until('no record', () => record('p-1/1/0') === undefined);
  });
}

test('the program of a step ends well: the heart hears of it', async (t) => {
  const { dir, open, inputs, input } = stage(t);
  script(`${dir}/hooks.d/steps/save`, 'true');
  open().run(step(), NEWS);
  assert.deepEqual(await input('step_ended'), { type: 'step_ended', id: 'p-1', step: STEP });
  assert.deepEqual(
    inputs.map(({ type }) => type),
    ['steps_done', 'step_ended'],
  );
});

test('a step whose program cannot be run has failed: nothing is saved', async (t) => {
  const { dir, open, input } = stage(t);
  script(`${dir}/hooks.d/steps/save`, 'true', 0o777);
  const lost: Pick<Hand, 'hook'> = { hook: () => Promise.reject(new Error('a fault')) };
  open().run(step(), NEWS);
  open().run(step({ file: 'missing' }), NEWS);
  open().run(step({ byMs: NOW.wall - 1 }), NEWS);
  open({ hand: lost }).run(step(), NEWS);
  await input('step_failed', 4);
  const details = [1, 2, 3, 4].map(async (nth) => {
    const failed = await input('step_failed', nth);
    return failed.type === 'step_failed' ? failed.detail : '';
  });
  assert.deepEqual((await Promise.all(details)).sort(), [
    'missing was not run: not_found',
    'save was not run: a fault of the agent',
    'save was not run: its time was over',
    'save was not run: refused',
  ]);
});

test('what the site reads of a program is one short line of ASCII without a path', () => {
  const ended: HookOutcome = { is: 'ended', code: 1, signal: null, ms: 1 };
  assert.equal(hookFailure('/etc/secret/na\u00efve\nname', ended), 'na?ve?name ended with exit code 1');
  const long = hookFailure('x'.repeat(255), { is: 'not_run', code: 'y'.repeat(255), detail: '/etc/secret' }) ?? '';
  assert.match(long, /^x{64} was not run: y+$/);
  assert.equal(long.length, 120);
});

test('the deadline bounds a program, and after it the rest of the event is not run', async (t) => {
  const { dir, open, input, counted, log } = stage(t);
  script(`${dir}/hooks.d/stopping/10-a`, 'exec sleep 100');
  script(`${dir}/hooks.d/stopping/20-b`, `touch ${dir}/ran`);
  open().run(event({ byMs: NOW.wall + 500 }), NEWS);
  await input('hook_ended');
  assert.deepEqual(
    counted,
    ['timeout', 'skipped'].map((outcome) => `mjf_hooks_total stopping ${outcome}`),
  );
  const skipped = log.lines.find((line) => line['event'] === 'hook_skipped');
  assert.deepEqual(skipped?.['files'], ['20-b']);
  assert.equal(fs.existsSync(`${dir}/ran`), false);
});

test('a run whose time is over before it begins is skipped whole; a step then counts as refused', async (t) => {
  const { dir, open, input, counted } = stage(t);
  script(`${dir}/hooks.d/stopping/10-a`, `touch ${dir}/ran`);
  script(`${dir}/hooks.d/steps/save`, `touch ${dir}/ran`);
  const hooks = open();
  hooks.run(event({ byMs: NOW.wall }), NEWS);
  await input('hook_ended');
  hooks.run(step({ byMs: NOW.wall - 1 }), NEWS);
  const done = await input('steps_done');
  assert.equal(done.type === 'steps_done' && done.results[0]?.outcome, 'refused');
  assert.deepEqual(counted, ['mjf_hooks_total stopping skipped', 'mjf_hooks_total step skipped']);
  assert.equal(fs.existsSync(`${dir}/ran`), false);
});

test('no more than sixteen programs at once, the machine’s own events first; too many are refused', async (t) => {
  const { dir, open, inputs } = stage(t);
  script(`${dir}/hooks.d/stopping/a`, 'x');
  const { hand, waiting, well } = slowHand();
  const hooks = open({ hand });
  for (let n = 0; n < 2_100; n += 1) hooks.run(step({ id: `p-${n}/1/0` }), NEWS);
  const refused = inputs.filter((one) => one.type === 'steps_done' && one.results[0]?.outcome === 'refused');
  assert.equal(refused.length, 2_100 - 16 - 2_048);
  await until('sixteen', () => waiting.length === 16);
  waiting[0]?.end(well);
  await until('one more', () => waiting.length === 17);
  hooks.run(event(), NEWS);
  waiting[1]?.end(well);
  await until('the event', () => waiting.length === 18);
  assert.equal(waiting[17]?.request.directory, 'stopping');
  hooks.stop();
  for (const { end } of waiting) end(well);
});

test('what is left out is told once for each reason', async (t) => {
  const { dir, open, log } = stage(t);
  script(`${dir}/hooks.d/stopping/a.bak`, 'true');
  const file = script(`${dir}/hooks.d/notice/b`, 'true', 0o777);
  const hooks = open();
  const told = () => log.lines.filter((line) => line['event'] === 'hook_left_out').map((line) => line['hook']);
  assert.deepEqual(told(), ['notice/b', 'stopping/a.bak'], 'at the start already');
  hooks.run(event(), NEWS);
  hooks.reconfigure({ dir: `${dir}/hooks.d`, user: null, timeoutMs: 1000 });
  assert.equal(told().length, 2);
  fs.chmodSync(file, 0o644);
  hooks.reconfigure({ dir: `${dir}/hooks.d`, user: null, timeoutMs: 1000 });
  assert.equal(told().length, 3);
});

test('output goes to the log', async (t) => {
  const { dir, open, input, log } = stage(t);
  script(`${dir}/hooks.d/stopping/a`, 'echo to the log >&2');
  open().run(event(), NEWS);
  await input('hook_ended');
  const line = await log.until('hook_output');
  assert.deepEqual([line['hook'], line['stream'], line['line']], ['stopping/a', 'stderr', 'to the log']);
});

test('an agent that stops starts nothing more, and the next one follows what runs and does the rest', async (t) => {
  const { dir, open, inputs, input, log, record } = stage(t);
  script(`${dir}/hooks.d/stopping/10-a`, `echo a >> ${dir}/out`);
  script(
    `${dir}/hooks.d/stopping/20-b`,
    `echo b >> ${dir}/out; until [ -e ${dir}/go ]; do sleep 0.02; done; echo said`,
  );
  script(`${dir}/hooks.d/stopping/30-c`, `echo "c $MJF_REPEATED" >> ${dir}/out`);
  const first = open();
  first.run(event(), NEWS);
  await until(
    'the second file',
    () => fs.existsSync(`${dir}/out`) && fs.readFileSync(`${dir}/out`, 'utf8') === 'a\nb\n',
  );
  first.stop();
  const { pid } = programOf(record('1-stopping'));
  t.after(() => {
    if (isAlive(pid)) process.kill(-pid, 'SIGKILL');
  });
  assert.ok(isAlive(pid));

  const second = open();
  second.run(event({ repeated: true }), NEWS);
  await log.until('hook_followed');
  assert.deepEqual(inputs, []);
  fs.writeFileSync(`${dir}/go`, '');
  await input('hook_ended');
  assert.equal(fs.readFileSync(`${dir}/out`, 'utf8'), 'a\nb\nc 1\n', 'nothing ran twice');
  assert.equal(inputs.length, 1, 'the first one reports nothing any more');
});

test('a run that a crash interrupted between two files goes on with the next one', async (t) => {
  const { dir, open, input } = stage(t);
  for (const name of ['10-a', '20-b']) script(`${dir}/hooks.d/stopping/${name}`, `echo ${name} >> ${dir}/out`);
  const { hand, waiting } = slowHand();
  const first = open({ hand });
  first.run(event(), NEWS);
  await until('the first file', () => waiting.length === 1);
  // Its program is of no process: it has ended meanwhile.
  first.stop();
  open().run(event({ repeated: true }), NEWS);
  await input('hook_ended');
  assert.equal(fs.readFileSync(`${dir}/out`, 'utf8'), '20-b\n');
});

test('a step that was started before the crash is reported, and not started again', async (t) => {
  const { dir, open, input, record } = stage(t);
  script(`${dir}/hooks.d/steps/save`, `echo x >> ${dir}/out; exec sleep 100`);
  const first = open();
  first.run(step(), NEWS);
  await input('steps_done');
  const { pid } = programOf(record('p-1/1/0'));
  t.after(() => {
    if (isAlive(pid)) process.kill(-pid, 'SIGKILL');
  });
  await until('its output', () => readText(`${dir}/out`) === 'x\n');
  first.stop();
  open().run(step({ repeated: true }), NEWS);
  const done = await input('steps_done', 2);
  assert.equal(done.type === 'steps_done' && done.results[0]?.outcome, 'delivered');
  process.kill(-pid, 'SIGKILL');
  await until('the end of the run', () => record('p-1/1/0') === undefined);
  assert.equal(readText(`${dir}/out`), 'x\n');
});

test('how a step ended is told to the heart again by the next agent: it may not have heard of it', async (t) => {
  const { dir, open, inputs, input } = stage(t);
  script(`${dir}/hooks.d/steps/save`, 'x');
  const failed: HookOutcome = { is: 'ended', code: 3, signal: null, ms: 1 };
  const before = slowHand();
  const first = open({ hand: before.hand, keptMs: 100_000 });
  for (let n = 0; n < 2; n += 1) first.run(step({ id: `p-${n}/2/0` }), NEWS);
  await until('both', () => before.waiting.length === 2);
  before.waiting[0]?.end(failed);
  before.waiting[1]?.end(before.well);
  await input('step_ended');
  first.stop();
  inputs.length = 0;
  open();
  assert.equal(inputs.length, 0, 'not before the heart beats');
  await input('step_ended');
  const of = (id: string) => ({ id, step: { ...STEP, episode: 2 } });
  assert.deepEqual(
    inputs.sort((a, b) => (a.type < b.type ? -1 : 1)),
    [
      { type: 'step_ended', ...of('p-1') },
      { type: 'step_failed', ...of('p-0'), detail: 'save ended with exit code 3' },
    ],
  );
});

test('a step that still runs is followed to its end, whether the heart asks for it or not', async (t) => {
  for (const asks of [true, false]) {
    const { dir, open, inputs, input } = stage(t);
    script(`${dir}/hooks.d/steps/save`, 'x');
    const before = slowHand();
    const first = open({ hand: before.hand });
    first.run(step(), NEWS);
    await until('begun', () => before.waiting.length === 1);
    first.stop();
    // Killed while it runs: what it would have said is not reported by who has stopped.
    before.waiting[0]?.end({ is: 'ended', code: null, signal: null, ms: 1 });
    inputs.length = 0;
    const after = slowHand();
    const second = open({ hand: after.hand });
    if (asks) second.run(step({ repeated: true }), NEWS);
    after.waiting[0]?.end({ is: 'timeout', ms: 1 });
    const detail = 'save was ended: its time was over';
    assert.deepEqual(await input('step_failed'), { type: 'step_failed', id: 'p-1', step: STEP, detail });
    assert.equal(after.waiting.length, 1);
    assert.deepEqual(
      inputs.map(({ type }) => type),
      asks ? ['steps_done', 'step_failed'] : ['step_failed'],
    );
    if (asks) continue;
    second.stop();
    open();
    await input('step_failed', 2);
  }
});

test('of a program that was followed to an end that nobody knows neither is said', async (t) => {
  const { dir, open, inputs, record } = stage(t);
  script(`${dir}/hooks.d/steps/save`, 'x');
  const before = slowHand();
  const first = open({ hand: before.hand });
  first.run(step(), NEWS);
  await until('begun', () => before.waiting.length === 1);
  first.stop();
  inputs.length = 0;
  const after = slowHand();
  open({ hand: after.hand }).run(step({ repeated: true }), NEWS);
  after.waiting[0]?.end({ is: 'ended', code: null, signal: null, ms: 1 });
  await until('forgotten', () => record('p-1/1/0') === undefined);
  assert.deepEqual(
    inputs.map(({ type }) => type),
    ['steps_done'],
  );
});

test('a run that is not asked for again is forgotten once its program has ended', async (t) => {
  const { dir, open, record } = stage(t);
  script(`${dir}/hooks.d/stopping/10-a`, '');
  const first = slowHand();
  const before = open({ hand: first.hand });
  before.run(event(), NEWS);
  await until('begun', () => first.waiting.length === 1);
  before.stop();
  const next = slowHand();
  const hooks = open({ hand: next.hand });
  await until('followed', () => next.waiting.length === 1);
  hooks.settled('1-stopping');
  assert.ok(programOf(record('1-stopping')).pid > 0, 'still followed, by the next agent too');
  next.waiting[0]?.end(next.well);
  await until('no record', () => record('1-stopping') === undefined);
});

test('a program is uncertain only where it is started again: not one that ended, nor one that is followed', async (t) => {
  const { dir, open, input, log, counted, inputs } = stage(t);
  for (const name of ['10-a', '20-b']) script(`${dir}/hooks.d/stopping/${name}`, 'true');
  const uncertain = () => log.lines.filter((line) => line['event'] === 'hook_uncertain').map((line) => line['hook']);
  const before = open();
  before.run(event(), NEWS);
  await input('hook_ended');
  before.stop();
  open().run(event({ repeated: true }), NEWS);
  await input('hook_ended', 2);
  assert.deepEqual(uncertain(), []);
  open().run(event({ id: '2-stopping', repeated: true }), NEWS);
  await until('the other', () => inputs.some((each) => each.type === 'hook_ended' && each.run === '2-stopping'));
  assert.deepEqual(uncertain(), ['stopping/10-a', 'stopping/20-b']);
  assert.equal(counted.filter((line) => line.startsWith('mjf_hooks_uncertain_total')).length, 2);
});

test('records that are damaged, foreign or of another boot are forgotten', async (t) => {
  const { dir, open, input } = stage(t);
  script(`${dir}/hooks.d/stopping/10-a`, `echo a >> ${dir}/out`);
  fs.mkdirSync(`${dir}/runs`);
  const program = { pid: process.pid, startTicks: 1, pipes: [] };
  const record = { run: '1-stopping', directory: 'stopping', file: '10-a', program, over: false, untilMs: NOW.wall };
  const name = `run-${createHash('sha256').update('1-stopping').digest('hex')}.json`;
  const boot = fs.readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
  for (const text of [
    '{',
    JSON.stringify({ ...record, boot: 'another' }),
    JSON.stringify({ ...record, boot, program: { ...program, pid: 1 } }),
    JSON.stringify({ ...record, boot, program: { ...program, pid: -1 } }),
    JSON.stringify({ ...record, boot, run: '../../x' }),
    'x'.repeat(100_000),
  ]) {
    fs.writeFileSync(`${dir}/runs/${name}`, text);
    open().run(event({ repeated: true }), NEWS);
    await until(`the run after ${text.slice(0, 40)}`, () => fs.existsSync(`${dir}/out`));
    fs.rmSync(`${dir}/out`);
  }
  await input('hook_ended', 6);
  fs.rmSync(`${dir}/runs/${name}`);
  fs.mkdirSync(`${dir}/runs/hook-aB3xyz`);
  fs.writeFileSync(`${dir}/runs/run-x.json.new`, '{');
  fs.writeFileSync(`${dir}/runs/journal`, 'not ours');
  open();
  assert.deepEqual(fs.readdirSync(`${dir}/runs`), ['journal']);
});

test('where no record can be written hooks run all the same', async (t) => {
  const { dir, open, input, log } = stage(t);
  script(`${dir}/hooks.d/stopping/10-a`, `echo a >> ${dir}/out`);
  fs.writeFileSync(`${dir}/file`, '');
  open({ recordDir: `${dir}/file/below` }).run(event(), NEWS);
  await input('hook_ended');
  assert.ok(fs.existsSync(`${dir}/out`));
  await log.until('hook_records_failed');
});

test('the environment: one line each, of bounded length, nothing where there is nothing to say', () => {
  const snapshot = {
    ...emptySnapshot,
    deadlineMs: 1_800_000_090_999,
    localDeadlineMs: 1_800_000_060_999,
    reason: 'a\nb\0c'.repeat(500),
  };
  const names = new Set(HOOK_VARIABLES.map(({ name }) => name));
  const context = { snapshot, now: NOW, runtimeDir: '/run/x', lang: 'de_CH.UTF-8; rm' };
  const notice = { id: 'ec2/spot', kind: 'terminate' as const, deadlineMs: 1_800_000_090_000 };
  const env = hookEnvironment({ ...context, run: event({ event: 'notice', notice }) });
  assert.equal(env['MJF_DEADLINE'], '1800000090');
  assert.equal(env['MJF_REMAINING_SECS'], '60', 'on this machine’s clock');
  assert.equal(env['MJF_NOTICE_ID'], 'ec2/spot');
  assert.equal(env['MJF_NOTICE_DEADLINE'], '1800000090');
  assert.equal(env['LANG'], 'C.UTF-8');
  assert.equal(env['MACHINEFEATURES'], '/run/x/machinefeatures');
  assert.ok(!('MJF_PAYLOAD_ID' in env));
  assert.match(env['MJF_REASON'] ?? '', /^[a-c ]{1024}$/);
  const of = hookEnvironment({ ...context, run: step({ byMs: NOW.wall - 5_000, repeated: true }) });
  assert.deepEqual(
    [of['MJF_PAYLOAD_ID'], of['MJF_PAYLOAD_NAME'], of['MJF_PAYLOAD_PID'], of['MJF_PAYLOAD_UID'], of['MJF_REPEATED']],
    ['p-1', 'job', '99', '7', '1'],
  );
  assert.equal(of['MJF_REMAINING_SECS'], '0');
  assert.equal('MJF_CAN_TERMINATE' in env || 'MJF_CAN_TERMINATE' in of, false);
  for (const canTerminate of [true, false]) {
    const answer = hookEnvironment({ ...context, run: event({ event: 'can_terminate', canTerminate }) });
    assert.equal(answer['MJF_CAN_TERMINATE'], canTerminate ? '1' : '0');
    assert.ok(names.has('MJF_CAN_TERMINATE'));
  }
  for (const name of [...Object.keys(env), ...Object.keys(of)]) assert.ok(names.has(name), name);
  const quiet = hookEnvironment({ ...context, snapshot: emptySnapshot, run: event() });
  for (const name of ['MJF_DEADLINE', 'MJF_REMAINING_SECS', 'MJF_REASON']) assert.ok(!(name in quiet), name);
});
