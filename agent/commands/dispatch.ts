/** From the command line to one command and its exit code. */
import { EXIT } from '../exit-codes.ts';
import { didYouMean } from '../nearest.ts';
import { version } from '../version.ts';
import { type Output, runCommand } from './command.ts';
import { overviewText } from './help.ts';
import { commandTable } from './table.ts';

/** Runs what `argv` (without node and script) asks for. Rejects only on an internal error. */
export async function dispatch(
  argv: readonly string[],
  output: Output,
  env: Readonly<Record<string, string | undefined>>,
): Promise<number> {
  const [name, ...rest] = argv;
  if (name === undefined) {
    output.complain('no command given (see "mjf-agent --help")');
    return EXIT.usage;
  }
  const wantsVersion = name === '--version' || rest.slice(0, positionOf(rest, '--')).includes('--version');
  if (wantsVersion) {
    output.out(`mjf-agent ${version}\n`);
    return EXIT.ok;
  }
  if (name === '--help' || name === '-h' || (name === 'help' && rest.length === 0)) {
    output.out(overviewText(commandTable));
    return EXIT.ok;
  }
  const wanted = name === 'help' ? (rest[0] ?? '') : name;
  const row = commandTable.find((candidate) => candidate.name === wanted);
  if (row === undefined) {
    const names = commandTable.map((candidate) => candidate.name);
    const what = wanted.startsWith('-') ? 'unknown option' : 'unknown command';
    output.complain(`${what} "${wanted}"${didYouMean(wanted, names)} (see "mjf-agent --help")`);
    return EXIT.usage;
  }
  const { command } = await row.load();
  return runCommand(command, name === 'help' ? ['--help'] : rest, output, env);
}

function positionOf(words: readonly string[], word: string): number {
  const position = words.indexOf(word);
  return position === -1 ? words.length : position;
}
