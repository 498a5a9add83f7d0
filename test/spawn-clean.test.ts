import assert from 'node:assert/strict';
import { type ChildProcess, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { type SpawnResult, spawnClean } from '../agent/spawn-clean.ts';

const isRoot = process.getuid?.() === 0;
const MODULE = new URL('../agent/spawn-clean.ts', import.meta.url).href;
const TSX = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;

function place(t: TestContext): string {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-spawn-'));
  t.after(() => fs.rmSync(dir, { recursive: true, force: true }));
  return dir;
}

function started(result: SpawnResult): ChildProcess {
  assert.ok('child' in result, JSON.stringify(result));
  return result.child;
}

async function output(child: ChildProcess): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of child.stdout ?? []) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString();
}

/** Runs an agent-like process behind `wrapper`, which spawns `command` cleanly and shows what it printed. */
function behind(wrapper: readonly string[], command: readonly string[]): string {
  const [file, ...args] = command;
  const program = `
    const loaded = await import(${JSON.stringify(MODULE)});
    const { spawnClean } = loaded.default ?? loaded;
    const result = spawnClean(${JSON.stringify(file)}, ${JSON.stringify(args)}, { stdio: 'inherit' });
    if ('error' in result) console.log(result.error);
    else result.child.on('exit', (code) => { console.log('pid', result.child.pid); process.exitCode = code ?? 1; });`;
  const [first, ...rest] = [...wrapper, process.execPath, '--import', TSX, '--input-type=module', '-e', program];
  const { stdout, stderr, status } = spawnSync(first ?? '', rest, { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  return stdout;
}

test('arguments, environment, directory and group arrive as given, without a shell', async (t) => {
  const cwd = fs.realpathSync(place(t));
  const program = 'console.log(JSON.stringify([process.argv.slice(1), process.cwd(), process.env, process.pid]))';
  const args = ['-e', program, '--', '$HOME; *', '', 'ü "'];
  const env = { PATH: path.dirname(process.execPath), A: '1' };
  const child = started(spawnClean('node', args, { cwd, env, stdio: ['ignore', 'pipe', 'inherit'], detached: true }));
  const pid = child.pid ?? 0;
  const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
  assert.deepEqual(
    stat
      .slice(stat.lastIndexOf(')') + 2)
      .split(' ')
      .slice(2, 4),
    [String(pid), String(pid)],
  );
  assert.deepEqual(JSON.parse(await output(child)), [['$HOME; *', '', 'ü "'], cwd, env, pid]);
});

test('a command that is not there or may not be run is said beforehand', (t) => {
  const dir = place(t);
  fs.writeFileSync(path.join(dir, 'plain'), '#!/bin/true\n', { mode: 0o644 });
  fs.mkdirSync(path.join(dir, 'directory'));
  const env = { PATH: dir };
  assert.deepEqual(spawnClean('missing', [], { env }), { error: 'not_found', command: 'missing' });
  assert.deepEqual(spawnClean('', [], { env }), { error: 'not_found', command: '' });
  assert.deepEqual(spawnClean('plain', [], { env }), { error: 'not_executable', command: 'plain' });
  assert.deepEqual(spawnClean('directory', [], { env }), { error: 'not_executable', command: 'directory' });
  assert.deepEqual(spawnClean(`${dir}/plain`, [], { env }), { error: 'not_executable', command: `${dir}/plain` });
  assert.deepEqual(spawnClean('./missing', [], { cwd: dir }), { error: 'not_found', command: './missing' });
});

test('PATH is searched as execvp does: past what may not be run, relative to the child’s directory', async (t) => {
  const dir = place(t);
  for (const [name, mode] of [
    ['one', 0o644],
    ['two', 0o755],
  ] as const) {
    fs.mkdirSync(path.join(dir, name));
    fs.writeFileSync(path.join(dir, name, 'tool'), '#!/bin/sh\necho "$0"\n', { mode });
  }
  const found = spawnClean('tool', [], {
    cwd: dir,
    env: { PATH: `${dir}/one:two` },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  assert.equal(await output(started(found)), `${dir}/two/tool\n`);
});

test('the soft descriptor limit that Node raised is the one it was started with', () => {
  const shell = ['prlimit', '--nofile=512:4096', 'sh', '-c', '"$@"; exit $?', 'sh'];
  const limits = behind(shell, ['cat', '/proc/self/limits']);
  assert.match(limits, /^Max open files\s+512\s+4096\s/m);
});

const ambient = ['setpriv', '--inh-caps', '+kill', '--ambient-caps', '+kill'];
const canRaise = isRoot && spawnSync(ambient[0] ?? '', [...ambient.slice(1), 'true']).status === 0;

test('no ambient or inheritable capability reaches a child, and its pid is the one reported', {
  skip: canRaise ? false : 'not root, or no setpriv: no ambient capability can be given',
}, () => {
  const show = [
    'node',
    '-e',
    `console.log(require('fs').readFileSync('/proc/self/status', 'utf8'), 'self', process.pid)`,
  ];
  const plain = spawnSync(ambient[0] ?? '', [...ambient.slice(1), ...show], { encoding: 'utf8' }).stdout;
  assert.match(plain, /^CapAmb:\t0000000000000020$/m, 'the stage is set');
  const clean = behind(ambient, show);
  assert.match(clean, /^CapAmb:\t0{16}$/m);
  assert.match(clean, /^CapInh:\t0{16}$/m);
  assert.equal(/self (\d+)/.exec(clean)?.[1], /^pid (\d+)$/m.exec(clean)?.[1]);
});

test('as another user: its ids, its groups, and nothing of root', {
  skip: isRoot ? false : 'not root: nobody else can be become',
}, async () => {
  const user = { name: 'nobody', uid: 65534, gid: 65534 };
  const shown = await output(
    started(spawnClean('cat', ['/proc/self/status'], { user, stdio: ['ignore', 'pipe', 'inherit'] })),
  );
  assert.match(shown, /^Uid:\t65534\t65534\t65534\t65534$/m);
  assert.match(shown, /^Gid:\t65534\t65534\t65534\t65534$/m);
  assert.match(shown, /^Groups:\t65534 ?$/m);
  assert.match(shown, /^CapPrm:\t0{16}$/m);
});

test('capabilities would leak and nothing can drop them: nothing is started', (t) => {
  const root = place(t);
  fs.mkdirSync(path.join(root, 'self'));
  fs.writeFileSync(path.join(root, 'self/status'), 'CapAmb:\t0000000000000020\n');
  const stat = fs.statSync;
  t.mock.method(fs, 'statSync', (file: string) => {
    if (file.endsWith('/setpriv')) throw Object.assign(new Error('ENOENT'), { code: 'ENOENT' });
    return stat(file);
  });
  assert.deepEqual(spawnClean('true', [], { procRoot: root }), { error: 'no_setpriv', command: 'true' });
  const user = { name: 'nobody', uid: 65534, gid: 65534 };
  assert.deepEqual(spawnClean('true', [], { user }), { error: 'no_setpriv', command: 'true' }, 'never as root instead');
});
