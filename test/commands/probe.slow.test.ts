import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test, { describe, type TestContext } from 'node:test';
import pino from 'pino';
import { systemClock } from '../../agent/clock.ts';
import { probeScreen } from '../../agent/commands/probe-screen.ts';
import { type Config, loadConfig } from '../../agent/config.ts';
import { hintsOf, isDisappointing } from '../../agent/probe/hints.ts';
import { type Found, type ProbeOptions, probe } from '../../agent/probe/probe.ts';
import type { ProbedSource, ProbeReport } from '../../agent/probe/types.ts';
import { type Choice, chooseSources } from '../../agent/sources/create.ts';
import { NO_FACTS } from '../../agent/sources/facts.ts';
import { sourceOfParts } from '../../agent/sources/parts.ts';
import { type Source, type SourceDefinition, type SourceEnvironment, SourceError } from '../../agent/sources/source.ts';
import { openStateFile } from '../../agent/state.ts';
import { startMjfHost } from '../hosts/mjf.ts';
import { fakeDaemon, lifetime, run } from './cli.ts';
import { golden } from './golden.ts';
import { look } from './screens.ts';

/** What this machine has of a cloud must not matter to a test. */
const PLAIN = ['static', 'directory', 'mjf', 'self'];
const NO_DAEMON = { running: false, phase: null, deadline: null } as const;

function temporary(t: TestContext): string {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-probe-'));
  t.after(() => fs.rmSync(dir, { recursive: true, force: true }));
  return dir;
}

async function configOf(dir: string, change: Partial<Config> = {}): Promise<Config> {
  const loaded = await loadConfig({ env: {}, flags: {}, etcDir: path.join(dir, 'etc') });
  assert.ok(loaded.ok);
  return { ...loaded.config, runtimeDir: path.join(dir, 'run'), stateDir: path.join(dir, 'state'), ...change };
}

interface Setting {
  readonly config?: Partial<Config>;
  readonly fakes?: readonly Choice[];
  readonly env?: ProbeOptions['env'];
  readonly timeoutMs?: number;
}

/** On a machine that shows nothing of itself: the plain sources of the program, and these. */
async function probed(t: TestContext, setting: Setting = {}): Promise<Found> {
  const dir = temporary(t);
  const config = await configOf(dir, setting.config);
  const plain = chooseSources(config, { facts: NO_FACTS }).filter(({ definition }) => PLAIN.includes(definition.name));
  return probe({
    config,
    choices: [...plain, ...(setting.fakes ?? [])],
    facts: NO_FACTS,
    clock: systemClock,
    log: pino({ level: 'silent' }),
    env: setting.env ?? {},
    root: dir,
    self: { command: process.execPath, args: [] },
    timeoutMs: setting.timeoutMs ?? 10_000,
  });
}

/** A platform that was detected, with one source. */
function fake(source: Partial<Source>, change: Partial<SourceDefinition<never>> = {}): Choice {
  const whole: Source = {
    name: 'fake',
    rank: 'platform',
    poll: 'once',
    timeoutMs: 5_000,
    read: async () => ({ outcome: 'answer', answer: {} }),
    ...source,
  };
  const definition = { name: whole.name, schema: {}, detect: () => 'a sign', create: () => [whole], ...change };
  return { definition, used: true, why: 'detected', sign: 'sys_vendor is "Fake"' };
}

const present = (value: string) => ({ is: 'present', value }) as const;
const row = ({ sources }: Pick<ProbeReport, 'sources'>, name: string): ProbedSource =>
  sources.find((each) => each.name === name) ?? assert.fail(`no row ${name}`);

describe('what is read', () => {
  test('a machine that shows nothing: no channel, nothing asked, nothing expected', async (t) => {
    const found = await probed(t);
    assert.deepEqual(found.machine, {
      dmi: {},
      labels: [],
      cloud_id: null,
      hypervisor_uuid: null,
      fw_cfg: false,
    });
    assert.deepEqual(
      found.sources.map(({ name, used, why, outcome }) => [name, used, why, outcome]),
      [
        ['static', false, 'not configured', null],
        ['directory', true, 'always', 'no_channel'],
        ['mjf', false, 'not configured', null],
        ['self', true, 'always', 'answer'],
      ],
    );
    assert.deepEqual([found.would.phase, found.would.deadline], ['running', null]);
    assert.equal(isDisappointing(found), false);
    assert.deepEqual(codes(found), ['nothing_found', 'no_daemon']);
  });

  test('a host’s directory: features with their source, the deadline and when draining and stopping would begin', async (t) => {
    const host = temporary(t);
    const deadline = Math.floor(Date.now() / 1000) + 7_200;
    fs.writeFileSync(path.join(host, 'shutdowntime'), `${deadline}\n`);
    fs.writeFileSync(path.join(host, 'hs06'), '171.04\n');
    const found = await probed(t, { config: { source: { directory: { machinefeatures: host } } } });
    const { would } = found;
    assert.deepEqual(
      [would.phase, would.deadline, would.drain_at, would.stop_at, would.reason],
      ['running', deadline, deadline - 1_800, deadline - 120, 'directory: shutdowntime'],
    );
    assert.deepEqual(
      would.notices.map(({ id, kind, deadline: at }) => [id, kind, at]),
      [['directory/shutdowntime', 'shutdown', deadline]],
    );
    assert.deepEqual(would.machinefeatures['hs06'], { value: '171.04', source: 'directory' });
    assert.equal(row(found, 'directory').why, 'configured');
    assert.equal(isDisappointing(found), false);
  });

  test('an MJF server: every question with its status and time, and no query', async (t) => {
    const host = await startMjfHost({ machine: { total_cpu: '8' } });
    t.after(() => host.close());
    const url = `${host.url}/machinefeatures`;
    const { asked, outcome, why } = row(await probed(t, { env: { MACHINEFEATURES: url } }), 'mjf');
    assert.deepEqual([outcome, why], ['answer', 'environment']);
    const answered = new Map(asked.map((question) => [question.what, question]));
    assert.equal(answered.get(`GET ${url}/total_cpu`)?.answered, '200');
    assert.equal(answered.get(`GET ${url}/shutdowntime`)?.answered, '404');
    assert.equal(asked.length, host.requests.length);
    assert.ok(asked.every(({ took_ms }) => took_ms >= 0));
  });

  test('all at once: two sources that wait for each other both answer', async (t) => {
    let met: () => void = () => {};
    const meeting = new Promise<void>((resolve) => {
      met = resolve;
    });
    let there = 0;
    const read = async () => {
      there += 1;
      if (there === 2) met();
      await meeting;
      return { outcome: 'answer', answer: {} } as const;
    };
    const found = await probed(t, { fakes: [fake({ name: 'one', read }), fake({ name: 'two', read })] });
    assert.deepEqual([row(found, 'one').outcome, row(found, 'two').outcome], ['answer', 'answer']);
  });

  test('one that never answers ends at the bound, and holds nobody up', async (t) => {
    const found = await probed(t, {
      timeoutMs: 300,
      fakes: [
        fake({ name: 'stuck', read: () => new Promise(() => undefined) }),
        fake({ name: 'well', read: async () => ({ outcome: 'answer', answer: keyed('hs06', '7') }) }),
      ],
    });
    assert.deepEqual([row(found, 'stuck').outcome, row(found, 'stuck').error], ['failed', 'timeout']);
    assert.deepEqual(found.would.machinefeatures['hs06'], { value: '7', source: 'well' });
  });

  test('a source of parts is waited for until its slowest part has answered', async (t) => {
    const after = (ms: number, name: string) => ({
      name,
      everyMs: 1_000,
      read: async () => {
        await new Promise((resolve) => setTimeout(resolve, ms));
        return { machine: { [name]: present('1') } };
      },
    });
    const parts = [after(0, 'hs06'), after(300, 'hepscore23')];
    const source = sourceOfParts({ name: 'fake', rank: 'platform', poll: 1_000, timeoutMs: 5_000, parts });
    const { would } = await probed(t, { fakes: [fake(source)] });
    assert.deepEqual(
      ['hs06', 'hepscore23'].map((key) => would.machinefeatures[key]?.source),
      ['fake', 'fake'],
    );
  });

  test('nothing is followed for changes, and everything is closed, also after a failure', async (t) => {
    const closed: string[] = [];
    const watched: string[] = [];
    const kept = (name: string, read: Source['read']) =>
      fake({ name, read, watch: () => void watched.push(name), close: () => void closed.push(name) });
    await probed(t, {
      fakes: [
        kept('good', async () => ({ outcome: 'answer', answer: {} })),
        kept('bad', () => Promise.reject(new SourceError('http_500', 'no'))),
      ],
    });
    assert.deepEqual([closed.sort(), watched], [['bad', 'good'], []]);
  });

  test('sources know that nothing of theirs may stay on the machine', async (t) => {
    let told: boolean | undefined;
    const create = (_config: never, environment: SourceEnvironment) => {
      told = environment.leavesNothing;
      return [];
    };
    const found = await probed(t, { fakes: [fake({ name: 'drive' }, { create })] });
    assert.equal(told, true);
    assert.deepEqual([row(found, 'drive').used, row(found, 'drive').why], [false, 'nothing to ask']);
  });

  test('a source that cannot be made is a failed row, and the others are read', async (t) => {
    const create = () => {
      throw new RangeError('no such zone');
    };
    const found = await probed(t, { fakes: [fake({ name: 'odd' }, { create }), fake({ name: 'even' })] });
    const { outcome, error, detail } = row(found, 'odd');
    assert.deepEqual([outcome, error, detail], ['failed', 'internal', 'no such zone']);
    assert.equal(row(found, 'even').outcome, 'answer');
  });

  test('the maximum lifetime counts from the first boot as the daemon wrote it down, and the state stays as it is', async (t) => {
    const dir = temporary(t);
    const stateDir = path.join(dir, 'state');
    const firstBootMs = Date.now() - 86_400_000;
    const machine = { machineId: 'unknown', bootId: 'unknown' };
    const log = pino({ level: 'silent' });
    const common = { dir: stateDir, ...machine, log, onError: assert.fail, nowMs: Date.now() };
    const file = openStateFile({ ...common, bootWallMs: firstBootMs });
    await file.flush();
    const before = fs.readFileSync(path.join(stateDir, 'state.json'), 'utf8');
    const found = await probed(t, { config: { stateDir, source: { static: { max_lifetime: '48h' } } } });
    assert.equal(found.would.deadline, Math.floor((firstBootMs + 48 * 3_600_000) / 1000));
    assert.deepEqual(fs.readdirSync(stateDir), ['state.json']);
    assert.equal(fs.readFileSync(path.join(stateDir, 'state.json'), 'utf8'), before);
  });
});

describe('places that the metadata names', () => {
  const pointing = (pointers: Readonly<Record<string, string>>) =>
    fake({ read: async () => ({ outcome: 'answer', answer: { pointers } }) });

  test('are asked in a second round; nothing secret of their URLs is shown', async (t) => {
    const host = await startMjfHost({ machine: { total_cpu: '8' }, job: { job_id: 'abc' } });
    t.after(() => host.close());
    const joboutputs = 'https://me:geheim@site.example/out?key=geheim#geheim';
    const found = await probed(t, {
      fakes: [pointing({ machinefeatures: `${host.url}/machinefeatures`, joboutputs })],
    });
    assert.deepEqual(found.pointers, {
      machinefeatures: `${host.url}/machinefeatures`,
      joboutputs: 'https://site.example/out',
    });
    assert.deepEqual([row(found, 'mjf').why, row(found, 'mjf').outcome], ['metadata', 'answer']);
    assert.deepEqual(found.would.machinefeatures['total_cpu'], { value: '8', source: 'mjf' });
    assert.doesNotMatch(JSON.stringify(found), /geheim/);
  });

  test('a directory is looked for there, and one that is not there is worth a hint', async (t) => {
    const host = temporary(t);
    fs.writeFileSync(path.join(host, 'total_cpu'), '16');
    const there = await probed(t, { fakes: [pointing({ machinefeatures: host })] });
    assert.deepEqual(there.would.machinefeatures['total_cpu'], { value: '16', source: 'directory' });
    assert.equal(row(there, 'directory').why, 'metadata');
    const nowhere = await probed(t, { fakes: [pointing({ machinefeatures: `${host}/nowhere` })] });
    assert.ok(codes(nowhere).includes('named_not_there'));
  });

  test('the agent itself is never one: neither by metadata, nor by variable, nor by configuration', async (t) => {
    const host = await startMjfHost({ machine: { total_cpu: '8' } });
    t.after(() => host.close());
    const own = `${host.url}/machinefeatures`;
    const listen = [{ host: '127.0.0.1', port: host.port }];
    const found = await probed(t, {
      config: { listen, source: { mjf: { jobfeatures: `http://localhost:${host.port}/jobfeatures` } } },
      env: { MACHINEFEATURES: own },
      fakes: [pointing({ machinefeatures: own })],
    });
    assert.deepEqual(found.ownOutput, ['source.mjf.jobfeatures', 'MACHINEFEATURES']);
    assert.deepEqual([found.pointers, row(found, 'mjf').used, host.requests.length], [{}, false, 0]);
    assert.ok(codes(found).includes('own_output'));
  });

  test('in a payload’s shell, whose variables name the agent’s directories, an empty machine is still one', async (t) => {
    const dir = temporary(t);
    const runtimeDir = path.join(dir, 'run');
    const found = await probed(t, {
      config: { runtimeDir },
      env: { MACHINEFEATURES: path.join(runtimeDir, 'machinefeatures') },
    });
    assert.equal(row(found, 'directory').why, 'always');
    assert.equal(isDisappointing(found), false);
  });
});

describe('hints and exit codes', () => {
  const failing = (code: string, trace: readonly (readonly [string, string])[] = []) =>
    fake(
      { name: 'cloud' },
      {
        create: (_config: never, environment: SourceEnvironment) => {
          for (const [asked, answered] of trace) environment.trace?.({ source: 'cloud', asked, answered, tookMs: 1 });
          const read = () => Promise.reject(new SourceError(code, `broken: ${code}`));
          return [{ name: 'cloud', rank: 'platform', poll: 'once', timeoutMs: 5_000, read }];
        },
      },
    );
  const PUT = 'PUT http://169.254.169.254/latest/api/token';

  for (const [name, choice, expected] of [
    ['nobody at the address', failing('refused'), ['unreachable']],
    ['no name', failing('dns'), ['dns']],
    ['a wrong certificate', failing('tls'), ['tls']],
    ['refused by status', failing('http_403', [['GET http://a/b', '403']]), ['forbidden']],
    ['a hung token', failing('timeout', [[PUT, 'timeout']]), ['unreachable', 'hop_limit']],
    ['a busy service', failing('http_503'), ['busy']],
    ['something else at the address', failing('bad_json'), ['bad_answer']],
  ] as const) {
    test(`${name}: ${expected.join(', ')}, and it counts as a failure`, async (t) => {
      const found = await probed(t, { fakes: [choice] });
      assert.deepEqual(codes(found), [...expected, 'no_daemon']);
      assert.equal(isDisappointing(found), true);
    });
  }

  test('where another channel of the host answers, a broken one is told and is no failure', async (t) => {
    const found = await probed(t, { fakes: [failing('refused'), fake({ name: 'other' })] });
    assert.ok(codes(found).includes('unreachable'));
    assert.equal(isDisappointing(found), false);
  });

  test('what the machine says of itself is no channel of a host, well or not', async (t) => {
    const onlyMachine = { why: 'always', sign: undefined };
    const of = (read: Source['read']): Choice => {
      const { definition } = fake({ name: 'logind', read });
      const { detect: _, ...undetected } = definition;
      return { ...onlyMachine, used: true, definition: undetected };
    };
    const well = await probed(t, { fakes: [of(async () => ({ outcome: 'answer', answer: {} }))] });
    assert.ok(codes(well).includes('nothing_found'));
    const broken = await probed(t, { fakes: [of(() => Promise.reject(new SourceError('refused', 'no bus')))] });
    assert.deepEqual([isDisappointing(broken), row(broken, 'logind').channel], [false, 'machine']);
    assert.ok(codes(broken).includes('bad_answer'));
  });

  test('root and others are told to try as the other one', async (t) => {
    const found = await probed(t, { fakes: [failing('timeout')] });
    const textFor = (isRoot: boolean) => hintsOf(found, NO_DAEMON, { isRoot })[0]?.text ?? '';
    assert.match(textFor(false), /try as root/);
    assert.match(textFor(true), /try as the user of the agent/);
  });

  test('detected and turned off, a wrong clock, a value that is none: each is told', async (t) => {
    const off: Choice = { ...fake({ name: 'off' }), used: false, why: 'turned off' };
    const answer = { hostNowMs: Date.now() + 3_600_000, ...keyed('shutdowntime', 'soon') };
    const found = await probed(t, {
      fakes: [off, fake({ name: 'wrong', read: async () => ({ outcome: 'answer', answer }) })],
    });
    assert.deepEqual(codes(found), ['detected_not_used', 'faults', 'clock', 'no_daemon']);
    assert.ok(Math.abs((row(found, 'wrong').clock_offset_secs ?? 0) - 3_600) < 30);
    assert.deepEqual(Object.keys(row(found, 'wrong').faults), ['machine/shutdowntime']);
  });

  test('a daemon that says the same is no hint, one that says otherwise is', async (t) => {
    const found = await probed(t, { fakes: [fake({})] });
    const context = { isRoot: true };
    assert.deepEqual(hintsOf(found, { running: true, phase: 'running', deadline: null }, context), []);
    const [hint] = hintsOf(found, { running: true, phase: 'running', deadline: 5 }, context);
    assert.equal(hint?.code, 'daemon_differs');
  });

  test('a named directory that is not there is a failure', async (t) => {
    const found = await probed(t, { config: { source: { directory: { machinefeatures: '/nonexistent/mjf' } } } });
    assert.equal(isDisappointing(found), true);
    assert.ok(codes(found).includes('named_not_there'));
  });
});

describe('the command', () => {
  /** Only what a test gives, whatever this machine is. */
  function only(t: TestContext, toml = ''): readonly string[] {
    const dir = temporary(t);
    const file = path.join(dir, 'config.toml');
    fs.writeFileSync(file, `sources = ${JSON.stringify(PLAIN)}\nstate_dir = "${dir}/state"\n${toml}`);
    return ['--config', file, '--runtime-dir', path.join(dir, 'run')];
  }

  test('beside a daemon: it is asked, and nothing of it is touched', async (t) => {
    const daemon = await fakeDaemon(() => ({
      status: 200,
      body: lifetime({ phase: 'draining', deadline: 1_766_440_000 }),
    }));
    t.after(() => daemon.close());
    const before = fs.readdirSync(daemon.runtimeDir);
    const args = [
      ...only(t, '[source.directory]\nmachinefeatures = "/nonexistent/mjf"\n'),
      '--runtime-dir',
      daemon.runtimeDir,
    ];
    const { code, out, err } = await run(['probe', '--json', ...args]);
    const report = JSON.parse(out) as ProbeReport;
    assert.deepEqual(report.daemon, { running: true, phase: 'draining', deadline: 1_766_440_000 });
    assert.deepEqual(
      report.hints.map((hint) => hint.code).filter((each) => each.startsWith('daemon')),
      ['daemon_differs'],
    );
    assert.deepEqual([code, err], [1, '']);
    assert.deepEqual(fs.readdirSync(daemon.runtimeDir), before);
  });

  test('takes the places of `run`, answers with 0, and makes no directory', async (t) => {
    const host = await startMjfHost({ machine: { total_cpu: '8' } });
    t.after(() => host.close());
    const args = only(t);
    const { code, out } = await run(['probe', ...args, '--machinefeatures', `${host.url}/machinefeatures`]);
    assert.equal(code, 0, out);
    assert.match(out, /^ {2}mjf +answered +[\d.]+ +1 key +configured$/m);
    assert.match(out, /^ {2}total_cpu +8 +mjf$/m);
    assert.match(out, /^ {2}does not run$/m);
    assert.deepEqual(fs.readdirSync(path.dirname(args[1] ?? '')), ['config.toml']);
  });

  test('what a host says can neither move the cursor nor break the JSON', async (t) => {
    const evil = 'x\u202ey';
    const host = await startMjfHost({ job: { motd: evil } });
    t.after(() => host.close());
    const args = [...only(t), '--jobfeatures', `${host.url}/jobfeatures`];
    for (const format of [[], ['--json']]) {
      const { out } = await run(['probe', ...format, ...args]);
      assert.ok(out.includes('x\\u202ey') && !out.includes(evil));
      if (format.length > 0) {
        const { would } = JSON.parse(out) as ProbeReport;
        assert.deepEqual(would.jobfeatures['motd'], { value: evil, source: 'mjf' });
      }
    }
  });

  test('a wrong configuration is 78, a wrong time 64', async (t) => {
    const wrong = await run(['probe', ...only(t, '[stop]\ngrace = 5\n')]);
    assert.deepEqual([wrong.code, wrong.out], [78, '']);
    assert.match(wrong.err, /stop\.grace/);
    const time = await run(['probe', '--timeout', 'soon']);
    assert.equal(time.code, 64);
    assert.match(time.err, /--timeout: expected a duration/);
  });
});

describe('the screen', () => {
  const NOW_MS = 1_766_430_000_000;
  const question = (key: string, answered: string, took_ms: number) => ({
    what: `GET http://169.254.169.254/latest/meta-data/${key}`,
    answered,
    took_ms,
  });
  const asked = [question('instance-id', '200', 3.1), question('spot/instance-action', '200', 12)];
  const unread = { rank: null, outcome: null, error: null, detail: null, took_ms: null, asked: [] } as const;
  const common = { sign: null, channel: 'host', clock_offset_secs: null, faults: {} } as const;
  const REPORT: ProbeReport = {
    machine: {
      dmi: { sys_vendor: 'Amazon EC2', product_name: 'm5.\u001blarge' },
      labels: ['config-2', 'cidata'],
      cloud_id: 'aws',
      hypervisor_uuid: null,
      fw_cfg: true,
    },
    daemon: { running: true, phase: 'running', deadline: null },
    sources: [
      {
        ...common,
        name: 'ec2',
        used: true,
        why: 'detected',
        sign: 'sys_vendor is "Amazon EC2"',
        rank: 'platform',
        outcome: 'answer',
        error: null,
        detail: null,
        took_ms: 17.5,
        faults: { 'machine/shutdowntime': 'bad_time' },
        asked,
      },
      {
        ...common,
        name: 'mjf',
        used: true,
        why: 'metadata',
        rank: 'mjf',
        outcome: 'failed',
        error: 'refused',
        detail: 'GET http://10.0.0.1/mf: connect ECONNREFUSED',
        took_ms: 2,
        asked: [],
      },
      { ...common, ...unread, name: 'gce', used: false, why: 'not detected' },
      { ...common, ...unread, name: 'azure', used: false, why: 'not detected' },
      { ...common, ...unread, name: 'static', used: false, why: 'not configured' },
    ],
    pointers: { machinefeatures: 'http://10.0.0.1/mf' },
    would: {
      phase: 'stopping',
      deadline: 1_766_430_090,
      drain_at: 1_766_428_290,
      stop_at: 1_766_429_970,
      reason: 'ec2: spot terminate',
      termination_allowed: true,
      notices: [
        {
          id: 'ec2/spot',
          source: 'ec2',
          kind: 'terminate',
          deadline: 1_766_430_090,
          reason: 'spot terminate',
          expired: false,
        },
      ],
      machinefeatures: { termination_allowed: { value: '1', source: 'ec2' } },
      jobfeatures: {},
    },
    hints: [{ code: 'unreachable', text: `mjf: ${'word '.repeat(20)}\u001bend.` }],
    took_ms: 1_250,
  };

  for (const columns of [40, 80, 120, null]) {
    test(`shows everything in ${columns ?? 'a pipe'}`, () => {
      golden(`probe-${columns ?? 'pipe'}`, probeScreen(REPORT, NOW_MS, look(columns, { unicode: columns !== null })));
    });
  }

  test('very many questions are shown by what they have in common', () => {
    const many = Array.from({ length: 40 }, (_, index) => question(`key${index}`, '404', index));
    const [ec2] = REPORT.sources;
    assert.ok(ec2);
    const sources = [{ ...ec2, asked: [...many, question('hs06', '200', 1)] }];
    const lines = probeScreen({ ...REPORT, sources }, NOW_MS)
      .split('\n')
      .filter((line) => line.includes('GET'));
    assert.deepEqual(lines, [
      '          404       39                     40 times, this the slowest: GET http://169.254.169.254/latest/meta-data/',
      '          200       1                      GET http://169.254.169.254/latest/meta-data/hs06',
    ]);
  });
});

function codes(found: Found): readonly string[] {
  return hintsOf(found, NO_DAEMON, { isRoot: true }).map(({ code }) => code);
}

function keyed(key: string, value: string) {
  return { machine: { channel: 'test', complete: false, keys: { [key]: present(value) } } } as const;
}
