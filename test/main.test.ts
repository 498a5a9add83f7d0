import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { type Command, defineCommand, type Output, runCommand, UsageError } from '../agent/commands/command.ts';
import { dispatch } from '../agent/commands/dispatch.ts';
import { commandTable } from '../agent/commands/table.ts';
import { EXIT_CODE_TEXTS } from '../agent/exit-codes.ts';
import { run, start } from './commands/cli.ts';

test('--help names every command and every exit code', async () => {
  const { code, out, err } = await run(['--help']);
  assert.deepEqual([code, err], [0, '']);
  for (const { name, summary } of commandTable)
    assert.match(out, new RegExp(`^ {2}${name} +${summary.slice(0, 10)}`, 'm'));
  for (const [exitCode, text] of Object.entries(EXIT_CODE_TEXTS))
    assert.ok(out.includes(`${exitCode.padEnd(4)}${text}`));
  assert.doesNotMatch(out, /__read-directory/);
});

test('--version is one line, also after a command', async () => {
  const plain = await run(['--version']);
  assert.deepEqual([plain.code, plain.err], [0, '']);
  assert.match(plain.out, /^mjf-agent \S+\n$/);
  assert.deepEqual(await run(['status', '--version']), plain);
});

test('each command is what the table says and helps itself', async () => {
  for (const row of commandTable) {
    const { command } = await row.load();
    assert.deepEqual([command.name, command.summary], [row.name, row.summary]);
    assert.ok(command.usage.startsWith(row.name));
    const printed: string[] = [];
    const output = { out: (text: string) => printed.push(text), complain: assert.fail } as Output;
    assert.equal(await runCommand(command, ['--help'], output, {}), 0);
    assert.match(printed.join(''), new RegExp(`^Usage: mjf-agent ${row.name}`));
    for (const option of Object.keys(command.options)) assert.ok(printed.join('').includes(`--${option}`));
  }
});

for (const [argv, message] of [
  [[], /^no command given/],
  [['statsu'], /unknown command "statsu"; did you mean "status"\?/],
  [['--listen'], /unknown option "--listen"/],
  [['get'], /something is missing; usage: mjf-agent get KEY/],
  [['get', 'a', 'b'], /unexpected "b"/],
  [['status', '--jsno'], /unknown option --jsno; did you mean --json\?/],
  [['status', '--json=1'], /--json takes no value/],
  [['notice', '--reason', '--kind'], /--reason needs a value: --reason R/],
  [['status', '--runtime-dir', 'here'], /must be an absolute path/],
  [['get', '--', 'x'], /"--" has no meaning here/],
] as const) {
  test(`exit code 64 with a hint: ${JSON.stringify(argv.join(' '))}`, async () => {
    const printed: string[] = [];
    const complaints: string[] = [];
    const output = { out: (text: string) => printed.push(text), complain: (text: string) => complaints.push(text) };
    assert.equal(await dispatch(argv, output, {}), 64);
    assert.deepEqual(printed, []);
    assert.equal(complaints.length, 1);
    assert.match(complaints[0] ?? '', message);
  });
}

test('a process says on stderr what is wrong, in one line without control characters', async () => {
  assert.deepEqual(await run(['bad\u001b[2J\n']), {
    code: 64,
    out: '',
    err: 'mjf-agent: unknown command "bad\\u001b[2J\\u000a" (see "mjf-agent --help")\n',
  });
});

/** Runs a command that only shows how its words were understood. */
async function understand(argv: readonly string[]) {
  let seen: unknown;
  const complaints: string[] = [];
  const command = defineCommand({
    name: 'probe',
    summary: 'test',
    usage: 'probe',
    options: {
      step: { type: 'string', multiple: true, description: 'steps' },
      name: { type: 'string', short: 'n', description: 'name' },
      loud: { type: 'boolean', description: 'loud' },
    },
    positionals: { least: 0, most: 1 },
    takesRest: true,
    async run({ values, positionals, rest }) {
      seen = { ...values, positionals, rest };
      return 0;
    },
  });
  const output = { out: () => undefined, complain: (text: string) => complaints.push(text) };
  const code = await runCommand(command as Command, argv, output, {});
  return { code, seen, complaints };
}

test('options may repeat, be short, stand after words; what follows -- is left alone', async () => {
  const { seen } = await understand([
    'x',
    '--step',
    'a',
    '--step=b',
    '-n',
    'me',
    '--loud',
    '--',
    'cmd',
    '--help',
    '--',
    '-n',
  ]);
  assert.deepEqual(seen, {
    step: ['a', 'b'],
    name: 'me',
    loud: true,
    positionals: ['x'],
    rest: ['cmd', '--help', '--', '-n'],
  });
  assert.deepEqual((await understand([])).seen, { positionals: [], rest: undefined });
  assert.equal((await understand(['--name=--loud'])).code, 0, 'a value with = may look like an option');
});

test('a UsageError of a command is exit code 64; any other error is not swallowed', async () => {
  const failing = (error: Error) =>
    defineCommand({
      name: 'x',
      summary: 'x',
      usage: 'x',
      options: {},
      positionals: { least: 0, most: 0 },
      run: () => Promise.reject(error),
    });
  const output = { out: () => undefined, complain: () => undefined };
  assert.equal(await runCommand(failing(new UsageError('no')), [], output, {}), 64);
  await assert.rejects(runCommand(failing(new Error('boom')), [], output, {}), /boom/);
});

test('SIGUSR1 does not open the inspector and does not end the process', async () => {
  // `watch` on a socket that never answers keeps the process alive.
  const directory = fs.mkdtempSync(path.join(fs.realpathSync('/tmp'), 'mjf-main-'));
  const { createServer } = await import('node:net');
  let connected: (() => void) | undefined;
  const reached = new Promise<void>((resolve) => {
    connected = resolve;
  });
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    connected?.();
  });
  await new Promise<void>((resolve) => server.listen(path.join(directory, 'agent.sock'), resolve));
  const watch = start(['watch'], { MJF_AGENT_RUNTIME_DIR: directory });
  try {
    await Promise.race([reached, watch.ended]);
    const before = listening(watch.child.pid);
    watch.child.kill('SIGUSR1');
    // The inspector announces itself on stderr; it would do so before the answer to the next signal can be seen.
    const stillThere = await Promise.race([
      watch.ended,
      new Promise((resolve) => setTimeout(() => resolve(null), 500)),
    ]);
    assert.equal(stillThere, null, 'the process lives');
    assert.deepEqual(listening(watch.child.pid), before);
  } finally {
    watch.child.kill();
    const { err } = await watch.ended;
    server.close();
    fs.rmSync(directory, { recursive: true });
    assert.doesNotMatch(err, /Debugger listening/);
  }
});

/** Sockets of a process that listen on TCP: rows in state 0A whose inode it holds. */
function listening(pid: number | undefined): readonly string[] {
  const links = fs.readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return [fs.readlinkSync(`/proc/${pid}/fd/${fd}`)];
    } catch {
      return [];
    }
  });
  const rows = fs.readFileSync(`/proc/${pid}/net/tcp`, 'utf8').trim().split('\n').slice(1);
  return rows
    .map((row) => row.trim().split(/\s+/))
    .filter((columns) => columns[3] === '0A' && links.includes(`socket:[${columns[9]}]`))
    .map((columns) => columns[1] ?? '');
}
