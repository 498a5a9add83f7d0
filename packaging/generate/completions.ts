/** Completions for bash, zsh and fish, from the table of commands. */
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the braces are the shells' own
import type { CommandWords, Kind, OptionWords } from './words.ts';

const HEADER = '# Made by "npm run generate" from the table of commands: change that.';

/** In shell: the keys that are published now, none where no daemon runs. */
const KEYS = 'ls "$dir/machinefeatures" "$dir/jobfeatures" 2>/dev/null | grep -E "^[a-z0-9_]+$" | sort -u';
const DIR = 'dir=${MJF_AGENT_RUNTIME_DIR:-/run/mjf-agent}';

export function bashCompletion(commands: readonly CommandWords[]): string {
  const branches = commands.flatMap(({ name, options, words, takesRest }) => [
    `    ${name})`,
    `      options='${options.map((option) => `--${option.name}`).join(' ')} --version'`,
    ...options.flatMap((option) => bashValue(option)),
    ...(words.is === 'any' ? [] : [`      words=${bashKind(words)}`]),
    ...(takesRest ? ['      rest=yes'] : []),
    '      ;;',
  ]);
  return text([
    HEADER,
    '# bash-completion is of use where it is installed, not needed.',
    '',
    '_mjf_agent() {',
    '  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}',
    '  local options="" words="" value="" rest="" dir i',
    '  COMPREPLY=()',
    '  # "--option=value" comes in three parts.',
    '  if [[ $cur == = ]]; then',
    '    cur=""',
    '  elif [[ $prev == = ]]; then',
    '    prev=${COMP_WORDS[COMP_CWORD - 2]}',
    '  fi',
    '  if ((COMP_CWORD == 1)); then',
    `    COMPREPLY=($(compgen -W '${commands.map(({ name }) => name).join(' ')} help --help --version' -- "$cur"))`,
    '    return',
    '  fi',
    '  if [[ ${COMP_WORDS[1]} == help ]]; then',
    `    ((COMP_CWORD == 2)) && COMPREPLY=($(compgen -W '${commands.map(({ name }) => name).join(' ')}' -- "$cur"))`,
    '    return',
    '  fi',
    '  case ${COMP_WORDS[1]} in',
    ...branches,
    '    *) return ;;',
    '  esac',
    '  # After "--" stands another command line.',
    '  for ((i = 2; i < COMP_CWORD; i++)); do',
    '    if [[ ${COMP_WORDS[i]} == -- ]]; then',
    '      if [[ $rest ]] && declare -F _command_offset >/dev/null; then',
    '        _command_offset $((i + 1))',
    '      elif [[ $rest ]] && ((COMP_CWORD == i + 1)); then',
    '        COMPREPLY=($(compgen -c -- "$cur"))',
    '      elif [[ $rest ]]; then',
    '        compopt -o filenames 2>/dev/null',
    '        COMPREPLY=($(compgen -f -- "$cur"))',
    '      fi',
    '      return',
    '    fi',
    '  done',
    '  if [[ ! $value ]]; then',
    '    value=$words',
    '    [[ $cur == -* || ! $words ]] && value=options',
    '  fi',
    '  case $value in',
    '    options) COMPREPLY=($(compgen -W "$options${rest:+ --}" -- "$cur")) ;;',
    '    file | directory)',
    '      compopt -o filenames 2>/dev/null',
    '      if [[ $value == file ]]; then COMPREPLY=($(compgen -f -- "$cur")); else COMPREPLY=($(compgen -d -- "$cur")); fi',
    '      ;;',
    '    key)',
    `      ${DIR}`,
    `      COMPREPLY=($(compgen -W '$(${KEYS})' -- "$cur"))`,
    '      ;;',
    '    choice:*) COMPREPLY=($(compgen -W "${value#choice:}" -- "$cur")) ;;',
    '  esac',
    '}',
    'complete -F _mjf_agent mjf-agent',
  ]);
}

function bashValue({ name, short, value }: OptionWords): readonly string[] {
  if (value === null) return [];
  const spelled = short === undefined ? `--${name}` : `--${name} | -${short}`;
  return [
    `      [[ $prev == ${spelled.includes('|') ? `@(${spelled.replace(' | ', '|')})` : spelled} ]] && value=${bashKind(value)}`,
  ];
}

const bashKind = (kind: Kind): string => (kind.is === 'choice' ? `'choice:${kind.choices.join(' ')}'` : kind.is);

export function zshCompletion(commands: readonly CommandWords[]): string {
  return text([
    '#compdef mjf-agent',
    HEADER,
    '',
    '_mjf_agent_keys() {',
    `  local ${DIR}`,
    `  local -a keys=(\${(f)"$(${KEYS})"})`,
    "  _describe 'key' keys",
    '}',
    '',
    '_mjf_agent() {',
    '  local -a commands=(',
    ...commands.map(({ name, summary }) => `    '${name}:${zshText(summary)}'`),
    "    'help:show this help, or that of a command'",
    '  )',
    '  if ((CURRENT == 2)); then',
    "    _describe 'command' commands",
    "    _arguments '(-h --help)'{-h,--help}'[show this help]' '--version[show the version]'",
    '    return',
    '  fi',
    '  local command=$words[2]',
    '  shift words',
    '  ((CURRENT--))',
    '  case $command in',
    "    help) ((CURRENT == 2)) && _describe 'command' commands ;;",
    ...commands.flatMap(zshCommand),
    '  esac',
    '}',
    '',
    '_mjf_agent "$@"',
  ]);
}

function zshCommand({ name, options, words, takesRest }: CommandWords): readonly string[] {
  const specs = [...options.map(zshOption), `'--version[show the version]'`];
  const rest = takesRest
    ? [`'*:::payload: _normal'`]
    : words.is === 'any'
      ? []
      : [`'*:${words.is}:${zshAction(words)}'`];
  return [
    `    ${name})`,
    // Without -S options after the first word would be taken for options of the payload's command.
    `      _arguments -S \\`,
    ...[...specs, ...rest].map((spec, index, all) => `        ${spec}${index === all.length - 1 ? '' : ' \\'}`),
    '      ;;',
  ];
}

function zshOption({ name, short, description, value, multiple }: OptionWords): string {
  const takes = value === null ? '' : `:${name}:${zshAction(value)}`;
  const what = `[${zshText(description)}]${takes}`;
  if (short !== undefined) return `'(-${short} --${name})'{-${short},--${name}}'${what}'`;
  return `'${multiple ? '*' : ''}--${name}${value === null ? '' : '='}${what}'`;
}

function zshAction(kind: Kind): string {
  if (kind.is === 'choice') return `(${kind.choices.join(' ')})`;
  return { file: '_files', directory: '_files -/', key: '_mjf_agent_keys', any: ' ' }[kind.is];
}

/** Inside of single quotes, brackets and colons. */
const zshText = (words: string): string => words.replaceAll("'", "'\\''").replace(/[[\]:]/g, '\\$&');

export function fishCompletion(commands: readonly CommandWords[]): string {
  const names = commands.map(({ name }) => name).join(' ');
  return text([
    HEADER,
    '',
    'function __mjf_agent_keys',
    '    set -l dir /run/mjf-agent',
    '    set -q MJF_AGENT_RUNTIME_DIR; and set dir $MJF_AGENT_RUNTIME_DIR',
    '    for kind in machinefeatures jobfeatures',
    '        test -d $dir/$kind; and ls $dir/$kind',
    "    end | string match -r '^[a-z0-9_]+$' | sort -u",
    'end',
    '',
    '# After "--": what another command line would be completed with.',
    'function __mjf_agent_payload',
    '    set -l words (commandline -opc)',
    '    set -l begin (math (contains -i -- -- $words) + 1)',
    '    set -l payload (string escape -- $words[$begin..-1]) (commandline -ct)',
    '    complete --do-complete=(string join " " -- $payload)',
    'end',
    '',
    '# Before "--": what follows it is another command line.',
    'function __mjf_agent_in',
    '    set -l words (commandline -opc)',
    '    not contains -- -- $words; and test (count $words) -ge 2; and test "$words[2]" = $argv[1]',
    'end',
    '',
    'complete -c mjf-agent -f',
    `complete -c mjf-agent -n __fish_use_subcommand -s h -l help -d 'show this help'`,
    `complete -c mjf-agent -n __fish_use_subcommand -l version -d 'show the version'`,
    ...commands.map(
      ({ name, summary }) => `complete -c mjf-agent -n __fish_use_subcommand -a ${name} -d ${fishText(summary)}`,
    ),
    `complete -c mjf-agent -n '__mjf_agent_in help' -a '${names}'`,
    ...commands.flatMap(fishCommand),
  ]);
}

function fishCommand({ name, options, words, takesRest }: CommandWords): readonly string[] {
  const begin = `complete -c mjf-agent -n '__mjf_agent_in ${name}'`;
  const rest = takesRest
    ? [`complete -c mjf-agent -n 'contains -- -- (commandline -opc)' -a '(__mjf_agent_payload)'`]
    : [];
  return [
    '',
    ...options.map(({ name: option, short, description, value }) => {
      const takes = value === null ? '' : fishValue(value);
      return `${begin}${short === undefined ? '' : ` -s ${short}`} -l ${option}${takes} -d ${fishText(description)}`;
    }),
    ...(words.is === 'any' ? [] : [`${begin}${fishWords(words)}`]),
    ...rest,
  ];
}

function fishValue(kind: Kind): string {
  if (kind.is === 'any') return ' -x';
  return kind.is === 'file' ? ' -r -F' : ` -x${fishWords(kind)}`;
}

function fishWords(kind: Kind): string {
  if (kind.is === 'choice') return ` -a '${kind.choices.join(' ')}'`;
  return {
    file: ' -F',
    directory: ` -a '(__fish_complete_directories)'`,
    key: ` -a '(__mjf_agent_keys)'`,
    any: '',
  }[kind.is];
}

const fishText = (words: string): string => `'${words.replace(/['\\]/g, '\\$&')}'`;

const text = (lines: readonly string[]): string => `${lines.join('\n')}\n`;
