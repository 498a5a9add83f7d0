import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseJobs, parseShow, parseTimespan } from '../../agent/payloads/unit-rows.ts';

describe('time spans as systemctl shows them', () => {
  const SPANS = [
    ['1min 30s', 90_000],
    ['10min', 600_000],
    ['1.500000s', 1_500],
    ['50ms', 50],
    ['1us', 1],
    ['1d 2h', 93_600_000],
    ['1w 1d', 691_200_000],
    // What 400 days become.
    ['1y 1month 4d 7h 30min', 34_560_000_000],
    ['0', 0],
    ['infinity', null],
    ['', null],
    ['soon', null],
    ['5parsecs', null],
  ] as const;
  for (const [text, ms] of SPANS) test(`"${text}"`, () => assert.equal(parseTimespan(text), ms));
});

test('a row is found by all its names; what is missing has a default that harms nobody', () => {
  const rows = parseShow(
    'Id=real.service\nNames=other.service real.service\nLoadState=loaded\nActiveState=active\nTimeoutStopUSec=1min 30s\n' +
      'ControlGroup=/system.slice/real.service\nSlice=system.slice\nJob=12\nRequiredBy=a.service b.service\n' +
      'BoundBy=b.service\nSliceOf=c.service\nCanStop=no\nCanStart=yes\nTransient=yes\nResult=success\n\n' +
      'Id=bare.slice\nLoadState=loaded\n\nnonsense\n',
  );
  assert.deepEqual([...rows.keys()], ['real.service', 'other.service', 'bare.slice']);
  assert.deepEqual(rows.get('other.service'), {
    id: 'real.service',
    names: ['real.service', 'other.service'],
    load: 'loaded',
    active: 'active',
    result: 'success',
    cgroup: '/system.slice/real.service',
    slice: 'system.slice',
    stopTimeoutMs: 90_000,
    canStop: false,
    canStart: true,
    transient: true,
    job: '12',
    takesDown: ['a.service', 'b.service', 'c.service'],
  });
  const bare = rows.get('bare.slice');
  assert.deepEqual([bare?.canStop, bare?.canStart, bare?.job, bare?.stopTimeoutMs], [true, true, null, null]);
});

test('a masked unit cannot be started, whatever CanStart says', () => {
  const row = parseShow('Id=a.service\nLoadState=masked\nCanStart=yes\nJob=0\n').get('a.service');
  assert.deepEqual([row?.canStart, row?.job], [false, null]);
});

test('jobs by their number', () => {
  assert.deepEqual(
    [...parseJobs('443 pay.slice       stop waiting\n 7 a.service start running\nNo jobs running.\n')],
    [
      ['443', 'stop'],
      ['7', 'start'],
    ],
  );
});
