import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { readMachineIdentity } from '../agent/machine-identity.ts';

const UUID = '4c4c4544-0047-4a10-8054-b4c04f564433';
const MACHINE_ID = '0123456789abcdef0123456789abcdef';

function rootWith(t: TestContext, files: Readonly<Record<string, string>>): string {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-identity-'));
  t.after(() => fs.rmSync(root, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) {
    fs.mkdirSync(path.dirname(path.join(root, name)), { recursive: true });
    fs.writeFileSync(path.join(root, name), text);
  }
  return root;
}

test('S4.1 machine id: the credential, else DMI, else /etc/machine-id, else unknown; what is no identity is passed over', (t) => {
  const files = { 'sys/class/dmi/id/product_uuid': `${UUID.toUpperCase()}\n`, 'etc/machine-id': `${MACHINE_ID}\n` };
  const other = UUID.replace('4c', 'aa');
  const dir = rootWith(t, { 'good/dmi': `${other}\n`, 'fallback/dmi': 'none\n' });
  const id = (root: Readonly<Record<string, string>>, credentials?: string) =>
    readMachineIdentity(rootWith(t, root), { CREDENTIALS_DIRECTORY: credentials }).machineId;
  assert.equal(id(files, path.join(dir, 'good')), other);
  assert.equal(id(files, path.join(dir, 'fallback')), UUID);
  assert.equal(id(files, path.join(dir, 'missing')), UUID);
  assert.equal(id(files), UUID);
  const placeholder = { ...files, 'sys/class/dmi/id/product_uuid': '00000000-0000-0000-0000-000000000000\n' };
  assert.equal(id(placeholder), MACHINE_ID);
  assert.equal(id({ 'etc/machine-id': 'uninitialized\n' }), 'unknown');
  assert.equal(id({}), 'unknown');
});

test('boot id and the start of the boot: btime, else uptime, else now', (t) => {
  const stat = 'cpu  1 2 3\nbtime 1766400000\nprocesses 7\n';
  const full = rootWith(t, { 'proc/sys/kernel/random/boot_id': 'B-1\n', 'proc/stat': stat, 'proc/uptime': '9.5 1\n' });
  const identity = readMachineIdentity(full, {});
  assert.equal(identity.bootId, 'b-1');
  assert.equal(identity.bootWallMs(1), 1_766_400_000_000);
  // The kernel moves btime along when the clock is set.
  fs.writeFileSync(path.join(full, 'proc/stat'), 'btime 1766400100\n');
  assert.equal(identity.bootWallMs(1), 1_766_400_100_000);
  fs.rmSync(path.join(full, 'proc/stat'));
  assert.equal(identity.bootWallMs(20_000), 10_500);
  fs.rmSync(path.join(full, 'proc/uptime'));
  assert.equal(identity.bootWallMs(20_000), 20_000);
});

test('a container that is started again is in another boot, though the kernel is in the same', (t) => {
  const started = (ticks: number): string => {
    const stat = `1 (init) x) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 ${ticks} 22 23\n`;
    return readMachineIdentity(
      rootWith(t, { 'proc/sys/kernel/random/boot_id': 'B-1\n', ...(ticks < 0 ? {} : { 'proc/1/stat': stat }) }),
      {},
    ).bootId;
  };
  assert.equal(started(25), 'b-1', "a machine's own init");
  assert.equal(started(-1), 'b-1', 'hidepid');
  assert.equal(started(5_690_187), 'b-1+5690187');
  assert.notEqual(started(5_690_187), started(5_690_188));
});

test('the real machine has a boot id, and it started before now', () => {
  const identity = readMachineIdentity('/', {});
  assert.match(identity.bootId, /^[0-9a-f-]{36}(\+\d+)?$/);
  const startMs = identity.bootWallMs(Date.now());
  assert.ok(startMs > 0 && startMs <= Date.now());
});
