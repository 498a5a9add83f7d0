/** The operator's programs as the built agent runs them: through whole stories, over its crash, and beside its signals. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import test, { describe, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { place, script, until } from '../hand/fixture.ts';
import { startMjfHost } from '../hosts/mjf.ts';
import { type AgentOptions, httpValue, inSecs, type LogLine, startAgent, type TestAgent } from '../support/agent.ts';
import { isAlive, SCRIPTS, startPayload, type TestPayload } from '../support/processes.ts';
import { plainUser } from '../support/program.ts';

/** How long before the deadline of a told story it begins: enough for each part of it, on a busy machine too. */
const STORY_SECS = 14;

interface Stage {
  /** `DIR/EVENT/NAME`, a script that can say `tell WORDS`: a line in `told`. */
  hook(name: string, body: string, mode?: number): string;
  /** What the scripts told, in order. */
  told(): readonly string[];
  readonly dir: string;
  readonly hooks: string;
}

function stage(t: TestContext): Stage {
  const dir = place(t);
  const file = `${dir}/told`;
  fs.writeFileSync(file, '', { mode: 0o666 });
  // Whatever the umask: another user's scripts write there too.
  fs.chmodSync(file, 0o666);
  const prelude = `tell() { echo "$*" >> ${file}; }`;
  return {
    dir,
    hooks: `[hooks]\ndir = "${dir}/hooks.d"\ntimeout = "60s"\n`,
    hook: (name, body, mode) => script(`${dir}/hooks.d/${name}`, `${prelude}\n${body}`, mode),
    told: () => fs.readFileSync(file, 'utf8').split('\n').slice(0, -1),
  };
}

async function register(agent: TestAgent, payload: TestPayload, name = 'job'): Promise<string> {
  const body = { name, target: { pid: payload.pid, group: true } };
  const answer = await agent.request('/v1/payloads', { method: 'POST', body });
  assert.equal(answer.status, 201, answer.body.toString());
  return String(JSON.parse(answer.body.toString()).id);
}

/** Started by the agent, and surely ended with the test. */
function endWithTest(t: TestContext, line: LogLine): number {
  const pid = Number(line['pid']);
  assert.ok(pid > 1);
  t.after(() => {
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      // It has ended.
    }
  });
  return pid;
}

const of =
  (hook: string) =>
  (line: LogLine): boolean =>
    line['hook'] === hook;
const records = (agent: TestAgent): readonly string[] => fs.readdirSync(path.join(agent.journalDir, 'hooks'));
const isFirst = (lines: readonly LogLine[], first: LogLine, second: LogLine): boolean =>
  lines.indexOf(first) < lines.indexOf(second);

const OR_NONE = ['MJF_NOTICE_KIND', 'MJF_DEADLINE'].map((name) => `$(printenv ${name} || echo -)`).join(' ');
const TELL_ALL = `tell "$MJF_HOOK_RUN $MJF_EVENT $MJF_PHASE ${OR_NONE}"`;
const EVENTS = ['notice', 'draining', 'stopping', 'stopped', 'cancelled'];

describe('hooks of the built agent', { concurrency: 4 }, () => {
  test('a whole story: each event once, in its order, with what it is about; a payload’s step before its SIGTERM', async (t) => {
    const { dir, hooks, hook, told } = stage(t);
    for (const event of EVENTS)
      hook(`${event}/10-tell`, `${TELL_ALL}; read -r snapshot; echo "snapshot \${#snapshot}"; echo no >&2; exit 3`);
    hook('steps/save', `tell "save $MJF_PAYLOAD_NAME $MJF_PAYLOAD_PID $(kill -0 $MJF_PAYLOAD_PID && echo alive)"`);
    const ran = hook('notice/20-open', 'tell open', 0o777);
    const steps = '{ at = "6s", hook = "save" }, { at = "3s", signal = "SIGTERM" }, { at = "1s", signal = "SIGKILL" }';
    const config = `${hooks}[stop]\ndrain = "9s"\ngrace = "3s"\nsteps = [${steps}]\n`;
    const agent = await startAgent(t, { config });
    assert.match(
      String((await agent.log('hook_left_out', of('notice/20-open')))['why']),
      /20-open is writable by everybody/,
      'said at the start, while there is time',
    );
    const payload = await startPayload(
      t,
      `const told = () => require('node:fs').readFileSync('${dir}/told', 'utf8');
      process.on('SIGTERM', () => { say('saved ' + told().includes('save job')); process.exit(0); }); say('ready');`,
    );
    await register(agent, payload);
    const at = inSecs(STORY_SECS + agent.slackSecs);
    agent.hostDirs.set('machine', 'shutdowntime', at);

    const line = await payload.line(/^saved (.*)$/);
    assert.equal(line[1], 'true', 'its hook had run when it was told to end');
    assert.equal((await payload.ended).code, 0);
    await agent.log('hook_failed', of('stopped/10-tell'));
    const machine = told().filter((text) => /^\d/.test(text));
    const inOrder = [...machine].sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10));
    assert.deepEqual(inOrder, [
      `1-notice notice running shutdown ${at}`,
      `2-draining draining draining - ${at}`,
      `3-stopping stopping stopping - ${at}`,
      `4-stopped stopped stopped - ${at}`,
    ]);
    assert.deepEqual(
      told().filter((text) => text.startsWith('save')),
      [`save job ${payload.pid} alive`],
    );
    assert.ok(!told().includes('open'), ran);

    const output = agent.lines.filter((each) => each.event === 'hook_output' && each['hook'] === 'stopping/10-tell');
    const heard = output.map((each) => `${each['stream']} ${each['line']}`).sort();
    assert.deepEqual([heard.length, heard[0]], [2, 'stderr no']);
    assert.match(heard[1] ?? '', /^stdout snapshot [1-9]\d+$/);
    const failed = agent.lines.find((each) => each.event === 'hook_failed' && each['hook'] === 'stopping/10-tell');
    assert.deepEqual([failed?.['code'], failed?.level], [3, 'warn']);
    const metrics = await httpValue(agent, '/metrics');
    for (const event of EVENTS.slice(0, 4))
      assert.match(metrics ?? '', new RegExp(`^mjf_hooks_total\\{event="${event}",outcome="failed"\\} 1$`, 'm'));
    assert.match(metrics ?? '', /^mjf_hooks_total\{event="step",outcome="ok"\} 1$/m);
    await until('no records', () => records(agent).length === 0);
  });

  test('a host that changes its mind: notice, draining, cancelled, and no word of stopping', async (t) => {
    const { hooks, hook, told } = stage(t);
    for (const event of EVENTS) hook(`${event}/tell`, TELL_ALL);
    const agent = await startAgent(t, { config: `${hooks}[stop]\ndrain = "2h"\n` });
    const at = inSecs(3600);
    agent.hostDirs.set('machine', 'shutdowntime', at);
    await agent.log('hook_ok', of('draining/tell'));
    await agent.log('hook_ok', of('notice/tell'));
    agent.hostDirs.remove('machine', 'shutdowntime');
    await agent.log('hook_ok', of('cancelled/tell'));
    assert.deepEqual([...told()].sort(), [
      `1-notice notice draining shutdown ${at}`,
      `2-draining draining draining - ${at}`,
      '3-cancelled cancelled running - -',
    ]);
  });

  test('a hook that hangs is ended by the deadline, the rest of its event is left out, and no signal waits for it', async (t) => {
    const { hooks, hook, told } = stage(t);
    // Ignores what can be ignored, and so does what it starts.
    hook('stopping/10-hang', 'trap "" TERM; tell hang; sleep 1000 & while :; do sleep 1; done');
    hook('stopping/20-after', 'tell after');
    hook('steps/hang', 'trap "" TERM; tell step; while :; do sleep 1; done');
    const steps =
      '{ at = "grace", hook = "hang" }, { at = "grace", signal = "SIGTERM" }, { at = "2s", signal = "SIGKILL" }';
    const agent = await startAgent(t, { config: `${hooks}[stop]\ndrain = "9s"\ngrace = "8s"\nsteps = [${steps}]\n` });
    const payload = await startPayload(t, SCRIPTS.ignoresTerm);
    await register(agent, payload);
    agent.hostDirs.set('machine', 'shutdowntime', inSecs(STORY_SECS + agent.slackSecs));
    const started = await agent.log('hook_started', of('stopping/10-hang'));
    const stepStarted = await agent.log('hook_started', of('steps/hang'));
    const hanging = [started, stepStarted].map((line) => endWithTest(t, line));
    await payload.line(/^got SIGTERM$/);
    assert.ok(hanging.every(isAlive), 'it is told beside them');
    assert.equal((await payload.ended).signal, 'SIGKILL');

    const ended = await agent.log('hook_timeout', of('stopping/10-hang'));
    await agent.log('hook_timeout', of('steps/hang'));
    const skipped = await agent.log('hook_skipped');
    assert.deepEqual(skipped['files'], ['20-after']);
    assert.ok(isFirst(agent.lines, ended, skipped));
    assert.deepEqual([...told()].sort(), ['hang', 'step']);
    for (const pid of hanging) await until('the end of its group', () => !isGroupAlive(pid));
  });

  test('killed while a hook runs: the next agent hears it out, does the rest, and starts nothing twice', async (t) => {
    const { dir, hooks, hook, told } = stage(t);
    hook('notice/10-first', 'tell first');
    hook(
      'notice/20-long',
      `tell begun; until [ -e ${dir}/go ]; do echo tick; sleep 0.05; done; echo heard; tell ended`,
    );
    hook('notice/30-last', 'tell "last $MJF_REPEATED"');
    const agent = await startAgent(t, { config: hooks });
    agent.hostDirs.set('machine', 'shutdowntime', inSecs(7200));
    const pid = endWithTest(t, await agent.log('hook_started', of('notice/20-long')));
    await until('its beginning', () => told().includes('begun'));
    for (let crash = 0; crash < 2; crash += 1) {
      await agent.kill9();
      assert.ok(isAlive(pid), 'it outlives the agent');
      await agent.restart();
      assert.equal((await agent.log('hook_followed', of('notice/20-long')))['pid'], pid);
    }
    fs.writeFileSync(`${dir}/go`, '');
    await agent.log('hook_output', (line) => line['line'] === 'heard');
    await until('its end', () => told().includes('ended'));
    // The heart asks once more for what it does not know to have ended, and not a third time.
    const expected = ['first', 'begun', 'ended'];
    assert.deepEqual(told().slice(0, 3), expected);
    assert.ok(
      told()
        .slice(3)
        .every((text) => text === 'last 1'),
    );
    await agent.stop();
    await agent.restart();
    assert.deepEqual(told().slice(0, 3), expected);
    assert.ok(told().length <= 4);
  });

  test('killed once while a hook runs: the files after it are run too, once', async (t) => {
    const { dir, hooks, hook, told } = stage(t);
    hook('notice/20-long', `tell begun; until [ -e ${dir}/go ]; do sleep 0.05; done; tell ended`);
    hook('notice/30-last', 'tell "last $MJF_REPEATED"');
    const agent = await startAgent(t, { config: hooks });
    agent.hostDirs.set('machine', 'shutdowntime', inSecs(7200));
    endWithTest(t, await agent.log('hook_started', of('notice/20-long')));
    await until('its beginning', () => told().includes('begun'));
    await agent.kill9();
    await agent.restart();
    await agent.log('hook_followed', of('notice/20-long'));
    fs.writeFileSync(`${dir}/go`, '');
    await agent.log('hook_ok', of('notice/30-last'));
    await until('no records', () => records(agent).length === 0);
    await agent.stop();
    await agent.restart();
    assert.deepEqual(told(), ['begun', 'ended', 'last 1']);
  });

  test('killed while a web hook is still tried: it is told again, the programs are not run again', async (t) => {
    const { hooks, hook, told } = stage(t);
    for (const name of ['10-a', '20-b']) hook(`notice/${name}`, `tell ${name}`);
    const site = await startSite(t);
    const config = `${hooks}[[webhook]]\nurl = "${site.url}"\nevents = ["notice"]\n`;
    const agent = await startAgent(t, { config });
    agent.hostDirs.set('machine', 'shutdowntime', inSecs(7200));
    await agent.log('hook_ok', of('notice/20-b'));
    await until('a first attempt', () => site.ids.length > 0);
    await agent.kill9();
    site.recover();
    await agent.restart();
    await agent.log('webhook_sent');
    assert.equal(agent.lines.filter((line) => line.event === 'hook_uncertain').length, 0, 'no program ran again');
    assert.equal(new Set(site.ids).size, 1, 'under the same id');
    // Known to the heart now, which is written down: nothing is left to be remembered.
    await until('no records', () => records(agent).length === 0);
    await agent.kill9();
    await agent.restart();
    await agent.readAgain();
    assert.deepEqual(told(), ['10-a', '20-b']);
  });
});

/** Whether anybody but zombies is in it. */
function isGroupAlive(pgrp: number): boolean {
  return fs.readdirSync('/proc').some((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      const text = fs.readFileSync(`/proc/${name}/stat`, 'latin1');
      const [state = '', , group] = text.slice(text.lastIndexOf(')') + 2).split(' ');
      return Number(group) === pgrp && !/^[ZX]/.test(state);
    } catch {
      return false;
    }
  });
}

/** Takes no web hook until it recovers. */
async function startSite(t: TestContext) {
  const ids: string[] = [];
  let status = 503;
  const server = http.createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (text: string) => {
      body += text;
    });
    request.on('end', () => {
      ids.push(String(JSON.parse(body).event.id));
      response.writeHead(status).end();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as net.AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/events`,
    ids,
    recover() {
      status = 204;
    },
  };
}

/**
 * Never as root, and with a hand of the test's own: whatever goes wrong here, nobody is asked to switch a real machine off.
 */
describe('switched off when done', { concurrency: 2 }, () => {
  interface Changes {
    readonly mode?: number;
    /** How the host says it, instead of in its directory. */
    said?(command: string): Partial<AgentOptions>;
  }

  /** An agent with a `shutdown_command` in the host's directory, and a hand that says yes and does nothing. */
  async function ready(t: TestContext, user: { uid: number; own: boolean }, idle: string, changes: Changes = {}) {
    const { dir, hook, told } = stage(t);
    const command = hook('bin/off', 'tell "off $*"', changes.mode);
    const asked: string[] = [];
    const hand = net.createServer({ allowHalfOpen: true }, (connection) => {
      connection.on('error', () => {});
      connection.setEncoding('utf8').once('data', (text: string) => {
        asked.push(text);
        connection.end('{"result":{"ok":true,"output":""}}\n');
      });
    });
    hand.listen(`${dir}/hand.sock`);
    await once(hand, 'listening');
    fs.chmodSync(`${dir}/hand.sock`, 0o666);
    t.after(() => hand.close());
    const options: AgentOptions = {
      ...(user.own ? {} : { uid: user.uid }),
      // Nor does systemctl reach a manager that might obey.
      env: { DBUS_SYSTEM_BUS_ADDRESS: 'unix:path=/nonexistent' },
      config: `hand_socket = "${dir}/hand.sock"\n[stop]\nwhen_done = "poweroff"\nidle = "${idle}"\n`,
      ...(changes.said?.(`${command} -h now`) ?? { machine: { shutdown_command: `${command} -h now` } }),
    };
    return { agent: await startAgent(t, options), told, asked };
  }

  test('by the host’s command, once, and not while a new payload came in time', async (t) => {
    const user = plainUser();
    if ('reason' in user || user.uid === 0) return t.skip('reason' in user ? user.reason : 'root has no plain user');
    const { agent, told, asked } = await ready(t, user, '5s');
    const [first, second] = [await startPayload(t, SCRIPTS.plain), await startPayload(t, SCRIPTS.plain)];
    await register(agent, first, 'first');
    await agent.until('the first', ({ payloads }) => payloads.running === 1);
    first.child.kill('SIGKILL');
    await agent.until('none', ({ payloads }) => payloads.running === 0);
    await register(agent, second, 'second');
    // Past the time at which it would have gone, had nobody come.
    await sleep(7_000);
    assert.ok(!agent.lines.some(({ event }) => event === 'poweroff_due'));
    second.child.kill('SIGKILL');
    assert.equal((await agent.log('poweroff'))['reason'], 'done');
    await until('the command', () => told().length > 0);
    // Two more looks of the agent at what is going on.
    await agent.readAgain();
    await sleep(2_500);
    assert.deepEqual(told(), ['off -h now']);
    assert.deepEqual(asked, []);
    assert.match((await httpValue(agent, '/metrics')) ?? '', /^mjf_poweroff_total\{outcome="asked"\} 1$/m);
    assert.equal(agent.lines.filter(({ event }) => event === 'poweroff').length, 1);
  });

  test('a command that everybody may write is not run: the hand is asked', async (t) => {
    const user = plainUser();
    if ('reason' in user || user.uid === 0) return t.skip('reason' in user ? user.reason : 'root has no plain user');
    const { agent, told, asked } = await ready(t, user, '1s', { mode: 0o757 });
    const payload = await startPayload(t, SCRIPTS.plain);
    await register(agent, payload);
    payload.child.kill('SIGKILL');
    assert.match(String((await agent.log('shutdown_command_refused'))['why']), /bin\/off is writable by everybody/);
    await until('the hand', () => asked.length > 0);
    assert.deepEqual(
      asked.map((text) => JSON.parse(text)),
      [{ verb: 'power_off' }],
    );
    assert.deepEqual(told(), []);
  });

  test('a command that came over plain HTTP is not run: the hand is asked', async (t) => {
    const user = plainUser();
    if ('reason' in user || user.uid === 0) return t.skip('reason' in user ? user.reason : 'root has no plain user');
    const host = await startMjfHost();
    t.after(() => host.close());
    const said = (command: string) => {
      host.set('machine', 'shutdown_command', command);
      return { channels: ['--machinefeatures', `${host.url}/machinefeatures`] };
    };
    const { agent, told, asked } = await ready(t, user, '1s', { said });
    await agent.until('it is known', ({ machinefeatures }) => machinefeatures['shutdown_command']?.source === 'mjf');
    const payload = await startPayload(t, SCRIPTS.plain);
    await register(agent, payload);
    payload.child.kill('SIGKILL');
    await until('the hand', () => asked.length > 0);
    assert.deepEqual(told(), []);
  });
});
