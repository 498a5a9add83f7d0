/**
 * Text that came from elsewhere (a host, a file, the daemon) on its way to a person's terminal: control characters and
 * direction overrides could move the cursor, recolour the screen or hide what stands there, so they are spelled out.
 * `\uXXXX` is also valid inside JSON strings, so escaped JSON stays JSON.
 */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are exactly what is looked for
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: as above, but keeps line feeds
const UNSAFE_IN_LINES = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** One line: every control character, line feeds too, becomes `\uXXXX`. */
export function escapeLine(text: string): string {
  return text.replace(UNSAFE, spellOut);
}

/** Several lines: as `escapeLine`, but line feeds stay. */
export function escapeLines(text: string): string {
  return text.replace(UNSAFE_IN_LINES, spellOut);
}

function spellOut(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
