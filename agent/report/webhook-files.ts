/** The files of a web hook: authorization and certificates, read anew for each attempt, since they are renewed in place. */
import { constants } from 'node:fs';
import fs from 'node:fs/promises';
import type { WebhookConfig } from '../config/types.ts';

export interface Credentials {
  readonly authorization?: string;
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
  /** Files with secrets that every user of the machine can read. */
  readonly exposed: readonly string[];
}

/** `code` is the option's name; the message names the file and never what it holds. */
export class WebhookFileError extends Error {
  readonly code: string;
  constructor(option: string, file: string, reason: string) {
    super(`cannot use ${option} = ${JSON.stringify(file)}: ${reason}`);
    this.name = 'WebhookFileError';
    this.code = option;
  }
}

/** A whole bundle of public authorities has 220 KB. */
const PEM_LIMIT_BYTES = 1024 * 1024;
/** Half of what servers take as all headers together; tokens have 1 to 4 KB. */
const AUTHORIZATION_LIMIT_BYTES = 8 * 1024;

const READABLE_BY_ALL = 0o004;

/** Throws WebhookFileError. */
export async function readCredentials(webhook: WebhookConfig): Promise<Credentials> {
  const exposed: string[] = [];
  const found: { authorization?: string; ca?: Buffer; cert?: Buffer; key?: Buffer } = {};
  if (webhook.authorizationFile !== null) {
    const read = await readSome('authorization_file', webhook.authorizationFile, AUTHORIZATION_LIMIT_BYTES);
    if (read.forAll) exposed.push(webhook.authorizationFile);
    found.authorization = firstLine(webhook.authorizationFile, read.bytes);
  }
  const places = { ca: webhook.caFile, cert: webhook.certFile, key: webhook.keyFile };
  for (const option of ['ca', 'cert', 'key'] as const) {
    const file = places[option];
    if (file === null) continue;
    const read = await readSome(option, file, PEM_LIMIT_BYTES);
    if (read.bytes.length > PEM_LIMIT_BYTES) throw new WebhookFileError(option, file, 'too large');
    if (!read.bytes.includes('-----BEGIN ')) throw new WebhookFileError(option, file, 'not in PEM format');
    if (read.forAll && option === 'key') exposed.push(file);
    found[option] = read.bytes;
  }
  return { ...found, exposed };
}

/** The value of a header: a bounded line of printable ASCII. What follows the first line is nobody's (a comment, an old one). */
function firstLine(file: string, bytes: Buffer): string {
  const end = bytes.indexOf('\n');
  if (end === -1 && bytes.length > AUTHORIZATION_LIMIT_BYTES)
    throw new WebhookFileError('authorization_file', file, `its first line exceeds ${AUTHORIZATION_LIMIT_BYTES} bytes`);
  const line = bytes.toString('latin1', 0, end === -1 ? bytes.length : end).trim();
  if (!/^[\x20-\x7e]+$/.test(line))
    throw new WebhookFileError('authorization_file', file, 'its first line is empty or not plain ASCII');
  return line;
}

/** At most one byte more than `limit`. Whether it is a file is asked of what was opened: a pipe would never answer. */
async function readSome(
  option: string,
  file: string,
  limit: number,
): Promise<{ readonly bytes: Buffer; readonly forAll: boolean }> {
  let handle: fs.FileHandle | undefined;
  try {
    handle = await fs.open(file, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
    const stat = await handle.stat();
    if (!stat.isFile()) throw new Error('not a regular file');
    const buffer = Buffer.alloc(Math.min(stat.size, limit) + 1);
    let length = 0;
    while (length < buffer.length) {
      const { bytesRead } = await handle.read(buffer, length, buffer.length - length, length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    return { bytes: buffer.subarray(0, length), forAll: (stat.mode & READABLE_BY_ALL) !== 0 };
  } catch (error) {
    throw new WebhookFileError(option, file, reasonOf(error));
  } finally {
    await handle?.close();
  }
}

/** The system's code where there is one: its messages repeat the path. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return 'code' in error ? String(error.code) : error.message;
}
