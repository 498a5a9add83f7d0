/**
 * What a command is. To add one: write `commands/NAME.ts` exporting `command = defineCommand({ … })`, and add one line to
 * the table in `commands/table.ts`. Parsing, `--help`, `--version`, wrong options and exit codes are the frame's work.
 */
import { parseArgs } from 'node:util';
import { EXIT } from '../exit-codes.ts';
import { nearest } from '../nearest.ts';
import { helpText } from './help.ts';

/** One option, for parsing and for `--help`. */
export interface OptionSpec {
  readonly type: 'string' | 'boolean';
  readonly short?: string;
  /** May be given more than once. */
  readonly multiple?: boolean;
  /** What stands for the value in the help: `DIR`, `D`, `PATH|URL`. */
  readonly value?: string;
  readonly description: string;
}
export type OptionSpecs = Readonly<Record<string, OptionSpec>>;

/** Options as given; an option that was not given is undefined. */
export type OptionValues<O extends OptionSpecs> = {
  readonly [K in keyof O]?: (O[K]['multiple'] extends true ? readonly ValueOf<O[K]>[] : ValueOf<O[K]>) | undefined;
};
type ValueOf<S extends OptionSpec> = S['type'] extends 'boolean' ? boolean : string;

/** Where a command's words go. Output to people and scripts, not the log. */
export interface Output {
  /** To stdout, as given. Who printed for a reader that is gone (EPIPE) ends quietly. */
  out(text: string): void;
  /** One line to stderr, with the program's name in front; control characters are escaped. */
  complain(sentence: string): void;
}

export interface CommandContext<O extends OptionSpecs> extends Output {
  readonly values: OptionValues<O>;
  readonly positionals: readonly string[];
  /** What follows `--`, untouched; undefined without `--`. */
  readonly rest: readonly string[] | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** A field of a command's JSON, or several that belong together, and what it holds. */
export type JsonField = readonly [name: string, holds: string];

export interface Command<O extends OptionSpecs = OptionSpecs> {
  readonly name: string;
  /** One line, no full stop. */
  readonly summary: string;
  /** What follows `mjf-agent `: `get [OPTIONS] KEY`. */
  readonly usage: string;
  readonly options: O;
  /** How many words it takes besides its options; a wrong number is a usage error. */
  readonly positionals: { readonly least: number; readonly most: number };
  /** Whether words after `--` mean something (`exec`). */
  readonly takesRest?: boolean;
  /** Paragraphs below the options: examples, rules. */
  readonly details?: string;
  /** What `--json` prints: when (`with --json, one document`), and its fields. */
  readonly json?: { readonly is: string; readonly fields: readonly JsonField[] };
  /** The exit code (exit-codes.ts). A thrown `UsageError` becomes 64, anything else 70. */
  run(context: CommandContext<O>): Promise<number>;
}

/** Keeps the option names for the type of `context.values`. */
export function defineCommand<const O extends OptionSpecs>(command: Command<O>): Command<O> {
  return command;
}

/** The command line is wrong; the message says what would be right. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'UsageError';
  }
}

/** Options that every client command has. */
export const RUNTIME_DIR_OPTION = {
  'runtime-dir': {
    type: 'string',
    value: 'DIR',
    description: 'where the daemon publishes (MJF_AGENT_RUNTIME_DIR, default /run/mjf-agent)',
  },
} as const satisfies OptionSpecs;

export const DEFAULT_RUNTIME_DIR = '/run/mjf-agent';

/** The daemon's directory: option, else `MJF_AGENT_RUNTIME_DIR`, else the default. Absolute, or a UsageError. */
export function runtimeDirOf(context: CommandContext<typeof RUNTIME_DIR_OPTION>): string {
  const directory = context.values['runtime-dir'] ?? (context.env['MJF_AGENT_RUNTIME_DIR'] || DEFAULT_RUNTIME_DIR);
  if (!directory.startsWith('/')) {
    throw new UsageError(`the runtime directory must be an absolute path, got "${directory}"`);
  }
  return directory.length > 1 ? directory.replace(/\/+$/, '') : directory;
}

/** Parses and runs one command; answers `--help` itself. */
export async function runCommand<O extends OptionSpecs>(
  command: Command<O>,
  argv: readonly string[],
  output: Output,
  env: Readonly<Record<string, string | undefined>>,
): Promise<number> {
  try {
    const parsed = parse(command, argv);
    if (parsed.help) {
      output.out(helpText(command));
      return EXIT.ok;
    }
    const { values, positionals, rest } = parsed;
    return await command.run({ out: output.out, complain: output.complain, values, positionals, rest, env });
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    output.complain(`${command.name}: ${error.message} (see "mjf-agent ${command.name} --help")`);
    return EXIT.usage;
  }
}

interface Parsed<O extends OptionSpecs> {
  readonly help: boolean;
  readonly values: OptionValues<O>;
  readonly positionals: readonly string[];
  readonly rest: readonly string[] | undefined;
}

function parse<O extends OptionSpecs>(command: Command<O>, argv: readonly string[]): Parsed<O> {
  const dashes = argv.indexOf('--');
  const rest = dashes === -1 ? undefined : argv.slice(dashes + 1);
  const own = dashes === -1 ? argv : argv.slice(0, dashes);
  const options = parseArgsOptions(command.options);
  // Not strict: its messages are about code, not about what to type. The tokens are checked below instead.
  const { tokens } = parseArgs({ args: [...own], options, strict: false, allowPositionals: true, tokens: true });
  const values: Record<string, string | boolean | (string | boolean)[]> = {};
  const positionals: string[] = [];
  let help = false;
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value);
    if (token.kind !== 'option') continue;
    if (token.name === 'help' || token.name === 'h') help = true;
    else {
      const spec = command.options[token.name];
      const value = checkOption(command, spec, token.name, token.rawName, token.value, token.inlineValue);
      const before = values[token.name];
      values[token.name] = spec?.multiple ? [...(Array.isArray(before) ? before : []), value] : value;
    }
  }
  if (!help) checkWords(command, positionals, rest);
  // The loop above has put in each value with the type that its own specification states.
  return { help, values: values as OptionValues<O>, positionals, rest };
}

function checkOption(
  command: Command<OptionSpecs>,
  spec: OptionSpec | undefined,
  name: string,
  rawName: string,
  value: string | undefined,
  inline: boolean | undefined,
): string | boolean {
  if (spec === undefined) {
    const close = nearest(name, ['help', 'version', ...Object.keys(command.options)]);
    throw new UsageError(`unknown option ${rawName}${close === undefined ? '' : `; did you mean --${close}?`}`);
  }
  if (spec.type === 'boolean') {
    if (value !== undefined) throw new UsageError(`${rawName} takes no value`);
    return true;
  }
  // `--reason --kind`: the next option, swallowed as a value, is nearly always a forgotten value.
  if (value === undefined || value === '' || (!inline && value.startsWith('-') && value.length > 1)) {
    throw new UsageError(`${rawName} needs a value${spec.value === undefined ? '' : `: ${rawName} ${spec.value}`}`);
  }
  return value;
}

function checkWords(
  command: Command<OptionSpecs>,
  positionals: readonly string[],
  rest: readonly string[] | undefined,
): void {
  const usage = `usage: mjf-agent ${command.usage}`;
  if (rest !== undefined && !command.takesRest) throw new UsageError(`"--" has no meaning here; ${usage}`);
  const surplus = positionals[command.positionals.most];
  if (surplus !== undefined) throw new UsageError(`unexpected "${surplus}"; ${usage}`);
  if (positionals.length < command.positionals.least) throw new UsageError(`something is missing; ${usage}`);
}

function parseArgsOptions(
  specs: OptionSpecs,
): Record<string, { type: 'string' | 'boolean'; short?: string; multiple?: boolean }> {
  const own = Object.entries(specs).map(([name, spec]) => {
    const short = spec.short === undefined ? {} : { short: spec.short };
    const multiple = spec.multiple === undefined ? {} : { multiple: spec.multiple };
    return [name, { type: spec.type, ...short, ...multiple }] as const;
  });
  return { help: { type: 'boolean', short: 'h' }, ...Object.fromEntries(own) };
}
