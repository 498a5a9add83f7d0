/** What a good value is, which name it goes by, who may give it, and which of several counts (S2; mjf.md, "Input format"). */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { judgeValue, translate } from '../../agent/lifetime/features.ts';
import type { Reading, Side, SourceRank } from '../../agent/lifetime/types.ts';
import { ABSENT, DIRECTORY, EC2, history, MINUTE, NEGATIVE, START, secs, source, UNKNOWN } from './history.ts';

const text = (value: string): Reading<string> => ({ is: 'present', value });

describe('judgeValue takes', () => {
  const GOOD: readonly [string, Side, string, string, string][] = [
    ['a bare number', 'machine', 'total_cpu', '8', '8'],
    ['one newline', 'machine', 'total_cpu', '8\n', '8'],
    ['CRLF', 'machine', 'total_cpu', '8\r\n', '8'],
    ['surrounding blanks', 'machine', 'total_cpu', ' \t8 \n', '8'],
    ['leading zeros, which are not published', 'machine', 'total_cpu', '008', '8'],
    ['fifteen digits, no digit lost', 'job', 'max_rss_bytes', '999999999999999', '999999999999999'],
    ['a UNIX time', 'machine', 'shutdowntime', '1766440000', '1766440000'],
    ['a decimal rating', 'machine', 'hs06', '171.04', '171.04'],
    ['a whole rating', 'job', 'hs06_job', '171', '171'],
    ['no promise at all', 'machine', 'grace_secs', '0', '0'],
    ['no swap', 'job', 'max_swap_bytes', '0', '0'],
    ['a UUID', 'job', 'job_id', '4d9f0d2e-8f7a-4a3e-9d57-0f2b2b8e3a11', '4d9f0d2e-8f7a-4a3e-9d57-0f2b2b8e3a11'],
    ['a batch id with punctuation', 'job', 'job_id', 'lsf:123[4]@ce-1', 'lsf:123[4]@ce-1'],
    ['a flag', 'machine', 'termination_allowed', '1\n', '1'],
    ['a flag in words', 'machine', 'termination_allowed', 'False', '0'],
    [
      'any line of text for a key that nobody defined',
      'machine',
      'site_name',
      'CERN Meyrin, hall 513',
      'CERN Meyrin, hall 513',
    ],
    ['text for a key with the name of something inherited', 'machine', 'constructor', 'hello', 'hello'],
    ['text for a key named __proto__', 'machine', '__proto__', 'hello', 'hello'],
  ];
  for (const [what, side, key, raw, value] of GOOD) {
    test(`${what}: ${key}`, () => assert.deepEqual(judgeValue(side, key, raw), { value }));
  }
});

describe('judgeValue refuses', () => {
  const BAD: readonly [string, Side, string, string, string][] = [
    ['nothing', 'machine', 'shutdowntime', '', 'empty'],
    ['only blanks', 'machine', 'shutdowntime', ' \r\n', 'empty'],
    ['two lines', 'machine', 'shutdowntime', '1766440000\n1766440001', 'two_lines'],
    ['two lines with a lone CR', 'machine', 'shutdowntime', '1766440000\r1766440001', 'two_lines'],
    ['two lines of text for an unknown key', 'machine', 'site_name', 'one\ntwo', 'two_lines'],
    ['text', 'machine', 'shutdowntime', 'soon', 'not_a_number'],
    ['a float', 'machine', 'shutdowntime', '1766440000.5', 'not_whole'],
    ['an exponent', 'machine', 'shutdowntime', '1.7e9', 'not_whole'],
    ['an exponent as a rating', 'machine', 'hs06', '1e3', 'not_a_number'],
    ['a hexadecimal number', 'machine', 'total_cpu', '0x10', 'not_a_number'],
    ['a thousands separator', 'job', 'max_rss_bytes', '4,000,000', 'not_a_number'],
    ['a unit', 'job', 'max_rss_bytes', '4000 MB', 'not_a_number'],
    ['Infinity', 'job', 'wall_limit_secs', 'Infinity', 'not_a_number'],
    ['NaN', 'machine', 'hs06', 'NaN', 'not_a_number'],
    ['a negative time', 'machine', 'shutdowntime', '-1', 'out_of_range'],
    ['a negative rating', 'machine', 'hs06', '-1.5', 'not_a_number'],
    ['0 as a time', 'machine', 'shutdowntime', '0', 'out_of_range'],
    ['a duration in place of a time', 'job', 'shutdowntime_job', '3600', 'out_of_range'],
    ['the first digits of a time that is still being written', 'job', 'shutdowntime_job', '17664', 'out_of_range'],
    ['milliseconds in place of seconds', 'machine', 'shutdowntime', '1766440000000', 'out_of_range'],
    ['no processors', 'machine', 'total_cpu', '0', 'out_of_range'],
    ['a limit of nothing', 'job', 'wall_limit_secs', '0', 'out_of_range'],
    ['a rating of nothing', 'machine', 'hs06', '0.0', 'out_of_range'],
    [
      'a UUID where a time belongs (Vcycle)',
      'job',
      'jobstart_secs',
      '4d9f0d2e-8f7a-4a3e-9d57-0f2b2b8e3a11',
      'not_a_number',
    ],
    ['more digits than a number keeps', 'job', 'max_rss_bytes', '9'.repeat(16), 'out_of_range'],
    ['a blank within an identifier', 'job', 'job_id', 'a b', 'not_an_identifier'],
    ['an identifier that is not ASCII', 'job', 'job_id', 'jöb', 'not_an_identifier'],
    ['a long identifier', 'job', 'job_id', 'x'.repeat(257), 'not_an_identifier'],
    ['maybe', 'machine', 'termination_allowed', 'maybe', 'not_a_flag'],
    ['a flag that every object inherits', 'machine', 'termination_allowed', 'constructor', 'not_a_flag'],
    ['a flag named __proto__', 'machine', 'termination_allowed', '__proto__', 'not_a_flag'],
    ['NUL', 'machine', 'total_cpu', '8\u0000', 'not_text'],
    ['NUL in an unknown key', 'machine', 'site_name', 'a\u0000b', 'not_text'],
    ['an escape sequence', 'machine', 'site_name', 'a\u001b[2Jb', 'not_text'],
    ['what was not UTF-8', 'machine', 'site_name', 'a\ufffdb', 'not_text'],
    ['an HTML page as an identifier', 'job', 'job_id', '<html><body>404</body></html>', 'not_text'],
    ['an HTML page as an unknown key', 'machine', 'site_name', '<!DOCTYPE html><title>404</title>', 'not_text'],
    ['an HTML page as a time', 'machine', 'shutdowntime', '<html></html>', 'not_text'],
    ['a file in disguise', 'machine', 'site_name', 'x'.repeat(4097), 'too_long'],
  ];
  for (const [what, side, key, raw, error] of BAD) {
    test(`${what}: ${key}`, () => assert.deepEqual(judgeValue(side, key, raw), { error }));
  }

  test('a megabyte of anything, without thinking about it for hours', () => {
    const megabytes = ['1', '0', 'x', ' 1', '<html>', '1.', '-'].map((piece) => `${piece.repeat(1e6)}x`);
    for (const raw of megabytes) {
      for (const [side, key] of [
        ['machine', 'total_cpu'],
        ['machine', 'hs06'],
        ['job', 'job_id'],
        ['machine', 'site'],
      ] as const)
        assert.deepEqual(judgeValue(side, key, raw), { error: 'too_long' });
    }
  });

  test('digits without end, however long they are', () => {
    for (const length of [16, 100, 4_096])
      assert.deepEqual(judgeValue('machine', 'shutdowntime', '9'.repeat(length)), { error: 'out_of_range' });
  });
});

describe('translate', () => {
  const all = (side: Side, keys: Readonly<Record<string, Reading<string>>>, rank: SourceRank = 'directory') =>
    Object.fromEntries(translate(side, rank, keys));

  const LEGACY: readonly [string, Side, Record<string, string>, Record<string, string>][] = [
    ['allocated_CPU', 'job', { allocated_CPU: '4' }, { allocated_cpu: '4' }],
    ['log_cores', 'machine', { log_cores: '16' }, { total_cpu: '16' }],
    ['mem_limit_MB as 10^6', 'job', { mem_limit_MB: '2000' }, { max_rss_bytes: '2000000000' }],
    ['a fractional mem_limit_MB', 'job', { mem_limit_MB: '0.5' }, { max_rss_bytes: '500000' }],
    ['disk_limit_GB as 10^9', 'job', { disk_limit_GB: '20\r\n' }, { scratch_limit_bytes: '20000000000' }],
    ['wall_limit_secs_lrms without a factor', 'job', { wall_limit_secs_lrms: '3600' }, { wall_limit_secs: '3600' }],
  ];
  for (const [what, side, given, wanted] of LEGACY) {
    test(`legacy ${what}`, () => {
      const keys = Object.fromEntries(Object.entries(given).map(([key, value]) => [key, text(value)]));
      for (const [key, value] of Object.entries(wanted)) assert.deepEqual(all(side, keys)[key], text(value));
      for (const key of Object.keys(given))
        assert.equal(all(side, keys)[key], undefined, 'the old name is not published');
    });
  }

  test('legacy limits of the batch system are divided by cpufactor_lrms', () => {
    const keys = {
      wall_limit_secs_lrms: text('3600'),
      cpu_limit_secs_lrms: text('7200'),
      cpufactor_lrms: text('1.5\n'),
    };
    assert.deepEqual(all('job', keys)['wall_limit_secs'], text('2400'));
    assert.deepEqual(all('job', keys)['cpu_limit_secs'], text('4800'));
  });
  for (const [what, factor] of [
    ['that could not be read', UNKNOWN],
    ['of text', text('fast')],
    ['of 0', text('0')],
    ['of a million digits', text('1'.repeat(1e6))],
  ] as const) {
    test(`legacy: a cpufactor_lrms ${what} makes the limit unknown, not another limit`, () => {
      const keys = { wall_limit_secs_lrms: text('3600'), cpufactor_lrms: factor };
      assert.equal(all('job', keys)['wall_limit_secs']?.is, 'unknown');
    });
  }
  test('legacy: what is not there does not hide that the new name is not there', () => {
    assert.deepEqual(all('job', { allocated_cpu: ABSENT, allocated_CPU: ABSENT }), { allocated_cpu: ABSENT });
  });
  test('legacy: the new name wins where both are given', () => {
    assert.deepEqual(all('job', { allocated_cpu: text('2'), allocated_CPU: text('4') }), { allocated_cpu: text('2') });
  });
  test('legacy: the old name serves where the new one is absent', () => {
    assert.deepEqual(all('job', { allocated_cpu: ABSENT, allocated_CPU: text('4') }), { allocated_cpu: text('4') });
  });
  test('a refused value becomes unknown with its code', () => {
    assert.deepEqual(all('machine', { shutdowntime: text('soon') }), {
      shutdowntime: { is: 'unknown', error: 'not_a_number' },
    });
  });
  test('illegal names are left out', () => {
    const keys = {
      'a b': text('1'),
      '../etc': text('1'),
      UPPER: text('1'),
      '': text('1'),
      ['x'.repeat(65)]: text('1'),
    };
    assert.deepEqual(all('machine', keys), {});
  });
  test('names of what every object inherits are left out', () => {
    const keys: Record<string, Reading<string>> = JSON.parse(
      '{"constructor":{"is":"present","value":"1"},"__proto__":{"is":"present","value":"1"},"valueof":{"is":"present","value":"1"}}',
    );
    assert.deepEqual([...translate('machine', 'directory', keys).keys()], ['valueof']);
  });

  test('S2.2 unknown legal keys pass from directory, mjf and the configuration, and from nobody else', () => {
    const passing = (['static', 'directory', 'mjf', 'platform', 'derived', 'self'] as const).filter((rank) =>
      translate('machine', rank, { db_password: text('x') }).has('db_password'),
    );
    assert.deepEqual(passing, ['static', 'directory', 'mjf']);
  });
  test('S2.2 from a platform known keys pass', () => {
    assert.deepEqual(all('machine', { hepscore23: text('20.5') }, 'platform'), { hepscore23: text('20.5') });
  });
  test('S2.2 from a platform keys with the prefix mjf_ pass without it', () => {
    const keys = { mjf_queue: text('short'), mjf_total_cpu: text('4'), secret: text('x') };
    assert.deepEqual(all('machine', keys, 'platform'), { queue: text('short'), total_cpu: text('4') });
  });
  test('S2.2 a prefixed key does not replace the plain one', () => {
    const keys = { mjf_total_cpu: text('4'), total_cpu: text('8') };
    assert.deepEqual(all('machine', keys, 'platform'), { total_cpu: text('8') });
  });
  test('S2.2 the prefix does not smuggle illegal names', () => {
    const keys = { mjf_constructor: text('x'), mjf_: text('x'), 'mjf_a/b': text('x'), mjf___proto__: text('x') };
    assert.deepEqual(all('machine', keys, 'platform'), {});
  });
  test('S2.2 the MJF channels keep a key that begins with mjf_ as it is', () => {
    assert.deepEqual(all('machine', { mjf_queue: text('short') }), { mjf_queue: text('short') });
  });
});

describe('features of several sources', () => {
  const MJF = source('mjf', 'mjf');
  const SELF = source('self', 'self');
  const STATIC = source('static', 'static', 0);
  const DERIVED = source('derived', 'derived');

  test('S2.1 the strongest source wins, in whatever order they speak or are listed', () => {
    const h = history({ sources: [SELF, DERIVED, EC2, MJF, DIRECTORY, STATIC] });
    for (const [name, value] of [
      ['static', '1'],
      ['directory', '2'],
      ['mjf', '3'],
      ['ec2', '4'],
      ['derived', '5'],
      ['self', '6'],
    ] as const)
      h.says(name, { machine: { total_cpu: value } });
    assert.equal(h.machine('total_cpu'), '1');
    const without = (name: string) => {
      h.saysUntilSettled(name, { machine: { hs06: '1', total_cpu: ABSENT } });
      return h.machine('total_cpu');
    };
    assert.deepEqual(['static', 'directory', 'mjf', 'ec2', 'derived', 'self'].map(without), [
      '2',
      '3',
      '4',
      '5',
      '6',
      undefined,
    ]);
  });
  test('S2.1 a stale stronger source beats a fresh weaker one', () => {
    const h = history({ sources: [DIRECTORY, SELF] });
    h.says('directory', { machine: { total_cpu: '4' } });
    h.pass(29 * 1000);
    h.says('self', { machine: { total_cpu: '8' } });
    h.pass(2_000);
    assert.deepEqual(h.snapshot().machine['total_cpu'], {
      value: '4',
      source: 'directory',
      sinceMs: START,
      stale: true,
    });
  });
  test('S2.1 grace_secs is the smallest promise of any host channel, not the strongest one', () => {
    const h = history({ sources: [DIRECTORY, MJF, EC2] });
    h.says('directory', { machine: { grace_secs: '600' } });
    h.says('mjf', { machine: { grace_secs: '120' } });
    h.says('ec2', { machine: { grace_secs: '300' } });
    assert.equal(h.machine('grace_secs'), '120');
    assert.equal(h.snapshot().graceSecs, 120);
  });
  test("S2.1 the platform's minimum notice counts only where nobody promises", () => {
    const h = history({ sources: [DERIVED, DIRECTORY] });
    h.says('derived', { machine: { grace_secs: '30' } });
    assert.equal(h.machine('grace_secs'), '30');
    h.says('directory', { machine: { grace_secs: '600' } });
    assert.equal(h.machine('grace_secs'), '600');
  });
  test('S2.2 what must not pass is in no Snapshot either', () => {
    const h = history();
    h.says('ec2', { machine: { db_password: 'hunter2', mjf_queue: 'short' } });
    assert.deepEqual(Object.keys(h.snapshot().machine), ['queue']);
    assert.ok(!JSON.stringify(h.result()).includes('hunter2'));
  });
  test('S2.3 a deadline makes up no wall_limit_secs', () => {
    const h = history();
    h.says('directory', { machine: { shutdowntime: secs(START + 60 * MINUTE) } });
    assert.deepEqual(Object.keys(h.snapshot().job), ['shutdowntime_job']);
  });

  const both = (h: ReturnType<typeof history>) => [h.machine('shutdowntime'), h.job('shutdowntime_job')];
  test('S2.4 one shutdown time is published under both keys', () => {
    const h = history();
    h.says('directory', { job: { shutdowntime_job: secs(START + 60 * MINUTE) } });
    assert.deepEqual(both(h), [secs(START + 60 * MINUTE), secs(START + 60 * MINUTE)]);
  });
  test('S2.4 two different times are published as the earlier one', () => {
    const h = history();
    h.says('directory', {
      machine: { shutdowntime: secs(START + 60 * MINUTE) },
      job: { shutdowntime_job: secs(START + 50 * MINUTE) },
    });
    assert.deepEqual(both(h), [secs(START + 50 * MINUTE), secs(START + 50 * MINUTE)]);
  });
  test('S2.4 a notice and a wall limit are published as shutdown times too', () => {
    const h = history();
    h.says('directory', { job: { jobstart_secs: secs(START), wall_limit_secs: '7200' } });
    assert.deepEqual(both(h), [secs(START + 120 * MINUTE), secs(START + 120 * MINUTE)]);
    h.says('ec2', {
      notices: { spot: { is: 'present', value: { kind: 'terminate', deadlineMs: START + 90_999, reason: 'spot' } } },
    });
    assert.deepEqual(
      both(h),
      [secs(START + 90_000), secs(START + 90_000)],
      'rounded down: nobody has time that is not there',
    );
  });
  test('S2.4 without a deadline both are absent, and a drain notice changes nothing in that', () => {
    const h = history();
    h.operator('1', { kind: 'drain', deadlineMs: null, reason: 'drain' });
    assert.deepEqual(both(h), [undefined, undefined]);
  });
  test('S2.4 a time of before this boot is not published', () => {
    const h = history();
    h.says('directory', { machine: { shutdowntime: secs(h.boot() - 1000) } });
    assert.deepEqual(both(h), [undefined, undefined]);
  });
  test('[publish] shutdown_keys = "draining" holds both back until draining begins, to the second', () => {
    const h = history({ policy: { shutdownKeys: 'draining' } });
    h.says('directory', { machine: { shutdowntime: secs(START + 60 * MINUTE) } });
    assert.deepEqual(both(h), [undefined, undefined]);
    h.pass(30 * MINUTE - 1);
    assert.deepEqual(both(h), [undefined, undefined]);
    h.pass(1);
    assert.deepEqual(both(h), [secs(START + 60 * MINUTE), secs(START + 60 * MINUTE)]);
  });

  for (const raw of ['', '0', '-1', 'soon', '1766443600\n17', '1.7e9', '1766443600000', 'x'.repeat(1e6), '8\u0000']) {
    test(`promise 5: ${JSON.stringify(raw.slice(0, 20))} leaves the last good value and is visible`, () => {
      const h = history();
      const good = secs(START + 60 * MINUTE);
      h.says('directory', { machine: { shutdowntime: good, total_cpu: '8' } });
      for (let round = 0; round < 6; round += 1) {
        h.pass(1_000);
        h.says('directory', { machine: { shutdowntime: raw, total_cpu: '8' } });
      }
      assert.deepEqual(both(h), [good, good]);
      assert.deepEqual(Object.keys(h.sourceState('directory')?.faults ?? {}), ['machine/shutdowntime']);
      assert.equal(h.logs('feature_rejected').length, 1, 'logged once, not with each poll');
      h.says('directory', { machine: { shutdowntime: secs(START + 90 * MINUTE), total_cpu: '8' } });
      assert.deepEqual(h.sourceState('directory')?.faults, {});
      assert.equal(h.logs('feature_recovered').length, 1);
      assert.equal(h.machine('shutdowntime'), secs(START + 90 * MINUTE));
    });
  }
  test('promise 5: no log line carries a megabyte', () => {
    const h = history();
    h.says('directory', { machine: { site_name: 'x'.repeat(1e6) } });
    assert.ok(JSON.stringify(h.logs('feature_rejected')).length < 1_000);
  });
  test('termination_allowed is told as yes, no or unknown', () => {
    const h = history();
    assert.equal(h.snapshot().terminationAllowed, null);
    h.says('directory', { machine: { termination_allowed: '0' } });
    assert.equal(h.snapshot().terminationAllowed, false);
    h.says('directory', { machine: { termination_allowed: 'true' } });
    assert.equal(h.snapshot().terminationAllowed, true);
  });
  test('promise 6: a key says since when it has its value, and an unchanged answer changes nothing', () => {
    const h = history();
    h.says('directory', { machine: { total_cpu: '8' } });
    h.pass(5_000);
    const before = h.snapshot();
    h.says('directory', { machine: { total_cpu: ' 8\r\n' } });
    assert.deepEqual(h.snapshot(), before);
    h.says('directory', { machine: { total_cpu: '4' } });
    assert.equal(h.snapshot().machine['total_cpu']?.sinceMs, START + 5_000);
  });
  test('an explicit no for a key falls through at once', () => {
    const h = history();
    h.says('directory', { machine: { total_cpu: '8', hs06: '1' } });
    h.says('ec2', { machine: { total_cpu: '4' } });
    h.says('directory', { machine: { total_cpu: NEGATIVE, hs06: '1' } });
    assert.equal(h.machine('total_cpu'), '4');
  });
});
