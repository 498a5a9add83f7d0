/** The shipped units where more than one thing goes wrong: shares that hang, an agent that dies while the machine goes down. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { describe, it } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { type Bed, prepareBed, startBed, until } from './bed.ts';
import { install, must } from './packaged.ts';

const root = prepareBed();
const reason = 'reason' in root ? root.reason : false;
const noFuse = reason || (fs.existsSync('/dev/fuse') ? false : 'there is no /dev/fuse');

/** Whom nobody else is, the agent least of all. */
const PLAIN_UID = 4_711;
const FUSE = fileURLToPath(new URL('../hosts/fuse.ts', import.meta.url));
const TSX = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
/** Told of its end at once, and of its last seconds. */
const PAYLOAD = `trap 'echo usr1 >> /root/story' USR1
trap 'echo term >> /root/story; echo saved >> /root/story; exit 0' TERM
echo begun >> /root/story
while :; do sleep 0.1; done
`;
const STEPS = [
  { at: 'grace', signal: 'SIGUSR1' },
  { at: '10s', signal: 'SIGTERM' },
  { at: '1s', signal: 'SIGKILL' },
];
/** Registers a child of its own. */
const REGISTER = `const child = require('child_process').spawn('sh', ['/root/payload.sh'], { detached: true, stdio: 'ignore' });
child.unref();
fetch('http://127.0.0.1:8653/v1/payloads', { method: 'POST', headers: { 'content-type': 'application/json' },
  body: JSON.stringify({ name: 'job', grace_secs: 40, steps: ${JSON.stringify(STEPS)}, target: { pid: child.pid, group: true } }) })
  .then(async (answer) => console.log(answer.status, answer.ok ? '' : await answer.text()));
`;

async function installed(t: Parameters<typeof startBed>[0]): Promise<Bed> {
  if ('reason' in root) throw new Error(root.reason);
  const bed = await startBed(t, root);
  await install(bed);
  await must(bed, ['mkdir', '-p', '/etc/systemd/system/mjf-agent-guard.service.d']);
  await bed.units({ 'mjf-agent-guard.service.d/log.conf': '[Service]\nStandardOutput=append:/root/guard.log\n' });
  await bed.systemctl('start', 'mjf-agent.service', 'mjf-agent-guard.service');
  return bed;
}

/** Reads files of its /root: they go with its mounts, but for what is held open. */
function kept(t: Parameters<typeof startBed>[0], bed: Bed): (file: string) => string {
  const held = fs.openSync(bed.path('/root'), fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
  t.after(() => fs.closeSync(held));
  return (file) => {
    const at = `/proc/self/fd/${held}/${file}`;
    return fs.existsSync(at) ? fs.readFileSync(at, 'utf8') : '';
  };
}

/** Mounts a share that takes requests and never answers; `letGo` ends it, and whoever waits for it goes on. */
async function hang(bed: Bed, mountPoint: string): Promise<{ letGo(): Promise<void> }> {
  await must(bed, ['mkdir', '-p', mountPoint]);
  const host = spawn(process.execPath, ['--import', TSX, FUSE, mountPoint, String(bed.leader)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const answers = createInterface({ input: host.stdout })[Symbol.asyncIterator]();
  assert.equal((await answers.next()).value, 'mounted');
  host.stdin.write('hang\n');
  assert.equal((await answers.next()).value, 'done hang');
  return {
    async letGo() {
      host.kill('SIGKILL');
      await once(host, 'exit');
    },
  };
}

describe('a share that hangs', { skip: noFuse }, () => {
  it('keeps neither the agent from starting nor the guard from its work', async (t) => {
    const bed = await installed(t);
    const shares: { letGo(): Promise<void> }[] = [];
    try {
      for (const place of ['/run/mjf-host', '/etc/machinefeatures', '/home']) shares.push(await hang(bed, place));
      // Each is bounded by the time of a command here.
      for (const unit of ['mjf-agent.service', 'mjf-agent-guard.service']) {
        await bed.systemctl('restart', unit);
        assert.equal(await bed.property(unit, 'ActiveState'), 'active');
      }
    } finally {
      // Before the container: nothing that waits for them can be ended.
      for (const share of shares) await share.letGo();
    }
  });
});

describe('a /tmp that somebody has filled', { skip: reason }, () => {
  it('keeps neither the guard from its work nor the root hand, nor whoever takes the place of the agent', async (t) => {
    const bed = await installed(t);
    await must(bed, ['mount', '-t', 'tmpfs', '-o', 'nr_inodes=2,mode=1777', 'none', '/tmp']);
    await must(bed, ['touch', '/tmp/full']);
    await bed.systemctl('restart', 'mjf-agent-guard.service');
    assert.equal(await bed.property('mjf-agent-guard.service', 'ActiveState'), 'active');
    const asked = `const hand = require('net').connect('/run/mjf-agent-hand.sock');
hand.setEncoding('utf8').on('data', console.log);
hand.write('{"verb":"units","action":"stop","units":["other.service"]}\\n');`;
    assert.match(await must(bed, ['node', '-e', asked]), /the configuration names no/);
    await bed.systemctl('start', 'mjf-agent-stand-in.service');
    assert.equal(await bed.property('mjf-agent-stand-in.service', 'ActiveState'), 'active');
    // Never two at once.
    assert.equal(await bed.property('mjf-agent.service', 'ActiveState'), 'inactive');
    await must(bed, ['umount', '/tmp']);
  });
});

describe('an agent that is lost while the machine goes down', { skip: reason }, () => {
  const ways = {
    'it is killed': 'kill -KILL $pid',
    'it hangs': 'kill -STOP $pid',
  };
  for (const [name, blow] of Object.entries(ways)) {
    it(`${name}: another one takes its place, and goes on with the payloads`, async (t) => {
      const bed = await installed(t);
      await must(bed, ['useradd', '--uid', String(PLAIN_UID), 'grid']);
      await must(bed, ['sh', '-c', 'touch /root/story; chmod 755 /root; chmod 666 /root/story']);
      bed.write('/root/payload.sh', PAYLOAD);
      bed.write('/root/register.js', REGISTER);
      const run = ['systemd-run', '--scope', '-q', `--uid=${PLAIN_UID}`, 'node', '/root/register.js'];
      assert.match(await must(bed, run), /^201/);
      const said = kept(t, bed);
      const pid = await bed.property('mjf-agent.service', 'MainPID');
      await bed.systemctl('poweroff');
      await until('it is told', () => said('story').includes('usr1'));
      await must(bed, ['sh', '-c', `pid=${pid}; ${blow}`]);
      assert.equal(await bed.hasEnded(120_000), true, said('guard.log'));
      t.diagnostic(said('guard.log'));
      assert.deepEqual(said('story').split('\n').filter(Boolean), ['begun', 'usr1', 'term', 'saved']);
      assert.match(said('guard.log'), /another one takes its place\n/);
      assert.match(said('guard.log'), /no payload is left/);
    });
  }

  it('one that somebody has stopped stays so', async (t) => {
    const bed = await installed(t);
    await bed.systemctl('mask', '--runtime', 'mjf-agent.socket', 'mjf-agent-v6.socket');
    await bed.systemctl('stop', 'mjf-agent.socket', 'mjf-agent-v6.socket', 'mjf-agent.service');
    const said = kept(t, bed);
    await bed.systemctl('poweroff');
    assert.equal(await bed.hasEnded(60_000), true);
    assert.match(said('guard.log'), /the agent does not answer: its payloads are stopped by systemd/);
    assert.doesNotMatch(said('guard.log'), /takes its place/);
  });
});
