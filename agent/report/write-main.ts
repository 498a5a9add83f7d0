/** The child side of a report into a directory: standard input becomes DIRECTORY/NAME, by rename. Exit code 0 or an error code on stderr. */
import fs from 'node:fs';
import path from 'node:path';

export async function writeMain(argv: readonly string[]): Promise<number> {
  const [directory = '', name = ''] = argv;
  const temporary = path.join(directory, `.${name}.${process.pid}`);
  try {
    const body = fs.readFileSync(0);
    fs.writeFileSync(temporary, body, { mode: 0o644, flag: 'wx' });
    fs.renameSync(temporary, path.join(directory, name));
    return 0;
  } catch (error) {
    process.stderr.write(`${(error as NodeJS.ErrnoException).code ?? 'failed'}\n`);
    try {
      fs.rmSync(temporary, { force: true });
    } catch {
      // The directory is gone or unreadable: there is nothing to tidy.
    }
    return 1;
  }
}
