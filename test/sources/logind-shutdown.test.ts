/** What the words of logind mean, and what the heart makes of it. No bus here: see logind.test.ts. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { StatedNotice } from '../../agent/lifetime/types.ts';
import { createShutdownPicture, type ShutdownPicture } from '../../agent/sources/logind-shutdown.ts';
import { SourceError } from '../../agent/sources/source.ts';
import { HOUR, history, MINUTE, payload, SECOND, START, source } from '../lifetime/history.ts';

/** 2^64 − 1 as a double: systemd's "infinity". */
const ENDLESS = 2 ** 64;
const usec = (ms: number): number => ms * 1000;

function pictureAt(startMs = START) {
  const clock = { nowMs: startMs };
  return { clock, picture: createShutdownPicture(() => clock.nowMs) };
}

function noticeOf(picture: ShutdownPicture): StatedNotice {
  const reading = picture.reading();
  return reading.is === 'present' ? reading.value : assert.fail(`the reading is ${reading.is}`);
}

describe('logind: what is scheduled', () => {
  for (const [type, kind] of [
    ['poweroff', 'shutdown'],
    ['halt', 'shutdown'],
    ['reboot', 'reboot'],
    ['kexec', 'reboot'],
    ['soft-reboot', 'reboot'],
    ['something-new', 'shutdown'],
  ] as const)
    it(`${type} is a ${kind} at its time`, () => {
      const { picture } = pictureAt();
      picture.scheduledIs([type, usec(START + HOUR)]);
      assert.deepEqual(noticeOf(picture), {
        kind,
        deadlineMs: START + HOUR,
        reason: `${type} scheduled`,
        thisBoot: true,
      });
    });
  for (const [what, value] of [
    ['nothing, as systemd 252 says it', ['', ENDLESS]],
    ['nothing, as later ones say it', ['', 0]],
    ['a type without a time', ['poweroff', 0]],
    ['a type that never comes', ['poweroff', ENDLESS]],
    ['a rehearsal', ['dry-poweroff', usec(START + HOUR)]],
    ['a property that this logind does not have', undefined],
  ] as const)
    it(`${what}: an explicit no`, () => {
      const { picture } = pictureAt();
      picture.scheduledIs(value);
      assert.deepEqual(picture.reading(), { is: 'negative' });
    });
  for (const value of [
    'odd',
    null,
    [],
    ['poweroff'],
    ['poweroff', 'soon'],
    [1, 2],
    ['poweroff', -1],
    ['poweroff', Number.NaN],
  ])
    it(`${JSON.stringify(value)} says nothing`, () => {
      const { picture } = pictureAt();
      picture.scheduledIs(value);
      assert.deepEqual(picture.reading(), { is: 'unknown', error: 'dbus_bad_value' });
    });
  it('a type that is no word is not passed on', () => {
    const { picture } = pictureAt();
    picture.scheduledIs(['<script>', usec(START + HOUR)]);
    assert.equal(noticeOf(picture).reason, 'shutdown scheduled');
  });
});

describe('logind: what is under way', () => {
  it('ends when the inhibitors’ time is over, however often it is asked for', () => {
    const { picture, clock } = pictureAt();
    picture.delayMaxIs(45_000_000);
    picture.announced(true);
    for (const [afterMs, delayUsec] of [
      [0, 45_000_000],
      [2_000, 45_000_000],
      [40_000, 90_000_000],
    ] as const) {
      clock.nowMs = START + afterMs;
      picture.delayMaxIs(delayUsec);
      assert.equal(noticeOf(picture).deadlineMs, START + 45_000);
    }
  });
  it('without a word of the maximum it is what systemd documents', () => {
    const { picture } = pictureAt();
    picture.announced(true);
    assert.deepEqual(noticeOf(picture), {
      kind: 'shutdown',
      deadlineMs: START + 5_000,
      reason: 'shutdown requested',
      onlyEarlier: true,
      thisBoot: true,
    });
  });
  it('a maximum without end, or none that is a number, leaves a deadline', () => {
    const { picture } = pictureAt();
    for (const odd of ['odd', undefined, Number.NaN, -1]) picture.delayMaxIs(odd);
    picture.announced(true);
    assert.equal(noticeOf(picture).deadlineMs, START + 5_000);
    picture.announced(false);
    picture.delayMaxIs(ENDLESS);
    picture.announced(true);
    assert.equal(noticeOf(picture).deadlineMs, START + 30 * MINUTE);
  });
  it('counts before what is scheduled for later', () => {
    const { picture } = pictureAt();
    picture.scheduledIs(['reboot', usec(START + HOUR)]);
    picture.announced(true);
    assert.equal(noticeOf(picture).deadlineMs, START + 5_000);
    assert.equal(noticeOf(picture).kind, 'shutdown', 'the scheduled type is another shutdown’s');
  });
  it('what was scheduled keeps its time when it begins', () => {
    const { picture, clock } = pictureAt();
    picture.scheduledIs(['reboot', usec(START)]);
    clock.nowMs = START + 120;
    picture.announced(true);
    const notice = noticeOf(picture);
    assert.deepEqual([notice.deadlineMs, notice.kind, notice.reason], [START, 'reboot', 'reboot requested']);
  });
  it('a schedule long past has nothing to do with it', () => {
    const { picture } = pictureAt();
    picture.scheduledIs(['reboot', 1_000_000]);
    picture.announced(true);
    assert.equal(noticeOf(picture).deadlineMs, START + 5_000);
  });
  it('a request of now is scheduled for the time 0, which names its type', () => {
    const { picture } = pictureAt();
    picture.announced(true);
    picture.scheduledIs(['reboot', 0]);
    assert.equal(noticeOf(picture).kind, 'reboot');
    // It goes on being one, whatever the property becomes.
    picture.scheduledIs(['', ENDLESS]);
    assert.equal(noticeOf(picture).kind, 'reboot');
  });
  it('newer systemd names the type in the signal', () => {
    const { picture } = pictureAt();
    picture.announced(true, 'soft-reboot');
    picture.announced(true);
    assert.equal(noticeOf(picture).reason, 'soft-reboot requested');
  });
  it('is over when the signal says so, or the property', () => {
    const { picture } = pictureAt();
    picture.preparingIs(false);
    picture.announced(true);
    picture.announced(false);
    assert.deepEqual(picture.reading(), { is: 'negative' });
    picture.preparingIs(true);
    assert.equal(noticeOf(picture).kind, 'shutdown');
    picture.preparingIs(false);
    assert.deepEqual(picture.reading(), { is: 'negative' });
  });
  it('a property that never follows the signal does not contradict it', () => {
    const { picture } = pictureAt();
    picture.preparingIs(false);
    picture.announced(true);
    picture.preparingIs(false);
    assert.equal(noticeOf(picture).kind, 'shutdown');
    picture.announced(false);
    assert.deepEqual(picture.reading(), { is: 'negative' });
  });
  it('after a new connection the property alone decides, and keeps the instant', () => {
    const { picture, clock } = pictureAt();
    picture.announced(true);
    picture.reading();
    clock.nowMs += 3_000;
    picture.startOver();
    picture.preparingIs(true);
    assert.equal(noticeOf(picture).deadlineMs, START + 5_000);
    picture.startOver();
    picture.preparingIs(false);
    assert.deepEqual(picture.reading(), { is: 'negative' });
  });
  it('a second shutdown has its own time', () => {
    const { picture, clock } = pictureAt();
    picture.announced(true);
    picture.reading();
    picture.announced(false);
    clock.nowMs += MINUTE;
    picture.announced(true);
    assert.equal(noticeOf(picture).deadlineMs, START + MINUTE + 5_000);
  });
  it('a property that is no boolean is an error and changes nothing', () => {
    const { picture } = pictureAt();
    picture.announced(true);
    assert.throws(
      () => picture.preparingIs('odd'),
      (error) => error instanceof SourceError && error.code === 'dbus_bad_value',
    );
    assert.equal(noticeOf(picture).kind, 'shutdown');
  });
  it('owes every announcement to somebody once', () => {
    const { picture } = pictureAt();
    assert.equal(picture.owesAnnouncement(), false);
    for (const active of [true, false]) {
      picture.announced(active);
      assert.equal(picture.owesAnnouncement(), true);
      picture.reading();
      assert.equal(picture.owesAnnouncement(), false);
    }
  });
});

describe('logind and the heart', () => {
  const LOGIND = source('logind', 'platform', 2 * SECOND);
  function begin() {
    const h = history({ sources: [LOGIND] });
    const picture = createShutdownPicture(() => h.now().wall);
    const poll = (from = picture) => h.says('logind', { notices: { shutdown: from.reading() } });
    return { h, picture, poll };
  }

  it('a power button stops the payloads within the inhibitors’ time', () => {
    const { h, picture, poll } = begin();
    poll();
    h.register(payload('p'));
    picture.delayMaxIs(45_000_000);
    picture.announced(true);
    poll();
    assert.equal(h.phase(), 'stopping');
    assert.equal(h.snapshot().deadlineMs, START + 45_000);
    assert.equal(h.snapshot().reason, 'logind: shutdown requested');
    for (let poll2s = 0; poll2s < 25; poll2s += 1) {
      h.pass(2 * SECOND);
      poll();
    }
    assert.equal(h.sentTo('p'), 'SIGTERM@0 SIGKILL@40');
    assert.equal(h.phase(), 'stopped');
  });
  it('a reboot is over when the next boot begins, though a guard might have held it up for longer, and logind is late', () => {
    const { h, picture, poll } = begin();
    picture.delayMaxIs(usec(25 * MINUTE));
    picture.announced(true, 'reboot');
    poll();
    assert.equal(h.phase(), 'draining');
    h.restart({ reboot: true, downMs: MINUTE });
    assert.deepEqual([h.phase(), h.snapshot().deadlineMs], ['running', null]);
  });
  it('shutdown +60 drains in half an hour, and shutdown -c makes all well again', () => {
    const { h, picture, poll } = begin();
    picture.scheduledIs(['poweroff', usec(START + HOUR)]);
    poll();
    assert.equal(h.phase(), 'running');
    h.until(START + 31 * MINUTE);
    assert.equal(h.phase(), 'draining');
    picture.scheduledIs(['', ENDLESS]);
    poll();
    assert.equal(h.phase(), 'running');
    assert.equal(h.snapshot().deadlineMs, null);
  });
  it('a postponed schedule moves the deadline', () => {
    const { h, picture, poll } = begin();
    for (const minutes of [10, 20, 15]) {
      picture.scheduledIs(['poweroff', usec(START + minutes * MINUTE)]);
      poll();
      assert.equal(h.snapshot().deadlineMs, START + minutes * MINUTE);
    }
  });
  it('what begins at its scheduled time is not put off by the inhibitors’ time', () => {
    const { h, picture, poll } = begin();
    h.register(payload('p'));
    picture.scheduledIs(['poweroff', usec(START + 10 * MINUTE)]);
    poll();
    h.until(START + 10 * MINUTE + 100);
    picture.announced(true);
    poll();
    assert.equal(h.snapshot().deadlineMs, START + 10 * MINUTE);
    assert.equal(h.phase(), 'stopped');
    assert.equal(h.sentTo('p'), 'SIGTERM@480 SIGKILL@595');
  });
  it('an agent that is restarted meanwhile counts from the beginning of the shutdown, not from its own', () => {
    const { h, picture, poll } = begin();
    picture.delayMaxIs(45_000_000);
    picture.announced(true);
    poll();
    h.restart({ downMs: 10 * SECOND });
    const anew = createShutdownPicture(() => h.now().wall);
    anew.delayMaxIs(45_000_000);
    anew.preparingIs(true);
    poll(anew);
    assert.equal(h.snapshot().deadlineMs, START + 45_000);
  });
  it('after the reboot it is over', () => {
    const { h, picture, poll } = begin();
    picture.announced(true, 'reboot');
    poll();
    h.restart({ reboot: true, downMs: 30 * SECOND });
    assert.equal(h.phase(), 'running');
    poll(createShutdownPicture(() => h.now().wall));
    assert.equal(h.phase(), 'running');
    assert.equal(h.snapshot().deadlineMs, null);
  });
});
