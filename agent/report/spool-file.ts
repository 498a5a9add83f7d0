/** One kept report as a file: a line of JSON that says what it is, then its bytes. */
import { createHash } from 'node:crypto';
import fs from 'node:fs';

/** `own`: what the agent says itself; `files`: what payloads have PUT; `said`: what the agent has said already. */
export const LANES = ['own', 'files', 'said'] as const;
export type Lane = (typeof LANES)[number];

/** Raised when an older agent could misread what a newer one wrote. */
const FORMAT_VERSION = 1;
/** Two names and a lane; the header's line is far below. */
const MAX_HEADER_BYTES = 2048;
/** More is not ours: HTTP takes 1 MiB, and the whole queue has 8. */
export const MAX_ENTRY_BYTES = 8 * 1024 * 1024 + MAX_HEADER_BYTES;

const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = fs.constants;

export interface Header {
  readonly lane: Lane;
  readonly name: string;
  readonly machine: string;
  readonly boot: string;
  /** Rises with each: the order in which they were saved. */
  readonly serial: number;
  /** Whose file it is; absent with the agent's own. Beside the checksum, which an older agent must find right. */
  readonly uid?: number;
}

export function encodeEntry(header: Header, body: Buffer): Buffer {
  const line = { version: FORMAT_VERSION, ...header, bytes: body.length, checksum: checksumOf(header, body) };
  return Buffer.concat([Buffer.from(`${JSON.stringify(line)}\n`), body]);
}

/** `why`: `not_a_file`, `not_owned`, `too_large`, `unreadable`, `damaged`, `unknown_version`. Follows no link; never rejects. */
export async function readEntry(
  file: string,
): Promise<(Header & { readonly body: Buffer }) | { readonly why: string }> {
  let handle: fs.promises.FileHandle | undefined;
  try {
    handle = await fs.promises.open(file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    const found = await handle.stat();
    if (!found.isFile()) return { why: 'not_a_file' };
    if (found.uid !== process.geteuid?.()) return { why: 'not_owned' };
    if (found.size > MAX_ENTRY_BYTES) return { why: 'too_large' };
    return decodeEntry(await handle.readFile());
  } catch (error) {
    return { why: (error as NodeJS.ErrnoException).code === 'ELOOP' ? 'not_a_file' : 'unreadable' };
  } finally {
    await handle?.close().catch(() => undefined);
  }
}

function decodeEntry(bytes: Buffer): (Header & { readonly body: Buffer }) | { readonly why: string } {
  const end = bytes.subarray(0, MAX_HEADER_BYTES).indexOf(0x0a);
  const line = end === -1 ? null : parse(bytes.toString('utf8', 0, end));
  if (line === null) return { why: 'damaged' };
  if (typeof line['version'] === 'number' && line['version'] !== FORMAT_VERSION) return { why: 'unknown_version' };
  const body = bytes.subarray(end + 1);
  const { lane, name, machine, boot, serial, uid } = line;
  const isWhole = isLane(lane) && [name, machine, boot].every(isText) && Number.isSafeInteger(serial);
  if (!isWhole || line['bytes'] !== body.length) return { why: 'damaged' };
  const isUid = typeof uid === 'number' && Number.isSafeInteger(uid) && uid >= 0;
  const header = { lane, name, machine, boot, serial, ...(isUid && { uid }) } as Header;
  return line['checksum'] === checksumOf(header, body) ? { ...header, body } : { why: 'damaged' };
}

/** Not the agent's own CRC-32: a file of a megabyte would take the main loop some milliseconds. */
const checksumOf = ({ lane, name, machine, boot, serial }: Header, body: Buffer): string =>
  createHash('sha256')
    .update(JSON.stringify([lane, name, machine, boot, serial]))
    .update(body)
    .digest('hex');

const isText = (value: unknown): boolean => typeof value === 'string';
const isLane = (value: unknown): boolean => LANES.some((lane) => lane === value);

function parse(text: string): Readonly<Record<string, unknown>> | null {
  try {
    const parsed: unknown = JSON.parse(text);
    return typeof parsed === 'object' && parsed !== null ? (parsed as Readonly<Record<string, unknown>>) : null;
  } catch {
    return null;
  }
}
