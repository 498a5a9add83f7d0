/**
 * Text that came from elsewhere (a host, a file, the daemon) on its way to a person's eyes: control characters and direction
 * overrides could move the cursor, recolour the screen or hide what stands there; characters that nobody sees could make one
 * name look like another; marks heaped on one letter cover the lines around it. All these are spelled out. Joiners stay:
 * scripts and pictures are written with them. `\uXXXX` is also valid inside JSON strings, so escaped JSON stays JSON.
 */
const DIRECTIONS = String.raw`\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069`;
const UNSEEN = String.raw`\u00ad\u180e\u200b\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}`;
/** More than any language puts on one letter. */
const MOST_MARKS = 8;
const HEAP = String.raw`[\p{Mn}\p{Me}]{${MOST_MARKS + 1},}`;

const UNSAFE = new RegExp(String.raw`[\u0000-\u001f\u007f-\u009f${DIRECTIONS}${UNSEEN}]|${HEAP}`, 'gu');
const UNSAFE_IN_LINES = new RegExp(
  UNSAFE.source.replace(String.raw`\u0000-\u001f`, String.raw`\u0000-\u0009\u000b-\u001f`),
  'gu',
);

/** One line: every control character, line feeds too, becomes `\uXXXX`. */
export function escapeLine(text: string): string {
  return text.replace(UNSAFE, spellOut);
}

/** Several lines: as `escapeLine`, but line feeds stay. */
export function escapeLines(text: string): string {
  return text.replace(UNSAFE_IN_LINES, spellOut);
}

/** One character; or a heap of marks, of which the first ones stay. */
function spellOut(found: string): string {
  const characters = [...found];
  const kept = characters.length > 1 ? characters.splice(0, MOST_MARKS) : [];
  const units = characters.join('').split('');
  return kept.join('') + units.map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`).join('');
}
