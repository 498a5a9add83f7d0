/**
 * The head of a D-Bus message, read without its body: who says what to whom costs a few microseconds, whatever hangs on it.
 * D-Bus specification, "Message Format".
 */
import { skipValues } from './logind-values.ts';

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
/** Of the fields: six names of at most 255 characters, and what a later D-Bus may add. */
export const MAX_FIELD_BYTES = 4 * 1024;
/** There are nine; what is sent with far more wants to keep us busy. */
const MAX_FIELDS = 16;
const LITTLE_ENDIAN = 'l'.charCodeAt(0);

/** By the code of the field. Destination and the number of descriptors are of no use here: only their type is looked at. */
const FIELDS = [
  undefined,
  { name: 'path', signature: 'o' },
  { name: 'interface', signature: 's' },
  { name: 'member', signature: 's' },
  { name: 'errorName', signature: 's' },
  { name: 'replySerial', signature: 'u' },
  { name: 'destination', signature: 's' },
  { name: 'sender', signature: 's' },
  { name: 'signature', signature: 'g' },
  { name: 'descriptors', signature: 'u' },
] as const;

/** `bytes` holds all fields, as the fixed part announces them; undefined where they are not as the specification has them. */
export function readHeader(bytes: Buffer): BusHeader | undefined {
  const little = bytes[0] === LITTLE_ENDIAN;
  const uint32 = (at: number): number => (little ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at));
  const fieldBytes = uint32(12);
  const end = FIXED_HEADER_BYTES + fieldBytes;
  if (fieldBytes > MAX_FIELD_BYTES || end > bytes.length) return undefined;
  const texts: Partial<Record<string, string>> = {};
  let replySerial: number | undefined;
  let at = FIXED_HEADER_BYTES;
  for (let count = 0; at < end; count += 1) {
    at = Math.ceil(at / 8) * 8;
    // Code, length of the signature, a signature of one character with its zero, and the value.
    const code = bytes[at];
    const valueAt = at + 4;
    if (count === MAX_FIELDS || valueAt >= end || code === undefined || bytes[at + 1] !== 1) return undefined;
    const type = String.fromCharCode(bytes[at + 2] ?? 0);
    const known = FIELDS[code];
    if (known === undefined ? 'av({'.includes(type) : type !== known.signature) return undefined;
    const next = skipValues(bytes.subarray(0, end), valueAt, type, little);
    if (next === undefined) return undefined;
    if (type === 'u') {
      if (known?.name === 'replySerial') replySerial = uint32(valueAt);
    } else if (known !== undefined && known.name !== 'destination') {
      const lengthBytes = type === 'g' ? 1 : 4;
      // Without the zero at its end.
      texts[known.name] = bytes.latin1Slice(valueAt + lengthBytes, next - 1);
    }
    at = next;
  }
  return {
    type: bytes[1] ?? 0,
    path: texts['path'],
    interface: texts['interface'],
    member: texts['member'],
    errorName: texts['errorName'],
    replySerial,
    sender: texts['sender'],
    signature: texts['signature'] ?? '',
  };
}
