import assert from 'node:assert/strict';
import test from 'node:test';
import { parseLifetime } from '../../agent/commands/lifetime-document.ts';
import { statusScreen } from '../../agent/commands/status-screen.ts';
import { changeLine } from '../../agent/commands/watch-line.ts';
import { fakeDaemon, lifetime, run } from './cli.ts';

const NOW_SECS = 1_766_430_000;
const NOW_MS = NOW_SECS * 1000;
const BUSY = { now: false, at: null, must_not_until: null, progress: null };

function parsed(canTerminate: unknown) {
  const document = parseLifetime(Buffer.from(lifetime({ can_terminate: canTerminate })));
  assert.ok(document);
  return document;
}

const screens: readonly (readonly [unknown, string])[] = [
  [null, 'unknown: no payload has lived here yet'],
  ['soon', 'unknown: no payload has lived here yet'],
  [{ ...BUSY, now: true }, 'now'],
  [{ ...BUSY, at: NOW_SECS + 1200 }, 'from 2025-12-22T19:20:00Z, in 20 min'],
  [{ ...BUSY, must_not_until: NOW_SECS + 1200 }, 'not before 2025-12-22T19:20:00Z, in 20 min; work is lost until then'],
  // One alone has said how long it needs: no promise, so that is how it is told.
  [
    { ...BUSY, at: NOW_SECS + 1200, must_not_until: NOW_SECS + 1200 },
    'not before 2025-12-22T19:20:00Z, in 20 min; work is lost until then',
  ],
  [{ ...BUSY, at: NOW_SECS + 1200, must_not_until: NOW_SECS + 600 }, 'from 2025-12-22T19:20:00Z, in 20 min'],
  [BUSY, 'not now, nobody has said how long'],
  // A daemon of an earlier version.
  [{ now: false, at: null }, 'not now, nobody has said how long'],
];
for (const [answer, text] of screens) {
  test(`status: can terminate ${text} (${JSON.stringify(answer)})`, () => {
    const line = /^ {2}can terminate +(.*)$/m.exec(statusScreen(parsed(answer), [], NOW_MS));
    assert.equal(line?.[1], text);
  });
}

test('status: how far the work is, in whole per cent, where somebody has said', () => {
  assert.match(statusScreen(parsed({ ...BUSY, progress: 0.29 }), [], NOW_MS), /^ {2}progress +29 %$/m);
  assert.match(statusScreen(parsed({ ...BUSY, progress: 0 }), [], NOW_MS), /^ {2}progress +0 %$/m);
  assert.doesNotMatch(statusScreen(parsed(BUSY), [], NOW_MS), /progress/);
});

test('watch tells a changed answer, but not progress alone', () => {
  const line = (before: unknown, now: unknown) => changeLine(parsed(before), parsed(now), NOW_MS);
  assert.equal(line({ ...BUSY, progress: 0.1 }, { ...BUSY, progress: 0.2 }), undefined);
  assert.match(line(null, BUSY) ?? '', / can_terminate not now$/);
  assert.match(line(BUSY, { ...BUSY, must_not_until: NOW_SECS }) ?? '', / not before 2025-12-22T19:00:00Z$/);
  assert.match(line(BUSY, { ...BUSY, at: NOW_SECS }) ?? '', / can_terminate at 2025-12-22T19:00:00Z$/);
  const soon = { ...BUSY, at: NOW_SECS, must_not_until: NOW_SECS };
  assert.match(line(BUSY, soon) ?? '', / not before 2025-12-22T19:00:00Z$/, 'an estimate alone is no promise');
  assert.match(line(BUSY, { ...BUSY, now: true }) ?? '', / can_terminate now$/);
});

test("get reads the machine's answer after the features, or by its directory", async () => {
  const daemon = await fakeDaemon(({ url }) =>
    url === '/jobstatus/progress' ? { status: 200, body: '0.25\n' } : { status: 404, body: '' },
  );
  try {
    assert.deepEqual(await run(['get', 'progress'], daemon.env), { code: 0, out: '0.25\n', err: '' });
    assert.deepEqual(await run(['get', 'jobstatus/progress'], daemon.env), { code: 0, out: '0.25\n', err: '' });
    assert.deepEqual(
      daemon.requests.map(({ url }) => url),
      ['/machinefeatures/progress', '/jobfeatures/progress', '/jobstatus/progress', '/jobstatus/progress'],
    );
  } finally {
    await daemon.close();
  }
});
