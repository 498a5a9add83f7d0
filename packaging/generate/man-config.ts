/** mjf-agent.toml(5), from the schema of the configuration and the worked examples of configuration.md. */
import type { SchemaNode } from '../../agent/config/schema.ts';
import { configTables, type KeyFacts, type TableFacts } from './config-keys.ts';
import { escaped, item, literal, page, prose, section } from './roff.ts';

export interface WorkedExample {
  readonly title: string;
  readonly toml: readonly string[];
}

export function manConfig(schema: SchemaNode, examples: readonly WorkedExample[], date: string): string {
  return page('MJF\\-AGENT.TOML', 5, date, [
    ...section('NAME', ['mjf\\-agent.toml \\- configuration of mjf\\-agent']),
    ...section('SYNOPSIS', ['.I /etc/mjf\\-agent/config.toml', '.br', '.I /etc/mjf\\-agent/conf.d/*.toml']),
    ...section('DESCRIPTION', [
      ...prose(
        'No file at all is a good configuration: the platform is detected, the directory that the host mounts at /etc/machinefeatures is honoured, and every key below has a default.',
      ),
      '.PP',
      ...prose(
        'The files are TOML. Those in conf.d are read after config.toml, in the order of their names; then variables of the environment, then options of the command line. What is read later wins, key by key; lists are replaced as a whole, but for [[payload]], [[webhook]] and [[source.schedule]], which add up over the files.',
      ),
      '.PP',
      ...prose(
        'Durations are a number and ms, s, m, h or d: "90s", "30m", "2h"; at most 3650d. The daemon reads its configuration again on SIGHUP (systemctl reload mjf-agent); what says "next start" below waits for a restart, and the log says so. A configuration that has become wrong is told in the log and not taken. A wrong file is never obeyed in part:',
      ),
      '.B mjf\\-agent check',
      ...prose('shows every error at once, without starting anything.'),
    ]),
    ...section('KEYS', configTables(schema).flatMap(tableLines)),
    ...section('ENVIRONMENT', [
      ...prose(
        'MJF_AGENT_ and the name of a key in capitals set that key; two underscores part a table from its keys. Lists are written with commas, or like tables as TOML. An empty value counts as not set, an unknown variable as a warning.',
      ),
      ...literal(['MJF_AGENT_STOP__GRACE=5m', 'MJF_AGENT_SOURCES=directory,static']),
    ]),
    ...section('EXAMPLES', examples.flatMap(exampleLines)),
    ...section('SEE ALSO', ['.BR mjf\\-agent (1),', '.BR mjf\\-agent\\-hooks (7),', '.BR mjf\\-agent\\-sources (7)']),
  ]);
}

function tableLines({ heading, description, list, keys }: TableFacts): readonly string[] {
  const most = list?.most == null ? '' : `, at most ${list.most} times`;
  const many = list === null ? '' : ` May stand more than once${most}. As one variable: ${list.variable}.`;
  return [
    ...(heading === '' ? [] : [`.SS ${escaped(heading)}`]),
    ...prose(`${description}${many}`),
    ...keys.flatMap(keyLines),
  ];
}

function keyLines(key: KeyFacts): readonly string[] {
  const { name, description, expects, byDefault, example, unlessGiven, variable, flags } = key;
  const also = [...(variable === null ? [] : [variable]), ...flags].join(', ');
  const words = [
    `Expects ${expects}${key.isRequired ? '; must be given' : ''}.`,
    ...(byDefault === null ? [] : [`Default: ${byDefault}.`]),
    ...(example === null ? [] : [`For example: ${example}.`]),
    ...(unlessGiven === null ? [] : [`Unless given: ${unlessGiven}.`]),
    ...(also === '' ? [] : [`Also: ${also}.`]),
    ...(key.needsRestart ? ['A change takes effect at the next start.'] : []),
  ];
  return item(name, [...prose(description), ...prose(words.join(' '))]);
}

const exampleLines = ({ title, toml }: WorkedExample, index: number): readonly string[] => [
  ...(index === 0 ? [] : ['.PP']),
  ...prose(`${title}:`),
  ...literal(toml),
];
