import assert from 'node:assert/strict';
import test from 'node:test';
import { durationMs, formatDuration, isDuration } from '../agent/duration.ts';

for (const [text, ms] of [
  ['250ms', 250],
  ['90s', 90_000],
  ['30m', 1_800_000],
  ['2h', 7_200_000],
  ['1.5h', 5_400_000],
  ['3d', 259_200_000],
  ['0s', 0],
  [' 5s ', 5000],
  ['0.0004s', 0],
] as const) {
  test(`${JSON.stringify(text)} is ${ms} ms`, () => assert.equal(durationMs(text), ms));
}

for (const text of [
  '',
  '5',
  's',
  '-5s',
  '5 s',
  '1e3s',
  '5S',
  '5min',
  '1h30m',
  '.5s',
  'Infinitys',
  '4000d',
  '9999999999999s',
]) {
  test(`${JSON.stringify(text)} is refused with a sentence that quotes it`, () => {
    assert.throws(
      () => durationMs(text),
      (error) => {
        assert.ok(error instanceof RangeError);
        assert.match(error.message, /^expected a duration .*got /);
        assert.ok(error.message.includes(JSON.stringify(text)));
        return true;
      },
    );
    assert.equal(isDuration(text), false);
  });
}

for (const [ms, text] of [
  [0, '0 ms'],
  [250, '250 ms'],
  [1500, '1.5 s'],
  [9999, '10 s'],
  [45_000, '45 s'],
  [60_000, '1 min'],
  [90_000, '1 min 30 s'],
  [4_980_000, '1 h 23 min'],
  [7_200_000, '2 h'],
  [7_200_500, '2 h'],
  [3_599_600, '1 h'],
  [90_000_000, '1 d 1 h'],
  [86_400_000 + 5 * 60_000, '1 d'],
  [-45_000, '-45 s'],
  [Number.NaN, 'unknown'],
] as const) {
  test(`${ms} ms reads ${JSON.stringify(text)}`, () => assert.equal(formatDuration(ms), text));
}
