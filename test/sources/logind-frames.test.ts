import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import message from '@homebridge/dbus-native/lib/message.js';
import { MAX_HEAD_BYTES, MAX_MESSAGE_BYTES, openFrames } from '../../agent/sources/logind-frames.ts';
import type { BusHeader } from '../../agent/sources/logind-header.ts';

const SIGNAL = { type: 4, serial: 1, sender: ':1.0', path: '/a', interface: 'a.b', member: 'C' };
const signal = (text: string): Buffer => message.marshall({ ...SIGNAL, signature: 's', body: [text] });

/** The pipe with the library behind it, as it is after authentication. */
function openParser(wants = (_header: BusHeader): boolean => true) {
  const texts: unknown[] = [];
  const skipped: string[] = [];
  const broken: string[] = [];
  const offered: Buffer[] = [];
  const pipe = openFrames({
    write: () => assert.fail('nothing is to be written'),
    wants,
    onParsed: () => undefined,
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
    const odd = message.marshall({ ...SIGNAL, signature: 'u', body: [0] });
    odd[odd.lastIndexOf('u\0')] = 'h'.charCodeAt(0);
    const { feed, texts, skipped, broken } = openParser();
    feed(Buffer.concat([odd, signal('next')]));
    assert.deepEqual([texts, broken], [['next'], []]);
    assert.match(skipped.join(), /^Unsupported type: h$/);
  });
  it('are not even parsed, nor kept, when nobody wants them', () => {
    const large = signal('x'.repeat(2 * MAX_MESSAGE_BYTES));
    const odd = Buffer.from(signal('odd'));
    odd.fill(0x7f, odd.lastIndexOf('odd') - 4, odd.lastIndexOf('odd'));
    const bytes = Buffer.concat([odd, large, signal('other'), signal('mine')]);
    for (const cut of [1, 10_000, bytes.length]) {
      let count = 0;
      const { feed, texts, skipped, offered } = openParser(({ sender, member }) => {
        assert.deepEqual([sender, member], [':1.0', 'C']);
        count += 1;
        // The last is asked about whenever more of it has come.
        return count > 3;
      });
      for (let at = 0; at < bytes.length; at += cut) feed(bytes.subarray(at, at + cut));
      assert.deepEqual([texts, skipped], [['mine'], []], `in pieces of ${cut}`);
      assert.ok(Buffer.concat(offered).length <= signal('mine').length);
    }
  });
  it('are judged one by one: what one says decides about the next', () => {
    let heard = 0;
    const pipe = openFrames({
      write: () => assert.fail(),
      wants: () => heard < 2,
      onParsed: () => {
        heard += 1;
      },
      onBroken: assert.fail,
      onSkipped: assert.fail,
    });
    const bodies: unknown[] = [];
    pipe.beginMessages();
    message.unmarshalMessages(pipe.stream, ({ body }) => bodies.push(body), {});
    pipe.feed(Buffer.concat(['one', 'two', 'three'].map(signal)));
    assert.deepEqual(bodies, [['one'], ['two']]);
  });
  it('reach the library only with a body that its signature describes', () => {
    // The library would run for ever over the one, and for minutes over the other.
    const nothings = message.marshall({ ...SIGNAL, signature: 'aau', body: [[[1]]] });
    nothings.write('a()', nothings.lastIndexOf('aau'), 'latin1');
    const longest = message.marshall({ ...SIGNAL, signature: 'a(y)', body: [[[1]]] });
    const lengthAt = longest.length - longest.readUInt32LE(4);
    longest.fill(0x7f, lengthAt, lengthAt + 4);
    for (const bytes of [nothings, longest]) {
      const { feed, texts, skipped, offered } = openParser();
      feed(Buffer.concat([bytes, signal('next')]));
      assert.deepEqual([texts, skipped.length], [['next'], 1]);
      assert.ok(Buffer.concat(offered).length <= signal('next').length);
    }
  });
  it('are passed over with a head that is longer than any', () => {
    const { feed, texts, skipped, broken } = openParser();
    const long = message.marshall({ ...SIGNAL, path: `/${'a'.repeat(MAX_HEAD_BYTES)}`, signature: 's', body: ['a'] });
    feed(Buffer.concat([long, signal('next')]));
    assert.deepEqual([texts, skipped, broken], [['next'], [], []]);
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
      wants: () => assert.fail(),
      onParsed: () => assert.fail(),
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
