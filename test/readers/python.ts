/** Python's own ideas of what text is a number, as far as the readers depend on them. */

/** `int(text)`: throws where Python raises ValueError. */
export function pyInt(text: string): number {
  const digits = text.trim();
  if (!/^[+-]?\d+(?:_\d+)*$/.test(digits)) throw new Error(`invalid literal for int(): ${JSON.stringify(text)}`);
  return Number(digits.replaceAll('_', ''));
}

/** `float(text)`: throws where Python raises ValueError. */
export function pyFloat(text: string): number {
  const digits = text.trim().replace(/(?<=\d)_(?=\d)/g, '');
  if (/^[+-]?(?:inf|infinity)$/i.test(digits)) return digits.startsWith('-') ? -Infinity : Infinity;
  if (/^[+-]?nan$/i.test(digits)) return Number.NaN;
  if (!/^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/.test(digits))
    throw new Error(`could not convert string to float: ${JSON.stringify(text)}`);
  return Number(digits);
}

/** `text.rstrip('\n')` where only one is taken: what the clients do that were written for one newline. */
export function stripOneNewline(text: string): string {
  return text.endsWith('\n') ? text.slice(0, -1) : text;
}
