/**
 * Walks over values as their signature describes them, and builds nothing. The library believes every length, and runs on for
 * ever over an array of what has no size; so that it is given only what has been walked over. D-Bus specification, "Marshaling".
 */

/** The specification allows 64; nothing that logind says is deeper than four. */
const MAX_DEPTH = 16;
/** Types of fixed size, which is their alignment too. */
const SIZES: Readonly<Record<string, number>> = { y: 1, n: 2, q: 2, b: 4, i: 4, u: 4, h: 4, x: 8, t: 8, d: 8 };
const ALIGNMENTS: Readonly<Record<string, number>> = { ...SIZES, s: 4, o: 4, a: 4, '(': 8, '{': 8, g: 1, v: 1 };

/** Where the values of `signature` that begin at `at` end; undefined where they do not fit, or the signature is none. */
export function skipValues(bytes: Buffer, at: number, signature: string, little: boolean): number | undefined {
  const read32 = (from: number): number => (little ? bytes.readUInt32LE(from) : bytes.readUInt32BE(from));

  function skipAll(from: number, types: string, depth: number): number | undefined {
    let position: number | undefined = from;
    for (let index = 0; index < types.length && position !== undefined; ) {
      const length = typeLength(types, index, depth);
      if (length === undefined) return undefined;
      position = skipOne(position, types.slice(index, index + length), depth);
      index += length;
    }
    return position;
  }

  function skipOne(from: number, type: string, depth: number): number | undefined {
    const code = type.charAt(0);
    const alignment = ALIGNMENTS[code];
    if (alignment === undefined) return undefined;
    const start = aligned(from, alignment);
    const size = SIZES[code];
    if (size !== undefined) return within(start + size);
    if (code === 's' || code === 'o') {
      const length = within(start + 4) === undefined ? undefined : read32(start);
      return length === undefined ? undefined : within(start + 4 + length + 1);
    }
    if (code === 'a') return skipArray(start, type.slice(1), depth);
    if (code === '(' || code === '{') return skipAll(start, type.slice(1, -1), depth + 1);
    // A signature, or a variant: one value behind its signature.
    const length = bytes[start];
    const end = length === undefined ? undefined : within(start + 1 + length + 1);
    if (code === 'g' || end === undefined) return end;
    const inner = bytes.toString('latin1', start + 1, end - 1);
    return typeLength(inner, 0, depth) === inner.length ? skipOne(end, inner, depth + 1) : undefined;
  }

  function skipArray(from: number, element: string, depth: number): number | undefined {
    if (within(from + 4) === undefined) return undefined;
    const start = aligned(from + 4, ALIGNMENTS[element.charAt(0)] ?? 1);
    const end = within(start + read32(from));
    const size = SIZES[element];
    if (end === undefined) return undefined;
    if (size !== undefined) return (end - start) % size === 0 ? end : undefined;
    let position: number | undefined = start;
    while (position !== undefined && position < end) position = skipOne(position, element, depth + 1);
    return position === end ? end : undefined;
  }

  const within = (end: number): number | undefined => (end <= bytes.length ? end : undefined);
  return at <= bytes.length ? skipAll(at, signature, 0) : undefined;
}

const aligned = (at: number, alignment: number): number => Math.ceil(at / alignment) * alignment;

/** Of the one whole type at `from`; undefined where there is none: unknown, unfinished, too deep, or of no size. */
function typeLength(signature: string, from: number, depth: number): number | undefined {
  const code = signature.charAt(from);
  if (depth > MAX_DEPTH || ALIGNMENTS[code] === undefined) return undefined;
  if (code === 'a') {
    const element = typeLength(signature, from + 1, depth + 1);
    return element === undefined ? undefined : 1 + element;
  }
  if (code !== '(' && code !== '{') return 1;
  const close = code === '(' ? ')' : '}';
  let at = from + 1;
  while (signature.charAt(at) !== close) {
    const member = typeLength(signature, at, depth + 1);
    if (member === undefined) return undefined;
    at += member;
  }
  return at === from + 1 ? undefined : at + 1 - from;
}
