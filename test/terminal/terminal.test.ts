import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { escapeLine, escapeLines } from '../../agent/escape.ts';
import { timeBar } from '../../agent/terminal/bar.ts';
import { facts, grid } from '../../agent/terminal/grid.ts';
import { canDraw, type Look, lookOf, PLAIN_LOOK, sizeOf } from '../../agent/terminal/look.ts';
import { cut, cutInside, widthOf, wrapped } from '../../agent/terminal/width.ts';

const LOOK: Look = { columns: 40, colour: false, unicode: true };

describe('escape', () => {
  for (const [name, text, shown] of [
    ['a line feed and an escape sequence', 'a\n\u001b[2J', 'a\\u000a\\u001b[2J'],
    ['every mark of direction', '\u061c\u200e\u202e\u2066', '\\u061c\\u200e\\u202e\\u2066'],
    ['what nobody sees', 'e\u200bc\u00ad2\ufeff\u2060', 'e\\u200bc\\u00ad2\\ufeff\\u2060'],
    ['a text hidden in tags', 'x\u{e0041}', 'x\\udb40\\udc41'],
    ['marks heaped on a letter', `a${'\u0301'.repeat(10)}b`, `a${'\u0301'.repeat(8)}\\u0301\\u0301b`],
  ] as const)
    test(`${name}: spelled out`, () => {
      assert.equal(escapeLine(text), shown);
      assert.equal(JSON.parse(escapeLine(JSON.stringify({ text }))).text, text, 'JSON means the same');
    });

  test('what languages and pictures are written with stays', () => {
    for (const text of ['Zu\u0308rich', 'می\u200cخواهم', '👩‍👩‍👧', '🇨🇭', '❤️', 'ที่นี่', 'שָׁלוֹם'])
      assert.equal(escapeLine(text), text);
    assert.equal(escapeLines('a\nb\u061c'), 'a\nb\\u061c');
  });
});

describe('width', () => {
  for (const [text, width] of [
    ['plain', 5],
    ['Zürich', 6],
    ['Zu\u0308rich', 6],
    ['計算機', 6],
    ['한국어', 6],
    ['\u1112\u1161\u11ab', 2],
    ['ｆｕｌｌ', 8],
    ['🛠️', 2],
    ['👩‍👩‍👧', 2],
    ['🇨🇭', 2],
    ['👍🏽', 2],
    ['a\u200db', 2],
    ['', 0],
  ] as const) {
    test(`${JSON.stringify(text)} takes ${width} cells`, () => assert.equal(widthOf(text), width));
  }

  test('a long text is taken apart in pieces, and no character where they meet', () => {
    for (const picture of ['👩‍👩‍👧', '🇨🇭', 'e\u0301', '計', '👍🏽'])
      for (let before = 240; before < 260; before++) {
        const text = `${'.'.repeat(before)}${picture.repeat(200)}é`;
        assert.equal(widthOf(text), before + widthOf(picture) * 200 + 1, `${picture} at ${before}`);
      }
  });

  test('of a text without end only as much is looked at as is shown', () => {
    const endless = `é${'\\u200bx'.repeat(2_000_000)}`;
    assert.equal(cut(endless, 8, '…'), 'é\\u200b…');
    assert.ok(widthOf(endless.slice(0, 200_000)) === 200_000, 'in a time that is its length, not the square of it');
  });

  test('what is cut is as wide as it may be at the most, and no character is cut through', () => {
    assert.equal(cut('計算機の保守', 7, '…'), '計算機…');
    assert.equal(cut('計算機の保守', 6, '…'), '計算…');
    assert.equal(cut('計算機', 6, '…'), '計算機');
    assert.equal(cut('👩‍👩‍👧👩‍👩‍👧👩‍👩‍👧', 4, '…'), '👩‍👩‍👧…');
    assert.equal(cut('e\u0301e\u0301e\u0301', 2, '…'), 'e\u0301…');
    assert.equal(cut('abcdef', 2, '...'), '..');
    assert.equal(cut('abc', 0, '…'), '');
    assert.equal(cutInside('GET http://a.example/very/long/key', 16, '…'), 'GET http…ong/key');
    assert.equal(widthOf(cutInside('計算機の保守計算機の保守', 9, '…')) <= 9, true);
  });

  test('lines break at blanks, and through a word that is longer than a line', () => {
    assert.deepEqual(wrapped('one two three', 7), ['one two', 'three']);
    assert.deepEqual(wrapped('a abcdefgh b', 4), ['a', 'abcd', 'efgh', 'b']);
    assert.deepEqual(wrapped('計算機', 2), ['計', '算', '機']);
    assert.deepEqual(wrapped('', 4), ['']);
  });
});

describe('tables', () => {
  test('a long column gives way, words stay whole, and what has no room at all is left out from the right', () => {
    const rows = [['a-name', 'x'.repeat(60), 'in 1 h 23 min']];
    assert.deepEqual(grid(rows, LOOK), [`a-name  ${'x'.repeat(16)}…  in 1 h 23 min`]);
    assert.deepEqual(grid(rows, { ...LOOK, columns: 20 }), [`a-name  ${'x'.repeat(11)}…`]);
    assert.deepEqual(grid([['x'.repeat(60)]], { ...LOOK, columns: 20 }, '  '), [`  ${'x'.repeat(17)}…`]);
  });

  test('in a pipe nothing is shortened; a long cell pushes only its own row', () => {
    const long = 'x'.repeat(60);
    assert.deepEqual(
      grid(
        [
          [long, 'a'],
          ['b', 'c'],
        ],
        PLAIN_LOOK,
      ),
      [`${long}  a`, `b${' '.repeat(41)}c`],
    );
    assert.deepEqual(facts([['label', long.repeat(10)]], PLAIN_LOOK), [`label  ${long.repeat(10)}`]);
  });

  test('control characters are spelled out before they are measured', () => {
    assert.deepEqual(grid([['\u001b[2J', 'x']], LOOK), ['\\u001b[2J  x']);
    assert.deepEqual(facts([['a', { text: '\u202e', tone: 'bad' }]], { ...LOOK, colour: true }), [
      'a  \u001b[1;31m\\u202e\u001b[0m',
    ]);
  });

  test('what is said takes three lines at the most', () => {
    const [, , third, ...more] = facts([['reason', 'word '.repeat(100)]], LOOK);
    assert.deepEqual([third?.endsWith('…'), more], [true, []]);
  });
});

test('the bar: what is over, what is left, and marks where things begin', () => {
  const span = {
    fromSecs: 0,
    toSecs: 100,
    nowSecs: 50,
    marks: [
      ['d', 20],
      ['s', 90],
      ['x', 200],
    ],
  } as const;
  assert.equal(timeBar(span, 12, { ...LOOK, unicode: false }), '[##d##----s]');
  assert.equal(timeBar({ ...span, nowSecs: 200 }, 12, LOOK), '[██d██████s]');
  assert.equal(timeBar({ ...span, nowSecs: -5, marks: [] }, 6, LOOK), '[░░░░]');
  assert.equal(timeBar({ ...span, toSecs: 0, marks: [] }, 6, LOOK), '[████]');
});

describe('what the output can', () => {
  const tty = (change: object = {}) => ({ isTTY: true, columns: 100, rows: 30, hasColors: () => true, ...change });
  const XTERM = { TERM: 'xterm', LANG: 'C.UTF-8' };

  for (const [name, stream, env, expected] of [
    ['a terminal', tty(), XTERM, { columns: 100, colour: true, unicode: true }],
    ['a pipe', { isTTY: false }, XTERM, { columns: null, colour: false, unicode: false }],
    ['NO_COLOR', tty(), { ...XTERM, NO_COLOR: '1' }, { columns: 100, colour: false, unicode: true }],
    ['an empty NO_COLOR is none', tty(), { ...XTERM, NO_COLOR: '' }, { columns: 100, colour: true, unicode: true }],
    ['FORCE_COLOR in a pipe', {}, { ...XTERM, FORCE_COLOR: '1' }, { columns: null, colour: true, unicode: false }],
    ['FORCE_COLOR=0', tty(), { ...XTERM, FORCE_COLOR: '0' }, { columns: 100, colour: false, unicode: true }],
    ['TERM=dumb', tty(), { ...XTERM, TERM: 'dumb' }, { columns: 100, colour: false, unicode: false }],
    [
      'a terminal without colours',
      tty({ hasColors: () => false }),
      XTERM,
      { columns: 100, colour: false, unicode: true },
    ],
    ['another locale', tty(), { TERM: 'vt220', LANG: 'C' }, { columns: 100, colour: true, unicode: false }],
    ['LC_ALL over LANG', tty(), { ...XTERM, LC_ALL: 'POSIX' }, { columns: 100, colour: true, unicode: false }],
    ['a serial console of no size', tty({ columns: 0 }), XTERM, { columns: 80, colour: true, unicode: true }],
    [
      'COLUMNS where there is no size',
      tty({ columns: 0 }),
      { ...XTERM, COLUMNS: '60' },
      { columns: 60, colour: true, unicode: true },
    ],
  ] as const) {
    test(name, () => assert.deepEqual(lookOf(stream, env), expected));
  }

  test('a live view needs a terminal that moves its cursor, and a size', () => {
    assert.deepEqual(
      [canDraw(tty(), XTERM), canDraw({}, XTERM), canDraw(tty(), { TERM: 'dumb' }), canDraw(tty(), {})],
      [true, false, false, false],
    );
    assert.deepEqual(sizeOf(tty({ columns: 3, rows: 0 }), {}), { columns: 20, rows: 24 });
  });
});
