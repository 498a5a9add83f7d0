/** The queue engine of all reporters, on clocks that the test turns. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { type Outbox, type OutboxOptions, openOutbox } from '../../agent/report/outbox.ts';
import type { DeliveryFailure } from '../../agent/report/reporter.ts';
import { logLines } from '../support/log-lines.ts';

interface Attempt {
  readonly name: string;
  readonly text: string | null;
  readonly atMs: number;
  readonly signal: AbortSignal;
  /** The site's answer; null = taken. */
  answer(failure?: DeliveryFailure | null): Promise<void>;
}

const AWAY: DeliveryFailure = { code: 'http_503', final: false };
const REFUSED: DeliveryFailure = { code: 'http_413', final: true };

/** Everything that promises do on their own has happened. */
const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
};

interface Bed {
  readonly box: Outbox;
  /** What was sent, in order. */
  readonly attempts: Attempt[];
  readonly settled: string[];
  readonly counts: string[];
  /** Seconds that what was delivered had waited. */
  readonly delays: readonly number[];
  readonly events: () => string[];
  /** The one that waits for its answer. */
  last(): Attempt;
  pass(ms: number): Promise<void>;
}

function bed(t: TestContext, options: Partial<OutboxOptions> = {}): Bed {
  let nowMs = 1_000_000;
  t.mock.timers.enable({ apis: ['setTimeout'] });
  t.mock.method(performance, 'now', () => nowMs);
  t.mock.method(Math, 'random', () => 1);
  const attempts: Attempt[] = [];
  const settled: string[] = [];
  const counts: string[] = [];
  const delays: number[] = [];
  const { log, take } = logLines();
  const box = openOutbox({
    reporter: 'test',
    log,
    count(metric, { outcome = '' }, by = 1) {
      if (metric === 'mjf_report_delay_seconds_total') delays.push(by);
      else counts.push(outcome);
    },
    settled: (name, outcome) => void settled.push(`${name} ${outcome}`),
    deliver: (name, body, signal) =>
      new Promise((resolve) => {
        signal.addEventListener('abort', () => resolve({ code: 'timeout', final: false }), { once: true });
        attempts.push({
          name,
          text: body?.toString() ?? null,
          atMs: nowMs - 1_000_000,
          signal,
          answer(failure = null) {
            resolve(failure);
            return settle();
          },
        });
      }),
    ...options,
  });
  return {
    box,
    attempts,
    settled,
    counts,
    delays,
    events: () => take().map(({ event }) => event),
    last: () => attempts.at(-1) ?? assert.fail('nothing was sent'),
    async pass(ms) {
      for (let left = ms; left > 0; left -= 50) {
        nowMs += Math.min(50, left);
        t.mock.timers.tick(Math.min(50, left));
        await settle();
      }
    },
  };
}

const said = (attempts: readonly Attempt[]): readonly string[] => attempts.map(({ name, text }) => `${name}=${text}`);

test('what is wanted in one go is judged together: the latest content of a name goes out, once', async (t) => {
  const { box, attempts, settled, last } = bed(t);
  box.want('a', Buffer.from('1'));
  box.want('a', Buffer.from('2'));
  box.want('b', Buffer.from('3'));
  await settle();
  assert.deepEqual(said(attempts), ['a=2']);
  assert.deepEqual(box.pending(), ['a', 'b']);
  await last().answer();
  await last().answer();
  assert.deepEqual(said(attempts), ['a=2', 'b=3']);
  assert.deepEqual(settled, ['a delivered', 'b delivered']);
  assert.deepEqual(box.pending(), []);
});

test('what is delivered late says so: from the first time that it was wanted, over failures and newer content', async (t) => {
  const { box, delays, last, pass } = bed(t);
  box.want('a', Buffer.from('1'));
  await settle();
  await last().answer({ code: 'timeout', final: false });
  await pass(500);
  box.want('a', Buffer.from('2'));
  await pass(500);
  await last().answer();
  assert.deepEqual(delays, [1]);
  box.want('b', Buffer.from('3'));
  await settle();
  await last().answer();
  assert.deepEqual(delays, [1, 0]);
});

test('the same is not sent twice, but for a heartbeat', async (t) => {
  const { box, attempts, last, pass } = bed(t);
  box.want('a', Buffer.from('1'));
  await settle();
  await last().answer();
  box.want('a', Buffer.from('1'));
  await pass(60_000);
  assert.equal(attempts.length, 1);
  box.want('a', Buffer.from('1'), { always: true });
  await settle();
  assert.equal(attempts.length, 2);
});

test('the same wanted again while it is on its way, more urgently too, is one sending', async (t) => {
  const { box, attempts, settled, last, pass } = bed(t);
  box.want('a', Buffer.from('1'));
  await settle();
  box.want('a', Buffer.from('1'));
  box.want('a', Buffer.from('1'), { urgent: true });
  await last().answer();
  await pass(60_000);
  assert.equal(attempts.length, 1);
  assert.deepEqual(settled, ['a delivered']);
});

test('changes are spaced: many in a second are one sending, of the last', async (t) => {
  const { box, attempts, last, pass } = bed(t);
  box.want('a', Buffer.from('0'));
  await settle();
  await last().answer();
  for (let n = 1; n <= 10; n += 1) {
    box.want('a', Buffer.from(String(n)));
    await pass(100);
  }
  assert.equal(attempts.length, 1);
  await pass(4_000);
  assert.deepEqual(said(attempts), ['a=0', 'a=10']);
  assert.equal(last().atMs, 5_000);
});

test('back to what is there before the change has set out: nothing is sent, and it is over', async (t) => {
  const { box, attempts, settled, last, pass } = bed(t);
  box.want('a', Buffer.from('1'));
  await settle();
  await last().answer();
  box.want('a', Buffer.from('2'));
  box.want('a', Buffer.from('1'));
  assert.deepEqual(box.pending(), []);
  await pass(60_000);
  assert.equal(attempts.length, 1);
  assert.deepEqual(settled, ['a delivered', 'a delivered']);
});

test('back to what is there while the change is on its way: the old is said again, spaced', async (t) => {
  const { box, attempts, last, pass } = bed(t, { spacingMs: 1_000 });
  box.want('a', Buffer.from('1'));
  await settle();
  await last().answer();
  box.want('a', Buffer.from('2'));
  await pass(1_000);
  box.want('a', Buffer.from('1'));
  await last().answer();
  assert.deepEqual(box.pending(), ['a']);
  await pass(1_000);
  assert.deepEqual(said(attempts), ['a=1', 'a=2', 'a=1']);
});

test('overtaken on its way: the newer has its own turn, and the older settles nothing', async (t) => {
  const { box, attempts, settled, last } = bed(t, { spacingMs: 0 });
  box.want('a', Buffer.from('1'));
  await settle();
  box.want('a', Buffer.from('2'));
  await last().answer();
  assert.deepEqual(settled, []);
  assert.deepEqual(said(attempts), ['a=1', 'a=2']);
  await last().answer();
  assert.deepEqual(settled, ['a delivered']);
});

test('failures are tried again with growing pauses, up to a minute, told of once', async (t) => {
  const { box, attempts, last, pass, events, counts } = bed(t);
  box.want('a', Buffer.from('1'));
  await settle();
  for (const pauseMs of [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]) {
    const before = attempts.length;
    await last().answer(AWAY);
    await pass(pauseMs - 50);
    assert.equal(attempts.length, before, `not before ${pauseMs} ms are over`);
    await pass(50);
    assert.equal(attempts.length, before + 1);
  }
  await last().answer();
  assert.deepEqual(events(), ['report_failed', 'report_recovered']);
  assert.deepEqual(counts, [...Array(8).fill('failed'), 'delivered']);
});

test('the pauses are jittered by half', async (t) => {
  const { box, attempts, last, pass } = bed(t);
  t.mock.method(Math, 'random', () => 0);
  box.want('a', Buffer.from('1'));
  await settle();
  await last().answer(AWAY);
  await pass(500);
  assert.equal(attempts.length, 2);
});

test('a site that is away is not asked more often because there is more to say', async (t) => {
  const { box, attempts, last, pass, events } = bed(t);
  box.want('a', Buffer.from('0'));
  await settle();
  for (let n = 1; n <= 3; n += 1) {
    await last().answer(AWAY);
    box.want('a', Buffer.from(String(n)));
    await pass(1_000 * 2 ** (n - 1) - 50);
    assert.equal(attempts.length, n);
    await pass(50);
    assert.equal(last().text, String(n));
  }
  // Also where each is overtaken before its failure is known.
  box.want('a', Buffer.from('4'));
  await last().answer(AWAY);
  assert.equal(attempts.length, 4);
  await pass(8_000);
  assert.equal(last().text, '4');
  assert.deepEqual(events(), ['report_failed']);
});

test('nor because there are more things to say; one that it refuses holds up no other', async (t) => {
  const { box, attempts, last, pass } = bed(t);
  for (let n = 0; n < 20; n += 1) box.want(`file${n}`, Buffer.from('x'), { always: true });
  await settle();
  for (let passedMs = 0; passedMs < 63_000; passedMs += 50) {
    if (attempts.length > 0) await last().answer(AWAY);
    await pass(50);
  }
  assert.deepEqual(attempts.length, 7, 'at 0, 1, 3, 7, 15, 31 and 63 s');
  assert.equal(new Set(attempts.map(({ name }) => name)).size, 7, 'each has its turn');
  // Back: all of them at once, but for the one that is refused.
  await last().answer({ code: 'http_403', final: false });
  await pass(60_000);
  for (let n = 0; n < 19; n += 1) await last().answer();
  assert.equal(attempts.length, 7 + 19 + 1);
});

test('a heartbeat is tried again within its own interval', async (t) => {
  const { box, attempts, last, pass } = bed(t);
  const beat = (): void => box.want('beat', Buffer.from('x'), { always: true, pauseMostMs: 5_000 });
  beat();
  await settle();
  for (const pauseMs of [1_000, 2_000, 4_000, 5_000, 5_000]) {
    const before = attempts.length;
    await last().answer(AWAY);
    await pass(pauseMs - 50);
    beat();
    assert.equal(attempts.length, before);
    await pass(50);
    assert.equal(attempts.length, before + 1);
  }
});

test('the urgent goes first, without spacing and with short pauses', async (t) => {
  const { box, attempts, last, pass } = bed(t);
  box.want('a', Buffer.from('1'));
  box.want('word', Buffer.from('0'), { urgent: true });
  await settle();
  await last().answer();
  await last().answer();
  assert.deepEqual(said(attempts), ['word=0', 'a=1']);
  box.want('word', Buffer.from('1'), { urgent: true });
  await settle();
  assert.equal(last().text, '1');
  for (const pauseMs of [1_000, 2_000, 2_000, 2_000]) {
    const before = attempts.length;
    await last().answer(AWAY);
    await pass(pauseMs - 50);
    assert.equal(attempts.length, before);
    await pass(50);
    assert.equal(attempts.length, before + 1);
  }
  // What becomes urgent does not wait for the pause that it was given when it was not.
  await last().answer();
  box.want('a', Buffer.from('2'), { always: true });
  await settle();
  await last().answer(AWAY);
  box.want('a', Buffer.from('2'), { urgent: true });
  await settle();
  assert.deepEqual(said(attempts).slice(-2), ['a=2', 'a=2']);
});

test('a heartbeat goes before what can wait', async (t) => {
  const { box, last } = bed(t);
  box.want('a', Buffer.from('1'));
  box.want('b', Buffer.from('1'));
  await settle();
  box.want('beat', Buffer.from('x'), { always: true });
  await last().answer();
  assert.equal(last().name, 'beat');
});

test('what hangs gives way to what the machine waits for, and has another turn', async (t) => {
  const { box, attempts, last, pass, counts, events } = bed(t);
  box.want('a', Buffer.from('1'));
  await settle();
  box.want('word', Buffer.from('100'), { urgent: true });
  await pass(450);
  assert.deepEqual(said(attempts), ['a=1']);
  await pass(50);
  assert.deepEqual(said(attempts), ['a=1', 'word=100']);
  // Away: while it pauses the other may try, and no longer than until its time has come again.
  await last().answer(AWAY);
  assert.equal(last().name, 'a');
  await pass(1_500);
  assert.equal(last().name, 'word');
  await last().answer();
  assert.equal(last().name, 'a');
  await last().answer();
  assert.deepEqual(counts, ['failed', 'delivered', 'delivered']);
  assert.deepEqual(events(), ['report_failed', 'report_recovered']);
});

test('that there is no such way is no refusal: nothing is told or counted', async (t) => {
  const { box, settled, last, events, counts } = bed(t);
  box.want('a', Buffer.from('1'));
  await settle();
  await last().answer({ code: 'no_channel', final: true });
  assert.deepEqual([box.pending(), settled, events(), counts], [[], ['a refused'], [], []]);
});

test('what is sent whatever was sent last is not remembered: there may be any number of names', async (t) => {
  const { box, attempts, last } = bed(t);
  box.want('a', Buffer.from('1'), { always: true });
  await settle();
  await last().answer();
  const sent = attempts.length;
  box.want('a', Buffer.from('1'));
  await settle();
  assert.equal(attempts.length, sent + 1);
});

test('what is refused for good is dropped with a line, newer content of the name is not', async (t) => {
  const { box, attempts, settled, last, events, counts } = bed(t);
  box.want('a', Buffer.from('1'));
  await settle();
  await last().answer(REFUSED);
  assert.deepEqual(box.pending(), []);
  assert.deepEqual(settled, ['a refused']);
  assert.deepEqual(events(), ['report_refused']);
  assert.deepEqual(counts, ['refused']);
  box.want('a', Buffer.from('2'));
  await settle();
  box.want('a', Buffer.from('3'));
  await last().answer(REFUSED);
  assert.equal(last().text, '3');
  assert.equal(attempts.length, 3);
});

test('what is dropped is not tried again, but may have arrived', async (t) => {
  const { box, attempts, last, pass, settled } = bed(t);
  box.want('a', Buffer.from('1'));
  await settle();
  await last().answer();
  box.want('a', Buffer.from('2'), { urgent: true });
  await settle();
  box.drop('a');
  // Nobody knows which of the two will stand there.
  box.want('a', Buffer.from('1'), { urgent: true });
  await last().answer();
  assert.deepEqual(said(attempts), ['a=1', 'a=2', 'a=1']);
  await last().answer(AWAY);
  box.drop('a');
  await pass(60_000);
  assert.equal(attempts.length, 3);
  assert.deepEqual(settled, ['a delivered']);
});

test('taken away is a content like others', async (t) => {
  const { box, attempts, last } = bed(t, { spacingMs: 0 });
  box.want('a', Buffer.from(''));
  await settle();
  await last().answer();
  box.want('a', null);
  await settle();
  assert.deepEqual(said(attempts), ['a=', 'a=null']);
});

test('at another place everything is new, what is on its way too', async (t) => {
  const { box, attempts, last, pass } = bed(t);
  box.want('a', Buffer.from('1'));
  await settle();
  await last().answer();
  box.want('b', Buffer.from('1'));
  await settle();
  box.moved();
  await settle();
  assert.deepEqual(said(attempts), ['a=1', 'b=1', 'b=1']);
  assert.ok(attempts[1]?.signal.aborted);
  await last().answer(AWAY);
  box.moved();
  await settle();
  assert.equal(attempts.length, 4);
  await last().answer();
  box.want('a', Buffer.from('1'));
  await pass(50);
  assert.deepEqual(said(attempts).at(-1), 'a=1');
});

test('whoever wants something the moment the last is settled is served', async (t) => {
  // Some promises later: when the line is just about to rest.
  for (let turns = 0; turns < 8; turns += 1) {
    await t.test(`${turns} turns later`, async (each) => {
      const { box, attempts, last } = bed(each, {
        async settled(name) {
          for (let turn = 0; turn < turns; turn += 1) await null;
          if (name === 'first') box.want('second', Buffer.from('x'));
        },
      });
      box.want('first', Buffer.from('x'));
      await settle();
      await last().answer();
      assert.equal(attempts.length, 2);
    });
  }
});

test('a delivery that throws is a failure like any other', async (t) => {
  const { box, pass, counts } = bed(t, { deliver: async () => Promise.reject(new Error('unforeseen')) });
  box.want('a', Buffer.from('1'));
  await pass(50);
  assert.deepEqual(counts, ['failed']);
  assert.deepEqual(box.pending(), ['a']);
});

test('closing sends what waits, without its pauses and spacing, and gives each its turn', async (t) => {
  const { box, attempts, last, pass } = bed(t);
  box.want('a', Buffer.from('1'));
  await settle();
  await last().answer();
  box.want('word', Buffer.from('1'), { urgent: true });
  await settle();
  await last().answer(AWAY);
  box.want('a', Buffer.from('2'));
  const closed = box.close(1_500);
  await settle();
  assert.equal(last().name, 'word');
  await last().answer(AWAY);
  assert.equal(last().name, 'a', 'also while the urgent one fails');
  await last().answer();
  await pass(100);
  assert.equal(last().name, 'word');
  await last().answer();
  assert.deepEqual(await closed, []);
  assert.equal(attempts.length, 5);
  box.want('late', Buffer.from('x'));
  assert.deepEqual(box.pending(), [], 'what comes afterwards is nobody’s');
});

test('what is on its way when closing begins is not sent twice', async (t) => {
  const { box, attempts, last } = bed(t);
  box.want('a', Buffer.from('1'), { always: true });
  await settle();
  const closed = box.close(1_500);
  await last().answer();
  assert.deepEqual(await closed, []);
  assert.equal(attempts.length, 1);
});

test('closing ends within its bound, whether the delivery heeds the signal or not, and tells what is left', async (t) => {
  for (const deliver of [undefined, () => new Promise<null>(() => {})]) {
    await t.test(deliver === undefined ? 'heeds it' : 'does not', async (each) => {
      const { box, pass } = bed(each, deliver === undefined ? {} : { deliver });
      box.want('a', Buffer.from('1'));
      box.want('b', Buffer.from('1'));
      await settle();
      let left: readonly string[] | undefined;
      const closed = box.close(1_500).then((names) => {
        left = names;
      });
      await pass(1_450);
      assert.equal(left, undefined);
      await pass(50);
      await closed;
      assert.deepEqual(left, ['a', 'b']);
      box.want('late', Buffer.from('x'));
      assert.deepEqual(box.pending(), ['a', 'b']);
    });
  }
});

test('closing with nothing to say is over at once', async (t) => {
  const { box } = bed(t);
  assert.deepEqual(await box.close(1_500), []);
});
