/** Writes what is made from the program's own tables: `npm run generate`. */
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { generatedFiles } from './generated.ts';

const PACKAGING = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');

for (const [name, text] of Object.entries(await generatedFiles())) {
  const file = path.join(PACKAGING, name);
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, text);
}
