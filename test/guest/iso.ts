/** A CD as a host attaches it, with a few documents and the label by which a guest knows it. */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { environment } from '../support/cached-tree.ts';

/** Made beside `documents`; gives the image. */
export function isoOf(label: string, documents: string): string {
  const image = path.join(path.dirname(documents), `${label}.iso`);
  const options = ['-quiet', '-V', label, '-J', '-R', '-o', image, documents];
  const made = spawnSync('genisoimage', options, { encoding: 'utf8', env: environment() });
  if (made.status !== 0) throw new Error(`genisoimage: ${made.error?.message ?? made.stderr}`);
  return image;
}
