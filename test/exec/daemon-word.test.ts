import assert from 'node:assert/strict';
import test from 'node:test';
import { type DaemonWord, type KnownDeadline, settles, wordOf } from '../../agent/exec/daemon-word.ts';

const json = (value: unknown) => Buffer.from(JSON.stringify(value));
const MJF: KnownDeadline = { id: 'mjf/shutdowntime', source: 'mjf' };
const OPERATOR: KnownDeadline = { id: 'operator/o-1', source: 'operator' };
const word = (changes: Partial<DaemonWord> = {}): DaemonWord => ({
  ready: true,
  sources: new Map([['mjf', 'ok']]),
  ignored: new Set(),
  said: [],
  ...changes,
});
const stateOfMjf = (state: string) => word({ sources: new Map([['mjf', state]]) });

test('a lifetime document is a word: states, what is overridden, and the deadlines that count', () => {
  const read = wordOf(
    json({
      phase: 'running',
      notices: [
        { id: 'mjf/shutdowntime', source: 'mjf', deadline: 5 },
        { id: 'ec2/spot', source: 'ec2', deadline: 5, ignored: true },
        { id: 'gce/old', source: 'gce', deadline: 5, expired: true },
        { id: 'gce/freeze', source: 'gce', deadline: null },
        'nonsense',
      ],
      sources: [{ name: 'mjf', state: 'stale' }, null],
    }),
    false,
  );
  assert.deepEqual(read, {
    ready: false,
    sources: new Map([['mjf', 'stale']]),
    ignored: new Set(['ec2/spot']),
    said: [MJF],
  });
  for (const body of [Buffer.from('{'), json([]), json({ notices: [] })]) assert.equal(wordOf(body, true), null);
  assert.deepEqual(wordOf(json({ phase: 'running' }), true)?.said, []);
});

test('a word counts from a daemon that is ready and was answered by everybody who had named a deadline', () => {
  assert.equal(settles(word(), [MJF], [MJF]), true);
  assert.equal(settles(word(), [], []), true);
  assert.equal(settles(word({ ready: false }), [], []), false);
  for (const state of ['failed', 'stale', 'absent']) {
    assert.equal(settles(stateOfMjf(state), [MJF], []), false, `what exec knows, ${state}`);
    assert.equal(settles(stateOfMjf(state), [], [MJF]), false, `what a daemon has said, ${state}`);
    assert.equal(settles(stateOfMjf(state), [], []), true, `a source that named none, ${state}`);
  }
});

test('an operator’s override counts, whatever the source does; a word of his own cannot be confirmed', () => {
  assert.equal(settles({ ...stateOfMjf('failed'), ignored: new Set([MJF.id]) }, [MJF], [MJF]), true);
  assert.equal(settles({ ...stateOfMjf('failed'), ignored: new Set(['mjf/other']) }, [MJF], []), false);
  assert.equal(settles(word(), [], [OPERATOR]), true);
});

test('a channel that only exec has goes on counting; one that the daemon no longer has does not', () => {
  const without = word({ sources: new Map() });
  assert.equal(settles(without, [MJF], []), false);
  assert.equal(settles(without, [], [MJF]), true);
});
