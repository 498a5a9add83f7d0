/** A word to the host is bounded and never rejects, whatever the source does. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import type { Clock } from '../../agent/clock.ts';
import { speak } from '../../agent/sources/driver-back.ts';
import { SourceError, type WayBack } from '../../agent/sources/source.ts';

/** Follows the mocked `Date`, so that it moves with the mocked timers. */
const clock: Clock = { now: () => ({ wall: Date.now(), mono: Date.now() }), bootMs: () => Date.now() };
const never = () => new Promise<void>(() => undefined);

function say(back: WayBack | undefined) {
  const unforeseen: unknown[] = [];
  const wanted = new AbortController();
  const stopping = new AbortController();
  const source = { timeoutMs: 1_000, ...(back && { back }) };
  const said = speak(source, (way, signal) => way.tell?.({ can_terminate: '1' }, signal), {
    clock,
    wanted: wanted.signal,
    stopping: stopping.signal,
    onUnforeseen: (error) => unforeseen.push(error),
  });
  return { said, unforeseen, wanted, stopping };
}

describe('a word to the host', () => {
  beforeEach(() => mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_000_000 }));
  afterEach(() => mock.timers.reset());

  it('taken: null', async () => assert.equal(await say({ tell: () => Promise.resolve() }).said, null));

  it('no way back, or not this one: no_channel', async () => {
    assert.equal(await say(undefined).said, 'no_channel');
    assert.equal(await say({ acknowledge: never }).said, 'no_channel');
  });

  it('the source’s own code', async () => {
    const { said, unforeseen } = say({ tell: () => Promise.reject(new SourceError('http_403', 'no')) });
    assert.equal(await said, 'http_403');
    assert.deepEqual(unforeseen, []);
  });

  for (const [row, tell] of [
    ['rejected', () => Promise.reject(new TypeError('broken'))],
    [
      'thrown at once',
      () => {
        throw new TypeError('broken');
      },
    ],
  ] as const)
    it(`what nobody foresaw, ${row}: internal, and told to the log`, async () => {
      const { said, unforeseen } = say({ tell });
      assert.equal(await said, 'internal');
      assert.match(String(unforeseen), /broken/);
    });

  it('a source that never ends ends at its bound, and its signal says so', async () => {
    let given: AbortSignal | undefined;
    const { said } = say({
      tell(_, signal) {
        given = signal;
        return never();
      },
    });
    mock.timers.tick(1_000);
    assert.equal(given?.aborted, false, 'its own bound comes first');
    mock.timers.tick(500);
    assert.equal(await said, 'timeout');
    assert.equal(given?.aborted, true);
  });

  for (const who of ['wanted', 'stopping'] as const)
    it(`ends when ${who} is aborted`, async () => {
      const all = say({ tell: never });
      all[who].abort();
      assert.equal(await all.said, 'aborted');
    });

  it('what is not wanted any more is not begun', async () => {
    let begun = 0;
    const stopped = AbortSignal.abort();
    const back: WayBack = {
      tell() {
        begun += 1;
        return Promise.resolve();
      },
    };
    const source = { timeoutMs: 1_000, back };
    const options = { clock, wanted: stopped, stopping: new AbortController().signal, onUnforeseen: () => undefined };
    assert.equal(await speak(source, (way, signal) => way.tell?.({}, signal), options), 'aborted');
    assert.equal(begun, 0);
  });

  it('what comes after the bound is nobody’s any more', async () => {
    let fail: (error: Error) => void = () => undefined;
    const { said, unforeseen } = say({
      tell: () =>
        new Promise((_, reject) => {
          fail = reject;
        }),
    });
    mock.timers.tick(1_500);
    assert.equal(await said, 'timeout');
    fail(new TypeError('late'));
    await Promise.resolve();
    assert.deepEqual(unforeseen, []);
  });
});
