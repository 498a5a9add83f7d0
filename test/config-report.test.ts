/** `[report]`: the ways to the site, and what exit codes mean to it. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { load, loadGood, toml } from './support/load-config.ts';

test('each way as written', async () => {
  const { report } = await loadGood(
    toml(`[report.joboutputs]
enabled = false
[report.directory]
enabled = false
path = "/mnt/host/status/"
[report.onegate]
enabled = false
[report.gce]
enabled = true
[report.vmware]
enabled = false
[report.azure]
enabled = true
ack_shared = true
`),
  );
  const { joboutputs, ...others } = report;
  assert.equal(joboutputs?.enabled, false);
  assert.deepEqual(others, {
    directory: { enabled: false, path: '/mnt/host/status' },
    onegate: { enabled: false },
    gce: { enabled: true },
    vmware: { enabled: false },
    azure: { enabled: true, ackShared: true },
    codes: {},
  });
});

test('[report.codes]: exit codes, signal and other; several files and variables add up, later wins', async () => {
  const { report } = await load({
    files: {
      'config.toml': '[report.codes]\n3 = "300 no more work"\n4 = "400"\nother = "600 application failed"\n',
      'conf.d/a.toml': '[report]\ncodes = { signal = "700 Käse,  twice ", 0 = "200", 255 = "999 x" }\n',
    },
    env: { MJF_AGENT_REPORT__CODES__4: '450 banned', MJF_AGENT_REPORT__AZURE__ACK_SHARED: 'yes' },
  }).then(({ config, problems }) => {
    assert.deepEqual(problems, []);
    assert.ok(config);
    return config;
  });
  assert.deepEqual(report.codes, {
    0: { code: 200, text: '' },
    3: { code: 300, text: 'no more work' },
    4: { code: 450, text: 'banned' },
    255: { code: 999, text: 'x' },
    signal: { code: 700, text: 'Käse,  twice' },
    other: { code: 600, text: 'application failed' },
  });
  assert.equal(report.azure.ackShared, true);
});

/** All in one file: every problem is told at once. */
const table = (lines: readonly string[]) => toml(`[report.codes]\n${lines.join('\n')}\n`);

test('what is no code with a text is refused, each where it stands', async () => {
  const wrong = ['99 too small', '1000 x', '300no more', ' 300 x', 'x', '', '300 a\\nb', '300 \\u001b[2J'];
  wrong.push(`300 ${'x'.repeat(201)}`);
  const { problems } = await load(table(wrong.map((text, exit) => `${exit} = "${text}"`)));
  assert.equal(problems.length, wrong.length, problems.join('\n'));
  problems.forEach((problem, exit) => {
    const begin = `config.toml: report.codes.${exit}: expected a code from 100 to 999 and a text, as in "300 no more work", got "`;
    assert.ok(problem.startsWith(begin), problem);
  });
});

test('what is no way to end is refused', async () => {
  const { problems } = await load(
    table(['256', '-1', '03', '"3.0"', 'signl', '__proto__', '0x3'].map((exit) => `${exit} = "300 x"`)),
  );
  const expected = 'unknown key; expected an exit code from 0 to 255, signal or other';
  assert.deepEqual(
    [...problems].sort(),
    [
      ...['256', '-1', '03', '"3.0"', '__proto__', '0x3'].map(
        (exit) => `config.toml: report.codes.${exit}: ${expected}`,
      ),
      'config.toml: report.codes.signl: unknown key; did you mean "signal"?',
    ].sort(),
  );
});

test('a variable for an exit code that there is none of is refused as well', async () => {
  const { problems } = await load({ env: { MJF_AGENT_REPORT__CODES__OTHERS: '300 x' } });
  assert.deepEqual(problems, [
    'MJF_AGENT_REPORT__CODES__OTHERS: report.codes.others: unknown key; did you mean "other"?',
  ]);
});

test('what is wrong elsewhere in [report], all at once', async () => {
  const { problems } = await load(
    toml(`[report]
codes = ["300 x"]
opennebula = { enabled = true }
[report.directory]
path = "status"
[report.gce]
enabled = "on"
ack_shared = true
`),
  );
  const text = problems.join('\n');
  assert.equal(problems.length, 5, text);
  assert.match(text, /report\.codes: expected a table, got a list/);
  assert.match(text, /report\.opennebula: unknown key; known here: codes, .*onegate/);
  assert.match(text, /report\.directory\.path: expected an absolute path/);
  assert.match(text, /report\.gce\.enabled: expected true or false, got "on"/);
  assert.match(text, /report\.gce\.ack_shared: unknown key; known here: enabled/);
});

test('a number where a text belongs, and a heartbeat too often', async () => {
  assert.match(
    (await load(table(['3 = 300']))).problems.join(),
    /^config\.toml: report\.codes\.3: expected a code from 100 to 999 and a text, .*got 300$/,
  );
  const { problems } = await load(toml('[report.joboutputs]\nheartbeat = "10ms"'));
  assert.deepEqual(problems, ['config.toml: report.joboutputs.heartbeat: expected at least 1s, got 10 ms']);
});

test('the heartbeat takes no name of the other files', async () => {
  for (const name of ['shutdown_message', 'can_terminate.json']) {
    const { problems } = await load(toml(`[report.joboutputs]\nheartbeat_file = "${name}"\n`));
    assert.match(problems.join('\n'), /report\.joboutputs\.heartbeat_file: expected a plain file name/);
  }
});

test('what is for the site does not go into the agent’s own output', async () => {
  const { problems } = await load(
    toml(`runtime_dir = "/run/a"
[report.directory]
path = "/run/a/jobstatus"
[report.joboutputs]
directory = "/run/a/"
`),
  );
  assert.deepEqual(problems.map((problem) => problem.replace(/: lies in runtime_dir.*/, '')).sort(), [
    'config.toml: report.directory.path',
    'config.toml: report.joboutputs.directory',
  ]);
  await loadGood(toml('runtime_dir = "/run/a"\n[report.directory]\npath = "/run/ab"\n'));
});
