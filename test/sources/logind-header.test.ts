import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import message from '@homebridge/dbus-native/lib/message.js';
import { readHeader } from '../../agent/sources/logind-header.ts';

/** Fields of the header by hand: code, type and value each; the body is left out. */
function head(fields: readonly (readonly [code: number, type: string, value: string | number])[], little = true) {
  const parts: Buffer[] = [];
  let length = 0;
  const add = (...bytes: readonly number[]): void => {
    parts.push(Buffer.from(bytes));
    length += bytes.length;
  };
  const uint32 = (value: number): void => {
    const bytes = [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, value >>> 24];
    add(...(little ? bytes : bytes.reverse()));
  };
  for (const [code, type, value] of fields) {
    while (length % 8 !== 0) add(0);
    add(code, type.length, ...Buffer.from(type), 0);
    if (typeof value === 'number') uint32(value);
    else {
      if (type === 'g') add(value.length);
      else uint32(value.length);
      add(...Buffer.from(value), 0);
    }
  }
  const fieldBytes = length;
  while (length % 8 !== 0) add(0);
  const fixed = Buffer.from([little ? 0x6c : 0x42, 4, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  if (little) fixed.writeUInt32LE(fieldBytes, 12);
  else fixed.writeUInt32BE(fieldBytes, 12);
  return Buffer.concat([fixed, ...parts]);
}

const ALL = [
  [1, 'o', '/a/b'],
  [2, 's', 'c.d'],
  [3, 's', 'E'],
  [4, 's', 'f.g'],
  [5, 'u', 0x12345678],
  [6, 's', ':1.5'],
  [7, 's', ':1.6'],
  [8, 'g', 'a{sv}'],
  [9, 'u', 1],
] as const;
const READ = {
  type: 4,
  path: '/a/b',
  interface: 'c.d',
  member: 'E',
  errorName: 'f.g',
  replySerial: 0x12345678,
  sender: ':1.6',
  signature: 'a{sv}',
};

describe('the head of a D-Bus message', () => {
  for (const [order, little] of [
    ['little', true],
    ['big', false],
  ] as const) {
    it(`is read in ${order} endian, in any order of its fields`, () => {
      assert.deepEqual(readHeader(head(ALL, little)), READ);
      assert.deepEqual(readHeader(head([...ALL].reverse(), little)), READ);
    });
    it(`that is cut or damaged anywhere is refused or read, never more, in ${order} endian`, () => {
      const whole = head(ALL, little);
      for (let bytes = 16; bytes < whole.length - 8; bytes += 1)
        assert.equal(readHeader(whole.subarray(0, bytes)), undefined, `${bytes} bytes`);
      for (let fieldBytes = 1; fieldBytes < whole.length - 16; fieldBytes += 1) {
        const cut = Buffer.from(whole.subarray(0, 16 + fieldBytes));
        cut.fill(0, 12, 16);
        cut[little ? 12 : 15] = fieldBytes;
        const { sender } = readHeader(cut) ?? {};
        assert.ok(sender === undefined || sender === READ.sender, `${sender}`);
      }
      for (let at = 12; at < whole.length; at += 1)
        for (const value of [0, 1, 0x7f, 0xff]) {
          const damaged = Buffer.from(whole);
          damaged[at] = value;
          const length = JSON.stringify(readHeader(damaged) ?? '').length;
          assert.ok(length < 2 * JSON.stringify(READ).length, `${value} at ${at}`);
        }
    });
  }
  it('is what the library has written', () => {
    const bytes = message.marshall({ type: 2, serial: 1, sender: ':1.0', replySerial: 7, signature: 's', body: ['a'] });
    const nothing = { path: undefined, interface: undefined, member: undefined, errorName: undefined };
    assert.deepEqual(readHeader(bytes), { ...nothing, type: 2, sender: ':1.0', replySerial: 7, signature: 's' });
  });
  it('may have fields that nobody knows yet', () => {
    assert.deepEqual(readHeader(head([[10, 's', 'new'], ...ALL, [200, 'u', 5]])), READ);
  });
  for (const [what, fields] of [
    ['a field of another type', [[7, 'o', '/a']]],
    ['a number as a name', [[7, 'u', 7]]],
    ['a structure in a new field', [[10, '(u)', 7]]],
    ['an array in a new field', [[10, 'a', 7]]],
    ['an array of nothing in a new field', [[10, 'a()', 7]]],
    ['a field of no code', [[0, 's', 'a']]],
    ['fields without end', Array.from({ length: 100 }, () => [10, 's', ''] as const)],
  ] as const)
    it(`is refused with ${what}`, () => {
      assert.equal(readHeader(head(fields)), undefined);
    });
});
