/** The texts of `--help`, made from the same tables that parse the command line. */
import { EXIT_CODE_TEXTS } from '../exit-codes.ts';
import { wrapped } from '../terminal/width.ts';
import type { Command, OptionSpec } from './command.ts';

const PROGRAM = 'mjf-agent';

/** `mjf-agent COMMAND --help`. */
export function helpText(command: Pick<Command, 'usage' | 'summary' | 'options' | 'details' | 'json'>): string {
  const rows = Object.entries(command.options).map(
    ([name, spec]) => [optionText(name, spec), spec.description] as const,
  );
  const all = [...rows, ['-h, --help', 'show this help'], ['    --version', 'show the version']] as const;
  const text = detailsOf(command);
  const details = text === undefined ? [] : ['', text];
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

/** What stands below the options, here and in the manual page; undefined where there is nothing. */
export function detailsOf({ details, json }: Pick<Command, 'details' | 'json'>): string | undefined {
  const parts = [...(details === undefined ? [] : [details]), ...(json === undefined ? [] : [jsonText(json)])];
  return parts.length === 0 ? undefined : parts.join('\n\n');
}

/** As wide as the texts that are written by hand. */
const JSON_COLUMNS = 120;

function jsonText({ is, fields }: NonNullable<Command['json']>): string {
  const width = Math.max(...fields.map(([name]) => name.length));
  const begin = ' '.repeat(width + 4);
  const rows = fields.flatMap(([name, holds]) =>
    wrapped(holds, JSON_COLUMNS - begin.length).map(
      (line, index) => `${index === 0 ? `  ${name.padEnd(width)}  ` : begin}${line}`,
    ),
  );
  return [`JSON: ${is} (null = none; fields may be added):`, ...rows].join('\n');
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
