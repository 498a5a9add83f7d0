import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { KNOWN_INPUT_KEYS, translate } from '../../agent/lifetime/features.ts';
import type { Reading } from '../../agent/lifetime/types.ts';
import { isSiteKey, siteKeys, wantedNames } from '../../agent/sources/site-keys.ts';

const text = (value: string): Reading<string> => ({ is: 'present', value });
const NOTHING = { machine: {}, job: {}, pointers: {} };
const of = (given: Readonly<Record<string, string>>) => siteKeys(Object.entries(given));
/** What the heart makes of it: names and values that are published. */
function published(given: Iterable<readonly [string, string]>) {
  const { machine, job } = siteKeys(given);
  const values = (readings: Map<string, Reading<string>>) =>
    Object.fromEntries([...readings].flatMap(([key, r]) => (r.is === 'present' ? [[key, r.value] as const] : [])));
  return {
    machine: values(translate('machine', 'platform', machine)),
    job: values(translate('job', 'platform', job)),
  };
}

describe('keys of a site', () => {
  it('known ones pass, on the side where they belong, with the value as it was written', () => {
    assert.deepEqual(of({ hs06: ' 10.5\n', shutdowntime_job: '1900000000', job_id: 'x' }), {
      machine: { hs06: text(' 10.5\n') },
      job: { shutdowntime_job: text('1900000000'), job_id: text('x') },
      pointers: {},
    });
  });

  it('one that both sides have goes to both', () => {
    const { machine, job } = of({ termination_allowed: '1' });
    assert.deepEqual([machine, job], [{ termination_allowed: text('1') }, { termination_allowed: text('1') }]);
  });

  it('every key of the specification, and every old name, however contexts write it', () => {
    for (const side of ['machine', 'job'] as const)
      for (const key of KNOWN_INPUT_KEYS[side])
        for (const spelt of [key, key.toUpperCase(), key.toLowerCase(), key[0]?.toUpperCase() + key.slice(1)])
          assert.deepEqual(
            published([
              [spelt, '1'],
              ['cpufactor_lrms', '1'],
            ]),
            published([
              [key, '1'],
              ['cpufactor_lrms', '1'],
            ]),
            spelt,
          );
    assert.deepEqual(of({ allocated_CPU: '4', allocated_cpu: '8' }).job, {
      allocated_CPU: text('4'),
      allocated_cpu: text('8'),
    });
  });

  it('old names become today’s', () => {
    const given = { MEM_LIMIT_MB: '2', DISK_LIMIT_GB: '3', ALLOCATED_CPU: '4', LOG_CORES: '8' };
    assert.deepEqual(published(Object.entries(given)), {
      machine: { total_cpu: '8' },
      job: { max_rss_bytes: '2000000', scratch_limit_bytes: '3000000000', allocated_cpu: '4' },
    });
  });

  it('what is marked with mjf_ passes without the mark; the side is told by the name', () => {
    assert.deepEqual(
      published([
        ['mjf_site', 'X'],
        ['MJF_QUEUE_JOB', 'q'],
        ['mjf_hs06', '7'],
        ['mjf_job_id', 'j'],
      ]),
      {
        machine: { site: 'X', hs06: '7' },
        job: { queue_job: 'q', job_id: 'j' },
      },
    );
  });

  it('a name without the mark beats one with it', () => {
    for (const given of [
      [
        ['hs06', '1'],
        ['mjf_hs06', '2'],
      ],
      [
        ['mjf_hs06', '2'],
        ['hs06', '1'],
      ],
    ] as const)
      assert.deepEqual(published(given).machine, { hs06: '1' });
  });

  it('flat values of older OpenStack sites pass', () => {
    assert.deepEqual(
      published([
        ['mjf@machinefeatures@total_cpu', '8'],
        ['mjf@jobfeatures@wall_limit_secs', '3600'],
        ['mjf@machinefeatures@site_name', 'X'],
        ['mjf@jobfeatures@hs06', 'of the machine, on the wrong side'],
        ['mjf@elsewhere@total_cpu', '9'],
        ['mjf@machinefeatures@', '9'],
      ]),
      {
        machine: { total_cpu: '8', site_name: 'X' },
        job: { wall_limit_secs: '3600', hs06: 'of the machine, on the wrong side' },
      },
    );
  });

  for (const name of [
    'PASSWORD',
    'password',
    'user-data',
    'user_data',
    'ssh-keys',
    'mjf-secret',
    'mjf.secret',
    'mjfsecret',
    'mjf',
    'mjf_',
    'MJF_',
    'x_mjf_secret',
    ' mjf_secret',
    'machinefeatures2',
    'shutdown_command',
    'constructor',
    '__proto__',
    'toString',
    '',
  ])
    it(`${JSON.stringify(name)} goes nowhere`, () => {
      assert.deepEqual(siteKeys([[name, 'secret']]), NOTHING);
      assert.equal(isSiteKey(name), false);
    });

  for (const name of ['mjf___proto__', 'mjf_constructor', 'mjf@machinefeatures@__proto__', 'mjf_a/../b', 'mjf_a b'])
    it(`${JSON.stringify(name)} is never published`, () => {
      assert.deepEqual(published([[name, 'x']]), { machine: {}, job: {} });
    });

  it('nothing secret passes, whatever it is called (S2.2)', () => {
    const allowed = new Set([...KNOWN_INPUT_KEYS.machine, ...KNOWN_INPUT_KEYS.job].map((key) => key.toLowerCase()));
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.string(), fc.string())), (given) => {
        const { machine, job } = published(given);
        for (const key of [...Object.keys(machine), ...Object.keys(job)]) {
          const isMarked = given.some(([name]) => /^mjf[_@]/i.test(name));
          assert.ok(allowed.has(key) || isMarked, key);
        }
      }),
    );
  });

  it('isSiteKey agrees with siteKeys', () => {
    const names = fc.oneof(
      fc.string(),
      fc.constantFrom(
        'hs06',
        'HS06',
        'mjf_x',
        'MJF_',
        'machinefeatures',
        'mjf@jobfeatures@x',
        'mem_limit_MB',
        'job_ID',
      ),
    );
    fc.assert(
      fc.property(names, (name) => {
        const { machine, job, pointers } = siteKeys([[name, '/place']]);
        assert.equal(isSiteKey(name), Object.keys({ ...machine, ...job, ...pointers }).length > 0);
      }),
    );
  });

  it('thousands of them are too many, but the pointers among them are found', () => {
    const given = Array.from({ length: 5_000 }, (_, n) => [`mjf_key_${n}`, 'x'] as const);
    const { machine, pointers } = siteKeys([...given, ['machinefeatures', '/mf']]);
    assert.equal(Object.keys(machine).length, 128);
    assert.deepEqual(pointers, { machinefeatures: '/mf' });
  });

  it('what is known is never cut, wherever it stands and however it is marked', () => {
    const flood = Array.from({ length: 5_000 }, (_, n) => [`mjf_k${n}`, 'x'] as const);
    const known = [
      ...KNOWN_INPUT_KEYS.machine,
      ...KNOWN_INPUT_KEYS.job,
      ...KNOWN_INPUT_KEYS.machine.map((key) => `mjf_${key}`),
      ...KNOWN_INPUT_KEYS.job.map((key) => `mjf@jobfeatures@${key}`),
    ].map((name) => [name, '1'] as const);
    const alone = siteKeys(known);
    const { machine, job } = siteKeys([...flood, ...known]);
    for (const [key, reading] of Object.entries(alone.machine)) assert.deepEqual(machine[key], reading, key);
    for (const [key, reading] of Object.entries(alone.job)) assert.deepEqual(job[key], reading, key);
    const given = Object.keys({ ...alone.machine }).length + Object.keys({ ...alone.job }).length;
    assert.equal(Object.keys(machine).length + Object.keys(job).length, given + 128);
  });

  it('which of too many unknown ones pass does not hang on the order of a listing; of the same name the last counts', () => {
    const flood = Array.from({ length: 300 }, (_, n) => [`mjf_k${n}`, 'x'] as const);
    assert.deepEqual(siteKeys([...flood].reverse()), siteKeys(flood));
    assert.deepEqual(siteKeys([...flood, ['MJF_K0', 'y']]).machine['mjf_k0'], text('y'));
  });

  it('of names to be asked for one by one the known come first, all of them', () => {
    const flood = Array.from({ length: 300 }, (_, n) => `mjf_k${n}`);
    const names = [...flood, 'ssh-keys', 'SHUTDOWNTIME', 'machinefeatures', 'mjf_hs06', 'mjf_k0'];
    assert.deepEqual(wantedNames(names, 2), ['SHUTDOWNTIME', 'machinefeatures', 'mjf_hs06', 'mjf_k0', 'mjf_k1']);
    assert.deepEqual(wantedNames([...flood].reverse(), 1), ['mjf_k0']);
  });
});

describe('pointers', () => {
  for (const [value, place] of [
    ['http://169.254.169.253/machinefeatures', 'http://169.254.169.253/machinefeatures'],
    [
      'https://host:8443/machines/space/vm-17/machinefeatures',
      'https://host:8443/machines/space/vm-17/machinefeatures',
    ],
    ['HTTP://host/mf', 'HTTP://host/mf'],
    [' http://host/mf/ \n', 'http://host/mf'],
    ['http://host/mf///', 'http://host/mf'],
    ['http://host/', 'http://host'],
    ['http://[fe80::1%25eth0]:80/mf', 'http://[fe80::1%25eth0]:80/mf'],
    ['/etc/machinefeatures', '/etc/machinefeatures'],
    ['/etc/machinefeatures/', '/etc/machinefeatures'],
  ] as const)
    it(`${JSON.stringify(value)} is a place`, () => {
      for (const name of ['machinefeatures', 'MACHINEFEATURES', 'jobfeatures', 'JobOutputs'])
        assert.deepEqual(siteKeys([[name, value]]), { ...NOTHING, pointers: { [name.toLowerCase()]: place } });
    });

  for (const value of [
    '',
    ' ',
    '/',
    '//',
    'etc/machinefeatures',
    './mf',
    '../mf',
    'file:///etc/machinefeatures',
    'ftp://host/mf',
    'javascript:alert(1)',
    'http:/host/mf',
    'http:host',
    'http://',
    'http:///mf',
    'http://[',
    'http://host:99999/mf',
    'http://user:secret@host/mf',
    'http://host/a b',
    'http://host/mf\nhttp://other/mf',
    '/etc/machine features',
    '/etc/mf\u0000',
    'none',
    'FALSE',
    `/${'x'.repeat(3_000)}`,
  ])
    it(`${JSON.stringify(value.slice(0, 60))} is none`, () => {
      assert.deepEqual(siteKeys([['machinefeatures', value]]), NOTHING);
    });

  it('are no keys, also where both stand together', () => {
    const { machine, job, pointers } = of({ machinefeatures: '/mf', jobfeatures: '/jf', joboutputs: '/jo', hs06: '1' });
    assert.deepEqual([machine, job], [{ hs06: text('1') }, {}]);
    assert.deepEqual(pointers, { machinefeatures: '/mf', jobfeatures: '/jf', joboutputs: '/jo' });
  });
});
