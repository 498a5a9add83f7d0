/** How many cells of a terminal a text takes, and how it is made to fit. For text that is escaped already (escape.ts). */

const PLAIN = /^[\x20-\x7e]*$/;
/** Drawn over the character before: combining marks, joiners, selectors. Hangul vowels and finals join their initial. */
const NO_WIDTH = /^[\p{Mn}\p{Me}\p{Cf}\u1160-\u11ff]$/u;
/** Two cells by Unicode's "East Asian Width"; emoji are known by a property of their own. */
const WIDE =
  /^[\u1100-\u115f\u2329\u232a\u2e80-\u303e\u3041-\u4dbf\u4e00-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe10-\ufe19\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6\u{16fe0}-\u{18aff}\u{1b000}-\u{1b2ff}\u{1f200}-\u{1f265}\u{20000}-\u{3fffd}]$/u;
/** One picture of two cells, whatever it is made of: families, flags, skin colours, `❤` with its selector. */
const PICTURE = /\p{Emoji_Presentation}|\p{Regional_Indicator}|\ufe0f/u;

const graphemes = new Intl.Segmenter('en', { granularity: 'grapheme' });
/** As much of a text is taken apart at once, UTF-16 units: of a long one it costs the square of its length. */
const PIECE = 256;

/** In cells. */
export function widthOf(text: string): number {
  if (PLAIN.test(text)) return text.length;
  let width = 0;
  for (const segment of graphemesOf(text)) width += widthOfGrapheme(segment);
  return width;
}

function* graphemesOf(text: string): Generator<string> {
  for (let at = 0; at < text.length; ) {
    const end = at + PIECE + ((text.codePointAt(at + PIECE - 1) ?? 0) > 0xffff ? 1 : 0);
    const found = Array.from(graphemes.segment(text.slice(at, end)), ({ segment }) => segment);
    // The last one may go on behind the end.
    if (end < text.length && found.length > 1) found.pop();
    for (const segment of found) {
      yield segment;
      at += segment.length;
    }
  }
}

function widthOfGrapheme(grapheme: string): number {
  if (PICTURE.test(grapheme)) return 2;
  let width = 0;
  for (const character of grapheme) width += NO_WIDTH.test(character) ? 0 : WIDE.test(character) ? 2 : 1;
  return width;
}

/** The text itself where it fits, else as much of its beginning as leaves room for `ellipsis`. Never cuts through a character. */
export function cut(text: string, width: number, ellipsis: string): string {
  // A character takes two cells at the most: what is shorter than half fits without being measured.
  if (text.length * 2 <= width) return text;
  const room = width - ellipsis.length;
  let kept = '';
  let used = 0;
  for (const segment of graphemesOf(text)) {
    used += widthOfGrapheme(segment);
    // The rest of it, which may be a megabyte, need not be looked at.
    if (used > width) return room < 0 ? ellipsis.slice(0, Math.max(0, width)) : kept + ellipsis;
    if (used <= room) kept += segment;
  }
  return text;
}

/** As `cut`, but the end stays as well: of an address it says more than the middle. */
export function cutInside(text: string, width: number, ellipsis: string): string {
  if (widthOf(text) <= width || width <= ellipsis.length) return cut(text, width, ellipsis);
  const segments = [...graphemesOf(text)];
  const half = Math.floor((width - ellipsis.length) / 2);
  let end = '';
  let used = 0;
  for (const segment of segments.reverse()) {
    used += widthOfGrapheme(segment);
    if (used > half) break;
    end = segment + end;
  }
  return cut(text, width - widthOf(end), ellipsis) + end;
}

/** With blanks behind it up to that many cells. */
export const padded = (text: string, width: number): string => text + ' '.repeat(Math.max(0, width - widthOf(text)));

/** Lines of at most `width` cells, broken at blanks; a word that is longer than a line is cut through. */
export function wrapped(text: string, width: number): readonly string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    const longer = line === '' ? word : `${line} ${word}`;
    if (widthOf(longer) <= width) {
      line = longer;
      continue;
    }
    if (line !== '') lines.push(line);
    const pieces = piecesOf(word, width);
    lines.push(...pieces.slice(0, -1));
    line = pieces.at(-1) ?? '';
  }
  return [...lines, line];
}

function piecesOf(word: string, width: number): readonly string[] {
  if (widthOf(word) <= width) return [word];
  const pieces: string[] = [];
  let piece = '';
  let used = 0;
  for (const segment of graphemesOf(word)) {
    const more = widthOfGrapheme(segment);
    if (piece !== '' && used + more > width) {
      pieces.push(piece);
      piece = '';
      used = 0;
    }
    piece += segment;
    used += more;
  }
  return [...pieces, piece];
}
