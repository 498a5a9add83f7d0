/** How this very program is started again: as reader child, or by `demo`. */

export interface SelfCommand {
  readonly command: string;
  readonly args: readonly string[];
}

/**
 * From the running process: `node [options] main.cjs`, or the standalone executable alone, which brings its options along.
 */
export function selfCommand(): SelfCommand {
  const script = process.argv[1];
  const args = script === undefined || isStandalone() ? [] : [...process.execArgv, script];
  return { command: process.execPath, args };
}

/**
 * Asked of Node: the standalone executable's argv[1] is argv[0] once more, as it was called (`mjf-agent`, through $PATH or a
 * link), and tells nothing. Node 20 before 20.16 cannot be asked; the executable carries a newer one.
 */
export function isStandalone(): boolean {
  const sea = process.getBuiltinModule?.('node:sea') as { isSea?: () => boolean } | undefined;
  return sea?.isSea?.() === true;
}
