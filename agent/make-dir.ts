/** `mkdir -p` that ends. Node's own recursive mkdir never returns where the kernel answers ENOENT to a creation (`/proc`). */
import fs from 'node:fs';
import path from 'node:path';

/** Creates `dir` and what is missing above it, all with `mode`; throws the first errno that is not "exists already". */
export function makeDir(dir: string, mode: number): void {
  const missing: string[] = [];
  for (let at = path.resolve(dir); !fs.existsSync(at) && at !== path.dirname(at); at = path.dirname(at))
    missing.push(at);
  for (const each of missing.reverse()) {
    try {
      fs.mkdirSync(each, { mode });
    } catch (error) {
      // Somebody else was quicker; what stands there shows when it is used.
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
}
