/** What another user sent, made harmless for a terminal that shows the log: no control, no bidirectional characters, bounded. */
export function printable(text: string, maxLength = 120): string {
  const cut = text.length > maxLength ? `${text.slice(0, maxLength)}…` : text;
  return cut.replace(UNSAFE, (character) => `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`);
}

/** C0, DEL, C1, zero-width and bidirectional marks, line separators, lone surrogates: those that move a cursor or reorder a line. */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;
