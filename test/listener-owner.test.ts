import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { listenerIsOf } from '../agent/listener-owner.ts';

const HEADER = '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode';
const row = (local: string, state: string, uid: number): string =>
  `   0: ${local} 00000000:0000 ${state} 00000000:00000000 00:00000000 00000000 ${String(uid).padStart(5)}        0 4711 1`;

function procWith(t: { after(end: () => void): void }, tcp: readonly string[], tcp6: readonly string[] = []): string {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'mjf-net-'));
  t.after(() => fs.rmSync(root, { recursive: true }));
  fs.mkdirSync(path.join(root, 'self/net'), { recursive: true });
  fs.writeFileSync(path.join(root, 'self/net/tcp'), `${[HEADER, ...tcp].join('\n')}\n`);
  fs.writeFileSync(path.join(root, 'self/net/tcp6'), `${[HEADER, ...tcp6].join('\n')}\n`);
  return root;
}

test('a real listener of this user is recognised, and is gone when it is closed', async () => {
  const server = http.createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  const me = process.getuid?.() ?? 0;
  assert.equal(listenerIsOf(me, '127.0.0.1', port), true);
  if (me !== 0) assert.equal(listenerIsOf(me + 1, '127.0.0.1', port), false);
  await new Promise((resolve) => server.close(resolve));
  assert.equal(listenerIsOf(me, '127.0.0.1', port), false);
});

test('another user on the port of a daemon that is away is not believed', (t) => {
  const proc = procWith(t, [row('0100007F:21CD', '0A', 65533)]);
  assert.equal(listenerIsOf(990, '127.0.0.1', 0x21cd, proc), false);
});

test("root's socket unit is believed, an unrelated connection on the same port does not count", (t) => {
  const proc = procWith(t, [
    row('0100007F:21CD', '0A', 0),
    row('0100007F:21CD', '01', 65533),
    row('0100007F:21CE', '0A', 65533),
  ]);
  assert.equal(listenerIsOf(990, '127.0.0.1', 0x21cd, proc), true);
});

test('IPv6 has its own table; a stranger on [::1] says nothing of 127.0.0.1', (t) => {
  const stranger = row('00000000000000000000000001000000:21CD', '0A', 65533);
  const proc = procWith(t, [row('0100007F:21CD', '0A', 990)], [stranger]);
  assert.equal(listenerIsOf(990, '127.0.0.1', 0x21cd, proc), true);
  assert.equal(listenerIsOf(990, '::1', 0x21cd, proc), false);
});
