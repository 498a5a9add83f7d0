/** What follows from what the machine is: weaker than every stated key (S2.1), cleared like one (S1.6). */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Reading } from '../../agent/lifetime/types.ts';
import { ABSENT, DIRECTORY, EC2, type History, history, MINUTE, NEGATIVE, SECOND, source, UNKNOWN } from './history.ts';

const AZURE = source('azure');
const SELF = source('self', 'self', 0);
const STATIC = source('static', 'static', 0);

type Keys = Readonly<Record<string, string | Reading<string>>>;
const readings = (keys: Keys = {}) =>
  Object.fromEntries(
    Object.entries(keys).map(([key, value]): [string, Reading<string>] => [
      key,
      typeof value === 'string' ? { is: 'present', value } : value,
    ]),
  );
function derives(h: History, machine: Keys, job: Keys = {}, name = 'ec2'): void {
  const derived = { machine: readings(machine), job: readings(job) };
  h.send({ type: 'observation', observation: { source: name, outcome: 'answer', answer: { derived } } });
}
const shown = (h: History, key: string) => {
  const feature = h.snapshot().machine[key];
  return feature && `${feature.value} of ${feature.source}`;
};

describe('derived keys', () => {
  it('are published where nobody states them, with the source that knows', () => {
    const h = history();
    derives(h, { termination_allowed: '1' }, { job_id: 'i-0a1' });
    assert.equal(shown(h, 'termination_allowed'), '1 of ec2');
    assert.equal(h.job('job_id'), 'i-0a1');
    assert.equal(h.snapshot().terminationAllowed, true);
  });

  for (const info of [STATIC, DIRECTORY, source('mjf', 'mjf'), AZURE, EC2])
    it(`never beat what ${info.name} states, whoever comes first`, () => {
      for (const derivedFirst of [true, false]) {
        const h = history({ sources: [STATIC, DIRECTORY, source('mjf', 'mjf'), EC2, AZURE] });
        if (derivedFirst) derives(h, { termination_allowed: '1' }, { job_id: 'derived' });
        h.says(info.name, { machine: { termination_allowed: '0' }, job: { job_id: 'stated' } });
        if (!derivedFirst) derives(h, { termination_allowed: '1' }, { job_id: 'derived' });
        assert.equal(shown(h, 'termination_allowed'), `0 of ${info.name}`);
        assert.equal(h.job('job_id'), 'stated');
      }
    });

  it('nor hide that it goes, nor go with it', () => {
    const h = history();
    derives(h, { termination_allowed: '1' });
    h.says('ec2', { machine: { termination_allowed: '0' } });
    h.says('ec2', { machine: { complete: false, keys: { termination_allowed: NEGATIVE } } });
    assert.equal(shown(h, 'termination_allowed'), '1 of ec2');
  });

  it('beat what the agent found by itself', () => {
    const h = history({ sources: [SELF, EC2] });
    h.says('self', { job: { job_id: 'found' } });
    assert.equal(h.job('job_id'), 'found');
    derives(h, {}, { job_id: 'derived' });
    assert.equal(h.job('job_id'), 'derived');
  });

  it('are judged like any other value, and none that is no key passes', () => {
    const h = history();
    derives(h, { termination_allowed: 'perhaps', password: 'x', mjf_site: 'X', total_cpu: '8' });
    assert.equal(shown(h, 'termination_allowed'), undefined);
    assert.equal(shown(h, 'password'), undefined);
    assert.equal(shown(h, 'total_cpu'), '8 of ec2');
  });

  it('make no deadline: that is stated or it is not', () => {
    const h = history();
    derives(h, { shutdowntime: '1766450000' }, { wall_limit_secs: '60', shutdowntime_job: '1766450000' });
    assert.equal(h.snapshot().deadlineMs, null);
    assert.equal(h.machine('shutdowntime'), undefined);
  });

  it('of two platforms the first configured counts', () => {
    const h = history({ sources: [AZURE, EC2] });
    derives(h, { termination_allowed: '1' });
    derives(h, { termination_allowed: '0' }, {}, 'azure');
    assert.equal(shown(h, 'termination_allowed'), '0 of azure');
  });
});

describe('a platform’s minimum notice', () => {
  it('counts where nobody promises', () => {
    const h = history();
    derives(h, { grace_secs: '120' });
    assert.equal(shown(h, 'grace_secs'), '120 of ec2');
    assert.equal(h.snapshot().graceSecs, 120);
  });

  it('does not count beside a promise, be that larger or smaller', () => {
    for (const promised of ['60', '600']) {
      const h = history();
      derives(h, { grace_secs: '120' });
      h.says('directory', { machine: { grace_secs: promised } });
      assert.equal(shown(h, 'grace_secs'), `${promised} of directory`);
    }
  });

  it('counts again when the promise is gone', () => {
    const h = history();
    derives(h, { grace_secs: '120' });
    h.says('directory', { machine: { grace_secs: '60', hs06: '1' } });
    h.saysUntilSettled('directory', { machine: { hs06: '1' } });
    assert.equal(shown(h, 'grace_secs'), '120 of ec2');
  });

  it('of promises the smallest counts, whatever the platform’s minimum', () => {
    const h = history({ sources: [DIRECTORY, source('mjf', 'mjf'), EC2] });
    derives(h, { grace_secs: '10' });
    h.says('directory', { machine: { grace_secs: '600' } });
    h.says('mjf', { machine: { grace_secs: '300' } });
    assert.equal(shown(h, 'grace_secs'), '300 of mjf');
  });

  it('is no promise that could be broken', () => {
    const h = history();
    derives(h, { grace_secs: '120' });
    h.pass(MINUTE);
    const secs = String(Math.floor((h.now().wall + 30 * SECOND) / 1000));
    h.says('ec2', { machine: { complete: false, keys: { shutdowntime: secs } } });
    assert.equal(h.notice('ec2/shutdowntime').brokenPromise, false);
  });
});

describe('clearing a derived key (S1.6)', () => {
  const held = (): History => {
    const h = history();
    derives(h, { termination_allowed: '1' });
    return h;
  };

  it('an explicit "no" clears at once', () => {
    const h = held();
    derives(h, { termination_allowed: NEGATIVE });
    assert.equal(shown(h, 'termination_allowed'), undefined);
  });

  it('absence clears after three good answers over three seconds, and the source is asked again each second for that', () => {
    const h = held();
    for (let answers = 1; answers <= 3; answers += 1) {
      h.pollsWanted.length = 0;
      derives(h, { termination_allowed: ABSENT });
      assert.equal(shown(h, 'termination_allowed'), '1 of ec2', `after ${answers}`);
      assert.deepEqual(h.pollsWanted, [{ source: 'ec2', atMono: h.now().mono + SECOND }]);
      h.pass(SECOND);
    }
    h.pollsWanted.length = 0;
    derives(h, { termination_allowed: ABSENT });
    assert.equal(shown(h, 'termination_allowed'), undefined);
    assert.deepEqual(h.pollsWanted, []);
  });

  for (const [what, interrupt] of [
    ['a failure', (h: History) => h.fails('ec2')],
    ['an unknown value', (h: History) => derives(h, { termination_allowed: UNKNOWN })],
    ['the value itself', (h: History) => derives(h, { termination_allowed: '1' })],
  ] as const)
    it(`${what} in between begins the count anew`, () => {
      const h = held();
      for (let turn = 0; turn < 3; turn += 1) {
        for (let answers = 0; answers < 2; answers += 1) {
          derives(h, { termination_allowed: ABSENT });
          h.pass(2 * SECOND);
        }
        interrupt(h);
        h.pass(SECOND);
      }
      assert.equal(shown(h, 'termination_allowed'), '1 of ec2');
    });

  it('what is not mentioned is left as it is', () => {
    const h = held();
    for (let answers = 0; answers < 10; answers += 1) {
      derives(h, { grace_secs: '120' });
      h.says('ec2', { machine: { hs06: '1' } });
      h.pass(SECOND);
    }
    assert.equal(shown(h, 'termination_allowed'), '1 of ec2');
  });

  it('survives a restart and a reboot, and can be cleared afterwards', () => {
    for (const reboot of [false, true]) {
      const h = held();
      h.restart({ reboot });
      assert.equal(shown(h, 'termination_allowed'), '1 of ec2');
      derives(h, { termination_allowed: NEGATIVE });
      assert.equal(shown(h, 'termination_allowed'), undefined);
    }
  });
});
