import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import message from '@homebridge/dbus-native/lib/message.js';
import { MAX_MESSAGE_BYTES, openFrames } from '../../agent/sources/logind-frames.ts';

const SIGNAL = { type: 4, serial: 1, sender: ':1.0', path: '/a', interface: 'a.b', member: 'C' };
const signal = (text: string): Buffer => message.marshall({ ...SIGNAL, signature: 's', body: [text] });

/** The pipe with the library behind it, as it is after authentication. */
function openParser() {
  const texts: unknown[] = [];
  const skipped: string[] = [];
  const broken: string[] = [];
  const offered: Buffer[] = [];
  const pipe = openFrames({
    write: () => assert.fail('nothing is to be written'),
    onBroken: (why) => broken.push(why),
    onSkipped: (why) => skipped.push(why),
  });
  pipe.beginMessages();
  const { stream } = pipe;
  const read = (bytes: number): Buffer | null => {
    const part = stream.read(bytes);
    if (part !== null) offered.push(part);
    return part;
  };
  message.unmarshalMessages(
    { ...stream, read },
    ({ body }) => texts.push(Array.isArray(body) ? body[0] : undefined),
    {},
  );
  return { feed: pipe.feed, texts, skipped, broken, offered };
}

describe('messages between the socket and the library', () => {
  it('arrive whole, however they are cut', () => {
    const bytes = Buffer.concat(['one', '', 'three'].map(signal));
    for (const cut of [1, 3, 16, 17, bytes.length]) {
      const { feed, texts, skipped } = openParser();
      for (let at = 0; at < bytes.length; at += cut) feed(bytes.subarray(at, at + cut));
      assert.deepEqual([texts, skipped], [['one', '', 'three'], []], `in pieces of ${cut}`);
    }
  });
  it('are passed over when they are too large, at their full length', () => {
    const large = signal('x'.repeat(MAX_MESSAGE_BYTES));
    for (const cut of [10_000, 2 * large.length]) {
      const { feed, texts, skipped, offered } = openParser();
      const bytes = Buffer.concat([signal('before'), large, signal('after')]);
      for (let at = 0; at < bytes.length; at += cut) feed(bytes.subarray(at, at + cut));
      assert.deepEqual(texts, ['before', 'after']);
      assert.deepEqual(skipped, [`a message of ${large.length} bytes`]);
      assert.ok(offered.every(({ length }) => length < 1_000));
    }
  });
  it('are not even parsed when somebody calls us', () => {
    const { feed, texts, offered } = openParser();
    feed(message.marshall({ ...SIGNAL, type: 1, signature: 's', body: ['do'] }));
    assert.deepEqual([texts, offered], [[], []]);
    feed(signal('next'));
    assert.deepEqual(texts, ['next']);
  });
  it('cost nothing but themselves when the library throws', () => {
    const odd = signal('odd');
    odd[odd.lastIndexOf('s\0', odd.length - 9)] = 'h'.charCodeAt(0);
    const { feed, texts, skipped, broken } = openParser();
    feed(Buffer.concat([odd, signal('next')]));
    assert.deepEqual([texts, broken], [['next'], []]);
    assert.match(skipped.join(), /^Unsupported type: h$/);
  });
  for (const [what, header] of [
    ['another byte order', '78020001000000000100000010000000'],
    ['another version', '6c020002000000000100000010000000'],
    ['more than any message has', '6c020001ffffffff0100000010000000'],
    ['the same, the other way round', '42020001ffffffff0000000100000010'],
  ] as const)
    it(`end with ${what}`, () => {
      const { feed, texts, broken } = openParser();
      feed(Buffer.from(header, 'hex'));
      feed(signal('next'));
      assert.deepEqual(texts, []);
      assert.equal(broken.length, 1);
    });
  it('begin only after authentication, which has no endless lines', () => {
    const broken: string[] = [];
    const { feed, stream } = openFrames({
      write: () => undefined,
      onBroken: (why) => broken.push(why),
      onSkipped: assert.fail,
    });
    feed(Buffer.from('OK 01'));
    assert.equal(stream.read(9), null);
    feed(Buffer.from('23\r\n'));
    assert.equal(String(stream.read(9)), 'OK 0123\r\n');
    feed(Buffer.alloc(5_000, 'x'));
    assert.equal(broken.length, 1);
  });
});
