/** The daemon as a process: how it starts, is told, ends, dies and comes back, and what it says when it cannot work. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import test, { describe } from 'node:test';
import { inSecs, startAgent, type TestAgent } from '../support/agent.ts';
import { isAlive, SCRIPTS, startPayload } from '../support/processes.ts';
import { PROGRAM, plainUser, runProgram } from '../support/program.ts';
import { assertFacesAgree } from './faces.ts';

const RUNTIME_DIR_BY_DEFAULT = '/run/mjf-agent';

const runAgain = (agent: TestAgent) =>
  runProgram(['run', '--runtime-dir', agent.runtimeDir, '--state-dir', agent.stateDir, '--listen', 'off']);

/** Exactly one sentence for people, no stack trace. */
function assertOneSentence(err: string, match: RegExp): void {
  assert.match(err, match);
  assert.equal(err.split('\n').length, 2, err);
  assert.match(err, /^mjf-agent: .*\n$/);
}

describe('daemon', { concurrency: 6 }, () => {
  test('SIGHUP: a changed grace moves stop_at; a broken file is refused and the old one goes on', async (t) => {
    const at = inSecs(7200);
    const agent = await startAgent(t, { config: '[stop]\ngrace = "60s"\n', machine: { shutdowntime: at } });
    assert.equal((await agent.lifetime()).stop_at, at - 60);

    fs.writeFileSync(agent.configFile, '[stop]\ngrace = "90s"\n');
    agent.signal('SIGHUP');
    await agent.until('new grace', ({ stop_at, stop_grace_secs }) => stop_at === at - 90 && stop_grace_secs === 90);
    await assertFacesAgree(agent);
    await agent.log('reconfigured');

    for (const [broken, complaint] of [
      ['[stop]\ngrace = 90\n', /stop\.grace/],
      ['[stop\n', /config\.toml/],
    ] as const) {
      fs.writeFileSync(agent.configFile, broken);
      agent.signal('SIGHUP');
      assert.match((await agent.log('config_refused')).msg, complaint);
    }
    const kept = await assertFacesAgree(agent);
    assert.deepEqual([kept.deadline, kept.stop_at], [at, at - 90]);

    fs.writeFileSync(agent.configFile, '[stop]\ngrace = "30s"\n');
    agent.signal('SIGHUP');
    await agent.until('well again', ({ stop_at }) => stop_at === at - 30);
    fs.writeFileSync(agent.configFile, '[stop]\ngrace = "30s"\n[log]\nlevel = "debug"\n');
    agent.signal('SIGHUP');
    assert.equal((await agent.log('restart_needed'))['key'], 'log', 'what cannot change in place is said');
    // What it knows did not go through an absence: that would be another deadline, or none, for a moment.
    assert.ok(!agent.lines.some(({ event }) => event === 'notice_cleared'));
  });

  test('SIGHUP: a source that is taken out is forgotten, one that is put in is read', async (t) => {
    const at = inSecs(7200);
    const agent = await startAgent(t, { machine: { shutdowntime: at } });
    fs.writeFileSync(agent.configFile, '[source.static]\nmachinefeatures = { hs06 = "10" }\n');
    agent.signal('SIGHUP');
    const document = await agent.until('static', ({ machinefeatures }) => machinefeatures['hs06']?.source === 'static');
    assert.equal(document.deadline, at);
    fs.writeFileSync(agent.configFile, '');
    agent.signal('SIGHUP');
    await agent.until('static gone', ({ machinefeatures }) => machinefeatures['hs06'] === undefined);
    assert.equal((await agent.log('source_removed'))['source'], 'static');
    await assertFacesAgree(agent);
  });

  test('SIGTERM: exit code 0; files and payloads stay as they are, url and sockets go', async (t) => {
    const at = inSecs(60);
    const agent = await startAgent(t, { machine: { shutdowntime: at, total_cpu: 8 } });
    const payload = await startPayload(t, SCRIPTS.plain);
    const body = { name: 'patient', target: { pid: payload.pid, group: true }, grace_secs: 1 };
    assert.equal((await agent.request('/v1/payloads', { method: 'POST', body })).status, 201);
    const before = await assertFacesAgree(agent);
    assert.equal(before.payloads.running, 1);
    const text = agent.file('lifetime.json');
    for (const name of ['url', 'agent.sock', 'admin.sock']) assert.ok(fs.existsSync(path.join(agent.runtimeDir, name)));

    assert.deepEqual(await agent.stop(), { code: 0, signal: null });
    assert.equal(agent.file('lifetime.json'), text);
    assert.equal(agent.file('machinefeatures/shutdowntime'), `${at}\n`);
    const left = fs.readdirSync(agent.runtimeDir).sort();
    assert.deepEqual(left, ['.tmp', 'jobfeatures', 'jobstatus', 'lifetime.json', 'machinefeatures', 'views']);
    assert.ok(isAlive(payload.pid));
    assert.equal(agent.complaints(), '');
  });

  test('SIGTERM with readers that hang on a change and on events: it ends all the same', async (t) => {
    const agent = await startAgent(t);
    const etag = encodeURIComponent((await agent.request('/v1/lifetime')).headers.etag ?? '');
    const hanging = agent.request(`/v1/lifetime?wait_for_change=true&timeout_sec=300&last_etag=${etag}`);
    const socket = net.connect({ port: Number(new URL(agent.url).port), host: '127.0.0.1' });
    t.after(() => socket.destroy());
    socket.write('GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await once(socket, 'data');
    // Both hang now: a request on another connection that is answered later than they were accepted says so.
    await agent.request('/healthz');
    const ended = once(socket, 'close');
    assert.deepEqual(await agent.stop(), { code: 0, signal: null });
    assert.equal((await hanging).status, 200);
    await ended;
  });

  test('a second agent on the same runtime directory is refused with a sentence, and the first one goes on', async (t) => {
    const agent = await startAgent(t, { machine: { total_cpu: 8 } });
    const second = await runAgain(agent);
    assert.equal(second.code, 1);
    assertOneSentence(second.err, new RegExp(`another mjf-agent \\(pid ${agent.pid}\\)`));
    await agent.readAgain();
    await assertFacesAgree(agent);
    // Whose first process is killed is free again.
    await agent.kill9();
    await agent.restart();
    await assertFacesAgree(agent);
  });

  test('a port in use: told once, everything else works, and it is taken as soon as it is free', async (t) => {
    const holder = net.createServer().listen(0, '127.0.0.1');
    await once(holder, 'listening');
    t.after(() => holder.close());
    const { port } = holder.address() as net.AddressInfo;
    const at = inSecs(7200);
    const agent = await startAgent(t, {
      listen: `127.0.0.1:${port}`,
      machine: { shutdowntime: at, total_cpu: 8 },
      unready: true,
    });
    const failed = await agent.log('http_listener_failed');
    assert.deepEqual([failed['code'], failed['address']], ['EADDRINUSE', `127.0.0.1:${port}`]);
    assert.match(failed.msg, /--listen/);
    await agent.log('ready');
    await agent.log('http_listening', (line) => String(line['address']).endsWith('admin.sock'));
    assert.equal(agent.file('machinefeatures/shutdowntime'), `${at}\n`);
    assert.equal((await agent.lifetime()).deadline, at);
    assert.equal(agent.file('url'), undefined, 'absent is absent');
    holder.close();
    await agent.log('http_listener_recovered');
    assert.equal(agent.file('url'), `http://127.0.0.1:${port}\n`);
    assert.equal(agent.lines.filter(({ event }) => event === 'http_listener_failed').length, 1);
  });

  test('nothing is lost by kill -9: host gone, journal gone, the deadline stands (promise 1)', async (t) => {
    const at = inSecs(7200);
    const agent = await startAgent(t, {
      machine: { shutdowntime: at, total_cpu: 8, hs06: '171.04' },
      job: { allocated_cpu: 4 },
    });
    const said = JSON.parse((await runProgram(['status', '--json', '--runtime-dir', agent.runtimeDir])).out);
    assert.equal(said.deadline, at);
    const first = await agent.lifetime();
    const expectRestored = async (): Promise<void> => {
      const now = await agent.until(
        'the host is missed',
        ({ sources }) => sources.find(({ name }) => name === 'directory')?.state === 'failed',
      );
      assert.deepEqual(
        [now.deadline, now.phase, now.notices.map(({ id, first_seen }) => [id, first_seen])],
        [at, 'running', first.notices.map(({ id, first_seen }) => [id, first_seen])],
      );
      assert.equal(now.machinefeatures['hs06']?.value, '171.04');
      assert.equal(now.jobfeatures['jobstart_secs']?.value, first.jobfeatures['jobstart_secs']?.value);
      await assertFacesAgree(agent);
    };
    await agent.kill9();
    assert.equal(agent.file('machinefeatures/shutdowntime'), `${at}\n`, 'published files outlive it');
    fs.rmSync(path.join(agent.dir, 'host'), { recursive: true });
    await agent.restart();
    await expectRestored();
    assert.equal((await agent.log('restored'))['event'], 'restored');

    // The journal lies on a tmpfs; what outlives a boot is a file of its own.
    await agent.kill9();
    fs.rmSync(agent.journalDir, { recursive: true });
    await agent.restart();
    await expectRestored();
  });

  test('lifetime.json and its ETag are the same after a stop and after a kill -9, as long as the truth is', async (t) => {
    const agent = await startAgent(t, {
      machine: { shutdowntime: inSecs(7200), total_cpu: 8 },
      job: { allocated_cpu: 4, jobstart_secs: inSecs(-60) },
    });
    const { sources } = await assertFacesAgree(agent);
    const text = agent.file('lifetime.json');
    // In another second than the one in which all of it began: "since" would be the same by chance.
    const begun = Math.max(...sources.map(({ since }) => since));
    while (Math.floor(Date.now() / 1000) <= begun) await new Promise((resolve) => setTimeout(resolve, 50));
    const { etag } = (await agent.request('/v1/lifetime')).headers;
    assert.match(etag ?? '', /^"[^"]+"$/);
    for (const end of [agent.stop, agent.kill9]) {
      await end();
      await agent.restart();
      await assertFacesAgree(agent);
      assert.equal(agent.file('lifetime.json'), text);
      const answer = await agent.request('/v1/lifetime', { headers: { 'if-none-match': etag ?? '' } });
      assert.deepEqual([answer.status, answer.headers.etag], [304, etag]);
    }
    // A reader that hung on the old process hangs on the new one: nothing has changed for it.
    const hanging = agent.request(
      `/v1/lifetime?wait_for_change=true&timeout_sec=20&last_etag=${encodeURIComponent(etag ?? '')}`,
    );
    const at = inSecs(3600);
    agent.hostDirs.set('machine', 'shutdowntime', at);
    assert.equal(JSON.parse((await hanging).body.toString()).deadline, at);
  });

  test('somebody who empties the runtime directory gets everything back with the next change', async (t) => {
    const agent = await startAgent(t, { machine: { total_cpu: 8 } });
    fs.rmSync(path.join(agent.runtimeDir, 'machinefeatures'), { recursive: true });
    await agent.readAgain();
    assert.equal(agent.file('machinefeatures/test_mark'), '1\n');
  });

  test('another user with directories of its own: everything works but what takes root', async (t) => {
    const user = plainUser();
    if ('reason' in user) return t.skip(user.reason);
    const at = inSecs(7200);
    const agent = await startAgent(t, {
      ...(user.own ? {} : { uid: user.uid }),
      machine: { shutdowntime: at, total_cpu: 8 },
      job: { allocated_cpu: 4 },
    });
    assert.equal((await assertFacesAgree(agent)).deadline, at);
    const program = user.own ? PROGRAM : path.join(agent.dir, 'mjf-agent.cjs');
    const command = (...args: readonly string[]) =>
      runProgram([...args, '--runtime-dir', agent.runtimeDir], { program, ...(user.own ? {} : { uid: user.uid }) });
    assert.equal((await command('get', 'total_cpu')).out, '8\n');
    const sooner = inSecs(3600);
    assert.equal((await command('notice', '--at', String(sooner))).code, 0, 'the agent’s own user is its operator');
    assert.equal((await assertFacesAgree(agent)).deadline, sooner);
    await agent.kill9();
    await agent.restart();
    assert.equal((await assertFacesAgree(agent)).deadline, sooner, 'journal and state are its own too');
    assert.deepEqual(await agent.stop(), { code: 0, signal: null });
  });

  test('not root and no directory given: exit code 77 and one sentence', async (t) => {
    const user = plainUser();
    if ('reason' in user) return t.skip(user.reason);
    if (fs.existsSync(RUNTIME_DIR_BY_DEFAULT))
      return t.skip(`${RUNTIME_DIR_BY_DEFAULT} is there: an agent is installed`);
    // A copy, since the program may lie where this user cannot read.
    const dir = fs.mkdtempSync('/tmp/mjf-daemon-');
    t.after(() => fs.rmSync(dir, { recursive: true }));
    fs.chmodSync(dir, 0o755);
    const program = path.join(dir, 'mjf-agent.cjs');
    fs.copyFileSync(PROGRAM, program);
    const { code, out, err } = await runProgram(['run'], { program, ...(user.own ? {} : { uid: user.uid }) });
    assert.deepEqual([code, out], [77, '']);
    assertOneSentence(err, /\/run\/mjf-agent.*run as root, or give one that is yours with --runtime-dir/);
  });

  test('a runtime directory that cannot be: exit code 73 and one sentence, at once', async (t) => {
    for (const dir of ['/proc/mjf/agent', '/dev/null/mjf-agent']) {
      const { code, out, err } = await runProgram(['run', '--runtime-dir', dir, '--listen', 'off']);
      assert.deepEqual([code, out], [73, ''], dir);
      assertOneSentence(err, new RegExp(`${dir}.*--runtime-dir`));
    }
    const place = fs.mkdtempSync('/tmp/mjf-daemon-');
    t.after(() => fs.rmSync(place, { recursive: true }));
    fs.mkdirSync(path.join(place, 'elsewhere'));
    fs.symlinkSync('elsewhere', path.join(place, 'link'));
    const { code, err } = await runProgram(['run', '--runtime-dir', path.join(place, 'link'), '--listen', 'off']);
    assert.equal(code, 73);
    assertOneSentence(err, /link.*--runtime-dir/);
  });

  test('/etc is left alone by an agent with another runtime directory', async (t) => {
    const look = () => ['machinefeatures', 'jobfeatures'].map((name) => statOf(`/etc/${name}`));
    const before = look();
    const agent = await startAgent(t, { channels: [] });
    assert.deepEqual(look(), before);
    await agent.stop();
    assert.deepEqual(look(), before);
  });
});

function statOf(file: string): unknown {
  const status = fs.lstatSync(file, { throwIfNoEntry: false });
  return status === undefined ? null : [status.ino, status.mode, status.mtimeMs];
}
