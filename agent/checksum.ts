/**
 * CRC-32 (IEEE 802.3, as zlib and gzip). A table of our own: `zlib.crc32` exists only from Node 20.15 and 22.2 on, and the
 * records are small.
 */
const TABLE: Uint32Array = makeTable();

/** The checksum of `bytes`, unsigned; `seed` is the checksum of what came before them. */
export function crc32(bytes: Uint8Array, seed = 0): number {
  let crc = ~seed;
  for (let at = 0; at < bytes.length; at += 1) {
    crc = (TABLE[(crc ^ (bytes[at] ?? 0)) & 0xff] ?? 0) ^ (crc >>> 8);
  }
  return ~crc >>> 0;
}

/** As eight lower-case hexadecimal digits: fixed width, so that a reader finds the end of it by counting. */
export function crc32Hex(bytes: Uint8Array, seed = 0): string {
  return crc32(bytes, seed).toString(16).padStart(8, '0');
}

function makeTable(): Uint32Array {
  const table = new Uint32Array(256);
  for (let byte = 0; byte < 256; byte += 1) {
    let value = byte;
    for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
    table[byte] = value >>> 0;
  }
  return table;
}
