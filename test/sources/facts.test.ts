import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { NO_FACTS, readMachineFacts } from '../../agent/sources/facts.ts';

describe('facts of the machine', () => {
  let root = '';
  beforeEach(() => {
    root = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-facts-'));
  });
  afterEach(() => fs.rmSync(root, { recursive: true, force: true }));

  const at = (name: string): string => {
    const file = path.join(root, name);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    return file;
  };
  const write = (name: string, content: string | Buffer): void => fs.writeFileSync(at(name), content);
  const label = (name: string): void => fs.symlinkSync('../../vdb', at(`dev/disk/by-label/${name}`));

  it('none where the machine says nothing', () => {
    assert.deepEqual(readMachineFacts(root), NO_FACTS);
    assert.deepEqual(readMachineFacts(path.join(root, 'nowhere')), NO_FACTS);
  });

  it('firmware, labels, cloud-init, hypervisor and fw_cfg', () => {
    write('sys/class/dmi/id/sys_vendor', 'Amazon EC2\n');
    write('sys/class/dmi/id/product_name', 't3.micro\n');
    write('sys/class/dmi/id/chassis_asset_tag', ' 7783-7084-3265-9085-8269-3286-77 \n');
    write('sys/class/dmi/id/product_uuid', 'of no use here');
    write('run/cloud-init/cloud-id', 'aws\n');
    write('sys/hypervisor/uuid', 'EC2F58AF-2B2C\n');
    fs.mkdirSync(at('sys/firmware/qemu_fw_cfg/by_name'), { recursive: true });
    fs.mkdirSync(at('sys/firmware/dmi/entries/11-0'), { recursive: true });
    label('config-2');
    label('CONTEXT');
    const facts = readMachineFacts(root);
    assert.deepEqual(facts, {
      dmi: {
        sys_vendor: 'Amazon EC2',
        product_name: 't3.micro',
        chassis_asset_tag: '7783-7084-3265-9085-8269-3286-77',
      },
      labels: facts.labels,
      cloudId: 'aws',
      hypervisorUuid: 'ec2f58af-2b2c',
      hasFwCfg: true,
      hasOemStrings: true,
    });
    assert.deepEqual([...facts.labels].sort(), ['CONTEXT', 'config-2']);
  });

  it('cloud-init’s answer is a link, as it makes it', () => {
    write('run/cloud-init/cloud-id-openstack', 'openstack\n');
    fs.symlinkSync('cloud-id-openstack', at('run/cloud-init/cloud-id'));
    assert.equal(readMachineFacts(root).cloudId, 'openstack');
  });

  it('a drive that was copied is one, also where the unit began before there was a /dev/disk', () => {
    write('run/mjf-agent-drive/CONTEXT/context.sh', '');
    write('run/mjf-agent-drive/config-2.0a1b2c3d4e5f/openstack/latest/meta_data.json', '');
    assert.deepEqual(readMachineFacts(root).labels, ['CONTEXT']);
    label('CONTEXT');
    assert.deepEqual(readMachineFacts(root).labels, ['CONTEXT']);
  });

  it('labels that udev wrote with escapes have their own spelling', () => {
    for (const name of ['my\\x20disk', 'a\\x2fb', 'back\\x5cslash', 'half\\x2', 'plain']) label(name);
    assert.deepEqual([...readMachineFacts(root).labels].sort(), ['a/b', 'back\\slash', 'half\\x2', 'my disk', 'plain']);
  });

  it('empty and blank strings are none', () => {
    write('sys/class/dmi/id/sys_vendor', '\n');
    write('sys/class/dmi/id/bios_vendor', '   ');
    assert.deepEqual(readMachineFacts(root).dmi, {});
  });

  it('a string longer than any firmware’s is cut, and one that is not text is taken as it is', () => {
    write('sys/class/dmi/id/sys_vendor', 'x'.repeat(100_000));
    write('sys/class/dmi/id/product_name', Buffer.from([0x41, 0xff, 0x42]));
    write('sys/class/dmi/id/board_vendor', 'Xen\0\0rubbish');
    const { dmi } = readMachineFacts(root);
    assert.equal(dmi.sys_vendor?.length, 256);
    assert.equal(dmi.product_name, 'A\u00ffB');
    assert.equal(dmi.board_vendor, 'Xen');
  });

  it('a FIFO, a directory, a dangling link or an endless device in place of a file is no fact, and holds nothing up', () => {
    write('sys/class/dmi/id/board_vendor', 'Xen');
    execFileSync('mkfifo', [at('sys/class/dmi/id/sys_vendor')]);
    fs.mkdirSync(at('sys/class/dmi/id/product_name'));
    fs.symlinkSync('nowhere', at('sys/class/dmi/id/bios_vendor'));
    fs.symlinkSync('/dev/zero', at('sys/class/dmi/id/bios_version'));
    assert.deepEqual(readMachineFacts(root).dmi, { board_vendor: 'Xen' });
  });

  it('a file that may not be read is no fact', { skip: process.getuid?.() === 0 && 'root may read everything' }, () => {
    write('sys/class/dmi/id/sys_vendor', 'Amazon EC2');
    fs.chmodSync(at('sys/class/dmi/id/sys_vendor'), 0);
    assert.deepEqual(readMachineFacts(root).dmi, {});
  });

  it('thousands of labels are too many', () => {
    for (let n = 0; n < 400; n += 1) label(`disk-${n}`);
    assert.equal(readMachineFacts(root).labels.length, 256);
  });
});
