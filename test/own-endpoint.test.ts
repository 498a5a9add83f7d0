import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isOwnEndpoint, type OwnAddress } from '../agent/own-endpoint.ts';

const LOOPBACK: readonly OwnAddress[] = [{ host: '127.0.0.1', port: 8653 }];

describe('own by name, wherever on this machine one of us listens', () => {
  const hosts = [
    '127.0.0.1',
    '127.0.0.9',
    '127.1',
    '2130706433',
    '127.0.0.1.',
    'localhost',
    'LOCALHOST',
    'localhost.',
    'agent.localhost',
    'localhost.localdomain',
    'localhost4',
    'localhost6',
    'ip6-localhost',
    'ip6-loopback',
    '[::1]',
    '[::1%lo]',
    '[::1%25lo]',
    '[0:0:0:0:0:0:0:1]',
    '[::ffff:127.0.0.1]',
    '[::ffff:7f00:1]',
    '0.0.0.0',
    '0',
    '[::]',
  ];
  for (const host of hosts) {
    test(host, () => {
      const others: readonly OwnAddress[] = [
        { host: '::1', port: 8653 },
        { host: '::', port: 8653 },
        { host: '0.0.0.0', port: 8653 },
      ];
      for (const own of [...LOOPBACK, ...others])
        assert.ok(isOwnEndpoint(`http://${host}:8653/machinefeatures`, [own]), own.host);
      assert.ok(!isOwnEndpoint(`http://${host}:8654/machinefeatures`, LOOPBACK), 'another port');
      assert.ok(!isOwnEndpoint(`http://${host}:8653/`, [{ host: '192.0.2.7', port: 8653 }]), 'not where we listen');
    });
  }
});

describe('own by the address that is listened on', () => {
  const rows: readonly (readonly [listens: string, url: string])[] = [
    ['192.0.2.7', 'http://192.0.2.7:8653/m'],
    ['192.0.2.7', 'http://192.0.2.7.:8653/m'],
    ['192.0.2.7', 'http://0xc0.0.2.7:8653/m'],
    ['192.0.2.7', 'http://[::ffff:192.0.2.7]:8653/m'],
    ['::ffff:192.0.2.7', 'http://192.0.2.7:8653/m'],
    ['2001:DB8::0:7', 'http://[2001:db8::7]:8653/m'],
    ['fe80::1%eth0', 'http://[fe80::1%25eth0]:8653/m'],
    ['fe80::1%eth0', 'http://[fe80::1]:8653/m'],
    ['192.0.2.7', 'http://me:secret@192.0.2.7:8653/m?sig=x'],
    ['192.0.2.7', 'https://192.0.2.7:8653/m'],
  ];
  for (const [host, url] of rows)
    test(`${host}: ${url}`, () => {
      assert.ok(isOwnEndpoint(url, [...LOOPBACK, { host, port: 8653 }]));
      assert.ok(!isOwnEndpoint(url, LOOPBACK));
      assert.ok(!isOwnEndpoint(url, [{ host, port: 8654 }]));
    });

  test('the ports that a URL does not write', () => {
    assert.ok(isOwnEndpoint('http://localhost/m', [{ host: '127.0.0.1', port: 80 }]));
    assert.ok(isOwnEndpoint('https://localhost/m', [{ host: '127.0.0.1', port: 443 }]));
    assert.ok(!isOwnEndpoint('https://localhost/m', [{ host: '127.0.0.1', port: 80 }]));
  });
  test('port 0 is nobody’s yet', () => {
    assert.ok(!isOwnEndpoint('http://localhost:0/m', [{ host: '127.0.0.1', port: 0 }]));
  });
  for (const url of ['', 'localhost:8653', '/machinefeatures', 'http://[broken:8653/', 'http://127.0.0.1%25lo:8653/'])
    test(`no URL to ask: ${url}`, () => assert.ok(!isOwnEndpoint(url, LOOPBACK)));
});
