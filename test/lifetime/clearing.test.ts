/** What clears a value or a notice and what does not (S1.6), and when a source is stale (S1.7). */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  ABSENT,
  DIRECTORY,
  EC2,
  history,
  type KeySaid,
  MINUTE,
  NEGATIVE,
  payload,
  present,
  SECOND,
  START,
  secs,
  source,
  UNKNOWN,
} from './history.ts';

const DEADLINE = START + 60 * MINUTE;
const TIME = secs(DEADLINE);
const gone = { machine: { total_cpu: '8' } };
const there = { machine: { total_cpu: '8', shutdowntime: TIME } };

function announced() {
  const h = history();
  h.says('directory', there);
  h.pass(10 * SECOND);
  return h;
}

describe('S1.6 absence', () => {
  test('S1.6 clears with the third good answer running that lies at least 3 s after the first', () => {
    const h = announced();
    for (const _ of [0, 1, 2]) {
      h.says('directory', gone);
      assert.equal(h.snapshot().deadlineMs, DEADLINE);
      h.pass(SECOND);
    }
    h.says('directory', gone);
    assert.equal(h.snapshot().deadlineMs, null);
    assert.equal(h.machine('shutdowntime'), undefined);
  });
  test('S1.6 three answers within less than 3 s do not clear', () => {
    const h = announced();
    for (let count = 0; count < 10; count += 1) {
      h.says('directory', gone);
      h.pass(333);
    }
    h.pass(-331);
    h.says('directory', gone);
    assert.equal(h.snapshot().deadlineMs, DEADLINE, '2999 ms after the first');
    h.pass(1);
    h.says('directory', gone);
    assert.equal(h.snapshot().deadlineMs, null, '3000 ms after the first');
  });
  test('S1.6 two answers do not clear, however far apart', () => {
    const h = announced();
    h.says('directory', gone);
    h.pass(10 * MINUTE);
    h.says('directory', gone);
    assert.equal(h.snapshot().deadlineMs, DEADLINE);
    h.says('directory', gone);
    assert.equal(h.snapshot().deadlineMs, null);
  });
  test('S1.6 after the first absence the source is asked again each second, also one with a long poll', () => {
    const h = history({ sources: [source('slow', 'mjf', 60 * SECOND)] });
    h.says('slow', there);
    h.pass(60 * SECOND);
    h.pollsWanted.length = 0;
    const asked = h.saysUntilSettled('slow', gone);
    assert.equal(asked, 4);
    assert.equal(h.now().wall, START + 63 * SECOND);
    assert.equal(h.snapshot().deadlineMs, null);
  });
  test('S1.6 nothing is asked again while nothing is missing', () => {
    const h = announced();
    assert.deepEqual(h.pollsWanted, []);
  });
  for (const [what, interrupt] of [
    ['a failure', (h: ReturnType<typeof history>) => h.fails('directory')],
    [
      'a vanished channel',
      (h: ReturnType<typeof history>) =>
        h.send({ type: 'observation', observation: { source: 'directory', outcome: 'no_channel', detail: '' } }),
    ],
    [
      'garbage',
      (h: ReturnType<typeof history>) => h.says('directory', { machine: { total_cpu: '8', shutdowntime: 'x' } }),
    ],
    [
      'an unreadable key',
      (h: ReturnType<typeof history>) => h.says('directory', { machine: { total_cpu: '8', shutdowntime: UNKNOWN } }),
    ],
    ['the value itself', (h: ReturnType<typeof history>) => h.says('directory', there)],
    [
      'another file system without it',
      (h: ReturnType<typeof history>) =>
        h.says('directory', { machine: { channel: 'dev:2', keys: { total_cpu: '8' } } }),
    ],
  ] as const) {
    test(`S1.6 only good answers running count: ${what} in between begins anew`, () => {
      const h = announced();
      for (const _ of [0, 1, 2]) {
        h.says('directory', gone);
        h.pass(2 * SECOND);
      }
      h.says('directory', there);
      for (const _ of [0, 1]) {
        h.pass(2 * SECOND);
        h.says('directory', gone);
      }
      interrupt(h);
      assert.equal(h.snapshot().deadlineMs, DEADLINE);
      for (const _ of [0, 1]) {
        h.pass(2 * SECOND);
        h.says('directory', gone);
      }
      assert.equal(h.snapshot().deadlineMs, DEADLINE, 'the answers before the interruption count no more');
    });
  }
  test('S1.6 a dead source, garbage and silence never clear, for a whole day', () => {
    const h = history();
    const deadline = START + 48 * 60 * MINUTE;
    h.says('directory', { machine: { total_cpu: '8', shutdowntime: secs(deadline) } });
    for (let hour = 0; hour < 24; hour += 1) {
      h.fails('directory', 'hung');
      h.pass(30 * MINUTE);
      h.says('directory', { machine: { total_cpu: UNKNOWN, shutdowntime: '<html>' } });
      h.pass(30 * MINUTE);
    }
    assert.equal(h.snapshot().deadlineMs, deadline);
    assert.equal(h.machine('shutdowntime'), secs(deadline));
  });
  test('S1.6 a key that an incomplete answer does not mention is untouched', () => {
    const h = announced();
    for (let count = 0; count < 6; count += 1) {
      h.pass(SECOND);
      h.says('directory', { machine: { complete: false, keys: { total_cpu: '8' } } });
    }
    assert.equal(h.snapshot().deadlineMs, DEADLINE);
  });
  test('S1.6 a fault of such a key stays visible', () => {
    const h = announced();
    h.says('directory', { machine: { total_cpu: '8', shutdowntime: 'soon' } });
    h.says('directory', { machine: { complete: false, keys: { total_cpu: '8' } } });
    assert.deepEqual(h.sourceState('directory')?.faults, { 'machine/shutdowntime': 'not_a_number' });
    h.says('directory', there);
    assert.deepEqual(h.sourceState('directory')?.faults, {});
  });
  test('S1.6 a side that was not asked is untouched', () => {
    const h = history();
    h.says('directory', { machine: { total_cpu: '8' }, job: { shutdowntime_job: TIME } });
    for (let count = 0; count < 6; count += 1) {
      h.pass(SECOND);
      h.says('directory', { machine: { total_cpu: '8' } });
    }
    assert.equal(h.snapshot().deadlineMs, DEADLINE);
  });
  test('S1.6 what is gone from one source stays in force at another', () => {
    const h = announced();
    h.says('ec2', { notices: { spot: present('terminate', DEADLINE + MINUTE) } });
    h.saysUntilSettled('directory', gone);
    assert.equal(h.snapshot().deadlineMs, DEADLINE + MINUTE);
  });
  test('S1.6 a legacy name that vanishes clears the key it stood for', () => {
    const h = history();
    h.says('directory', { job: { wall_limit_secs_lrms: '7200', jobstart_secs: secs(START) } });
    assert.equal(h.snapshot().deadlineMs, START + 120 * MINUTE);
    h.saysUntilSettled('directory', { job: { jobstart_secs: secs(START) } });
    assert.equal(h.snapshot().deadlineMs, null);
  });
});

describe('S1.6 notices', () => {
  const spot = { spot: present('terminate', DEADLINE) };
  test('S1.6 an explicit negative clears at once', () => {
    const h = history();
    h.says('ec2', { notices: spot });
    h.says('ec2', { notices: { spot: NEGATIVE } });
    assert.equal(h.snapshot().deadlineMs, null);
    assert.deepEqual(h.noticeIds(), []);
  });
  test('S1.6 a missing id of a complete answer is an absence, not a negative', () => {
    const h = history();
    h.says('ec2', { notices: spot });
    h.says('ec2', { notices: {} });
    assert.equal(h.snapshot().deadlineMs, DEADLINE);
    h.saysUntilSettled('ec2', { notices: {} });
    assert.equal(h.snapshot().deadlineMs, null);
  });
  test('S1.6 only good answers running count for notices too', () => {
    const h = history();
    h.says('ec2', { notices: spot });
    for (let count = 0; count < 10; count += 1) {
      for (const _ of [0, 1]) {
        h.pass(2 * SECOND);
        h.says('ec2', { notices: {} });
      }
      h.pass(2 * SECOND);
      if (count % 2 === 0) h.fails('ec2');
      else h.says('ec2', { notices: { spot: UNKNOWN } });
    }
    assert.equal(h.snapshot().deadlineMs, DEADLINE);
  });
  test('S1.6 a missing id of an incomplete answer says nothing', () => {
    const h = history();
    h.says('ec2', { notices: spot });
    for (let count = 0; count < 6; count += 1) {
      h.pass(2 * SECOND);
      h.says('ec2', { notices: { 'events/1': ABSENT }, complete: false });
    }
    assert.equal(h.snapshot().deadlineMs, DEADLINE);
  });
  test('S1.6 unknown changes nothing and is shown', () => {
    const h = history();
    h.says('ec2', { notices: spot });
    h.says('ec2', { notices: { spot: UNKNOWN } });
    assert.equal(h.snapshot().deadlineMs, DEADLINE);
    assert.deepEqual(h.sourceState('ec2')?.faults, { 'notice/spot': 'http_500' });
  });
  test('S1.6 a fault of an id is over when a complete answer does not name it, and not when an incomplete one does not', () => {
    const h = history();
    const faults = () => Object.keys(h.sourceState('ec2')?.faults ?? {});
    h.says('ec2', { notices: { a: UNKNOWN, b: NEGATIVE } });
    h.says('ec2', { notices: { b: NEGATIVE }, complete: false });
    assert.deepEqual(faults(), ['notice/a']);
    h.says('ec2', { machine: { total_cpu: '8' } });
    assert.deepEqual(faults(), ['notice/a']);
    h.says('ec2', { notices: { b: NEGATIVE } });
    assert.deepEqual(faults(), []);
  });
  for (const id of ['constructor', '__proto__', 'toString', 'hasOwnProperty']) {
    test(`S1.4 a host may call its event ${id}`, () => {
      const h = history();
      const said = Object.fromEntries([[id, present('terminate', DEADLINE)]]);
      h.says('ec2', { notices: said });
      assert.equal(h.snapshot().deadlineMs, DEADLINE);
      h.says('ec2', { notices: Object.fromEntries([[id, NEGATIVE]]) });
      assert.equal(h.snapshot().deadlineMs, null);
      h.operator(id, { kind: 'shutdown', deadlineMs: DEADLINE, reason: 'x' });
      assert.equal(h.snapshot().deadlineMs, DEADLINE);
      h.send({ type: 'operator_cancel', id });
      assert.equal(h.snapshot().deadlineMs, null);
    });
  }
});

describe('S1.6 all gone at once', () => {
  const never = (keys: Readonly<Record<string, KeySaid>>, rounds = 20) => {
    const h = announced();
    for (let count = 0; count < rounds; count += 1) {
      h.pass(SECOND);
      h.says('directory', { machine: keys });
    }
    return h;
  };
  test('S1.6 an MJF directory or server that gave two keys and now gives none is unknown, not cleared', () => {
    for (const rank of ['directory', 'mjf'] as const) {
      const h = history({ sources: [source('host', rank)] });
      h.says('host', there);
      for (let count = 0; count < 20; count += 1) {
        h.pass(SECOND);
        h.says('host', { machine: {} });
      }
      assert.equal(h.snapshot().deadlineMs, DEADLINE);
      assert.equal(h.machine('total_cpu'), '8');
      assert.deepEqual(h.sourceState('host')?.faults, {
        'machine/shutdowntime': 'all_gone',
        'machine/total_cpu': 'all_gone',
      });
    }
  });
  test('S1.6 404 for every single key is the same', () => {
    assert.equal(never({ shutdowntime: ABSENT, total_cpu: ABSENT, hs06: ABSENT }).snapshot().deadlineMs, DEADLINE);
  });
  test('S1.6 a lost directory is no good answer: it goes stale', () => {
    const h = never({}, 15);
    assert.equal(h.sourceState('directory')?.state, 'failed');
    h.pass(5 * SECOND);
    assert.equal(h.sourceState('directory')?.state, 'stale');
    assert.equal(h.snapshot().machine['shutdowntime']?.stale, true);
  });
  test('S1.6 one key on each side, and both gone, is all gone too', () => {
    const h = history();
    h.says('directory', { machine: { shutdowntime: TIME }, job: { shutdowntime_job: TIME } });
    for (let count = 0; count < 10; count += 1) {
      h.pass(SECOND);
      h.says('directory', { machine: {}, job: {} });
    }
    assert.equal(h.snapshot().deadlineMs, DEADLINE);
  });
  test('S1.6 a single key that was all there ever was may be cleared', () => {
    const h = history();
    h.says('directory', { machine: { shutdowntime: TIME } });
    h.saysUntilSettled('directory', { machine: {} });
    assert.equal(h.snapshot().deadlineMs, null);
  });
  test('S1.6 one side may be cleared while the other still speaks', () => {
    const h = history();
    h.says('directory', { machine: { total_cpu: '8' }, job: { shutdowntime_job: TIME } });
    h.saysUntilSettled('directory', { machine: { total_cpu: '8' }, job: {} });
    assert.equal(h.snapshot().deadlineMs, null);
  });
  test('S1.6 both shutdown times may go while another key stays', () => {
    const h = history();
    h.says('directory', { machine: { total_cpu: '8', shutdowntime: TIME, grace_secs: '60' } });
    h.saysUntilSettled('directory', gone);
    assert.equal(h.snapshot().deadlineMs, null);
  });
  test('S1.6 it is over as soon as one key is back', () => {
    const h = never({});
    h.saysUntilSettled('directory', gone);
    assert.equal(h.snapshot().deadlineMs, null);
    assert.deepEqual(h.sourceState('directory')?.faults, {});
    assert.equal(h.sourceState('directory')?.state, 'ok');
  });
  test('S1.6 the keys of a platform are answered one by one: two tags taken away are cleared', () => {
    const h = history();
    h.says('ec2', { machine: { shutdowntime: TIME }, job: { shutdowntime_job: TIME } });
    h.saysUntilSettled('ec2', { machine: { shutdowntime: ABSENT }, job: { shutdowntime_job: ABSENT } });
    assert.equal(h.snapshot().deadlineMs, null);
  });
});

describe('S1.6 another channel', () => {
  const elsewhere = (keys: Readonly<Record<string, KeySaid>>) => ({ machine: { channel: 'dev:2', keys } });
  test('S1.6 an empty directory on another file system is the bare mount point, also where one key was given', () => {
    const h = history();
    h.says('directory', { machine: { shutdowntime: TIME } });
    for (let count = 0; count < 20; count += 1) {
      h.pass(SECOND);
      h.says('directory', elsewhere({}));
    }
    assert.equal(h.snapshot().deadlineMs, DEADLINE);
    assert.deepEqual(h.sourceState('directory')?.faults, { 'machine/shutdowntime': 'other_channel' });
  });
  const MOUNT = 'dev:40@/etc/machinefeatures';
  const onMount = (channel: string, keys: Readonly<Record<string, KeySaid>>) => ({ machine: { channel, keys } });
  function mounted() {
    const h = history();
    h.says('directory', onMount(MOUNT, { total_cpu: '8', shutdowntime: TIME }));
    return h;
  }
  test('S1.6 a stray key on the bare mount point costs no deadline, and is taken for what it is', () => {
    const h = mounted();
    for (let count = 0; count < 20; count += 1) {
      h.pass(SECOND);
      h.says('directory', onMount('dev:254@/', { total_cpu: '6' }));
    }
    assert.equal(h.snapshot().deadlineMs, DEADLINE);
    assert.equal(h.snapshot().machine['total_cpu']?.value, '6');
    assert.equal(h.sourceState('directory')?.faults['machine/shutdowntime'], 'other_channel');
    h.saysUntilSettled('directory', onMount(MOUNT, { total_cpu: '8' }));
    assert.equal(h.snapshot().deadlineMs, null);
  });
  test('S1.6 a stray time on the bare mount point may shorten, never lengthen', () => {
    const h = mounted();
    h.says('directory', onMount('dev:254@/', { shutdowntime: secs(DEADLINE + MINUTE) }));
    assert.equal(h.snapshot().deadlineMs, DEADLINE);
    h.says('directory', onMount('dev:254@/', { shutdowntime: secs(DEADLINE - MINUTE) }));
    assert.equal(h.snapshot().deadlineMs, DEADLINE - MINUTE);
    for (let count = 0; count < 20; count += 1) {
      h.pass(SECOND);
      h.says('directory', onMount('dev:254@/', { total_cpu: '6' }));
    }
    assert.equal(h.snapshot().deadlineMs, DEADLINE - MINUTE);
  });
  test('S1.6 a share mounted again has another device number and may clear as before', () => {
    const h = mounted();
    // The first answer from there only says that it is another one.
    h.says('directory', onMount('dev:41@/etc/machinefeatures', { total_cpu: '8' }));
    assert.equal(h.snapshot().deadlineMs, DEADLINE);
    h.saysUntilSettled('directory', onMount('dev:41@/etc/machinefeatures', { total_cpu: '8' }));
    assert.equal(h.snapshot().deadlineMs, null);
  });
  test('S1.6 and the directory that comes back may clear', () => {
    const h = announced();
    h.says('directory', elsewhere({}));
    h.saysUntilSettled('directory', gone);
    assert.equal(h.snapshot().deadlineMs, null);
  });
  test('S1.6 a time on another file system is taken at once', () => {
    const h = announced();
    h.says('directory', elsewhere({ shutdowntime: secs(DEADLINE - MINUTE) }));
    assert.equal(h.snapshot().deadlineMs, DEADLINE - MINUTE);
  });
  test('S1.6 an unreadable directory elsewhere is not the one to compare with from then on', () => {
    const h = history();
    h.says('directory', { machine: { shutdowntime: TIME } });
    h.says('directory', elsewhere({ total_cpu: UNKNOWN }));
    for (let count = 0; count < 10; count += 1) {
      h.pass(SECOND);
      h.says('directory', elsewhere({}));
    }
    assert.equal(h.snapshot().deadlineMs, DEADLINE);
  });
});

describe('S1.6 what returns within 10 min', () => {
  const stop = START + 60 * MINUTE;
  /** A payload that got its SIGTERM, and a notice cleared 10 s later. */
  function cancelled() {
    const h = history();
    h.register(payload('p'));
    h.says('ec2', { notices: { spot: present('terminate', stop) } });
    h.until(stop - 110 * SECOND);
    assert.equal(h.sentTo('p', stop), 'SIGTERM@-120');
    h.says('ec2', { notices: { spot: NEGATIVE } });
    return h;
  }
  test('S1.6 with the same id is the same notice: no step repeats, the missing ones come', () => {
    const h = cancelled();
    h.pass(20 * SECOND);
    h.says('ec2', { notices: { spot: present('terminate', stop) } });
    assert.equal(h.notice('ec2/spot').firstSeenMs, START);
    h.pass(10 * MINUTE);
    assert.equal(h.sentTo('p', stop), 'SIGTERM@-120 SIGKILL@-5');
  });
  test('S1.6 while nothing is announced no step is taken', () => {
    const h = cancelled();
    h.pass(10 * MINUTE);
    assert.equal(h.sentTo('p', stop), 'SIGTERM@-120');
    assert.equal(h.phase(), 'running');
  });
  test('S1.6 is the same notice also where a later time of another source stood meanwhile', () => {
    const h = history();
    h.register(payload('p'));
    // Vac always gives a shutdowntime.
    h.says('directory', { machine: { total_cpu: '8', shutdowntime: secs(stop + 24 * 60 * MINUTE) } });
    h.says('ec2', { notices: { spot: present('terminate', stop) } });
    h.until(stop - 110 * SECOND);
    h.says('ec2', { notices: { spot: NEGATIVE } });
    assert.equal(h.phase(), 'running');
    h.pass(20 * SECOND);
    h.says('ec2', { notices: { spot: present('terminate', stop) } });
    h.pass(10 * MINUTE);
    assert.equal(h.sentTo('p', stop), 'SIGTERM@-120 SIGKILL@-5');
  });
  test('S1.6 and where a second notice took over for a while before both were cleared', () => {
    const h = history();
    h.register(payload('p'));
    const other = source('azure');
    h.configure({ sources: [DIRECTORY, EC2, other] });
    h.says('ec2', { notices: { spot: present('terminate', stop) } });
    h.says('azure', { notices: { a: present('reboot', stop + SECOND) } });
    h.until(stop - 110 * SECOND);
    h.says('ec2', { notices: { spot: NEGATIVE } });
    h.pass(SECOND);
    h.says('azure', { notices: { a: NEGATIVE } });
    h.pass(SECOND);
    h.says('azure', { notices: { a: present('reboot', stop + SECOND) } });
    h.pass(SECOND);
    assert.equal(h.sentTo('p', stop), 'SIGTERM@-120');
  });
  test('S3.6 with a stop time well in the future it is a postponed one: the payload gets its SIGTERM again', () => {
    const h = cancelled();
    h.pass(20 * SECOND);
    const later = stop + 5 * MINUTE;
    h.says('ec2', { notices: { spot: present('terminate', later) } });
    h.until(later + MINUTE);
    assert.equal(h.sentTo('p', later), 'SIGTERM@-420 SIGTERM@-120 SIGKILL@-5');
    assert.deepEqual([...new Set(h.sent.map((each) => each.step.episode))], [1, 2]);
  });
  test('S1.6 also when the clock is set meanwhile, forward by an hour', () => {
    const h = cancelled();
    const { length } = h.sent;
    h.stepClock(60 * MINUTE);
    h.pass(MINUTE);
    h.says('ec2', { notices: { spot: present('terminate', h.now().wall + MINUTE) } });
    assert.equal(h.sent.length, length);
  });
  test('S1.6 with another id it is another one', () => {
    const h = cancelled();
    h.says('ec2', { notices: { 'events/1': present('stop', stop) } });
    h.pass(10 * MINUTE);
    assert.equal(h.sentTo('p', stop), 'SIGTERM@-120 SIGTERM@-110 SIGKILL@-5');
  });
  test('S1.6 after more than 10 min it is another one, first seen anew', () => {
    const h = cancelled();
    h.pass(10 * MINUTE + 1);
    const later = h.now().wall + 20 * SECOND;
    h.says('ec2', { notices: { spot: present('terminate', later) } });
    assert.equal(h.notice('ec2/spot').firstSeenMs, h.now().wall);
    h.pass(MINUTE);
    assert.equal(h.sentTo('p', later), `SIGTERM@${(stop - 120 * SECOND - later) / 1000} SIGTERM@-20 SIGKILL@-4`);
  });
  test('S1.6 a key that returns keeps its first sight too', () => {
    const h = announced();
    h.saysUntilSettled('directory', gone);
    h.pass(9 * MINUTE);
    h.says('directory', there);
    assert.equal(h.notice('directory/shutdowntime').firstSeenMs, START);
  });
  test('S1.6 a clock that is set meanwhile makes ten minutes neither longer nor shorter', () => {
    for (const byMs of [-60 * MINUTE, 60 * MINUTE]) {
      const h = history();
      h.says('ec2', { notices: { spot: present('terminate', stop) } });
      const seen = START + byMs;
      h.says('ec2', { notices: { spot: NEGATIVE } });
      h.stepClock(byMs);
      h.pass(9 * MINUTE);
      h.says('ec2', { notices: { spot: present('terminate', stop + 100 * MINUTE) } });
      assert.equal(h.notice('ec2/spot').firstSeenMs, seen);
      h.says('ec2', { notices: { spot: NEGATIVE } });
      h.stepClock(-byMs);
      h.pass(11 * MINUTE);
      h.says('ec2', { notices: { spot: present('terminate', stop + 100 * MINUTE) } });
      assert.equal(h.notice('ec2/spot').firstSeenMs, h.now().wall);
    }
  });
});

describe('S1.7 staleness', () => {
  const stateAfter = (pollMs: number, ms: number) => {
    const h = history({ sources: [source('host', 'mjf', pollMs)] });
    h.says('host', there);
    h.pass(ms);
    return h.sourceState('host')?.state;
  };
  test('S1.7 a source is stale 30 s after its last good answer, by itself and to the millisecond', () => {
    assert.equal(stateAfter(SECOND, 30 * SECOND - 1), 'ok');
    assert.equal(stateAfter(SECOND, 30 * SECOND), 'stale');
  });
  test('S1.7 and not before three polls', () => {
    assert.equal(stateAfter(60 * SECOND, 180 * SECOND - 1), 'ok');
    assert.equal(stateAfter(60 * SECOND, 180 * SECOND), 'stale');
  });
  test('S1.7 what is read once per boot is never stale', () => {
    assert.equal(stateAfter(0, 1000 * MINUTE), 'ok');
  });
  test('S1.7 failures are no good answers', () => {
    const h = announced();
    for (let count = 0; count < 30; count += 1) {
      h.fails('directory');
      h.pass(SECOND);
    }
    assert.equal(h.sourceState('directory')?.state, 'stale');
    assert.equal(h.sourceState('directory')?.error, 'timeout');
  });
  test('S1.7 nor is an answer in which nothing can be read', () => {
    const h = announced();
    for (let count = 0; count < 30; count += 1) {
      h.says('directory', { machine: { shutdowntime: '<html>', total_cpu: UNKNOWN } });
      h.pass(SECOND);
    }
    assert.equal(h.sourceState('directory')?.state, 'stale');
  });
  test('S1.7 staleness changes marks, never times, and stops payloads like a fresh notice (S1.2)', () => {
    const h = history();
    h.register(payload('p'));
    h.says('directory', there);
    h.pass(31 * SECOND);
    assert.deepEqual(
      [h.snapshot().deadlineMs, h.notice('directory/shutdowntime').stale, h.snapshot().machine['shutdowntime']?.stale],
      [DEADLINE, true, true],
    );
    h.until(DEADLINE);
    assert.equal(h.sentTo('p', DEADLINE), 'SIGTERM@-120 SIGKILL@-5');
  });
  test('peers 16: a source that comes back is fresh again', () => {
    const h = announced();
    h.pass(40 * SECOND);
    h.says('directory', there);
    assert.equal(h.sourceState('directory')?.state, 'ok');
    assert.equal(h.notice('directory/shutdowntime').stale, false);
  });
  test('S1.7 a channel that never was is absent, one that was has failed', () => {
    const h = announced();
    const missing = (name: string) =>
      h.send({ type: 'observation', observation: { source: name, outcome: 'no_channel', detail: '' } });
    missing('ec2');
    missing('directory');
    assert.equal(h.sourceState('ec2')?.state, 'absent');
    assert.equal(h.sourceState('directory')?.state, 'failed');
    h.pass(40 * SECOND);
    assert.equal(h.sourceState('ec2')?.state, 'absent');
  });
  test('S1.7 a wall-clock step makes nothing stale', () => {
    const h = announced();
    h.stepClock(60 * MINUTE);
    h.pass(0);
    assert.equal(h.sourceState('directory')?.state, 'ok');
  });
});
