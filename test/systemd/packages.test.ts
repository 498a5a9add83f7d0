/**
 * The packages as an operator has them, deb and rpm: installed, upgraded in the middle of a payload's stopping, downgraded,
 * exchanged for one another, removed, purged. What they promise is that no payload notices, and that nothing is left.
 */
import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { type Bed, NODE, prepareBed, startBed, until } from './bed.ts';
import { must } from './packaged.ts';

const run = promisify(execFile);
const PROJECT = fileURLToPath(new URL('../..', import.meta.url));
const STANDALONE = path.join(PROJECT, 'dist/mjf-agent');
/** Packing, and running scriptlets on a busy machine. */
const PACKAGE_MS = 120_000;

const root = prepareBed();
const reasonOf = (...tools: readonly string[]): string | false => {
  if ('reason' in root) return root.reason;
  const missing = tools.find((tool) => spawnSync(tool, ['--version']).status !== 0);
  return missing === undefined ? false : `needs ${missing}`;
};

/** How one family of packages is built, and what an operator types. */
interface Family {
  readonly name: string;
  readonly tools: readonly string[];
  readonly build: (kind: Kind, version: string, directory: string) => Promise<string>;
  /** What must be there before, in place of the distribution. `directory` is the test's own. */
  readonly prepare: (bed: Bed, directory: string) => Promise<void>;
  readonly install: (bed: Bed, file: string) => Promise<void>;
  readonly downgrade: (bed: Bed, file: string) => Promise<void>;
  readonly exchange: (bed: Bed, file: string, old: string) => Promise<void>;
  readonly remove: (bed: Bed, name: string) => Promise<void>;
  /** null: removing is all there is. */
  readonly purge: ((bed: Bed, name: string) => Promise<void>) | null;
}
type Kind = 'node' | 'standalone';

const environment = (version: string): NodeJS.ProcessEnv => ({
  ...process.env,
  MJF_PACKAGE_VERSION: version,
  MJF_PACKAGE_SOON: '1',
});
const lastLine = (text: string): string => text.trim().split('\n').at(-1) ?? '';

const DEB: Family = {
  name: 'deb',
  tools: ['dpkg-deb'],
  async build(kind, version, directory) {
    const script = path.join(PROJECT, 'packaging/deb/build.mjs');
    const options = { env: environment(version), timeout: PACKAGE_MS };
    return lastLine((await run(process.execPath, [script, directory, kind], options)).stdout);
  },
  async prepare(bed) {
    // Debian 12 has Node.js 18: this stands for the one of whoever packs a newer one.
    const dir = '/root/nodejs';
    const control =
      'Package: nodejs\nVersion: 20.0.0\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: x\n';
    await must(bed, ['mkdir', '-p', `${dir}/DEBIAN`, `${dir}/usr/bin`]);
    bed.write(`${dir}/DEBIAN/control`, control);
    await must(bed, ['ln', '-s', NODE, `${dir}/usr/bin/node`]);
    await must(bed, ['dpkg-deb', '-b', dir, '/root/nodejs.deb']);
    await must(bed, ['dpkg', '-i', '/root/nodejs.deb']);
  },
  install: async (bed, file) => void (await must(bed, ['dpkg', '-i', carried(bed, file)])),
  downgrade: async (bed, file) => void (await must(bed, ['dpkg', '-i', carried(bed, file)])),
  exchange: async (bed, file) => void (await must(bed, ['dpkg', '-i', '--auto-deconfigure', carried(bed, file)])),
  remove: async (bed, name) => void (await must(bed, ['dpkg', '-r', name])),
  purge: async (bed, name) => void (await must(bed, ['dpkg', '-P', name])),
};

/**
 * The machine's own rpm, whose scriptlets run inside: no tree of a distribution with rpm is needed. The database is a directory
 * of this test's, one for each container: rpm looks for it outside of `--root`, where the machine's own one is.
 */
const databases = new Map<Bed, string>();
const rpm = async (bed: Bed, ...args: readonly string[]): Promise<void> => {
  const database = databases.get(bed);
  if (database === undefined) throw new Error('this container has no database of packages');
  const enter = ['-t', String(bed.leader), '-u', '-i', '-n', '-p', '-C'];
  const where = ['rpm', '--root', `/proc/${bed.leader}/root`, '--dbpath', database];
  await run('nsenter', [...enter, ...where, ...args], { timeout: PACKAGE_MS });
};
const RPM: Family = {
  name: 'rpm',
  tools: ['rpm', 'rpmbuild'],
  async build(kind, version, directory) {
    const options = { env: environment(version), timeout: PACKAGE_MS };
    return lastLine((await run(path.join(PROJECT, 'rpm/build.sh'), [directory, kind], options)).stdout);
  },
  async prepare(bed, directory) {
    await must(bed, ['ln', '-s', NODE, '/usr/bin/node']);
    // A directory of the package `filesystem`.
    await must(bed, ['mkdir', '/usr/share/licenses']);
    databases.set(bed, fs.mkdtempSync(path.join(directory, 'database-')));
    await rpm(bed, '--initdb');
  },
  // --nodeps: its database knows nothing of what dpkg has installed.
  install: (bed, file) => rpm(bed, '-U', '--nodeps', file),
  downgrade: (bed, file) => rpm(bed, '-U', '--nodeps', '--oldpackage', file),
  // "dnf swap" does both in one transaction, which only rpm's library can say: here the one after the other, in its order.
  async exchange(bed, file, old) {
    await rpm(bed, '-U', '--nodeps', '--replacefiles', file);
    await rpm(bed, '-e', '--nodeps', old);
  },
  remove: (bed, name) => rpm(bed, '-e', '--nodeps', name),
  purge: null,
};

const NAMES: Readonly<Record<Kind, string>> = { node: 'mjf-agent', standalone: 'mjf-agent-standalone' };

/** A first signal early, so that there is time for an upgrade before the second. */
const CONFIG = `[stop]
drain = "24s"
grace = "7s"
steps = [{ at = "24s", signal = "SIGUSR1" }, { at = "grace", signal = "SIGTERM" }, { at = "2s", signal = "SIGKILL" }]
[[payload]]
name = "job"
match = { user = "daemon", command = "^/bin/sh /usr/local/job.sh$" }
`;
const ANNOUNCED_SECS = 26;
/** Writes down what it gets; ends of nothing but SIGKILL. */
const JOB = `trap 'echo USR1 $(date +%s%3N) >> /tmp/story' USR1
trap 'echo TERM $(date +%s%3N) >> /tmp/story' TERM
while :; do sleep 0.1; done
`;

for (const family of [DEB, RPM]) {
  describe(`the ${family.name} packages`, { skip: reasonOf(...family.tools) }, () => {
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-packages-'));
    let older = '';
    let newer = '';
    before(async () => {
      older = await family.build('node', '0.0.1', directory);
      newer = await family.build('node', '0.0.2', directory);
    });
    after(() => fs.rmSync(directory, { recursive: true }));

    it('installed, it runs; upgraded in mid-drain, the stopping goes on; removed, nothing is left', async (t) => {
      const bed = await bedFor(t);
      await family.prepare(bed, directory);
      await startJob(bed);
      const untouched = await filesOf(bed);
      await must(bed, ['mkdir', '-p', '/etc/mjf-agent/conf.d']);
      bed.write('/etc/mjf-agent/conf.d/50-site.toml', CONFIG);

      await family.install(bed, older);
      await untilRuns(bed);
      assert.match((await must(bed, ['mjf-agent', 'get', 'total_cpu'])).trim(), /^\d+$/);
      assert.equal(
        await must(bed, ['sh', '-c', `cat /proc/${await bed.property('mjf-agent.service', 'MainPID')}/comm`]),
        'mjf-agent\n',
      );
      assert.equal((await must(bed, ['stat', '-c', '%U', '/run/mjf-agent'])).trim(), 'mjf-agent');
      const guardSince = await bed.property('mjf-agent-guard.service', 'ActiveEnterTimestampMonotonic');
      const before = await bed.property('mjf-agent.service', 'MainPID');
      const job = await bed.property('job.service', 'MainPID');

      await until('the payload is found', async () => /^\s*"running": ?1|"running":1/m.test(await lifetime(bed)));
      await must(bed, ['mjf-agent', 'notice', '--in', `${ANNOUNCED_SECS}s`, '--reason', 'test']);
      const { deadline } = JSON.parse(await lifetime(bed)) as { deadline: number };
      await until('the first step', () => story(bed).length === 1);

      await family.install(bed, newer);
      await untilRuns(bed);
      assert.notEqual(await bed.property('mjf-agent.service', 'MainPID'), before, 'it is another process');
      assert.equal(await bed.property('mjf-agent-guard.service', 'ActiveEnterTimestampMonotonic'), guardSince);
      assert.equal(await bed.property('job.service', 'MainPID'), job, 'the payload lives');
      assert.equal(JSON.parse(await lifetime(bed)).deadline, deadline);
      assert.deepEqual(signals(bed), ['USR1'], 'the upgrade came between the steps');

      await until('the payload has been killed', async () => (await state(bed, 'job.service')) !== 'active');
      assert.ok(Date.now() < deadline * 1000, 'before the deadline');
      assert.deepEqual(signals(bed), ['USR1', 'TERM'], 'each once');
      const [, term] = story(bed);
      assert.ok(Number(term?.split(' ')[1]) >= (deadline - 7) * 1000, 'not before its time');
      assert.equal(await bed.property('job.service', 'Result'), 'signal');

      await must(bed, ['mjf-agent', 'notice', '--cancel']);
      await family.downgrade(bed, older);
      await untilRuns(bed);

      await startJob(bed);
      const second = await bed.property('job.service', 'MainPID');
      await family.remove(bed, NAMES.node);
      for (const unit of ['mjf-agent.service', 'mjf-agent.socket', 'mjf-agent-hand.socket', 'mjf-agent-guard.service'])
        assert.equal(await state(bed, unit), 'inactive', unit);
      assert.equal(await bed.property('job.service', 'MainPID'), second, 'the payload lives');
      if (family.purge !== null) {
        // Its configuration is still there: installed again it runs again.
        await family.install(bed, newer);
        await untilRuns(bed);
        await family.remove(bed, NAMES.node);
        await family.purge(bed, NAMES.node);
      } else await must(bed, ['rm', '-r', '/etc/mjf-agent']);
      assert.equal(await bed.property('job.service', 'MainPID'), second, 'the payload lives');
      assert.equal(signals(bed).length, 0, 'and got nothing');
      assert.deepEqual(await filesOf(bed), untouched);
      assert.notEqual((await bed.exec(['getent', 'passwd', 'mjf-agent'])).code, 0, 'its user is gone');
    });

    const noStandalone = fs.existsSync(STANDALONE) ? false : 'needs "npm run build:standalone"';
    it('exchanged for the standalone one, which needs no Node', { skip: noStandalone }, async (t) => {
      const bed = await bedFor(t);
      await family.prepare(bed, directory);
      await family.install(bed, newer);
      await untilRuns(bed);
      await bed.systemctl('disable', '-q', 'mjf-agent-v6.socket');
      const standalone = await family.build('standalone', '0.0.2', directory);
      const guardSince = await bed.property('mjf-agent-guard.service', 'ActiveEnterTimestampMonotonic');
      await family.exchange(bed, standalone, NAMES.node);
      await must(bed, ['rm', '/usr/bin/node']);
      await untilRuns(bed);
      assert.equal(
        await bed.property('mjf-agent-guard.service', 'ActiveEnterTimestampMonotonic'),
        guardSince,
        'guarded all the time',
      );
      assert.equal(await enabled(bed, 'mjf-agent-v6.socket'), 'disabled', 'what the operator has disabled stays so');
      assert.equal(await enabled(bed, 'mjf-agent.service'), 'enabled');
      const pid = await bed.property('mjf-agent.service', 'MainPID');
      assert.equal(fs.readlinkSync(`/proc/${await hostPid(bed, pid)}/exe`), '/usr/bin/mjf-agent');
      await family.purge?.(bed, NAMES.node);
      assert.equal(await state(bed, 'mjf-agent.service'), 'active', 'what the other one left is purged, not what runs');
      // Through the root hand, which is the same executable once more.
      bed.write('/etc/mjf-agent/conf.d/50-site.toml', '[hooks]\nuser = "daemon"\n');
      const hook = '/etc/mjf-agent/hooks.d/notice/50-site';
      bed.write(hook, '#!/bin/sh\nid -un > /tmp/hooked\n');
      await must(bed, ['chmod', '755', hook]);
      await bed.systemctl('restart', 'mjf-agent.service');
      await untilRuns(bed);
      await must(bed, ['mjf-agent', 'notice', '--kind', 'drain']);
      await until('the hook has been run', () => bed.read('/tmp/hooked') === 'daemon\n');
    });
  });
}

describe('the rpm packages where the site has presets', { skip: reasonOf(...RPM.tools) }, () => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-presets-'));
  let file = '';
  before(async () => {
    file = await RPM.build('node', '0.0.1', directory);
  });
  after(() => fs.rmSync(directory, { recursive: true }));

  const installedWith = async (t: Parameters<typeof startBed>[0], preset: string): Promise<Bed> => {
    const bed = await bedFor(t);
    await RPM.prepare(bed, directory);
    await must(bed, ['mkdir', '-p', '/etc/systemd/system-preset']);
    bed.write('/etc/systemd/system-preset/10-site.preset', preset);
    await RPM.install(bed, file);
    return bed;
  };

  it('each unit is as they say, whatever the service would have enabled with it', async (t) => {
    const off = ['mjf-agent-guard.service', 'mjf-agent-v6.socket'];
    const bed = await installedWith(t, off.map((unit) => `disable ${unit}\n`).join(''));
    for (const unit of off) assert.equal(await enabled(bed, unit), 'disabled', unit);
    for (const unit of ['mjf-agent.service', 'mjf-agent.socket', 'mjf-agent-hand.socket']) {
      assert.equal(await enabled(bed, unit), 'enabled', unit);
      assert.equal(await state(bed, unit), 'active', unit);
    }
    assert.equal(await state(bed, 'mjf-agent-guard.service'), 'inactive');
  });

  it('all of it may be off: then nothing is started', async (t) => {
    const bed = await installedWith(t, 'disable *\n');
    for (const unit of ['mjf-agent.service', 'mjf-agent.socket', 'mjf-agent-hand.socket', 'mjf-agent-guard.service'])
      assert.deepEqual([await enabled(bed, unit), await state(bed, unit)], ['disabled', 'inactive'], unit);
  });
});

async function bedFor(t: Parameters<typeof startBed>[0]): Promise<Bed> {
  if ('reason' in root) throw new Error(root.reason);
  return startBed(t, root);
}

/** A file of ours, inside. */
function carried(bed: Bed, file: string): string {
  const inside = path.join('/root', path.basename(file));
  fs.copyFileSync(file, bed.path(inside));
  return inside;
}

const state = (bed: Bed, unit: string): Promise<string> => bed.property(unit, 'ActiveState');
const enabled = async (bed: Bed, unit: string): Promise<string> =>
  (await bed.exec(['systemctl', 'is-enabled', unit])).out.trim();
const lifetime = (bed: Bed): Promise<string> => must(bed, ['mjf-agent', 'status', '--json']);
const story = (bed: Bed): readonly string[] => bed.read('/tmp/story').split('\n').filter(Boolean);
const signals = (bed: Bed): readonly string[] => story(bed).map((line) => line.split(' ')[0] ?? '');

/** Everything that an installation starts is up, and answers. */
async function untilRuns(bed: Bed): Promise<void> {
  const units = ['mjf-agent.socket', 'mjf-agent-hand.socket', 'mjf-agent.service', 'mjf-agent-guard.service'];
  const journal = async (): Promise<string> =>
    (await bed.exec(['journalctl', '-u', 'mjf-agent*', '-o', 'cat', '--no-pager', '-n', '30'])).out;
  for (const unit of units) await until(unit, async () => (await state(bed, unit)) === 'active', journal);
  await until('it answers', async () => (await bed.exec(['mjf-agent', 'status'])).code === 0, journal);
}

async function startJob(bed: Bed): Promise<void> {
  await bed.exec(['systemctl', 'reset-failed', 'job.service']);
  await must(bed, ['sh', '-c', ': > /tmp/story; chmod 666 /tmp/story']);
  bed.write('/usr/local/job.sh', JOB);
  await must(bed, [
    'systemd-run',
    '-q',
    '--unit=job',
    '-p',
    'KillMode=process',
    '--uid=daemon',
    '/bin/sh',
    '/usr/local/job.sh',
  ]);
}

/** What is not ours to leave behind: the package managers' and systemd's own records. */
const ELSEWHERE =
  /^\/(proc|sys|dev|tmp|root|opt|var\/(tmp|log|cache|lib\/(dpkg|rpm|systemd(?!\/deb-systemd-helper)))|run\/(systemd|log|udev|credentials|user|dbus|lock))(\/|$)|^\/etc\/((passwd|group|shadow|gshadow|subuid|subgid)-|\.pwd\.lock)$/;

/** Every path of the container that a package may have made. */
async function filesOf(bed: Bed): Promise<readonly string[]> {
  const all = await must(bed, ['sh', '-c', 'find / /run -xdev -not -path "/usr/lib/x86_64*" 2> /dev/null || :']);
  return all
    .split('\n')
    .filter((file) => file !== '' && !ELSEWHERE.test(file))
    .sort();
}

/** A process of the container, as seen from here. */
async function hostPid(bed: Bed, pid: string): Promise<number> {
  const own = fs.readlinkSync(`/proc/${bed.leader}/ns/pid`);
  for (const name of fs.readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      if (fs.readlinkSync(`/proc/${name}/ns/pid`) !== own) continue;
      const status = fs.readFileSync(`/proc/${name}/status`, 'utf8');
      if (new RegExp(`^NSpid:.*\\s${pid}$`, 'm').test(status)) return Number(name);
    } catch {
      // It has just ended.
    }
  }
  throw new Error(`no process ${pid} in the container`);
}
