import assert from 'node:assert/strict';
import { test } from 'node:test';
import { shutdownCommandOf } from '../../agent/payloads/shutdown-command.ts';

const said = (source: string, place?: string) => ({
  machine: { shutdown_command: { value: '/sbin/off', source, sinceMs: 0, stale: false } },
  pointers: place === undefined ? {} : { machinefeatures: place },
});
const NO_TABLE = { source: {} };

test('by the operator or a mounted directory; never by what came over the network', () => {
  for (const source of ['static', 'directory'])
    assert.equal(shutdownCommandOf(said(source), NO_TABLE, '/'), '/sbin/off', source);
  for (const source of ['mjf', 'ec2', 'gce', 'opennebula', 'self', ''])
    assert.equal(shutdownCommandOf(said(source), NO_TABLE, '/'), null, source);
  assert.equal(shutdownCommandOf({ machine: {}, pointers: {} }, NO_TABLE, '/'), null);
});

test('a directory that a metadata service chose is no better than its own word', () => {
  assert.equal(shutdownCommandOf(said('directory', '/srv/features'), NO_TABLE, '/'), null);
  assert.equal(shutdownCommandOf(said('directory', '/etc/../srv/features'), NO_TABLE, '/'), null);
  // The operator's own table beats every pointer, and the usual places need none.
  const table = { source: { directory: { machinefeatures: '/mnt/host' } } };
  assert.equal(shutdownCommandOf(said('directory', '/srv/features'), table, '/'), '/sbin/off');
  for (const place of [
    '/etc/machinefeatures',
    '/run/mjf-host/machinefeatures/',
    'https://site.example/machinefeatures',
  ])
    assert.equal(shutdownCommandOf(said('directory', place), NO_TABLE, '/'), '/sbin/off', place);
});
