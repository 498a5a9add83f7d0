/** Which notices there are, which one counts, and when (S1.1–S1.5, S1.8, S3.2, S4.3). */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { NOTICE_KINDS } from '../../agent/lifetime/types.ts';
import {
  ABSENT,
  BOOT,
  DIRECTORY,
  EC2,
  HOUR,
  history,
  MINUTE,
  NEGATIVE,
  payload,
  present,
  SECOND,
  START,
  secs,
  source,
} from './history.ts';

const DEADLINE = START + 2 * HOUR;
const spot = (deadlineMs: number | null, more = {}) => ({
  notices: { spot: present('terminate', deadlineMs, { onlyEarlier: true, ...more }) },
});

describe('S1.1 kinds', () => {
  const SETS = ['terminate', 'stop', 'shutdown', 'reboot', 'redeploy'];
  for (const kind of NOTICE_KINDS) {
    test(`S1.1 ${kind} ${SETS.includes(kind) ? 'sets a deadline' : 'sets none'}`, () => {
      const h = history();
      h.register(payload('p'));
      h.says('ec2', { notices: { event: present(kind, START + 10 * MINUTE) } });
      assert.equal(h.snapshot().deadlineMs, SETS.includes(kind) ? START + 10 * MINUTE : null);
      assert.equal(h.notice('ec2/event').kind, kind, 'it is shown in any case');
      h.pass(20 * MINUTE);
      assert.equal(h.sent.length > 0, SETS.includes(kind));
    });
  }
  test('S1.1 drain starts draining and sets no deadline', () => {
    const h = history();
    h.says('ec2', { notices: { asg: present('drain', null) } });
    assert.deepEqual([h.phase(), h.snapshot().deadlineMs, h.snapshot().stopAtMs], ['draining', null, null]);
    assert.equal(h.snapshot().reason, 'ec2: drain');
    h.pass(24 * HOUR);
    assert.equal(h.phase(), 'draining');
    h.says('ec2', { notices: { asg: NEGATIVE } });
    assert.equal(h.phase(), 'running');
  });
  test('S1.1 a drain for later begins then (peers 1)', () => {
    const h = history();
    h.operator('1', { kind: 'drain', deadlineMs: START + HOUR, reason: 'later' });
    assert.equal(h.phase(), 'running');
    h.pass(HOUR - 1);
    assert.equal(h.phase(), 'running');
    h.pass(1);
    assert.equal(h.phase(), 'draining');
  });
  test('S1.1 a drain goes on when the clock is set back to before it was announced', () => {
    const h = history();
    h.says('ec2', { notices: { asg: present('drain', null) } });
    h.stepClock(-HOUR);
    assert.equal(h.phase(), 'draining');
  });
  test('S1.1 [notice] KIND = "stop" makes an informing kind set a deadline', () => {
    const h = history({ policy: { kindOverrides: { freeze: 'stop' } } });
    h.says('ec2', { notices: { a: present('freeze', DEADLINE), b: present('migrate', START + MINUTE) } });
    assert.equal(h.snapshot().deadlineMs, DEADLINE);
    assert.equal(h.notice('ec2/a').kind, 'stop');
    h.configure({ policy: { kindOverrides: {} } });
    assert.equal(h.snapshot().deadlineMs, null);
  });
});

describe('S1.2 the deadline', () => {
  test('S1.2 is the earliest of all, over all sources, keys and notices', () => {
    const h = history({ sources: [DIRECTORY, EC2, source('mjf', 'mjf')] });
    const at = (minutes: number) => secs(START + minutes * MINUTE);
    h.says('directory', { machine: { shutdowntime: at(100) }, job: { shutdowntime_job: at(90) } });
    assert.equal(h.snapshot().deadlineMs, START + 90 * MINUTE);
    h.says('mjf', { job: { jobstart_secs: at(0), wall_limit_secs: String(80 * 60) } });
    assert.equal(h.snapshot().deadlineMs, START + 80 * MINUTE);
    h.says('ec2', spot(START + 70 * MINUTE));
    assert.equal(h.snapshot().deadlineMs, START + 70 * MINUTE);
    h.operator('1', { kind: 'shutdown', deadlineMs: START + 60 * MINUTE, reason: 'mine' });
    assert.equal(h.snapshot().deadlineMs, START + 60 * MINUTE);
    assert.equal(h.snapshot().reason, 'operator: mine');
  });
  test('S1.2 jobstart_secs and wall_limit_secs are of the same source', () => {
    const h = history({ sources: [DIRECTORY, source('mjf', 'mjf')], firstBootMs: BOOT - HOUR });
    h.says('mjf', { job: { jobstart_secs: secs(START) } });
    h.says('directory', { job: { wall_limit_secs: String(10 * 3600) } });
    assert.equal(h.snapshot().deadlineMs, BOOT - HOUR + 10 * HOUR, 'the first boot, not the other one’s start');
  });
  test('S1.2 without a start of the job the first boot of this machine counts, also after later boots', () => {
    const h = history({ firstBootMs: BOOT - 5 * HOUR - 700 });
    h.says('directory', { job: { wall_limit_secs: String(10 * 3600) } });
    assert.equal(h.snapshot().deadlineMs, Math.floor((BOOT - 5 * HOUR - 700) / 1000) * 1000 + 10 * HOUR);
    h.restart({ reboot: true });
    h.says('directory', { job: { wall_limit_secs: String(10 * 3600) } });
    assert.equal(h.snapshot().deadlineMs, Math.floor((BOOT - 5 * HOUR - 700) / 1000) * 1000 + 10 * HOUR);
  });
  test('S1.2 a start of the job that is a UUID (Vcycle) is none', () => {
    const h = history();
    h.says('directory', { job: { wall_limit_secs: String(10 * 3600), jobstart_secs: '4d9f0d2e-8f7a-4a3e' } });
    assert.equal(h.snapshot().deadlineMs, BOOT + 10 * HOUR);
  });
  test('S1.2 on the first boot a clock that is set moves its start with it', () => {
    const h = history();
    h.says('directory', { job: { wall_limit_secs: String(10 * 3600) } });
    h.stepClock(3 * HOUR);
    assert.equal(h.snapshot().deadlineMs, BOOT + 13 * HOUR);
  });
});

describe('S1.3 certain, but without a time', () => {
  const preempted = { notices: { preempted: present('terminate', null, { minimumNoticeMs: 30 * SECOND }) } };
  test('S1.3 gets first seen + the minimum notice, and keeps it', () => {
    const h = history();
    for (let round = 0; round < 5; round += 1) {
      h.says('ec2', preempted);
      assert.equal(h.snapshot().deadlineMs, START + 30 * SECOND);
      h.pass(SECOND);
    }
    h.restart({ downMs: 5 * SECOND });
    h.says('ec2', preempted);
    assert.equal(h.snapshot().deadlineMs, START + 30 * SECOND, 'over a crash too');
  });
  test('S1.3 also when the last one was cleared long ago and nothing was heard since (a hanging GET)', () => {
    const h = history();
    h.register(payload('p'));
    h.says('ec2', preempted);
    h.says('ec2', { notices: { preempted: NEGATIVE } });
    h.pass(5 * HOUR);
    h.says('ec2', preempted);
    assert.equal(h.snapshot().deadlineMs, h.now().wall + 30 * SECOND);
  });
  test('S1.3 one that returns after its old time gets a new one', () => {
    const h = history();
    h.says('ec2', preempted);
    h.says('ec2', { notices: { preempted: NEGATIVE } });
    h.pass(MINUTE);
    h.says('ec2', preempted);
    assert.equal(h.snapshot().deadlineMs, START + MINUTE + 30 * SECOND);
  });
  test('S1.3 a blank time (Azure, Started) keeps the last known one', () => {
    const h = history();
    const event = (deadlineMs: number | null) => ({
      notices: { e1: present('reboot', deadlineMs, { minimumNoticeMs: 15 * MINUTE }) },
    });
    h.says('ec2', event(DEADLINE));
    h.pass(MINUTE);
    h.says('ec2', event(null));
    assert.equal(h.snapshot().deadlineMs, DEADLINE);
    h.says('ec2', event(DEADLINE + MINUTE));
    assert.equal(h.snapshot().deadlineMs, DEADLINE + MINUTE);
  });
  test('S1.3 the counted time keeps its distance when the clock is set', () => {
    for (const byMs of [-HOUR, HOUR]) {
      const h = history();
      h.says('ec2', preempted);
      h.pass(10 * SECOND);
      h.stepClock(byMs);
      assert.equal(h.snapshot().deadlineMs, h.now().wall + 20 * SECOND);
      assert.equal(h.phase(), 'stopped', 'no payload is left to stop');
    }
  });
  test('S1.3 it stays a counted one when only its wording changes', () => {
    const h = history();
    h.says('ec2', preempted);
    h.says('ec2', {
      notices: { preempted: present('terminate', null, { minimumNoticeMs: 30 * SECOND, reason: 'preempted now' }) },
    });
    h.stepClock(HOUR);
    assert.equal(h.snapshot().deadlineMs, h.now().wall + 30 * SECOND);
  });
  test('S1.3, S4.3 the counted time is not moved by how far the host’s clock differs', () => {
    for (const offsetMs of [-HOUR, HOUR]) {
      const h = history();
      for (let round = 0; round < 3; round += 1) h.says('ec2', { ...preempted, hostNowMs: START + offsetMs });
      assert.equal(h.snapshot().localDeadlineMs, START + 30 * SECOND);
    }
  });
});

describe('S1.4 identity', () => {
  test('S1.4 a changed time is an update of the same notice (peers 5)', () => {
    const h = history();
    h.says('ec2', { notices: { e: present('stop', DEADLINE) } });
    h.pass(MINUTE);
    h.says('ec2', { notices: { e: present('stop', DEADLINE + HOUR) } });
    assert.deepEqual(h.noticeIds(), ['ec2/e']);
    assert.equal(h.notice('ec2/e').firstSeenMs, START);
    assert.equal(h.snapshot().deadlineMs, DEADLINE + HOUR);
  });
  test('S1.4 a simulator that says "in 120 s" on every GET still reaches its end', () => {
    const h = history();
    h.register(payload('p', { graceMs: 30 * SECOND }));
    for (let round = 0; round < 130; round += 1) {
      h.says('ec2', spot(h.now().wall + 120 * SECOND));
      h.pass(SECOND);
    }
    assert.equal(h.snapshot().deadlineMs, START + 120 * SECOND);
    assert.equal(h.sentTo('p', START + 120 * SECOND), 'SIGTERM@-30 SIGKILL@-5');
    assert.equal(h.logs('notice_changed').length, 0);
  });
  test('S1.4 a spot time may move earlier', () => {
    const h = history();
    h.says('ec2', spot(DEADLINE));
    h.says('ec2', spot(DEADLINE - MINUTE));
    assert.equal(h.snapshot().deadlineMs, DEADLINE - MINUTE);
  });
  test('S1.4 "within one boot": the spot notice of the next boot is not measured by that of the last', () => {
    const h = history();
    h.says('ec2', spot(START + 120 * SECOND));
    h.restart({ reboot: true, downMs: HOUR });
    const deadline = h.now().wall + 120 * SECOND;
    h.says('ec2', spot(deadline));
    assert.equal(h.snapshot().deadlineMs, deadline);
    h.pass(10 * SECOND);
    h.says('ec2', spot(deadline + 10 * SECOND));
    assert.equal(h.snapshot().deadlineMs, deadline, 'and in this one again only earlier');
  });
  test('S1.4 nor where the first answer of the next boot gives the old time once more', () => {
    const h = history();
    h.says('ec2', spot(DEADLINE));
    h.restart({ reboot: true });
    h.says('ec2', spot(DEADLINE));
    h.says('ec2', spot(DEADLINE + MINUTE));
    assert.equal(h.snapshot().deadlineMs, DEADLINE);
  });
  test('S1.4 a spot notice that returns after its old time has passed may be later', () => {
    const h = history();
    h.says('ec2', spot(START + 10 * SECOND));
    h.says('ec2', { notices: { spot: NEGATIVE } });
    h.pass(MINUTE);
    h.says('ec2', spot(DEADLINE));
    assert.equal(h.snapshot().deadlineMs, DEADLINE);
  });
  test('S1.4 the same event of two sources is two notices', () => {
    const h = history({ sources: [EC2, source('azure')] });
    h.says('ec2', { notices: { e: present('stop', DEADLINE) } });
    h.says('azure', { notices: { e: present('stop', DEADLINE) } });
    assert.deepEqual(h.noticeIds(), ['azure/e', 'ec2/e']);
  });
});

describe('S1.5 who replaces what', () => {
  test('S1.5 a newer answer replaces the same source’s older one, later or earlier', () => {
    const h = history();
    for (const minutes of [60, 90, 45, 120]) {
      h.says('directory', { machine: { shutdowntime: secs(START + minutes * MINUTE) } });
      assert.equal(h.snapshot().deadlineMs, START + minutes * MINUTE);
    }
  });
  test('S1.5 and never another source’s', () => {
    const h = history();
    h.says('directory', { machine: { shutdowntime: secs(START + HOUR) } });
    h.says('ec2', { notices: { e: present('stop', START + 3 * HOUR) } });
    assert.equal(h.snapshot().deadlineMs, START + HOUR);
  });
  test('S1.5 a configured maximum lifetime only shortens', () => {
    const h = history({ sources: [DIRECTORY, source('static', 'static', 0)] });
    h.says('directory', { machine: { shutdowntime: secs(START + HOUR) } });
    h.says('static', { job: { wall_limit_secs: String(100 * 3600) } });
    assert.equal(h.snapshot().deadlineMs, START + HOUR);
    h.says('static', { job: { wall_limit_secs: String(150 * 60) } });
    assert.equal(h.snapshot().deadlineMs, BOOT + 150 * MINUTE);
  });
  const ignoring = () => {
    const h = history();
    h.register(payload('p'));
    h.says('directory', { machine: { total_cpu: '8', shutdowntime: secs(START + HOUR) } });
    h.send({ type: 'ignore', id: 'directory/shutdowntime' });
    return h;
  };
  test('S1.5 an operator overrides the host: shown, not acted on, however its time changes', () => {
    const h = ignoring();
    assert.equal(h.snapshot().deadlineMs, null);
    assert.equal(h.machine('shutdowntime'), undefined);
    assert.equal(h.notice('directory/shutdowntime').ignored, true);
    h.says('directory', { machine: { total_cpu: '8', shutdowntime: secs(START + 30 * MINUTE) } });
    h.pass(2 * HOUR);
    assert.equal(h.sent.length, 0);
  });
  test('S1.5 over restart and reboot', () => {
    const h = ignoring();
    h.restart();
    assert.equal(h.snapshot().deadlineMs, null);
    h.restart({ reboot: true });
    assert.equal(h.snapshot().deadlineMs, null);
    assert.equal(h.notice('directory/shutdowntime').ignored, true);
  });
  test('S1.5, S1.6 also while it is away for a moment: what returns is the same notice', () => {
    const h = ignoring();
    h.saysUntilSettled('directory', { machine: { total_cpu: '8' } });
    assert.deepEqual(h.noticeIds(), []);
    h.pass(MINUTE);
    h.says('directory', { machine: { total_cpu: '8', shutdowntime: secs(START + HOUR) } });
    assert.equal(h.snapshot().deadlineMs, null);
  });
  test('S1.5 the override ends with the notice', () => {
    const h = ignoring();
    h.saysUntilSettled('directory', { machine: { total_cpu: '8' } });
    h.pass(11 * MINUTE);
    h.says('directory', { machine: { total_cpu: '8', shutdowntime: secs(START + HOUR) } });
    assert.equal(h.snapshot().deadlineMs, START + HOUR);
  });
  test('S1.5, S6.1 the override can be taken back: the host’s word counts again, over a restart too', () => {
    const h = ignoring();
    h.send({ type: 'operator_cancel', id: 'ec2/spot' });
    h.send({ type: 'operator_cancel' });
    assert.equal(h.snapshot().deadlineMs, null, 'of another notice, or none: it stands');
    h.send({ type: 'operator_cancel', id: 'directory/shutdowntime' });
    assert.equal(h.snapshot().deadlineMs, START + HOUR);
    assert.equal(h.notice('directory/shutdowntime').ignored, false);
    h.restart();
    assert.equal(h.snapshot().deadlineMs, START + HOUR);
  });
  test('S1.5 a wall limit can be overridden like any other notice', () => {
    const h = history();
    h.says('directory', { job: { wall_limit_secs: String(100 * 3600) } });
    h.send({ type: 'ignore', id: 'directory/wall_limit' });
    h.pass(MINUTE);
    assert.equal(h.snapshot().deadlineMs, null);
    assert.equal(h.job('wall_limit_secs'), String(100 * 3600));
  });
  test('S1.5 an override of one leaves the others in force', () => {
    const h = ignoring();
    h.says('ec2', spot(START + 3 * HOUR));
    assert.equal(h.snapshot().deadlineMs, START + 3 * HOUR);
  });
  test('S1.5 what nobody announced cannot be overridden in advance', () => {
    const h = history();
    h.send({ type: 'ignore', id: 'ec2/spot' });
    h.says('ec2', spot(DEADLINE));
    assert.equal(h.snapshot().deadlineMs, DEADLINE);
  });
});

describe('S6.1 the operator', () => {
  const shutdown = (deadlineMs: number) => ({ kind: 'shutdown', deadlineMs, reason: 'patch' }) as const;
  test('S6.1 cancels one by its id, with and without the source in front, or all', () => {
    const h = history();
    for (const id of ['1', 'operator/2', '3', '4']) h.operator(id, shutdown(DEADLINE));
    h.send({ type: 'operator_cancel', id: 'operator/1' });
    h.send({ type: 'operator_cancel', id: '2' });
    assert.deepEqual(h.noticeIds(), ['operator/3', 'operator/4']);
    h.send({ type: 'operator_cancel' });
    assert.deepEqual(h.noticeIds(), []);
    h.send({ type: 'operator_cancel', id: 'nothing' });
  });
  test('S6.1 over restart and reboot', () => {
    const h = history();
    h.operator('1', shutdown(DEADLINE));
    h.restart();
    assert.equal(h.snapshot().deadlineMs, DEADLINE);
    h.restart({ reboot: true });
    assert.equal(h.snapshot().deadlineMs, DEADLINE);
  });
  test('S6.1 announces anew under an id that was just taken back: the payload gets its SIGTERM again', () => {
    const h = history();
    h.register(payload('p'));
    h.operator('1', shutdown(START + 2 * MINUTE));
    h.pass(10 * SECOND);
    h.send({ type: 'operator_cancel' });
    const again = START + 5 * MINUTE;
    h.operator('1', shutdown(again));
    h.until(again);
    assert.equal(h.sentTo('p', again), 'SIGTERM@-300 SIGTERM@-120 SIGKILL@-5');
  });
});

describe('S1.8 before this boot', () => {
  test('S1.8 a time of before this boot is expired: shown, neither published nor acted on', () => {
    const h = history();
    h.register(payload('p'));
    h.says('ec2', { notices: { e: present('stop', BOOT - 1) } });
    assert.equal(h.notice('ec2/e').expired, true);
    assert.deepEqual([h.phase(), h.snapshot().deadlineMs, h.machine('shutdowntime')], ['running', null, undefined]);
    h.pass(HOUR);
    assert.equal(h.sent.length, 0);
  });
  test('S1.8 a time of after this boot that has passed is overdue, not expired', () => {
    const h = history();
    h.says('directory', { machine: { shutdowntime: secs(BOOT) } });
    assert.deepEqual([h.phase(), h.snapshot().overdue], ['stopped', true]);
  });
  test('S1.8 an expired one does not hide a later one', () => {
    const h = history();
    h.says('directory', { machine: { shutdowntime: secs(BOOT - HOUR) }, job: { shutdowntime_job: secs(DEADLINE) } });
    assert.equal(h.snapshot().deadlineMs, DEADLINE);
  });
  test('S1.8 the host moves an expired time: it counts again', () => {
    const h = history();
    h.says('directory', { machine: { shutdowntime: secs(BOOT - HOUR) } });
    h.says('directory', { machine: { shutdowntime: secs(DEADLINE) } });
    assert.equal(h.snapshot().deadlineMs, DEADLINE);
  });
  test('S1.8 where boot lies is judged by the corrected clock', () => {
    const h = history();
    const deadline = START - HOUR;
    h.says('directory', { machine: { shutdowntime: secs(deadline) } });
    assert.equal(h.snapshot().deadlineMs, deadline);
    h.stepClock(24 * HOUR);
    assert.equal(h.snapshot().deadlineMs, null);
    assert.equal(h.notice('directory/shutdowntime').expired, true);
    h.stepClock(-25 * HOUR);
    assert.equal(h.snapshot().deadlineMs, deadline);
  });
});

describe('S3.2 the promise of notice', () => {
  const promised = (more: Record<string, string> = {}) => {
    const h = history();
    h.says('directory', { machine: { grace_secs: '600', total_cpu: '8', ...more } });
    h.pass(MINUTE);
    return h;
  };
  const machine = (leftMs: number, h: ReturnType<typeof history>) => ({
    grace_secs: '600',
    total_cpu: '8',
    shutdowntime: secs(h.now().wall + leftMs),
  });
  test('S3.2 grace_secs never moves stop_at', () => {
    const h = promised();
    h.says('directory', { machine: machine(HOUR, h) });
    const { stopAtMs, deadlineMs, graceSecs, stopGraceSecs } = h.snapshot();
    assert.deepEqual([graceSecs, stopGraceSecs], [600, 120]);
    assert.equal(stopAtMs, (deadlineMs ?? 0) - 120 * SECOND);
  });
  test('S3.2 less notice than promised is obeyed, logged once and shown', () => {
    const h = promised();
    const said = { machine: machine(5 * MINUTE, h) };
    h.says('directory', said);
    h.says('directory', said);
    assert.equal(h.snapshot().deadlineMs, h.now().wall + 5 * MINUTE);
    assert.equal(h.notice('directory/shutdowntime').brokenPromise, true);
  });
  test('S3.2 enough notice breaks nothing, neither do a poll and a few seconds of difference', () => {
    for (const left of [HOUR, 600 * SECOND, 595 * SECOND]) {
      const h = promised();
      h.says('directory', { machine: machine(left, h) });
      assert.equal(h.notice('directory/shutdowntime').brokenPromise, false);
      h.pass(5 * MINUTE);
      assert.equal(h.notice('directory/shutdowntime').brokenPromise, false, 'time passing does not break it');
    }
  });
  test('S3.2 bringing forward is an announcement too', () => {
    const h = promised();
    h.says('directory', { machine: machine(HOUR, h) });
    h.pass(MINUTE);
    h.says('directory', { machine: machine(MINUTE, h) });
    assert.equal(h.notice('directory/shutdowntime').brokenPromise, true);
  });
  test('S3.2 what stood there when the agent or the machine started is no announcement', () => {
    const first = history();
    first.says('directory', { machine: machine(MINUTE, first) });
    assert.equal(first.notice('directory/shutdowntime').brokenPromise, false);
    const booted = promised();
    booted.restart({ reboot: true, downMs: MINUTE });
    booted.says('directory', { machine: machine(MINUTE, booted) });
    assert.equal(booted.notice('directory/shutdowntime').brokenPromise, false);
  });
  test('S3.2 shutdowntime_job is measured by grace_secs_job', () => {
    const h = history();
    const job = { grace_secs_job: '60', job_id: 'x' };
    h.says('directory', { machine: { grace_secs: '600' }, job });
    h.pass(MINUTE);
    h.says('directory', {
      machine: { grace_secs: '600' },
      job: { ...job, shutdowntime_job: secs(h.now().wall + 2 * MINUTE) },
    });
    assert.equal(h.notice('directory/shutdowntime_job').brokenPromise, false);
  });
  test('S3.2, S4.3 the notice is counted on the host’s clock', () => {
    for (const [offsetMs, leftMs, broken] of [
      [HOUR, 5 * MINUTE, true],
      [HOUR, 20 * MINUTE, false],
      [-HOUR, 20 * MINUTE, false],
    ] as const) {
      const h = history();
      const say = (more: Record<string, string>) =>
        h.says('directory', {
          machine: { grace_secs: '600', total_cpu: '8', ...more },
          hostNowMs: h.now().wall + offsetMs,
        });
      say({});
      say({});
      h.pass(MINUTE);
      say({ shutdowntime: secs(h.now().wall + offsetMs + leftMs) });
      assert.equal(h.notice('directory/shutdowntime').brokenPromise, broken);
    }
  });
});

describe('S4.3 the host’s clock', () => {
  /** The host's clock is ahead by this; its shutdown is an hour off, on that clock. */
  function ahead(offsetMs: number, answers = 2) {
    const h = history();
    const deadline = START + offsetMs + HOUR;
    for (let count = 0; count < answers; count += 1) {
      h.says('directory', { machine: { shutdowntime: secs(deadline) }, hostNowMs: h.now().wall + offsetMs });
      h.pass(SECOND);
    }
    return { h, deadline };
  }
  test('S4.3 after two answers running its notices are planned on its clock, and published as it said them', () => {
    for (const offsetMs of [20 * MINUTE, -20 * MINUTE]) {
      const { h, deadline } = ahead(offsetMs);
      assert.equal(h.snapshot().deadlineMs, deadline);
      assert.equal(h.machine('shutdowntime'), secs(deadline));
      assert.equal(h.snapshot().localDeadlineMs, START + HOUR);
      assert.equal(h.sourceState('directory')?.clockOffsetSecs, offsetMs / 1000);
      h.register(payload('p'));
      h.pass(2 * HOUR);
      assert.equal(h.sentTo('p', START + HOUR), 'SIGTERM@-120 SIGKILL@-5');
    }
  });
  test('S4.3 one answer may come from a cache', () => {
    const { h, deadline } = ahead(20 * MINUTE, 1);
    assert.equal(h.snapshot().localDeadlineMs, deadline);
    assert.equal(h.sourceState('directory')?.clockOffsetSecs, null);
  });
  test('S4.3 30 s are not enough', () => {
    const { h, deadline } = ahead(30 * SECOND);
    assert.equal(h.snapshot().localDeadlineMs, deadline);
    assert.equal(ahead(31 * SECOND).h.sourceState('directory')?.clockOffsetSecs, 31);
  });
  test('S4.3 the offset ends with the first answer that does not differ', () => {
    const { h, deadline } = ahead(20 * MINUTE);
    h.says('directory', { machine: { shutdowntime: secs(deadline) }, hostNowMs: h.now().wall });
    assert.equal(h.snapshot().localDeadlineMs, deadline);
  });
  test('S4.3 a second of jitter does not move the plan with each poll', () => {
    const { h, deadline } = ahead(20 * MINUTE);
    const before = h.snapshot();
    h.says('directory', { machine: { shutdowntime: secs(deadline) }, hostNowMs: h.now().wall + 20 * MINUTE - 900 });
    assert.deepEqual(h.snapshot(), before);
  });
  test('S4.3 another source’s notices are not touched', () => {
    const { h } = ahead(20 * MINUTE);
    h.says('ec2', spot(START + 30 * MINUTE));
    assert.equal(h.snapshot().localDeadlineMs, START + 30 * MINUTE);
  });
  test('S4.3 the earliest wins on one clock: that of this machine', () => {
    const { h } = ahead(20 * MINUTE);
    h.says('ec2', spot(START + 70 * MINUTE));
    assert.equal(h.snapshot().localDeadlineMs, START + HOUR, 'though 80 min on the host’s clock');
    assert.equal(h.snapshot().deadlineMs, START + 80 * MINUTE);
  });
  test('S4.3 when our own clock is set right, the offset goes with it at once', () => {
    const { h, deadline } = ahead(20 * MINUTE);
    h.stepClock(20 * MINUTE);
    assert.equal(h.snapshot().localDeadlineMs, deadline);
    assert.equal(h.sourceState('directory')?.clockOffsetSecs, null);
    assert.equal(h.phase(), 'running');
  });
  test('S4.3 an absent key on the host stays cleared by S1.6 alone', () => {
    const { h } = ahead(20 * MINUTE);
    h.says('directory', { machine: { shutdowntime: ABSENT, total_cpu: '8' } });
    assert.equal(h.snapshot().localDeadlineMs, START + HOUR);
  });
});

test('peers 5: no answer that says the same tells news or writes anything down', () => {
  const h = history();
  const said = { machine: { total_cpu: '8', shutdowntime: secs(DEADLINE) } };
  h.says('directory', said);
  h.says('ec2', spot(DEADLINE));
  const before = [...h.journal];
  for (let round = 0; round < 20; round += 1) {
    h.pass(SECOND);
    h.says('directory', said);
    assert.deepEqual(h.result().effects, []);
    h.says('ec2', spot(DEADLINE));
    assert.deepEqual(h.result().effects, []);
  }
  assert.deepEqual([...h.journal], before);
});
