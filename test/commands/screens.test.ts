import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type PayloadRow, parsePayloads } from '../../agent/commands/own-payloads.ts';
import { statusScreen } from '../../agent/commands/status-screen.ts';
import { watchFrame } from '../../agent/commands/watch-frame.ts';
import { widthOf } from '../../agent/terminal/width.ts';
import { golden } from './golden.ts';
import { BUSY, document, look, NOW_MS, NOW_SECS, ROWS } from './screens.ts';

// biome-ignore lint/suspicious/noControlCharactersInRegex: what must not be there
const HIDDEN = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e]/;
const linesOf = (screen: string): readonly string[] => screen.split('\n').slice(0, -1);
const widest = (lines: readonly string[]): number => Math.max(...lines.map(widthOf));

describe('status', () => {
  for (const columns of [40, 80, 120]) {
    test(`in ${columns} columns: as wide and not wider, nothing hidden in it`, () => {
      const screen = statusScreen(document(BUSY), ROWS, NOW_MS, look(columns));
      assert.ok(widest(linesOf(screen)) <= columns);
      assert.doesNotMatch(screen, HIDDEN);
      golden(`status-${columns}`, screen);
    });
  }

  test('in every width from 20 on no line is wider than the terminal', () => {
    for (let columns = 20; columns <= 200; columns += 1) {
      const lines = linesOf(statusScreen(document(BUSY), ROWS, NOW_MS, look(columns)));
      assert.ok(widest(lines) <= columns, `${widest(lines)} in ${columns}`);
    }
  });

  test('in a pipe: nothing is shortened, left out or coloured, and it is ASCII but for what came from outside', () => {
    const screen = statusScreen(document(BUSY), ROWS, NOW_MS);
    assert.match(screen, /als in eine Spalte paßt {2}/);
    assert.match(screen, /see the calendar of the site$/m);
    assert.doesNotMatch(screen, HIDDEN);
    golden('status-pipe', screen);
  });

  test('in colour it says the same words', () => {
    const coloured = statusScreen(document(BUSY), ROWS, NOW_MS, look(80, { colour: true }));
    assert.ok(coloured.includes('\u001b[33mdraining: take no new work\u001b[0m'));
    // biome-ignore lint/suspicious/noControlCharactersInRegex: what is looked for
    const plain = coloured.replace(/\u001b\[[\d;]*m/g, '');
    assert.equal(plain, statusScreen(document(BUSY), ROWS, NOW_MS, look(80)));
  });

  test('no deadline; overdue; a daemon that does not say since when it knows', () => {
    golden('status-quiet', statusScreen(document(), [], NOW_MS, look(80)));
    const late = { ...BUSY, phase: 'stopped', overdue: true, deadline: NOW_SECS - 300, stop_at: NOW_SECS - 420 };
    const notices = [{ ...BUSY.notices[0], deadline: NOW_SECS - 300 }];
    golden('status-overdue', statusScreen(document({ ...late, notices }), [], NOW_MS, look(80)));
    const { first_seen: _, ...unseen } = BUSY.notices[0];
    assert.doesNotMatch(statusScreen(document({ ...BUSY, notices: [unseen] }), [], NOW_MS, look(80)), /% gone/);
  });

  test('1,000 payloads and 200 keys: a terminal gets the beginning and the number of the others, a pipe all', () => {
    const keys = Array.from({ length: 200 }, (_, index) => [
      `key_${String(index).padStart(3, '0')}`,
      BUSY.machinefeatures.hs06,
    ]);
    const payloads = Array.from({ length: 1_000 }, (_, index) => ({
      id: `p-${index}`,
      name: 'pilot',
      state: index === 999 ? 'stopping' : 'running',
    }));
    const rows: readonly PayloadRow[] = parsePayloads(Buffer.from(JSON.stringify(payloads)));
    const many = document({
      ...BUSY,
      machinefeatures: Object.fromEntries(keys),
      payloads: { running: 999, stopping: 1, stopped: 0 },
    });
    const screen = statusScreen(many, rows, NOW_MS, look(80));
    golden('status-many', screen);
    assert.match(screen, /and 990 more/);
    assert.match(screen, /and 160 more/);
    assert.match(screen, /^ {2}p-999 /m);
    const all = linesOf(statusScreen(many, rows, NOW_MS));
    assert.ok(all.length > 1_200);
    assert.ok(all.some((line) => line.includes('key_199')) && all.some((line) => line.includes('p-998')));
  });
});

describe('watch on a terminal', () => {
  const CHANGES = [
    'phase running; no deadline',
    'notice \u001b[2J',
    'phase draining (was running)',
    'x'.repeat(300),
  ].map((text) => `2025-12-22T18:59:00Z ${text}`);
  const state = { lifetime: document(BUSY), payloads: ROWS, changes: CHANGES, lostSinceMs: null };

  test('a frame has the height and the width of the terminal at the most, whatever they are', () => {
    for (const columns of [20, 40, 80, 120]) {
      for (const rows of [1, 5, 10, 24, 60]) {
        const frame = watchFrame({ ...state, lostSinceMs: NOW_MS - 5_000 }, NOW_MS, look(columns), rows);
        assert.ok(
          frame.length <= rows && widest(frame) <= columns,
          `${frame.length} × ${widest(frame)} in ${rows} × ${columns}`,
        );
        assert.doesNotMatch(frame.join(''), HIDDEN);
      }
    }
  });

  for (const columns of [40, 80, 120]) {
    test(`in ${columns} columns and 30 lines`, () => {
      golden(`watch-${columns}`, `${watchFrame(state, NOW_MS, look(columns), 30).join('\n')}\n`);
    });
  }

  test('the seconds go on, and the changes are at the bottom', () => {
    const at = (ms: number): string => watchFrame(state, ms, look(80), 40).join('\n');
    assert.match(at(NOW_MS), /^remaining {2}1:23:00$/m);
    assert.match(at(NOW_MS + 1_000), /^remaining {2}1:22:59$/m);
    assert.match(at(NOW_MS), /^Changes\n.*\n.*\n.*\n.*x…$/m);
  });

  test('a lost connection is said plainly, and the clock beside it is called old', () => {
    const frame = watchFrame({ ...state, lostSinceMs: NOW_MS - 65_000 }, NOW_MS, look(80), 40).join('\n');
    assert.match(frame, /CONNECTION LOST 0:01:05 ago/);
    assert.match(frame, /^remaining {2}1:23:00 \(old\)$/m);
  });
});
