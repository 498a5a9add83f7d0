import assert from 'node:assert/strict';
import http from 'node:http';
import { afterEach, describe, it } from 'node:test';
import pino from 'pino';
import { systemClock } from '../../agent/clock.ts';
import type { Answer, Observation, Reading, StatedNotice } from '../../agent/lifetime/types.ts';
import { startDriver } from '../../agent/sources/driver.ts';
import { ec2Source } from '../../agent/sources/ec2.ts';
import { type MachineFacts, NO_FACTS } from '../../agent/sources/facts.ts';
import { type Ec2Host, eventTime, isoSecs, META, standIn, TOKEN_PATH } from '../hosts/ec2.ts';
import type { Fault } from '../hosts/metadata-host.ts';
import { HOUR, MINUTE, SECOND, START } from '../lifetime/history.ts';
import { failure, read } from './answers.ts';
import {
  ABSENT,
  ACTION,
  asked,
  ec2Fixture,
  heartOn,
  NEGATIVE,
  noticeIn,
  presentText,
  REBALANCE,
  SCHEDULED,
  TAGS,
  TARGET,
  TIME,
  unknown,
} from './ec2-fixture.ts';

const { host: startHost, source: sourceOn, clean } = ec2Fixture();
afterEach(clean);

const spot = (answer: Answer) => noticeIn(answer, 'spot');
/** Nothing is said of the notice: neither that it is there nor that it is gone. */
function assertSilent(answer: Answer, id = 'spot', message?: string): void {
  assert.ok(['unknown', undefined].includes(noticeIn(answer, id)?.is), message ?? noticeIn(answer, id)?.is);
}
/** A whole second, as the service writes them. */
const soon = (secs = 120): number => (Math.floor(Date.now() / 1000) + secs) * 1000;
const spotNotice = (kind: StatedNotice['kind'], deadlineMs: number | null, reason: string): Reading<StatedNotice> => ({
  is: 'present',
  // S1.3: should a time be missing; hibernation only informs.
  value: { kind, deadlineMs, reason, onlyEarlier: true, ...(kind === 'hibernate' ? {} : { minimumNoticeMs: 120_000 }) },
});

/** For what would wait for ever if it were wrong. */
const PATIENT = { timeout: 60_000 };

function logInto() {
  const lines: { readonly event: string; readonly msg: string }[] = [];
  const log = pino({ level: 'debug' }, { write: (line: string) => void lines.push(JSON.parse(line)) });
  return { log, lines };
}

describe('ec2: spot interruption', () => {
  for (const kind of ['terminate', 'stop', 'hibernate'] as const)
    it(`${kind} is one notice "spot" of that kind, with the host's time`, async () => {
      const host = await startHost();
      const at = soon();
      host.spot(kind, at);
      const answer = await read(sourceOn(host));
      assert.deepEqual(spot(answer), spotNotice(kind, at, `spot ${kind}`));
    });

  it('404 at both endpoints is idle', async () => {
    const host = await startHost();
    assert.deepEqual(spot(await read(sourceOn(host))), ABSENT);
  });

  it('a word of another case, blanks and unknown fields do not matter', async () => {
    const host = await startHost();
    const at = soon();
    host.set('spot/instance-action', `\n {"detail":{"x":[]}, "action": " Stop ", "time": "${isoSecs(at)}"}\r\n`);
    assert.deepEqual(spot(await read(sourceOn(host))), spotNotice('stop', at, 'spot stop'));
  });

  it('an unknown action is planned for as terminate, and told to the log once', async () => {
    const host = await startHost();
    const { log, lines } = logInto();
    const source = sourceOn(host, {}, { log });
    const at = soon();
    host.spot('evaporate', at);
    await read(source);
    assert.deepEqual(spot(await read(source)), spotNotice('terminate', at, 'spot evaporate'));
    assert.deepEqual(
      lines.map(({ event }) => event),
      ['ec2_unknown_action'],
    );
  });

  it('10. not only termination-time is read: stop and hibernate, which it does not know, are not missed', async () => {
    const host = await startHost();
    const source = sourceOn(host);
    const heart = await heartOn(host, source);
    host.spot('stop', START + 2 * MINUTE);
    await heart.hears();
    assert.equal(heart.notice('ec2/spot').kind, 'stop');
    assert.equal(heart.snapshot().deadlineMs, START + 2 * MINUTE);
    assert.equal(heart.phase(), 'stopping');
    host.spot('hibernate', START + 2 * MINUTE);
    await heart.hears();
    assert.equal(heart.notice('ec2/spot').kind, 'hibernate');
    assert.equal(heart.snapshot().deadlineMs, null, 'hibernation informs only');
    assert.equal(heart.phase(), 'running');
  });

  it('termination-time alone is a terminate', async () => {
    const host = await startHost();
    const at = soon();
    host.set('spot/termination-time', isoSecs(at));
    assert.deepEqual(spot(await read(sourceOn(host))), spotNotice('terminate', at, 'spot terminate'));
  });

  for (const [which, slow] of [
    ['the action', ACTION],
    ['the time', TIME],
  ] as const)
    it(`where both speak, the action decides the kind and the earlier time counts, also if ${which} answers last`, async () => {
      const host = await startHost();
      const [early, late] = [soon(100), soon(120)];
      for (const kind of ['stop', 'hibernate'] as const)
        for (const [ofAction, ofTime] of [
          [early, late],
          [late, early],
        ] as const) {
          host.spot(kind, ofAction);
          host.set('spot/termination-time', isoSecs(ofTime));
          host.fault(slow, { is: 'slow', delayMs: 50 }, 1);
          const reading = spot(await read(sourceOn(host)));
          assert.ok(reading?.is === 'present');
          assert.equal(reading.value.kind, kind);
          assert.equal(reading.value.deadlineMs, early);
        }
    });

  for (const [what, text] of [
    ['a value that is no time', 'none'],
    ['an empty value', ''],
    ['a time of an earlier life', '2015-01-05T18:02:00Z'],
  ] as const)
    it(`termination-time with ${what} invents no notice and holds none back`, async () => {
      const host = await startHost();
      host.set('spot/termination-time', text);
      const source = sourceOn(host);
      assert.deepEqual(spot(await read(source)), ABSENT);
      const at = soon();
      host.set('spot/instance-action', JSON.stringify({ action: 'stop', time: isoSecs(at) }));
      assert.deepEqual(spot(await read(source)), spotNotice('stop', at, 'spot stop'));
      host.set('spot/instance-action', undefined);
      assert.deepEqual(spot(await read(source)), ABSENT);
    });

  it('a time that passed a moment ago, never seen before, neither announces nor clears', async () => {
    const host = await startHost();
    const source = sourceOn(host);
    host.set('spot/termination-time', isoSecs(soon(-60)));
    assertSilent(await read(source));
    host.spot('stop', soon());
    host.set('spot/termination-time', isoSecs(soon(-60)));
    assert.equal(spot(await read(source))?.is, 'present');
    host.set('spot/instance-action', undefined);
    assert.deepEqual(spot(await read(source)), ABSENT, 'what the action announced, it takes back');
  });

  it('S3.7: a termination time that passes while we watch stays, until it is certain that nothing came of it', async () => {
    const host = await startHost();
    const heart = await heartOn(host, sourceOn(host));
    host.set('spot/termination-time', isoSecs(START + 10 * SECOND));
    await heart.hearsTimes(8);
    assert.equal(heart.phase(), 'stopped');
    assert.equal(heart.notice('ec2/spot').deadlineMs, START + 10 * SECOND);
    assert.deepEqual(heart.sourceState('ec2')?.faults, {}, 'it is said as before');
    heart.to(START + 15 * MINUTE);
    await heart.hearsTimes(4);
    assert.deepEqual(heart.noticeIds(), []);
    assert.equal(heart.phase(), 'running');
  });

  it('after a restart of the agent the time that just passed is still overdue', async () => {
    const host = await startHost();
    const heart = await heartOn(host, sourceOn(host));
    host.set('spot/termination-time', isoSecs(START + 10 * SECOND));
    await heart.hears();
    heart.to(START + 20 * SECOND);
    heart.restart();
    const anew = sourceOn(host);
    for (let i = 0; i < 5; i += 1) {
      const answer = await read(anew);
      heart.send({ type: 'observation', observation: { source: 'ec2', outcome: 'answer', answer } });
      heart.pass(2 * SECOND);
    }
    assert.equal(heart.phase(), 'stopped');
    assert.equal(heart.notice('ec2/spot').deadlineMs, START + 10 * SECOND);
  });

  const bad: readonly (readonly [string, Fault])[] = [
    ['500', { is: 'status', status: 500 }],
    ['a web page', { is: 'html' }],
    ['truncated JSON', { is: 'bytes', bytes: Buffer.from('{"action":"term') }],
    ['a list', { is: 'bytes', bytes: Buffer.from('[]') }],
    ['no action', { is: 'bytes', bytes: Buffer.from('{"time":"2036-01-01T00:00:00Z"}') }],
    ['an action of a wrong type', { is: 'bytes', bytes: Buffer.from('{"action":{},"time":"2036-01-01T00:00:00Z"}') }],
    ['no text', { is: 'bytes', bytes: Buffer.from([0xff, 0xfe, 0x00]) }],
    ['a broken connection', { is: 'reset-mid-body' }],
  ];
  for (const [what, fault] of bad)
    it(`instance-action with ${what} neither invents nor clears; termination-time still speaks; then it recovers`, async () => {
      const host = await startHost();
      const source = sourceOn(host);
      host.fault(ACTION, fault);
      assertSilent(await read(source), 'spot', 'with the other idle');
      const at = soon();
      host.spot('terminate', at);
      assert.deepEqual(spot(await read(source)), spotNotice('terminate', at, 'spot terminate'), 'said by the other');
      host.fault(ACTION, undefined);
      host.spot('stop', at);
      assert.deepEqual(spot(await read(source)), spotNotice('stop', at, 'spot stop'));
      host.fault(ACTION, fault);
      assertSilent(await read(source), 'spot', 'the other cannot know of a stop');
      host.fault(ACTION, undefined);
      host.noSpot();
      assert.deepEqual(spot(await read(source)), ABSENT);
    });

  it('termination-time that fails or is damaged leaves the action alone to announce and to take back', async () => {
    const host = await startHost();
    const source = sourceOn(host);
    const at = soon();
    host.spot('stop', at);
    for (const fault of [
      { is: 'status', status: 503 },
      { is: 'html' },
      { is: 'bytes', bytes: Buffer.from('2026-11-') },
    ] as const) {
      host.fault(TIME, fault);
      const answer = await read(source);
      assert.deepEqual(spot(answer), spotNotice('stop', at, 'spot stop'));
      assert.equal(noticeIn(answer, '@spot/termination-time')?.is, 'unknown');
    }
    host.set('spot/instance-action', undefined);
    assert.deepEqual(spot(await read(source)), ABSENT);
  });

  it('what only termination-time said is not taken back while that is silent', async () => {
    const host = await startHost();
    const source = sourceOn(host);
    const at = soon();
    host.set('spot/termination-time', isoSecs(at));
    await read(source);
    host.fault(TIME, { is: 'status', status: 503 });
    assertSilent(await read(source));
    host.fault(TIME, undefined);
    assert.deepEqual(spot(await read(source)), spotNotice('terminate', at, 'spot terminate'));
    host.noSpot();
    assert.deepEqual(spot(await read(source)), ABSENT);
  });

  it('taken back at both endpoints: the heart confirms it three times and runs again', async () => {
    const host = await startHost();
    const heart = await heartOn(host, sourceOn(host));
    host.spot('terminate', START + 2 * MINUTE);
    await heart.hears();
    assert.equal(heart.phase(), 'stopping');
    host.noSpot();
    await heart.hearsTimes(2);
    assert.equal(heart.phase(), 'stopping');
    await heart.hearsTimes(1);
    assert.equal(heart.phase(), 'running');
    assert.equal(heart.machine('shutdowntime'), undefined);
  });

  it('5. a simulator that says "in 120 s" on every GET is one notice from first to last, and reaches its end', async () => {
    const host = await startHost();
    const heart = await heartOn(host, sourceOn(host));
    const inTwoMinutes = () => isoSecs(heart.now().wall + 2 * MINUTE);
    host.set('spot/instance-action', () => JSON.stringify({ action: 'terminate', time: inTwoMinutes() }));
    host.set('spot/termination-time', inTwoMinutes);
    await heart.hearsTimes(59);
    assert.deepEqual(heart.noticeIds(), ['ec2/spot']);
    assert.equal(heart.notice('ec2/spot').firstSeenMs, START);
    assert.equal(heart.snapshot().deadlineMs, START + 2 * MINUTE);
    assert.equal(heart.phase(), 'stopping');
    heart.pass(3 * SECOND);
    assert.equal(heart.phase(), 'stopped');
  });
});

describe('ec2: how often it asks (S7)', () => {
  it('instance-action at each poll, all else only when the slow poll is due', async () => {
    const host = await startHost({ tags: { shutdowntime: '1900000000' } });
    const source = sourceOn(host);
    assert.equal(source.poll, 2_000);
    await read(source);
    const first = asked(host);
    for (const path of [ACTION, TIME, SCHEDULED, REBALANCE, TARGET, TAGS, `${TAGS}shutdowntime`])
      assert.ok(first.includes(path), path);
    await read(source, { fresh: false });
    assert.deepEqual(asked(host), [ACTION]);
    await read(source, { fresh: true });
    const again = asked(host);
    assert.ok(again.includes(SCHEDULED), 'a confirmation asks everybody');
    assert.ok(!again.includes(`${META}/instance-life-cycle`), 'but what is static');
    assert.ok(!again.includes(`${META}/instance-id`));
  });

  it(
    'termination-time is asked at each poll while the action fails, and while it alone announces',
    PATIENT,
    async () => {
      const host = await startHost();
      const source = sourceOn(host, { poll: '200ms' });
      const driver = startDriver(source, {
        emit: () => undefined,
        log: pino({ level: 'silent' }),
        clock: systemClock,
        count: () => undefined,
      });
      try {
        const times = () => host.requests.filter(({ path }) => path === TIME).length;
        await host.seen(6, ACTION);
        assert.equal(times(), 1);
        host.fault(ACTION, { is: 'status', status: 500 });
        await host.seen(3, TIME);
        host.fault(ACTION, undefined);
        // One that was on its way, perhaps, when the action recovered.
        await host.seen(2, ACTION);
        const before = times();
        await host.seen(6, ACTION);
        assert.ok(times() <= before + 1);
        host.set('spot/termination-time', isoSecs(soon()));
        await driver.pollNow();
        await host.seen(3, TIME);
      } finally {
        driver.stop();
      }
    },
  );

  it('poll may be a cron expression, slow_poll any duration', async () => {
    const host = await startHost();
    const source = sourceOn(host, { poll: '* * * * *', slow_poll: '1h' });
    assert.deepEqual(source.poll, { cron: '* * * * *' });
    await read(source, { fresh: false });
    asked(host);
    await read(source, { fresh: false });
    assert.deepEqual(asked(host), [ACTION]);
    host.set('spot/termination-time', isoSecs(soon()));
    await read(source);
    asked(host);
    await read(source, { fresh: false });
    assert.deepEqual([...asked(host)].sort(), [ACTION, TIME]);
    const eager = sourceOn(host, { poll: '1s', slow_poll: '1s' });
    await read(eager, { fresh: false });
    asked(host);
    await read(eager, { fresh: false });
    assert.ok(asked(host).includes(SCHEDULED));
  });
});

describe('ec2: scheduled events', () => {
  for (const [code, kind] of [
    ['instance-stop', 'stop'],
    ['instance-retirement', 'terminate'],
    ['instance-reboot', 'reboot'],
    ['system-reboot', 'reboot'],
    ['system-maintenance', 'freeze'],
  ] as const)
    it(`${code} is a ${kind} at NotBefore, by its EventId`, async () => {
      const host = await startHost();
      const at = soon(86_400);
      host.event({ id: 'instance-event-0d59937288b749b32', code, notBeforeMs: at, notAfterMs: at + HOUR });
      const answer = await read(sourceOn(host));
      assert.deepEqual(noticeIn(answer, 'instance-event-0d59937288b749b32'), {
        is: 'present',
        value: { kind, deadlineMs: at, reason: `scheduled ${code}` },
      });
    });

  it('one damaged entry hides none of the others, and clears nothing', async () => {
    const host = await startHost();
    const heart = await heartOn(host, sourceOn(host));
    host.event({ id: 'before', code: 'instance-stop', notBeforeMs: START + 2 * HOUR });
    await heart.hears();
    const entry = { EventId: 'good', Code: 'instance-stop', NotBefore: eventTime(START + HOUR), State: 'active' };
    const list = JSON.stringify([entry, { EventId: 'zz' }, 7]);
    host.fault(`${META}/events/maintenance/scheduled`, { is: 'bytes', bytes: Buffer.from(list) });
    heart.pass(MINUTE);
    await heart.hears();
    assert.deepEqual([...(heart.noticeIds() ?? [])].sort(), ['ec2/before', 'ec2/good']);
  });

  it('1. an event weeks ahead changes shutdowntime at once and drains nothing early', async () => {
    const host = await startHost();
    const heart = await heartOn(host, sourceOn(host));
    const at = START + 21 * 24 * HOUR;
    host.event({ id: 'instance-event-1', code: 'instance-retirement', notBeforeMs: at });
    await heart.hears();
    assert.equal(heart.machine('shutdowntime'), String(at / 1000));
    assert.equal(heart.phase(), 'running');
    heart.to(at - 31 * MINUTE);
    await heart.hears();
    assert.equal(heart.phase(), 'running');
    heart.to(at - 30 * MINUTE);
    await heart.hears();
    assert.equal(heart.phase(), 'draining');
  });

  it('[Canceled], [Completed] and the states of that name clear at once, although the event stays listed', async () => {
    const host = await startHost();
    const heart = await heartOn(host, sourceOn(host));
    for (const [id, how] of [
      ['instance-event-1', 'Canceled'],
      ['instance-event-2', 'Completed'],
    ] as const) {
      host.event({ id, code: 'instance-stop', notBeforeMs: START + HOUR });
      await heart.hears();
      assert.deepEqual(heart.noticeIds(), [`ec2/${id}`]);
      assert.ok(host.eventOver(id, how));
      await heart.hears();
      assert.deepEqual(heart.noticeIds(), []);
      assert.equal(heart.machine('shutdowntime'), undefined);
    }
    const source = sourceOn(host);
    host.event({ id: 'by-state', code: 'instance-stop', notBeforeMs: soon(), state: 'canceled' });
    host.event({ id: 'by-text', code: 'instance-stop', notBeforeMs: soon(), description: '[Completed] Rebooted' });
    host.event({
      id: 'not',
      code: 'instance-stop',
      notBeforeMs: soon(),
      description: 'Completed checks require a stop',
    });
    const answer = await read(source);
    assert.deepEqual(noticeIn(answer, 'by-state'), NEGATIVE);
    assert.deepEqual(noticeIn(answer, 'by-text'), NEGATIVE);
    assert.equal(noticeIn(answer, 'not')?.is, 'present');
  });

  it('[] clears at once, and so does a list without the event; 404 only when confirmed', async () => {
    const host = await startHost();
    const heart = await heartOn(host, sourceOn(host));
    const one = { id: 'instance-event-1', code: 'instance-stop', notBeforeMs: START + HOUR };
    const other = { id: 'instance-event-2', code: 'system-reboot', notBeforeMs: START + 2 * HOUR };
    host.event(one);
    host.event(other);
    await heart.hears();
    assert.deepEqual(heart.noticeIds(), ['ec2/instance-event-1', 'ec2/instance-event-2']);
    host.removeEvent(one.id);
    await heart.hears();
    assert.deepEqual(heart.noticeIds(), ['ec2/instance-event-2']);
    host.removeEvent(other.id);
    await heart.hears();
    assert.deepEqual(heart.noticeIds(), []);
    host.event(one);
    await heart.hears();
    host.fault(SCHEDULED, { is: 'status', status: 404 });
    await heart.hearsTimes(2);
    assert.deepEqual(heart.noticeIds(), ['ec2/instance-event-1']);
    await heart.hearsTimes(1);
    assert.deepEqual(heart.noticeIds(), []);
  });

  it('what was cancelled while the agent was down is cleared, and what the other endpoints gave is not', async () => {
    const host = await startHost();
    const heart = await heartOn(host, sourceOn(host));
    host.event({ id: 'instance-event-1', code: 'instance-retirement', notBeforeMs: START + HOUR });
    host.spot('stop', START + 2 * HOUR);
    await heart.hears();
    host.removeEvent('instance-event-1');
    heart.restart();
    // The endpoint of the spot notice is dead now: a list of events says nothing of it.
    host.fault(ACTION, { is: 'status', status: 500 });
    host.fault(TIME, { is: 'status', status: 500 });
    const anew = sourceOn(host);
    for (let i = 0; i < 5; i += 1) {
      const answer = await read(anew);
      heart.send({ type: 'observation', observation: { source: 'ec2', outcome: 'answer', answer } });
      heart.pass(2 * SECOND);
    }
    assert.deepEqual(heart.noticeIds(), ['ec2/spot']);
  });

  it('a reboot that has happened is not acted on after it, until the platform delists it (S1.8)', async () => {
    const host = await startHost();
    const heart = await heartOn(host, sourceOn(host));
    host.event({ id: 'instance-event-1', code: 'system-reboot', notBeforeMs: START + MINUTE });
    await heart.hears();
    assert.equal(heart.phase(), 'stopping');
    heart.to(START + MINUTE);
    heart.restart({ reboot: true, downMs: 2 * MINUTE });
    host.setClockOffset(heart.now().wall - Date.now());
    await heart.hears();
    assert.equal(heart.phase(), 'running');
    host.removeEvent('instance-event-1');
    await heart.hears();
    assert.deepEqual(heart.noticeIds(), []);
  });

  it('unknown codes are ignored and told once; unknown fields are ignored', async () => {
    const host = await startHost();
    const { log, lines } = logInto();
    const source = sourceOn(host, {}, { log });
    host.event({ id: 'instance-event-1', code: 'instance-teleport', notBeforeMs: soon() });
    host.event({ id: 'instance-event-2', code: 'instance-stop', notBeforeMs: soon(), more: { NotBeforeDeadline: 7 } });
    await read(source);
    const answer = await read(source);
    assert.equal(noticeIn(answer, 'instance-event-1'), undefined);
    assert.equal(noticeIn(answer, 'instance-event-2')?.is, 'present');
    assert.deepEqual(
      lines.map(({ event, msg }) => [event, msg.includes('instance-teleport')]),
      [['ec2_unknown_event', true]],
    );
  });

  it('days stand without a leading zero, and ISO times are understood too', async () => {
    const host = await startHost();
    const at = Date.UTC(2036, 1, 3, 9, 0, 43);
    assert.equal(eventTime(at), '3 Feb 2036 09:00:43 GMT');
    host.set(
      'events/maintenance/scheduled',
      JSON.stringify([
        { EventId: 'a', Code: 'instance-stop', NotBefore: '3 Feb 2036 09:00:43 GMT' },
        { EventId: 'b', Code: 'instance-stop', NotBefore: '2036-02-03T09:00:43Z', State: 'active' },
      ]),
    );
    const answer = await read(sourceOn(host));
    for (const id of ['a', 'b']) {
      const reading = noticeIn(answer, id);
      assert.ok(reading?.is === 'present', id);
      assert.equal(reading.value.deadlineMs, at);
    }
  });

  it('without a usable time an event is unknown; without a usable id it goes by its code', async () => {
    const host = await startHost();
    const event = (EventId: unknown, NotBefore: unknown, Code = 'instance-stop') => ({ EventId, NotBefore, Code });
    host.set(
      'events/maintenance/scheduled',
      JSON.stringify([
        event('a', 'next week'),
        event('b', undefined),
        event(undefined, eventTime(soon()), 'instance-reboot'),
        event('spot', eventTime(soon()), 'instance-retirement'),
        event('__proto__', eventTime(soon()), 'system-reboot'),
        event('x'.repeat(500), eventTime(soon()), 'system-maintenance'),
      ]),
    );
    const answer = await read(sourceOn(host));
    assert.deepEqual(noticeIn(answer, 'a'), unknown('bad_time'));
    assert.deepEqual(noticeIn(answer, 'b'), unknown('bad_time'));
    for (const id of ['instance-reboot', 'instance-retirement', 'system-reboot', 'system-maintenance'])
      assert.equal(noticeIn(answer, id)?.is, 'present', id);
    assert.deepEqual(spot(answer), ABSENT);
  });

  const listed = (EventId: string | undefined, Code: string, atMs: number, more = {}) => ({
    EventId,
    Code,
    NotBefore: eventTime(atMs),
    ...more,
  });
  const list = (host: Ec2Host, entries: readonly unknown[]) =>
    host.set('events/maintenance/scheduled', JSON.stringify(entries));
  const OVER = { State: 'completed' };

  for (const [row, entries] of [
    [
      'a live one before one that is over',
      [
        [2, {}],
        [1, OVER],
      ],
    ],
    [
      'a live one after one that is over',
      [
        [1, OVER],
        [2, {}],
      ],
    ],
    [
      'the earlier of two first',
      [
        [2, {}],
        [5, {}],
      ],
    ],
    [
      'the earlier of two last',
      [
        [5, {}],
        [2, {}],
      ],
    ],
    [
      'one without a readable time last',
      [
        [2, {}],
        [5, { NotBefore: 'soon' }],
      ],
    ],
  ] as const)
    for (const id of ['instance-event-1', undefined])
      it(`S1.2: an id that is listed twice is there if one says so, earliest first: ${row}, ${id ?? 'by kind'}`, async () => {
        const host = await startHost();
        const heart = await heartOn(host, sourceOn(host));
        const at = (hours: number) => START + hours * HOUR;
        list(
          host,
          entries.map(([hours, more]) => listed(id, 'instance-stop', at(hours), more)),
        );
        await heart.hears();
        assert.deepEqual(heart.noticeIds(), [`ec2/${id ?? 'instance-stop'}`]);
        assert.equal(heart.snapshot().deadlineMs, at(2));
      });

  it('an id that is listed twice, as a freeze and as a stop, sets the deadline', async () => {
    const host = await startHost();
    const heart = await heartOn(host, sourceOn(host));
    list(host, [listed('e', 'instance-stop', START + 2 * HOUR), listed('e', 'system-maintenance', START + HOUR)]);
    await heart.hears();
    assert.equal(heart.snapshot().deadlineMs, START + 2 * HOUR);
  });

  it('a known event whose code is suddenly not understood stands as long as it is listed', async () => {
    const host = await startHost();
    const heart = await heartOn(host, sourceOn(host));
    list(host, [listed('e', 'instance-stop', START + HOUR)]);
    await heart.hears();
    list(host, [listed('e', 'instance-migrate', START + HOUR), listed('never-seen', 'instance-migrate', START + HOUR)]);
    await heart.hearsTimes(5);
    assert.deepEqual(heart.noticeIds(), ['ec2/e']);
    assert.deepEqual(heart.sourceState('ec2')?.faults, { 'notice/e': 'unknown_code' });
    list(host, [listed('e', 'instance-migrate', START + HOUR, OVER)]);
    await heart.hears();
    assert.deepEqual(heart.noticeIds(), [], 'over is over, whatever it was');
  });

  it('of a list that is too long the most urgent count, and it denies nothing', async () => {
    const host = await startHost();
    const heart = await heartOn(host, sourceOn(host));
    list(host, [listed('mine', 'instance-stop', START + 20 * HOUR)]);
    await heart.hears();
    const crowd = Array.from({ length: 300 }, (_, i) => listed(`c${i}`, 'system-maintenance', START + HOUR));
    const over = Array.from({ length: 300 }, (_, i) => listed(`o${i}`, 'instance-stop', START + HOUR, OVER));
    const stops = Array.from({ length: 100 }, (_, i) =>
      listed(`s${i}`, 'instance-stop', START + 10 * HOUR - i * SECOND),
    );
    list(host, [...over, ...crowd, ...stops]);
    await heart.hearsTimes(5);
    assert.equal(heart.noticeIds()?.includes('ec2/mine'), true);
    assert.equal(heart.snapshot().deadlineMs, START + 10 * HOUR - 99 * SECOND);
    assert.equal(heart.noticeIds()?.length, 65);
    list(host, [...over, listed('s99', 'instance-stop', START + 10 * HOUR)]);
    await heart.hears();
    assert.deepEqual(heart.noticeIds(), ['ec2/s99'], 'of what is over none needs to be kept');
  });

  it('a list that is too long denies nothing after a restart of the agent either', async () => {
    const host = await startHost();
    const heart = await heartOn(host, sourceOn(host));
    list(host, [listed('mine', 'instance-stop', START + 20 * HOUR)]);
    await heart.hears();
    heart.restart();
    list(
      host,
      Array.from({ length: 300 }, (_, i) => listed(`s${i}`, 'instance-stop', START + 10 * HOUR)),
    );
    const anew = sourceOn(host);
    for (let i = 0; i < 5; i += 1) {
      const answer = await read(anew);
      heart.send({ type: 'observation', observation: { source: 'ec2', outcome: 'answer', answer } });
      heart.pass(2 * SECOND);
    }
    assert.equal(heart.noticeIds()?.includes('ec2/mine'), true);
  });

  for (const [what, fault] of [
    ['503', { is: 'status', status: 503 }],
    ['a web page', { is: 'html' }],
    ['nothing', { is: 'empty' }],
    ['an object', { is: 'bytes', bytes: Buffer.from('{}') }],
    ['a list of nonsense', { is: 'bytes', bytes: Buffer.from('[null, 7, "x"]') }],
    ['events without a code', { is: 'bytes', bytes: Buffer.from('[{"EventId":"instance-event-1"}]') }],
    ['truncated JSON', { is: 'bytes', bytes: Buffer.from('[{"EventId":"instance-ev') }],
    ['a body without end', { is: 'endless' }],
  ] as const satisfies readonly (readonly [string, Fault])[])
    it(`${what} in place of the list clears nothing, and the list is believed again afterwards`, async () => {
      const host = await startHost();
      const heart = await heartOn(host, sourceOn(host));
      host.event({ id: 'instance-event-1', code: 'instance-stop', notBeforeMs: START + HOUR });
      await heart.hears();
      host.fault(SCHEDULED, fault);
      await heart.hearsTimes(4);
      assert.deepEqual(heart.noticeIds(), ['ec2/instance-event-1']);
      assert.match(
        heart.sourceState('ec2')?.faults['notice/@events/maintenance/scheduled'] ?? '',
        /^(http_503|bad_json|bad_answer|too_large)$/,
      );
      host.fault(SCHEDULED, undefined);
      host.removeEvent('instance-event-1');
      await heart.hears();
      assert.deepEqual(heart.noticeIds(), []);
      assert.deepEqual(heart.sourceState('ec2')?.faults, {});
    });
});

describe('ec2: rebalance and Auto Scaling', () => {
  it('a rebalance recommendation is shown, sets no deadline and clears by 404', async () => {
    const host = await startHost();
    const heart = await heartOn(host, sourceOn(host));
    host.set('events/recommendations/rebalance', '{"noticeTime":"2025-12-22T21:46:00Z"}');
    await heart.hears();
    assert.equal(heart.notice('ec2/rebalance').kind, 'rebalance');
    assert.equal(heart.snapshot().deadlineMs, null);
    assert.equal(heart.phase(), 'running');
    host.set('events/recommendations/rebalance', undefined);
    await heart.hearsTimes(3);
    assert.deepEqual(heart.noticeIds(), []);
  });

  it('a rebalance document without its time is unknown', async () => {
    const host = await startHost();
    const source = sourceOn(host);
    for (const [body, code] of [
      ['{}', 'bad_answer'],
      ['{"noticeTime":', 'bad_json'],
      ['<html></html>', 'bad_json'],
    ] as const) {
      host.set('events/recommendations/rebalance', body);
      const answer = await read(source);
      assertSilent(answer, 'rebalance');
      assert.deepEqual(noticeIn(answer, '@events/recommendations/rebalance'), unknown(code), body);
    }
  });

  it('target Terminated drains without a deadline, InService runs again', async () => {
    const host = await startHost();
    const heart = await heartOn(host, sourceOn(host));
    host.set('autoscaling/target-lifecycle-state', 'Terminated\n');
    await heart.hears();
    assert.equal(heart.notice('ec2/autoscaling').kind, 'drain');
    assert.equal(heart.phase(), 'draining');
    assert.equal(heart.snapshot().deadlineMs, null);
    host.set('autoscaling/target-lifecycle-state', 'InService');
    await heart.hears();
    assert.equal(heart.phase(), 'running');
  });

  for (const [target, kind] of [
    ['Terminated', 'drain'],
    ['Warmed:Terminated', 'drain'],
    ['Warmed:Stopped', 'drain'],
    ['Warmed:Hibernated', 'hibernate'],
    ['InService', undefined],
    ['Warmed:Running', undefined],
    ['Standby', undefined],
    ['Detached', undefined],
  ] as const)
    it(`target ${target} is ${kind === undefined ? 'an explicit no' : `a ${kind}`}`, async () => {
      const host = await startHost();
      host.set('autoscaling/target-lifecycle-state', target);
      const expected =
        kind === undefined
          ? NEGATIVE
          : { is: 'present', value: { kind, deadlineMs: null, reason: `autoscaling target ${target}` } };
      assert.deepEqual(noticeIn(await read(sourceOn(host)), 'autoscaling'), expected);
    });

  it('404 is absent; an unknown target is unknown, told once, and clears nothing; so is a web page', async () => {
    const host = await startHost();
    const { log, lines } = logInto();
    const source = sourceOn(host, {}, { log });
    assert.deepEqual(noticeIn(await read(source), 'autoscaling'), ABSENT);
    host.set('autoscaling/target-lifecycle-state', 'Quarantined');
    for (let i = 0; i < 2; i += 1) {
      const answer = await read(source);
      assertSilent(answer, 'autoscaling');
      assert.deepEqual(noticeIn(answer, '@autoscaling/target-lifecycle-state'), unknown('unknown_state'));
    }
    assert.deepEqual(
      lines.map(({ event }) => event),
      ['ec2_unknown_target'],
    );
    host.fault(TARGET, { is: 'html' });
    const answer = await read(source);
    assertSilent(answer, 'autoscaling');
    assert.deepEqual(noticeIn(answer, '@autoscaling/target-lifecycle-state'), unknown('bad_answer'));
  });
});

describe('ec2: what the machine is', () => {
  it('a spot machine may be terminated and gets 120 s of notice: derived, so that stated keys win', async () => {
    const host = await startHost({ lifeCycle: 'spot' });
    const heart = await heartOn(host, sourceOn(host));
    await heart.hears();
    assert.equal(heart.snapshot().terminationAllowed, true);
    assert.equal(heart.machine('grace_secs'), '120');
    host.tag('termination_allowed', 'false');
    host.tag('grace_secs', '600');
    await heart.hears();
    assert.equal(heart.snapshot().terminationAllowed, false);
    assert.equal(heart.machine('grace_secs'), '600');
  });

  for (const life of ['on-demand', 'scheduled', 'capacity-block'])
    it(`${life}: the platform says nothing of whether the site may terminate`, async () => {
      const host = await startHost({ lifeCycle: life });
      const heart = await heartOn(host, sourceOn(host));
      await heart.hears();
      assert.equal(heart.snapshot().terminationAllowed, null);
      assert.equal(heart.machine('grace_secs'), undefined);
    });

  it('the instance id is the job id, as long as nobody states one', async () => {
    const host = await startHost({ instanceId: 'i-1234567890abcdef0' });
    const heart = await heartOn(host, sourceOn(host));
    await heart.hears();
    assert.equal(heart.job('job_id'), 'i-1234567890abcdef0');
    host.tag('job_id', 'pilot-17');
    await heart.hears();
    assert.equal(heart.job('job_id'), 'pilot-17');
  });

  it('a web page in place of either is a failure of that part, not a value', async () => {
    const host = await startHost();
    host.fault(`${META}/instance-id`, { is: 'html' });
    host.set('instance-life-cycle', 'Service unavailable (503)');
    const answer = await read(sourceOn(host));
    assert.equal(answer.derived, undefined);
    assert.deepEqual(noticeIn(answer, '@instance-id'), unknown('bad_answer'));
    assert.deepEqual(noticeIn(answer, '@instance-life-cycle'), unknown('bad_answer'));
  });
});

describe('ec2: tags', () => {
  it('S2.2: known and prefixed keys and the pointers are read; of all others not even the value is asked for', async () => {
    const host = await startHost({
      tags: {
        Name: 'worker-17',
        'db:password': 'hunter2',
        hs06: '171.04',
        mjf_site_cache: 'http://squid.example:3128',
        machinefeatures: 'http://mjf.example/vm-17/machinefeatures/',
        joboutputs: '/mnt/outputs',
        jobfeatures: 'not a place',
        wall_limit_secs: '86400',
      },
    });
    const heart = await heartOn(host, sourceOn(host));
    await heart.hears();
    assert.equal(heart.machine('hs06'), '171.04');
    assert.equal(heart.machine('site_cache'), 'http://squid.example:3128');
    assert.equal(heart.job('wall_limit_secs'), '86400');
    assert.deepEqual(heart.snapshot().pointers, {
      machinefeatures: 'http://mjf.example/vm-17/machinefeatures',
      joboutputs: '/mnt/outputs',
    });
    const paths = asked(host);
    assert.ok(paths.includes(`${TAGS}hs06`));
    assert.deepEqual(
      paths.filter((path) => /Name|password/.test(path)),
      [],
    );
  });

  it('names are encoded as one segment of the path', async () => {
    const names = ['mjf@machinefeatures@total_cpu', 'mjf_a+b', 'mjf_50%', 'mjf_a/b', 'mjf_a b', 'mjf_a?b=c#d'];
    const host = await startHost({ tags: Object.fromEntries(names.map((name, i) => [name, String(i + 1)])) });
    const answer = await read(sourceOn(host));
    assert.deepEqual(answer.machine?.keys['total_cpu'], presentText('1'));
    for (const [i, name] of names.entries())
      if (i > 0) assert.deepEqual(answer.machine?.keys[name], presentText(String(i + 1)), name);
  });

  it('a shutdowntime tag is followed: later, earlier, gone', async () => {
    const host = await startHost({ tags: { shutdowntime: String((START + 5 * HOUR) / 1000) } });
    const heart = await heartOn(host, sourceOn(host));
    await heart.hears();
    assert.equal(heart.snapshot().deadlineMs, START + 5 * HOUR);
    host.tag('shutdowntime', String((START + HOUR) / 1000));
    await heart.hears();
    assert.equal(heart.snapshot().deadlineMs, START + HOUR);
    host.tag('shutdowntime', undefined);
    await heart.hearsTimes(2);
    assert.equal(heart.snapshot().deadlineMs, START + HOUR);
    await heart.hearsTimes(1);
    assert.equal(heart.snapshot().deadlineMs, null);
  });

  it('a tag that was removed while the agent was down is cleared', async () => {
    const host = await startHost({ tags: { shutdowntime: String((START + 5 * HOUR) / 1000), hs06: '171' } });
    const heart = await heartOn(host, sourceOn(host));
    await heart.hears();
    heart.restart();
    host.tag('shutdowntime', undefined);
    // Another endpoint that is dead says nothing of tags.
    host.fault(TARGET, { is: 'status', status: 500 });
    const anew = sourceOn(host);
    for (let i = 0; i < 4; i += 1) {
      const answer = await read(anew);
      heart.send({ type: 'observation', observation: { source: 'ec2', outcome: 'answer', answer } });
      heart.pass(2 * SECOND);
    }
    assert.equal(heart.snapshot().deadlineMs, null);
    assert.equal(heart.machine('hs06'), '171');
  });

  it('404 = not enabled: nothing, and no failure', async () => {
    const host = await startHost();
    const answer = await read(sourceOn(host));
    assert.deepEqual(Object.keys(answer.machine?.keys ?? {}), []);
    assert.deepEqual(noticeIn(answer, '@tags/instance'), NEGATIVE);
    assert.equal(answer.pointers, undefined);
  });

  it('without a listing the known names are asked for, later only those that were there or could move a deadline', async () => {
    const host = await startHost({
      tagListing: false,
      tags: { hs06: '171.04', machinefeatures: 'http://mjf.example/m' },
    });
    const source = sourceOn(host, { slow_poll: '2s' });
    const answer = await read(source);
    assert.deepEqual(answer.machine?.keys['hs06'], presentText('171.04'));
    assert.deepEqual(answer.pointers, { machinefeatures: 'http://mjf.example/m' });
    asked(host);
    host.tag('shutdowntime', '1900000000');
    for (const fresh of [false, true]) {
      const again = await read(source, { fresh });
      assert.deepEqual(again.machine?.keys['shutdowntime'], presentText('1900000000'));
      const names = asked(host).flatMap((path) => (path.startsWith(TAGS) ? [path.slice(TAGS.length)] : []));
      assert.deepEqual(
        names.filter((name) => name !== '').sort(),
        ['hs06', 'machinefeatures', 'shutdowntime', 'shutdowntime_job'],
        `fresh: ${fresh}`,
      );
    }
  });

  it('without a listing, what was found is asked for again before it counts as gone', async () => {
    const host = await startHost({ tagListing: false, tags: { hs06: '171.04' } });
    const source = sourceOn(host);
    await read(source);
    host.tag('hs06', undefined);
    assert.deepEqual((await read(source)).machine?.keys['hs06'], ABSENT);
    asked(host);
    assert.deepEqual((await read(source)).machine?.keys['hs06'], ABSENT);
    assert.equal(asked(host).includes(`${TAGS}hs06`), true);
    host.tag('hs06', '172');
    assert.deepEqual((await read(source)).machine?.keys['hs06'], presentText('172'));
  });

  it('one value that fails is unknown, the others are read', async () => {
    const host = await startHost({ tags: { hs06: '171.04', shutdowntime: '1900000000', job_id: 'x' } });
    const source = sourceOn(host);
    host.fault(`${TAGS}shutdowntime`, { is: 'status', status: 500 });
    host.fault(`${TAGS}job_id`, { is: 'reset' });
    const answer = await read(source);
    assert.deepEqual(answer.machine?.keys['hs06'], presentText('171.04'));
    assert.deepEqual(answer.machine?.keys['shutdowntime'], unknown('http_500'));
    assert.equal(answer.job?.keys['job_id']?.is, 'unknown');
    host.fault(`${TAGS}shutdowntime`, undefined);
    host.fault(`${TAGS}job_id`, undefined);
    const well = await read(source);
    assert.deepEqual(well.machine?.keys['shutdowntime'], presentText('1900000000'));
    assert.deepEqual(well.job?.keys['job_id'], presentText('x'));
  });

  for (const fault of [{ is: 'html' }, { is: 'status', status: 403 }, { is: 'short-body' }] as const)
    it(`${fault.is} in place of the listing clears no tag`, async () => {
      const host = await startHost({ tags: { shutdowntime: String((START + 5 * HOUR) / 1000) } });
      const heart = await heartOn(host, sourceOn(host));
      await heart.hears();
      host.fault(TAGS, fault);
      await heart.hearsTimes(4);
      assert.equal(heart.snapshot().deadlineMs, START + 5 * HOUR);
      host.fault(TAGS, undefined);
      await heart.hears();
      assert.deepEqual(heart.sourceState('ec2')?.faults, {});
    });
});

describe('ec2: session tokens', () => {
  const TOKEN = 'x-aws-ec2-metadata-token';
  const gets = (host: Awaited<ReturnType<typeof startHost>>) => host.requests.filter(({ method }) => method === 'GET');
  const puts = (host: Awaited<ReturnType<typeof startHost>>) => host.requests.filter(({ method }) => method === 'PUT');

  it('one token for all endpoints, asked for with a time to live and without X-Forwarded-For', async () => {
    const host = await startHost({ tokens: 'required' });
    host.spot('terminate', soon());
    const source = sourceOn(host);
    assert.equal(spot(await read(source))?.is, 'present');
    await read(source);
    assert.equal(puts(host).length, 1);
    assert.equal(puts(host)[0]?.path, TOKEN_PATH);
    assert.equal(puts(host)[0]?.headers['x-aws-ec2-metadata-token-ttl-seconds'], '21600');
    for (const { headers } of gets(host)) assert.equal(headers[TOKEN], host.tokensGiven[0]);
  });

  it('3. on 401 the token is replaced: never a second header, and the same GET is answered', async () => {
    const host = await startHost({ tokens: 'required' });
    host.spot('terminate', soon());
    const source = sourceOn(host);
    await read(source);
    for (let i = 0; i < 3; i += 1) {
      host.expireTokens();
      const answer = await read(source);
      assert.equal(spot(answer)?.is, 'present');
      assert.deepEqual(noticeIn(answer, '@spot/instance-action'), NEGATIVE);
    }
    assert.equal(puts(host).length, 4, 'one for all endpoints at a time');
    for (const { headers } of gets(host)) {
      const token = headers[TOKEN];
      assert.ok(typeof token === 'string' && host.tokensGiven.includes(token), String(token));
    }
  });

  it('a storm of 401: each GET is tried twice and no more, and is an error until it is over', async () => {
    const host = await startHost();
    const source = sourceOn(host);
    await read(source);
    asked(host);
    host.fault(`${META}/*`, { is: 'status', status: 401 });
    for (let i = 0; i < 3; i += 1) {
      assert.equal((await failure(read(source, { fresh: false }))).code, 'http_401');
      const tried = host.requests.filter(({ path }) => path === ACTION);
      assert.equal(tried.length, 2);
      for (const { headers } of tried) assert.ok(host.tokensGiven.includes(String(headers[TOKEN])));
      asked(host);
    }
    host.fault(`${META}/*`, undefined);
    assert.deepEqual(spot(await read(source)), ABSENT);
  });

  for (const [what, answer] of [
    ['404', { is: 'status', status: 404 }],
    ['405', { is: 'status', status: 405 }],
    ['403', { is: 'status', status: 403 }],
    ['a web page', { is: 'html' }],
    ['nothing', { is: 'empty' }],
  ] as const)
    it(`IMDSv1: ${what} to the PUT, and the GETs go without a token`, async () => {
      const host = await startHost({ tokens: 'none' });
      host.fault(TOKEN_PATH, answer);
      host.spot('terminate', soon());
      const source = sourceOn(host);
      assert.equal(spot(await read(source))?.is, 'present');
      await read(source);
      for (const { headers } of gets(host)) assert.equal(headers[TOKEN], undefined);
      assert.equal(puts(host).length, 1, 'not asked for again with every GET');
    });

  it('a PUT that hangs, as from a container: v1 where v1 answers, without waiting again and again', async () => {
    const host = await startHost();
    host.fault(TOKEN_PATH, { is: 'hang' });
    host.spot('terminate', soon());
    const source = sourceOn(host, { timeout: '5s' });
    assert.equal(spot(await read(source))?.is, 'present');
    await read(source);
    assert.equal(puts(host).length, 1);
  });

  it('a PUT that hangs where tokens are required is http_401, and is well as soon as it answers', async () => {
    const host = await startHost({ tokens: 'required' });
    host.fault(TOKEN_PATH, { is: 'hang' });
    host.spot('terminate', soon());
    const source = sourceOn(host, { timeout: '5s' });
    assert.equal((await failure(read(source))).code, 'http_401');
    host.fault(TOKEN_PATH, undefined);
    assert.equal(spot(await read(source))?.is, 'present');
  });

  it('tokens that become required while the agent runs without one', async () => {
    const host = await startHost({ tokens: 'none' });
    host.spot('terminate', soon());
    const source = sourceOn(host);
    await read(source);
    host.setTokens('required');
    const answer = await read(source);
    assert.equal(spot(answer)?.is, 'present');
    assert.deepEqual(noticeIn(answer, '@spot/instance-action'), NEGATIVE);
  });

  it('403 = turned off: an error that clears nothing; turned on again, it goes on', async () => {
    const host = await startHost({ tokens: 'required' });
    const heart = await heartOn(host, sourceOn(host));
    host.spot('terminate', START + HOUR);
    await heart.hears();
    host.turnOff(true);
    await assert.rejects(heart.hears(), { code: 'http_403' });
    heart.fails('ec2', 'http_403');
    assert.equal(heart.snapshot().deadlineMs, START + HOUR);
    host.turnOff(false);
    await heart.hears();
    assert.equal(heart.sourceState('ec2')?.state, 'ok');
  });

  for (const status of [429, 503])
    it(`a burst of ${status} at the token or at a path passes`, async () => {
      const host = await startHost({ tokens: 'required' });
      host.spot('terminate', soon());
      const source = sourceOn(host);
      host.fault(TOKEN_PATH, { is: 'status', status });
      assert.equal((await failure(read(source))).code, 'http_401');
      host.fault(TOKEN_PATH, undefined);
      assert.equal(spot(await read(source))?.is, 'present');
      host.fault(ACTION, { is: 'status', status }, 1);
      assert.deepEqual(noticeIn(await read(source), '@spot/instance-action'), unknown(`http_${status}`));
      assert.deepEqual(noticeIn(await read(source), '@spot/instance-action'), NEGATIVE);
    });

  it('dropped connections are opened anew', async () => {
    const host = await startHost({ tokens: 'required' });
    host.spot('terminate', soon());
    const source = sourceOn(host);
    await read(source);
    host.dropConnections();
    assert.equal(spot(await read(source))?.is, 'present');
  });

  it('the stand-in itself: X-Forwarded-For is refused, and so is a time to live beyond six hours or none', async () => {
    const host = await startHost();
    const put = (headers: Readonly<Record<string, string>>) =>
      new Promise<number | undefined>((resolve, reject) => {
        const request = http.request(
          `${host.url}${TOKEN_PATH}`,
          { method: 'PUT', headers, agent: false },
          (response) => {
            response.resume();
            resolve(response.statusCode);
          },
        );
        request.once('error', reject).end();
      });
    const ttl = 'X-aws-ec2-metadata-token-ttl-seconds';
    assert.equal(await put({ [ttl]: '60', 'X-Forwarded-For': '10.0.0.1' }), 403);
    assert.equal(await put({ [ttl]: '21601' }), 400);
    assert.equal(await put({}), 400);
    assert.equal(await put({ [ttl]: '60' }), 200);
  });
});

describe('ec2: slow and dead endpoints', () => {
  it('all others hanging at once, the spot notice is read in time, again and again', PATIENT, async () => {
    const host = await startHost({
      tags: { hs06: '1', total_cpu: '2', job_id: '3', shutdowntime: '4', hepscore23: '5' },
    });
    for (const path of ['events/*', 'autoscaling/*', 'instance-*', 'tags/instance/*', 'spot/termination-time'])
      host.fault(`${META}/${path}`, { is: 'hang' });
    // Longer than the test may take: it cannot pass by waiting for the others.
    const source = sourceOn(host, { timeout: '10m' });
    const at = soon();
    host.spot('stop', at);
    for (let i = 0; i < 3; i += 1) {
      const answer = await read(source, { patient: false });
      assert.deepEqual(spot(answer), spotNotice('stop', at, 'spot stop'));
    }
  });

  it(
    'a hanging instance-action does not delay the others, and what it says when it comes is heard',
    PATIENT,
    async () => {
      const host = await startHost();
      host.fault(ACTION, { is: 'hang' }, 1);
      host.event({ id: 'instance-event-1', code: 'instance-stop', notBeforeMs: soon() });
      const source = sourceOn(host, { timeout: '10m' });
      const answer = await read(source, { patient: false });
      assert.equal(noticeIn(answer, 'instance-event-1')?.is, 'present');
      assert.notEqual(spot(answer)?.is, 'absent');
      const at = soon();
      host.spot('stop', at);
      // The hanging connection breaks: the answer to the next question is heard.
      host.dropConnections();
      let latest: Answer | undefined;
      while (spot(latest ?? {})?.is !== 'present')
        latest = await read(source, { patient: false }).catch(() => undefined);
      assert.deepEqual(spot(latest ?? {}), spotNotice('stop', at, 'spot stop'));
    },
  );

  it('a slow first call is waited for', async () => {
    const host = await startHost();
    host.spot('terminate', soon());
    host.fault('/*', { is: 'slow', delayMs: 300 }, 12);
    assert.equal(spot(await read(sourceOn(host)))?.is, 'present');
  });

  it('a reading ends when it is aborted, and when the source is closed', async () => {
    const host = await startHost({ tokens: 'none' });
    host.fault('*', { is: 'hang' });
    const abort = new AbortController();
    const source = sourceOn(host, { timeout: '10m' });
    const seen = host.seen(1, ACTION);
    const reading = source.read({ signal: abort.signal, fresh: true, patient: true });
    // The PUT is given up by itself; then the GETs hang.
    await seen;
    abort.abort();
    await failure(reading);
    const other = sourceOn(host, { timeout: '10m' });
    const seenPut = host.seen(1, TOKEN_PATH);
    const second = other.read({ signal: new AbortController().signal, fresh: true, patient: true });
    await seenPut;
    other.close?.();
    await failure(second);
  });

  it('nobody there is an error with a code', async () => {
    const host = await startHost();
    const source = sourceOn(host);
    await host.close();
    assert.equal((await failure(read(source))).code, 'refused');
  });

  it("S4.3: the host's clock is handed on", async () => {
    const host = await startHost();
    host.setClockOffset(HOUR);
    const { hostNowMs } = await read(sourceOn(host));
    assert.ok(hostNowMs !== undefined && hostNowMs > Date.now() + HOUR - MINUTE);
  });
});

describe('ec2: through the driver', () => {
  /** Runs the source until an observation fulfils the condition. */
  async function until(
    source: ReturnType<typeof sourceOn>,
    wanted: (answer: Answer) => boolean,
    meanwhile: (observation: Observation) => void,
  ): Promise<Answer> {
    return await new Promise((resolve) => {
      const driver = startDriver(source, {
        emit(observation) {
          if (observation.outcome === 'answer' && wanted(observation.answer)) {
            driver.stop();
            resolve(observation.answer);
          } else meanwhile(observation);
        },
        log: pino({ level: 'silent' }),
        clock: systemClock,
        count: () => undefined,
      });
    });
  }

  it(
    'a notice that comes later is seen by the poll, although its token has expired and the tags hang',
    PATIENT,
    async () => {
      const host = await startHost({ tokens: 'required', tags: { hs06: '1' } });
      host.fault(`${TAGS}*`, { is: 'hang' });
      const at = soon();
      const answer = await until(
        sourceOn(host, { poll: '200ms', timeout: '10m' }),
        (each) => spot(each)?.is === 'present',
        () => {
          host.expireTokens();
          host.spot('stop', at);
        },
      );
      assert.deepEqual(spot(answer), spotNotice('stop', at, 'spot stop'));
    },
  );

  it('an outage is survived: nothing is announced or cleared by it', PATIENT, async () => {
    const host = await startHost();
    host.spot('terminate', soon());
    host.fault('*', { is: 'reset' });
    const outcomes: string[] = [];
    await until(
      sourceOn(host, { poll: '200ms' }),
      (each) => spot(each)?.is === 'present',
      ({ outcome }) => {
        outcomes.push(outcome);
        if (outcomes.length === 2) host.fault('*', undefined);
      },
    );
    assert.deepEqual(outcomes, ['failed', 'failed']);
  });
});

describe('ec2: where it is', () => {
  const facts = (more: Partial<MachineFacts>): MachineFacts => ({ ...NO_FACTS, ...more });
  for (const [what, given, sign] of [
    ['a Nitro guest', { dmi: { sys_vendor: 'Amazon EC2', bios_version: '1.0' } }, /sys_vendor/],
    ['a metal machine', { dmi: { chassis_asset_tag: 'Amazon EC2' } }, /chassis_asset_tag/],
    ['a Xen guest', { dmi: { sys_vendor: 'Xen', bios_version: '4.11.amazon' } }, /bios_version/],
    ['a paravirtual guest', { hypervisorUuid: 'ec2e1916-9099-7caf-fd21-012345abcdef' }, /uuid/],
    ['cloud-init found aws', { cloudId: 'aws' }, /cloud-init/],
    ['nothing said', {}, undefined],
    ['OpenStack', { dmi: { sys_vendor: 'OpenStack Foundation', product_name: 'OpenStack Nova' } }, undefined],
    [
      'OpenStack with an unlucky uuid',
      { dmi: { sys_vendor: 'OpenStack Foundation' }, hypervisorUuid: 'ec2' },
      undefined,
    ],
    ['Xen of somebody else', { dmi: { sys_vendor: 'Xen', bios_version: '4.11' }, hypervisorUuid: '1ec2' }, undefined],
    ['Alibaba', { dmi: { sys_vendor: 'Alibaba Cloud', product_name: 'Alibaba Cloud ECS' } }, undefined],
    ['an imitation that cloud-init knows', { cloudId: 'brightbox', hypervisorUuid: 'ec2' }, undefined],
    ['QEMU beside an EC2-like service', { dmi: { sys_vendor: 'QEMU' }, cloudId: 'aws' }, undefined],
  ] as const satisfies readonly (readonly [string, Partial<MachineFacts>, RegExp | undefined])[])
    it(`${what}: ${sign === undefined ? 'not detected' : 'detected'}`, () => {
      const found = ec2Source.detect?.(facts(given));
      if (sign === undefined) assert.equal(found, undefined);
      else assert.match(found ?? '', sign);
    });

  it('a base URL may be IPv6, and may end in a slash', async (context) => {
    const host = await startHost({ address: '::1' }).catch(() => undefined);
    if (host === undefined) return context.skip('no IPv6 here');
    host.spot('terminate', soon());
    assert.equal(spot(await read(sourceOn({ url: `${host.url}/` })))?.is, 'present');
  });

  it('the stand-in obeys a person', async () => {
    const running = await standIn.start(['--tokens', 'required', '--life', 'spot', '--tag', 'hs06=171']);
    try {
      const [, url = ''] = /base_url = "(.*)"/.exec(running.greeting) ?? [];
      const obey = (line: string) => {
        const [verb = '', ...words] = line.split(' ');
        return running.obey(verb, words, line);
      };
      for (const line of [
        'spot stop 60',
        'rebalance on',
        'asg Terminated',
        'event instance-stop 3600 e-1',
        'tag shutdowntime=+600',
        'set events/maintenance/history []',
        'tokens expire',
        'imds on',
      ])
        assert.equal(obey(line), true, line);
      for (const line of [
        'spot',
        'spot stop soon',
        'over nothing Canceled',
        'tokens none-at-all',
        'what ever',
        'tag x',
      ])
        assert.equal(obey(line), false, line);
      const source = sourceOn({ url });
      const answer = await read(source);
      const ids = ['spot', 'rebalance', 'autoscaling', 'e-1'];
      assert.deepEqual(
        ids.map((id) => noticeIn(answer, id)?.is),
        ids.map(() => 'present'),
      );
      assert.equal(answer.machine?.keys['shutdowntime']?.is, 'present');
      for (const line of ['spot off', 'rebalance off', 'asg off', 'over e-1 Canceled', 'untag shutdowntime'])
        obey(line);
      const quiet = await read(source);
      assert.deepEqual(
        ids.map((id) => noticeIn(quiet, id)?.is),
        ['absent', 'absent', 'absent', 'negative'],
      );
      assert.equal(obey('simulate terminate'), true);
      assert.equal(spot(await read(source))?.is, 'present');
    } finally {
      await running.host.close();
    }
  });
});
