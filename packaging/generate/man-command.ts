/** mjf-agent(1), from the table of commands. */
import type { Command } from '../../agent/commands/command.ts';
import { detailsOf } from '../../agent/commands/help.ts';
import { EXIT_CODE_TEXTS } from '../../agent/exit-codes.ts';
import { escaped, helpProse, item, literal, page, prose, section } from './roff.ts';

export function manCommand(commands: readonly Command[], date: string): string {
  return page('MJF\\-AGENT', 1, date, [
    ...section('NAME', ['mjf\\-agent \\- tells payloads how long they have, and stops them in time']),
    ...section('SYNOPSIS', ['.B mjf\\-agent', '.I COMMAND', '.RI [ OPTIONS ]']),
    ...section('DESCRIPTION', [
      ...prose(
        'A small agent inside a virtual machine. It learns from whatever channel the host offers how long the machine still lives, whether it may be terminated and what it may use; shows that to the payloads as files and over HTTP; stops them gracefully and in time; and tells the site when the machine can be terminated.',
      ),
      '.PP',
      ...prose(
        'The daemon is started by systemd (mjf-agent.service) and needs no configuration. The other commands ask it, or do without it.',
      ),
    ]),
    ...section('COMMANDS', commands.flatMap(commandLines)),
    ...section('EXIT STATUS', exitLines()),
    ...section('ENVIRONMENT', [
      ...item('MACHINEFEATURES, JOBFEATURES, JOBOUTPUTS', [
        ...prose(
          'For run: where the host says what it knows, each a directory or a URL. Payloads find in them where the agent says it.',
        ),
      ]),
      ...item('MJF_AGENT_RUNTIME_DIR', prose('Where the daemon publishes, for it and for those who ask it.')),
      ...item('MJF_AGENT_*', [...prose('Every key of the configuration; see'), '.BR mjf\\-agent.toml (5).']),
      ...item('MJF_AGENT_DEBUG', prose('1: internal errors come with a stack trace.')),
    ]),
    ...section(
      'FILES',
      FILES.flatMap(([file, text]) => item(file, prose(text))),
    ),
    ...section('EXAMPLES', [
      ...prose('Run a payload under the care of the agent, with five minutes to write a checkpoint:'),
      ...literal(['mjf-agent exec --grace 5m -- ./run-payload.sh']),
      '.PP',
      ...prose('What the site has announced, and how many seconds are left:'),
      ...literal(['mjf-agent status', 'curl localhost:8653/v1/remaining_secs']),
      '.PP',
      ...prose('The variables and the directories for a container:'),
      ...literal([
        'mjf-agent env > mjf.env',
        'podman run --network=host --env-file mjf.env -v /run/mjf-agent:/run/mjf-agent:ro IMAGE',
        'apptainer exec --env-file mjf.env -B /run/mjf-agent IMAGE COMMAND',
      ]),
    ]),
    ...section('SEE ALSO', [
      '.BR mjf\\-agent.toml (5),',
      '.BR mjf\\-agent\\-hooks (7),',
      '.BR mjf\\-agent\\-sources (7),',
      '.BR mjf\\-agent\\-http (7),',
      '.BR systemctl (1),',
      '.BR systemd\\-inhibit (1)',
    ]),
  ]);
}

const FILES: readonly (readonly [string, string])[] = [
  ['/etc/mjf-agent/config.toml, /etc/mjf-agent/conf.d/*.toml', 'The configuration.'],
  ['/etc/mjf-agent/hooks.d/', 'Programs that are run when the state of the machine changes.'],
  ['/run/mjf-agent/machinefeatures/, /run/mjf-agent/jobfeatures/', 'What is published, a file for each key.'],
  ['/run/mjf-agent/lifetime.json', 'The whole truth as JSON. Touched every 30 seconds while the daemon lives.'],
  ['/run/mjf-agent/url', 'Base URL of the HTTP interface.'],
  ['/run/mjf-agent/agent.sock, /run/mjf-agent/admin.sock', 'The same interface for everybody, and for the operator.'],
  ['/var/lib/mjf-agent/', 'What outlives a boot.'],
  [
    '/usr/share/doc/mjf-agent/',
    'The documents: troubleshooting.md, security.md, migration.md, metrics.md and others; monitoring/, examples/, contextualization/.',
  ],
];

function commandLines(command: Command): readonly string[] {
  const options = Object.entries(command.options).flatMap(([name, { short, type, value, description }]) => {
    const term = `${short === undefined ? '' : `-${short}, `}--${name}`;
    const argument = type === 'string' ? ` \\fI${escaped(value ?? 'VALUE')}\\fR` : '';
    return ['.TP', `\\fB${escaped(term)}\\fR${argument}`, ...prose(`${capital(description)}.`)];
  });
  const details = detailsOf(command);
  return [
    `.SS ${escaped(command.name)}`,
    ...prose(`mjf-agent ${command.usage}`).map((line) => `\\fB${line}\\fR`),
    '.PP',
    ...prose(`${capital(command.summary)}.`),
    ...options,
    ...(details === undefined ? [] : ['.PP', ...helpProse(details)]),
  ];
}

const exitLines = (): readonly string[] =>
  Object.entries(EXIT_CODE_TEXTS).flatMap(([code, text]) => item(code, prose(`${capital(text)}.`)));

/** Not where the first word is written as it is typed (`exec:`, `trace, debug`). */
const capital = (text: string): string =>
  /^\w+:/.test(text) ? text : `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
