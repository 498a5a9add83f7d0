/** The root hand over a real socket, in this process; as another user: serve.slow.test.ts. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import { type TestContext, test } from 'node:test';
import type { Config } from '../../agent/config.ts';
import { unitsProblem } from '../../agent/hand/allowed.ts';
import type { Hand, HookProgram } from '../../agent/hand/hand.ts';
import { openHand } from '../../agent/hand/open-hand.ts';
import { scratchDirOf, serveHand } from '../../agent/hand/serve.ts';
import { isAlive, untilDead } from '../support/processes.ts';
import { bounded, hookRequest, isRoot, OWNERS, place, readableLog, script, until } from './fixture.ts';

/** Somebody else than the agent is asked to be: then everything goes to the hand. */
const AGENT_UID = 4711;
const ME = os.userInfo().username;

interface Stage {
  readonly dir: string;
  readonly hand: Hand;
  readonly socket: string;
  readonly log: ReturnType<typeof readableLog>;
  /** What systemctl was called with. */
  systemctl(): string;
}

async function stage(t: TestContext, config: string, systemctl = 'exit 0'): Promise<Stage> {
  const dir = place(t);
  fs.mkdirSync(`${dir}/etc`, { mode: 0o755 });
  fs.writeFileSync(`${dir}/etc/config.toml`, config.replaceAll('DIR', dir), { mode: 0o644 });
  script(`${dir}/bin/systemctl`, `echo "$*" >> ${dir}/asked\n${systemctl}`);
  const log = readableLog();
  const socket = `${dir}/hand.sock`;
  const path = `${dir}/bin:/usr/bin:/bin`;
  const serving = new Set<Promise<void>>();
  const server = net.createServer({ allowHalfOpen: true }, (connection) => {
    const options = { etcDir: `${dir}/etc`, env: {}, owners: OWNERS, log: log.log, path };
    const served = serveHand(connection, { ...options, scratchDir: `${dir}/scratch`, procRoot: '/proc' });
    serving.add(served);
    void served.finally(() => serving.delete(served));
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  t.after(async () => {
    server.close();
    await Promise.all(serving);
  });
  // The agent's own idea of the configuration must not matter.
  const hooks = () => ({ dir: '/nonexistent', user: ME, timeoutMs: 60_000 });
  const hand = openHand({
    socket,
    hooks,
    env: {},
    log: log.log,
    uid: AGENT_UID,
    scratchDir: dir,
    path: '/nonexistent',
  });
  const asked = (): string => (fs.existsSync(`${dir}/asked`) ? fs.readFileSync(`${dir}/asked`, 'utf8') : '');
  return { dir, hand, socket, log, systemctl: asked };
}

const HOOKS = `[hooks]\ndir = "DIR/hooks.d"\nuser = "${ME}"\ntimeout = "20s"\n`;
/** Whose time is not over before the test's: what ends it is the wish to have it ended. */
const LONG_HOOKS = HOOKS.replace('20s', '10m');
const runsAsUser = { skip: isRoot ? false : 'only root can become the user of the hooks' };

test('a hook: checked there, run there, its lines and its end heard here', runsAsUser, async (t) => {
  const { dir, hand } = await stage(t, HOOKS);
  script(`${dir}/hooks.d/stopping/10-tell`, 'cat; echo "$MJF_EVENT $HOME $LOGNAME"; echo no >&2; exit 4');
  const started: HookProgram[] = [];
  const { request, lines } = hookRequest({
    env: { MJF_EVENT: 'stopping' },
    stdin: 'the snapshot\n',
    onStarted: (program) => started.push(program),
  });
  const outcome = await bounded('the end', hand.hook(request));
  assert.deepEqual({ ...outcome, ms: 0 }, { is: 'ended', code: 4, signal: null, ms: 0 });
  const { homedir } = os.userInfo();
  assert.deepEqual(lines.sort(), ['stderr no', `stdout stopping ${homedir} ${ME}`, 'stdout the snapshot']);
  assert.equal(started.length, 1);
  assert.deepEqual(started[0]?.pipes, [], 'the hand empties them');
});

test('a hook by the hand’s own rules: what is not there, open to others, outside, or with a strange variable', async (t) => {
  const { dir, hand } = await stage(t, HOOKS);
  script(`${dir}/hooks.d/stopping/open`, `touch ${dir}/ran`, 0o777);
  script(`${dir}/hooks.d/stopping/fine`, `touch ${dir}/ran`);
  script(`${dir}/outside`, `touch ${dir}/ran`);
  const codeOf = async (changes: Parameters<typeof hookRequest>[0]): Promise<string> => {
    const outcome = await bounded('the answer', hand.hook(hookRequest(changes).request));
    return outcome.is === 'not_run' ? outcome.code : outcome.is;
  };
  assert.equal(await codeOf({ file: 'missing' }), 'not_found');
  assert.equal(await codeOf({ file: 'open' }), 'refused');
  assert.equal(await codeOf({ file: '../../outside' }), 'refused');
  assert.equal(await codeOf({ directory: '..', file: 'outside' }), 'refused');
  for (const name of ['LD_PRELOAD', 'MJF_AGENT_RUNTIME_DIR'])
    assert.equal(await codeOf({ file: 'fine', env: { [name]: '/tmp/x' } }), 'refused', name);
  assert.equal(fs.existsSync(`${dir}/ran`), false);
});

test('no user for hooks: the hand runs none as root', async (t) => {
  const { dir, hand } = await stage(t, '[hooks]\ndir = "DIR/hooks.d"\n');
  script(`${dir}/hooks.d/stopping/10-tell`, `touch ${dir}/ran`);
  const outcome = await hand.hook(hookRequest().request);
  assert.ok(outcome.is === 'not_run' && outcome.code === 'refused');
  assert.match(outcome.detail, /names nobody/);
  assert.equal(fs.existsSync(`${dir}/ran`), false);
});

test('the configuration bounds the time of a hook, whatever the agent asks for', runsAsUser, async (t) => {
  const { dir, hand } = await stage(t, HOOKS.replace('20s', '1s'));
  script(`${dir}/hooks.d/stopping/10-tell`, 'exec sleep 100');
  assert.equal((await bounded('the end', hand.hook(hookRequest({ timeoutMs: 3_600_000 }).request))).is, 'timeout');
});

test('a hook that is called off ends; one whose agent dies does not', runsAsUser, async (t) => {
  const { dir, hand, socket } = await stage(t, LONG_HOOKS);
  script(
    `${dir}/hooks.d/stopping/10-tell`,
    `echo $$; until [ -e ${dir}/go ]; do echo tick; sleep 0.02; done; touch ${dir}/done`,
  );
  const abort = new AbortController();
  const calledOff = hand.hook(
    hookRequest({ timeoutMs: 600_000, signal: abort.signal, onStarted: () => abort.abort() }).request,
  );
  assert.equal((await bounded('the end', calledOff)).is, 'timeout');

  const { directory, file, env, stdin, timeoutMs } = hookRequest().request;
  const client = net.connect(socket);
  const text = `${JSON.stringify({ verb: 'hook', directory, file, env, stdin, timeoutMs })}\n`;
  client.write(text);
  const pid = await bounded(
    'the start',
    new Promise<number>((resolve) => {
      let held = '';
      client.setEncoding('utf8').on('data', (chunk: string) => {
        held += chunk;
        const found = /"pid":(\d+)/.exec(held);
        if (found !== null) resolve(Number(found[1]));
      });
    }),
  );
  client.destroy();
  assert.ok(isAlive(pid));
  fs.writeFileSync(`${dir}/go`, '');
  await until('its last act', () => fs.existsSync(`${dir}/done`));
  await untilDead(pid);
});

test('it is called off by any line, also one that came together with others', runsAsUser, async (t) => {
  const { dir, socket } = await stage(t, LONG_HOOKS);
  script(`${dir}/hooks.d/stopping/10-tell`, 'exec sleep 100');
  const { directory, file, env, stdin, timeoutMs } = hookRequest({ timeoutMs: 600_000 }).request;
  const request = JSON.stringify({ verb: 'hook', directory, file, env, stdin, timeoutMs });
  const abort = '{"abort":true}\n';
  for (const [first, second] of [
    [`${request}\n`, `{"hello":1}\n${abort}`],
    [`${request}\n{"hello":1}\n${abort}`, ''],
    [`${request}\n{"abort"`, ':true}\n'],
  ] as const) {
    const client = net.connect(socket);
    const ended = new Promise<string>((resolve) => {
      let heard = '';
      client.setEncoding('utf8').on('data', (chunk: string) => {
        if (heard === '' && second !== '') client.write(second);
        heard += chunk;
      });
      client.on('close', () => resolve(heard));
    });
    client.write(first);
    assert.match(await bounded('the end', ended), /\{"outcome":\{"is":"timeout"/);
  }
});

test('what a killed hand left in its place is swept, what another one is just making is not', runsAsUser, async (t) => {
  const { dir, hand } = await stage(t, HOOKS);
  script(`${dir}/hooks.d/stopping/10-tell`, 'true');
  const made = ['hook-old123', 'hook-new123', 'hook-else', 'other'].map((name) => `${dir}/scratch/${name}`);
  const old = new Date(Date.now() - 3_600_000);
  for (const each of made) {
    fs.mkdirSync(each, { recursive: true });
    fs.writeFileSync(`${each}/stdin`, '');
    if (!each.endsWith('new123')) fs.utimesSync(each, old, old);
  }
  assert.equal((await bounded('the end', hand.hook(hookRequest().request))).is, 'ended');
  assert.deepEqual(fs.readdirSync(`${dir}/scratch`).sort(), ['hook-else', 'hook-new123', 'other']);
});

test('its place is what systemd gives to it, else one of its own', () => {
  assert.equal(scratchDirOf({ RUNTIME_DIRECTORY: '/run/hand:/run/other' }), '/run/hand');
  for (const env of [{}, { RUNTIME_DIRECTORY: '' }, { RUNTIME_DIRECTORY: 'tmp' }])
    assert.equal(scratchDirOf(env), '/run/mjf-agent-hand');
});

const UNITS = '[[payload]]\nname = "a"\nunit = "condor.service"\n[[payload]]\nname = "b"\nunit = "batch.slice"\n';

test('units: those that the configuration names, and those below a slice that it names', async (t) => {
  const show = `
    case "$*" in *show*) shift 3;; *) exit 0;; esac
    for unit; do case $unit in
      job1.scope) printf 'Names=job1.scope\\nSlice=batch.slice\\n\\n';;
      job2.scope) printf 'Names=job2.scope\\nSlice=batch-large.slice\\n\\n';;
      alias.service) printf 'Names=condor.service alias.service\\nSlice=system.slice\\n\\n';;
      batches.service) printf 'Names=batches.service\\nSlice=batches.slice\\n\\n';;
      other.service) printf 'Names=other.service\\nSlice=system.slice\\n\\n';;
    esac; done`;
  const { hand, systemctl } = await stage(t, UNITS, show);
  const may = async (...units: readonly string[]): Promise<boolean> => (await hand.units('stop', units)).ok;
  assert.equal(await may('condor.service', 'batch.slice'), true);
  assert.match(systemctl(), /stop --no-block -- condor\.service batch\.slice\n$/);
  assert.equal(await may('job1.scope'), true);
  assert.equal(await may('job2.scope', 'alias.service', 'condor.service'), true);
  assert.equal(await may('other.service'), false);
  assert.equal(await may('job1.scope', 'other.service'), false);
  assert.equal(await may('batches.service'), false);
  assert.equal(await may('unknown.service'), false);
  assert.doesNotMatch(systemctl(), /(stop|start) .*(other|unknown|batches)/);
  assert.equal((await hand.units('start', ['condor.service'])).ok, true);
  assert.match(systemctl(), /start --no-block -- condor\.service\n$/);
});

test('units that the machine or the agent needs: not by a name, nor below a slice, nor as an alias', async (t) => {
  const show = `
    case "$*" in *show*) shift 3;; *) exit 0;; esac
    for unit; do case $unit in
      alias.service) printf 'Names=alias.service dbus.service\\nSlice=batch.slice\\n\\n';;
      job.socket) printf 'Names=job.socket\\nSlice=batch.slice\\n\\n';;
      job1.scope) printf 'Names=job1.scope\\nSlice=batch.slice\\n\\n';;
    esac; done`;
  const { hand, systemctl } = await stage(t, UNITS, show);
  for (const unit of ['system.slice', '-.slice', 'init.scope', 'systemd-logind.service', 'systemd-journald.socket'])
    await refused(unit);
  for (const unit of ['dbus.service', 'dbus.socket', 'mjf-agent.service', 'mjf-agent-hand.socket', 'alias.service'])
    await refused(unit);
  assert.doesNotMatch(systemctl(), / stop /);
  assert.equal((await hand.units('start', ['job.socket', 'job1.scope'])).ok, true);

  async function refused(unit: string): Promise<void> {
    const answer = await hand.units('stop', ['condor.service', unit]);
    assert.equal(!answer.ok && answer.code, 'refused', unit);
  }
});

test('a configuration that names the system’s slice opens nothing below it', async (t) => {
  const dir = place(t);
  script(`${dir}/bin/systemctl`, "printf 'Names=cron.service\\nSlice=system.slice\\n\\n'");
  const how = { path: `${dir}/bin`, env: {} };
  const of = (unit: string) => ({ payloads: [{ find: { by: 'unit', unit } }] }) as unknown as Config;
  assert.match((await unitsProblem(['system.slice'], of('system.slice'), how)) ?? '', /would stop the machine/);
  assert.match((await unitsProblem(['cron.service'], of('system.slice'), how)) ?? '', /names no \[\[payload\]\] unit/);
  assert.equal(await unitsProblem(['cron.service'], of('cron'), how), null);
});

test('what systemctl complains of comes back', async (t) => {
  const { hand } = await stage(t, UNITS, 'echo "no bus" >&2; exit 1');
  const result = await hand.units('stop', ['condor.service']);
  assert.ok(!result.ok && result.code === 'failed' && result.detail.includes('no bus'), JSON.stringify(result));
});

test('power-off only where [stop] says so', async (t) => {
  const refused = await stage(t, '');
  const answer = await refused.hand.powerOff();
  assert.ok(!answer.ok && answer.code === 'refused');
  const toWrite = `write \\[stop\\] when_done = "poweroff" \\(or at_deadline\\) in ${refused.dir}/etc/config\\.toml$`;
  assert.match(answer.detail, new RegExp(toWrite), 'what to write, and where');
  assert.equal(refused.systemctl(), '');
  for (const stop of ['when_done', 'at_deadline']) {
    const allowed = await stage(t, `[stop]\n${stop} = "poweroff"\n`);
    assert.deepEqual(await allowed.hand.powerOff(), { ok: true, output: '' });
    assert.match(allowed.systemctl(), /poweroff\n$/);
  }
});

test('a configuration that others could have written, or that is wrong, allows nothing', async (t) => {
  const { dir, hand } = await stage(t, '[stop]\nwhen_done = "poweroff"\n');
  const code = async (): Promise<string> => {
    const answer = await hand.powerOff();
    return answer.ok ? 'ok' : answer.code;
  };
  assert.equal(await code(), 'ok');
  fs.chmodSync(`${dir}/etc/config.toml`, 0o664);
  assert.equal(await code(), 'refused');
  fs.chmodSync(`${dir}/etc/config.toml`, 0o644);
  fs.chmodSync(`${dir}/etc`, 0o775);
  assert.equal(await code(), 'refused');
  fs.chmodSync(`${dir}/etc`, 0o755);
  fs.mkdirSync(`${dir}/etc/conf.d`);
  fs.chmodSync(`${dir}/etc/conf.d`, 0o777);
  assert.equal(await code(), 'refused');
  fs.chmodSync(`${dir}/etc/conf.d`, 0o755);
  assert.equal(await code(), 'ok');
  fs.writeFileSync(`${dir}/etc/conf.d/a.toml`, 'nonsense');
  assert.equal(await code(), 'refused');
});

test('whatever comes over the socket is answered or let go', async (t) => {
  const { socket, hand } = await stage(t, '[stop]\nwhen_done = "poweroff"\n');
  const answerTo = (text: string): Promise<string> =>
    bounded(
      'an answer',
      new Promise((resolve) => {
        let heard = '';
        const client = net.connect(socket);
        client.setEncoding('utf8').on('data', (chunk: string) => {
          heard += chunk;
        });
        client.on('error', () => {});
        client.on('close', () => resolve(heard));
        client.write(text);
      }),
    );
  for (const text of [
    '\n',
    'GET / HTTP/1.1\r\n\r\n',
    '{"verb":"shell"}\n',
    '{"abort":true}\n',
    '\0\0\n',
    'x'.repeat(2_000_000),
  ])
    assert.match(await answerTo(text), /^\{"result":\{"ok":false,"code":"refused",/, text.slice(0, 20));
  const gone = net.connect(socket);
  gone.on('connect', () => gone.destroy());
  assert.equal((await hand.powerOff()).ok, true);
});
