import assert from 'node:assert/strict';
import test from 'node:test';
import { UsageError } from '../../agent/commands/command.ts';
import { limitsOf, parseSize } from '../../agent/exec/limits.ts';

test('sizes are bytes, or units of 1024, whole bytes', () => {
  for (const [text, bytes] of [
    ['1', 1],
    ['1073741824', 1_073_741_824],
    ['512M', 536_870_912],
    ['4G', 4_294_967_296],
    ['4GiB', 4_294_967_296],
    ['1.5K', 1536],
    ['0.0009K', null],
    ['2T', 2_199_023_255_552],
  ] as const) {
    if (bytes === null) assert.throws(() => parseSize('--memory', text), UsageError, text);
    else assert.equal(parseSize('--memory', text), bytes, text);
  }
});

test('what could be read in two ways, or is no size, is refused with what would be right', () => {
  for (const text of ['', '0', '-1', '4GB', '4g', '4 G', '1e9', '4,5G', 'G', '0x10', '99999999999999T', '1.G', '٤G'])
    assert.throws(() => parseSize('--scratch', text), /--scratch takes a size such as 4G/, text);
});

test('options become job features by the names of HSF-TN-2016-02; what is not given is not said', () => {
  assert.deepEqual(limitsOf({}), {});
  assert.deepEqual(limitsOf({ cpus: '2', wall: '1.5h', memory: '4G', scratch: '20G', 'job-id': 'batch.17/3' }), {
    allocated_cpu: 2,
    wall_limit_secs: 5400,
    max_rss_bytes: 4_294_967_296,
    scratch_limit_bytes: 21_474_836_480,
    job_id: 'batch.17/3',
  });
  // Not more than it gets.
  assert.deepEqual(limitsOf({ wall: '1999ms' }), { wall_limit_secs: 1 });
});

test('wrong values are usage errors', () => {
  for (const wrong of [
    { cpus: '0' },
    { cpus: '1.5' },
    { cpus: '-2' },
    { cpus: '1e3' },
    { wall: '60' },
    { wall: '500ms' },
    { wall: '4000d' },
    { memory: 'much' },
    { 'job-id': 'a b' },
    { 'job-id': 'x'.repeat(257) },
    { 'job-id': 'ü' },
  ])
    assert.throws(() => limitsOf(wrong), UsageError, JSON.stringify(wrong));
});
