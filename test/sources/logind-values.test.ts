import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import message from '@homebridge/dbus-native/lib/message.js';
import { skipValues } from '../../agent/sources/logind-values.ts';

/** What the library makes of values, without the head. */
function bytesOf(signature: string, body: readonly unknown[]): Buffer {
  const bytes = message.marshall({ type: 4, serial: 1, path: '/a', interface: 'a.b', member: 'C', signature, body });
  return bytes.subarray(bytes.length - bytes.readUInt32LE(4));
}
const skip = (hex: string, signature: string, little = true): number | undefined =>
  skipValues(Buffer.from(hex.replaceAll(' ', ''), 'hex'), 0, signature, little);
const variantsIn = (depth: number): unknown => (depth === 0 ? ['y', 1] : ['v', variantsIn(depth - 1)]);

describe('the walk over D-Bus values', () => {
  for (const [signature, body] of [
    ['b', [true]],
    ['sss', ['org.freedesktop.login1', '', ':1.5']],
    ['ba{sv}', [true, [['type', ['s', 'reboot']]]]],
    [
      'sa{sv}as',
      [
        'a.b',
        [
          ['Scheduled', ['(st)', ['poweroff', 7]]],
          ['Maximum', ['t', 5]],
        ],
        ['one', 'two'],
      ],
    ],
    ['v', [['(st)', ['', 1]]]],
    [
      'ya(yt)atau',
      [
        1,
        [
          [1, 2],
          [3, 4],
        ],
        [],
        [1, 2, 3],
      ],
    ],
    ['ogy', ['/a', 'a{sv}', 1]],
    ['v', [variantsIn(8)]],
  ] as const)
    it(`ends with the values of ${signature} ${JSON.stringify(body).slice(0, 40)}, and not without them all`, () => {
      const bytes = bytesOf(signature, body);
      assert.equal(skipValues(bytes, 0, signature, true), bytes.length);
      for (let length = 0; length < bytes.length; length += 1)
        assert.equal(skipValues(bytes.subarray(0, length), 0, signature, true), undefined, `${length} bytes`);
    });
  it('knows the other byte order', () => {
    assert.equal(skip('00000002 6162 00 00 00000004 00000001', 'sau', false), 16);
    assert.equal(skip('00000002 6162 00 00 00000004 00000001', 'sau', true), undefined);
  });
  for (const [what, hex, signature] of [
    ['an array of nothing', '08000000 00000000', 'a()'],
    ['nothing', '00000000', '()'],
    ['the same in a variant', '03 612829 00 00000000 08000000', 'v'],
    ['an array that ends within an element', '06000000 01000000 0200', 'au'],
    ['an array of texts that do', '06000000 02000000 616200', 'as'],
    ['an array longer than all', 'ffffffff 00', 'ay'],
    ['an array of structures longer than all', 'ffffff7f 00000000 01', 'a(y)'],
    ['an unknown type', '00000000', 'z'],
    ['an open structure', '00000000', '(u'],
    ['a structure closed as an entry', '00000000', '(u}'],
    ['an array of what is missing', '00000000', 'a'],
    ['a variant of two', '02 7979 00 0101', 'v'],
    ['a variant of none', '00 00', 'v'],
  ] as const)
    it(`refuses ${what}`, () => assert.equal(skip(hex, signature), undefined));
  it('refuses what is too deep', () => {
    assert.equal(skipValues(bytesOf('v', [variantsIn(40)]), 0, 'v', true), undefined);
    const arrays = 'a'.repeat(40);
    assert.equal(skip('00000000', `${arrays}y`), undefined);
    assert.equal(skip('00000000', `${'('.repeat(40)}y${')'.repeat(40)}`), undefined);
  });
});
