/** A disk that does not tell for a while what is on it. */
import fs from 'node:fs';
import type { TestContext } from 'node:test';

/** From now on. `answer` ends it; that what was asked meanwhile gets its answer. */
export function slowDisk(t: TestContext): { readonly answer: () => void } {
  let answer = (): void => {};
  const silence = new Promise<void>((resolve) => {
    answer = resolve;
  });
  const { opendir } = fs.promises;
  const mocked = t.mock.method(fs.promises, 'opendir', async (dir: string) => {
    await silence;
    return opendir(dir);
  });
  return {
    answer() {
      mocked.mock.restore();
      answer();
    },
  };
}
