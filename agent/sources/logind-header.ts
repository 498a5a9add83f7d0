/**
 * The head of a D-Bus message, read without its body: who says what to whom costs a few microseconds, whatever hangs on it.
 * D-Bus specification, "Message Format".
 */

export interface BusHeader {
  readonly type: number;
  readonly path: string | undefined;
  readonly interface: string | undefined;
  readonly member: string | undefined;
  readonly errorName: string | undefined;
  readonly replySerial: number | undefined;
  readonly sender: string | undefined;
  /** Of the body; '' where there is none. */
  readonly signature: string;
}

/** Byte order, type, flags, version, body length, serial, length of the fields. */
export const FIXED_HEADER_BYTES = 16;
/** There are nine; what is sent with far more wants to keep us busy. */
const MAX_FIELDS = 16;
const LITTLE_ENDIAN = 'l'.charCodeAt(0);

const [STRING, OBJECT_PATH, SIGNATURE, UINT32] = ['s', 'o', 'g', 'u'].map((type) => type.charCodeAt(0));

/** Type of each field by its code. Destination and the number of descriptors are of no use here. */
const FIELD_TYPES = [undefined, OBJECT_PATH, STRING, STRING, STRING, UINT32, STRING, STRING, SIGNATURE, UINT32];
const [PATH, INTERFACE, MEMBER, ERROR_NAME, REPLY_SERIAL, SENDER, BODY_SIGNATURE] = [1, 2, 3, 4, 5, 7, 8] as const;

/** `bytes` holds all fields, as the fixed part announces them; undefined where they are not as the specification has them. */
export function readHeader(bytes: Buffer): BusHeader | undefined {
  const little = bytes[0] === LITTLE_ENDIAN;
  const uint32 = (at: number): number => (little ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at));
  const end = FIXED_HEADER_BYTES + uint32(12);
  if (end > bytes.length) return undefined;
  /** Where each field's text begins and ends, or its number stands. */
  const from: number[] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
  const to: number[] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
  let at = FIXED_HEADER_BYTES;
  for (let count = 0; at < end; count += 1) {
    at = (at + 7) & ~7;
    // Code, length of the signature, a signature of one character with its zero, and the value.
    const code = bytes[at] ?? 0;
    const type = bytes[at + 2];
    const valueAt = at + 4;
    if (count === MAX_FIELDS || bytes[at + 1] !== 1) return undefined;
    const known = code < FIELD_TYPES.length;
    if (known && type !== FIELD_TYPES[code]) return undefined;
    let textAt = valueAt;
    if (type === UINT32) at = valueAt + 4;
    else if (type === SIGNATURE) {
      textAt = valueAt + 1;
      at = textAt + (bytes[valueAt] ?? 0) + 1;
    } else if (type === STRING || type === OBJECT_PATH) {
      textAt = valueAt + 4;
      if (textAt > end) return undefined;
      at = textAt + uint32(valueAt) + 1;
    } else return undefined;
    if (at > end) return undefined;
    if (!known) continue;
    from[code] = textAt;
    // Without the zero at its end.
    to[code] = at - 1;
  }
  const text = (code: number): string | undefined => {
    const start = from[code] ?? 0;
    return start === 0 ? undefined : bytes.toString('latin1', start, to[code]);
  };
  const replyAt = from[REPLY_SERIAL] ?? 0;
  return {
    type: bytes[1] ?? 0,
    path: text(PATH),
    interface: text(INTERFACE),
    member: text(MEMBER),
    errorName: text(ERROR_NAME),
    replySerial: replyAt === 0 ? undefined : uint32(replyAt),
    sender: text(SENDER),
    signature: text(BODY_SIGNATURE) ?? '',
  };
}
