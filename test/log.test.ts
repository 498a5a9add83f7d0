import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { formatForPeople } from '../agent/log/people.ts';
import { createSink } from '../agent/log/sink.ts';
import { createLog } from '../agent/log.ts';

const ROOT = path.resolve(import.meta.dirname ?? __dirname, '..');

function collect(tty: boolean, level: 'debug' | 'info' = 'info') {
  const lines: string[] = [];
  const { log } = createLog({ level, tty, stream: { write: (text: string) => lines.push(text) } });
  return { log, lines };
}

test('a line is JSON with level as a word, ISO time, event and message, and no host name', () => {
  const { log, lines } = collect(false);
  log.warn({ event: 'source_failed', source: 'ec2' }, 'source ec2 failed');
  const { time, pid, ...rest } = JSON.parse(lines[0] ?? '');
  assert.deepEqual(rest, { level: 'warn', event: 'source_failed', source: 'ec2', msg: 'source ec2 failed' });
  assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assert.equal(pid, process.pid);
  assert.match(lines[0] ?? '', /^[^\n]+\n$/);
});

test('a line without an event gets one, also from a child logger and for an error', () => {
  const { log, lines } = collect(false);
  log.info('hello');
  log.child({ source: 'x' }).info({ n: 1 }, 'hello');
  log.error(new Error('bad'));
  const parsed = lines.map((line) => JSON.parse(line));
  assert.deepEqual(
    parsed.map(({ event }) => event),
    ['message', 'message', 'message'],
  );
  assert.equal(parsed[2].err.message, 'bad');
});

test('lines below the level are not written', () => {
  const { log, lines } = collect(false);
  log.debug({ event: 'x' }, 'no');
  assert.deepEqual(lines, []);
});

test('on a terminal a line is for people: time, level, message, key=value', () => {
  const { log, lines } = collect(true);
  log.info({ event: 'phase', phase: 'draining', why: 'host said so', n: 5 }, 'draining');
  assert.match(
    lines[0] ?? '',
    /^\d\d:\d\d:\d\d\.\d{3} INFO {2}draining {2}event=phase {2}phase=draining {2}why="host said so" {2}n=5\n$/,
  );
});

test('on a terminal control characters of a hostile value are spelled out', () => {
  const { log, lines } = collect(true);
  log.warn({ event: 'bad_value', value: '\u001b[2J\r\nfake line\u0085\u202e' }, 'bell \u0007');
  assert.match(lines[0] ?? '', /\\u001b\[2J\\u000d\\u000afake line\\u0085\\u202e/);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: exactly these must not be there
  assert.doesNotMatch(lines[0] ?? '', /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
  assert.equal((lines[0] ?? '').split('\n').length, 2);
});

test('what is no JSON passes the terminal format escaped, and an error shows its message only', () => {
  assert.equal(formatForPeople('plain \u001b text\n'), 'plain \\u001b text\n');
  assert.match(formatForPeople('{"level":"error","err":{"message":"bad","stack":"at x"}}\n'), /err=bad\n$/);
  assert.doesNotMatch(formatForPeople('{"level":"error","err":{"message":"bad","stack":"at x"}}\n'), /at x/);
});

/** Runs a program that logs to a stdout whose reader we control. */
function startLogger(program: string) {
  return spawn(process.execPath, ['--import', 'tsx', '-e', program], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
}

const CHATTER = `
  const { createLog } = require('./agent/log.ts');
  let dropped = 0;
  const { log, flush } = createLog({ level: 'info', tty: false, onDrop: (n) => { dropped += n; } });
  for (let i = 0; i < 30000; i += 1) log.info({ event: 'chatter', i }, 'x'.repeat(100));
  const turns = [];
  const timer = setInterval(() => turns.push(Date.now()), 5);
  setTimeout(() => {
    clearInterval(timer);
    process.send({ dropped, turns: turns.length });
    process.once('message', () => { flush(); process.exit(7); });
  }, 300);
`;

test('a stuck stdout (a socket, as under journald): the loop goes on, lines beyond the bound are counted as dropped, exit is not held up', async () => {
  const child = startLogger(CHATTER);
  // Nobody reads child.stdout: the pipe fills up.
  child.stdout?.pause();
  const [report] = (await once(child, 'message')) as [{ dropped: number; turns: number }];
  assert.ok(report.dropped > 10_000, `dropped ${report.dropped}`);
  assert.ok(report.turns > 1, 'the event loop turned while stdout was stuck');
  child.send('end');
  const [code] = await once(child, 'exit');
  assert.equal(code, 7);
  child.stdout?.destroy();
});

test('a stuck named pipe as stdout, as in a shell pipeline, behaves the same and shows its first lines whole', async () => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-log-'));
  const fifo = path.join(directory, 'fifo');
  execFileSync('mkfifo', [fifo]);
  // Both ends from here, so that neither open waits for the other; the child's end blocks, as a shell's would.
  const readFd = fs.openSync(fifo, fs.constants.O_RDWR | fs.constants.O_NONBLOCK);
  const writeFd = fs.openSync(fifo, fs.constants.O_WRONLY);
  try {
    // Not as fd 1: tsx in the child looks at process.stdout, which makes it non-blocking before we come.
    const program = `
      const { createSink } = require('./agent/log/sink.ts');
      let dropped = 0;
      const sink = createSink({ fd: 4, onDrop: (n) => { dropped += n; } });
      for (let i = 0; i < 30000; i += 1) sink.write(JSON.stringify({ i, pad: 'x'.repeat(100) }) + '\\n');
      setTimeout(() => {
        process.send({ dropped, blocking: !/flags:.*[4-7]\\d{3}$/m.test(fs.readFileSync('/proc/self/fdinfo/4', 'utf8')) });
        process.once('message', () => { sink.flush(); process.exit(7); });
      }, 50);`;
    const child = spawn(process.execPath, ['--import', 'tsx', '-e', program], {
      cwd: ROOT,
      stdio: ['ignore', 'inherit', 'inherit', 'ipc', writeFd],
      // A blocked main loop answers nothing: then the end of this bound is the failure.
      timeout: 30_000,
      killSignal: 'SIGKILL',
    });
    const [report] = await Promise.race([once(child, 'message'), once(child, 'exit')]);
    assert.equal(report?.blocking, true, 'whoever shares the pipe keeps it as it was');
    assert.ok(report.dropped > 10_000, `dropped ${report.dropped}`);
    child.send('end');
    assert.deepEqual(await once(child, 'exit'), [7, null]);
    const buffer = Buffer.alloc(4096);
    fs.readSync(readFd, buffer);
    const first = buffer.toString().split('\n').slice(0, 3);
    assert.deepEqual(
      first.map((line) => JSON.parse(line).i),
      [0, 1, 2],
    );
  } finally {
    fs.closeSync(readFd);
    fs.closeSync(writeFd);
    fs.rmSync(directory, { recursive: true });
  }
});

test('a reader that goes away does not end the process; what it misses is counted', async () => {
  const child = startLogger(CHATTER);
  child.stdout?.destroy();
  const [report] = (await once(child, 'message')) as [{ dropped: number }];
  assert.ok(report.dropped >= 30_000 - 1000, `dropped ${report.dropped}`);
  child.send('end');
  assert.deepEqual(await once(child, 'exit'), [7, null]);
});

test('a reader that takes everything gets every line once, in order, also those before an immediate exit', async () => {
  const program = `
    const { createLog } = require('./agent/log.ts');
    const { log, flush } = createLog({ level: 'info', tty: false });
    for (let i = 0; i < 2000; i += 1) log.info({ event: 'n', i }, 'x');
    flush();
    process.exit(0);`;
  const child = startLogger(program);
  let text = '';
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  await once(child, 'close');
  const seen = text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line).i);
  assert.deepEqual(
    seen,
    Array.from({ length: 2000 }, (_, i) => i),
  );
});

test('a regular file gets every line in order, flushed in the middle of a write too', async () => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-log-'));
  const fd = fs.openSync(path.join(directory, 'log'), 'a');
  try {
    const sink = createSink({ fd, onDrop: () => assert.fail('nothing is dropped') });
    for (let i = 0; i < 1000; i += 1) sink.write(`${i}\n`);
    await new Promise((resolve) => setImmediate(resolve));
    for (let i = 1000; i < 2000; i += 1) sink.write(`${i}\n`);
    sink.flush();
    const wanted = 2000;
    let lines: string[] = [];
    // The piece that the thread pool had begun ends by itself.
    for (let round = 0; round < 1000 && lines.length < wanted; round += 1) {
      await new Promise((resolve) => setImmediate(resolve));
      lines = fs.readFileSync(path.join(directory, 'log'), 'utf8').trimEnd().split('\n');
    }
    assert.deepEqual(
      lines.map(Number).sort((a, b) => a - b),
      Array.from({ length: wanted }, (_, i) => i),
    );
  } finally {
    fs.closeSync(fd);
    fs.rmSync(directory, { recursive: true });
  }
});

test('the backlog is bounded and what does not fit is counted', () => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-log-'));
  const fd = fs.openSync(path.join(directory, 'log'), 'a');
  try {
    let dropped = 0;
    const sink = createSink({
      fd,
      largestBacklogBytes: 100,
      onDrop: (lines) => {
        dropped += lines;
      },
    });
    for (let i = 0; i < 20; i += 1) sink.write('123456789\n');
    assert.equal(dropped, 10);
    sink.flush();
    assert.equal(fs.readFileSync(path.join(directory, 'log'), 'utf8'), '123456789\n'.repeat(10));
  } finally {
    fs.closeSync(fd);
    fs.rmSync(directory, { recursive: true });
  }
});
