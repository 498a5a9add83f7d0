/** What is kept on disk for the site: over a crash (nothing is closed here), a reboot, and whatever else happens to a disk. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { openSpool, type Spool } from '../../agent/report/spool.ts';
import { logLines } from '../support/log-lines.ts';
import { slowDisk } from './slow-disk.ts';

const HERE = { machineId: 'machine-1', bootId: 'boot-1' };

function place(t: TestContext): string {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-spool-'));
  t.after(() => fs.rmSync(dir, { recursive: true, force: true }));
  return path.join(dir, 'state', 'outbox');
}

function open(dir: string, identity = HERE) {
  const { log, take } = logLines();
  let errors = 0;
  const spool = openSpool({
    dir,
    identity,
    log,
    count(metric) {
      assert.equal(metric, 'mjf_report_spool_errors_total');
      errors += 1;
    },
  });
  return { spool, events: () => take().map(({ event }) => event), errors: () => errors };
}

const left = async ({ restored }: Spool): Promise<readonly string[]> =>
  (await restored).map(({ lane, name, body, sameBoot }) => `${lane} ${name} ${body}${sameBoot ? '' : ' (before)'}`);

test('what was saved is there after a crash, in order, the latest content of a name; what was removed is not', async (t) => {
  const dir = place(t);
  const { spool } = open(dir);
  assert.deepEqual(await left(spool), []);
  for (const [name, text] of [
    ['z', '1'],
    ['a', '2'],
    ['gone', '3'],
    ['z', '4'],
    ['%2F..', '5'],
  ] as const)
    assert.equal(await spool.save('files', name, Buffer.from(text)), true);
  assert.equal(await spool.save('own', 'z', Buffer.from('100 x')), true);
  assert.ok(spool.holds('files', 'gone'));
  spool.remove('files', 'gone');
  await spool.idle();
  assert.ok(!spool.holds('files', 'gone'));
  assert.equal(fs.statSync(dir).mode & 0o777, 0o700);
  for (const file of fs.readdirSync(dir)) assert.equal(fs.statSync(path.join(dir, file)).mode & 0o777, 0o600, file);

  const { spool: again, events } = open(dir);
  assert.deepEqual(await left(again), ['files a 2', 'files z 4', 'files %2F.. 5', 'own z 100 x']);
  assert.deepEqual(events(), []);
  await again.save('files', 'new', Buffer.from('6'));
  assert.equal((await left(open(dir).spool)).at(-1), 'files new 6', 'the order goes on');
});

test('bytes stay bytes, an empty file too', async (t) => {
  const dir = place(t);
  const { spool } = open(dir);
  const bytes = Buffer.from([0, 10, 255, 123, 10]);
  await spool.save('files', 'a', bytes);
  await spool.save('files', 'b', Buffer.alloc(0));
  const entries = await open(dir).spool.restored;
  assert.deepEqual(
    entries.map(({ body }) => body),
    [bytes, Buffer.alloc(0)],
  );
});

test('a reboot is told; what another machine (a cloned image) left is not sent (S4.1)', async (t) => {
  const dir = place(t);
  await open(dir).spool.save('files', 'a', Buffer.from('1'));
  assert.deepEqual(await left(open(dir, { ...HERE, bootId: 'boot-2' }).spool), ['files a 1 (before)']);
  assert.deepEqual(await left(open(dir, { ...HERE, machineId: 'otherwise-read' }).spool), ['files a 1']);
  const clone = open(dir, { machineId: 'machine-2', bootId: 'boot-2' });
  assert.deepEqual(await left(clone.spool), []);
  assert.deepEqual(clone.events(), ['spool_damaged']);
  assert.deepEqual(fs.readdirSync(dir), []);
});

test('damaged, foreign and half-written files go with a line, links and directories are not followed; the rest stays', async (t) => {
  const dir = place(t);
  const { spool } = open(dir);
  for (const name of ['good', 'cut', 'flipped', 'renamed', 'newer', 'link'])
    await spool.save('files', name, Buffer.from(`text of ${name}`));
  const at = (name: string): string => path.join(dir, name);
  const whole = fs.readFileSync(at('files.cut'));
  fs.writeFileSync(at('files.cut'), whole.subarray(0, -1));
  fs.writeFileSync(at('files.flipped'), fs.readFileSync(at('files.flipped'), 'utf8').replace('text', 'test'));
  fs.renameSync(at('files.renamed'), at('own.shutdown_message'));
  fs.writeFileSync(at('files.newer'), fs.readFileSync(at('files.newer'), 'utf8').replace('"version":1', '"version":2'));
  fs.writeFileSync(at('files.empty'), '');
  fs.writeFileSync(at('stranger'), 'hello');
  fs.writeFileSync(at('.new'), fs.readFileSync(at('files.good')));
  const secret = path.join(path.dirname(dir), 'secret');
  fs.renameSync(at('files.link'), secret);
  fs.symlinkSync(secret, at('files.link'));
  fs.mkdirSync(at('files.dir'));
  spawnSync('mkfifo', [at('files.pipe')]);

  const { spool: again, events, errors } = open(dir);
  assert.deepEqual(await left(again), ['files good text of good']);
  assert.deepEqual(fs.readdirSync(dir).sort(), ['files.dir', 'files.good']);
  assert.ok(fs.existsSync(secret));
  assert.deepEqual(new Set(events()), new Set(['spool_damaged']));
  assert.equal(errors(), 0);
});

test('a directory that is a link, a file or missing again', async (t) => {
  const dir = place(t);
  fs.mkdirSync(path.dirname(dir));
  fs.symlinkSync(os.tmpdir(), dir);
  const linked = open(`${dir}/`);
  assert.deepEqual(await left(linked.spool), []);
  assert.equal(await linked.spool.save('files', 'a', Buffer.from('1')), false);
  fs.unlinkSync(dir);
  fs.writeFileSync(dir, '');
  assert.equal(await linked.spool.save('files', 'a', Buffer.from('1')), false);
  fs.unlinkSync(dir);
  assert.equal(await linked.spool.save('files', 'a', Buffer.from('1')), true);
  fs.rmSync(dir, { recursive: true });
  assert.equal(await linked.spool.save('files', 'a', Buffer.from('2')), true);
  assert.deepEqual(linked.events(), ['spool_failed', 'spool_recovered']);
  assert.equal(linked.errors(), 3);
  assert.deepEqual(await left(open('/proc/none/outbox').spool), []);
  assert.equal(await open('/proc/none/outbox').spool.save('files', 'a', Buffer.from('1')), false);
});

test('a full disk is told of once, counted each time, and what was there stays until it can be replaced', async (t) => {
  const dir = place(t);
  fs.mkdirSync(dir, { recursive: true, mode: 0o700 });
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k,mode=0700', 'tmpfs', dir]);
  if (mounted.status !== 0) return t.skip('a tmpfs cannot be mounted here (not root)');
  try {
    const { spool, events, errors } = open(dir);
    assert.equal(await spool.save('files', 'a', Buffer.from('old')), true);
    for (let n = 0; n < 3; n += 1) assert.equal(await spool.save('files', 'a', Buffer.alloc(100_000)), false);
    assert.ok(!spool.holds('files', 'a'), 'what is there is not the latest');
    assert.deepEqual(events(), ['spool_failed']);
    assert.equal(errors(), 3);
    assert.deepEqual(fs.readdirSync(dir), ['files.a']);
    assert.deepEqual(await left(open(dir).spool), ['files a old']);
    spool.remove('files', 'a');
    assert.equal(await spool.save('files', 'b', Buffer.from('1')), true);
    assert.deepEqual(events(), ['spool_recovered']);
    assert.deepEqual(fs.readdirSync(dir), ['files.b']);
  } finally {
    assert.equal(spawnSync('umount', [dir]).status, 0);
  }
});

test('a disk that hangs holds up neither the rest nor for ever, and is given no more than a little', async (t) => {
  const dir = place(t);
  const { spool, events, errors } = open(dir);
  await spool.restored;
  let letGo = (): void => {};
  const hang = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  const { rename } = fs.promises;
  t.mock.method(fs.promises, 'rename', async (from: string, to: string) => {
    await hang;
    return rename(from, to);
  });
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const saved = Array.from({ length: 40 }, (_, n) => spool.save('files', `f${n}`, Buffer.from('x')));
  assert.equal(await saved[39], false, 'not given to the disk at all');
  assert.equal(errors(), 8);
  t.mock.timers.tick(5_000);
  assert.deepEqual(await Promise.all(saved), Array(40).fill(false));
  assert.deepEqual(events(), ['spool_failed']);
  letGo();
  await spool.idle();
  assert.deepEqual(events(), ['spool_recovered']);
  assert.ok(spool.holds('files', 'f0') && !spool.holds('files', 'f39'));
});

test('a disk that is only slow is not waited for, and what it has is not lost', async (t) => {
  const dir = place(t);
  await open(dir).spool.save('own', 'a', Buffer.from('1'));
  const disk = slowDisk(t);
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { spool, events } = open(dir);
  t.mock.timers.tick(5_000);
  assert.deepEqual(await left(spool), []);
  assert.deepEqual(events(), ['spool_failed']);
  disk.answer();
  assert.deepEqual(await left({ ...spool, restored: spool.found }), ['own a 1']);
  assert.ok(spool.holds('own', 'a'));
  assert.deepEqual(events(), ['spool_recovered']);
});

test('without a directory nothing is kept and nothing complained of', async () => {
  const { log } = logLines();
  const spool = openSpool({ dir: null, identity: HERE, log, count: assert.fail });
  assert.deepEqual(await left(spool), []);
  assert.equal(await spool.save('files', 'a', Buffer.from('1')), false);
  spool.remove('files', 'a');
  await spool.idle();
});
