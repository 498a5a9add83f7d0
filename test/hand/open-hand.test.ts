/** The agent's hand where there is no root hand, and where it needs none. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import { type TestContext, test } from 'node:test';
import type { Hand } from '../../agent/hand/hand.ts';
import { type HandOptions, openHand } from '../../agent/hand/open-hand.ts';
import { userFinder } from '../../agent/hand/user.ts';
import { bounded, hookRequest, isRoot, OWN_UID, place, readableLog, script } from './fixture.ts';

function open(t: TestContext, changes: Partial<HandOptions> & { readonly user?: string | null } = {}) {
  const dir = place(t);
  const log = readableLog();
  script(`${dir}/bin/systemctl`, `echo "$*" >> ${dir}/asked; echo done`);
  const { user = null, ...rest } = changes;
  const hand: Hand = openHand({
    socket: `${dir}/none.sock`,
    hooks: () => ({ dir: `${dir}/hooks.d`, user, timeoutMs: 60_000 }),
    env: { HOME: '/home/agent', SECRET: 'x', LANG: 'de_CH.UTF-8' },
    log: log.log,
    uid: OWN_UID,
    scratchDir: `${dir}/scratch`,
    path: `${dir}/bin:/usr/bin:/bin`,
    ...rest,
  });
  return { dir, hand, log, asked: () => fs.readFileSync(`${dir}/asked`, 'utf8') };
}

test('as the agent itself: nothing of its environment but its home', async (t) => {
  const { dir, hand } = open(t);
  script(`${dir}/hooks.d/stopping/10-tell`, 'id -u; tr "\\0" "\\n" < /proc/$$/environ');
  const { request, lines } = hookRequest({ env: { MJF_EVENT: 'stopping' } });
  const outcome = await bounded('the end', hand.hook(request));
  assert.equal(outcome.is, 'ended');
  const path = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
  const expected = [String(OWN_UID), 'HOME=/home/agent', 'MJF_EVENT=stopping', `PATH=${path}`];
  assert.deepEqual(lines.map((line) => line.replace('stdout ', '')).sort(), expected.sort());
});

test('another user and no root hand: not run, and said why', async (t) => {
  const { dir, hand } = open(t, { user: 'daemon', uid: 4711 });
  script(`${dir}/hooks.d/stopping/10-tell`, `touch ${dir}/ran`);
  const outcome = await bounded('the answer', hand.hook(hookRequest().request));
  assert.ok(outcome.is === 'not_run' && outcome.code === 'unreachable');
  assert.match(outcome.detail, /only root can run it as daemon, and there is no root hand .*ENOENT/);
  assert.equal(fs.existsSync(`${dir}/ran`), false);
});

test('the user that the agent is anyway needs no root hand', async (t) => {
  const { username, homedir } = os.userInfo();
  const { dir, hand } = open(t, { user: username });
  script(`${dir}/hooks.d/stopping/10-tell`, 'echo $HOME');
  const { request, lines } = hookRequest();
  assert.equal((await bounded('the end', hand.hook(request))).is, 'ended');
  assert.deepEqual(lines, [`stdout ${homedir}`]);
});

test('a user that does not exist runs nothing', async (t) => {
  const { hand } = open(t, { user: 'no-such-user-here' });
  const outcome = await bounded('the answer', hand.hook(hookRequest().request));
  assert.ok(outcome.is === 'not_run' && outcome.detail.includes('no-such-user-here'));
});

test('root becomes the user of the hooks', { skip: isRoot ? false : 'only root can' }, async (t) => {
  const { dir, hand } = open(t, { user: '65534' });
  script(`${dir}/hooks.d/stopping/10-tell`, 'id -u; id -G');
  const { request, lines } = hookRequest();
  assert.equal((await bounded('the end', hand.hook(request))).is, 'ended');
  assert.deepEqual(lines, ['stdout 65534', 'stdout 65534']);
});

test('units and power-off without a root hand are asked of systemd directly, and that is told once', async (t) => {
  const { hand, asked, log } = open(t, { uid: 4711 });
  assert.deepEqual(await hand.units('stop', ['a.service', 'b.scope']), { ok: true, output: 'done\n' });
  assert.equal((await hand.units('start', ['a.service'])).ok, true);
  assert.equal((await hand.powerOff()).ok, true);
  const verbs = asked()
    .trim()
    .split('\n')
    .map((line) => line.replace(/^.*--quiet /, ''));
  assert.deepEqual(verbs, ['stop --no-block -- a.service b.scope', 'start --no-block -- a.service', 'poweroff']);
  assert.equal(log.lines.filter(({ event }) => event === 'hand_missing').length, 1);
});

test('root asks nobody', { skip: isRoot ? false : 'only root is root' }, async (t) => {
  const { hand, log } = open(t);
  assert.equal((await hand.powerOff()).ok, true);
  assert.deepEqual(log.lines, []);
});

test('no pattern and no empty list reaches systemctl', async (t) => {
  const { dir, hand } = open(t, { uid: 0 });
  for (const units of [[], ['*'], ['a.service', 'b*.service'], ['--all'], ['condor']]) {
    const result = await hand.units('stop', units);
    assert.equal(!result.ok && result.code, 'refused', units.join());
  }
  assert.equal(fs.existsSync(`${dir}/asked`), false);
});

test('no systemctl is a failure with a code', async (t) => {
  const { hand } = open(t, { path: '/nonexistent', uid: 0 });
  const result = await hand.powerOff();
  assert.ok(!result.ok && result.code === 'not_found');
});

test('a hand that talks nonsense, or ends without a word, is a failure and no crash', async (t) => {
  for (const [answer, code] of [
    ['nonsense\n', 'failed'],
    ['', 'failed'],
    ['x'.repeat(200_000), 'failed'],
    ['{"result":{"ok":false,"code":"refused","detail":"no"}}\n', 'refused'],
  ] as const) {
    const { dir, hand } = open(t, { user: 'daemon', uid: 4711 });
    const server = net.createServer((connection) => {
      connection.on('error', () => {});
      connection.once('data', () => connection.end(answer));
    });
    await new Promise<void>((resolve) => server.listen(`${dir}/none.sock`, resolve));
    const outcome = await bounded('the answer', hand.hook(hookRequest().request));
    assert.equal(outcome.is === 'not_run' && outcome.code, code, answer.slice(0, 20));
    const result = await bounded('the answer', hand.powerOff());
    assert.equal(!result.ok && result.code, code);
    const big = await bounded('the answer', hand.hook(hookRequest({ stdin: 'x'.repeat(2_000_000) }).request));
    assert.equal(big.is === 'not_run' && big.code, 'failed');
    server.close();
  }
});

test('a hand that is lost after the start has not "not run" the hook', async (t) => {
  const { dir, hand } = open(t, { user: 'daemon', uid: 4711 });
  const server = net.createServer((connection) => {
    connection.once('data', () => connection.end('{"started":{"pid":99,"startTicks":7}}\n'));
  });
  await new Promise<void>((resolve) => server.listen(`${dir}/none.sock`, resolve));
  const outcome = await bounded('the answer', hand.hook(hookRequest().request));
  assert.deepEqual({ ...outcome, ms: 0 }, { is: 'ended', code: null, signal: null, ms: 0 });
  server.close();
});

test('users by name and number, from the file, else from the system; nothing that is none', async (t) => {
  const dir = place(t);
  fs.writeFileSync(`${dir}/passwd`, 'a:x:17:18::/home/a:/bin/sh\nbroken\nb:x:-1:1::/:\n4:x:19:20:::\n');
  const find = userFinder({ passwdFile: `${dir}/passwd` });
  assert.deepEqual(await find('a'), { name: 'a', uid: 17, gid: 18, home: '/home/a' });
  assert.deepEqual(await find('19'), { name: '4', uid: 19, gid: 20, home: '/' });
  assert.equal((await find('root'))?.uid, 0, 'asked of the system');
  for (const none of ['b', '', '-v', 'a:b', 'no-such-user-here', '../a']) assert.equal(await find(none), null, none);
});
