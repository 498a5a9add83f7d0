/** The texts of `--help`, made from the same tables that parse the command line. */
import { EXIT_CODE_TEXTS } from '../exit-codes.ts';
import type { Command, OptionSpec } from './command.ts';

const PROGRAM = 'mjf-agent';

/** `mjf-agent COMMAND --help`. */
export function helpText(command: Pick<Command, 'usage' | 'summary' | 'options' | 'details'>): string {
  const rows = Object.entries(command.options).map(
    ([name, spec]) => [optionText(name, spec), spec.description] as const,
  );
  const all = [...rows, ['-h, --help', 'show this help'], ['    --version', 'show the version']] as const;
  const details = command.details === undefined ? [] : ['', command.details];
  return lines(
    `Usage: ${PROGRAM} ${command.usage}`,
    '',
    sentence(command.summary),
    '',
    'Options:',
    ...table(all),
    ...details,
  );
}

/** `mjf-agent --help`. */
export function overviewText(commands: readonly { readonly name: string; readonly summary: string }[]): string {
  return lines(
    `Usage: ${PROGRAM} COMMAND [OPTIONS]`,
    '',
    'Tells the payloads of a virtual machine how long it lives, stops them in time, and tells the site when it can go.',
    '',
    'Commands:',
    ...table(commands.map(({ name, summary }) => [name, summary])),
    '',
    'Options:',
    ...table([
      ['-h, --help', 'show this help, or that of a command'],
      ['    --version', 'show the version'],
    ]),
    '',
    'Exit codes:',
    ...table(Object.entries(EXIT_CODE_TEXTS)),
  );
}

function optionText(name: string, spec: OptionSpec): string {
  const short = spec.short === undefined ? '    ' : `-${spec.short}, `;
  return `${short}--${name}${spec.type === 'string' ? ` ${spec.value ?? 'VALUE'}` : ''}`;
}

/** Two columns, the second one aligned. */
function table(rows: readonly (readonly [string, string])[]): readonly string[] {
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`);
}

function sentence(summary: string): string {
  return `${summary.charAt(0).toUpperCase()}${summary.slice(1)}.`;
}

function lines(...parts: readonly string[]): string {
  return `${parts.join('\n')}\n`;
}
