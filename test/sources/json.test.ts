import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { asList, asRecord, asText, parseJson } from '../../agent/sources/json.ts';

describe('documents of hosts', () => {
  it('are read, also behind a byte order mark', () => {
    assert.deepEqual(parseJson('\ufeff {"a":[1,"2"]}\r\n', 'it'), { a: [1, '2'] });
  });

  for (const text of ['', ' ', '{', '[1,', '<html></html>', 'NONE', "{'a':1}", '{"a":1}{"b":2}', '\ufeff\ufeff{}'])
    it(`${JSON.stringify(text)} is none`, () => {
      assert.throws(() => parseJson(text, 'it'), { name: 'SourceError', code: 'bad_json', message: 'it is not JSON' });
    });

  it('nothing is taken for granted of what is in them', () => {
    for (const value of [null, undefined, [], 'a', 1, true]) assert.equal(asRecord(value), undefined);
    assert.deepEqual(asRecord({ a: 1 }), { a: 1 });
    for (const value of [null, undefined, {}, 'a', 1]) assert.equal(asList(value), undefined);
    assert.deepEqual(asList([1]), [1]);
    for (const value of [null, undefined, {}, []]) assert.equal(asText(value), undefined);
    assert.deepEqual([asText('a'), asText(''), asText(7), asText(false)], ['a', '', '7', 'false']);
  });

  it('a field of a trapped name is a field like any other', () => {
    const document = asRecord(parseJson('{"__proto__":{"polluted":1},"constructor":2}', 'it'));
    assert.deepEqual(Object.keys(document ?? {}), ['__proto__', 'constructor']);
    assert.equal(({} as Record<string, unknown>)['polluted'], undefined);
  });
});
