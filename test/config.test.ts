import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import test from 'node:test';
import { exampleConfig } from '../agent/config/example.ts';
import { configSchema, policyOf } from '../agent/config.ts';
import { chooseSources } from '../agent/sources/create.ts';
import { NO_FACTS } from '../agent/sources/facts.ts';
import { load, loadGood, toml } from './support/load-config.ts';

const ROOT = path.resolve(import.meta.dirname ?? __dirname, '..');

test('no file, no variable, no flag: the defaults of DESIGN.md', async () => {
  const { config, warnings, files } = await load({});
  assert.deepEqual(config, {
    listen: [
      { host: '127.0.0.1', port: 8653 },
      { host: '::1', port: 8653 },
    ],
    runtimeDir: '/run/mjf-agent',
    stateDir: '/var/lib/mjf-agent',
    journalDir: '/run/mjf-agent-state',
    sources: 'auto',
    source: {},
    stop: {
      drainMs: 1_800_000,
      graceMs: 120_000,
      steps: [
        { at: 'grace', signal: 'SIGTERM' },
        { at: 5000, signal: 'SIGKILL' },
      ],
      atDeadline: 'nothing',
      whenDone: 'nothing',
      idleMs: 300_000,
    },
    payloads: [],
    hooks: { dir: '/etc/mjf-agent/hooks.d', user: null, timeoutMs: 60_000 },
    webhooks: [],
    handSocket: '/run/mjf-agent-hand.sock',
    notice: {},
    publish: { shutdownKeys: 'always', shutdownTimeFile: null, linkEtc: true },
    report: {
      joboutputs: null,
      directory: { enabled: true, path: '/run/mjf-host/jobstatus' },
      onegate: { enabled: true },
      gce: { enabled: true },
      vmware: { enabled: true },
      azure: { enabled: true, ackShared: false },
      codes: {},
    },
    log: { level: 'info' },
    adminGroup: null,
  });
  assert.deepEqual(warnings, []);
  assert.deepEqual(files, []);
});

test('without a file neither smol-toml nor ajv is loaded, flags and simple variables included', () => {
  const program = `
    const { loadConfig } = require('./agent/config.ts');
    loadConfig({ etcDir: '/nonexistent', env: { MJF_AGENT_LISTEN: 'off', MJF_AGENT_STOP__GRACE: '5m' }, flags: { runtimeDir: '/tmp/x' } })
      .then((result) => {
        const loaded = Object.keys(require.cache).filter((file) => /node_modules.(ajv|smol-toml|fastify|node-cron|typebox)/.test(file));
        console.log(JSON.stringify([result.ok, result.config.stop.graceMs, loaded]));
      });`;
  const out = execFileSync(process.execPath, ['--import', 'tsx', '-e', program], { cwd: ROOT, encoding: 'utf8' });
  assert.deepEqual(JSON.parse(out), [true, 300_000, []]);
});

test('a cron expression is a poll, at any time of any day and as often as each second', async () => {
  for (const poll of ['0,30 * * * *', '*/3 * * * * *', '0 6 * * MON-FRI', '0 0 29 2 *', ' 0 6 * * 5L ']) {
    const { source } = await loadGood({ files: { 'config.toml': `[source.mjf]\npoll = "${poll}"\n` } });
    assert.equal(JSON.stringify(source), JSON.stringify({ mjf: { poll } }));
  }
});

test('later wins: config.toml < conf.d by name < environment < flags; tables merge deeply, lists are replaced', async () => {
  const config = await loadGood({
    files: {
      'config.toml':
        'runtime_dir = "/a"\nlisten = ["127.0.0.1:1", "127.0.0.1:2"]\n[stop]\ndrain = "1h"\ngrace = "1m"\n',
      'conf.d/20-b.toml': 'runtime_dir = "/c"\nlisten = ["127.0.0.1:4"]\n',
      'conf.d/10-a.toml': 'runtime_dir = "/b"\nstate_dir = "/s"\n[stop]\ngrace = "3m"\n',
      'conf.d/ignored.txt': 'not toml',
    },
    env: { MJF_AGENT_STOP__DRAIN: '2h', MJF_AGENT_STATE_DIR: '/env' },
    flags: { stateDir: '/flag' },
  });
  assert.equal(config.runtimeDir, '/c');
  assert.equal(config.journalDir, '/c-state');
  assert.equal(config.stateDir, '/flag');
  assert.deepEqual(config.listen, [{ host: '127.0.0.1', port: 4 }]);
  assert.deepEqual([config.stop.drainMs, config.stop.graceMs], [7_200_000, 180_000]);
});

test('every error at once, each with its file, its key and what would be right', async () => {
  const { problems } = await load({
    files: {
      'config.toml':
        'listn = "off"\nruntime_dir = "run"\n[stop]\ngrace = 5\ndrain = "soon"\nsteps = [{ at = "5s" }, { at = "grace", signal = "SIGTREM" }]\n',
      'conf.d/a.toml': '[publish]\nlink_etc = "yes"\nshutdown_keys = "never"\n[source.static]\nmax_lifetme = "3h"\n',
    },
    env: { MJF_AGENT_LISTEN: 'everywhere' },
    flags: { machinefeatures: 'relative' },
  });
  assert.deepEqual(
    [...problems].sort(),
    [
      'MJF_AGENT_LISTEN: listen: expected "off" or an address and port such as "127.0.0.1:8653", or a list of such, got "everywhere"',
      '--machinefeatures: source.directory.machinefeatures: expected an absolute path or an http(s) URL, got "relative"',
      'config.toml: listn: unknown key; did you mean "listen"?',
      'config.toml: runtime_dir: expected an absolute path such as "/run/mjf-agent", got "run"',
      'config.toml: stop.grace: expected a duration such as "2m", got 5',
      'config.toml: stop.drain: expected a duration such as "2m", got "soon"',
      'config.toml: stop.steps[0]: needs one of signal (a signal name such as "SIGTERM"), hook (the name of a program in hooks.d/steps such as "save-state")',
      'config.toml: stop.steps[1].signal: expected a signal name such as "SIGTERM", got "SIGTREM"',
      'conf.d/a.toml: publish.link_etc: expected true or false, got "yes"',
      'conf.d/a.toml: publish.shutdown_keys: expected one of "always", "draining", got "never"',
      'conf.d/a.toml: source.static.max_lifetme: unknown key; did you mean "max_lifetime"?',
    ].sort(),
  );
});

test('a syntax error is told with line and column, together with the errors of other files', async () => {
  const { problems } = await load({
    files: { 'config.toml': 'listen = "off"\n[stop]\ngrace = = "2m"\n', 'conf.d/a.toml': 'sources = 7\n' },
  });
  assert.equal(problems.length, 2);
  assert.match(problems[0] ?? '', /^config\.toml:3:9: not valid TOML: /);
  assert.match(
    problems[1] ?? '',
    /^conf\.d\/a\.toml: sources: expected "auto", or a list, each text in quotes, got 7$/,
  );
});

test('one wrong item of a list is one problem, at the item', async () => {
  const { problems } = await load(toml('listen = ["127.0.0.1:1", 5, "nowhere"]'));
  assert.deepEqual(problems, [
    'config.toml: listen[1]: expected "off" or an address and port such as "127.0.0.1:8653", got 5',
    'config.toml: listen[2]: expected "off" or an address and port such as "127.0.0.1:8653", got "nowhere"',
  ]);
});

test('a date, a table or a list in place of a text is named as such', async () => {
  const { problems } = await load(toml('state_dir = 2020-01-01\nruntime_dir = ["/a"]\nadmin_group = { a = 1 }\n'));
  assert.equal(problems.length, 3);
  assert.match(problems.join('\n'), /state_dir: .*got a date/);
  assert.match(problems.join('\n'), /runtime_dir: .*got a list/);
  assert.match(problems.join('\n'), /admin_group: .*got a table/);
});

test('a file named with --config is the only one read, and must exist', async () => {
  const files = { 'config.toml': 'runtime_dir = "/no"\n', 'mine.toml': 'state_dir = "/mine"\n' };
  const config = await loadGood({ files, file: 'mine.toml' });
  assert.deepEqual([config.runtimeDir, config.stateDir], ['/run/mjf-agent', '/mine']);
  const { problems } = await load({ files, file: 'missing.toml' });
  assert.deepEqual(problems, ['missing.toml: does not exist']);
});

test('what is no file is told, not read', async () => {
  const { problems } = await load({ files: { 'config.toml/x': '' } });
  assert.deepEqual(problems, ['config.toml: is not a file']);
});

test('a key named __proto__ is an unknown key and reaches nothing', async () => {
  const { problems } = await load(toml('[__proto__]\nlisten = "off"\n[stop.__proto__]\ngrace = "1s"\n'));
  assert.equal(problems.length, 2);
  assert.ok(problems.every((problem) => problem.includes('unknown key')));
  assert.equal(Reflect.get({}, 'listen'), undefined);
});

test('environment: nested names, booleans, numbers, lists with commas and TOML values', async () => {
  const config = await loadGood({
    env: {
      MJF_AGENT_SOURCES: 'directory, static',
      MJF_AGENT_PUBLISH__LINK_ETC: 'false',
      MJF_AGENT_SOURCE__DIRECTORY__POLL: '2s',
      MJF_AGENT_SOURCE__STATIC__MACHINEFEATURES__HS06: '171.04',
      MJF_AGENT_STOP__STEPS: '[{ at = "grace", signal = "SIGINT", to = "all" }]',
      MJF_AGENT_REPORT__JOBOUTPUTS__DIRECTORY: '/out/',
      MJF_AGENT_LOG__LEVEL: '',
      MJF_AGENT_DEBUG: '1',
    },
  });
  assert.deepEqual(config.sources, ['directory', 'static']);
  assert.equal(config.publish.linkEtc, false);
  assert.deepEqual(JSON.parse(JSON.stringify(config.source)), {
    directory: { poll: '2s' },
    static: { machinefeatures: { hs06: '171.04' } },
  });
  assert.deepEqual(config.stop.steps, [{ at: 'grace', signal: 'SIGINT', to: 'all' }]);
  assert.equal(config.report.joboutputs?.directory, '/out');
  assert.equal(config.log.level, 'info');
});

test('an unknown variable is a warning with a suggestion, not an error', async () => {
  const { warnings, problems } = await load({
    env: { MJF_AGENT_LISTNE: 'off', MJF_AGENT_STOP__GRAC: '5m', MJF_OTHER: 'x' },
  });
  assert.deepEqual(problems, []);
  assert.deepEqual(warnings, [
    'MJF_AGENT_LISTNE: unknown variable; did you mean "MJF_AGENT_LISTEN"?',
    'MJF_AGENT_STOP__GRAC: unknown variable; did you mean "MJF_AGENT_STOP__GRACE"?',
  ]);
});

test('flags: a path is a directory source, a URL an mjf source; joboutputs likewise, over what a file says', async () => {
  const config = await loadGood({
    ...toml('[report.joboutputs]\nurl = "https://site.example/out"\nheartbeat_file = "beat"\nheartbeat = "2m"\n'),
    flags: {
      machinefeatures: '/m',
      jobfeatures: 'http://127.0.0.1:80/j',
      joboutputs: '/o',
      listen: '[::1]:0',
      logLevel: 'debug',
    },
  });
  assert.deepEqual(JSON.parse(JSON.stringify(config.source)), {
    directory: { machinefeatures: '/m' },
    mjf: { jobfeatures: 'http://127.0.0.1:80/j' },
  });
  assert.deepEqual(config.report.joboutputs, {
    enabled: true,
    url: null,
    directory: '/o',
    caFile: null,
    certFile: null,
    keyFile: null,
    heartbeatFile: 'beat',
    heartbeatMs: 120_000,
  });
  assert.deepEqual(config.listen, [{ host: '::1', port: 0 }]);
  assert.equal(config.log.level, 'debug');
});

test('a source that a flag names is asked even where the list leaves it out', async () => {
  const config = await loadGood({ ...toml('sources = ["static"]'), flags: { machinefeatures: '/m' } });
  assert.deepEqual(config.sources, ['static', 'directory']);
});

for (const [text, expected] of [
  ['off', 'off'],
  ['127.0.0.1:0', [{ host: '127.0.0.1', port: 0 }]],
  ['[::1]:8653', [{ host: '::1', port: 8653 }]],
  [
    'localhost:99',
    [
      { host: '127.0.0.1', port: 99 },
      { host: '::1', port: 99 },
    ],
  ],
  ['localhost:0', [{ host: '127.0.0.1', port: 0 }]],
] as const) {
  test(`--listen ${text}`, async () =>
    assert.deepEqual((await loadGood({ flags: { listen: text } })).listen, expected));
}

for (const text of [
  '',
  '8653',
  ':8653',
  'host.example:8653',
  '127.0.0.1:70000',
  '::1:8653',
  '[127.0.0.1]:1',
  '127.0.0.1:-1',
  'http://127.0.0.1:1',
]) {
  test(`--listen ${JSON.stringify(text)} is refused`, async () => {
    const { problems } = await load({ flags: { listen: text } });
    assert.equal(problems.length, 1);
    assert.match(problems[0] ?? '', /^--listen: listen: expected "off" or an address/);
  });
}

test('an address beyond loopback is accepted with a warning that it is read-only', async () => {
  const { config, warnings } = await load(toml('listen = ["127.0.0.1:1", "192.0.2.7:8653"]'));
  assert.deepEqual(config?.listen, [
    { host: '127.0.0.1', port: 1 },
    { host: '192.0.2.7', port: 8653 },
  ]);
  assert.equal(warnings.length, 1);
  assert.match(warnings[0] ?? '', /192\.0\.2\.7:8653 is not a loopback address.*read-only/);
});

test('every platform of DESIGN.md is a source with a table of its own', async () => {
  const platforms = ['ec2', 'gce', 'azure', 'openstack', 'opennebula', 'alibaba', 'tencent'];
  const tables = platforms.map((name) => `[source.${name}]\nbase_url = "http://127.0.0.1:1"\n`).join('');
  const { config, warnings, problems } = await load(toml(`sources = ${JSON.stringify(platforms)}\n${tables}`));
  assert.deepEqual([problems, warnings], [[], []]);
  assert.deepEqual(Object.keys(config?.source ?? {}), platforms);
});

for (const [name, text, expected] of [
  [
    'an unknown source',
    'sources = ["directry"]',
    /sources\[0\]: unknown source "directry"; did you mean "directory"\?/,
  ],
  [
    'S7 a poll below 200 ms',
    '[source.directory]\npoll = "100ms"',
    /source\.directory\.poll: expected at least 200ms, got "100ms"/,
  ],
  [
    'a poll of words that are no cron expression',
    '[source.mjf]\npoll = "a b c d e"',
    /source\.mjf\.poll: expected minutes from 0 to 59, got "a"; hours from 0 to 23, got "b"; .* in "a b c d e"/,
  ],
  [
    'a poll on a day that never comes',
    '[source.directory]\npoll = "0 0 31 2 *"',
    /source\.directory\.poll: expected days that these months have, got "31"/,
  ],
  [
    'a poll at the working day next to one that never comes',
    '[source.directory]\npoll = "0 0 31W 2 *"',
    /source\.directory\.poll: expected a time that comes, got "0 0 31W 2 \*", which never does/,
  ],
  ['a poll that is nothing', '[source.directory]\npoll = "soon"', /source\.directory\.poll: expected a duration/],
  [
    'a relative path of a source',
    '[source.directory]\nmachinefeatures = "etc"',
    /source\.directory\.machinefeatures: expected an absolute path/,
  ],
  [
    'S1.5 a deadline turned into mere information',
    '[notice]\nterminate = "freeze"',
    /notice\.terminate: terminate sets a deadline/,
  ],
  ['an unknown kind of notice', '[notice]\nfreez = "stop"', /notice\.freez: unknown key; did you mean "freeze"\?/],
  ['url and directory both', '[report.joboutputs]\nurl = "http://a.example/"\ndirectory = "/a"', /exclude each other/],
  ['cert without key', '[report.joboutputs]\ncert = "/c"', /report\.joboutputs\.key: is missing/],
  [
    'the reserved name as heartbeat (S5.3)',
    '[report.joboutputs]\nheartbeat_file = "shutdown_message"',
    /heartbeat_file: expected a plain file name/,
  ],
  ['a path as heartbeat', '[report.joboutputs]\nheartbeat_file = "../x"', /heartbeat_file: expected a plain file name/],
  [
    'milliseconds as shutdowntime',
    '[source.static]\nmachinefeatures = { shutdowntime = 1766440000000 }',
    /shutdowntime: expected a time in whole UNIX seconds .*milliseconds/,
  ],
  [
    'an illegal key name',
    '[source.static]\nmachinefeatures = { "HS-06" = 1 }',
    /source\.static\.machinefeatures\.HS-06: /,
  ],
  [
    'two directories that are one',
    'runtime_dir = "/a"\nstate_dir = "/a/"',
    /runtime_dir: is the same directory as state_dir/,
  ],
  ['the root as a directory', 'state_dir = "/"', /state_dir: expected a directory of its own/],
  ['an address twice', 'listen = ["localhost:5", "127.0.0.1:5"]', /127\.0\.0\.1:5 stands there twice/],
] as const) {
  test(`${name} is refused`, async () => {
    const { problems } = await load(toml(text));
    assert.match(problems.join('\n'), expected);
    assert.ok(problems.every((problem) => problem.startsWith('config.toml: ')));
  });
}

test('S3.4 SIGKILL before any SIGTERM is a warning', async () => {
  const { warnings } = await load(
    toml('[stop]\nsteps = [{ at = "grace", signal = "SIGKILL" }, { at = "5s", signal = "SIGTERM" }]'),
  );
  assert.deepEqual(warnings, [
    'config.toml: stop.steps[0]: SIGKILL comes before any SIGTERM: payloads cannot save their work',
  ]);
  assert.deepEqual((await load({})).warnings, []);
});

test('credentials in a URL are refused and not repeated', async () => {
  const { problems } = await load(toml('[report.joboutputs]\nurl = "https://user:hunter2@site.example/"'));
  assert.equal(problems.length, 1);
  assert.doesNotMatch(problems[0] ?? '', /hunter2/);
});

test('S1.1 an override of a kind reaches the policy', async () => {
  const config = await loadGood(toml('[notice]\nfreeze = "stop"\n[publish]\nshutdown_keys = "draining"'));
  const policy = policyOf(config);
  assert.deepEqual([policy.kindOverrides, policy.shutdownKeys], [{ freeze: 'stop' }, 'draining']);
});

test('every key of the schema has a description, and every default passes its own schema', async () => {
  const bare: string[] = [];
  const visit = (node: ReturnType<typeof configSchema>, at: string) => {
    for (const [key, inner] of Object.entries(node.properties ?? {})) {
      if (inner.properties) visit(inner, `${at}${key}.`);
      else if (Object.keys(inner).length > 0 && !inner.description && !at.startsWith('notice.')) bare.push(at + key);
    }
  };
  visit(configSchema(), '');
  assert.deepEqual(bare, []);
});

test('packaging/config.toml does nothing as it is, and uncommented it is the defaults', async () => {
  const example = exampleConfig();
  const plain = await loadGood({});
  assert.deepEqual(await loadGood(toml(example)), plain);
  const uncommented = example.replace(/^#(?=[a-z_]+ = |\[)/gm, '');
  assert.match(uncommented, /^\[stop\]$/m);
  const { source, report, ...rest } = await loadGood(toml(uncommented));
  const { source: _, report: plainReport, ...plainRest } = plain;
  assert.deepEqual(rest, plainRest);
  assert.deepEqual({ ...report, joboutputs: null }, plainReport);
  assert.ok(Object.keys(source).includes('self'));
  const facts = { facts: NO_FACTS };
  const used = (given: Parameters<typeof chooseSources>[0]) =>
    chooseSources(given, facts).map((choice) => [choice.definition.name, choice.used]);
  assert.deepEqual(used({ sources: rest.sources, source }), used(plain), 'no channel is turned on');
  assert.equal(report.joboutputs?.heartbeatMs, 60_000);
  // The examples of keys without a default are valid too, one side of the either-or at a time.
  const everything = uncommented.replace(/^# {3}(?=[a-z_]+ = |\[)/gm, '');
  assert.deepEqual((await load(toml(everything.replace(/^directory = .*$/m, '')))).problems, []);
});
