/** Where the features are by a platform's metadata (mjf.md, "Locations"; issue "Every channel", 2). */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { restoreState } from '../../agent/lifetime/state.ts';
import type { Answer, Pointers } from '../../agent/lifetime/types.ts';
import { BOOT, DIRECTORY, EC2, type History, history, MINUTE, SECOND, source } from './history.ts';

const OPENSTACK = source('openstack');
const MF = 'http://host/mf';
const JF = 'http://host/jf';
const JO = 'http://host/jo';

const says = (h: History, name: string, answer: Answer): void =>
  h.send({ type: 'observation', observation: { source: name, outcome: 'answer', answer } });
const points = (h: History, pointers: Pointers, name = 'ec2'): void => says(h, name, { pointers });
const seen = (h: History): Pointers => h.snapshot().pointers;

describe('pointers', () => {
  it('none are known before a source names them', () => {
    const h = history();
    assert.deepEqual(seen(h), {});
    says(h, 'ec2', {});
    assert.deepEqual(seen(h), {});
  });

  it('count as they were first heard in this boot', () => {
    const h = history();
    points(h, { machinefeatures: MF });
    points(h, { machinefeatures: 'http://other/mf' });
    assert.deepEqual(seen(h), { machinefeatures: MF });
  });

  it('each for itself: what comes later is added', () => {
    const h = history();
    points(h, { machinefeatures: MF });
    h.pass(MINUTE);
    points(h, { jobfeatures: JF });
    points(h, { jobfeatures: 'http://other/jf', joboutputs: JO });
    assert.deepEqual(seen(h), { machinefeatures: MF, jobfeatures: JF, joboutputs: JO });
  });

  it('stay when nothing is said of them, when the source fails, goes stale or loses its channel', () => {
    const h = history();
    points(h, { machinefeatures: MF });
    says(h, 'ec2', {});
    says(h, 'ec2', { pointers: {} });
    h.fails('ec2');
    h.pass(10 * MINUTE);
    h.send({ type: 'observation', observation: { source: 'ec2', outcome: 'no_channel', detail: '' } });
    assert.deepEqual(seen(h), { machinefeatures: MF });
  });

  it('come also with what a failing source could still tell', () => {
    const h = history();
    const partial = { pointers: { machinefeatures: MF } };
    h.send({ type: 'observation', observation: { source: 'ec2', outcome: 'failed', error: 'x', detail: '', partial } });
    assert.deepEqual(seen(h), { machinefeatures: MF });
  });

  it('of several sources the stronger one’s count, of equals the first configured', () => {
    const h = history({ sources: [OPENSTACK, EC2, DIRECTORY] });
    points(h, { machinefeatures: 'http://ec2/mf', jobfeatures: 'http://ec2/jf' });
    points(h, { machinefeatures: 'http://openstack/mf' }, 'openstack');
    assert.deepEqual(seen(h), { machinefeatures: 'http://openstack/mf', jobfeatures: 'http://ec2/jf' });
    points(h, { jobfeatures: '/directory/jf' }, 'directory');
    assert.deepEqual(seen(h), { machinefeatures: 'http://openstack/mf', jobfeatures: '/directory/jf' });
  });

  it('go with the source that is no longer configured', () => {
    const h = history();
    points(h, { machinefeatures: MF });
    h.configure({ sources: [DIRECTORY] });
    assert.deepEqual(seen(h), {});
  });

  it('are written down once, and not again when nothing is new', () => {
    const h = history();
    points(h, { machinefeatures: MF });
    const written = h.journal.get('source/ec2');
    assert.match(String(written), /http:\/\/host\/mf/);
    const before = h.state().sources['ec2'];
    points(h, { machinefeatures: 'http://other/mf' });
    assert.equal(h.state().sources['ec2'], before);
  });
});

describe('pointers after a restart of the agent', () => {
  it('are known before anything is heard, and stay those of this boot', () => {
    const h = history();
    points(h, { machinefeatures: MF });
    h.restart({ downMs: MINUTE });
    assert.deepEqual(seen(h), { machinefeatures: MF });
    h.fails('ec2');
    assert.deepEqual(seen(h), { machinefeatures: MF });
    points(h, { machinefeatures: 'http://other/mf', jobfeatures: JF });
    assert.deepEqual(seen(h), { machinefeatures: MF, jobfeatures: JF });
  });
});

describe('pointers after a reboot', () => {
  const rebooted = (): History => {
    const h = history();
    points(h, { machinefeatures: MF, jobfeatures: JF });
    h.restart({ reboot: true, downMs: MINUTE });
    return h;
  };

  it('count as before until they are heard again', () => {
    const h = rebooted();
    assert.deepEqual(seen(h), { machinefeatures: MF, jobfeatures: JF });
    h.fails('ec2');
    assert.deepEqual(seen(h), { machinefeatures: MF, jobfeatures: JF });
  });

  it('are replaced by the first that are heard, and those stay', () => {
    const h = rebooted();
    points(h, { machinefeatures: 'http://new/mf' });
    assert.deepEqual(seen(h), { machinefeatures: 'http://new/mf', jobfeatures: JF });
    points(h, { machinefeatures: 'http://newer/mf', jobfeatures: 'http://new/jf' });
    assert.deepEqual(seen(h), { machinefeatures: 'http://new/mf', jobfeatures: 'http://new/jf' });
  });

  it('also where the source has answered before without them: they may come late', () => {
    const h = rebooted();
    says(h, 'ec2', {});
    h.pass(30 * SECOND);
    points(h, { machinefeatures: 'http://new/mf' });
    assert.deepEqual(seen(h), { machinefeatures: 'http://new/mf', jobfeatures: JF });
  });

  it('the same again are heard: from then on they are this boot’s', () => {
    const h = rebooted();
    points(h, { machinefeatures: MF });
    points(h, { machinefeatures: 'http://new/mf' });
    assert.deepEqual(seen(h), { machinefeatures: MF, jobfeatures: JF });
  });

  it('and a restart of the agent in between makes no difference', () => {
    const h = rebooted();
    points(h, { machinefeatures: 'http://new/mf' });
    h.restart();
    points(h, { machinefeatures: 'http://newer/mf', jobfeatures: 'http://new/jf' });
    assert.deepEqual(seen(h), { machinefeatures: 'http://new/mf', jobfeatures: 'http://new/jf' });
  });
});

describe('what a version without pointers wrote', () => {
  for (const reboot of [false, true])
    it(`is restored ${reboot ? 'after a reboot' : 'in the same boot'}`, () => {
      const h = history();
      h.says('ec2', { machine: { hs06: '1' } });
      const record = JSON.parse(String(h.journal.get('source/ec2')));
      for (const field of ['pointers', 'pointersBefore', 'derived']) delete record[field];
      h.journal.set('source/ec2', JSON.stringify(record));
      h.restart({ reboot });
      assert.equal(h.machine('hs06'), '1');
      assert.deepEqual(seen(h), {});
      points(h, { machinefeatures: MF });
      says(h, 'ec2', { derived: { machine: { grace_secs: { is: 'present', value: '120' } } } });
      assert.deepEqual(seen(h), { machinefeatures: MF });
      assert.equal(h.machine('grace_secs'), '120');
    });

  it('with pointers, but without the mark of whether they are of this boot, is restored too', () => {
    const record = JSON.parse(
      JSON.stringify(history({ sources: [EC2] }).state().sources['ec2']).replace(
        '"pointers":{}',
        `"pointers":{"joboutputs":"${JO}"}`,
      ),
    );
    delete record.pointersBefore;
    for (const sameBoot of [true, false]) {
      const options = { sameBoot, bootWallMs: BOOT, firstBootMs: BOOT, now: { wall: BOOT, mono: 0 } };
      const restored = restoreState(new Map([['source/ec2', record]]), [], options).sources['ec2'];
      assert.deepEqual(restored?.pointers, { joboutputs: JO });
      assert.deepEqual(restored?.pointersBefore, sameBoot ? [] : ['joboutputs']);
    }
  });
});
