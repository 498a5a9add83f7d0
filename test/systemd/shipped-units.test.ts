/** The units of packaging/systemd as they are shipped, under a real systemd: the promises of issue 6, point 3. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import { exchange } from '../support/exchange.ts';
import { type Bed, NODE, prepareBed, startBed, until } from './bed.ts';
import { install, must, shipped, UNIT_NAMES } from './packaged.ts';

const root = prepareBed();
const reason = 'reason' in root ? root.reason : false;

/** Whom nobody else is, the agent least of all. */
const PLAIN_UID = 4_711;
/** Tells of its SIGTERM, takes five seconds for its checkpoint, tells of its end. */
const PAYLOAD = `trap 'echo term >> /root/story; sleep 5; echo saved >> /root/story; exit 0' TERM
echo begun >> /root/story
while :; do sleep 0.1; done
`;
const STOP = '[stop]\ngrace = "20s"\n';

interface Row {
  readonly name: string;
  readonly pid: number | null;
  /** Of the process; `exec` first registers itself. */
  readonly command: string | null;
  readonly state: string;
}

/** Booted, installed, and configured; nothing of ours runs but the sockets, if `start` is not. */
async function installed(
  t: Parameters<typeof startBed>[0],
  { config = STOP, units = {} }: { readonly config?: string; readonly units?: Readonly<Record<string, string>> } = {},
): Promise<Bed> {
  if ('reason' in root) throw new Error(root.reason);
  const bed = await startBed(t, root);
  await install(bed);
  bed.write('/etc/mjf-agent/config.toml', config);
  await must(bed, ['useradd', '--uid', String(PLAIN_UID), 'grid']);
  await must(bed, ['sh', '-c', 'touch /root/story; chmod 755 /root; chmod 666 /root/story']);
  bed.write('/root/payload.sh', PAYLOAD);
  for (const [name, text] of Object.entries(units)) {
    const file = path.join('/etc/systemd/system', name);
    await must(bed, ['mkdir', '-p', path.dirname(file)]);
    bed.write(file, text);
  }
  await bed.systemctl('daemon-reload');
  return bed;
}

const ask = async <T>(bed: Bed, target: string): Promise<T> =>
  JSON.parse((await exchange('', bed.path('/run/mjf-agent/admin.sock'), target)).body.toString()) as T;
const rows = (bed: Bed): Promise<readonly Row[]> => ask(bed, '/v1/payloads');
const story = (bed: Bed): readonly string[] => bed.read('/root/story').split('\n').filter(Boolean);
const log = async (bed: Bed, unit: string): Promise<string> =>
  (await bed.exec(['journalctl', '-u', unit, '-o', 'cat', '--no-pager'])).out;

/** Under `exec`, as another user, in a scope of its own; resolves when the agent knows it. */
async function startPayload(bed: Bed): Promise<void> {
  const run = `systemd-run --scope -q --uid=${PLAIN_UID} mjf-agent exec --name job -- sh /root/payload.sh`;
  await must(bed, ['sh', '-c', `${run} > /root/exec.log 2>&1 < /dev/null &`]);
  await until(
    'the payload is registered',
    async () => (await rows(bed)).some(({ command }) => command === 'sh'),
    async () => `${bed.read('/root/exec.log')}${await log(bed, 'mjf-agent.service')}`,
  );
  await until('the payload runs', () => story(bed).includes('begun'));
}

describe('the shipped units', { skip: reason }, () => {
  it('are correct, closed enough, and in an order that delays no boot', async (t) => {
    const bed = await installed(t);
    // In tenths, as the tool counts them.
    await must(bed, ['systemd-analyze', 'security', '--threshold=20', 'mjf-agent.service']);
    const checked = await bed.exec(['systemd-analyze', 'verify', '--man=no', ...UNIT_NAMES]);
    assert.deepEqual([checked.code, checked.out, checked.err], [0, '', '']);
    for (const unit of ['mjf-agent.service', 'mjf-agent-hand@1.service', 'mjf-agent-guard.service']) {
      const said = await must(bed, ['systemd-analyze', 'security', '--no-pager', unit]);
      const exposure = Number(/exposure level for \S+: ([\d.]+)/.exec(said)?.[1]);
      t.diagnostic(`exposure of ${unit}: ${exposure}`);
      assert.ok(exposure <= 2, `${unit}: ${exposure}`);
    }
    // READY may take its time: nothing that a boot waits for comes after it.
    for (const target of ['multi-user.target', 'sockets.target', 'basic.target'])
      assert.ok(!(await bed.property(target, 'After')).includes('mjf-agent.service'), target);
    // The rest of the boot, as it is with the units enabled.
    await bed.systemctl('start', 'multi-user.target');
    await bed.systemctl('start', 'mjf-agent-guard.service');
    assert.equal(await bed.property('mjf-agent.service', 'ActiveState'), 'active', 'the guard brings it along');
    assert.equal((await must(bed, ['systemctl', '--failed', '--plain', '--no-legend'])).trim(), '');
  });

  it('the agent runs as its own user, says how it stands, and leaves its places as they are when it stops', async (t) => {
    const bed = await installed(t);
    await bed.systemctl('start', 'mjf-agent.service');
    // Type=notify: active means that READY has come.
    assert.equal(await bed.property('mjf-agent.service', 'ActiveState'), 'active');
    assert.match(await bed.property('mjf-agent.service', 'StatusText'), /^running; no shutdown foreseen; 0 payloads$/);
    const pid = await bed.property('mjf-agent.service', 'MainPID');
    const status = bed.read(`/proc/${pid}/status`);
    const uid = (await must(bed, ['id', '-u', 'mjf-agent'])).trim();
    assert.match(status, new RegExp(`^Uid:\\t${uid}\\t${uid}\\t${uid}\\t${uid}$`, 'm'));
    for (const set of ['CapEff', 'CapBnd', 'CapAmb']) assert.match(status, new RegExp(`^${set}:\\t0{14}20$`, 'm'), set);
    const modes = await must(bed, [
      'stat',
      '-c',
      '%a %U %n',
      '/run/mjf-agent',
      '/run/mjf-agent-state',
      '/var/lib/mjf-agent',
      '/run/mjf-agent-hand.sock',
    ]);
    assert.equal(
      modes,
      '755 mjf-agent /run/mjf-agent\n700 mjf-agent /run/mjf-agent-state\n700 mjf-agent /var/lib/mjf-agent\n600 mjf-agent /run/mjf-agent-hand.sock\n',
    );
    const listed = await ask<readonly { readonly name: string }[]>(bed, '/v1/sources');
    assert.ok(listed.some(({ name }) => name === 'logind'));

    await bed.systemctl('reload', 'mjf-agent.service');
    await until('ready again', async () => (await bed.property('mjf-agent.service', 'SubState')) === 'running');
    assert.equal(await bed.property('mjf-agent.service', 'MainPID'), pid, 'reloaded, not restarted');
    await until('the configuration was read', async () =>
      (await log(bed, 'mjf-agent.service')).includes('"reconfigured"'),
    );

    await bed.systemctl('stop', 'mjf-agent.service');
    assert.notEqual(bed.read('/run/mjf-agent/lifetime.json'), '', 'what was published stays');
    // Nobody else gets the port meanwhile.
    const taken = await bed.exec([NODE, '-e', "require('net').createServer().listen(8653, '127.0.0.1')"], {
      uid: PLAIN_UID,
    });
    assert.match(taken.err, /EADDRINUSE/);
    // And whoever asks is answered: the socket starts the agent again.
    const answer = await must(bed, [
      NODE,
      '-e',
      "fetch('http://127.0.0.1:8653/healthz').then(async (a) => console.log(await a.text()))",
    ]);
    assert.equal(answer.trim(), 'ok');
  });

  it("signals another user's payload by CAP_KILL alone; its children have no capability left", async (t) => {
    const bed = await installed(t);
    await bed.systemctl('start', 'mjf-agent.service');
    const script = `const { spawn } = require('child_process');
      const child = spawn('sh', ['/root/payload.sh'], { detached: true, stdio: 'ignore' });
      child.unref();
      fetch('http://127.0.0.1:8653/v1/payloads', { method: 'POST', headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ name: 'mine', target: { pid: child.pid, group: true } }) })
        .then(async (answer) => console.log(answer.status, answer.ok ? '' : await answer.text()));`;
    const { out, err } = await bed.exec([NODE, '-e', script], { uid: PLAIN_UID });
    assert.match(out, /^201/, err);
    await must(bed, ['mjf-agent', 'notice', '--in', '20s']);
    await until('it has saved its work', () => story(bed).includes('saved'));
    assert.deepEqual(story(bed), ['begun', 'term', 'saved']);
    await until('it is gone', async () => (await rows(bed)).every(({ state }) => state === 'stopped'));
  });

  it('a restart of the service touches no payload, and the agent knows it afterwards', async (t) => {
    const bed = await installed(t);
    await bed.systemctl('start', 'mjf-agent.service', 'mjf-agent-guard.service');
    await startPayload(bed);
    const [before] = await rows(bed);
    await bed.systemctl('restart', 'mjf-agent.service');
    await bed.systemctl('restart', 'mjf-agent-guard.service');
    assert.match(await log(bed, 'mjf-agent-guard.service'), /nothing to do: the machine is not going down/);
    await until('the agent knows it', async () => (await rows(bed)).some(({ name }) => name === 'job'));
    const [after] = await rows(bed);
    assert.equal(after?.pid, before?.pid);
    assert.equal(after?.state, 'running');
    assert.deepEqual(story(bed), ['begun']);
  });

  it('a hook is run by the root hand, and units are stopped through it', async (t) => {
    const bed = await installed(t, {
      config: `${STOP}[hooks]\nuser = "root"\n[[payload]]\nname = "work"\nunit = "work.service"\ngrace = "20s"\n`,
      units: {
        'work.service': "[Service]\nExecStart=/bin/sleep infinity\nExecStop=/bin/sh -c 'echo stopped >> /root/story'\n",
      },
    });
    await must(bed, ['mkdir', '-p', '/etc/mjf-agent/hooks.d/stopping']);
    bed.write('/etc/mjf-agent/hooks.d/stopping/10-tell', '#!/bin/sh\necho "hook $(id -u) $MJF_EVENT" >> /root/story\n');
    await must(bed, ['chmod', '755', '/etc/mjf-agent/hooks.d/stopping/10-tell']);
    await bed.systemctl('start', 'work.service', 'mjf-agent.service');
    await until('it is found', async () => (await rows(bed)).length === 1);
    await must(bed, ['mjf-agent', 'notice', '--in', '20s']);
    await until(
      'both have happened',
      () => story(bed).length === 2,
      () => log(bed, 'mjf-agent*'),
    );
    assert.deepEqual([...story(bed)].sort(), ['hook 0 stopping', 'stopped']);
    await until('it is down', async () => (await bed.property('work.service', 'ActiveState')) === 'inactive');
  });

  it('an agent that hangs is killed by the watchdog and started again', async (t) => {
    const bed = await installed(t, {
      units: { 'mjf-agent.service.d/watchdog.conf': '[Service]\nWatchdogSec=6s\n' },
    });
    await bed.systemctl('start', 'mjf-agent.service');
    await startPayload(bed);
    const pid = await bed.property('mjf-agent.service', 'MainPID');
    // Longer than its time: it says that it lives, at half of it.
    const heard = new Set<string>();
    await until('it has said four times that it lives', async () => {
      heard.add(await bed.property('mjf-agent.service', 'WatchdogTimestampMonotonic'));
      return heard.size >= 4;
    });
    assert.equal(await bed.property('mjf-agent.service', 'MainPID'), pid);
    await bed.systemctl('kill', '--kill-whom=main', '-s', 'STOP', 'mjf-agent.service');
    await until('another agent runs', async () => {
      const now = await bed.property('mjf-agent.service', 'MainPID');
      return now !== pid && now !== '0' && (await bed.property('mjf-agent.service', 'SubState')) === 'running';
    });
    assert.match(await log(bed, 'mjf-agent.service'), /Watchdog timeout/);
    await until('the agent knows its payload', async () => (await rows(bed)).some(({ state }) => state === 'running'));
    assert.deepEqual(story(bed), ['begun']);
  });

  it('holds a lock of logind only where no guard holds up the shutdown for longer', async (t) => {
    // As its own user logind refuses it the lock, where there is no polkit.
    const asRoot = { 'mjf-agent.service.d/run-as-root.conf': shipped('optional/run-as-root.conf') };
    const bed = await installed(t, { units: asRoot });
    const isHeld = async (): Promise<boolean> =>
      /mjf-agent/.test(await must(bed, ['systemd-inhibit', '--list', '--no-legend', '--no-pager']));
    await bed.systemctl('start', 'mjf-agent.service');
    await startPayload(bed);
    await until('the lock is held', isHeld);
    await bed.systemctl('start', 'mjf-agent-guard.service');
    await must(bed, ['mjf-agent', 'notice', '--kind', 'drain']);
    await until('it is let go', async () => !(await isHeld()));
  });

  const ways = {
    'systemctl poweroff': 'systemctl poweroff',
    'poweroff.target, past logind': 'systemctl start --no-block --job-mode=replace-irreversibly poweroff.target',
  };
  for (const [name, command] of Object.entries(ways)) {
    it(`when the machine goes down its payload is stopped first, and to the end (${name})`, async (t) => {
      const bed = await installed(t, {
        config: `${STOP}[hooks]\nuser = "root"\n[[payload]]\nname = "work"\nunit = "work.service"\n`,
        units: {
          'work.service':
            "[Service]\nExecStart=/bin/sleep infinity\nExecStop=/bin/sh -c 'echo unit >> /root/story'\n[Install]\nWantedBy=multi-user.target\n",
          // Any other service, which must not end before the payload either.
          'other.service':
            "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\nExecStop=/bin/sh -c 'echo other >> /root/story'\n[Install]\nWantedBy=multi-user.target\n",
          'mjf-agent-guard.service.d/log.conf': '[Service]\nStandardOutput=append:/root/guard.log\n',
        },
      });
      await must(bed, ['mkdir', '-p', '/etc/mjf-agent/hooks.d/stopping']);
      bed.write('/etc/mjf-agent/hooks.d/stopping/10-tell', '#!/bin/sh\necho hook >> /root/hooks\n');
      await must(bed, ['chmod', '755', '/etc/mjf-agent/hooks.d/stopping/10-tell']);
      await bed.systemctl('enable', '-q', 'work.service', 'other.service');
      await bed.systemctl('start', 'mjf-agent.service', 'mjf-agent-guard.service', 'work.service', 'other.service');
      await startPayload(bed);
      // Its files go with its mounts, but for what is held open.
      const held = fs.openSync(bed.path('/root'), fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
      t.after(() => fs.closeSync(held));
      const said = (file: string): string => {
        const at = `/proc/self/fd/${held}/${file}`;
        return fs.existsSync(at) ? fs.readFileSync(at, 'utf8') : '';
      };
      const begunMs = Date.now();
      await bed.exec(['sh', '-c', command]);
      assert.equal(await bed.hasEnded(60_000), true, said('guard.log'));
      t.diagnostic(`${name}: off after ${((Date.now() - begunMs) / 1000).toFixed(1)} s\n${said('guard.log')}`);
      assert.deepEqual(said('story').split('\n').filter(Boolean).slice(0, 3), ['begun', 'term', 'saved']);
      assert.deepEqual(said('story').split('\n').filter(Boolean).slice(3).sort(), ['other', 'unit']);
      assert.equal(said('hooks'), 'hook\n', 'hooks run while the machine goes down');
      assert.match(said('guard.log'), /the machine is going down in \d+ s at the latest/);
      assert.match(said('guard.log'), /^(no payload is left|left to systemd: work)$/m);
      assert.doesNotMatch(said('guard.log'), /not waited for any longer|no time is left/, 'no time is spent in vain');
    });
  }

  it('the drop-ins are read by those that they are for', async (t) => {
    const bed = await installed(t);
    await must(bed, ['sh', '-c', 'systemd-run --scope -q sleep infinity > /dev/null 2>&1 < /dev/null &']);
    let scope = '';
    await until('the scope is there', async () => {
      const scopes = await must(bed, ['systemctl', 'list-units', '--plain', '--no-legend', '--type=scope']);
      scope = /^run-\S+/m.exec(scopes)?.[0] ?? '';
      return scope !== '';
    });
    assert.match(await bed.property(scope, 'Before'), /mjf-agent-guard\.service/);
    assert.match(await bed.property('user@0.service', 'Before'), /mjf-agent-guard\.service/);
    assert.match(shipped('session-.scope.d/50-mjf-agent-guard.conf'), /^Before=mjf-agent-guard\.service$/m);
  });
});
