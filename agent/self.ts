/** How this very program is started again: as reader child, or by `demo`. */
import path from 'node:path';

export interface SelfCommand {
  readonly command: string;
  readonly args: readonly string[];
}

/**
 * From the running process: `node [options] main.cjs`, or the standalone executable alone, in which argv[1] is no script
 * but the executable again.
 */
export function selfCommand(): SelfCommand {
  const script = process.argv[1];
  const standalone = script === undefined || path.resolve(script) === process.execPath;
  return { command: process.execPath, args: standalone ? [] : [...process.execArgv, script] };
}
