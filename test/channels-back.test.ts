/** Which failures of a word to the host are final. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { speakBack } from '../agent/channels-back.ts';

const SIGNAL = new AbortController().signal;

const saying = (code: string | null) =>
  speakBack((source) =>
    source === 'azure' ? { tell: () => Promise.resolve(code), acknowledge: () => Promise.resolve(code) } : undefined,
  );

for (const [final, codes] of [
  [true, ['gone', 'bad_name', 'bad_value', 'http_400', 'http_405', 'http_410', 'http_413', 'http_422']],
  [false, ['http_401', 'http_403', 'http_404', 'http_408', 'http_409', 'http_423', 'http_425', 'http_429']],
  [false, ['http_302', 'http_500', 'http_503', 'timeout', 'reset', 'aborted', 'no_channel', 'changed', 'internal']],
] as const)
  for (const code of codes)
    test(`${code} is ${final ? 'final' : 'tried again'}`, async () => {
      const back = saying(code);
      assert.deepEqual(await back.tell('azure', {}, SIGNAL), { code, final });
      assert.deepEqual(await back.acknowledge('azure', 'event', SIGNAL), { code, final });
    });

test('what was taken is no failure', async () => {
  assert.equal(await saying(null).tell('azure', {}, SIGNAL), null);
});

test('a source that is not in use is no channel, for now', async () => {
  assert.deepEqual(await saying(null).tell('gce', {}, SIGNAL), { code: 'no_channel', final: false });
});
