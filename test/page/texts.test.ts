import assert from 'node:assert/strict';
import test from 'node:test';
import { agentTimeMs, hostShiftSecs, narrowed } from '../../agent/publish/page/clock.ts';
import { linkState, SILENT_MS } from '../../agent/publish/page/link.ts';
import {
  countdownText,
  distance,
  doubtText,
  instant,
  isoInstant,
  meaning,
  shown,
  tabText,
} from '../../agent/publish/page/texts.ts';

/** 23 Dec 2025, 05:46:40 in Zürich. */
const NOW_MS = 1_766_465_200_000;
const NOW = NOW_MS / 1000;
const ZONE = 'Europe/Zurich';

test('the countdown is rounded down, has at most three parts and ends at 0', () => {
  const texts = [-5_000, 0, 999, 59_999, 61_000, 3_600_000, 86_399_000, 86_400_000, 200_000_000].map(countdownText);
  assert.deepEqual(texts, [
    '0 s',
    '0 s',
    '0 s',
    '59 s',
    '1 min 1 s',
    '1 h 0 min 0 s',
    '23 h 59 min 59 s',
    '1 d 0 h 0 min',
    '2 d 7 h 33 min',
  ]);
});

test('a tab names whole minutes, no zeros, and the seconds only at the end', () => {
  const texts = [0, 119_000, 120_000, 3_600_000, 5_399_000, 86_400_000, 183_600_000].map(tabText);
  assert.deepEqual(texts, ['0 s', '1 min 59 s', '2 min', '1 h', '1 h 30 min', '1 d', '2 d 3 h']);
});

test('the sources without an answer are named, three of them, and those of other platforms are no loss', () => {
  const source = (name: string, state: string) => ({ name, state });
  assert.equal(doubtText([source('directory', 'ok'), source('logind', 'absent')]), null);
  assert.equal(
    doubtText([
      source('directory', 'stale'),
      source('ec2\u001b', 'failed'),
      source('self', 'ok'),
      source('x', 'absent'),
    ]),
    '2 of 3 sources without an answer: directory stale, ec2\\u001b failed',
  );
  const many = Array.from({ length: 60 }, (_, index) => source(`s-${index}`, 'failed'));
  assert.match(doubtText(many) ?? '', /^60 of 60 sources .*s-2 failed and 57 more$/);
});

test('an instant of today is a time, any other has its day, and its year where that is another', () => {
  assert.equal(instant(NOW + 60, NOW_MS, ZONE), '05:47:40');
  assert.equal(instant(NOW + 86_400, NOW_MS, ZONE), '24 Dec 05:46:40');
  assert.equal(instant(NOW + 20 * 86_400, NOW_MS, ZONE), '12 Jan 2026 05:46:40');
  // Midnight lies elsewhere in another zone.
  assert.equal(instant(NOW - 5 * 3600, NOW_MS, 'UTC'), '22 Dec 23:46:40');
  assert.equal(instant(NOW - 5 * 3600, NOW_MS, ZONE), '00:46:40');
  assert.equal(instant(9e15, NOW_MS, ZONE), '9000000000000000');
  assert.equal(isoInstant(NOW), '2025-12-23T04:46:40Z');
});

test('distances look both ways', () => {
  const texts = [90, 0.2, -0.2, -7200].map((secs) => distance(NOW + secs, NOW_MS));
  assert.deepEqual(texts, ['in 1 min 30 s', 'now', 'now', '2 h ago']);
});

test('text from outside is cut and its control characters are spelled out', () => {
  assert.equal(shown('<b>\u202efdp\n'), '<b>\\u202efdp\\u000a');
  assert.equal(shown('x'.repeat(5), 3), 'xxx… (5 characters)');
});

test('known numbers are explained, everything else is left as it is', () => {
  const explained = (key: string, value: string) => meaning(key, value, NOW_MS, ZONE);
  assert.equal(explained('shutdowntime', String(NOW + 3600)), '06:46:40, in 1 h');
  assert.equal(explained('max_rss_bytes', '17179869184'), '16 GiB');
  assert.equal(explained('wall_limit_secs', '86400'), '1 d');
  for (const [key, value] of [
    ['hs06', '171.04'],
    ['total_cpu', '8'],
    ['wall_limit_secs', 'forever'],
    ['shutdowntime', '12'],
  ] as const)
    assert.equal(explained(key, value), null, key);
});

test('the agent’s clock: answers narrow it down, however wrong the browser’s own is', () => {
  // 100 s ahead, and half a second into its second; the request takes 40 ms.
  const browser = 5_000_000;
  const first = narrowed(null, browser, browser + 40, browser + 100_500 - 480);
  assert.ok(first.lowMs <= 100_500 && first.highMs >= 100_500);
  const second = narrowed(
    first,
    browser + 5_000,
    browser + 5_010,
    Math.floor((browser + 5_005 + 100_500) / 1000) * 1000,
  );
  assert.ok(second.highMs - second.lowMs < first.highMs - first.lowMs);
  assert.ok(second.lowMs <= 100_500 && second.highMs >= 100_500);
  assert.ok(Math.abs(agentTimeMs(second, browser) - browser - 100_500) < 520);
});

test('the agent’s clock: an answer that contradicts begins anew', () => {
  const known = { lowMs: 0, highMs: 500 };
  assert.deepEqual(narrowed(known, 1_000_000, 1_000_000, 1_060_000), { lowMs: 60_000, highMs: 61_000 });
});

test('S4.3: a host whose clock differs has its deadline shifted, by what the agent says is left', () => {
  assert.equal(hostShiftSecs(NOW + 160, 100, NOW_MS), 60);
  assert.equal(hostShiftSecs(NOW + 40, 100, NOW_MS), -60);
  assert.equal(hostShiftSecs(NOW + 101, 100, NOW_MS), 0, 'rounding is no difference');
  assert.equal(hostShiftSecs(NOW - 500, 0, NOW_MS), 0, 'overdue: 0 says nothing');
});

test('what is shown is true only while the agent answers', () => {
  const at = 1_000_000;
  assert.equal(linkState({ heardMs: null, failed: false }, at), 'connecting');
  assert.equal(linkState({ heardMs: null, failed: true }, at), 'lost');
  assert.equal(linkState({ heardMs: at, failed: false }, at + SILENT_MS), 'live');
  assert.equal(linkState({ heardMs: at, failed: false }, at + SILENT_MS + 1), 'lost', 'a tunnel that says nothing');
  assert.equal(linkState({ heardMs: at, failed: true }, at + 1), 'lost');
  assert.equal(linkState({ heardMs: at, failed: false }, at - SILENT_MS - 1), 'lost', 'a clock that was set back');
});
