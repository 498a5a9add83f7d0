import assert from 'node:assert/strict';
import test from 'node:test';
import { findPeer, lookForPeer } from '../../../agent/publish/http/proc-net.ts';

const HEAD = '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode';
const SERVER = '0100007F:21CD';
const CLIENT = '0100007F:D431';
const row = (local: string, remote: string, state: string, uid: number, inode: number) =>
  `   1: ${local} ${remote} ${state} 00000000:00000000 00:00000000 00000000 ${String(uid).padStart(5)}        0 ${inode} 1 00000000a1b2c3d4 20 4 30 10 -1`;
const table = (...rows: string[]) => `${[HEAD, ...rows].join('\n')}\n`;
const own = row(SERVER, CLIENT, '01', 0, 500);
const listener = row(SERVER, '00000000:0000', '0A', 0, 499);
const client = row(CLIENT, SERVER, '01', 1000, 501);

test('the client is the mirrored established row', () => {
  assert.deepEqual(findPeer([table(listener, own, client), table()], '500'), { ok: true, uid: 1000, inode: '501' });
});

test('an IPv4-mapped client stands in tcp6 only, in either byte order', () => {
  for (const prefix of ['0000000000000000FFFF0000', '00000000000000000000FFFF']) {
    const mapped = row(`${prefix}${CLIENT}`, `${prefix}${SERVER}`, '01', 1000, 501);
    assert.deepEqual(findPeer([table(own), table(mapped)], '500'), { ok: true, uid: 1000, inode: '501' }, prefix);
  }
});

test('IPv6 loopback on both sides', () => {
  const loopback = '00000000000000000000000001000000';
  const tcp6 = table(
    row(`${loopback}:21CD`, `${loopback}:D431`, '01', 0, 500),
    row(`${loopback}:D431`, `${loopback}:21CD`, '01', 7, 501),
  );
  assert.deepEqual(findPeer([table(), tcp6], '500'), { ok: true, uid: 7, inode: '501' });
});

const refused: readonly (readonly [string, readonly string[], string])[] = [
  ['the trap: a closed client shows uid 0 and inode 0', [own, row(CLIENT, SERVER, '05', 0, 0)], 'client_closed'],
  ['established, but orphaned: inode 0', [own, row(CLIENT, SERVER, '01', 0, 0)], 'client_closed'],
  ['half closed by the client', [own, row(CLIENT, SERVER, '05', 1000, 501)], 'client_closed'],
  ['our own side in CLOSE_WAIT: it has hung up', [row(SERVER, CLIENT, '08', 0, 500), client], 'client_closed'],
  ['our own side in FIN_WAIT2', [row(SERVER, CLIENT, '05', 0, 500), client], 'own_row'],
  ['our own side is not there', [client], 'own_row'],
  ['our own side twice', [own, row(SERVER, '0100007F:D432', '01', 0, 500), client], 'own_row'],
  ['no client at all (another machine, another network namespace)', [own, listener], 'client_row'],
  ['two different clients', [own, client, row(CLIENT, SERVER, '01', 0, 502)], 'client_row'],
  ['a user that this namespace cannot name', [own, row(CLIENT, SERVER, '01', 65534, 501)], 'unmapped_user'],
  ['another connection of the same client port', [own, row(CLIENT, '0100007F:21CE', '01', 0, 501)], 'client_row'],
  ['garbage', ['x', '   1:', own.slice(0, 40)], 'own_row'],
];
for (const [what, rows, why] of refused) {
  test(`refused: ${what}`, () => {
    assert.deepEqual(findPeer([table(...rows), table()], '500'), { ok: false, why });
  });
}

test('an own inode of 0 or nonsense finds nobody', () => {
  const orphan = row(SERVER, CLIENT, '01', 0, 0);
  for (const inode of ['0', '', '01', 'x']) assert.equal(findPeer([table(orphan, client)], inode).ok, false);
});

test('a row seen twice because the table changed while it was read is one row', () => {
  assert.equal(findPeer([table(own, client, client), table()], '500').ok, true);
});

const readings = (...tables: readonly (readonly string[])[]) => {
  let at = 0;
  const read = async () => [table(...(tables[Math.min(at, tables.length - 1)] ?? [])), table()];
  return {
    times: () => at,
    read: () => {
      const text = read();
      at += 1;
      return text;
    },
  };
};

test('a row that falls between two pieces of the table is looked for again', async () => {
  for (const torn of [[own], [client], []]) {
    const { read, times } = readings(torn, torn, [own, client]);
    assert.deepEqual(await lookForPeer(read, '500'), { ok: true, uid: 1000, inode: '501' });
    assert.equal(times(), 3);
  }
});

test('a row that stays away is missing, after a bounded number of readings', async () => {
  const { read, times } = readings([own]);
  assert.deepEqual(await lookForPeer(read, '500'), { ok: false, why: 'client_row' });
  assert.equal(times(), 4);
});

test('what a row says is not asked twice: a closed client is closed', async () => {
  const { read, times } = readings([own, row(CLIENT, SERVER, '05', 0, 0)], [own, client]);
  assert.deepEqual(await lookForPeer(read, '500'), { ok: false, why: 'client_closed' });
  assert.equal(times(), 1);
});
