/** The screens on a real terminal: what is written to it, and that it is as before afterwards. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { PROGRAM } from '../support/program.ts';
import { lacksPty, onPty, type Pty } from '../support/pty.ts';
import { type Answer, fakeDaemon, lifetime } from './cli.ts';
import { BUSY } from './screens.ts';

const skip = lacksPty();

const ENTERED = '\u001b[?1049h';
const LEFT = '\u001b[?1049l';
const CURSOR_BACK = '\u001b[?25h';
const AS_BEFORE = { echo: true, lines: true };
const ESCAPE = '\u001b';

// biome-ignore lint/suspicious/noControlCharactersInRegex: what is taken away
const withoutColour = (text: string): string => text.replaceAll(/\u001b\[[\d;]*[mK]/g, '');

/** A daemon whose truth a test changes. */
async function daemonOf(t: TestContext, first: string) {
  let body = first;
  let changed = (): void => {};
  const daemon = await fakeDaemon(async ({ url }): Promise<Answer> => {
    if (url === '/v1/payloads') return { status: 200, body: '[]' };
    const asked = new URLSearchParams(url.split('?')[1]).get('last_etag');
    while (asked === `"${body.length}"`) {
      await new Promise<void>((resolve) => {
        changed = resolve;
      });
    }
    return { status: 200, body, headers: { etag: `"${body.length}"` } };
  });
  t.after(() => daemon.close());
  const become = (next: string): void => {
    body = next;
    changed();
  };
  return { ...daemon, become };
}

function start(
  t: TestContext,
  argv: readonly string[],
  runtimeDir: string,
  env: Readonly<Record<string, string>> = {},
  size: readonly [number, number] = [24, 80],
): Pty {
  const terminal = onPty([process.execPath, PROGRAM, ...argv, '--runtime-dir', runtimeDir], size, {
    TERM: 'xterm-256color',
    LANG: 'C.UTF-8',
    ...env,
  });
  t.after(() => terminal.kill());
  return terminal;
}

const notice = { id: 'operator/1', source: 'operator', kind: 'drain', deadline: null, reason: 'rack', first_seen: 1 };

describe('watch on a terminal', { skip, concurrency: 2 }, () => {
  test('shows a notice without a restart, draws anew after a resize, says that the daemon is gone; SIGINT restores the terminal', async (t) => {
    const daemon = await daemonOf(t, lifetime());
    const terminal = start(t, ['watch'], daemon.runtimeDir);
    await terminal.until(/no end is foreseen/);
    assert.ok(terminal.text().startsWith(ENTERED));
    daemon.become(lifetime({ notices: [notice] }));
    await terminal.until(/operator\/1 {2}drain[\s\S]*Changes[\s\S]*notice operator\/1/);

    const before = terminal.text().length;
    terminal.resize(9, 30);
    // Cleared first: what the terminal itself has broken anew must not stay between the lines.
    await terminal.until(/\[2J[\s\S]*no end is foreseen[\s\S]*\[J/, before);
    const frame = terminal.text().slice(before).split('\u001b[J').at(-2)?.split('\u001b[H').at(-1) ?? '';
    const lines = withoutColour(frame).split(/\r+\n/);
    assert.ok(lines.length <= 9 && lines.every((line) => line.length <= 30), JSON.stringify(lines));

    terminal.resize(24, 80);
    await daemon.stop();
    await terminal.until(/CONNECTION LOST 0:00:0\d ago[\s\S]*foreseen \(old\)/);
    terminal.signal('SIGINT');
    assert.deepEqual(await terminal.ended, { ...(await terminal.ended), exit: -2, modes: AS_BEFORE });
    assert.ok(
      terminal.text().includes(CURSOR_BACK) && terminal.text().endsWith(LEFT),
      JSON.stringify(terminal.text().slice(-80)),
    );
  });

  for (const [name, end, exit] of [
    ['SIGTERM', (terminal: Pty) => terminal.signal('SIGTERM'), -15],
    ['SIGHUP', (terminal: Pty) => terminal.signal('SIGHUP'), -1],
    ['Ctrl-C', (terminal: Pty) => terminal.send('\u0003'), -2],
  ] as const) {
    test(`${name} ends it by the signal and restores the terminal`, async (t) => {
      const daemon = await daemonOf(t, lifetime());
      const terminal = start(t, ['watch'], daemon.runtimeDir);
      await terminal.until(/no end is foreseen/);
      end(terminal);
      const ended = await terminal.ended;
      assert.deepEqual([ended.exit, ended.modes], [exit, AS_BEFORE]);
      assert.ok(terminal.text().includes(CURSOR_BACK) && terminal.text().endsWith(LEFT));
    });
  }

  test('a terminal that is gone ends it as a hang-up does', async (t) => {
    const daemon = await daemonOf(t, lifetime());
    const terminal = start(t, ['watch'], daemon.runtimeDir);
    await terminal.until(/no end is foreseen/);
    terminal.hangup();
    assert.equal((await terminal.ended).exit, -1);
  });

  test('a crash restores the terminal first, and is told on it afterwards', async (t) => {
    const daemon = await daemonOf(t, lifetime());
    const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-crash-'));
    t.after(() => fs.rmSync(dir, { recursive: true }));
    const crash = path.join(dir, 'crash.cjs');
    // Nobody else listens to SIGUSR2.
    fs.writeFileSync(crash, `process.on('SIGUSR2', () => { throw new Error('boom'); });\n`);
    const terminal = start(t, ['watch'], daemon.runtimeDir, { NODE_OPTIONS: `--require=${crash}` });
    await terminal.until(/no end is foreseen/);
    terminal.signal('SIGUSR2');
    const ended = await terminal.ended;
    assert.deepEqual([ended.exit, ended.modes], [70, AS_BEFORE]);
    assert.match(terminal.text().split(LEFT).at(-1) ?? '', /^mjf-agent: internal error: boom /);
  });

  test('Ctrl-Z gives the terminal back, and a stop that does not come about, or ends, brings the view again; q ends it with 0', async (t) => {
    const daemon = await daemonOf(t, lifetime());
    const terminal = start(t, ['watch'], daemon.runtimeDir);
    await terminal.until(/no end is foreseen/);
    terminal.send('\u001a');
    await terminal.until(/1049l[\s\S]*1049h[\s\S]*no end is foreseen/);
    assert.ok(terminal.text().includes(CURSOR_BACK));
    terminal.send('q');
    const ended = await terminal.ended;
    assert.deepEqual([ended.exit, ended.modes], [0, AS_BEFORE]);
    // What was seen last stays in the terminal's history.
    assert.match(terminal.text().split(LEFT).at(-1) ?? '', /^\S+ phase running; no deadline\r\n$/);
  });

  for (const [name, argv, env] of [
    ['with --plain', ['watch', '--plain'], {}],
    ['with TERM=dumb', ['watch'], { TERM: 'dumb' }],
    ['with --json', ['watch', '--json'], {}],
  ] as const) {
    test(`${name}: lines, and no escape byte`, async (t) => {
      const daemon = await daemonOf(t, lifetime({ reason: 'x\u001b[2J', deadline: 1_766_440_000 }));
      const terminal = start(t, argv, daemon.runtimeDir, env);
      const text = await terminal.until(/\r\n/);
      assert.ok(!text.includes(ESCAPE) && text.includes('x\\u001b[2J'), JSON.stringify(text));
    });
  }
});

describe('status on a terminal', { skip, concurrency: 2 }, () => {
  for (const [name, env, isColoured] of [
    ['is coloured', {}, true],
    ['is not with NO_COLOR', { NO_COLOR: '1' }, false],
    ['is not with TERM=dumb', { TERM: 'dumb' }, false],
    ['is with FORCE_COLOR over NO_COLOR', { NO_COLOR: '1', FORCE_COLOR: '1' }, true],
  ] as const) {
    test(`${name}, and as wide as the terminal`, async (t) => {
      const daemon = await daemonOf(t, lifetime(BUSY));
      const terminal = start(t, ['status'], daemon.runtimeDir, env, [24, 50]);
      const { exit } = await terminal.ended;
      const text = terminal.text();
      assert.deepEqual([exit, text.includes(ESCAPE)], [0, isColoured]);
      const lines = withoutColour(text).split('\r\n');
      assert.ok(lines.length > 20 && lines.every((line) => [...line].length <= 50), text);
    });
  }
});
