/** Processes, units and control groups as payloads: who is who, who gets what, and how long before the deadline. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { PayloadSpec, PayloadTarget } from '../../agent/lifetime/types.ts';
import { viewOf } from '../../agent/lifetime/view.ts';
import { answer, cgroup, type History, HOUR, history, MINUTE, payload, SECOND, START, secs, unit } from './history.ts';

const DEADLINE = START + 2 * HOUR;
const shutdown = (h: History, deadlineMs: number) =>
  h.says('directory', { machine: { total_cpu: '8', shutdowntime: secs(deadlineMs) } });

function whole(spec: PayloadSpec, policy = {}) {
  const h = history({ policy });
  h.register(spec);
  shutdown(h, DEADLINE);
  h.until(DEADLINE + 5 * MINUTE);
  return h;
}

describe('one thing to stop, one payload', () => {
  const process = (pid: number, startTicks: number): PayloadTarget => ({
    kind: 'process',
    leader: { pid, startTicks },
    group: false,
  });
  const ofUnit = (name: string, path = '/a'): PayloadTarget => ({ kind: 'unit', unit: name, cgroup: path });
  const ofCgroup = (path: string, inode: number): PayloadTarget => ({ kind: 'cgroup', path, inode });
  const CASES: readonly [string, PayloadTarget, PayloadTarget, boolean][] = [
    ['a process', process(5, 5), { kind: 'process', leader: { pid: 5, startTicks: 5 }, group: true }, true],
    ['its pid given away again', process(5, 5), process(5, 6), false],
    ['a unit, whatever its control group', ofUnit('a.service'), ofUnit('a.service', '/b'), true],
    ['another unit in the same place', ofUnit('a.service'), ofUnit('b.service'), false],
    ['a control group', ofCgroup('/a', 7), ofCgroup('/a', 7), true],
    ['one made later under its path', ofCgroup('/a', 7), ofCgroup('/a', 8), false],
    ['another path', ofCgroup('/a', 7), ofCgroup('/b', 7), false],
    ['a unit and its control group', ofUnit('a.service', '/a'), ofCgroup('/a', 7), false],
  ];
  for (const [what, first, second, isSame] of CASES) {
    test(`S3.6 ${what}: ${isSame ? 'the same, no step repeats' : 'another one, with steps of its own'}`, () => {
      const h = history();
      h.register(payload('p', { target: first }));
      shutdown(h, START + MINUTE);
      h.pass(10 * SECOND);
      h.register(payload('q', { target: second }));
      assert.equal(h.result().payloads.length, isSame ? 1 : 2);
      assert.equal(h.row('q').spec.target, second);
      assert.equal(h.sentTo('q'), isSame ? '' : 'SIGTERM@10');
      h.pass(MINUTE);
      assert.equal(h.sentTo('q'), isSame ? 'SIGKILL@55' : 'SIGTERM@10 SIGKILL@55');
    });
  }
});

describe('S3.4 receivers', () => {
  for (const spec of [unit('u'), cgroup('c')])
    test(`S3.4 of a ${spec.target.kind}: all, with every step`, () => {
      assert.deepEqual(
        whole(spec).sent.map(({ signal, to }) => `${signal} ${to}`),
        ['SIGTERM all', 'SIGKILL all'],
      );
    });
  test('S3.4 steps that say it are taken at their word', () => {
    const h = whole(unit('u', { steps: [{ at: 'grace', signal: 'SIGTERM', to: 'leader' }] }));
    assert.deepEqual(
      h.sent.map(({ to }) => to),
      ['leader'],
    );
  });
});

describe('S3.3 the lead of a unit', () => {
  const lead = (h: History) => (h.sent[0]?.at.wall ?? 0) - DEADLINE;
  test('S3.3 its own stop timeout where that is longer than `[stop] grace`', () => {
    assert.equal(lead(whole(unit('u', {}, 10 * MINUTE))), -10 * MINUTE);
    assert.equal(lead(whole(unit('u', {}, MINUTE))), -2 * MINUTE);
    assert.equal(lead(whole(unit('u'))), -2 * MINUTE);
  });
  test('S3.3 but what it states itself counts before that, be it shorter', () => {
    assert.equal(lead(whole(unit('u', { graceMs: 30 * SECOND }, 10 * MINUTE))), -30 * SECOND);
  });
  test('S3.4 a window that is shorter than its timeout is all that there is', () => {
    const h = history();
    h.register(unit('u', {}, HOUR));
    shutdown(h, START + 10 * MINUTE);
    h.pass(HOUR);
    assert.equal(h.sentTo('u', START + 10 * MINUTE), 'SIGTERM@-600 SIGKILL@-5');
  });
  test('S3.1 the machine’s phase knows nothing of it', () => {
    const h = history();
    h.register(unit('u', {}, HOUR));
    shutdown(h, DEADLINE);
    h.until(DEADLINE - 50 * MINUTE);
    assert.deepEqual([h.phase(), h.row('u').state], ['running', 'stopping']);
  });
});

describe('S3.3 a payload’s own wall limit', () => {
  const limited = (secsOf: string, more: Partial<PayloadSpec> = {}) =>
    payload('p', { limits: { wall_limit_secs: secsOf }, ...more });
  test('S3.3 is a deadline from its registration on, enforced like any other', () => {
    const h = history();
    h.pass(10 * MINUTE);
    h.register(limited('3600', { registeredMs: h.now().wall }));
    assert.equal(h.row('p').deadlineMs, START + 70 * MINUTE);
    h.pass(2 * HOUR);
    assert.equal(h.sentTo('p', START + 70 * MINUTE), 'SIGTERM@-120 SIGKILL@-5');
    assert.equal(h.snapshot().deadlineMs, null);
  });
  test('S3.3 the earlier of it and the stated deadline counts, and never one later than the machine’s', () => {
    const deadline = (spec: PayloadSpec) => {
      const h = history();
      h.register(spec);
      shutdown(h, DEADLINE);
      return (h.row('p').deadlineMs ?? 0) - START;
    };
    assert.equal(deadline(limited('3600', { deadlineMs: START + 2 * MINUTE })), 2 * MINUTE);
    assert.equal(deadline(limited('60', { deadlineMs: START + 2 * MINUTE })), MINUTE);
    assert.equal(deadline(limited('36000')), 2 * HOUR);
  });
  test('S3.6 raised by its owner it is postponed', () => {
    const h = history();
    h.register(limited('60'));
    h.send({ type: 'payload_updated', id: 'p', change: { limits: { wall_limit_secs: '7200' } } });
    assert.deepEqual(
      h.logs('episode_ended').map(({ fields }) => fields['by']),
      ['postponed'],
    );
    h.until(DEADLINE);
    assert.equal(h.sentTo('p', DEADLINE), 'SIGTERM@-7200 SIGTERM@-120 SIGKILL@-5');
  });
  for (const text of ['', '0', '-5', 'soon', 'NaN', 'Infinity'])
    test(`a limit that is no number of seconds ("${text}") is none`, () => {
      const h = history();
      h.register(limited(text));
      assert.equal(h.row('p').deadlineMs, null);
    });
  test('S4.2 it counts from its registration also when the clock is set', () => {
    for (const byMs of [5 * HOUR, -HOUR]) {
      const h = history();
      h.register(limited('3600'));
      h.pass(MINUTE);
      h.stepClock(byMs);
      assert.equal(h.sent.length, 0);
      h.pass(59 * MINUTE);
      assert.deepEqual(
        h.sent.map(({ signal, at }) => [signal, at.mono - 2 * HOUR]),
        [
          ['SIGTERM', 58 * MINUTE],
          ['SIGKILL', HOUR - 5 * SECOND],
        ],
      );
    }
  });
  test('its view shows it, as its own end', () => {
    const h = history();
    const view = () => viewOf(h.snapshot(), h.row('p'));
    h.register(limited('3600'));
    assert.deepEqual(
      [view()['shutdowntime_job'], view()['jobstart_secs'], view()['wall_limit_secs']],
      [secs(START + HOUR), secs(START), '3600'],
    );
    shutdown(h, START + 30 * MINUTE);
    assert.equal(view()['shutdowntime_job'], secs(START + 30 * MINUTE), 'never later than the machine’s');
    shutdown(h, DEADLINE);
    assert.equal(view()['shutdowntime_job'], secs(START + HOUR));
  });
  test('nor later than the machine’s where that is not published yet', () => {
    const h = history({ policy: { shutdownKeys: 'draining' } });
    h.register(payload('p', { deadlineMs: DEADLINE + HOUR }));
    h.register(payload('q'));
    shutdown(h, DEADLINE);
    assert.equal(viewOf(h.snapshot(), h.row('p'))['shutdowntime_job'], secs(DEADLINE));
    assert.equal(viewOf(h.snapshot(), h.row('q'))['shutdowntime_job'], undefined);
  });
});

describe('S3.8 a reservation: exec has a row, but no child yet', () => {
  const SELF = { pid: 77, startTicks: 7 };
  const CHILD: PayloadTarget = { kind: 'process', leader: { pid: 78, startTicks: 8 }, group: true };
  const reserved = (more: Partial<PayloadSpec> = {}) =>
    payload('p', { deliverer: SELF, target: { kind: 'process', leader: SELF, group: true }, ...more });
  const HOOKED = [
    { at: HOUR, signal: 'hook:save' },
    { at: 'grace', signal: 'SIGTERM' },
  ] as const;

  test('S3.8 nothing is done to it, whatever its steps', () => {
    const h = history();
    h.register(reserved({ steps: HOOKED }));
    shutdown(h, DEADLINE);
    h.until(DEADLINE + HOUR);
    assert.deepEqual([h.sent, h.row('p').state], [[], 'running']);
  });
  test('S3.8 it becomes a payload with its child, and gets what was due', () => {
    const h = history();
    h.register(reserved({ steps: HOOKED }));
    shutdown(h, START + 30 * MINUTE);
    h.send({ type: 'payload_updated', id: 'p', change: { target: CHILD } });
    assert.equal(h.sentTo('p'), 'hook:save@0');
    assert.equal(h.row('p').spec.target, CHILD);
    h.gone('p');
    assert.deepEqual(h.snapshot().canTerminate, answer(true, null));
  });
  test('S5.2 its owner’s word that a process has run, which nobody could name in time, counts', () => {
    const h = history();
    h.register(reserved());
    h.send({ type: 'payload_gone', id: 'p', why: 'exited', lived: true });
    assert.deepEqual(h.snapshot().payloads, { running: 0, stopping: 0, stopped: 1 });
    assert.deepEqual(h.snapshot().canTerminate, answer(true, null));
  });
  test('S5.2 gone before that it has not lived', () => {
    for (const why of ['exited', 'deregistered'] as const) {
      const h = history();
      h.register(reserved());
      assert.equal(h.snapshot().payloads.running, 1);
      h.gone('p', why);
      assert.deepEqual(h.snapshot().payloads, { running: 0, stopping: 0, stopped: 0 });
      assert.equal(h.snapshot().canTerminate, null);
    }
  });
  test('S3.8 an exec that is itself the child of another: both rows stand, and the payload keeps its steps', () => {
    const h = history();
    h.register(payload('outer', { target: { kind: 'process', leader: SELF, group: true } }));
    shutdown(h, START + MINUTE);
    h.register(reserved());
    assert.deepEqual(
      h.result().payloads.map(({ spec: { id } }) => id),
      ['outer', 'p'],
    );
    h.pass(MINUTE);
    assert.equal(h.sentTo('outer', START + MINUTE), 'SIGTERM@-60 SIGKILL@-5');
    assert.equal(h.sentTo('p'), '');
  });
  test('S3.6 its child was registered by somebody else meanwhile: one payload, and no step repeats', () => {
    const h = history();
    h.register(reserved());
    h.register(payload('q', { target: CHILD }));
    shutdown(h, START + MINUTE);
    h.send({ type: 'payload_updated', id: 'p', change: { target: CHILD } });
    h.send({ type: 'deliverer_gone', id: 'p' });
    h.pass(MINUTE);
    assert.deepEqual(
      h.sent.map(({ id, signal }) => [id, signal]),
      [
        ['q', 'SIGTERM'],
        ['p', 'SIGKILL'],
      ],
    );
    assert.equal(h.result().payloads.length, 1);
  });
});
