/** What can stand where on the command line, for the completions of all three shells. */
import type { Command, OptionSpec } from '../../agent/commands/command.ts';
import { LOG_LEVEL_NAMES } from '../../agent/config/log-levels.ts';

/** What a value or a word is: one of a few, a file, a directory, a published key; or anything. */
export type Kind = { readonly is: 'choice'; readonly choices: readonly string[] } | { readonly is: Other };
type Other = 'file' | 'directory' | 'key' | 'any';

/** Values that the help names by one word in capitals. */
const KINDS: Readonly<Record<string, Kind>> = {
  DIR: { is: 'directory' },
  FILE: { is: 'file' },
  'PATH|URL': { is: 'directory' },
  LEVEL: { is: 'choice', choices: LOG_LEVEL_NAMES },
  KIND: { is: 'choice', choices: ['shutdown', 'drain'] },
  KEY: { is: 'key' },
};

export interface CommandWords {
  readonly name: string;
  readonly summary: string;
  readonly options: readonly OptionWords[];
  /** Of the words besides options. */
  readonly words: Kind;
  /** After `--` another program's command line follows. */
  readonly takesRest: boolean;
}

export interface OptionWords {
  readonly name: string;
  readonly short: string | undefined;
  readonly description: string;
  /** null: takes no value. */
  readonly value: Kind | null;
  readonly multiple: boolean;
}

export function wordsOf(command: Command): CommandWords {
  const own = Object.entries(command.options).map(([name, spec]) => optionWords(name, spec));
  const positional = Object.keys(KINDS).find((kind) => new RegExp(`(^|[ [])${kind}\\b`).test(positionalUsage(command)));
  return {
    name: command.name,
    summary: command.summary,
    options: [...own, optionWords('help', { type: 'boolean', short: 'h', description: 'show this help' })],
    words: (positional === undefined ? undefined : KINDS[positional]) ?? { is: 'any' },
    takesRest: command.takesRest === true,
  };
}

/** Not `--in D`: what belongs to an option is no word of its own. */
const positionalUsage = ({ usage, positionals }: Command): string =>
  positionals.most === 0 ? '' : usage.replace(/--\S+ \S+/g, '');

function optionWords(name: string, { type, short, value, multiple, description }: OptionSpec): OptionWords {
  // Lower case and a bar: the values themselves.
  const choices = /^[a-z|]+\|[a-z|]+$/.test(value ?? '') ? (value ?? '').split('|') : undefined;
  const kind: Kind = choices === undefined ? (KINDS[value ?? ''] ?? { is: 'any' }) : { is: 'choice', choices };
  return { name, short, description, value: type === 'boolean' ? null : kind, multiple: multiple === true };
}
