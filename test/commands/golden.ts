/** Whole screens, checked in: a change of what people see is seen in review. `MJF_GOLDEN=write` writes them anew. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';

const DIRECTORY = path.join(import.meta.dirname ?? __dirname, 'golden');

/** Compares with `golden/NAME.txt`. */
export function golden(name: string, screen: string): void {
  const file = path.join(DIRECTORY, `${name}.txt`);
  if (process.env['MJF_GOLDEN'] === 'write') {
    fs.mkdirSync(DIRECTORY, { recursive: true });
    fs.writeFileSync(file, screen);
  }
  assert.equal(screen, fs.readFileSync(file, 'utf8'), `${file}: MJF_GOLDEN=write writes it anew, if this is right`);
}
