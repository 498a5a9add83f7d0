/** Certificate files of sources that speak https. */
import fs from 'node:fs/promises';
import { SourceError } from './source.ts';

export interface TlsPaths {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}
export interface TlsMaterial {
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
}

/** A whole bundle of public authorities has 220 KB. */
const PEM_LIMIT_BYTES = 1024 * 1024;

/**
 * Reads the named files, anew on each call, since client certificates are short-lived and replaced in place.
 * @throws SourceError `tls_file` with the option, the path and the reason.
 */
export async function readTlsFiles(paths: TlsPaths): Promise<TlsMaterial> {
  const material: { ca?: Buffer; cert?: Buffer; key?: Buffer } = {};
  for (const option of ['ca', 'cert', 'key'] as const) {
    const file = paths[option];
    if (file !== undefined) material[option] = await readPem(option, file);
  }
  return material;
}

async function readPem(option: string, file: string): Promise<Buffer> {
  try {
    const stat = await fs.stat(file);
    // A named pipe would block a thread of the pool for ever.
    if (!stat.isFile()) throw new Error('not a regular file');
    if (stat.size > PEM_LIMIT_BYTES) throw new Error(`larger than ${PEM_LIMIT_BYTES} bytes`);
    const content = await fs.readFile(file);
    if (!content.includes('-----BEGIN ')) throw new Error('not in PEM format');
    return content;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new SourceError('tls_file', `cannot use ${option} = ${JSON.stringify(file)}: ${reason}`);
  }
}

/** Whether the same bytes came again, so that connections may be kept. */
export function sameTls(a: TlsMaterial, b: TlsMaterial): boolean {
  return (['ca', 'cert', 'key'] as const).every((name) => {
    const [left, right] = [a[name], b[name]];
    return left === right || (left !== undefined && right !== undefined && left.equals(right));
  });
}
