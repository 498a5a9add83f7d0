/** What an end means to the site (mjf.md, "VM to site"; SEMANTICS S5.3). */
import assert from 'node:assert/strict';
import test from 'node:test';
import { wordText } from '../../agent/commands/final-word.ts';
import { parseCodes } from '../../agent/exec/options.ts';
import { finalWordOf, type PayloadEnd } from '../../agent/exec/outcome.ts';

type Way = number | NodeJS.Signals;
const end = (way: Way, stopped: boolean): PayloadEnd =>
  typeof way === 'number' ? { code: way, signal: null, stopped } : { code: null, signal: way, stopped };

const REQUESTED = '100 Shutdown as requested by the host';

for (const [name, way, stopped, codes, word] of [
  ['ended well', 0, false, [], '200 Intended work completed'],
  ['ended with a code', 3, false, [], '700 Payload ended with exit code 3'],
  ['EX_TEMPFAIL without a deadline is a code like any other', 75, false, [], '700 Payload ended with exit code 75'],
  ['ended by a signal', 'SIGSEGV', false, [], '700 Payload was ended by SIGSEGV'],
  ['stopped, ended well', 0, true, [], REQUESTED],
  ['stopped by the signal', 'SIGTERM', true, [], REQUESTED],
  ['stopped, its shell tells of the signal', 143, true, [], REQUESTED],
  ['stopped, wants to go on elsewhere', 75, true, [], REQUESTED],
  ['128 alone is no signal', 128, true, [], '700 Payload ended with exit code 128 while it was being stopped'],
  ['stopped, could not save its work', 3, true, [], '700 Payload ended with exit code 3 while it was being stopped'],
  ['a mapped code', 3, false, ['3=300:No more work'], '300 No more work'],
  ['a mapping written as in the configuration', 3, false, ['3=300 No more work'], '300 No more work'],
  ['the later of two mappings', 3, false, ['3=300:No', '3=400'], '400'],
  ['another code is not touched by it', 4, false, ['3=300:No more work'], '700 Payload ended with exit code 4'],
  ['other', 4, false, ['3=300', 'other=600:Broken release'], '600 Broken release'],
  ['other is not for success', 0, false, ['other=600'], '200 Intended work completed'],
  ['success mapped', 0, false, ['0=300:Nothing to do'], '300 Nothing to do'],
  ['signal', 'SIGSEGV', false, ['signal=650:Crashed', 'other=600'], '650 Crashed'],
  ['other is not for signals', 'SIGSEGV', false, ['other=600'], '700 Payload was ended by SIGSEGV'],
  ['stopped: success stays the host’s request', 0, true, ['0=200:Done'], REQUESTED],
  ['stopped: a code named a fault is one', 0, true, ['0=300:No more work'], '300 No more work'],
  ['stopped: a failure mapped to success is no fault', 3, true, ['3=200:Done'], REQUESTED],
  ['stopped: a failure mapped to a fault', 3, true, ['3=710:No checkpoint'], '710 No checkpoint'],
  ['stopped: other is a fault too', 4, true, ['other=600:Broken'], '600 Broken'],
  ['stopped in order: other and signal are about accidents', 143, true, ['other=600', 'signal=650'], REQUESTED],
  ['stopped by the signal: no accident', 'SIGKILL', true, ['other=600', 'signal=650'], REQUESTED],
] as const satisfies readonly (readonly [string, Way, boolean, readonly string[], string])[]) {
  test(`S5.3 ${name}`, () => assert.equal(wordText(finalWordOf(end(way, stopped), parseCodes(codes))), word));
}

test('a flag beats the configuration for its own code alone', () => {
  const configured = { '3': { code: 300, text: 'a' }, '4': { code: 400, text: 'b' } };
  const codes = { ...configured, ...parseCodes(['3=500:the site']) };
  assert.deepEqual(
    [3, 4].map((code) => wordText(finalWordOf(end(code, false), codes))),
    ['500 the site', '400 b'],
  );
});

for (const [text, message] of [
  ['3', /takes EXIT=NNN/],
  ['256=300', /0 to 255/],
  ['03=300', /takes EXIT=NNN/],
  ['SIGTERM=300', /signal or other/],
  ['=300', /takes EXIT=NNN/],
  ['3=99', /--code 3: expected a number from 100 to 999, got "99"/],
  ['3=1000', /from 100 to 999/],
  ['3=7xx:text', /from 100 to 999/],
  ['3=', /from 100 to 999/],
  ['3=300:two\nlines', /one printable line/],
  ['3=300:\u001b[2J', /one printable line/],
  [`3=300:${'x'.repeat(201)}`, /at most 200 characters/],
] as const) {
  test(`--code ${JSON.stringify(text.slice(0, 20))} is refused`, () => {
    assert.throws(() => parseCodes([text]), { name: 'UsageError', message });
  });
}

test('a text may hold colons, equal signs and 200 characters of any script', () => {
  assert.deepEqual(parseCodes([`0=200: a=b:c `, `1=700:${'é'.repeat(200)}`]), {
    '0': { code: 200, text: 'a=b:c' },
    '1': { code: 700, text: 'é'.repeat(200) },
  });
});
