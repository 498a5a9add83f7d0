/** What metadata may lead the agent to, and what not. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { followable } from '../agent/pointer-rules.ts';

const surroundings = { isOwn: (url: string) => url.includes('8653'), mounts: new Set(['/', '/mnt/host', '/run']) };
const refusedOf = (pointers: Parameters<typeof followable>[0]) =>
  followable(pointers, surroundings).refused.map(({ name }) => name);

describe('followable', () => {
  it('takes URLs of a site, and directories to read', () => {
    const pointers = {
      machinefeatures: 'http://169.254.169.253/machinefeatures',
      jobfeatures: '/etc/jobfeatures',
      joboutputs: 'https://site.example:8443/joboutputs/vm-17',
    };
    assert.deepEqual(followable(pointers, surroundings), { allowed: pointers, refused: [] });
  });

  for (const url of [
    'http://169.254.169.254/latest/meta-data/tags/instance',
    'http://169.254.169.254:80/openstack/latest',
    'http://user@169.254.169.254/latest',
    'http://metadata.google.internal/computeMetadata/v1/instance/attributes',
    'http://metadata.google.internal./computeMetadata/v1/instance/attributes',
    'http://100.100.100.200/latest/meta-data',
    'http://[fd00:ec2::254]/latest/meta-data',
    'http://169.254.169.254/x/../latest/meta-data',
    'http://169.254.169.254/%6catest/meta-data',
    'http://169.254.169.254/2009-04-04/meta-data',
    'http://169.254.169.254/1.0/meta-data',
    'http://169.254.169.254',
    'http://169.254.169.254/?x',
    'http://169.254.169.254/opc/v2',
    'http://2852039166/latest/meta-data',
    'http://0xa9fea9fe/latest/',
    'http://169.254.169.254\\latest\\meta-data',
    'http://169.254.169%2e254/latest',
    'http://[fd00:ec2:0::254]/latest',
    'http://[::ffff:169.254.169.254]/latest',
    'http://[fe80::a9fe:a9fe%25eth0]/openstack/latest',
  ]) {
    it(`a metadata service is no server of features: ${url}`, () => {
      assert.deepEqual(refusedOf({ machinefeatures: url, joboutputs: url }), ['machinefeatures', 'joboutputs']);
    });
  }

  for (const url of [
    'http://169.254.169.254/machinefeatures',
    'http://169.254.169.254:8080/vm-17/jobfeatures',
    'http://169.254.169.253/latest-features',
  ]) {
    it(`a small site may serve features beside its metadata: ${url}`, () => {
      assert.deepEqual(refusedOf({ machinefeatures: url }), []);
    });
  }

  it('a place to write to may want a user and password', () => {
    assert.deepEqual(refusedOf({ joboutputs: 'https://me:secret@site.example/out?key=x' }), []);
    assert.deepEqual(refusedOf({ joboutputs: 'http://a@b@169.254.169.254/latest' }), ['joboutputs']);
  });

  it('refuses the agent itself, and what is no place at all', () => {
    assert.deepEqual(refusedOf({ jobfeatures: 'http://localhost:8653/jobfeatures' }), ['jobfeatures']);
    assert.deepEqual(refusedOf({ jobfeatures: 'http://' }), ['jobfeatures']);
  });

  for (const [place, allowed] of [
    ['/etc/cron.d', false],
    ['/root/.ssh', false],
    ['/', false],
    ['/run/mjf-host/../cron', false],
    ['/run/mjf-host/joboutputs', true],
    ['/mnt/host', true],
    ['/mnt/host/', true],
    ['/mnt/host/below', false],
  ] as const) {
    it(`${allowed ? 'writes to' : 'does not write to'} ${place}`, () => {
      assert.equal(followable({ joboutputs: place }, surroundings).allowed.joboutputs !== undefined, allowed);
    });
  }

  it('a mount table that cannot be read allows nothing', () => {
    assert.deepEqual(followable({ joboutputs: '/mnt/host' }, { ...surroundings, mounts: null }).allowed, {});
  });
});
