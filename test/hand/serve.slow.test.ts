/** The whole way as it is installed: an agent under its own user, a socket that is only its, and a root hand per connection. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import { bounded, isRoot, place, script } from './fixture.ts';

const needsRoot = { skip: isRoot ? false : 'only root can be two users' };
/** Numbers are enough: the agent of this test has no account. */
const AGENT = 45_711;
const TSX = new URL(import.meta.resolve('tsx')).href;
const urlOf = (file: string): string => JSON.stringify(new URL(`../../agent/hand/${file}`, import.meta.url).href);
const program = (module: string, names: string, body: string): readonly string[] => [
  '--import',
  TSX,
  '-e',
  `(async () => { const loaded = await import(${urlOf(module)}); const { ${names} } = loaded.default ?? loaded; ${body} })()`,
];

/** As `Accept=yes`: a root process for each connection, which is its stdin and stdout. */
async function handSocket(t: TestContext, dir: string, path: string): Promise<string> {
  const socket = `${dir}/hand.sock`;
  const children = new Set<ChildProcess>();
  const options = JSON.stringify({ etcDir: `${dir}/etc`, env: {}, scratchDir: dir, path });
  const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true }, (connection) => {
    const args = program('serve.ts', 'handMain', `process.exitCode = await handMain(${options});`);
    const child = spawn(process.execPath, args, { stdio: [connection, connection, 'inherit'], env: { PATH: path } });
    children.add(child);
    child.once('exit', () => children.delete(child));
    connection.destroy();
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  fs.chownSync(socket, AGENT, AGENT);
  fs.chmodSync(socket, 0o600);
  t.after(async () => {
    server.close();
    await Promise.all(
      [...children].map((child) => {
        child.kill('SIGKILL');
        return new Promise((resolve) => child.once('exit', resolve));
      }),
    );
  });
  return socket;
}

/** What the hand gives to a process of that user that asks for `body`. */
function asUser(uid: number, dir: string, socket: string, body: string): Promise<Readonly<Record<string, unknown>>> {
  const hooks = { dir: `${dir}/hooks.d`, user: 'daemon', timeoutMs: 20_000 };
  const script = `
    const alive = setInterval(() => {}, 1000);
    const lines = [];
    const log = { info() {}, warn() {}, error() {} };
    const hand = openHand({ socket: ${JSON.stringify(socket)}, hooks: () => (${JSON.stringify(hooks)}), env: {}, log,
      uid: process.getuid(), scratchDir: '/nonexistent', path: '/nonexistent' });
    const hook = (file) => hand.hook({ directory: 'stopping', file, env: { MJF_EVENT: 'stopping' }, stdin: 'in', timeoutMs: 20000,
      onLine: (stream, line) => lines.push(stream + ' ' + line) });
    const answer = await (${body});
    console.log(JSON.stringify({ uid: process.getuid(), answer, lines }));
    clearInterval(alive);`;
  const child = spawn(process.execPath, program('open-hand.ts', 'openHand', script), {
    uid,
    gid: uid,
    cwd: '/',
    env: { PATH: '/usr/bin:/bin', TMPDIR: dir, TSX_DISABLE_CACHE: '1' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return bounded(
    'the answer',
    new Promise((resolve, reject) => {
      let said = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        said += text;
      });
      child.once('error', reject);
      child.once('close', (code) =>
        code === 0 ? resolve(JSON.parse(said)) : reject(new Error(`exit ${code}: ${said}`)),
      );
    }),
  );
}

test(
  'an agent without any right has its hooks run as the configured user, and its machine switched off',
  needsRoot,
  async (t) => {
    const dir = place(t);
    fs.mkdirSync(`${dir}/etc`);
    const config = `[hooks]\ndir = "${dir}/hooks.d"\nuser = "daemon"\n[stop]\nwhen_done = "poweroff"\n`;
    fs.writeFileSync(`${dir}/etc/config.toml`, config);
    script(`${dir}/hooks.d/stopping/10-who`, 'echo "$(id -un) $MJF_EVENT $(cat)"; exit 3');
    const planted = script(`${dir}/hooks.d/stopping/20-planted`, `touch ${dir}/ran`);
    fs.chownSync(planted, AGENT, AGENT);
    script(`${dir}/bin/systemctl`, `echo "$(id -u) $*" >> ${dir}/asked`);
    const socket = await handSocket(t, dir, `${dir}/bin:/usr/bin:/bin`);

    const { uid, answer, lines } = await asUser(AGENT, dir, socket, `hook('10-who')`);
    assert.equal(uid, AGENT);
    const { is, code } = answer as { is: string; code: number };
    assert.deepEqual([is, code, lines], ['ended', 3, ['stdout daemon stopping in']]);

    const refused = await asUser(AGENT, dir, socket, `hook('20-planted')`);
    assert.equal((refused['answer'] as { code: string }).code, 'refused', 'the agent’s own files are not run by root');
    assert.equal(fs.existsSync(`${dir}/ran`), false);

    const off = await asUser(AGENT, dir, socket, 'hand.powerOff()');
    assert.deepEqual(off['answer'], { ok: true, output: '' });
    assert.match(fs.readFileSync(`${dir}/asked`, 'utf8'), /^0 .*poweroff\n$/);

    const units = await asUser(AGENT, dir, socket, `hand.units('stop', ['sshd.service'])`);
    assert.equal((units['answer'] as { code: string }).code, 'refused');
  },
);

test('nobody else comes to the hand', needsRoot, async (t) => {
  const dir = place(t);
  fs.mkdirSync(`${dir}/etc`);
  script(`${dir}/hooks.d/stopping/10-who`, `touch ${dir}/ran`);
  const socket = await handSocket(t, dir, '/usr/bin:/bin');
  const { answer } = await asUser(AGENT + 1, dir, socket, `hook('10-who')`);
  assert.equal((answer as { code: string }).code, 'unreachable');
  assert.equal(fs.existsSync(`${dir}/ran`), false);
});

test('without a connection it is no command for people', () => {
  const args = program('serve.ts', 'handMain', 'process.exitCode = await handMain();');
  const { status, stderr } = spawnSync(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8' });
  assert.equal(status, 1);
  assert.match(stderr, /started by its socket unit/);
});
